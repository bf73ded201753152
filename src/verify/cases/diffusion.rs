//! The forward process, the reverse step in all its forms, embeddings of timesteps.

use super::{Case, Values, case, integers, numbers};
use crate::kernels::Kernel;
use crate::kernels::philox::Key;
use crate::kernels::predict_x0::PredictX0;
use crate::kernels::q_sample::QSample;
use crate::kernels::reverse_step::{COLUMNS, NO_NOISE, Operands, ReverseStep, column};
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
            for fraction_bits in [0, 20, 7] {
                let kernel = TimestepEmbedding {
                    batch,
                    dim,
                    convention,
                    fraction_bits,
                    real: false,
                };
                let name = match fraction_bits {
                    0 => format!("{batch} x {dim}, {convention:?}"),
                    bits => format!("{batch} x {dim}, {convention:?}, {bits} bits of fraction"),
                };
                // With a fraction all of a word is used, the half of it that is below 0 too.
                let most = if fraction_bits == 0 { 1000 } else { u32::MAX };
                let steps = move |inputs: &mut [Data]| inputs[0] = integers(5, most, batch);
                cases.push(case(name, kernel, Values::Normal).changed(steps));
            }
            // On both sides of 0, as ln(sigma) / 4 is, and beyond.
            for (fraction_bits, values) in [(20, Values::Normal), (7, Values::Large)] {
                let kernel = TimestepEmbedding {
                    batch,
                    dim,
                    convention,
                    fraction_bits,
                    real: true,
                };
                let name = format!(
                    "{batch} x {dim}, {convention:?}, reals, {fraction_bits} bits of fraction"
                );
                cases.push(case(name, kernel, values));
            }
        }
    }
}

/// Batch, pixels, channels; the last of the quick ones is several workgroups.
fn sizes(quick: bool) -> Vec<[usize; 3]> {
    let mut sizes = vec![[3, 5, 3], [2, 1, 2], [1, 64, 4], [3, 45, 3]];
    if !quick {
        sizes.extend([[1, 1, 1], [5, 33, 1]]);
    }
    sizes
}

/// A row with these columns, the others 0.
fn row(columns: &[(usize, f32)]) -> Vec<f32> {
    let mut row = vec![0.0; COLUMNS];
    columns.iter().for_each(|&(column, x)| row[column] = x);
    row
}

pub(super) fn predict_x0(quick: bool, cases: &mut Vec<Case>) {
    use column::{CLIP, CLIP_AGAIN, GUIDANCE, X0_GRADIENT, X0_P, X0_X};
    // The clips bite in the first; the second has none.
    let rows = [
        [
            (X0_X, 1.3),
            (X0_P, -0.8),
            (CLIP, 1.0),
            (GUIDANCE, 2.5),
            (X0_GRADIENT, 0.75),
            (CLIP_AGAIN, 1.25),
        ],
        [
            (X0_X, 9.0),
            (X0_P, -8.9),
            (CLIP, 1e30),
            (GUIDANCE, 0.5),
            (X0_GRADIENT, -3.0),
            (CLIP_AGAIN, 1e30),
        ],
    ];
    for [batch, pixels, channels] in sizes(quick) {
        for form in 0..8 {
            let kernel = PredictX0 {
                batch,
                pixels,
                channels,
                learned: form & 1 > 0,
                guided: form & 2 > 0,
                gradient: form & 4 > 0,
            };
            let name = format!("{} {batch} x {pixels} x {channels}", kernel.variant());
            for (i, columns) in rows.iter().enumerate() {
                if quick && i != form % 2 {
                    continue;
                }
                let (step, predictions) = (row(columns), kernel.predictions());
                let change = move |inputs: &mut [Data]| {
                    inputs[1] = numbers(Values::Normal, 31, predictions);
                    inputs[2] = Data::F32(step.clone());
                };
                let built = case(format!("{name}, step {i}"), kernel.clone(), Values::Normal);
                cases.push(built.changed(change));
            }
        }
    }
}

