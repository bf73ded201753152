//! Comparing arrays, element by element, each against its own tolerance.

use std::fmt;

use crate::plan::POISON;
use crate::real::{Real, Tracked};
use crate::tensor::{Data, Shape};

/// The outcome of one case.
#[derive(Clone, Debug, Default)]
#[must_use = "a comparison shows nothing until it is asked: `expect` it, or look at `passed`"]
pub struct Comparison {
    /// The worst difference relative to its array's range. Of this and of the next two what is choice is taken off before, see [`Tracked`]:
    /// a decision that may fall either way is right, and says nothing of how much rounding cost.
    pub worst_relative: f64,
    /// The worst difference in ULP of f32, where that says something: among elements above a thousandth of their array's range whose
    /// tolerance is at most [`Comparison::MOST_ULP`] of it. The others owe their errors to larger numbers that they were summed of, to
    /// an absolute bound of a builtin, or to a format that is narrower than f32. `None` where there is no such element.
    pub worst_ulp: Option<f64>,
    /// The largest difference in units of its tolerance.
    pub worst_of_tolerance: f64,
    /// What was wrong.
    pub failures: Vec<String>,
    /// How many elements were compared.
    pub elements: usize,
    /// What was run, over which inputs: said once behind the failures.
    pub about: Option<String>,
    /// Whether an infinity must be met by one of its sign; else an overflow may become anything that is not finite.
    pub(super) strict: bool,
}

/// Below this, f32 devices may flush to zero: the floor of every tolerance.
const FLOOR: f64 = 1.2e-38;

/// What takes more of its tolerance than this is logged.
const NEAR: f64 = 0.8;

/// How many failures are kept.
const KEPT: usize = 4;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed() {
            let (elements, share) = (self.elements, self.worst_of_tolerance);
            write!(
                f,
                "{elements} elements are right, the worst at {share:.3} of its tolerance"
            )?;
        }
        f.write_str(&self.failures.join("\n"))?;
        match &self.about {
            Some(about) => write!(f, "\n({about})"),
            None => Ok(()),
        }
    }
}

impl Comparison {
    /// An element counts in [`Comparison::worst_ulp`] if its tolerance is at most so many ULP.
    pub const MOST_ULP: f64 = 32.0;

    /// Whether nothing was wrong.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Ends a test that did not pass.
    ///
    /// # Panics
    /// When something was wrong, with a message that says what: the tensor, the place, how many differ, the worst, and the inputs.
    #[track_caller]
    pub fn expect(&self) {
        assert!(self.passed(), "{self}");
    }

    /// Notes a failure unless `held`.
    pub(crate) fn require(&mut self, held: bool, message: impl FnOnce() -> String) {
        if !held && self.failures.len() < KEPT {
            self.failures.push(message());
        }
    }

    /// Takes another comparison in, its failures prefixed.
    pub fn merge(&mut self, prefix: &str, other: Self) {
        self.worst_relative = self.worst_relative.max(other.worst_relative);
        self.worst_ulp = larger(self.worst_ulp, other.worst_ulp);
        self.worst_of_tolerance = self.worst_of_tolerance.max(other.worst_of_tolerance);
        self.elements += other.elements;
        for failure in other.failures {
            self.require(false, || format!("{prefix}: {failure}"));
        }
    }

    /// Compares what a device gave with what its twin says: integers exactly, reals within their tracked tolerance.
    pub fn array(&mut self, name: &str, got: &Data, expected: &Data) {
        self.tensor(name, &[expected.len()].into(), got, expected);
    }

    /// As [`Comparison::array`], elements named by where they stand in a tensor of `shape`, which has as many.
    pub fn tensor(&mut self, name: &str, shape: &Shape, got: &Data, expected: &Data) {
        self.elements += expected.len();
        self.require(got.len() == expected.len(), || {
            let (got, expected) = (got.len(), expected.len());
            format!("'{name}' has {got} elements, not {expected}")
        });
        let mut tally = Tally::default();
        match (got, expected) {
            (Data::F32(got), Data::Tracked(expected)) => self.reals(&mut tally, got, expected),
            (got, expected) => {
                let unwritten = |i: usize| matches!(got, Data::U32(v) if v[i] == POISON);
                let pairs = got.to_f64().into_iter().zip(expected.to_f64()).enumerate();
                for (i, (g, e)) in pairs.filter(|(_, (g, e))| g != e) {
                    tally.add(i, f64::INFINITY, unwritten(i), || {
                        format!("{g}, expected {e}")
                    });
                }
            }
        }
        self.worst_of_tolerance = self.worst_of_tolerance.max(tally.worst());
        if let Some((i, share, words)) = tally.worst.as_ref().filter(|w| w.1 > NEAR) {
            let place = place(name, shape, *i);
            log::debug!("{place} is {words}: {share:.3} of its tolerance beside choice");
        }
        if let Some(words) = tally.words(name, shape, expected.len()) {
            self.require(false, || words);
        }
    }

