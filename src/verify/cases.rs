//! The cases on which each kernel family is verified: shapes awkward on purpose, data from several distributions, every variant.

use crate::kernels::adam::Adam;
use crate::kernels::advance::Advance;
use crate::kernels::cast::Cast;
use crate::kernels::concat::Concat;
use crate::kernels::ema::Ema;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::functions::{Distribution, Function};
use crate::kernels::gather::Gather;
use crate::kernels::guard::Guard;
use crate::kernels::map::Map;
use crate::kernels::matmul::{Layout, Matmul, Variant};
use crate::kernels::philox::{Key, RandomState};
use crate::kernels::rearrange::Rearrange;
use crate::kernels::reduce::{Combine, Reduce};
use crate::kernels::reparameterize::Reparameterize;
use crate::kernels::rmsprop::Rmsprop;
use crate::kernels::scatter_add::{RankPositions, ScatterAdd};
use crate::kernels::sgd::Sgd;
use crate::kernels::{
    Access, CONTROL_FLOATS, Caps, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, STATE_WORDS,
    TABLE_ROWS, state,
};
use crate::reference::Twin;
use crate::reference::random::draw;
use crate::tensor::{DType, Data, Shape};

/// A kernel with inputs, one a binding.
#[derive(Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The kernel.
    pub kernel: Box<dyn Twin>,
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
            (Access::Write, dtype) => super::unwritten(dtype),
            (_, DType::U32) if b.name == "state" => state_words(),
            (_, DType::F32) => numbers(values, 11 + i as u64, b.count),
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
        kernel: Box::new(kernel),
        inputs,
    }
}

/// The cases of every family.
pub fn all(caps: &Caps, quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    matmul(caps, quick, &mut cases);
    map(caps, quick, &mut cases);
    random(caps, &mut cases);
    reduce(caps, quick, &mut cases);
    reparameterize(&mut cases);
    rearrange(&mut cases);
    concat(&mut cases);
    cast(&mut cases);
    gather(&mut cases);
    scatter_add(&mut cases);
    updates(&mut cases);
    cases
}

/// The body variants that a device can run.
fn variants(caps: &Caps, layout: Layout) -> Vec<Variant> {
    let mut variants = vec![Variant::Registers];
    if caps.invocations >= 256 {
        variants.push(Variant::Tiled);
    }
    if caps.subgroup_min_size >= 4 {
        let lanes = if caps.subgroup_min_size >= 8 { 8 } else { 4 };
        for quads in [1, 2] {
            variants.push(Variant::Subgroup {
                lanes,
                rows: 32,
                quads,
            });
        }
        if layout != Layout::Tn {
            variants.extend([8, 16].map(|rows| Variant::Subgroup {
                lanes,
                rows,
                quads: 1,
            }));
        }
    }
    variants
}

/// bias of a row, relu, and a residual: every way to read an operand.
fn epilogue(shape: &Shape, random: bool) -> Expression {
    let n = shape.dims()[shape.rank() - 1];
    let m = shape.dims()[shape.rank() - 2];
    let mut terms = vec![
        Term::Accumulator,
        Term::Operand(0),
        Term::Call(Function::Add, vec![0, 1]),
        Term::Call(Function::Relu, vec![2]),
        Term::Operand(1),
        Term::Call(Function::Add, vec![3, 4]),
        Term::Operand(2),
        Term::Operand(3),
        Term::Call(Function::Mul, vec![6, 7]),
        Term::Call(Function::Mul, vec![5, 8]),
    ];
    let mut results = vec![9];
    if random {
        terms.push(Term::Random {
            distribution: Distribution::Normal,
            key: Key::Step,
            stream: 5,
        });
        terms.push(Term::Call(Function::Mul, vec![9, 10]));
        results = vec![9, 11];
    }
    let operands = vec![
        Indexing::broadcast(shape, &[n].into()),
        Indexing::dense(shape.count()),
        Indexing::broadcast(shape, &[m, 1].into()),
        Indexing::broadcast(shape, &Shape::scalar()),
    ];
    Expression {
        terms,
        operands,
        results,
    }
}