pub(super) fn reverse_step(quick: bool, cases: &mut Vec<Case>) {
    use column::{
        DRAW, GUIDANCE, MAX_LOG_VARIANCE, MEAN_GRADIENT, MEAN_KEPT, MEAN_P, MEAN_PREVIOUS, MEAN_X,
        MEAN_X0, MIN_LOG_VARIANCE, NOISE,
    };
    // Coefficients as they are early, late and without noise.
    let none = NO_NOISE as f32;
    let rows = [
        row(&[
            (MEAN_X0, 0.7),
            (MEAN_X, 0.4),
            (MEAN_P, -0.3),
            (MEAN_PREVIOUS, -0.25),
            (MEAN_KEPT, 0.9),
            (MEAN_GRADIENT, 4.0),
            (MIN_LOG_VARIANCE, -3.0),
            (MAX_LOG_VARIANCE, -1.0),
            (NOISE, 1.0),
            (GUIDANCE, 2.5),
            (DRAW, 17.0),
        ]),
        row(&[
            (MEAN_X0, 0.02),
            (MEAN_X, 0.95),
            (MEAN_P, 0.1),
            (MEAN_PREVIOUS, 0.3),
            (MEAN_KEPT, -0.6),
            (MEAN_GRADIENT, -0.5),
            (MIN_LOG_VARIANCE, -0.5),
            (MAX_LOG_VARIANCE, -0.25),
            (NOISE, 1.0),
            (GUIDANCE, 0.5),
            (DRAW, 999.0),
        ]),
        row(&[
            (MEAN_X0, 1.0),
            (MEAN_P, 0.3),
            (MEAN_PREVIOUS, -1.5),
            (MEAN_KEPT, 1.0),
            (MEAN_GRADIENT, 1.0),
            (MIN_LOG_VARIANCE, none),
            (MAX_LOG_VARIANCE, none),
            (GUIDANCE, 1.0),
        ]),
        // A variance that moves the mean, and no noise: the last step under a classifier.
        row(&[
            (MEAN_X0, 1.0),
            (MEAN_GRADIENT, 2.0),
            (MIN_LOG_VARIANCE, -2.0),
            (MAX_LOG_VARIANCE, -1.0),
            (GUIDANCE, 1.0),
        ]),
    ];
    let with = |prediction: bool, form: usize| Operands {
        prediction,
        learned: prediction && form & 1 > 0,
        guided: prediction && form & 2 > 0,
        ..Operands::default()
    };
    // What samplers read: a prediction in all its forms, with a classifier's gradient too, or what they look back to.
    let mut forms: Vec<Operands> = (0..4).map(|form| with(true, form)).collect();
    forms.extend((0..3).map(|form| Operands {
        gradient: true,
        ..with(form > 0, form)
    }));
    forms.push(Operands::default());
    for (previous, kept) in [(true, false), (false, true), (true, true)] {
        forms.push(Operands {
            previous,
            kept,
            ..Operands::default()
        });
    }
    for [batch, pixels, channels] in sizes(quick) {
        for (form, &operands) in forms.iter().enumerate() {
            for given in [false, true] {
                let kernel = ReverseStep {
                    batch,
                    pixels,
                    channels,
                    operands,
                    stream: (!given).then_some(0x2468_ace0),
                };
                let name = format!("{} {batch} x {pixels} x {channels}", kernel.variant());
                for (i, step) in rows.iter().enumerate() {
                    if quick && i != (form + usize::from(given)) % rows.len() {
                        continue;
                    }
                    let (step, predictions) = (step.clone(), kernel.predictions());
                    let change = move |inputs: &mut [Data]| {
                        inputs[2] = Data::F32(step.clone());
                        if operands.prediction {
                            inputs[4] = numbers(Values::Normal, 31, predictions);
                        }
                    };
                    let built = case(format!("{name}, step {i}"), kernel.clone(), Values::Normal);
                    cases.push(built.changed(change));
                }
            }
        }
    }
}
