//! The single kernels that `wgen bench` times: a few telling shapes of each family, which [`all`] gives with their inputs. Some are
//! memory-bound maps over millions of elements, of which this is the one that other libraries are compared on:
//!
//! ```
//! use wgen::bench::cases::chain;
//! use wgen::kernels::{Caps, map::Map};
//! use wgen::reference::Twin;
//! use wgen::tensor::Data;
//!
//! // sigmoid(x) y + x, here of four elements and by the kernel's CPU twin.
//! let kernel = Map::new(&Caps::portable(), 4, chain(4));
//! let [x, y] = [vec![0.0, 0.0, 1.0, -1.0], vec![2.0, -4.0, 0.0, 0.0]];
//! let mut buffers = [x, y, vec![0.0; 4]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![1.0, -2.0, 1.0, -1.0]));
//! ```

mod moves;

use std::sync::Arc;

use crate::error::Result;
use crate::kernels::adam::Adam;
use crate::kernels::attention::{Attention, Mode, Sizes};
use crate::kernels::conv2d::{Conv2d, Direction, Geometry};
use crate::kernels::ema::Ema;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::functions::{Distribution, Function};
use crate::kernels::hash_encoding::{HashClear, HashEncode, HashFinish, HashGrid, HashScatter};
use crate::kernels::map::Map;
use crate::kernels::matmul::{Layout, Matmul};
use crate::kernels::philox::Key;
use crate::kernels::reduce::{Combine, Reduce};
use crate::kernels::reparameterize::Reparameterize;
use crate::kernels::rmsprop::Rmsprop;
use crate::kernels::sgd::Sgd;
use crate::kernels::{Access, Binding, CONTROL_FLOATS, Caps, SCHEDULE_COLUMNS};
use crate::reference::{Twin, half};
use crate::tensor::{DType, Data};
use crate::verify::cases::{Values, integers, numbers};

/// A kernel to be timed.
#[derive(Debug)]
pub struct Case {
    /// What it computes, and how much of it.
    pub name: String,
    /// The kernel.
    pub kernel: Box<dyn Twin>,
    /// What is put in place of the usual inputs.
    instead: Option<fn(&mut [Data])>,
    /// The product that it is, where it is a plain one: then its result is checked by multiplying it with vectors.
    pub product: Option<Matmul>,
    /// The convolution that it is: likewise.
    pub convolution: Option<Conv2d>,
}

/// The element-wise chain of the comparison with peers: sigmoid(x) y + x.
pub fn chain(count: usize) -> Expression {
    Expression {
        terms: vec![
            Term::Operand(0),
            Term::Operand(1),
            Term::Call(Function::Sigmoid, vec![0]),
            Term::Call(Function::Mul, vec![2, 1]),
            Term::Call(Function::Add, vec![3, 0]),
        ],
        operands: vec![Indexing::dense(count), Indexing::dense(count)],
        results: vec![4],
    }
}

/// x + y.
pub fn sum_of_two(count: usize) -> Expression {
    Expression {
        terms: vec![
            Term::Operand(0),
            Term::Operand(1),
            Term::Call(Function::Add, vec![0, 1]),
        ],
        operands: vec![Indexing::dense(count), Indexing::dense(count)],
        results: vec![2],
    }
}

/// relu(x a + b), a and b of a row of 1024: a layer's scale, shift and activation.
fn affine_relu(count: usize) -> Expression {
    let domain = [count / 1024, 1024].into();
    let row = Indexing::broadcast(&domain, &[1024].into());
    Expression {
        terms: vec![
            Term::Operand(0),
            Term::Operand(1),
            Term::Call(Function::Mul, vec![0, 1]),
            Term::Operand(2),
            Term::Call(Function::Add, vec![2, 3]),
            Term::Call(Function::Relu, vec![4]),
        ],
        operands: vec![Indexing::dense(count), row.clone(), row],
        results: vec![5],
    }
}

fn normal() -> Expression {
    Expression {
        terms: vec![Term::Random {
            distribution: Distribution::Normal,
            key: Key::Step,
            stream: 3,
        }],
        operands: Vec::new(),
        results: vec![0],
    }
}

/// `count` numbers, of which the first 65,537 repeat: drawing all would take longer than the benchmark.
fn repeated(values: Values, seed: u64, count: usize) -> Data {
    const PERIOD: usize = 65_537;
    if count <= PERIOD {
        return numbers(values, seed, count);
    }
    let period = numbers(values, seed, PERIOD).to_f32();
    Data::F32(period.iter().copied().cycle().take(count).collect())
}

impl Case {
    /// What its buffers hold; empty for those it writes. Made when it is asked for, the same every time.
    pub fn inputs(&self) -> Vec<Data> {
        let bindings = self.kernel.bindings();
        let all = bindings.iter().enumerate();
        let mut inputs: Vec<Data> = all.map(|(i, b)| input(i as u64, b)).collect();
        if let Some(instead) = self.instead {
            instead(&mut inputs);
        }
        inputs
    }
}

