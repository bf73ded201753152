//! Twin of `shaders/timestep_embedding.wgsl`.

use super::random::unit_circle;
use super::twin;
use crate::kernels::timestep_embedding::TimestepEmbedding;
use crate::real::Real;
use crate::tensor::Data;

/// Sines and cosines of `t` times each frequency, `[batch, dim]`: Vaswani et al. 2017, section 3.5. The angle is taken modulo a turn in
/// integers, as the kernel does: it errs by at most 2 pi (t 2^-33 + 2^-25).
///
/// `t` is in units of 2^-fraction_bits, two's complement.
pub(crate) fn timestep_embedding<T: Real>(kernel: &TimestepEmbedding, t: &[u32]) -> Vec<T> {
    let turns = kernel.turns();
    let half = turns.len();
    let mut out = vec![T::from_f64(0.0); kernel.batch * kernel.dim];
    for (row, &t) in out.chunks_exact_mut(kernel.dim).zip(t) {
        for (i, &turn) in turns.iter().enumerate() {
            let product = i64::from(t as i32) * i64::from(turn);
            let phase = ((product >> kernel.fraction_bits) as u32).wrapping_add(128) >> 8;
            let (cosine, sine) = unit_circle::<T>(phase);
            let (first, second) = if kernel.convention.cosine_first {
                (cosine, sine)
            } else {
                (sine, cosine)
            };
            row[i] = first;
            row[half + i] = second;
        }
    }
    out
}

/// Timesteps as the embedding takes them.
pub(crate) fn fixed<T: Real>(kernel: &TimestepEmbedding, t: &Data) -> Vec<u32> {
    if !kernel.real {
        return t.as_u32().to_vec();
    }
    let unit = f64::from(1_u32 << kernel.fraction_bits);
    let word = |t: &T| (t.to_f64() * unit).round_ties_even() as i32 as u32;
    T::of(t).iter().map(word).collect()
}

twin!(TimestepEmbedding, run);

fn run<T: Real>(kernel: &TimestepEmbedding, buffers: &mut [Data]) {
    let t = fixed::<T>(kernel, &buffers[0]);
    buffers[1] = T::into_data(timestep_embedding::<T>(kernel, &t));
}
