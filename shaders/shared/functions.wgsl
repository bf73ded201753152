// Scalar functions of element-wise expressions, for a `real` of one element or of four. Twins: src/reference/functions.rs.

//# if "greater" in functions
fn greater(a: real, b: real) -> real {
    return select(real(0.0), real(1.0), a > b);
}
//# endif
//# if "equal" in functions
fn equal(a: real, b: real) -> real {
    return select(real(0.0), real(1.0), a == b);
}
//# endif
//# if "select" in functions
fn choose(condition: real, a: real, b: real) -> real {
    return select(b, a, condition != real(0.0));
}
//# endif
//# if "exp_minus_one" in functions
// e^x - 1. Next to 0 by its series, cut below 1e-8 of the result at |x| = 0.5, where exp(x) - 1 would cancel.
fn exp_minus_one(x: real) -> real {
    let near = clamp(x, real(-0.5), real(0.5));
    var p = near * (1.0 / 40320.0) + (1.0 / 5040.0);
    p = p * near + (1.0 / 720.0);
    p = p * near + (1.0 / 120.0);
    p = p * near + (1.0 / 24.0);
    p = p * near + (1.0 / 6.0);
    p = p * near + 0.5;
    return select(exp(x) - 1.0, p * near * near + near, abs(x) < real(0.5));
}
//# endif
//# if "log_one_plus" in functions
// ln(1 + u) = 2 atanh(u / (2 + u)), 0 <= u <= 1: the series in s^2 <= 1/9 is cut at 1.5e-8, and is exact next to u = 0, where
// log(1 + u) would lose everything.
fn log_one_plus(u: real) -> real {
    let s = u / (u + 2.0);
    let z = s * s;
    var p = z * (1.0 / 13.0) + (1.0 / 11.0);
    p = p * z + (1.0 / 9.0);
    p = p * z + (1.0 / 7.0);
    p = p * z + (1.0 / 5.0);
    p = p * z + (1.0 / 3.0);
    p = p * z + 1.0;
    return 2.0 * s * p;
}
//# endif
//# if "leaky_relu" in functions
fn leaky_relu(x: real, slope: real) -> real {
    return select(slope * x, x, x > real(0.0));
}
//# endif
//# if "elu" in functions
fn elu(x: real, alpha: real) -> real {
    return select(alpha * exp_minus_one(min(x, real(0.0))), x, x > real(0.0));
}
//# endif
//# if "sigmoid" in functions
// The exponential only ever sees -|x|, so nothing overflows.
fn sigmoid(x: real) -> real {
    let e = exp(-abs(x));
    return select(e, real(1.0), x >= real(0.0)) / (1.0 + e);
}
//# endif
//# if "tanh" in functions
// Clamped: drivers have returned NaN for tanh of large arguments.
fn tanh_clamped(x: real) -> real {
    return tanh(clamp(x, real(-15.0), real(15.0)));
}
//# endif
//# if "silu" in functions
fn silu(x: real) -> real {
    return x * sigmoid(x);
}
//# endif
//# if "erf" in functions
// Abramowitz & Stegun 7.1.26: absolute error below 1.5e-7.
fn erf(x: real) -> real {
    let a = abs(x);
    let t = 1.0 / (0.3275911 * a + 1.0);
    var p = t * 1.061405429 - 1.453152027;
    p = p * t + 1.421413741;
    p = p * t - 0.284496736;
    p = p * t + 0.254829592;
    return sign(x) * (1.0 - p * t * exp(-min(a * a, real(80.0))));
}
//# endif
//# if "gelu" in functions
fn gelu(x: real) -> real {
    return 0.5 * x * (1.0 + erf(x * 0.70710678));
}
//# endif
//# if "gelu_tanh" in functions
// Hendrycks & Gimpel 2016.
fn gelu_tanh(x: real) -> real {
    return 0.5 * x * (1.0 + tanh_clamped(0.79788456 * (x + 0.044715 * x * x * x)));
}
//# endif
//# if "softplus" in functions
fn softplus(x: real) -> real {
    return max(x, real(0.0)) + log_one_plus(exp(-abs(x)));
}
//# endif
//# if "bce_with_logits" in functions
// -[t ln sigmoid(x) + (1 - t) ln(1 - sigmoid(x))] = max(x, 0) - x t + ln(1 + e^-|x|).
fn bce_with_logits(x: real, t: real) -> real {
    return max(x, real(0.0)) - x * t + log_one_plus(exp(-abs(x)));
}
//# endif
