//! Dynamic thresholding of what a step predicts.

use crate::graph::Var;

/// `x0` `[count, width]` with each row clipped to the `ratio`-quantile of its magnitudes, from 1 to `most`, and divided by it (Saharia et al.
/// 2022, section 2.3; `_threshold_sample` of diffusers). A classifier has moved it before, but in
/// ancestral steps, where it moves the mean.
pub fn thresholded(x0: Var<'_>, ratio: f64, most: Option<f64>) -> Var<'_> {
    let count = x0.shape().dims()[0];
    let most = most.unwrap_or(f64::from(f32::MAX));
    let scale = x0.abs().quantile(ratio).clamp(1.0, most);
    let scale = scale.reshape([count, 1]);
    x0.max(-scale).min(scale) / scale
}
