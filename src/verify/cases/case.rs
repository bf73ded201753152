//! What a case is, and the numbers in it.

use std::fmt;
use std::sync::Arc;

use crate::kernels::functions::Distribution;
use crate::kernels::philox::{Key, RandomState};
use crate::kernels::{Access, Binding, STATE_WORDS, state};
use crate::real::Precision;
use crate::reference::Twin;
use crate::reference::random::draw;
use crate::tensor::{DType, Data};

/// What makes a case's inputs when its turn comes.
type Make = dyn Fn() -> Vec<Data> + Send + Sync;

/// A kernel with inputs, one a binding. They are made when they are asked for: those of all cases together would fill a gigabyte.
#[derive(Clone)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The kernel.
    pub kernel: Arc<dyn Twin>,
    make: Arc<Make>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("kernel", &self.kernel)
            .finish_non_exhaustive()
    }
}

impl Case {
    /// A case of `kernel` whose inputs `make` gives, one a binding.
    pub fn new(
        name: impl Into<String>,
        kernel: Arc<dyn Twin>,
        make: impl Fn() -> Vec<Data> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            kernel,
            make: Arc::new(make),
        }
    }

    /// What its buffers hold; empty for those it writes. The same every time.
    pub fn inputs(&self) -> Vec<Data> {
        (self.make)()
    }

    /// The same inputs for another kernel.
    pub(super) fn with_kernel(&self, name: String, kernel: Arc<dyn Twin>) -> Self {
        let make = self.make.clone();
        Self { name, kernel, make }
    }

    /// The same case with inputs that `change` has changed.
    #[must_use]
    pub(super) fn changed(self, change: impl Fn(&mut [Data]) + Send + Sync + 'static) -> Self {
        let make = self.make;
        Self {
            make: Arc::new(move || {
                let mut inputs = make();
                change(&mut inputs);
                inputs
            }),
            ..self
        }
    }
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
    /// Whole, from -3 to 3: exact in f16, and so are sums of their products in f32, in any order.
    Whole,
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
        Values::Whole => {
            let words = integers(seed, 7, count);
            Data::F32(words.as_u32().iter().map(|&w| w as f32 - 3.0).collect())
        }
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
    let bindings = kernel.bindings();
    Case::new(name, Arc::new(kernel), move || {
        let all = bindings.iter().enumerate();
        all.map(|(i, b)| input(b, values, 11 + i as u64)).collect()
    })
}

fn input(binding: &Binding, values: Values, seed: u64) -> Data {
    match (binding.access, binding.dtype) {
        (Access::Write | Access::Texture { .. }, dtype) => unwritten(dtype),
        (_, DType::U32) if binding.name == "state" => state_words(),
        (_, dtype) => drawn(dtype, values, seed, binding.count),
    }
}

/// `count` reproducible elements of a type: reals as `values` says, words below 50, any bytes.
pub(crate) fn drawn(dtype: DType, values: Values, seed: u64, count: usize) -> Data {
    let byte = |&x: &u32| x as u8;
    match dtype {
        DType::F32 | DType::F16 => numbers(values, seed, count),
        DType::U32 => integers(seed, 50, count),
        DType::U8 => Data::U8(
            integers(seed, 256, count)
                .as_u32()
                .iter()
                .map(byte)
                .collect(),
        ),
    }
}

/// An empty array of a type, for bindings that are written.
pub fn unwritten(dtype: DType) -> Data {
    Data::zeros(dtype, Precision::F32, 0)
}
