//! The hash encoding on the GPU and beside PyTorch; its gradient in fixed point: the bits, the bound, what is refused.

mod common;

use std::sync::Arc;

use common::{golden, gpu, relative_difference};
use wgen::gpu::Gpu;
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::graph::op::EvalContext;
use wgen::kernels::hash_encoding::{
    HashCells, HashClear, HashEncode, HashFinish, HashGrid, HashScatter, bounds,
};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::kernels::{Caps, SCHEDULE_COLUMNS};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::program::lower::{LowerOptions, lower};
use wgen::program::template::Templates;
use wgen::real::Precision;
use wgen::reference::Twin;
use wgen::tensor::{Data, TensorType, Value};
use wgen::verify::cases::{Values, numbers};
use wgen::verify::step::{self, Setup};
use wgen::{Error, verify};

const CONTEXT: EvalContext = EvalContext {
    precision: Precision::F64,
    state: RandomState {
        seed: 0,
        step: 0,
        cursor: 0,
    },
};

fn layout() -> Layout {
    Layout::new(
        vec![Parameter::new("unused", [4], Init::Constant(0.0))],
        1 << 27,
    )
    .unwrap()
}

/// `d`, the gradient by the table of positions `x` and gradients `g`.
fn scatter_graph(grid: &HashGrid, samples: usize) -> Graph {
    let graph = Graph::new(Domain::Training);
    let x = graph.input("x", TensorType::f32([samples, 3]));
    let g = graph.input("g", TensorType::f32([samples, grid.width()]));
    graph.output("d", x.hash_scatter(g, grid));
    graph
}

fn on_gpu(gpu: &Gpu, grid: &HashGrid, x: &[f32], g: &[f32]) -> Vec<f32> {
    let store = Store::new(gpu, layout(), StoreOptions::default()).unwrap();
    let graph = scatter_graph(grid, x.len() / 3);
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    plan.write("x", &Data::F32(x.to_vec())).unwrap();
    plan.write("g", &Data::F32(g.to_vec())).unwrap();
    plan.run(1).unwrap();
    plan.read("d").unwrap().data.to_f32()
}

/// Positions on which entries are met often: half of them are in a corner of the cube; gradients of very different sizes.
fn samples(grid: &HashGrid, count: usize) -> (Vec<f32>, Vec<f32>) {
    let near = |(i, x): (usize, f32)| if i / 3 % 2 == 0 { x * 0.05 } else { x - 0.1 };
    let x = numbers(Values::Positive, 5, 3 * count).to_f32();
    let x = x.into_iter().enumerate().map(near).collect();
    let g = numbers(Values::Normal, 6, count * grid.width()).to_f32();
    let g = g.iter().enumerate();
    let g = g
        .map(|(i, g)| g * 2_f32.powi((i * 7 % 23) as i32 - 20))
        .collect();
    (x, g)
}

