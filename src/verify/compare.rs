//! Comparing arrays, element by element, each against its own tolerance.

use crate::real::Tracked;
use crate::tensor::Data;

/// The outcome of one case.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// The worst difference relative to its array's range.
    pub worst_relative: f64,
    /// The worst difference in ULP of f32, among elements above a thousandth of their array's range.
    pub worst_ulp: f64,
    /// The largest difference in units of its tolerance.
    pub worst_of_tolerance: f64,
    /// What was wrong.
    pub failures: Vec<String>,
    /// How many elements were compared.
    pub elements: usize,
}

/// Below this, f32 devices may flush to zero: the floor of every tolerance.
const FLOOR: f64 = 1.2e-38;

impl Comparison {
    /// Whether nothing was wrong.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Notes a failure unless `held`.
    pub(crate) fn require(&mut self, held: bool, message: impl FnOnce() -> String) {
        if !held && self.failures.len() < 4 {
            self.failures.push(message());
        }
    }

    /// Takes another comparison in, its failures prefixed.
    pub fn merge(&mut self, prefix: &str, other: Self) {
        self.worst_relative = self.worst_relative.max(other.worst_relative);
        self.worst_ulp = self.worst_ulp.max(other.worst_ulp);
        self.worst_of_tolerance = self.worst_of_tolerance.max(other.worst_of_tolerance);
        self.elements += other.elements;
        for failure in other.failures {
            self.require(false, || format!("{prefix}: {failure}"));
        }
    }

    /// Compares what a device gave with what its twin says: integers exactly, reals within their tracked tolerance.
    pub fn array(&mut self, name: &str, got: &Data, expected: &Data) {
        self.elements += expected.len();
        self.require(got.len() == expected.len(), || {
            format!(
                "'{name}' has {} elements, not {}",
                got.len(),
                expected.len()
            )
        });
        match (got, expected) {
            (Data::F32(got), Data::Tracked(expected)) => self.reals(name, got, expected),
            (got, expected) => {
                let first = (0..got.len().min(expected.len()))
                    .find(|&i| got.to_f64()[i] != expected.to_f64()[i]);
                if let Some(i) = first {
                    let (a, b) = (got.to_f64()[i], expected.to_f64()[i]);
                    self.worst_of_tolerance = f64::INFINITY;
                    self.require(false, || format!("'{name}'[{i}] is {a}, expected {b}"));
                }
            }
        }
    }

    fn reals(&mut self, name: &str, got: &[f32], expected: &[Tracked]) {
        use crate::real::Real;
        let range = expected
            .iter()
            .map(|e| e.to_f64().abs())
            .filter(|x| x.is_finite())
            .fold(0.0, f64::max);
        let mut worst: Option<(usize, f64)> = None;
        for (i, (&g, e)) in got.iter().zip(expected).enumerate() {
            let (value, tolerance) = (e.to_f64(), e.tolerance() + FLOOR);
            if !e.is_finite() || !tolerance.is_finite() {
                // Beyond f32: any value that is not finite, or at the end of the range, is right.
                let fits = !g.is_finite() || f64::from(g.abs()) >= f64::from(f32::MAX) / 2.0;
                self.require(fits, || {
                    format!("'{name}'[{i}] is {g}, expected an overflow")
                });
                continue;
            }
            let difference = if g.is_finite() {
                (f64::from(g) - value).abs()
            } else {
                f64::INFINITY
            };
            let share = difference / tolerance;
            if worst.is_none_or(|(_, w)| share > w) {
                worst = Some((i, share));
            }
            // Where a whole array is zero but for rounding, a share of its range says nothing.
            if range > 10.0 * tolerance {
                self.worst_relative = self.worst_relative.max(difference / range);
            }
            if value.abs() > 1e-3 * range && difference.is_finite() {
                self.worst_ulp = self.worst_ulp.max(difference / ulp(value));
            }
        }
        if let Some((i, share)) = worst {
            self.worst_of_tolerance = self.worst_of_tolerance.max(share);
            if share > 1.0 {
                let (g, e) = (got[i], expected[i]);
                let (value, tolerance) = (e.to_f64(), e.tolerance());
                self.require(false, || {
                    format!("'{name}'[{i}] is {g}, expected {value} within {tolerance:.2e} ({share:.1} times that)")
                });
            }
        }
    }
}

/// The spacing of f32 at `x`.
fn ulp(x: f64) -> f64 {
    let x = (x.abs() as f32).max(f32::MIN_POSITIVE);
    f64::from(f32::from_bits(x.to_bits() + 1)) - f64::from(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::Real;

    #[test]
    fn a_nan_and_a_factor_are_caught() {
        let exact: Vec<Tracked> = [1.0, 2.0, 3.0]
            .map(|x| Tracked::from_f64(x) * Tracked::from_f64(1.0))
            .to_vec();
        for (got, passes) in [
            (vec![1.0, 2.0, 3.0], true),
            (vec![1.0, 2.002, 3.0], false),
            (vec![1.0, f32::NAN, 3.0], false),
            (vec![1.0, 2.0], false),
        ] {
            let mut comparison = Comparison::default();
            comparison.array("x", &Data::F32(got.clone()), &Data::Tracked(exact.clone()));
            assert_eq!(comparison.passed(), passes, "{got:?}");
        }
    }
}