fn case(name: impl Into<String>, kernel: impl Twin + 'static) -> Case {
    Case {
        name: name.into(),
        kernel: Box::new(kernel),
        instead: None,
        product: None,
        convolution: None,
    }
}

/// A step of a small field: 2^14 samples, 8 levels of 4 features from 16 to 512 vertices, tables of 2^17 entries.
fn hash_encodings() -> Vec<Case> {
    let Ok(grid) = HashGrid::new(8, 4, 17, 16, 512) else {
        return Vec::new();
    };
    let (grid, samples) = (Arc::new(grid), 1 << 14);
    let mut encode = case(
        "hash encoding of 16,384 positions, 8 levels of 4",
        HashEncode {
            grid: grid.clone(),
            samples,
        },
    );
    // Positive numbers are up to 1.1: some of them are outside.
    encode.instead = Some(|inputs| inputs[0] = repeated(Values::Positive, 7, inputs[0].len()));
    let mut scatter = case(
        "its gradient, added up in fixed point",
        HashScatter {
            grid: grid.clone(),
            samples,
        },
    );
    scatter.instead = Some(|inputs| {
        inputs[0] = repeated(Values::Positive, 7, inputs[0].len());
        // A little more than the magnitudes of 2^14 normal numbers add up to.
        inputs[2] = Data::F32(vec![16_000.0; inputs[2].len()]);
        inputs[3] = Data::U32(vec![0; inputs[3].len()]);
    });
    let clear = HashClear { grid: grid.clone() };
    let mut finish = case("sums in fixed point as reals", HashFinish { grid });
    finish.instead = Some(|inputs| inputs[1] = Data::F32(vec![16_000.0; inputs[1].len()]));
    let clear = case("zeros for sums in fixed point", clear);
    vec![encode, clear, scatter, finish]
}

fn level(log_sums: &mut Data) {
    *log_sums = Data::F32(vec![8.0; log_sums.len()]);
}

/// Self-attention as U-Nets have it: the small one's 4 heads of 32 channels over 14 x 14 pixels, ADM's of 64 over 16 x 16, an autoencoder's single
/// head of 512.
fn attention(caps: &Caps) -> Vec<Case> {
    let mut cases = Vec::new();
    for [batch, rows, heads, size] in [[16, 196, 4, 32], [4, 256, 4, 64], [1, 256, 1, 512]] {
        let sizes = Sizes {
            batch,
            queries: rows,
            keys: rows,
            heads,
            size,
        };
        for (mode, name) in [
            (Mode::Forward, "forward"),
            (Mode::LogSums, "sums"),
            (Mode::ByQuery, "by queries"),
            (Mode::ByKey, "by keys"),
            (Mode::ByValue, "by values"),
        ] {
            let kernel = Attention::new(caps, sizes, mode);
            let mut case = case(
                format!("attention {name}, {batch} of {rows} rows, {heads} heads of {size}"),
                kernel,
            );
            // Logarithms of sums as large as such scores give, so that no weight is infinite.
            case.instead = match mode {
                Mode::Forward | Mode::LogSums => None,
                Mode::ByQuery | Mode::ByKey => Some(|inputs| level(&mut inputs[4])),
                Mode::ByValue => Some(|inputs| level(&mut inputs[3])),
            };
            cases.push(case);
        }
    }
    cases
}

/// What buffer number `i` holds.
fn input(i: u64, b: &Binding) -> Data {
    match (b.access, b.dtype, b.name.as_str()) {
        (Access::Write, dtype, _) => crate::verify::unwritten(dtype),
        (_, _, "schedule") => {
            let mut row = vec![0.0; SCHEDULE_COLUMNS];
            row[..5].copy_from_slice(&[1e-3, 1.5, 10.0, 0.1, 1.0]);
            Data::F32(row)
        }
        (_, _, "control") => {
            let mut control = vec![0.0; CONTROL_FLOATS];
            control[0] = 1.0;
            Data::F32(control)
        }
        (_, DType::F32 | DType::F16, name) if name.starts_with("moment2") => {
            repeated(Values::Positive, i, b.count)
        }
        (_, DType::F32 | DType::F16, _) => repeated(Values::Normal, i, b.count),
        (_, DType::U32, _) => integers(i, 1000, b.count),
        (_, DType::U8, _) => Data::U8((0..b.count).map(|i| (i * 31 % 251) as u8).collect()),
    }
}