/// What every device must give, bit by bit: the twins of the kernels one after another, in f32.
fn by_twins(grid: &Arc<HashGrid>, x: &[f32], g: &[f32]) -> Vec<f32> {
    let count = x.len() / 3;
    let (first, second) = bounds(count, grid.width());
    let mut bound = vec![Data::F32(g.to_vec()), Data::F32(vec![0.0; first.results()])];
    first.reference(&mut bound);
    if let Some(second) = second {
        bound.remove(0);
        bound.push(Data::F32(vec![0.0; second.results()]));
        second.reference(&mut bound);
    }
    let bound = bound.remove(1);
    let mut sums = [Data::U32(vec![0; grid.elements()])];
    HashClear { grid: grid.clone() }.reference(&mut sums);
    let [sums] = sums;
    let mut buffers = [Data::F32(x.to_vec()), Data::F32(g.to_vec()), bound, sums];
    let kernel = HashScatter {
        grid: grid.clone(),
        samples: count,
    };
    kernel.reference(&mut buffers);
    let [_, _, bound, sums] = buffers;
    let mut buffers = [sums, bound, Data::F32(vec![0.0; grid.elements()])];
    HashFinish { grid: grid.clone() }.reference(&mut buffers);
    buffers[2].to_f32()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// One contribution to an element of the table: weight times gradient, exactly.
struct Contribution {
    element: usize,
    column: usize,
    product: f64,
}

/// All contributions, from cells and fractions and the formulas of the paper.
fn contributions(grid: &HashGrid, x: &[f32], g: &[f32]) -> Vec<Contribution> {
    let (samples, levels) = (x.len() / 3, grid.levels.len());
    let cells = cells_of(grid, x);
    let mut all = Vec::new();
    for (sample, level) in (0..samples).flat_map(|s| (0..levels).map(move |l| (s, l))) {
        let at = &cells[6 * (sample * levels + level)..][..6];
        let Some(l) = grid.levels.get(level) else {
            continue;
        };
        for corner in 0..8_u32 {
            let bit = |d: usize| corner >> d & 1;
            let v = [0, 1, 2].map(|d| at[d] + bit(d));
            let fraction = |d: usize| f64::from(at[3 + d]) / 16_777_216.0;
            let weight = |d| {
                if bit(d) == 1 {
                    fraction(d)
                } else {
                    1.0 - fraction(d)
                }
            };
            let weight: f64 = [0, 1, 2].map(weight).iter().product();
            let r = l.resolution as usize;
            let place = if l.hashed {
                (v[0] ^ v[1].wrapping_mul(2_654_435_761) ^ v[2].wrapping_mul(805_459_861)) as usize
            } else {
                v[0] as usize + r * v[1] as usize + r * r * v[2] as usize
            };
            let entry = l.first as usize + place % l.entries as usize;
            for f in 0..grid.features {
                let column = level * grid.features + f;
                all.push(Contribution {
                    element: entry * grid.features + f,
                    column,
                    product: weight * f64::from(g[sample * grid.width() + column]),
                });
            }
        }
    }
    all
}

fn cells_of(grid: &HashGrid, x: &[f32]) -> Vec<u32> {
    let kernel = HashCells {
        grid: Arc::new(grid.clone()),
        samples: x.len() / 3,
    };
    let mut buffers = [Data::F32(x.to_vec()), Data::U32(Vec::new())];
    kernel.reference(&mut buffers);
    buffers[1].as_u32().to_vec()
}

/// How much of n (unit / 2 + 2^-22 max |w g|) the worst entry is from the exact sum.
fn share_of_bound(grid: &HashGrid, x: &[f32], g: &[f32], got: &[f32]) -> f64 {
    let width = grid.width();
    let unit = |column: usize| {
        let column = g.iter().skip(column).step_by(width);
        let sum: f64 = column.map(|g| f64::from(g.abs())).sum();
        // The bound's own factor, and that of its rounding.
        let bound = sum * (1.0 + 2_f64.powi(-11)) * (1.0 + 2_f64.powi(-20));
        2_f64.powi(bound.max(1e-30).log2().ceil() as i32 - 30)
    };
    let units: Vec<f64> = (0..width).map(unit).collect();
    // Sum, number, largest, unit.
    let mut entries = vec![(0.0_f64, 0.0_f64, 0.0_f64, 0.0); grid.elements()];
    for c in contributions(grid, x, g) {
        let e = &mut entries[c.element];
        *e = (
            e.0 + c.product,
            e.1 + 1.0,
            e.2.max(c.product.abs()),
            units[c.column],
        );
    }
    let share = |(&got, (sum, n, largest, unit)): (&f32, &(f64, f64, f64, f64))| {
        let difference = (f64::from(got) - sum).abs();
        let allowed = n * (unit / 2.0 + 2_f64.powi(-22) * largest);
        // Nothing contributed: exactly 0.
        if difference == 0.0 {
            0.0
        } else {
            difference / allowed
        }
    };
    got.iter().zip(&entries).map(share).fold(0.0, f64::max)
}

#[test]
fn encodings_and_their_gradients_agree_with_pytorch() {
    let tensors = golden("nerf_hash");
    for (name, grid) in [
        ("two_features", HashGrid::new(3, 2, 8, 3, 21)),
        ("four_features", HashGrid::new(4, 4, 7, 4, 2048)),
        ("one_feature", HashGrid::new(2, 1, 9, 5, 8)),
        ("eight_features", HashGrid::new(2, 8, 5, 2, 300)),
    ] {
        let grid = grid.unwrap();
        let of = |part: &str| tensors[&format!("{name}/{part}")].clone();
        let x = of("x").data.to_f32();
        assert_eq!(cells_of(&grid, &x), of("cells").data.as_u32(), "{name}");
        let graph = Graph::new(Domain::Training);
        let input = |part: &str| graph.input(part, of(part).tensor_type());
        let (positions, table, g) = (input("x"), input("table"), input("g"));
        let y = positions.hash_encode(table, &grid);
        let d = graph.gradients((y * g).sum_all(), &[table])[0];
        let leaves = ["x", "table", "g"].map(|part| (part, of(part)));
        let wanted = [y.id(), d.id()];
        let values = graph.interpret(&wanted, &leaves, &CONTEXT).unwrap();
        for (value, part) in values.iter().zip(["y", "d"]) {
            let expected = of(part);
            assert_eq!(value.shape, expected.shape, "{name} {part}");
            let difference = relative_difference(&value.data.to_f64(), &expected.data.to_f64());
            assert!(difference < 1e-12, "{name}, {part}: {difference:e}");
        }
    }
}

#[test]
fn a_step_with_a_hash_encoding_agrees_with_its_twins_and_the_interpreter() {
    let grid = HashGrid::new(4, 4, 8, 4, 60).unwrap();
    let samples = 300;
    let (x, _) = self::samples(&grid, samples);
    let graph = Graph::new(Domain::Training);
    let position = graph.input("x", TensorType::f32([samples, 3]));
    let table = graph.parameter("table", [grid.entries(), grid.features]);
    let y = position.hash_encode(table, &grid);
    let loss = (y.tanh().square() + y).mean_all();
    graph.output("loss", loss);
    graph.output("d", graph.gradients(loss, &[table])[0]);
    let parameter = Parameter::new(
        "table",
        [grid.entries(), grid.features],
        Init::Constant(0.0),
    );
    let setup = Setup {
        graph: &graph,
        layout: Layout::new(vec![parameter], 1 << 27).unwrap(),
        weights: vec![numbers(Values::Normal, 3, grid.elements()).to_f32()],
        inputs: vec![("x", Value::f32([samples, 3], x).unwrap())],
        state: CONTEXT.state,
        schedule: vec![[0.0; SCHEDULE_COLUMNS]; 4],
    };
    step::graph(&gpu(), &setup, PlanOptions::default())
        .unwrap()
        .expect();
}

#[test]
fn gradients_are_the_same_bits_on_every_run_and_device() {
    let gpu = gpu();
    for (grid, count) in [
        (HashGrid::new(8, 4, 12, 16, 512), 3000),
        (HashGrid::new(3, 2, 7, 4, 90), 1111),
        (HashGrid::new(2, 1, 6, 3, 9), 37),
    ] {
        let grid = Arc::new(grid.unwrap());
        let (x, g) = samples(&grid, count);
        let first = on_gpu(&gpu, &grid, &x, &g);
        for _ in 0..2 {
            assert!(bits(&on_gpu(&gpu, &grid, &x, &g)) == bits(&first));
        }
        // The twins in f32 are no device: what agrees with them bit by bit agrees with every other that does.
        assert!(bits(&by_twins(&grid, &x, &g)) == bits(&first));
        let share = share_of_bound(&grid, &x, &g, &first);
        assert!((1e-6..=1.0).contains(&share), "{share} of the bound");
        assert!(first.iter().any(|g| *g != 0.0));
    }
}

#[test]
fn a_unit_two_bits_too_small_overflows_and_is_caught() {
    // Everything onto one vertex, with one sign; the sums are just below 1.
    let grid = HashGrid::new(1, 4, 12, 3, 3).unwrap();
    let count = 300;
    let x = vec![0.25; 3 * count];
    let sums = [
        1.0 - 1.0 / 1024.0,
        1.0 / 1024.0 - 1.0,
        0.5 - 1.0 / 2048.0,
        0.0,
    ];
    let g = sums.map(|sum: f32| sum / count as f32).repeat(count);
    let honest = on_gpu(&gpu(), &grid, &x, &g);
    assert!(share_of_bound(&grid, &x, &g, &honest) <= 1.0);
    let vertex = 4 * (1 + 3 + 9);
    for (got, sum) in honest[vertex..vertex + 4].iter().zip(sums) {
        assert!((got - sum).abs() <= 1e-5, "{got} for {sum}");
    }

    let planted = |gpu: &Gpu, bits: &str| {
        let templates = Templates::embedded();
        let source = templates.source("shared/fixed_point").unwrap();
        let at = "exponent - ${bits}";
        assert_eq!(source.matches(at).count(), 1);
        gpu.set_template("shared/fixed_point", &source.replace(at, bits));
    };
    let broken = gpu();
    planted(&broken, "exponent - 32");
    let wrong = on_gpu(&broken, &grid, &x, &g);
    assert!(share_of_bound(&grid, &x, &g, &wrong) > 1e3);
    for (got, sum) in wrong[vertex..vertex + 3].iter().zip(sums) {
        // Four times round: about 0 is left.
        assert!((got - sum).abs() > 0.4, "{got} for {sum}");
    }
    // And what `verify` runs says so, of its own case.
    let cases = verify::cases::all(broken.caps(), true);
    let case = cases.iter().find(|c| c.name.contains("onto one vertex"));
    assert!(!verify::run(&broken, case.unwrap()).unwrap().passed());
    // The bound is not tight by more than a bit: one bit is not enough to overflow, so that it is this that was caught.
    planted(&broken, "exponent - 31");
    let close = on_gpu(&broken, &grid, &x, &g);
    assert!(share_of_bound(&grid, &x, &g, &close) <= 1.0);
}

#[test]
fn a_gradient_that_is_no_number_is_seen_in_the_table() {
    let grid = HashGrid::new(2, 2, 9, 4, 9).unwrap();
    let gpu = gpu();
    let (x, g) = samples(&grid, 40);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut g = g.clone();
        // The second feature of the second level, in one sample.
        g[4 * 7 + 3] = bad;
        let d = on_gpu(&gpu, &grid, &x, &g);
        for (e, d) in d.iter().enumerate() {
            let lost = e / 2 >= grid.levels[1].first as usize && e % 2 == 1;
            assert_eq!(d.is_nan(), lost, "{e}: {d} of {bad}");
        }
    }
    // None at all: zeros.
    let zeros = on_gpu(&gpu, &grid, &x, &vec![0.0; g.len()]);
    assert!(zeros.iter().all(|d| d.to_bits() == 0));
}

