//! Compositing: rays of one sample and of many, thin and opaque ones, packed rays of which some are empty, room that no ray uses.

use super::{Case, Values, case, numbers};
use crate::kernels::Kernel;
use crate::kernels::composite::{Composite, Samples, Wanted};
use crate::real::Precision;
use crate::reference::Twin;
use crate::tensor::{DType, Data};

const ALL: [Wanted; 5] = [
    Wanted::Value,
    Wanted::Weights,
    Wanted::GradientByTau,
    Wanted::GradientByColour,
    Wanted::GradientByT,
];

/// Thicknesses about `scale`, every fifth a hundred times as large, every seventh zero.
fn thickness(scale: f32, count: usize) -> Vec<f32> {
    let drawn = numbers(Values::Positive, 5, count).to_f32();
    let each = drawn.iter().enumerate().map(|(i, x)| match i {
        _ if i % 7 == 3 => 0.0,
        _ if i % 5 == 4 => 100.0 * scale * x,
        _ => scale * x,
    });
    each.collect()
}

/// First samples of rays of 0 to 11 samples, more than there is room for being none: as `scan` gives them.
fn base(rays: usize, capacity: usize) -> Vec<u32> {
    let mut base = vec![0_u32];
    let mut kept = rays as u32;
    for ray in 0..rays {
        let count = [3, 0, 7, 1, 11, 0, 2][ray % 7];
        let end = base[ray] + count;
        if kept > ray as u32 && end as usize > capacity {
            kept = ray as u32;
        }
        base.push(if kept > ray as u32 { end } else { base[ray] });
    }
    base.push(kept);
    base
}

/// What the kernel is given: of the gradient by tau the value is that of the same samples, in f32.
fn inputs_of(kernel: &Composite, scale: f32) -> Vec<Data> {
    let bindings = kernel.bindings();
    let drawn = bindings.iter().enumerate().map(|(i, binding)| {
        let seed = 40 + i as u64;
        match binding.name.as_str() {
            "tau" => Data::F32(thickness(scale, binding.count)),
            // Distances grow along the rays.
            "t" => Data::F32(
                (0..binding.count)
                    .map(|i| 2.0 + (i % 64) as f32 / 16.0)
                    .collect(),
            ),
            "base" => Data::U32(base(kernel.rays, kernel.count())),
            "colour" => numbers(Values::Positive, seed, binding.count),
            "out" => Data::zeros(DType::F32, Precision::F32, 0),
            _ => numbers(Values::Normal, seed, binding.count),
        }
    });
    let mut inputs: Vec<Data> = drawn.collect();
    if kernel.wanted == Wanted::GradientByTau {
        let value = Composite {
            wanted: Wanted::Value,
            ..kernel.clone()
        };
        let mut operands = inputs[..3].to_vec();
        if kernel.packed() {
            operands.push(inputs[5].clone());
        }
        operands.push(Data::F32(Vec::new()));
        value.reference(&mut operands);
        if let Some(value) = operands.pop() {
            inputs[3] = value;
        }
    }
    inputs
}

pub(super) fn composite(quick: bool, cases: &mut Vec<Case>) {
    let dense = |each: usize, epsilon: f32| Samples::Dense { each, epsilon };
    let packed = |capacity: usize| Samples::Packed { capacity };
    // Several workgroups, rays of one sample, opaque ones, exactly as much room as is used, room for a part of the rays, much more room
    // than samples.
    let mut sizes = vec![
        (65, dense(3, 0.0), 0.3),
        (130, dense(1, 1e-10), 1e-3),
        (7, dense(64, 1e-10), 0.05),
        (65, packed(221), 0.2),
        (129, packed(100), 0.02),
        (3, packed(301), 2.0),
    ];
    if !quick {
        sizes.extend([
            (1, dense(1, 0.0), 1.0),
            (64, dense(17, 0.0), 1e-4),
            (63, dense(33, 1e-10), 1.0),
            (2, dense(192, 1e-10), 0.02),
            (5, dense(100, 0.0), 1e8),
            (5, dense(6, 1e-10), 1e8),
            (1, packed(1), 0.5),
            (1, packed(3), 0.5),
            (257, packed(2048), 0.1),
        ]);
    }
    for (rays, samples, scale) in sizes {
        for wanted in ALL {
            let kernel = Composite {
                rays,
                samples,
                wanted,
            };
            let name = format!("{} rays, {samples:?}, tau {scale}: {wanted:?}", rays);
            let given = kernel.clone();
            let built = case(name, kernel, Values::Normal);
            cases.push(built.changed(move |inputs| {
                inputs.clone_from_slice(&inputs_of(&given, scale));
            }));
        }
    }
}
