//! An f64 with a bound of how far an f32 device may be from it.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{Precision, Real};
use crate::tensor::Data;

/// Half the spacing of f32 next to 1: the relative error of one rounded operation.
pub const UNIT_ROUNDOFF: f64 = 5.960_464_477_539_063e-8;

/// The smallest normal f32; below it a device may flush to zero.
const SMALLEST_NORMAL: f64 = 1.175_494_350_822_287_5e-38;

/// An f64 with a bound of how far an f32 device may be from it.
///
/// Two kinds of error are carried. `variance` is that of the rounding errors of `+ - *`: each is taken as uniform within half an
/// ULP and independent of the others, so that a sum of n terms errs by about sqrt(n) roundoffs (Higham & Mary 2019, "A new
/// approach to probabilistic rounding error analysis", theorem 2.4, lambda = [`Tracked::CONFIDENCE`]). `bias` is what a
/// builtin is granted by WGSL (section 15.7.4, "Floating point accuracy"), which may point one way for all arguments and so adds
/// up linearly.
///
/// Beside them stands what is no error: `choice`, how far apart the values are among which a device may decide as it likes. A comparison
/// whose operands are closer than their errors may rightly fall either way, and a number that is put into a narrower format (a constant
/// into f32, a texel into eight bits) becomes a neighbour of itself. It spreads as a bias does.
///
/// The tolerance of an element is `choice + bias + lambda * sqrt(variance)`: derived from the terms accumulated, their scale, the builtins
/// called and the decisions on the way, element by element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    value: f64,
    bias: f64,
    variance: f64,
    choice: f64,
    /// Of a sum, the magnitudes that were added; else 0.
    spread: f64,
}
impl Tracked {
    /// How many standard deviations of rounding error are allowed: six are passed once in 5e8 elements.
    pub const CONFIDENCE: f64 = 6.0;

    /// The largest difference that the device may show.
    pub fn tolerance(self) -> f64 {
        self.choice + self.error()
    }

    /// What of the tolerance is error: rounding and what builtins are granted.
    pub fn error(self) -> f64 {
        self.bias + Self::CONFIDENCE * self.variance.sqrt()
    }

    /// What of the tolerance is choice: decisions that may fall either way.
    pub fn choice(self) -> f64 {
        self.choice
    }

    /// A value known up to `bias`.
    pub fn with_bias(value: f64, bias: f64) -> Self {
        Self {
            value,
            bias,
            variance: 0.0,
            choice: 0.0,
            spread: 0.0,
        }
    }

    /// The same where the device may besides choose any value up to `choice` away.
    #[must_use]
    pub fn or_within(self, choice: f64) -> Self {
        Self {
            choice: self.choice + choice,
            ..self
        }
    }

    /// The error of a device that takes the smallest numbers for 0, as WGSL lets it take operands and results.
    fn flushed(self) -> f64 {
        let size = self.value.abs();
        if size < SMALLEST_NORMAL { size } else { 0.0 }
    }

    /// After one more rounded operation, whose exact result this is. What was chosen otherwise is rounded at its own magnitude.
    fn rounded(self) -> Self {
        let step = UNIT_ROUNDOFF * (self.value.abs() + self.choice).max(SMALLEST_NORMAL);
        // Uniform on [-step, step].
        Self {
            bias: self.bias + self.flushed(),
            variance: self.variance + step * step / 3.0,
            ..self
        }
    }

    /// f(self) where |f'| is at most `slope` near it and the builtin errs by `own`.
    fn builtin(self, value: f64, slope: f64, own: f64) -> Self {
        Self {
            value,
            bias: slope * self.bias + own + SMALLEST_NORMAL,
            variance: slope * slope * self.variance,
            choice: slope * self.choice,
            spread: 0.0,
        }
    }
}

impl Add for Tracked {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            bias: self.bias + other.bias + self.flushed() + other.flushed(),
            variance: self.variance + other.variance,
            choice: self.choice + other.choice,
            spread: self.value.abs() + other.value.abs(),
        }
        .rounded()
    }
}

impl Sub for Tracked {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Tracked {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            value: -self.value,
            ..self
        }
    }
}

impl Mul for Tracked {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        let (by_a, by_b) = (self.bias + self.flushed(), other.bias + other.flushed());
        // Compilers distribute: (x - m) s becomes x s - m s, each product rounded at its own magnitude (seen on NVIDIA 580.159).
        let distributed = UNIT_ROUNDOFF * (b * self.spread).abs().max((a * other.spread).abs());
        Self {
            value: a * b,
            bias: (a.abs() + self.choice) * by_b + (b.abs() + other.choice) * by_a + by_a * by_b,
            variance: a * a * other.variance
                + b * b * self.variance
                + self.variance * other.variance
                + distributed * distributed / 3.0,
            choice: a.abs() * other.choice + b.abs() * self.choice + self.choice * other.choice,
            spread: 0.0,
        }
        .rounded()
    }
}

