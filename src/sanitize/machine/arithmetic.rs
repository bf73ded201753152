//! Operators and builtin functions of scalars, on bits.

use half::f16;
use naga::{BinaryOperator, MathFunction};

use crate::sanitize::code::{Fun, Num};

/// The result of a float in the width of its type, as f32 bits.
fn float(num: Num, x: f32) -> u32 {
    if num == Num::F16 {
        return f16::from_f32(x).to_f32().to_bits();
    }
    x.to_bits()
}

/// A binary operator, operands of the type `num`.
pub(super) fn binary(op: BinaryOperator, num: Num, a: u32, b: u32) -> u32 {
    match num {
        Num::F32 | Num::F16 => of_floats(op, num, f32::from_bits(a), f32::from_bits(b)),
        Num::I32 => of_signed(op, a as i32, b as i32, b),
        Num::U32 | Num::Bool => of_words(op, a, b),
    }
}

fn of_floats(op: BinaryOperator, num: Num, a: f32, b: f32) -> u32 {
    use BinaryOperator as B;
    match op {
        B::Add => float(num, a + b),
        B::Subtract => float(num, a - b),
        B::Multiply => float(num, a * b),
        B::Divide => float(num, a / b),
        B::Modulo => float(num, a % b),
        B::Equal => u32::from(a == b),
        B::NotEqual => u32::from(a != b),
        B::Less => u32::from(a < b),
        B::LessEqual => u32::from(a <= b),
        B::Greater => u32::from(a > b),
        B::GreaterEqual => u32::from(a >= b),
        B::And
        | B::ExclusiveOr
        | B::InclusiveOr
        | B::LogicalAnd
        | B::LogicalOr
        | B::ShiftLeft
        | B::ShiftRight => 0,
    }
}

/// A division by 0 gives the dividend, as WGSL says (section 8.7).
fn of_signed(op: BinaryOperator, a: i32, b: i32, shift: u32) -> u32 {
    use BinaryOperator as B;
    match op {
        B::Divide => a.checked_div(b).unwrap_or(a) as u32,
        B::Modulo => a.checked_rem(b).unwrap_or(0) as u32,
        B::Less => u32::from(a < b),
        B::LessEqual => u32::from(a <= b),
        B::Greater => u32::from(a > b),
        B::GreaterEqual => u32::from(a >= b),
        B::ShiftRight => a.wrapping_shr(shift) as u32,
        B::Multiply => a.wrapping_mul(b) as u32,
        _ => of_words(op, a as u32, b as u32),
    }
}

fn of_words(op: BinaryOperator, a: u32, b: u32) -> u32 {
    use BinaryOperator as B;
    match op {
        B::Add => a.wrapping_add(b),
        B::Subtract => a.wrapping_sub(b),
        B::Multiply => a.wrapping_mul(b),
        B::Divide => a.checked_div(b).unwrap_or(a),
        B::Modulo => a.checked_rem(b).unwrap_or(0),
        B::Equal => u32::from(a == b),
        B::NotEqual => u32::from(a != b),
        B::Less => u32::from(a < b),
        B::LessEqual => u32::from(a <= b),
        B::Greater => u32::from(a > b),
        B::GreaterEqual => u32::from(a >= b),
        B::And | B::LogicalAnd => a & b,
        B::InclusiveOr | B::LogicalOr => a | b,
        B::ExclusiveOr => a ^ b,
        B::ShiftLeft => a.wrapping_shl(b),
        B::ShiftRight => a.wrapping_shr(b),
    }
}

/// Floating point operations of a binary operator.
pub(super) fn flops(op: BinaryOperator) -> u64 {
    use BinaryOperator as B;
    u64::from(matches!(
        op,
        B::Add | B::Subtract | B::Multiply | B::Divide | B::Modulo
    ))
}

/// Floating point operations of a function: a multiplication with its addition are two, a sine or a root is one.
pub(super) fn flops_of(fun: Fun) -> u64 {
    use MathFunction as M;
    match fun {
        Fun::Math(M::Fma) => 2,
        Fun::Math(M::Mix) => 3,
        Fun::Math(M::SmoothStep) => 7,
        Fun::Negate
        | Fun::Not
        | Fun::FrexpFraction
        | Fun::FrexpExponent
        | Fun::Math(M::Abs | M::Sign | M::QuantizeToF16) => 0,
        Fun::Math(_) => 1,
    }
}

/// Whether a binary operator makes a float of floats.
pub(super) fn makes_float(op: BinaryOperator) -> bool {
    flops(op) > 0
}