fn matmul(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    let portable = Caps::portable();
    let mut shapes = vec![
        (1, 1, 1),
        (3, 5, 7),
        (9, 6, 10),
        (33, 31, 13),
        (64, 64, 64),
        (65, 36, 20),
        (32, 68, 17),
    ];
    if !quick {
        shapes.extend([
            (7, 1, 129),
            (1, 130, 5),
            (63, 65, 1),
            (128, 20, 400),
            (96, 132, 100),
            (40, 12, 784),
        ]);
    }
    for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
        for variant in variants(caps, layout) {
            for (i, &(m, n, k)) in shapes.iter().enumerate() {
                let Ok(plain) = Matmul::new(&portable, layout, 1, m, n, k) else {
                    continue;
                };
                let plain = Matmul { variant, ..plain };
                let values = [Values::Normal, Values::Positive, Values::Large][i % 3];
                let name = format!("{} {variant:?} {m}x{n}x{k} {values:?}", layout.name());
                cases.push(case(name, plain, values));
            }
            // Fused and batched, on shapes that are a tile's multiple and on ones that are not.
            for (m, n, k) in [(33, 35, 9), (68, 72, 36)] {
                let batch = 2;
                let Ok(plain) = Matmul::new(&portable, layout, batch, m, n, k) else {
                    continue;
                };
                let shape = Shape::from([batch, m, n]);
                let name = format!("{} {variant:?} {batch}x{m}x{n}x{k}", layout.name());
                let plain = Matmul { variant, ..plain };
                let fused = Matmul {
                    epilogue: epilogue(&shape, n % 4 == 0),
                    ..plain.clone()
                };
                cases.push(case(format!("{name} epilogue"), fused, Values::Normal));
                let shared = Matmul {
                    b_batched: false,
                    accumulate: true,
                    ..plain.clone()
                };
                cases.push(case(
                    format!("{name} accumulate, one b"),
                    shared,
                    Values::Normal,
                ));
                if layout == Layout::Tn {
                    let sums = Matmul {
                        row_sums: true,
                        ..plain
                    };
                    cases.push(case(format!("{name} row sums"), sums, Values::Normal));
                }
            }
        }
    }
}

/// A chain of `functions` over operands that broadcast in `domain`, each function taking the last value.
fn chain(domain: &Shape, operands: &[Shape], functions: &[Function]) -> Expression {
    let mut terms: Vec<Term> = (0..operands.len()).map(Term::Operand).collect();
    let mut last = 0;
    let mut next = 1;
    for &function in functions {
        let mut arguments = vec![last];
        while arguments.len() < function.arity() {
            arguments.push(next % operands.len());
            next += 1;
        }
        terms.push(Term::Call(function, arguments));
        last = terms.len() - 1;
    }
    let operands = operands
        .iter()
        .map(|o| Indexing::broadcast(domain, o))
        .collect();
    Expression {
        terms,
        operands,
        results: vec![last],
    }
}