impl Div for Tracked {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        // WGSL grants 2.5 ULP; an ULP is at most 2 unit roundoffs. The divisor is taken at its smallest within its error.
        let value = self.value / other.value;
        let smallest = (other.value.abs() - other.tolerance()).max(SMALLEST_NORMAL);
        let choice = (self.choice + value.abs() * other.choice) / smallest;
        Self {
            value,
            bias: (self.bias + value.abs() * other.bias) / smallest
                + 5.0 * UNIT_ROUNDOFF * (value.abs() + choice),
            variance: (self.variance + value * value * other.variance) / (smallest * smallest),
            choice,
            spread: 0.0,
        }
    }
}

impl From<f64> for Tracked {
    fn from(x: f64) -> Self {
        Self::from_f64(x)
    }
}

/// Arithmetic with constants: `x * 2.0`.
macro_rules! with_constants {
    ($($trait:ident $method:ident,)*) => {$(
        impl $trait<f64> for Tracked {
            type Output = Self;
            fn $method(self, constant: f64) -> Self {
                self.$method(Self::from_f64(constant))
            }
        }
        impl $trait<Tracked> for f64 {
            type Output = Tracked;
            fn $method(self, other: Tracked) -> Tracked {
                Tracked::from_f64(self).$method(other)
            }
        }
    )*};
}
with_constants!(Add add, Sub sub, Mul mul, Div div,);

impl Real for Tracked {
    const PRECISION: Precision = Precision::Tracked;

