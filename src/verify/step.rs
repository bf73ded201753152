//! Whole plans, dispatch by dispatch.
pub type Run = fn(&crate::gpu::Gpu, bool) -> crate::Result<Vec<(String, super::Comparison)>>;
/// x
pub const MODELS: &[(&str, Run)] = &[];
