//! A kernel of anybody's own against a closure.

use std::borrow::Cow;
use std::ops::Add;

use super::Comparison;
use super::cases::{Values, drawn, unwritten};
use super::compare::{place, range, ulp};
use super::kernel::{Trial, fits};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::wgsl::Wgsl;
use crate::kernels::{Access, Binding, Kernel};
use crate::real::{Tracked, UNIT_ROUNDOFF};
use crate::reference::half;
use crate::tensor::{DType, Data, Shape};

/// Runs `kernel` on the GPU and compares all that it writes with what `expected` says.
///
/// `inputs` has an array for each binding that the kernel reads, in their order. The closure is given the same arrays as f64, and returns
/// what each binding that the kernel writes must hold afterwards, in their order: reals are compared within `tolerance`, integers exactly.
/// It need not be written like the kernel, and is the better witness the less it is.
///
/// Before a run what is only written is filled with a NaN that nobody computes, in a second run with large numbers, and every buffer is
/// guarded on both sides, so that elements that were left out, read before they were written or written beyond a tensor's end are seen. A buffer ends where its tensor does for
/// a kernel that asks for its `arrayLength`. The kernel runs as it is; where its [`Wgsl::grid`] may be cut and folded, also so.
///
/// ```
/// use wgen::kernels::wgsl::Wgsl;
/// use wgen::verify::cases::Values;
/// use wgen::verify::{Inputs, Tolerance, against};
/// use wgen::{Choice, Gpu};
///
/// let sums = Wgsl::new("sums", "
///     @group(0) @binding(0) var<storage, read> x: array<f32>;
///     @group(0) @binding(1) var<storage, read_write> y: array<f32>;
///     @compute @workgroup_size(64)
///     fn sums(@builtin(global_invocation_id) id: vec3<u32>) {
///         if id.x >= 200u { return; }
///         for (var i = 0u; i < 30u; i++) { y[id.x] += x[id.x * 30u + i]; } // begins with what lay there
///     }")
///     .read("x", [200, 30])
///     .write("y", [200])
///     .workgroups([4, 1, 1]);
/// let inputs = Inputs::drawn(&sums, Values::Normal, 7);
/// let rows = |x: &[&[f64]]| vec![x[0].chunks(30).map(|row| row.iter().sum()).collect()];
/// let comparison = against(&Gpu::new(&Choice::Auto)?, &sums, inputs, rows, Tolerance::sum(30, 5.0))?;
/// let text = comparison.to_string(); // what `comparison.expect()` would panic with
/// assert!(text.starts_with("'y'[0] is NaN, expected ") && text.contains("200 of 200 differ"), "{text}");
/// assert!(text.ends_with("(sums, inputs Normal of seed 7)"), "{text}");
/// # Ok::<(), wgen::Error>(())
/// ```
///
/// # Errors
/// When the inputs, or what the closure returns, do not fit the bindings, when it returns a NaN, or when the kernel cannot be made or run.
/// A difference is no error but a [`Comparison`] that did not pass: [`Comparison::expect`].
pub fn against<'a>(
    gpu: &Gpu,
    kernel: &Wgsl,
    inputs: impl Into<Inputs<'a>>,
    expected: impl FnOnce(&[&[f64]]) -> Vec<Vec<f64>>,
    tolerance: Tolerance,
) -> Result<Comparison> {
    let (name, bindings) = (kernel.family(), kernel.bindings());
    for (binding, shape) in bindings.iter().zip(kernel.shapes()) {
        if shape.count() != binding.count {
            let (of, count) = (&binding.name, binding.count);
            return Err(Error::Usage(format!(
                "{name}: '{of}' has {count} elements, its shape {shape:?} has not"
            )));
        }
    }
    let inputs = inputs.into();
    let read: Vec<usize> = positions(&bindings, Access::reads);
    if inputs.arrays.len() != read.len() {
        let names = names(&bindings, &read);
        let got = inputs.arrays.len();
        return Err(Error::Usage(format!(
            "{name} reads {names}: an array for each, got {got}"
        )));
    }
    let mut arrays: Vec<Data> = bindings.iter().map(|b| unwritten(b.dtype)).collect();
    for (&i, input) in read.iter().zip(inputs.arrays.iter()) {
        fits(name, &bindings[i], input)?;
        arrays[i] = match bindings[i].dtype {
            DType::F16 => half::held(input.clone()),
            _ => input.clone(),
        };
    }
    let wide: Vec<Vec<f64>> = read.iter().map(|&i| arrays[i].to_f64()).collect();
    let wide: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
    let given = expected(&wide);
    let written: Vec<usize> = positions(&bindings, |a| a != Access::Read);
    if given.len() != written.len() {
        let names = names(&bindings, &written);
        let got = given.len();
        return Err(Error::Usage(format!(
            "{name} writes {names}: the closure must return an array for each, and returned {got}"
        )));
    }
    let mut wanted: Vec<Data> = bindings.iter().map(|_| Data::U8(Vec::new())).collect();
    for (&i, values) in written.iter().zip(given) {
        wanted[i] = tolerance.around(name, &bindings[i], kernel.shape(i), values)?;
    }
    let trial = Trial {
        gpu,
        inputs: &arrays,
        expected: wanted,
        shapes: kernel.shapes(),
        strict: true,
    };
    let mut comparison = trial.all_grids(kernel)?;
    comparison.about = Some(match inputs.origin {
        Some(origin) => format!("{name}, inputs {origin}"),
        None => name.to_owned(),
    });
    Ok(comparison)
}

