//! Kernels after the gradients: optimisers, moving average, verdict, counters.

use std::sync::Arc;

use super::{Case, Values, case, numbers};
use crate::kernels::adam::Adam;
use crate::kernels::advance::Advance;
use crate::kernels::commit::Commit;
use crate::kernels::ema::Ema;
use crate::kernels::guard::Guard;
use crate::kernels::rmsprop::Rmsprop;
use crate::kernels::sgd::Sgd;
use crate::kernels::{
    Binding, CONTROL_FLOATS, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, TABLE_ROWS, state,
};
use crate::reference::Twin;
use crate::tensor::Data;

/// The schedule's row of a tenth step, the verdict `refused`.
fn update_inputs(bindings: &[Binding], refused: bool, inputs: &mut [Data]) {
    for (binding, input) in bindings.iter().zip(inputs) {
        match binding.name.as_str() {
            "schedule" => {
                let mut row = vec![0.0; SCHEDULE_COLUMNS];
                row[..5].copy_from_slice(&[0.05, 1.535_338, 10.022_44, 0.1, 1.0]);
                *input = Data::F32(row);
            }
            "control" => {
                let mut control = vec![0.0; CONTROL_FLOATS];
                control[0] = 0.75;
                control[1] = if refused { 1.0 } else { 0.0 };
                *input = Data::F32(control);
            }
            "moment2" => *input = numbers(Values::Positive, 3, binding.count),
            _ => {}
        }
    }
}

pub(super) fn updates(cases: &mut Vec<Case>) {
    for count in [4, 64, 1028, 9220] {
        for refused in [false, true] {
            let mut add = |name: &str, kernel: Arc<dyn Twin>| {
                let bindings = kernel.bindings();
                let name = format!("{name} {count} refused: {refused}");
                cases.push(Case::new(name, kernel, move || {
                    let counts = bindings.iter().map(|b| b.count).enumerate();
                    let mut inputs: Vec<Data> = counts
                        .map(|(i, count)| numbers(Values::Normal, 20 + i as u64, count))
                        .collect();
                    update_inputs(&bindings, refused, &mut inputs);
                    inputs
                }));
            };
            for (decay, decoupled) in [(0.0, false), (0.1, false), (0.1, true)] {
                let kernel = Adam {
                    count,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    decay,
                    decoupled,
                };
                add("adam", Arc::new(kernel));
                // An epsilon that shows: next to sqrt(v) of order one, 1e-8 is nothing.
                let kernel = Adam {
                    count,
                    beta1: 0.8,
                    beta2: 0.95,
                    epsilon: 0.3,
                    decay,
                    decoupled,
                };
                add("adam, large epsilon", Arc::new(kernel));
            }
            for (momentum, decay, nesterov) in
                [(0.0, 0.0, false), (0.9, 0.1, false), (0.9, 0.1, true)]
            {
                add(
                    "sgd",
                    Arc::new(Sgd {
                        count,
                        momentum,
                        decay,
                        nesterov,
                    }),
                );
            }
            for (momentum, decay) in [(0.0, 0.0), (0.9, 0.1)] {
                add(
                    "rmsprop",
                    Arc::new(Rmsprop {
                        count,
                        alpha: 0.99,
                        epsilon: 0.3,
                        momentum,
                        decay,
                    }),
                );
            }
            add("ema", Arc::new(Ema { count }));
            add("commit", Arc::new(Commit { count }));
        }
    }
    for (partials, metrics, max_norm, poison) in [
        (1, 1, 0.0, None),
        (256, 3, 1.0, None),
        (70, 4, 1e6, None),
        (70, 5, 1e6, None),
        (64, 6, 0.0, None),
        (256, 2, 1.0, Some((0, f32::NAN))),
        (256, 2, 1.0, Some((1, f32::INFINITY))),
        (64, 2, 0.0, Some((0, f32::NEG_INFINITY))),
        // A NaN with its lowest bit set; a norm next to the epsilon of clipping.
        (64, 2, 0.0, Some((1, f32::from_bits(0x7fc0_0001)))),
        (1, 1, 1e-7, Some((0, 1e-13))),
    ] {
        for (halted, scaled) in [(0, false), (1, false), (0, true)] {
            let kernel = Guard {
                partials,
                metrics,
                max_norm,
                scaled,
            };
            let state = 1 + kernel.buffers().len();
            let built = case(
                format!(
                    "{partials} partials, {metrics} metrics, clip {max_norm}, {poison:?}, halted: {halted}"
                ),
                kernel,
                Values::Positive,
            );
            cases.push(built.changed(move |inputs| {
                if let Some((place, value)) = poison
                    && let Data::F32(values) = &mut inputs[place]
                {
                    values[0] = value;
                }
                if let Data::U32(words) = &mut inputs[state] {
                    words[state::HALTED] = halted;
                }
                inputs[state + 2] = numbers(Values::Normal, 9, RING_ROWS * RING_COLUMNS);
            }));
        }
    }
    for (step, halted) in [([7, 0], 0), ([u32::MAX, 4], 0), ([2047, 0], 0), ([7, 0], 1)] {
        let built = case(
            format!("step {step:?} halted: {halted}"),
            Advance { batch: 96 },
            Values::Normal,
        );
        cases.push(built.changed(move |inputs| {
            inputs[0] = numbers(Values::Normal, 6, TABLE_ROWS * SCHEDULE_COLUMNS);
            if let Data::U32(words) = &mut inputs[2] {
                words[..2].copy_from_slice(&step);
                words[state::HALTED] = halted;
            }
        }));
    }
}
