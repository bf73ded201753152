//! One file an operator family, with the stem of its kernels; each adds its functions to [`Var`](super::Var).

pub mod attention;
pub mod cast;
pub mod concat;
pub mod conv2d;
pub(crate) mod decompose;
pub mod elementwise;
pub mod gather;
pub mod group_norm;
pub mod leaf;
pub mod loss;
pub mod matmul;
pub mod normalize;
pub mod pool;
pub mod q_sample;
pub mod random;
pub mod rearrange;
pub mod reduce;
pub mod reparameterize;
pub mod reshape;
pub mod resize;
pub mod reverse_step;
pub mod scatter_add;
pub mod timestep_embedding;
pub mod top_k;

use crate::tensor::TensorType;

/// Operand types as text, for messages.
pub(crate) fn shapes(inputs: &[&TensorType]) -> String {
    let each: Vec<String> = inputs.iter().map(|t| format!("{:?}", t.shape)).collect();
    each.join(", ")
}