#[test]
fn tables_beyond_a_binding_are_refused_with_the_limits_name() {
    let grid = HashGrid::new(8, 4, 22, 16, 2048).unwrap();
    let graph = Graph::new(Domain::Sampling);
    let x = graph.input("x", TensorType::f32([64, 3]));
    let table = graph.input("table", TensorType::f32([grid.entries(), 4]));
    graph.output("y", x.hash_encode(table, &grid));
    let options = LowerOptions {
        fuse: true,
        half: false,
    };
    let error = lower(&graph, &Caps::portable(), &layout(), options).unwrap_err();
    let Error::Limit {
        needed, limit_name, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(*needed, 16 * grid.entries() as u64);
    assert_eq!(*limit_name, "max_storage_buffer_binding_size");
    let text = error.to_string();
    assert!(
        text.contains("8 levels") && text.contains("`log2_entries` (the largest level has 2^22)"),
        "{text}"
    );
}

#[test]
fn what_does_not_fit_is_said() {
    let grid = HashGrid::new(2, 2, 9, 4, 9).unwrap();
    let entries = grid.entries();
    let refused = |x: TensorType, table: TensorType| {
        let graph = Graph::new(Domain::Sampling);
        let y = graph
            .input("x", x)
            .hash_encode(graph.input("table", table), &grid);
        graph.output("y", y);
        graph.check().unwrap_err().to_string()
    };
    let text = refused(TensorType::f32([5, 2]), TensorType::f32([entries, 2]));
    assert!(
        text.contains("positions [samples, 3]") && text.contains("[5, 2]"),
        "{text}"
    );
    let text = refused(TensorType::f32([5, 3]), TensorType::f32([entries - 1, 2]));
    assert!(text.contains(&format!("table [{entries}, 2]")), "{text}");
    let text = refused(TensorType::u32([5, 3]), TensorType::f32([entries, 2]));
    assert!(text.contains("u32, f32"), "{text}");

    let graph = Graph::new(Domain::Training);
    let many = (1 << 22) + 1;
    let x = graph.input("x", TensorType::f32([many, 3]));
    x.hash_scatter(graph.input("g", TensorType::f32([many, 4])), &grid);
    let text = graph.check().unwrap_err().to_string();
    assert!(
        text.contains("4194305 samples are more than the 4194304"),
        "{text}"
    );

    for (numbers, field) in [
        ((0, 4, 19, 16, 2048), "levels"),
        ((33, 4, 19, 16, 2048), "levels"),
        ((8, 3, 19, 16, 2048), "features"),
        ((8, 4, 2, 16, 2048), "log2_entries"),
        ((16, 8, 28, 16, 2048), "log2_entries"),
        ((8, 4, 19, 0, 2048), "base"),
        ((8, 4, 19, 16, 15), "finest"),
        ((8, 4, 19, 16, 2_000_000), "finest"),
    ] {
        let (levels, features, log2, base, finest) = numbers;
        match HashGrid::new(levels, features, log2, base, finest) {
            Err(Error::Field { field: named, .. }) => assert_eq!(named, field, "{numbers:?}"),
            other => panic!("{numbers:?}: {other:?}"),
        }
    }
}

#[test]
fn no_samples_make_zeros() {
    let grid = Arc::new(HashGrid::new(2, 4, 9, 4, 9).unwrap());
    let encode = HashEncode {
        grid: grid.clone(),
        samples: 0,
    };
    let inputs = [
        Data::F32(Vec::new()),
        numbers(Values::Normal, 1, grid.elements()),
        Data::F32(Vec::new()),
    ];
    verify::kernel(&gpu(), &encode, &inputs).unwrap().expect();
    assert!(by_twins(&grid, &[], &[]).iter().all(|d| d.to_bits() == 0));
}
