//! The cases on which each kernel family is verified: shapes awkward on purpose, data from several distributions, every variant.

use std::sync::Arc;

use crate::kernels::functions::Distribution;
use crate::kernels::philox::{Key, RandomState};
use crate::kernels::{Access, Caps, STATE_WORDS, state};
use crate::reference::Twin;
use crate::reference::half::Half;
use crate::reference::random::draw;
use crate::tensor::{DType, Data};

mod ceilings;
mod convolutions;
mod diffusion;
mod images;
mod layers;
mod maps;
mod moves;
mod products;
mod reductions;
mod updates;

/// A kernel with inputs, one a binding.
#[derive(Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The kernel.
    pub kernel: Arc<dyn Twin>,
    /// What its buffers hold; empty for those it writes.
    pub inputs: Vec<Data>,
}

/// Where a case's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// N(0, 1).
    Normal,
    /// On [0.1, 1.1): no cancellation, nothing at a function's singular points.
    Positive,
    /// Normal, times 1000.
    Large,
    /// Normal, times 0.001.
    Small,
}

/// `count` reproducible numbers.
pub fn numbers(values: Values, seed: u64, count: usize) -> Data {
    let state = RandomState {
        seed,
        step: 0,
        cursor: 0,
    };
    let of = |distribution: Distribution, scale: f64, shift: f64| {
        let one = |i| (draw::<f64>(distribution, &state, Key::Step, 77, i) * scale + shift) as f32;
        Data::F32((0..count).map(one).collect())
    };
    match values {
        Values::Normal => of(Distribution::Normal, 1.0, 0.0),
        Values::Positive => of(Distribution::Uniform, 1.0, 0.1),
        Values::Large => of(Distribution::Normal, 1e3, 0.0),
        Values::Small => of(Distribution::Normal, 1e-3, 0.0),
    }
}

/// `count` reproducible integers below `below`.
pub fn integers(seed: u64, below: u32, count: usize) -> Data {
    let state = RandomState {
        seed,
        step: 1,
        cursor: 0,
    };
    Data::U32(
        (0..count)
            .map(|i| state.word(Key::Step, 78, i) % below)
            .collect(),
    )
}

/// Step, seed and cursor with bits in every word.
fn state_words() -> Data {
    let mut words = vec![0; STATE_WORDS];
    words[state::STEP_LOW] = 0xffff_fffe;
    words[state::STEP_HIGH] = 3;
    words[state::SEED_LOW] = 0x1234_5678;
    words[state::SEED_HIGH] = 0x9abc_def0;
    words[state::CURSOR] = 5;
    Data::U32(words)
}

/// A case whose f32 inputs are drawn, and whose state is [`state_words`].
fn case(name: String, kernel: impl Twin + 'static, values: Values) -> Case {
    let inputs = kernel
        .bindings()
        .iter()
        .enumerate()
        .map(|(i, b)| match (b.access, b.dtype) {
            (Access::Write | Access::Texture { .. }, dtype) => crate::verify::unwritten(dtype),
            (_, DType::U32) if b.name == "state" => state_words(),
            (_, DType::F32 | DType::F16) => numbers(values, 11 + i as u64, b.count),
            (_, DType::U32) => integers(11 + i as u64, 50, b.count),
            (_, DType::U8) => Data::U8(
                integers(11 + i as u64, 256, b.count)
                    .as_u32()
                    .iter()
                    .map(|&x| x as u8)
                    .collect(),
            ),
        })
        .collect();
    Case {
        name,
        kernel: Arc::new(kernel),
        inputs,
    }
}

/// The cases of every family.
pub fn all(caps: &Caps, quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    products::matmul(caps, quick, &mut cases);
    convolutions::conv2d(caps, quick, &mut cases);
    maps::map(caps, quick, &mut cases);
    maps::random(caps, &mut cases);
    reductions::reduce(caps, quick, &mut cases);
    maps::reparameterize(&mut cases);
    moves::rearrange(&mut cases);
    moves::concat(&mut cases);
    moves::cast(&mut cases);
    moves::gather(&mut cases);
    moves::scatter_add(&mut cases);
    updates::updates(&mut cases);
    moves::present(&mut cases);
    images::pool(quick, &mut cases);
    images::top_k(caps, &mut cases);
    images::resize(&mut cases);
    layers::group_norm(caps, quick, &mut cases);
    layers::attention(quick, &mut cases);
    diffusion::q_sample(&mut cases);
    diffusion::timestep_embedding(&mut cases);
    diffusion::reverse_step(quick, &mut cases);
    ceilings::ceilings(&mut cases);
    if caps.f16 {
        in_f16(&mut cases);
    }
    cases
}

/// Some of the cases again with f16 in every buffer that may have it.
fn in_f16(cases: &mut Vec<Case>) {
    let mut again = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let kernel = case.kernel.as_ref();
        let marks: Vec<bool> = kernel.bindings().iter().map(|b| b.half).collect();
        // f16 ends at 65,504, and every third case is enough.
        let large = case.name.contains("Large") || case.name.contains("x 1000");
        if i % 3 == 0 && !large && marks.contains(&true) {
            again.push(Case {
                name: format!("{} in f16", case.name),
                kernel: Arc::new(Half::new(case.kernel.clone(), marks)),
                inputs: case.inputs.clone(),
            });
        }
    }
    cases.extend(again);
}
