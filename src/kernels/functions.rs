//! The table of scalar functions that element-wise [expressions](super::expression) are made of.
//!
//! A new one is a function in `shaders/shared/functions.wgsl`, a row here, a twin in `reference::functions` and a gradient
//! in `graph::ops::elementwise`.
//!
//! ```
//! use wgen::kernels::functions::Function;
//!
//! assert_eq!(Function::Add.wgsl(&["x", "1.0"]), "x + 1.0");
//! // Where WGSL has no such function, or not one that is accurate enough, it is written in shaders/shared/functions.wgsl.
//! assert_eq!(Function::Silu.wgsl(&["x"]), "silu(x)");
//! assert_eq!(Function::Silu.needs(), Some(Function::Sigmoid)); // whose text a kernel with silu must have too
//! let of_three: Vec<_> = Function::ALL.iter().filter(|f| f.arity() == 3).map(|f| f.name()).collect();
//! assert_eq!(of_three, ["select", "clamp"]);
//! ```

use serde::Serialize;

/// Distributions that a random node or term may have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Distribution {
    /// On [0, 1), multiples of 2^-24.
    Uniform,
    /// Standard normal, by Box-Muller.
    Normal,
    /// 1 with the given probability, else 0.
    Bernoulli(f32),
}

impl Distribution {
    /// The stem of the WGSL function.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Bernoulli(_) => "bernoulli",
        }
    }
}

macro_rules! functions {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal / $arity:literal, $form:literal $(, needs $needs:ident)?; )*) => {
        /// A named scalar function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum Function { $( $(#[$doc])* $variant, )* }

        impl Function {
            /// All of them.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// The field's name of the function.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The number of arguments.
            pub fn arity(self) -> usize {
                match self { $( Self::$variant => $arity, )* }
            }

            /// The WGSL expression; `$0`, `$1`, `$2` stand for the arguments.
            fn form(self) -> &'static str {
                match self { $( Self::$variant => $form, )* }
            }

            /// A function that this one's WGSL calls.
            pub fn needs(self) -> Option<Self> {
                match self { $( Self::$variant => None $( .or(Some(Self::$needs)) )?, )* }
            }
        }
    };
}

functions! {
    /// x
    Identity = "identity" / 1, "$0";
    /// -x
    Neg = "neg" / 1, "-$0";
    /// a + b
    Add = "add" / 2, "$0 + $1";
    /// a - b
    Sub = "sub" / 2, "$0 - $1";
    /// a b
    Mul = "mul" / 2, "$0 * $1";
    /// a / b
    Div = "div" / 2, "$0 / $1";
    /// max(a, b)
    Max = "max" / 2, "max($0, $1)";
    /// min(a, b)
    Min = "min" / 2, "min($0, $1)";
    /// 1 where a > b, else 0
    Greater = "greater" / 2, "greater($0, $1)";
    /// 1 where a = b, else 0
    Equal = "equal" / 2, "equal($0, $1)";
    /// b where a is not 0, else c
    Select = "select" / 3, "choose($0, $1, $2)";
    /// min(max(x, low), high)
    Clamp = "clamp" / 3, "clamp($0, $1, $2)";
    /// |x|
    Abs = "abs" / 1, "abs($0)";
    /// x^2
    Square = "square" / 1, "$0 * $0";
    /// sqrt(x)
    Sqrt = "sqrt" / 1, "sqrt($0)";
    /// e^x
    Exp = "exp" / 1, "exp($0)";
    /// e^x - 1, accurate next to 0
    ExpMinusOne = "exp_minus_one" / 1, "exp_minus_one($0)";
    /// ln(x)
    Log = "log" / 1, "log($0)";
    /// ln(1 + u) for u in [0, 1]
    LogOnePlus = "log_one_plus" / 1, "log_one_plus($0)";
    /// max(x, 0)
    Relu = "relu" / 1, "max($0, real(0.0))";
    /// x where x > 0, else slope x
    LeakyRelu = "leaky_relu" / 2, "leaky_relu($0, $1)";
    /// x where x > 0, else alpha (e^x - 1)
    Elu = "elu" / 2, "elu($0, $1)", needs ExpMinusOne;
    /// 1 / (1 + e^-x)
    Sigmoid = "sigmoid" / 1, "sigmoid($0)";
    /// tanh(x)
    Tanh = "tanh" / 1, "tanh_clamped($0)";
    /// x sigmoid(x)
    Silu = "silu" / 1, "silu($0)", needs Sigmoid;
    /// The error function.
    Erf = "erf" / 1, "erf($0)";
    /// x Phi(x)
    Gelu = "gelu" / 1, "gelu($0)", needs Erf;
    /// The tanh approximation of gelu.
    GeluTanh = "gelu_tanh" / 1, "gelu_tanh($0)", needs Tanh;
    /// ln(1 + e^x)
    Softplus = "softplus" / 1, "softplus($0)", needs LogOnePlus;
    /// -[t ln sigmoid(x) + (1 - t) ln(1 - sigmoid(x))] of a logit x and a target t
    BceWithLogits = "bce_with_logits" / 2, "bce_with_logits($0, $1)", needs LogOnePlus;
}

impl Function {
    /// The WGSL expression of this function of the named arguments.
    pub fn wgsl(self, arguments: &[&str]) -> String {
        let mut text = self.form().to_owned();
        for (i, argument) in arguments.iter().enumerate() {
            text = text.replace(&format!("${i}"), argument);
        }
        text
    }

    /// Rough flops of one evaluation, for the cost model.
    pub fn flops(self) -> f64 {
        match self {
            Self::Identity => 0.0,
            Self::Exp
            | Self::ExpMinusOne
            | Self::Log
            | Self::LogOnePlus
            | Self::Sigmoid
            | Self::Tanh
            | Self::Erf => 10.0,
            Self::Silu
            | Self::Gelu
            | Self::GeluTanh
            | Self::Softplus
            | Self::BceWithLogits
            | Self::Elu => 20.0,
            _ => 1.0,
        }
    }
}