fn map(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    for &function in Function::ALL {
        for (count, values) in [
            (257, Values::Normal),
            (256, Values::Normal),
            (64, Values::Large),
            (100, Values::Small),
        ] {
            // Where a function is not defined, or overflows, is not where it is tested.
            let values = match function {
                Function::Log | Function::Sqrt | Function::Div => Values::Positive,
                Function::Exp | Function::ExpMinusOne | Function::LogOnePlus
                    if values == Values::Large =>
                {
                    Values::Positive
                }
                _ => values,
            };
            let shape = Shape::from([count]);
            let mut built = case(
                format!("{} of {count} {values:?}", function.name()),
                Map::new(
                    caps,
                    count,
                    chain(&shape, &vec![shape.clone(); function.arity()], &[function]),
                ),
                values,
            );
            match (function, built.inputs.as_mut_slice()) {
                // Bounds in order, a condition that is sometimes 0, equal operands now and then, an argument in its range.
                (Function::Clamp, [_, low, high, ..]) => {
                    *low = Data::F32(vec![-0.5; count]);
                    *high = Data::F32(vec![0.7; count]);
                }
                (Function::Select, [condition, ..]) => {
                    *condition = Data::F32((0..count).map(|i| (i % 3) as f32).collect());
                }
                (Function::Equal | Function::Greater, [a, b, ..]) => {
                    *a = Data::F32((0..count).map(|i| (i % 5) as f32).collect());
                    *b = Data::F32((0..count).map(|i| (i % 7) as f32).collect());
                }
                (Function::LogOnePlus, [x, ..]) => {
                    *x = Data::F32(
                        (0..count)
                            .map(|i| (i as f32 / (count - 1) as f32).powi(3))
                            .collect(),
                    );
                }
                _ => {}
            }
            cases.push(built);
        }
    }
    let functions = [Function::Add, Function::Tanh, Function::Mul, Function::Sub];
    for domain in [[3, 4, 5, 8], [2, 3, 5, 7], [1, 16, 4, 4], [4, 2, 6, 4]].map(Shape::from) {
        let d = domain.dims();
        let operands = [
            domain.clone(),
            [d[3]].into(),
            [d[2], 1].into(),
            [d[1], 1, d[3]].into(),
            Shape::scalar(),
            [d[0], 1, 1, 1].into(),
        ];
        let expression = chain(&domain, &operands, &functions);
        cases.push(case(
            format!("broadcast in {domain:?}"),
            Map::new(caps, domain.count(), expression),
            Values::Normal,
        ));
    }
    // Several results, and enough elements for four vec4 an invocation and a last workgroup that is not full.
    let count = if quick {
        (1 << 16) + 12
    } else {
        (1 << 18) + 12
    };
    let shape = Shape::from([count]);
    let mut expression = chain(
        &shape,
        &[shape.clone(), shape.clone()],
        &[Function::Mul, Function::Sigmoid],
    );
    expression.results = vec![2, 3];
    cases.push(case(
        format!("two results of {count}"),
        Map::new(caps, count, expression),
        Values::Normal,
    ));
}

fn random(caps: &Caps, cases: &mut Vec<Case>) {
    // A probability that one of the numbers hits exactly: 0 there, for it is not below itself.
    let state = crate::reference::random_state(state_words().as_u32());
    let hit = (state.word(Key::Step, 0x0bad_cafe, 9) >> 8) as f32 / 16_777_216.0;
    let bernoulli = [0.3, hit].map(Distribution::Bernoulli);
    for distribution in [Distribution::Uniform, Distribution::Normal]
        .into_iter()
        .chain(bernoulli)
    {
        let keys = [
            (Key::Step, 256),
            (Key::Step, 259),
            (
                Key::Example {
                    examples: 5,
                    draws: 3,
                    width: 7,
                },
                105,
            ),
            (
                Key::Example {
                    examples: 4,
                    draws: 2,
                    width: 20,
                },
                160,
            ),
        ];
        for (key, count) in keys {
            let term = Term::Random {
                distribution,
                key,
                stream: 0x0bad_cafe,
            };
            let expression = Expression {
                terms: vec![term],
                operands: Vec::new(),
                results: vec![0],
            };
            let name = format!("{} of {count} by {key:?}", distribution.name());
            cases.push(case(
                name,
                Map::new(caps, count, expression),
                Values::Normal,
            ));
        }
    }
}

