//! The forward process, the reverse step in all its forms, embeddings of timesteps.

use super::{Case, Values, case, integers, numbers};
use crate::kernels::Kernel;
use crate::kernels::philox::Key;
use crate::kernels::q_sample::QSample;
use crate::kernels::reverse_step::{COLUMNS, NO_NOISE, ReverseStep, column};
use crate::kernels::timestep_embedding::{Convention, TimestepEmbedding};
use crate::tensor::Data;

pub(super) fn q_sample(cases: &mut Vec<Case>) {
    for (batch, width) in [(1, 1), (3, 7), (5, 64), (2, 1027)] {
        let by_example = Key::Example {
            examples: batch as u32,
            draws: 1,
            width: width as u32,
        };
        for key in [Key::Step, by_example] {
            // Timesteps up to the last and beyond.
            let kernel = QSample {
                batch,
                width,
                timesteps: 40,
                key,
                stream: 0x1357_9bdf,
            };
            cases.push(case(
                format!("{batch} x {width}, {key:?}"),
                kernel,
                Values::Normal,
            ));
        }
    }
}

pub(super) fn timestep_embedding(cases: &mut Vec<Case>) {
    for (batch, dim) in [(1, 4), (7, 33), (3, 128), (50, 10)] {
        for convention in [Convention::DDPM, Convention::ADM] {
            let kernel = TimestepEmbedding {
                batch,
                dim,
                convention,
            };
            let name = format!("{batch} x {dim}, {convention:?}");
            let steps = move |inputs: &mut [Data]| inputs[0] = integers(5, 1000, batch);
            cases.push(case(name, kernel, Values::Normal).changed(steps));
        }
    }
}

pub(super) fn reverse_step(quick: bool, cases: &mut Vec<Case>) {
    // Batch, pixels, channels.
    // The last is several workgroups.
    let mut sizes = vec![[3, 5, 3], [2, 1, 2], [1, 64, 4], [3, 45, 3]];
    if !quick {
        sizes.extend([[1, 1, 1], [5, 33, 1]]);
    }
    // Coefficients as they are early, late and without noise; the clip bites in the first.
    let steps: [[f32; COLUMNS]; 3] = [
        [1.3, -0.8, 1.0, 0.7, 0.4, 0.0, -3.0, -1.0, 2.5, 17.0],
        [9.0, -8.9, 1e30, 0.02, 0.95, 0.1, -0.5, -0.25, 0.0, 999.0],
        [
            1.01,
            -0.1,
            1.0,
            1.0,
            0.0,
            0.3,
            NO_NOISE as f32,
            NO_NOISE as f32,
            1.0,
            0.0,
        ],
    ];
    for [batch, pixels, channels] in sizes {
        for form in 0..8 {
            let (learned, guided, given) = (form & 1 > 0, form & 2 > 0, form & 4 > 0);
            let kernel = ReverseStep {
                batch,
                pixels,
                channels,
                learned,
                guided,
                stream: (!given).then_some(0x2468_ace0),
            };
            let name = format!("{} {batch} x {pixels} x {channels}", kernel.variant());
            for (i, step) in steps.iter().enumerate() {
                if quick && i != form % 3 {
                    continue;
                }
                debug_assert_eq!(column::NAMES.len(), step.len());
                let (step, predictions) = (step.to_vec(), kernel.predictions());
                let change = move |inputs: &mut [Data]| {
                    inputs[2] = Data::F32(step.clone());
                    inputs[1] = numbers(Values::Normal, 31, predictions);
                };
                let built = case(format!("{name}, step {i}"), kernel.clone(), Values::Normal);
                cases.push(built.changed(change));
            }
        }
    }
}
