//! What a case is, and the numbers in it.

use std::sync::Arc;

use crate::kernels::functions::Distribution;
use crate::kernels::philox::{Key, RandomState};
use crate::kernels::{Access, STATE_WORDS, state};
use crate::real::Precision;
use crate::reference::Twin;
use crate::reference::random::draw;
use crate::tensor::{DType, Data};

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
pub(super) fn state_words() -> Data {
    let mut words = vec![0; STATE_WORDS];
    words[state::STEP_LOW] = 0xffff_fffe;
    words[state::STEP_HIGH] = 3;
    words[state::SEED_LOW] = 0x1234_5678;
    words[state::SEED_HIGH] = 0x9abc_def0;
    words[state::CURSOR] = 5;
    Data::U32(words)
}

/// A case whose f32 inputs are drawn, and whose state is [`state_words`].
pub(super) fn case(name: String, kernel: impl Twin + 'static, values: Values) -> Case {
    let inputs = kernel
        .bindings()
        .iter()
        .enumerate()
        .map(|(i, b)| match (b.access, b.dtype) {
            (Access::Write | Access::Texture { .. }, dtype) => unwritten(dtype),
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

/// An empty array of a type, for bindings that are written.
pub fn unwritten(dtype: DType) -> Data {
    Data::zeros(dtype, Precision::F32, 0)
}