    fn reals(&mut self, tally: &mut Tally, got: &[f32], expected: &[Tracked]) {
        let range = range(expected.iter().map(|e| e.to_f64()));
        for (i, (&g, e)) in got.iter().zip(expected).enumerate() {
            let unwritten = g.to_bits() == POISON;
            let (value, error) = (e.to_f64(), e.error() + FLOOR);
            let tolerance = error + e.choice();
            if !e.is_finite() || !tolerance.is_finite() {
                if !self.overflowed(g, value) {
                    let wanted = if self.strict {
                        format!("{g}, expected {value}")
                    } else {
                        format!("{g}, expected an overflow")
                    };
                    tally.add(i, f64::INFINITY, unwritten, || wanted);
                }
                continue;
            }
            let difference = if g.is_finite() {
                (f64::from(g) - value).abs()
            } else {
                f64::INFINITY
            };
            let rounding = (difference - e.choice()).max(0.0);
            let share = rounding / error;
            tally.add(i, share, unwritten, || {
                let times = match difference / tolerance {
                    few if few < 1e4 => format!("{few:.1}"),
                    many => format!("{many:.1e}"),
                };
                format!("{g}, expected {value} within {tolerance:.2e} ({times} times that)")
            });
            // Where a whole array is zero but for rounding, a share of its range says nothing.
            if range > 10.0 * tolerance {
                self.worst_relative = self.worst_relative.max(rounding / range);
            }
            let ulp = ulp(value);
            let telling = value.abs() > 1e-3 * range && tolerance <= Self::MOST_ULP * ulp;
            if telling && rounding.is_finite() {
                self.worst_ulp = larger(self.worst_ulp, Some(rounding / ulp));
            }
        }
    }

    /// Whether what a device gave may stand for a value beyond f32: anything that is not finite, or at the end of the range.
    fn overflowed(&self, got: f32, value: f64) -> bool {
        let end = f64::from(got.abs()) >= f64::from(f32::MAX) / 2.0;
        if self.strict {
            return end && f64::from(got.signum()) == value.signum();
        }
        end || !got.is_finite()
    }
}

/// The largest magnitude among numbers that are finite.
pub(super) fn range(values: impl Iterator<Item = f64>) -> f64 {
    values
        .filter(|x| x.is_finite())
        .fold(0.0, |range, x| range.max(x.abs()))
}

/// The larger of two, where there is one.
pub(super) fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// The spacing of f32 at `x`.
pub(super) fn ulp(x: f64) -> f64 {
    let x = (x.abs() as f32).clamp(f32::MIN_POSITIVE, f32::MAX / 2.0);
    f64::from(f32::from_bits(x.to_bits() + 1)) - f64::from(x)
}

/// What differed in one tensor.
#[derive(Default)]
struct Tally {
    /// How many, the first of them, and how many of them are the poison.
    differing: usize,
    first: usize,
    unwritten: usize,
    /// Where the largest share of a tolerance stands, how large it is, and what to say of it if it is too large.
    worst: Option<(usize, f64, String)>,
}

impl Tally {
    fn worst(&self) -> f64 {
        self.worst.as_ref().map_or(0.0, |(_, share, _)| *share)
    }

    fn add(&mut self, i: usize, share: f64, unwritten: bool, words: impl FnOnce() -> String) {
        // A NaN is no share at all.
        let wrong = share.is_nan() || share > 1.0;
        let near = wrong || share > NEAR;
        if wrong {
            self.first = if self.differing == 0 { i } else { self.first };
            self.differing += 1;
            self.unwritten += usize::from(unwritten);
        }
        if self.worst.is_none() || share > self.worst() {
            let words = if near { words() } else { String::new() };
            self.worst = Some((i, share, words));
        }
    }

