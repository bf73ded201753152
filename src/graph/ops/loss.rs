//! Losses, element by element: the caller chooses what is summed and what is averaged, by name.
//!
//! Each is a composition of operators that a plan fuses with the reduction after it.

use crate::graph::Var;
use crate::kernels::functions::Function;

impl<'g> Var<'g> {
    /// (x - t)^2
    pub fn squared_error(self, target: Self) -> Self {
        (self - target).square()
    }

    /// |x - t|
    pub fn absolute_error(self, target: Self) -> Self {
        (self - target).abs()
    }

    /// Binary cross-entropy of logits: -[t ln sigmoid(x) + (1 - t) ln(1 - sigmoid(x))], the negative Bernoulli log-likelihood.
    pub fn bce_with_logits(self, target: Self) -> Self {
        self.graph()
            .elementwise(Function::BceWithLogits, &[self, target])
    }

    /// Negative log-likelihood of `target` under N(self, exp(log_variance)):
    /// [ln(2 pi) + log_variance + (t - mu)^2 / exp(log_variance)] / 2.
    pub fn gaussian_nll(self, log_variance: Self, target: Self) -> Self {
        ((target - self).square() * (-log_variance).exp()
            + log_variance
            + std::f64::consts::TAU.ln())
            * 0.5
    }

    /// KL(N(self, exp(log_variance)) || N(0, 1)) of each element (Kingma & Welling 2013, appendix B):
    /// -(1 + log_variance - mu^2 - exp(log_variance)) / 2, with e^x - 1 as one function: where the posterior is close to the prior,
    /// the sum as it is written would cancel to nothing.
    pub fn kl_to_standard_normal(self, log_variance: Self) -> Self {
        (self.square() + (log_variance.exp_minus_one() - log_variance)) * 0.5
    }
}

impl<'g> Var<'g> {
    /// KL(N(self, exp(log_variance)) || N(mean, exp(other))), element by element, in nats.
    pub fn gaussian_kl(self, log_variance: Self, mean: Self, other: Self) -> Self {
        let distance = (self - mean).square() * (-other).exp();
        ((log_variance - other).exp() + other - log_variance - 1.0 + distance) * 0.5
    }

    /// ln of the probability that N(mean, exp(2 log_scale)) gives to the bin of self, one of 256 levels on [-1, 1], the outermost open to their
    /// sides: element by element, in nats (Ho et al. 2020, eq. 13). The distribution function is guided-diffusion's tanh approximation;
    /// probabilities below 1e-12 count as that.
    pub fn discretized_gaussian_log_likelihood(self, mean: Self, log_scale: Self) -> Self {
        let centred = self - mean;
        let inverse = (-log_scale).exp();
        let below = |x: Self| {
            // Beyond, the function is 0 or 1 in f32, and the cube would overflow.
            let x = x.clamp(-10.0, 10.0);
            let inner = (x + x * x * x * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
            (inner.tanh() + 1.0) * 0.5
        };
        let upper = below((centred + 1.0 / 255.0) * inverse);
        let lower = below((centred - 1.0 / 255.0) * inverse);
        let floor = self.graph().constant(1e-12);
        let lowest = (-self).greater_than(0.999);
        let highest = self.greater_than(0.999);
        let inside = highest.select(-lower + 1.0, upper - lower);
        lowest.select(upper, inside).max(floor).log()
    }

    /// e^x over the sum of e^x along the last axis.
    pub fn softmax(self) -> Self {
        self.log_softmax().exp()
    }

    /// ln of [`Var::softmax`], without overflow.
    pub fn log_softmax(self) -> Self {
        let shape = self.shape();
        let last = shape.rank().saturating_sub(1);
        let mut kept = shape.dims().to_vec();
        if let Some(size) = kept.last_mut() {
            *size = 1;
        }
        self - self.log_sum_exp(&[last]).reshape(kept.as_slice())
    }

    /// Cross-entropy of logits `[batch, classes]` with targets that sum to 1, an example: ln sum e^x - sum t x, `[batch]`.
    pub fn cross_entropy(self, target: Self) -> Self {
        self.log_sum_exp(&[1]) - (self * target).sum(&[1])
    }
}