fn reduce(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    let mut domains = vec![
        [1, 1, 1],
        [1, 37, 1],
        [5, 64, 1],
        [3, 7, 5],
        [2, 33, 12],
        [1, 129, 20],
        [6, 1, 4],
        [1, 600, 1],
        [71, 3, 1],
    ];
    if !quick {
        domains.extend([[1, 1 << 16, 1], [700, 3, 1], [1, 128, 784], [4, 1000, 3]]);
    }
    for combine in [
        Combine::Sum,
        Combine::Max,
        Combine::Min,
        Combine::Argmax,
        Combine::LogSumExp,
    ] {
        for &[outer, length, inner] in &domains {
            for cooperative in [false, true] {
                if cooperative && inner != 1 {
                    continue;
                }
                let kernel = Reduce {
                    cooperative,
                    ..Reduce::new(caps, combine, outer, length, inner)
                };
                let kernel = if cooperative {
                    Reduce {
                        workgroup: 64,
                        ..kernel
                    }
                } else {
                    kernel
                };
                let name = format!(
                    "{} [{outer}, {length}, {inner}] tree: {cooperative}",
                    combine.name()
                );
                cases.push(case(name, kernel, Values::Normal));
            }
        }
        if combine == Combine::Argmax {
            continue;
        }
        // In chunks, the last one shorter; fused before and after.
        for [outer, length, inner] in [[1, 130, 1], [2, 45, 4], [1, 50, 3], [1, 256, 1]] {
            let shape = Shape::from([outer, length, inner]);
            let results = Shape::from([outer, inner]);
            let prologue = chain(
                &shape,
                &[shape.clone(), [length, 1].into(), [inner].into()],
                &[Function::Mul, Function::Add],
            );
            let after = chain(
                &results,
                &[results.clone(), Shape::scalar()],
                &[Function::Mul],
            );
            let mut epilogue = Expression {
                terms: vec![Term::Accumulator],
                ..after.clone()
            };
            epilogue.terms.extend([
                Term::Operand(0),
                Term::Operand(1),
                Term::Call(Function::Mul, vec![0, 1]),
                Term::Call(Function::Add, vec![3, 2]),
            ]);
            epilogue.results = vec![0, 4];
            let fused = Reduce {
                prologue,
                epilogue,
                ..Reduce::new(caps, combine, outer, length, inner)
            };
            let name = format!("{} {shape:?} fused", combine.name());
            cases.push(case(name, fused.clone(), Values::Normal));
            let (first, second) = fused.in_two(caps, 3);
            cases.push(case(
                format!("{} {shape:?} in chunks", combine.name()),
                first,
                Values::Normal,
            ));
            cases.push(case(
                format!("{} {shape:?} of chunks", combine.name()),
                second,
                Values::Normal,
            ));
        }
    }
    // Equal values: the first place counts.
    let mut ties = case(
        "argmax with ties".to_owned(),
        Reduce::new(caps, Combine::Argmax, 4, 12, 3),
        Values::Normal,
    );
    ties.inputs[0] = Data::F32((0..144).map(|i| ((i * 7) % 4) as f32).collect());
    cases.push(ties);
    let mut ties = case(
        "argmax of rows with ties".to_owned(),
        Reduce::new(caps, Combine::Argmax, 4, 16, 1),
        Values::Normal,
    );
    ties.inputs[0] = Data::F32((0..64).map(|i| ((i * 5) % 3) as f32).collect());
    cases.push(ties);
    // Exponentials that would overflow.
    let large = Reduce::new(caps, Combine::LogSumExp, 3, 40, 1);
    cases.push(case(
        "log_sum_exp of large values".to_owned(),
        large,
        Values::Large,
    ));
}

fn reparameterize(cases: &mut Vec<Case>) {
    for (count, key) in [
        (1, Key::Step),
        (260, Key::Step),
        (1023, Key::Step),
        (2052, Key::Step),
        (
            60,
            Key::Example {
                examples: 6,
                draws: 2,
                width: 5,
            },
        ),
        (
            80,
            Key::Example {
                examples: 4,
                draws: 1,
                width: 20,
            },
        ),
    ] {
        let kernel = Reparameterize {
            count,
            key,
            stream: 0x1357_9bdf,
        };
        cases.push(case(format!("{count} by {key:?}"), kernel, Values::Normal));
    }
}