/// A function of up to four scalars of the type `num`.
pub(super) fn apply(fun: Fun, num: Num, x: [u32; 4]) -> u32 {
    match num {
        Num::F32 | Num::F16 => of_reals(fun, num, x.map(f32::from_bits), x),
        Num::I32 => of_integers(fun, x, true),
        Num::U32 => of_integers(fun, x, false),
        Num::Bool => u32::from(x[0] == 0),
    }
}

fn of_reals(fun: Fun, num: Num, x: [f32; 4], bits: [u32; 4]) -> u32 {
    use MathFunction as M;
    // Computed in f64 and rounded once: closer than any device.
    let wide = |f: fn(f64) -> f64| f(f64::from(x[0])) as f32;
    let result = match fun {
        Fun::Negate => -x[0],
        Fun::FrexpFraction => libm::frexpf(x[0]).0,
        Fun::FrexpExponent => return libm::frexpf(x[0]).1 as u32,
        Fun::Not => return 0,
        Fun::Math(M::Ldexp) => libm::ldexpf(x[0], bits[1] as i32),
        Fun::Math(fun) => match fun {
            M::Abs => x[0].abs(),
            M::Min => x[0].min(x[1]),
            M::Max => x[0].max(x[1]),
            M::Clamp => x[0].max(x[1]).min(x[2]),
            M::Saturate => x[0].clamp(0.0, 1.0),
            M::Cos => wide(f64::cos),
            M::Cosh => wide(f64::cosh),
            M::Sin => wide(f64::sin),
            M::Sinh => wide(f64::sinh),
            M::Tan => wide(f64::tan),
            M::Tanh => wide(f64::tanh),
            M::Acos => wide(f64::acos),
            M::Asin => wide(f64::asin),
            M::Atan => wide(f64::atan),
            M::Atan2 => f64::from(x[0]).atan2(f64::from(x[1])) as f32,
            M::Asinh => wide(libm::asinh),
            M::Acosh => wide(libm::acosh),
            M::Atanh => wide(libm::atanh),
            M::Radians => wide(f64::to_radians),
            M::Degrees => wide(f64::to_degrees),
            M::Ceil => x[0].ceil(),
            M::Floor => x[0].floor(),
            M::Round => x[0].round_ties_even(),
            M::Fract => x[0] - x[0].floor(),
            M::Trunc => x[0].trunc(),
            M::Exp => wide(f64::exp),
            M::Exp2 => wide(f64::exp2),
            M::Log => wide(f64::ln),
            M::Log2 => wide(f64::log2),
            M::Pow => f64::from(x[0]).powf(f64::from(x[1])) as f32,
            M::Sign if x[0] == 0.0 => 0.0,
            M::Sign => x[0].signum(),
            // The product is exact in f64, and the sum rounded twice at worst.
            M::Fma => (f64::from(x[0]) * f64::from(x[1]) + f64::from(x[2])) as f32,
            M::Mix => x[0] * (1.0 - x[2]) + x[1] * x[2],
            M::Step => f32::from(x[0] <= x[1]),
            M::SmoothStep => {
                let t = ((x[2] - x[0]) / (x[1] - x[0])).clamp(0.0, 1.0);
                t * t * (3.0 - 2.0 * t)
            }
            M::Sqrt => x[0].sqrt(),
            M::InverseSqrt => wide(|x| 1.0 / x.sqrt()),
            M::QuantizeToF16 => f16::from_f32(x[0]).to_f32(),
            other => unreachable!("{other:?} is no function of scalars"),
        },
    };
    float(num, result)
}