/// Every case for a device.
///
/// # Errors
/// Never for these shapes.
pub fn all(caps: &Caps) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut shapes = vec![
        (512, 512, 512),
        (128, 400, 784),
        (64, 1024, 1024),
        (1024, 1024, 1024),
    ];
    if !caps.software {
        shapes.push((4096, 4096, 4096));
    }
    // The same on matrix units, where there are any, with numbers that f16 holds.
    let rounding = Caps {
        half_products: !caps.software,
        ..caps.clone()
    };
    for (m, n, k) in shapes {
        for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
            let kernel = Matmul::new(caps, layout, 1, m, n, k)?;
            let name = format!("matmul {} {m}x{n}x{k}", layout.name());
            let product = Some(kernel.clone());
            cases.push(Case {
                product,
                ..case(name.clone(), kernel)
            });
            let kernel = Matmul::new(&rounding, layout, 1, m, n, k)?;
            if kernel.variant.is_cooperative() {
                let product = Some(kernel.clone());
                cases.push(Case {
                    product,
                    instead: Some(|inputs| inputs.iter_mut().for_each(half::hold)),
                    ..case(format!("{name}, matrix units"), kernel)
                });
            }
        }
    }
    for side in [16, 28] {
        let geometry = Geometry::square(16, side, 64, 64, [3, 1, 1]);
        let pixels = 16 * side * side;
        // Each convolution beside the plain product of its size.
        let pairs = [
            (Direction::Forward, Layout::Nt, [pixels, 64, 576]),
            (Direction::Input, Layout::Nn, [pixels, 64, 576]),
            (Direction::Weight, Layout::Tn, [64, 576, pixels]),
        ];
        for (direction, layout, [m, n, k]) in pairs {
            let kernel = Conv2d::new(caps, geometry, direction)?;
            let what = format!("{direction:?}").to_lowercase();
            let name = format!("conv2d {what} 3x3, 64 to 64 channels, 16 of {side}x{side}");
            let convolution = Some(kernel.clone());
            cases.push(Case {
                convolution,
                ..case(name, kernel)
            });
            let kernel = Matmul::new(caps, layout, 1, m, n, k)?;
            let name = format!("matmul {} {m}x{n}x{k}", layout.name());
            let product = Some(kernel.clone());
            cases.push(Case {
                product,
                ..case(name, kernel)
            });
        }
    }
    // Memory-bound kernels work on more than a last cache holds.
    let count: usize = if caps.software { 1 << 23 } else { 1 << 24 };
    let millions = format!("{} Mi", count >> 20);
    cases.push(case(
        format!("x + y, {millions}"),
        Map::new(caps, count, sum_of_two(count)),
    ));
    cases.push(case(
        format!("sigmoid(x) y + x, {millions}"),
        Map::new(caps, count, chain(count)),
    ));
    cases.push(case(
        format!("relu(x a + b), {millions}"),
        Map::new(caps, count, affine_relu(count)),
    ));
    cases.push(case(
        format!("normal noise, {millions}"),
        Map::new(caps, count, normal()),
    ));
    cases.push(case(
        format!("reparameterized sample, {millions}"),
        Reparameterize {
            count,
            key: Key::Step,
            stream: 9,
        },
    ));
    let sum = |outer, length, inner| Reduce::new(caps, Combine::Sum, outer, length, inner);
    cases.push(case(
        format!("sums of {} rows of 1024", count / 1024),
        sum(count / 1024, 1024, 1),
    ));
    cases.push(case(
        format!("sums of {} columns of 1024", count / 1024),
        sum(1, 1024, count / 1024),
    ));
    let chunks = Reduce::split(caps, Combine::Sum, 1, count, 1);
    let (partial, _) = sum(1, count, 1).in_two(caps, chunks.max(1));
    cases.push(case(format!("{chunks} partial sums, {millions}"), partial));
    cases.push(case(
        format!("sums of 64 columns of {}", count / 64),
        Reduce {
            chunks: Reduce::split(caps, Combine::Sum, 1, count / 64, 64),
            ..sum(1, count / 64, 64)
        },
    ));
    cases.extend(attention(caps));
    cases.extend(moves::rearrangements(count));
    cases.extend(moves::moves(count));
    cases.extend(moves::scatter_add());
    cases.extend(hash_encodings());
    let adam = Adam {
        count,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        decay: 0.0,
        decoupled: false,
    };
    cases.push(case(format!("Adam, {millions}"), adam));
    let sgd = Sgd {
        count,
        momentum: 0.9,
        decay: 0.0,
        nesterov: false,
    };
    cases.push(case(format!("SGD with momentum, {millions}"), sgd));
    let rmsprop = Rmsprop {
        count,
        alpha: 0.99,
        epsilon: 1e-8,
        momentum: 0.0,
        decay: 0.0,
    };
    cases.push(case(format!("RMSprop, {millions}"), rmsprop));
    cases.push(case(format!("moving average, {millions}"), Ema { count }));
    Ok(cases)
}