fn rearrange(cases: &mut Vec<Case>) {
    for (dims, order) in [
        (vec![5, 7], vec![1, 0]),
        (vec![8, 12], vec![1, 0]),
        (vec![2, 3, 4], vec![1, 0, 2]),
        (vec![2, 3, 4, 5], vec![0, 2, 3, 1]),
        (vec![2, 3, 1, 2, 3, 2], vec![5, 3, 1, 0, 2, 4]),
        (vec![300], vec![0]),
        (vec![2001], vec![0]),
    ] {
        let shape = Shape::new(dims);
        let kernel = Rearrange::permute(&shape, &order, DType::F32);
        cases.push(case(
            format!("permute {shape:?} by {order:?}"),
            kernel,
            Values::Normal,
        ));
    }
    let shape = Shape::from([6, 8]);
    for (offsets, sizes) in [
        ([1, 2], [4, 5]),
        ([-1, -2], [9, 11]),
        ([2, 4], [3, 4]),
        ([0, -4], [6, 16]),
        ([3, 4], [8, 8]),
    ] {
        let kernel = Rearrange::window(&shape, &offsets, &sizes, 1.5, DType::F32);
        cases.push(case(
            format!("window {sizes:?} at {offsets:?} of {shape:?}"),
            kernel,
            Values::Normal,
        ));
        let kernel = Rearrange::window(&shape, &offsets, &sizes, 9.0, DType::U32);
        cases.push(case(
            format!("integers, window {sizes:?} at {offsets:?}"),
            kernel,
            Values::Normal,
        ));
    }
}

fn concat(cases: &mut Vec<Case>) {
    for (outer, inner, lengths) in [
        (1, 1, vec![3, 5]),
        (9, 7, vec![3, 5]),
        (4, 3, vec![1, 2, 4]),
        (2, 1, vec![1; 7]),
        (3, 4, vec![100]),
    ] {
        for dtype in [DType::F32, DType::U32] {
            let kernel = Concat {
                outer,
                inner,
                lengths: lengths.clone(),
                dtype,
            };
            cases.push(case(
                format!("{lengths:?} in {outer} x {inner} {}", dtype.name()),
                kernel,
                Values::Normal,
            ));
        }
    }
}

fn cast(cases: &mut Vec<Case>) {
    let types = [DType::F32, DType::U32, DType::U8];
    for (from, to) in types
        .iter()
        .flat_map(|&a| types.iter().map(move |&b| (a, b)))
        .filter(|(a, b)| a != b)
    {
        for count in [1, 7, 1030, 1928] {
            let kernel = Cast { count, from, to };
            let mut built = case(
                format!("{count} {} to {}", from.name(), to.name()),
                kernel,
                Values::Normal,
            );
            match from {
                DType::F32 => {
                    // Negative, fractional, and beyond the largest integer.
                    let value = |i: usize| {
                        if i % 100 == 6 {
                            5e9
                        } else {
                            i as f32 * 1.7 - 9.3
                        }
                    };
                    built.inputs[0] = Data::F32((0..count).map(value).collect());
                }
                DType::U32 => built.inputs[0] = integers(5, 400, count),
                DType::U8 => {}
            }
            cases.push(built);
        }
    }
}

fn gather(cases: &mut Vec<Case>) {
    for dtype in [DType::U8, DType::F32, DType::U32] {
        for (rows, width, batch, cursor) in [
            (50, 8, 9, false),
            (50, 7, 9, false),
            (50, 784, 3, true),
            (50, 1, 20, true),
            (40, 5, 12, true),
        ] {
            let indices = if cursor { 13 } else { batch };
            let (scale, shift) = if dtype == DType::U32 {
                (1.0, 0.0)
            } else {
                (1.0 / 255.0, -0.5)
            };
            let kernel = Gather {
                rows,
                width,
                batch,
                indices,
                cursor,
                dtype,
                scale,
                shift,
            };
            // With 40 rows some indices are beyond the end: clamped.
            let name = format!(
                "{batch} of {rows} x {width} {} cursor: {cursor}",
                dtype.name()
            );
            cases.push(case(name, kernel, Values::Normal));
        }
    }
}

