//! Twin of `shaders/attention.wgsl`.

use super::twin;
use crate::kernels::attention::{Attention, Mode};
use crate::real::Real;
use crate::tensor::Data;

/// Attention in any mode; `operands` in the order of the kernel's bindings.
pub(crate) fn attention<T: Real>(kernel: &Attention, operands: &[&[T]]) -> Vec<T> {
    let s = &kernel.sizes;
    let zero = T::from_f64(0.0);
    let scale = T::from_f64(f64::from(kernel.scale()));
    let (query, key) = (operands[0], operands[1]);
    // Rows of one head: query i, key j.
    let query_row = |b: usize, i: usize, h: usize| (b * s.queries + i) * s.heads + h;
    let key_row = |b: usize, j: usize, h: usize| (b * s.keys + j) * s.heads + h;
    let row = |of: &'_ [T], row: usize| of[row * s.size..(row + 1) * s.size].to_vec();
    let dot = |a: &[T], b: &[T]| a.iter().zip(b).fold(zero, |sum, (&x, &y)| sum + x * y);
    let results = match kernel.mode {
        Mode::LogSums => s.batch * s.queries * s.heads,
        Mode::Forward | Mode::ByQuery => s.query_count(),
        Mode::ByKey | Mode::ByValue => s.key_count(),
    };
    let mut out = vec![zero; results];
    for (b, h) in (0..s.batch).flat_map(|b| (0..s.heads).map(move |h| (b, h))) {
        for i in 0..s.queries {
            let qi = query_row(b, i, h);
            let own = row(query, qi);
            let scores: Vec<T> = (0..s.keys)
                .map(|j| dot(&own, &row(key, key_row(b, j, h))) * scale)
                .collect();
            if matches!(kernel.mode, Mode::Forward | Mode::LogSums) {
                let largest = scores.iter().copied().reduce(T::max).unwrap_or(zero);
                let weights: Vec<T> = scores.iter().map(|&x| (x - largest).exp()).collect();
                let sum = weights.iter().fold(zero, |sum, &w| sum + w);
                if kernel.mode == Mode::LogSums {
                    out[qi] = largest + sum.ln();
                    continue;
                }
                for (j, &weight) in weights.iter().enumerate() {
                    let value = row(operands[2], key_row(b, j, h));
                    for (c, &v) in value.iter().enumerate() {
                        let at = qi * s.size + c;
                        out[at] = out[at] + weight * v;
                    }
                }
                for c in 0..s.size {
                    let at = qi * s.size + c;
                    out[at] = out[at] / sum;
                }
                continue;
            }
            let (upstream, log_sums) = match kernel.mode {
                Mode::ByValue => (row(operands[2], qi), operands[3]),
                _ => (row(operands[3], qi), operands[4]),
            };
            for (j, &score) in scores.iter().enumerate() {
                let kj = key_row(b, j, h);
                let p = (score - log_sums[qi]).exp();
                let (factor, by, into) = match kernel.mode {
                    Mode::ByValue => (p, upstream.clone(), kj),
                    mode => {
                        let d = p * (dot(&upstream, &row(operands[2], kj)) - operands[5][qi]);
                        if mode == Mode::ByQuery {
                            (d * scale, row(key, kj), qi)
                        } else {
                            (d * scale, row(query, qi), kj)
                        }
                    }
                };
                for (c, &x) in by.iter().enumerate() {
                    let at = into * s.size + c;
                    out[at] = out[at] + factor * x;
                }
            }
        }
    }
    out
}

twin!(Attention, run);

fn run<T: Real>(kernel: &Attention, buffers: &mut [Data]) {
    let last = buffers.len() - 1;
    let operands: Vec<&[T]> = buffers[..last].iter().map(T::of).collect();
    let out = attention(kernel, &operands);
    buffers[last] = T::into_data(out);
}
