//! The number types that the CPU twins run in: f32, f64, and [`Tracked`], an f64 that carries a bound of an f32 device's error. A twin is
//! written once, over [`Real`].
//!
//! ```
//! use wgen::real::{Real, Tracked};
//!
//! fn norm<T: Real>(x: [f64; 3]) -> T {
//!     let [a, b, c] = x.map(T::from_f64);
//!     (a * a + b * b + c * c).sqrt()
//! }
//!
//! let x = [0.1, 0.2, 0.3];
//! let tracked = norm::<Tracked>(x);
//! assert_eq!(tracked.to_f64(), norm::<f64>(x));
//! // The tolerance is what the operations add up to, and f32 keeps within it.
//! let error = (f64::from(norm::<f32>(x)) - tracked.to_f64()).abs();
//! assert!(error <= tracked.tolerance() && tracked.tolerance() < 1e-6);
//! ```

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::tensor::Data;

mod tracked;

pub use tracked::{Tracked, UNIT_ROUNDOFF};

/// Which number type a CPU computation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single: the fallback device.
    F32,
    /// Double: references.
    F64,
    /// Double with error bounds: tolerances of `verify`.
    Tracked,
}

/// Arithmetic that a CPU twin needs, over f32, f64 and [`Tracked`].
pub trait Real:
    Copy
    + Debug
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Its [`Precision`].
    const PRECISION: Precision;
    /// The nearest value.
    fn from_f64(x: f64) -> Self;
    /// The value.
    fn to_f64(self) -> f64;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x - 1.
    fn exp_m1(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x) for x in [0, 1].
    fn ln_1p(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The sine. Devices compute it by `shaders/shared/sine.wgsl`, of arguments below 2^30.
    fn sin(self) -> Self;
    /// The cosine, likewise.
    fn cos(self) -> Self;
    /// Times 2^`exponent`, which is exact.
    fn scaled(self, exponent: i32) -> Self;
    /// The magnitude.
    fn abs(self) -> Self;
    /// The larger.
    fn max(self, other: Self) -> Self;
    /// The smaller.
    fn min(self, other: Self) -> Self;
    /// 1 where `self > other`, else 0.
    fn greater(self, other: Self) -> Self;
    /// 1 where `self == other`, else 0.
    fn equal(self, other: Self) -> Self;
    /// `a` where the condition `self` is not 0, else `b`.
    fn select(self, a: Self, b: Self) -> Self;
    /// Whether the exponent bits are not all ones.
    fn is_finite(self) -> bool;
    /// Puts numbers into ascending order, by their bits where they are not finite or zeros.
    fn sort(values: &mut [Self]);
    /// As a host array.
    fn into_data(values: Vec<Self>) -> Data;
    /// The elements of a host array of this type.
    ///
    /// # Panics
    /// When the array is of another type: a twin was called with arrays of mixed precision, a fault of this library.
    fn of(data: &Data) -> &[Self];
    /// The elements, to be moved out.
    fn take(data: Data) -> Vec<Self>;
}

macro_rules! plain_real {
    ($t:ident, $variant:ident) => {
        impl Real for $t {
            const PRECISION: Precision = Precision::$variant;
            #[allow(clippy::cast_lossless, reason = "one macro serves both widths")]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[allow(clippy::cast_lossless, reason = "one macro serves both widths")]
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn exp(self) -> Self {
                $t::exp(self)
            }
            fn exp_m1(self) -> Self {
                $t::exp_m1(self)
            }
            fn ln(self) -> Self {
                $t::ln(self)
            }
            fn ln_1p(self) -> Self {
                $t::ln_1p(self)
            }
            #[allow(clippy::cast_lossless, reason = "one macro serves both widths")]
            fn erf(self) -> Self {
                libm::erf(self as f64) as $t
            }
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            fn tanh(self) -> Self {
                $t::tanh(self)
            }
            fn sin(self) -> Self {
                $t::sin(self)
            }
            fn cos(self) -> Self {
                $t::cos(self)
            }
            fn scaled(self, exponent: i32) -> Self {
                self * $t::powi(2.0, exponent)
            }
            fn abs(self) -> Self {
                $t::abs(self)
            }
            fn max(self, other: Self) -> Self {
                $t::max(self, other)
            }
            fn min(self, other: Self) -> Self {
                $t::min(self, other)
            }
            fn greater(self, other: Self) -> Self {
                if self > other { 1.0 } else { 0.0 }
            }
            fn equal(self, other: Self) -> Self {
                if self == other { 1.0 } else { 0.0 }
            }
            fn select(self, a: Self, b: Self) -> Self {
                if self == 0.0 { b } else { a }
            }
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            fn sort(values: &mut [Self]) {
                values.sort_by($t::total_cmp);
            }
            fn into_data(values: Vec<Self>) -> Data {
                Data::$variant(values)
            }
            fn of(data: &Data) -> &[Self] {
                match data {
                    Data::$variant(v) => v,
                    other => panic!("twin in {:?} was given {other:?}", Self::PRECISION),
                }
            }
            fn take(data: Data) -> Vec<Self> {
                match data {
                    Data::$variant(v) => v,
                    other => panic!("twin in {:?} was given {other:?}", Self::PRECISION),
                }
            }
        }
    };
}
plain_real!(f32, F32);
plain_real!(f64, F64);
