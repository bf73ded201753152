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
    Layout::new(vec![Parameter::new("unused", [4], Init::Constant(0.0))], 1 << 27).unwrap()
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

/// The same in f64, as sums without units, by the interpreter.
fn in_f64(grid: &HashGrid, x: &[f32], g: &[f32]) -> Vec<f64> {
    let samples = x.len() / 3;
    let graph = scatter_graph(grid, samples);
    let wide = |v: &[f32]| Data::F32(v.to_vec()).in_precision(Precision::F64);
    let leaves = [
        ("x", Value::new([samples, 3], wide(x)).unwrap()),
        ("g", Value::new([samples, grid.width()], wide(g)).unwrap()),
    ];
    let wanted = graph.sinks()[0].1;
    graph.interpret(&[wanted], &leaves, &CONTEXT).unwrap()[0]
        .data
        .to_f64()
}

/// Positions on which entries are met often: half of them are in a corner of the cube; gradients of very different sizes.
fn samples(grid: &HashGrid, count: usize) -> (Vec<f32>, Vec<f32>) {
    let near = |(i, x): (usize, f32)| if i / 3 % 2 == 0 { x * 0.05 } else { x - 0.1 };
    let x = numbers(Values::Positive, 5, 3 * count).to_f32();
    let x = x.into_iter().enumerate().map(near).collect();
    let g = numbers(Values::Normal, 6, count * grid.width()).to_f32();
    let g = g.iter().enumerate();
    let g = g.map(|(i, g)| g * 2_f32.powi((i * 7 % 23) as i32 - 20)).collect();
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

/// That every entry is within n (unit / 2 + 2^-22 max |w g|) of the sum in f64; the largest share of it that is used.
fn share_of_bound(grid: &HashGrid, x: &[f32], g: &[f32], got: &[f32]) -> f64 {
    let exact = in_f64(grid, x, g);
    let width = grid.width();
    let units: Vec<f64> = (0..width)
        .map(|column| {
            let column = g.iter().skip(column).step_by(width);
            let sum: f64 = column.map(|g| f64::from(g.abs())).sum();
            let bound = sum * (1.0 + 2_f64.powi(-12));
            2_f64.powi(bound.log2().ceil() as i32 - 30)
        })
        .collect();
    // Contributions of a corner that every sample of weight 1 would have: counted by scattering ones, and by the largest.
    let ones = vec![1.0; g.len()];
    let mut counts = vec![0_u32; grid.elements()];
    let mut largest = vec![0.0_f64; grid.elements()];
    for (i, position) in x.chunks_exact(3).enumerate() {
        let rows = width * i..width * (i + 1);
        let (own, one) = (&g[rows.clone()], &ones[rows]);
        let magnitudes: Vec<f32> = own.iter().map(|g| g.abs()).collect();
        let weighted = in_f64(grid, position, &magnitudes);
        let weights = in_f64(grid, position, one);
        for (e, (&wg, &w)) in weighted.iter().zip(&weights).enumerate() {
            // Several corners of a sample may share the entry: at most eight.
            counts[e] += if w > 0.0 { 8 } else { 0 };
            largest[e] = largest[e].max(wg);
        }
    }
    let mut worst = 0.0_f64;
    for (e, (&got, &exact)) in got.iter().zip(&exact).enumerate() {
        let entry = e / grid.features;
        let level = grid.levels.iter().rposition(|l| l.first as usize <= entry).unwrap();
        let unit = units[level * grid.features + e % grid.features];
        let allowed = f64::from(counts[e]) * (unit / 2.0 + 2_f64.powi(-22) * largest[e]);
        let difference = (f64::from(got) - exact).abs();
        assert!(difference <= allowed, "{e}: {got}, {exact}, {allowed:e}");
        if allowed > 0.0 {
            worst = worst.max(difference / allowed);
        }
    }
    worst
}