fn of_integers(fun: Fun, x: [u32; 4], signed: bool) -> u32 {
    use MathFunction as M;
    let [a, b, c] = [x[0] as i32, x[1] as i32, x[2] as i32];
    match fun {
        Fun::Negate => a.wrapping_neg() as u32,
        Fun::Not => !x[0],
        Fun::Math(M::Abs) if signed => a.wrapping_abs() as u32,
        Fun::Math(M::Abs) => x[0],
        Fun::Math(M::Min) if signed => a.min(b) as u32,
        Fun::Math(M::Min) => x[0].min(x[1]),
        Fun::Math(M::Max) if signed => a.max(b) as u32,
        Fun::Math(M::Max) => x[0].max(x[1]),
        Fun::Math(M::Clamp) if signed => a.max(b).min(c) as u32,
        Fun::Math(M::Clamp) => x[0].max(x[1]).min(x[2]),
        Fun::Math(M::Sign) => a.signum() as u32,
        Fun::Math(M::CountTrailingZeros) => x[0].trailing_zeros(),
        Fun::Math(M::CountLeadingZeros) => x[0].leading_zeros(),
        Fun::Math(M::CountOneBits) => x[0].count_ones(),
        Fun::Math(M::ReverseBits) => x[0].reverse_bits(),
        Fun::Math(M::FirstTrailingBit) if x[0] == 0 => u32::MAX,
        Fun::Math(M::FirstTrailingBit) => x[0].trailing_zeros(),
        Fun::Math(M::FirstLeadingBit) => {
            let word = if signed && a < 0 { !x[0] } else { x[0] };
            word.checked_ilog2().unwrap_or(u32::MAX)
        }
        Fun::Math(M::ExtractBits) => {
            let (offset, count) = (x[1].min(32), x[2].min(32 - x[1].min(32)));
            match count {
                0 => 0,
                _ if signed => ((x[0] << (32 - count - offset)) as i32 >> (32 - count)) as u32,
                _ => x[0] >> offset & (u32::MAX >> (32 - count)),
            }
        }
        Fun::Math(M::InsertBits) => {
            let (offset, count) = (x[2].min(32), x[3].min(32 - x[2].min(32)));
            if count == 0 {
                return x[0];
            }
            let mask = (u32::MAX >> (32 - count)) << offset;
            x[0] & !mask | x[1] << offset & mask
        }
        Fun::Math(M::Dot4I8Packed) => {
            let bytes = |x: u32| x.to_le_bytes().map(|b| i32::from(b as i8));
            let products = bytes(x[0]).into_iter().zip(bytes(x[1]));
            products.map(|(a, b)| a * b).sum::<i32>() as u32
        }
        Fun::Math(M::Dot4U8Packed) => {
            let products = x[0].to_le_bytes().into_iter().zip(x[1].to_le_bytes());
            products.map(|(a, b)| u32::from(a) * u32::from(b)).sum()
        }
        other => unreachable!("{other:?} is no function of integers"),
    }
}

/// A value of another type. Reals that an integer cannot hold become its nearest, as WGSL says (section 15.7.6).
pub(super) fn convert(was: Num, becomes: Num, x: u32) -> u32 {
    let real = f32::from_bits(x);
    match (was, becomes) {
        (Num::F32 | Num::F16, Num::F32 | Num::F16) => float(becomes, real),
        (Num::F32 | Num::F16, Num::I32) => real as i32 as u32,
        (Num::F32 | Num::F16, Num::U32) => real as u32,
        (Num::F32 | Num::F16, Num::Bool) => u32::from(real != 0.0),
        (Num::I32, Num::F32 | Num::F16) => float(becomes, x as i32 as f32),
        (Num::U32 | Num::Bool, Num::F32 | Num::F16) => float(becomes, x as f32),
        (_, Num::Bool) => u32::from(x != 0),
        (Num::I32 | Num::U32 | Num::Bool, Num::I32 | Num::U32) => x,
    }
}

/// How many numbers a function packs into a word, or takes out of one.
pub(super) fn numbers(fun: MathFunction) -> u32 {
    use MathFunction as M;
    match fun {
        M::Pack2x16snorm
        | M::Pack2x16unorm
        | M::Pack2x16float
        | M::Unpack2x16snorm
        | M::Unpack2x16unorm
        | M::Unpack2x16float => 2,
        _ => 4,
    }
}

/// Several numbers in a word.
pub(super) fn pack(fun: MathFunction, x: &[u32]) -> u32 {
    use MathFunction as M;
    let real = |i: usize| f32::from_bits(x[i]);
    let bytes = |f: &dyn Fn(usize) -> u32| (0..4).fold(0, |w, i| w | (f(i) & 0xff) << (8 * i));
    let halves = |f: &dyn Fn(usize) -> u32| f(0) & 0xffff | f(1) << 16;
    let whole = |x: f32, low: f32, steps: f32| (0.5 + steps * x.clamp(low, 1.0)).floor() as i32;
    match fun {
        M::Pack4x8snorm => bytes(&|i| whole(real(i), -1.0, 127.0) as u32),
        M::Pack4x8unorm => bytes(&|i| whole(real(i), 0.0, 255.0) as u32),
        M::Pack2x16snorm => halves(&|i| whole(real(i), -1.0, 32_767.0) as u32),
        M::Pack2x16unorm => halves(&|i| whole(real(i), 0.0, 65_535.0) as u32),
        M::Pack2x16float => halves(&|i| u32::from(f16::from_f32(real(i)).to_bits())),
        M::Pack4xI8Clamp => bytes(&|i| (x[i] as i32).clamp(-128, 127) as u32),
        M::Pack4xU8Clamp => bytes(&|i| x[i].min(255)),
        _ => bytes(&|i| x[i]),
    }
}