fn scatter_add(cases: &mut Vec<Case>) {
    for count in [1, 63, 130, 521] {
        cases.push(case(
            format!("rank of {count}"),
            RankPositions { count },
            Values::Normal,
        ));
    }
    for (count, rows, width) in [
        (1, 1, 1),
        (130, 50, 3),
        (65, 7, 20),
        (300, 60, 1),
        (40, 30, 17),
    ] {
        let kernel = ScatterAdd { count, rows, width };
        let mut built = case(
            format!("{count} into {rows} x {width}"),
            kernel,
            Values::Normal,
        );
        built.inputs[2] = Data::U32(crate::reference::scatter_add::rank_positions(
            built.inputs[1].as_u32(),
        ));
        cases.push(built);
    }
}

/// The schedule's row of a tenth step, the verdict `refused`.
fn update_inputs(case: &mut Case, refused: bool) {
    let bindings = case.kernel.bindings();
    for (binding, input) in bindings.iter().zip(&mut case.inputs) {
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

fn updates(cases: &mut Vec<Case>) {
    for count in [4, 64, 1028] {
        for refused in [false, true] {
            let mut add = |name: &str, kernel: Box<dyn Twin>| {
                let mut built = Case {
                    name: format!("{name} {count} refused: {refused}"),
                    inputs: Vec::new(),
                    kernel,
                };
                let bindings = built.kernel.bindings();
                built.inputs = (0..bindings.len())
                    .map(|i| numbers(Values::Normal, 20 + i as u64, bindings[i].count))
                    .collect();
                update_inputs(&mut built, refused);
                cases.push(built);
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
                add("adam", Box::new(kernel));
                // An epsilon that shows: next to sqrt(v) of order one, 1e-8 is nothing.
                let kernel = Adam {
                    count,
                    beta1: 0.8,
                    beta2: 0.95,
                    epsilon: 0.3,
                    decay,
                    decoupled,
                };
                add("adam, large epsilon", Box::new(kernel));
            }
            for (momentum, decay, nesterov) in
                [(0.0, 0.0, false), (0.9, 0.1, false), (0.9, 0.1, true)]
            {
                add(
                    "sgd",
                    Box::new(Sgd {
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
                    Box::new(Rmsprop {
                        count,
                        alpha: 0.99,
                        epsilon: 0.3,
                        momentum,
                        decay,
                    }),
                );
            }
            add("ema", Box::new(Ema { count }));
        }
    }
    for (partials, metrics, max_norm, poison) in [
        (1, 1, 0.0, None),
        (256, 3, 1.0, None),
        (70, 4, 1e6, None),
        (256, 2, 1.0, Some((0, f32::NAN))),
        (256, 2, 1.0, Some((1, f32::INFINITY))),
        (64, 2, 0.0, Some((0, f32::NEG_INFINITY))),
        // A NaN with its lowest bit set; a norm next to the epsilon of clipping.
        (64, 2, 0.0, Some((1, f32::from_bits(0x7fc0_0001)))),
        (1, 1, 1e-7, Some((0, 1e-13))),
    ] {
        for halted in [0, 1] {
            let kernel = Guard {
                partials,
                metrics,
                max_norm,
            };
            let mut built = case(
                format!(
                    "{partials} partials, {metrics} metrics, clip {max_norm}, {poison:?}, halted: {halted}"
                ),
                kernel,
                Values::Positive,
            );
            if let Some((place, value)) = poison
                && let Data::F32(values) = &mut built.inputs[place]
            {
                values[0] = value;
            }
            if let Data::U32(words) = &mut built.inputs[metrics + 1] {
                words[state::HALTED] = halted;
            }
            built.inputs[metrics + 3] = numbers(Values::Normal, 9, RING_ROWS * RING_COLUMNS);
            cases.push(built);
        }
    }
    for (step, halted) in [([7, 0], 0), ([u32::MAX, 4], 0), ([2047, 0], 0), ([7, 0], 1)] {
        let mut built = case(
            format!("step {step:?} halted: {halted}"),
            Advance { batch: 96 },
            Values::Normal,
        );
        built.inputs[0] = numbers(Values::Normal, 6, TABLE_ROWS * SCHEDULE_COLUMNS);
        if let Data::U32(words) = &mut built.inputs[2] {
            words[..2].copy_from_slice(&step);
            words[state::HALTED] = halted;
        }
        cases.push(built);
    }
}