fn positions(bindings: &[Binding], wanted: impl Fn(Access) -> bool) -> Vec<usize> {
    let all = bindings.iter().enumerate();
    all.filter_map(|(i, b)| wanted(b.access).then_some(i))
        .collect()
}

fn names(bindings: &[Binding], which: &[usize]) -> String {
    if which.is_empty() {
        return "nothing".to_owned();
    }
    let quoted = |&i: &usize| format!("'{}'", bindings[i].name);
    which.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// What the bindings that a kernel reads hold: made of arrays that you have, `[x, y]` as [`Data`] or `Vec<f32>`, or drawn.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    arrays: Cow<'a, [Data]>,
    origin: Option<String>,
}

impl Inputs<'static> {
    /// Reproducible numbers for every binding of `kernel` that is read: reals as `values` says, words below 50, any bytes. The same seed
    /// gives the same ones, and is named in the message of a comparison that did not pass.
    pub fn drawn(kernel: &Wgsl, values: Values, seed: u64) -> Self {
        let bindings = kernel.bindings();
        let read = bindings.iter().filter(|b| b.access.reads());
        // Seeds far apart, so that no array of one is one of the next.
        let of = |(i, b): (usize, &Binding)| {
            let seed = seed.wrapping_add((i as u64) << 32);
            drawn(b.dtype, values, seed, b.count)
        };
        Self {
            arrays: Cow::Owned(read.enumerate().map(of).collect()),
            origin: Some(format!("{values:?} of seed {seed}")),
        }
    }
}

impl Inputs<'_> {
    /// The same, with the seed that they were drawn from, for the message.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self {
            origin: Some(format!("of seed {seed}")),
            ..self
        }
    }

    /// The arrays.
    pub fn arrays(&self) -> &[Data] {
        &self.arrays
    }
}

impl<'a> From<&'a [Data]> for Inputs<'a> {
    fn from(arrays: &'a [Data]) -> Self {
        let arrays = Cow::Borrowed(arrays);
        Self {
            arrays,
            origin: None,
        }
    }
}

impl<'a, const N: usize> From<&'a [Data; N]> for Inputs<'a> {
    fn from(arrays: &'a [Data; N]) -> Self {
        arrays.as_slice().into()
    }
}

impl<'a> From<&'a Vec<Data>> for Inputs<'a> {
    fn from(arrays: &'a Vec<Data>) -> Self {
        arrays.as_slice().into()
    }
}

impl<const N: usize> From<[Data; N]> for Inputs<'static> {
    fn from(arrays: [Data; N]) -> Self {
        let arrays = Cow::Owned(arrays.into());
        Self {
            arrays,
            origin: None,
        }
    }
}

impl<const N: usize> From<[Vec<f32>; N]> for Inputs<'static> {
    fn from(arrays: [Vec<f32>; N]) -> Self {
        arrays.map(Data::F32).into()
    }
}

impl<'a> From<&'a Inputs<'_>> for Inputs<'a> {
    fn from(inputs: &'a Inputs<'_>) -> Self {
        Self {
            arrays: Cow::Borrowed(&inputs.arrays),
            origin: inputs.origin.clone(),
        }
    }
}

/// How far an element may be from what is expected. Several add up:
///
/// ```
/// use wgen::verify::Tolerance;
///
/// // A few roundings of the result, and the flush of what is below f32's smallest normal number.
/// let tolerance = Tolerance::ulps(4.0) + Tolerance::absolute(1.2e-38);
/// // A product of 784 terms, none of which is above 4, then an activation that errs by 1e-5.
/// let layer = Tolerance::sum(784, 4.0) + Tolerance::absolute(1e-5);
/// # assert_ne!(tolerance, layer);
/// ```
///
/// What rounding alone may do is best derived, not tried out: count the roundings, look up what WGSL grants the builtins that you
/// call (section 15.7.4, "Floating point accuracy"). [`Wgsl::twin`] does that for you, element by element.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    absolute: f64,
    relative: f64,
    ulps: f64,
    range: f64,
}

impl Tolerance {
    /// Nothing but the same number.
    pub const EXACT: Self = Self {
        absolute: 0.0,
        relative: 0.0,
        ulps: 0.0,
        range: 0.0,
    };

    /// The same for every element.
    pub const fn absolute(difference: f64) -> Self {
        Self {
            absolute: difference,
            ..Self::EXACT
        }
    }