/// Number `i` of those in a word.
pub(super) fn unpack(fun: MathFunction, word: u32, i: u32) -> u32 {
    use MathFunction as M;
    let byte = word >> (8 * i) & 0xff;
    let half = word >> (16 * (i & 1)) & 0xffff;
    match fun {
        M::Unpack4x8snorm => (f32::from(byte as u8 as i8) / 127.0).max(-1.0).to_bits(),
        M::Unpack4x8unorm => (byte as f32 / 255.0).to_bits(),
        M::Unpack2x16snorm => (f32::from(half as u16 as i16) / 32_767.0)
            .max(-1.0)
            .to_bits(),
        M::Unpack2x16unorm => (half as f32 / 65_535.0).to_bits(),
        M::Unpack2x16float => f16::from_bits(half as u16).to_f32().to_bits(),
        M::Unpack4xI8 => i32::from(byte as u8 as i8) as u32,
        _ => byte,
    }
}

/// The determinant of a square matrix of `n` columns.
pub(super) fn determinant(x: &[f32], n: usize) -> f32 {
    if n == 1 {
        return x[0];
    }
    (0..n).fold(0.0, |sum, c| {
        let minor: Vec<f32> = (0..n)
            .filter(|&k| k != c)
            .flat_map(|k| x[k * n + 1..(k + 1) * n].iter().copied())
            .collect();
        let sign = if c % 2 == 0 { 1.0 } else { -1.0 };
        sum + sign * x[c * n] * determinant(&minor, n - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fun: MathFunction, num: Num, x: &[u32]) -> u32 {
        let mut all = [0; 4];
        all[..x.len()].copy_from_slice(x);
        apply(Fun::Math(fun), num, all)
    }

    #[test]
    fn integers_are_as_wgsl_says() {
        use MathFunction as M;
        let divide = |num, a, b| binary(BinaryOperator::Divide, num, a, b);
        assert_eq!(divide(Num::I32, 7, 0), 7);
        assert_eq!(divide(Num::I32, i32::MIN as u32, u32::MAX), i32::MIN as u32);
        assert_eq!(divide(Num::I32, (-7_i32) as u32, 2), (-3_i32) as u32);
        let rest = |a: i32, b: i32| binary(BinaryOperator::Modulo, Num::I32, a as u32, b as u32);
        assert_eq!(rest(-7, 2) as i32, -1);
        let shift = binary(BinaryOperator::ShiftRight, Num::I32, (-8_i32) as u32, 1);
        assert_eq!(shift as i32, -4);
        assert_eq!(of(M::ExtractBits, Num::U32, &[0xabcd_1234, 8, 8]), 0x12);
        assert_eq!(
            of(M::ExtractBits, Num::I32, &[0x0000_8000, 8, 8]),
            0xffff_ff80
        );
        assert_eq!(
            of(M::InsertBits, Num::U32, &[0xffff_ffff, 0, 4, 8]),
            0xffff_f00f
        );
        assert_eq!(of(M::FirstLeadingBit, Num::I32, &[0xffff_fff0]), 3);
        assert_eq!(of(M::FirstLeadingBit, Num::U32, &[0]), u32::MAX);
        assert_eq!(of(M::Dot4I8Packed, Num::U32, &[0xff02, 0x0303]), 3);
    }

    #[test]
    fn conversions_keep_to_the_range() {
        let real = |x: f32| x.to_bits();
        assert_eq!(convert(Num::F32, Num::U32, real(-3.0)), 0);
        assert_eq!(convert(Num::F32, Num::I32, real(3e9)), i32::MAX as u32);
        assert_eq!(convert(Num::F32, Num::F16, real(1.0 + 1e-4)), real(1.0));
        assert_eq!(convert(Num::Bool, Num::F32, 1), real(1.0));
        let packed = pack(
            MathFunction::Pack4x8snorm,
            &[real(-1.0), real(0.5), real(2.0), 0],
        );
        assert_eq!(packed, 0x007f_4081);
        assert_eq!(
            f32::from_bits(unpack(MathFunction::Unpack4x8snorm, packed, 0)),
            -1.0
        );
    }

    #[test]
    fn a_determinant_is_that_of_its_columns() {
        assert_eq!(determinant(&[1.0, 3.0, 2.0, 4.0], 2), -2.0);
        let three = [2.0, 0.0, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0, 4.0];
        assert_eq!(determinant(&three, 3), 2.0 * 10.0 - 0.0 + (1.0 - 3.0));
    }
}
