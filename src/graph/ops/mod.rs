//! One file an operator family, with the stem of its kernels; each adds its functions to [`Var`](super::Var).

pub(crate) mod attention;
pub(crate) mod camera_rays;
pub(crate) mod cast;
pub(crate) mod composite;
pub(crate) mod concat;
pub(crate) mod conv2d;
pub(crate) mod decompose;
pub(crate) mod elementwise;
pub(crate) mod frequency_encode;
pub(crate) mod gather;
pub(crate) mod group_norm;
pub(crate) mod hash_encoding;
pub(crate) mod leaf;
pub(crate) mod loss;
pub(crate) mod march;
pub(crate) mod marching_cubes;
pub(crate) mod matmul;
pub(crate) mod normalize;
pub(crate) mod occupancy;
pub(crate) mod pool;
pub(crate) mod predict_x0;
pub(crate) mod q_sample;
pub(crate) mod quantile;
pub(crate) mod random;
pub(crate) mod ray_budget;
pub(crate) mod ray_of;
pub(crate) mod rearrange;
pub(crate) mod reduce;
pub(crate) mod reparameterize;
pub(crate) mod reshape;
pub(crate) mod resize;
pub(crate) mod reverse_step;
pub(crate) mod sample_pdf;
pub(crate) mod scan;
pub(crate) mod scatter_add;
pub(crate) mod spherical_harmonics;
pub(crate) mod stratified;
pub(crate) mod timestep_embedding;
pub(crate) mod top_k;

use crate::error::{Error, Result};
use crate::tensor::TensorType;

/// Refuses operands of other types than those that `op` takes.
pub(crate) fn takes(op: &'static str, wanted: &[TensorType], inputs: &[&TensorType]) -> Result<()> {
    if wanted.iter().eq(inputs.iter().copied()) {
        return Ok(());
    }
    let wanted: Vec<&TensorType> = wanted.iter().collect();
    Err(Error::shape(
        op,
        format!("takes {}, got {}", shapes(&wanted), shapes(inputs)),
    ))
}

/// Operand types as text, for messages.
pub(crate) fn shapes(inputs: &[&TensorType]) -> String {
    let each: Vec<String> = inputs.iter().map(|t| format!("{:?}", t.shape)).collect();
    each.join(", ")
}