    /// The failure, if there is one.
    fn words(self, name: &str, shape: &Shape, count: usize) -> Option<String> {
        let (at, _, words) = self.worst.filter(|_| self.differing > 0)?;
        let mut text = format!("{} is {words}", place(name, shape, at));
        if count > 1 {
            text += &format!("; {} of {count} differ", self.differing);
        }
        if self.differing > 1 && self.first != at {
            text += &format!(", the first {}", place("", shape, self.first));
        }
        if self.unwritten > 0 {
            // Left out, or read before it was written.
            text += &format!(", {} of them what unwritten memory held", self.unwritten);
        }
        Some(text)
    }
}

/// Where element `index` of a tensor stands.
pub(super) fn place(name: &str, shape: &Shape, index: usize) -> String {
    let dims = shape.dims();
    let mut at = Vec::new();
    let mut rest = index;
    for &dim in dims.iter().rev() {
        at.push(rest % dim.max(1));
        rest /= dim.max(1);
    }
    at.reverse();
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("'{name}'")
    };
    match at.as_slice() {
        [] => name,
        [i] => format!("{name}[{i}]"),
        [row, column] => format!("{name} at row {row}, column {column}")
            .trim_start()
            .to_owned(),
        places => format!("{name}{places:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(values: &[f64]) -> Data {
        let rounded = |&x: &f64| Tracked::from_f64(x) * Tracked::from_f64(1.0);
        Data::Tracked(values.iter().map(rounded).collect())
    }

    #[test]
    fn a_nan_and_a_factor_are_caught() {
        for (got, passes) in [
            (vec![1.0, 2.0, 3.0], true),
            (vec![1.0, 2.002, 3.0], false),
            (vec![1.0, f32::NAN, 3.0], false),
            (vec![1.0, 2.0], false),
        ] {
            let mut comparison = Comparison::default();
            comparison.array("x", &Data::F32(got.clone()), &exact(&[1.0, 2.0, 3.0]));
            assert_eq!(comparison.passed(), passes, "{got:?}");
        }
    }

    #[test]
    fn the_message_names_place_count_first_and_worst() {
        let mut comparison = Comparison::default();
        let got = Data::F32(vec![1.0, 2.5, 3.0, 9.0, f32::from_bits(POISON), 6.0]);
        comparison.tensor(
            "y",
            &[2, 3].into(),
            &got,
            &exact(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        );
        let text = comparison.to_string();
        assert!(
            text.starts_with("'y' at row 1, column 1 is NaN, expected 5 within "),
            "{text}"
        );
        let end =
            "; 3 of 6 differ, the first at row 0, column 1, 1 of them what unwritten memory held";
        assert!(text.ends_with(end), "{text}");
        // Integers, a scalar, more axes.
        let place = |shape: Shape, got: Vec<u32>, expected: Vec<u32>| {
            let mut comparison = Comparison::default();
            comparison.tensor("n", &shape, &Data::U32(got), &Data::U32(expected));
            comparison.to_string()
        };
        assert_eq!(
            place([1, 2, 2].into(), vec![1, 2, 3, 4], vec![1, 2, 7, 4]),
            "'n'[0, 1, 0] is 3, expected 7; 1 of 4 differ"
        );
        assert_eq!(
            place(Shape::scalar(), vec![1], vec![2]),
            "'n' is 1, expected 2"
        );
    }

    #[test]
    fn what_may_be_chosen_is_no_error() {
        // 0 or 1, as a comparison of equals gives, and half a step of eight bits.
        let either = Tracked::with_bias(0.0, 1e-7).or_within(1.0);
        let mut comparison = Comparison::default();
        comparison.array(
            "x",
            &Data::F32(vec![0.0, 1.0]),
            &Data::Tracked(vec![either; 2]),
        );
        assert!(comparison.passed());
        assert_eq!(
            (comparison.worst_of_tolerance, comparison.worst_ulp),
            (0.0, None)
        );
        comparison.array("x", &Data::F32(vec![1.001]), &Data::Tracked(vec![either]));
        assert!(!comparison.passed());
    }
}
