//! Twins of the scalar functions: each computes its definition, not the kernel's way of getting there.

use crate::kernels::functions::Function;
use crate::real::Real;

/// `function` of `x`, whose length is the function's arity.
pub(crate) fn apply<T: Real>(function: Function, x: &[T]) -> T {
    let c = T::from_f64;
    match function {
        Function::Identity => x[0],
        Function::Neg => -x[0],
        Function::Add => x[0] + x[1],
        Function::Sub => x[0] - x[1],
        Function::Mul => x[0] * x[1],
        Function::Div => x[0] / x[1],
        Function::Max => x[0].max(x[1]),
        Function::Min => x[0].min(x[1]),
        Function::Greater => x[0].greater(x[1]),
        Function::Equal => x[0].equal(x[1]),
        Function::Select => x[0].select(x[1], x[2]),
        Function::Clamp => x[0].max(x[1]).min(x[2]),
        Function::Abs => x[0].abs(),
        Function::Square => x[0] * x[0],
        Function::Sqrt => x[0].sqrt(),
        Function::Exp => x[0].exp(),
        Function::ExpMinusOne => x[0].exp_m1(),
        Function::Log => x[0].ln(),
        Function::LogOnePlus => x[0].ln_1p(),
        Function::Relu => x[0].max(c(0.0)),
        Function::LeakyRelu => x[0].greater(c(0.0)).select(x[0], x[1] * x[0]),
        Function::Elu => x[0]
            .greater(c(0.0))
            .select(x[0], x[1] * x[0].min(c(0.0)).exp_m1()),
        Function::Sigmoid => sigmoid(x[0]),
        Function::Tanh => x[0].tanh(),
        Function::Silu => x[0] * sigmoid(x[0]),
        Function::Erf => x[0].erf(),
        Function::Gelu => {
            c(0.5) * x[0] * (c(1.0) + (x[0] * c(std::f64::consts::FRAC_1_SQRT_2)).erf())
        }
        Function::GeluTanh => {
            let inner =
                c((2.0 / std::f64::consts::PI).sqrt()) * (x[0] + c(0.044715) * x[0] * x[0] * x[0]);
            c(0.5) * x[0] * (c(1.0) + inner.tanh())
        }
        Function::Softplus => x[0].max(c(0.0)) + (-x[0].abs()).exp().ln_1p(),
        Function::BceWithLogits => x[0].max(c(0.0)) - x[0] * x[1] + (-x[0].abs()).exp().ln_1p(),
    }
}

/// 1 / (1 + e^-x), by way of e^-|x|, which never overflows.
fn sigmoid<T: Real>(x: T) -> T {
    let one = T::from_f64(1.0);
    let e = (-x.abs()).exp();
    x.greater(T::from_f64(0.0)).select(one, e) / (one + e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_hold_at_the_ends_of_their_range() {
        for x in [-200.0_f64, -30.0, 0.0, 30.0, 200.0] {
            assert!((apply(Function::Sigmoid, &[x]) - 1.0 / (1.0 + (-x).exp())).abs() < 1e-15);
            assert!(apply(Function::BceWithLogits, &[x, 1.0]).is_finite());
            assert!(apply(Function::Softplus, &[x as f32]).is_finite());
        }
        assert!((apply(Function::Gelu, &[1.0_f64]) - 0.841_344_746_068_542_9).abs() < 1e-14);
    }
}