    /// A share of the expected element.
    pub const fn relative(share: f64) -> Self {
        Self {
            relative: share,
            ..Self::EXACT
        }
    }

    /// So many spacings of f32 next to the expected element: a correctly rounded operation errs by half of one, WGSL grants `exp(x)`
    /// 3 + 2 |x|, a division 2.5.
    pub const fn ulps(count: f64) -> Self {
        Self {
            ulps: count,
            ..Self::EXACT
        }
    }

    /// A share of the largest magnitude in the expected tensor: for elements that may cancel to nearly nothing.
    pub const fn of_range(share: f64) -> Self {
        Self {
            range: share,
            ..Self::EXACT
        }
    }

    /// Of a sum of `terms` products, none above `largest` in magnitude, added in any order.
    ///
    /// A sum of k of them is at most `k largest`; each of its roundings, and of the products', is taken as uniform within half an ULP and
    /// independent of the others (Higham & Mary 2019), so that their variances add up to
    /// `u^2 / 3 largest^2 (1 + 4 + 9 + ... + terms^2 + terms)`, of which this is six standard deviations.
    pub fn sum(terms: usize, largest: f64) -> Self {
        let n = terms as f64;
        let squares = n * (n + 1.0) * (2.0 * n + 1.0) / 6.0;
        let deviation = UNIT_ROUNDOFF * largest.abs() * ((squares + n) / 3.0).sqrt();
        Self::absolute(Tracked::CONFIDENCE * deviation)
    }

    /// How far an element may be from `expected`, in a tensor whose largest magnitude is `range`.
    fn at(self, expected: f64, range: f64) -> f64 {
        let ulps = if self.ulps > 0.0 {
            self.ulps * ulp(expected)
        } else {
            0.0
        };
        self.absolute + self.relative * expected.abs() + ulps + self.range * range
    }

    /// What a closure gave for a binding, with this tolerance around every real.
    fn around(
        self,
        kernel: &str,
        binding: &Binding,
        shape: &Shape,
        values: Vec<f64>,
    ) -> Result<Data> {
        let name = &binding.name;
        let refuse = |message: String| Err(Error::Usage(format!("{kernel}: {message}")));
        let (wanted, got) = (binding.count, values.len());
        if wanted != got {
            return refuse(format!(
                "'{name}' has {wanted} elements, the closure returned {got}"
            ));
        }
        let largest = match binding.dtype {
            DType::F32 | DType::F16 => {
                if let Some(i) = values.iter().position(|x| x.is_nan()) {
                    let place = place(name, shape, i);
                    return refuse(format!(
                        "the closure expects a NaN for {place}: nothing is equal to that"
                    ));
                }
                let range = range(values.iter().copied());
                let tracked = |&x: &f64| Tracked::with_bias(x, self.at(x, range));
                let data = Data::Tracked(values.iter().map(tracked).collect());
                return Ok(match binding.dtype {
                    DType::F16 => half::stored(&data),
                    _ => data,
                });
            }
            DType::U32 => f64::from(u32::MAX),
            DType::U8 => 255.0,
        };
        let whole = |x: &f64| (0.0..=largest).contains(x) && x.fract() == 0.0;
        if let Some(i) = values.iter().position(|x| !whole(x)) {
            let (place, x, dtype) = (place(name, shape, i), values[i], binding.dtype.name());
            return refuse(format!(
                "the closure expects {x} for {place}, which is no {dtype}"
            ));
        }
        Ok(match binding.dtype {
            DType::U8 => Data::U8(values.iter().map(|&x| x as u8).collect()),
            _ => Data::U32(values.iter().map(|&x| x as u32).collect()),
        })
    }
}

impl Add for Tolerance {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            absolute: self.absolute + other.absolute,
            relative: self.relative + other.relative,
            ulps: self.ulps + other.ulps,
            range: self.range + other.range,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_f32_keeps_within_its_tolerance() {
        let Tolerance { absolute, .. } = Tolerance::sum(10_000, 1.0);
        let terms = || (0..10_000).map(|i| (i * 7919 % 1000) as f32 * 1e-3);
        let narrow: f32 = terms().map(|x| x * x).sum();
        let wide: f64 = terms().map(|x| f64::from(x) * f64::from(x)).sum();
        let difference = (f64::from(narrow) - wide).abs();
        assert!(
            difference < absolute && difference > absolute / 100.0,
            "{difference} {absolute}"
        );
    }

    #[test]
    fn tolerances_add_up() {
        let sum = Tolerance::absolute(1.0)
            + Tolerance::relative(0.5)
            + Tolerance::ulps(3.0)
            + Tolerance::of_range(0.1);
        assert_eq!(sum.at(4.0, 20.0), 1.0 + 2.0 + 3.0 * ulp(4.0) + 2.0);
        assert_eq!(Tolerance::EXACT.at(4.0, 20.0), 0.0);
    }
}
