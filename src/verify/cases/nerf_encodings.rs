//! Encodings of positions and directions, and samples along rays.

use super::{Case, Values, case, numbers};
use crate::kernels::frequency_encode::FrequencyEncode;
use crate::kernels::sample_pdf::SamplePdf;
use crate::kernels::spherical_harmonics::{Mode, SphericalHarmonics};
use crate::kernels::{Caps, Kernel};
use crate::real::Real;
use crate::tensor::Data;

fn reals(data: &Data) -> Vec<f32> {
    f32::of(data).to_vec()
}

pub(super) fn frequency_encode(cases: &mut Vec<Case>) {
    // Rows, width, octaves. Several workgroups, one more and one less than one, none.
    let sizes = [
        [1, 1, 1],
        [21, 3, 1],
        [13, 5, 1],
        [7, 3, 10],
        [5, 3, 4],
        [3, 2, 24],
        [0, 3, 4],
    ];
    for (i, [rows, width, octaves]) in sizes.into_iter().enumerate() {
        for order in 0..5 {
            if order > 1 && i % 2 == 0 {
                continue;
            }
            let kernel = FrequencyEncode {
                rows,
                width,
                octaves,
                order,
            };
            let name =
                |what: &str| format!("{rows} x {width}, {octaves} octaves, order {order}{what}");
            cases.push(case(name(""), kernel.clone(), Values::Normal));
            cases.push(case(name(", small"), kernel.clone(), Values::Small));
            // Up to 2^30 radians in the last octave, and angles about the multiples of pi / 4, where the reduction turns, and pi / 2, where
            // one of the two is 0; zeros of both signs.
            let last = 2_f32.powi(octaves as i32 - 1);
            let far = case(name(", large"), kernel, Values::Normal).changed(move |inputs| {
                let mut x = reals(&inputs[0]);
                for (i, x) in x.iter_mut().enumerate() {
                    *x *= 2_f32.powi(26) / last;
                    if i % 3 == 1 {
                        let eighths = (i / 3) as f64 - 6.0;
                        *x = (eighths * std::f64::consts::FRAC_PI_4) as f32 / last;
                    }
                }
                inputs[0] = Data::F32(x);
            });
            cases.push(far);
        }
    }
}

pub(super) fn spherical_harmonics(cases: &mut Vec<Case>) {
    for rows in [1, 7, 63, 65, 131, 0] {
        for mode in [Mode::Value, Mode::Gradient] {
            let kernel = SphericalHarmonics { rows, mode };
            for values in [Values::Normal, Values::Small] {
                let name = format!("{rows} directions, {mode:?}, {values:?}");
                cases.push(case(name, kernel.clone(), values));
            }
            let name = format!("{rows} directions of length 1, {mode:?}");
            cases.push(case(name, kernel, Values::Normal).changed(|inputs| {
                let mut directions = reals(&inputs[0]);
                for (row, d) in directions.chunks_exact_mut(3).enumerate() {
                    if row < 6 {
                        // The axes.
                        d.fill(0.0);
                        d[row % 3] = if row < 3 { 1.0 } else { -1.0 };
                    }
                    let length = d.iter().map(|x| x * x).sum::<f32>().sqrt();
                    d.iter_mut().for_each(|x| *x /= length);
                }
                inputs[0] = Data::F32(directions);
            }));
        }
    }
}

/// Where the weight of a ray is.
#[derive(Clone, Copy, Debug)]
enum Weights {
    /// Everywhere, and large or small.
    Some(f32),
    /// In one sample. Where that is all of it, the masses elsewhere count as none; where a little is left, they barely count.
    Opaque(f32),
    /// Nowhere.
    None,
}

impl Weights {
    fn of(self, rays: usize, samples: usize) -> Vec<f32> {
        let drawn = reals(&numbers(Values::Positive, 41, rays * samples));
        let one = |(i, w): (usize, f32)| match self {
            // Every fifth is none.
            Self::Some(scale) if i % 5 > 0 => w * scale,
            Self::Opaque(w) if i % samples == (7 * (i / samples) + samples / 2) % samples => w,
            _ => 0.0,
        };
        drawn.into_iter().enumerate().map(one).collect()
    }

    /// Numbers to be looked up: anything, and what lies in masses that count as none, and both ends.
    fn uniforms(self, rays: usize, count: usize) -> Vec<f32> {
        let drawn = reals(&numbers(Values::Positive, 42, rays * count));
        let one = |(i, u): (usize, f32)| match (i % 7, self) {
            (1, _) => 0.0,
            (2, _) => 1.0 - 2_f32.powi(-24),
            (3, _) => 1.0,
            (4 | 5, Self::Opaque(_)) => (i % 11) as f32 * 0.97e-5 + 4.3e-6,
            _ => u - 0.1,
        };
        drawn.into_iter().enumerate().map(one).collect()
    }
}

/// Depths of rays that begin at different places, ascending; some are equal.
fn depths(rays: usize, samples: usize) -> Vec<f32> {
    let drawn = reals(&numbers(Values::Positive, 40, rays * samples));
    let mut z = Vec::with_capacity(drawn.len());
    for (ray, steps) in drawn.chunks_exact(samples).enumerate() {
        // Every second one from behind its origin: numbers of both signs.
        let mut at = 2.0 + 0.3 * ray as f32 - if ray % 2 == 1 { 5.0 } else { 0.0 };
        for (i, step) in steps.iter().enumerate() {
            at += if i % 9 == 4 {
                0.0
            } else {
                4.0 * step / samples as f32
            };
            z.push(at);
        }
    }
    z
}

pub(super) fn sample_pdf(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    // Rays, samples, more.
    let mut sizes = vec![[1, 3, 1], [3, 4, 2], [2, 32, 32], [5, 17, 31], [2, 64, 128]];
    if !quick {
        sizes.extend([[1, 65, 63], [70, 3, 5], [2, 9, 300]]);
    }
    let kinds = [
        Weights::Some(1.0),
        // As much as what is added to each.
        Weights::Some(1e-5),
        Weights::Some(1000.0),
        Weights::Opaque(1.0),
        Weights::Opaque(0.9994),
        Weights::None,
    ];
    for [rays, samples, count] in sizes {
        for given in [false, true] {
            let Ok(kernel) = SamplePdf::new(caps, rays, samples, count, given) else {
                continue;
            };
            for weights in kinds {
                // Both sizes of a workgroup that devices have.
                let other = 64 + 8 - kernel.workgroup;
                let once = matches!(weights, Weights::Some(1.0));
                let workgroups = [Some(kernel.workgroup), once.then_some(other)];
                for workgroup in workgroups.into_iter().flatten() {
                    let kernel = SamplePdf {
                        workgroup,
                        ..kernel.clone()
                    };
                    let name = format!("{rays} rays, {}, {weights:?}", kernel.variant());
                    cases.push(case(name, kernel, Values::Positive).changed(move |inputs| {
                        inputs[0] = Data::F32(depths(rays, samples));
                        inputs[1] = Data::F32(weights.of(rays, samples));
                        if given {
                            inputs[2] = Data::F32(weights.uniforms(rays, count));
                        }
                    }));
                }
            }
        }
    }
}