    fn from_f64(x: f64) -> Self {
        // A constant reaches the device rounded to f32.
        Self::with_bias(x, 0.0).or_within((x - f64::from(x as f32)).abs())
    }
    fn to_f64(self) -> f64 {
        self.value
    }
    fn exp(self) -> Self {
        // 3 + 2 |x| ULP; the slope is taken at the upper end of the argument's error.
        let value = self.value.exp();
        let slope = (self.value + self.tolerance().min(1.0)).exp();
        self.builtin(
            value,
            slope,
            (3.0 + 2.0 * self.value.abs()) * 2.0 * UNIT_ROUNDOFF * value,
        )
    }
    fn exp_m1(self) -> Self {
        // A series next to 0: its last sum, the products before it at most half as large, and a cut of 1e-8. Else the error of exp,
        // which falls with it below 0, and the rounding of the difference.
        let value = self.value.exp_m1();
        let own = if self.value.abs() < 0.5 - self.tolerance() {
            4.0 * UNIT_ROUNDOFF * value.abs()
        } else {
            let exp = (3.0 + 2.0 * self.value.abs()) * 2.0 * self.value.exp();
            UNIT_ROUNDOFF * (exp + value.abs())
        };
        self.builtin(value, (self.value + self.tolerance().min(1.0)).exp(), own)
    }
    fn ln(self) -> Self {
        // 2^-21 absolute on [0.5, 2], else 3 ULP.
        let value = self.value.ln();
        let own = if (0.5..=2.0).contains(&self.value) {
            2_f64.powi(-21)
        } else {
            6.0 * UNIT_ROUNDOFF * value.abs()
        };
        self.builtin(
            value,
            1.0 / (self.value - self.tolerance()).max(SMALLEST_NORMAL),
            own,
        )
    }
    fn ln_1p(self) -> Self {
        // 2 s p(s^2), s = u / (2 + u): a quotient of 2.5 ULP, whose error s^2 <= 1/9 hardly doubles, a series exact to 1.5e-8, and
        // three roundings of p and the products.
        let value = self.value.ln_1p();
        self.builtin(value, 1.0, 9.0 * UNIT_ROUNDOFF * value)
    }
    fn erf(self) -> Self {
        // Abramowitz & Stegun 7.1.26: 1.5e-7, and the roundings of a polynomial with terms up to 1.5 and of an exponential, which
        // WGSL grants 3 + 2 x^2 ULP of e^-x^2: at most 6.1 unit roundoffs, at x = 0.7.
        let value = libm::erf(self.value);
        self.builtin(
            value,
            2.0 / std::f64::consts::PI.sqrt(),
            1.5e-7 + 24.0 * UNIT_ROUNDOFF,
        )
    }
    fn sqrt(self) -> Self {
        // Inherited from 1 / inverseSqrt(x): 2 ULP and 2.5 ULP.
        let value = self.value.max(0.0).sqrt();
        let smallest = (self.value - self.tolerance())
            .max(0.0)
            .sqrt()
            .max(value / 2.0)
            .max(SMALLEST_NORMAL);
        self.builtin(value, 0.5 / smallest, 9.0 * UNIT_ROUNDOFF * value)
    }
    fn tanh(self) -> Self {
        // 1e-5 absolute.
        let value = self.value.tanh();
        self.builtin(value, 1.0, 1e-5)
    }
    fn sin(self) -> Self {
        // `shared/sine.wgsl`. Within 0.78 the argument is taken as it is: a last sum, beside it terms of a tenth with five roundings, and
        // a polynomial cut at 0.13 unit roundoffs. Else its rest within an eighth of a turn has three roundings, of at most pi / 4, and is
        // cut at 2^-32 turns: 1.4 unit roundoffs where the slope is as large as there, and the polynomial's 1.2.
        let own = if self.value.abs() + self.tolerance() < 0.78 {
            2.0 * UNIT_ROUNDOFF * self.value.abs()
        } else {
            3.5 * UNIT_ROUNDOFF
        };
        self.builtin(self.value.sin(), 1.0, own)
    }
    fn cos(self) -> Self {
        // The same with a polynomial of at most 1.4 unit roundoffs.
        self.builtin(self.value.cos(), 1.0, 3.5 * UNIT_ROUNDOFF)
    }
    fn scaled(self, exponent: i32) -> Self {
        let by = 2_f64.powi(exponent);
        Self {
            value: self.value * by,
            bias: self.bias * by,
            variance: self.variance * by * by,
            choice: self.choice * by,
            spread: self.spread * by,
        }
    }
    fn abs(self) -> Self {
        Self {
            value: self.value.abs(),
            ..self
        }
    }
    fn max(self, other: Self) -> Self {
        self.choose(other, self.value >= other.value)
    }
    fn min(self, other: Self) -> Self {
        self.choose(other, self.value <= other.value)
    }
    fn greater(self, other: Self) -> Self {
        let value = if self.value > other.value { 1.0 } else { 0.0 };
        self.compared(other, value)
    }
    fn equal(self, other: Self) -> Self {
        let value = if self.value == other.value { 1.0 } else { 0.0 };
        self.compared(other, value)
    }
    fn select(self, a: Self, b: Self) -> Self {
        let chosen = if self.value == 0.0 { b } else { a };
        if self.tolerance() < 0.5 {
            return chosen;
        }
        // The other one comes with its own errors.
        Self {
            value: chosen.value,
            bias: a.bias.max(b.bias),
            variance: a.variance.max(b.variance),
            choice: a.choice.max(b.choice) + (a.value - b.value).abs(),
            spread: a.spread.max(b.spread),
        }
    }
    fn is_finite(self) -> bool {
        self.value.is_finite() && self.value.abs() <= f64::from(f32::MAX)
    }
    fn sort(values: &mut [Self]) {
        // Whatever the device has of each, its k-th is no less than the k-th of the lower ends and no more than that of the upper ones.
        let ordered = |of: fn(&Self) -> f64| {
            let mut all: Vec<f64> = values.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let middles = ordered(|x| x.value);
        let by_error = [
            ordered(|x| x.value - x.error()),
            ordered(|x| x.value + x.error()),
        ];
        let by_all = [
            ordered(|x| x.value - x.tolerance()),
            ordered(|x| x.value + x.tolerance()),
        ];
        for (i, (value, &middle)) in values.iter_mut().zip(&middles).enumerate() {
            let within = |[low, high]: &[Vec<f64>; 2]| (middle - low[i]).max(high[i] - middle);
            let (error, all) = (within(&by_error), within(&by_all));
            *value = Self::with_bias(middle, error).or_within((all - error).max(0.0));
        }
    }
    fn into_data(values: Vec<Self>) -> Data {
        Data::Tracked(values)
    }
    fn of(data: &Data) -> &[Self] {
        match data {
            Data::Tracked(v) => v,
            other => panic!("twin in Tracked was given {other:?}"),
        }
    }
    fn take(data: Data) -> Vec<Self> {
        match data {
            Data::Tracked(v) => v,
            other => panic!("twin in Tracked was given {other:?}"),
        }
    }
}

impl Tracked {
    /// One of two, where the device may have taken the other if they are closer than their errors.
    fn choose(self, other: Self, first: bool) -> Self {
        let (kept, left) = if first { (self, other) } else { (other, self) };
        if (kept.value - left.value).abs() > kept.tolerance() + left.tolerance() {
            return kept;
        }
        Self {
            value: kept.value,
            bias: kept.bias.max(left.bias),
            variance: kept.variance.max(left.variance),
            choice: kept.choice.max(left.choice),
            spread: kept.spread.max(left.spread),
        }
    }

    /// A comparison's result: uncertain by 1 where the operands are closer than their errors, and those are not zero.
    fn compared(self, other: Self, value: f64) -> Self {
        let error = self.tolerance() + other.tolerance();
        let uncertain = error > 0.0 && (self.value - other.value).abs() <= error;
        Self::with_bias(value, 0.0).or_within(if uncertain { 1.0 } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracked_bounds_hold_for_f32_arithmetic() {
        let mut wide = Tracked::from_f64(0.0);
        let mut narrow = 0_f32;
        for i in 0..10_000 {
            let x = ((i * 7919 % 1000) as f32 - 499.5) * 1e-3;
            let term = Tracked::with_bias(f64::from(x), 0.0);
            wide = wide + term * term.exp();
            narrow += x * x.exp();
        }
        let error = (f64::from(narrow) - wide.to_f64()).abs();
        assert!(error <= wide.tolerance(), "{error} > {}", wide.tolerance());
        // Tight enough that a factor of 1.001 would show.
        assert!(wide.tolerance() < 1e-3 * wide.to_f64().abs());
    }

    #[test]
    fn a_product_of_a_sum_may_be_distributed() {
        let known = |x: f32| Tracked::with_bias(f64::from(x), 0.0);
        let (x, mean, s) = (33.0 / 255.0, 0.1307_f32, 3.245_f32);
        let allowed = (known(x) - known(mean)) * known(s);
        let got = f64::from(x.mul_add(s, -(mean * s)));
        assert!((got - allowed.to_f64()).abs() <= allowed.tolerance());
    }

    #[test]
    fn a_comparison_within_the_error_is_uncertain() {
        let a = Tracked::with_bias(1.0, 1e-6);
        let b = Tracked::with_bias(1.0 + 1e-7, 0.0);
        let picked = a
            .greater(b)
            .select(Tracked::from_f64(5.0), Tracked::from_f64(2.0));
        assert_eq!(picked.to_f64(), 2.0);
        // That much is the decision's, none of it rounding.
        assert_eq!((picked.choice(), picked.error()), (3.0, 0.0));
        // Scaled, 5 and 2 become 0.5 and 0.2, each rounded at its own magnitude.
        let scaled = picked * Tracked::with_bias(0.1, 0.0);
        assert!((scaled.choice() - 0.3).abs() < 1e-12);
        assert!(scaled.error() >= 0.5 * UNIT_ROUNDOFF);
    }

    #[test]
    fn a_sorted_number_may_be_what_its_neighbours_may_be() {
        // 1 and 1.2, each known to 0.3; 5, which is exact, and 4.9 or anything within 1 of it.
        let known = |x: f64, bias: f64| Tracked::with_bias(x, bias);
        let mut values = [
            known(5.0, 0.0),
            known(1.2, 0.3),
            known(4.9, 0.0).or_within(1.0),
            known(1.0, 0.3),
        ];
        Tracked::sort(&mut values);
        let is = |i: usize, value: f64, error: f64, choice: f64| {
            let got = values[i];
            let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
            assert!(
                near(got.value, value) && near(got.error(), error) && near(got.choice(), choice),
                "{i}: {got:?}"
            );
        };
        is(0, 1.0, 0.3, 0.0);
        is(1, 1.2, 0.3, 0.0);
        // From 3.9 to 5, or from 5 to 5.9.
        is(2, 4.9, 0.0, 1.0);
        is(3, 5.0, 0.0, 0.9);
        let mut plain = [2.0_f32, -0.0, 0.0, -1.0];
        f32::sort(&mut plain);
        assert_eq!(
            plain.map(f32::to_bits),
            [-1.0_f32, -0.0, 0.0, 2.0].map(f32::to_bits)
        );
    }

    #[test]
    fn scaling_by_powers_of_two_adds_no_error() {
        let x = Tracked::with_bias(3.0, 1e-7).or_within(0.5);
        let scaled = (x + x).scaled(-3);
        assert_eq!(scaled.value, 0.75);
        assert_eq!(scaled.error(), (x + x).error() / 8.0);
        assert_eq!(scaled.choice(), 0.125);
        assert_eq!(
            (0.3_f32.scaled(9), 0.3_f64.scaled(-2)),
            (0.3 * 512.0, 0.3 / 4.0)
        );
    }

    #[test]
    fn the_sine_of_a_small_angle_keeps_its_accuracy() {
        let of = |x: f64| Tracked::with_bias(x, 0.0).sin();
        assert!(of(1e-6).tolerance() < 1.3e-13);
        assert!(of(3000.0).tolerance() < 2.2e-7);
        let inexact = Tracked::with_bias(0.2, 1e-3);
        assert!(inexact.sin().error() >= 1e-3 && inexact.cos().error() >= 1e-3);
    }
}
