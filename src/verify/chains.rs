//! Random graphs of fused operators, verified like models: they meet combinations that no model has.
//!
//! ```
//! use wgen::graph::layout::Layout;
//! use wgen::kernels::Caps;
//! use wgen::program::lower::{LowerOptions, lower};
//! use wgen::verify::chains::{parameters, random_graph};
//!
//! // The same seed gives the same graph, here over tensors of 6 rows and 8 columns.
//! let graph = random_graph(1, 6, 5, 8);
//! assert_eq!(format!("{graph:?}"), format!("{:?}", random_graph(1, 6, 5, 8)));
//! let layout = Layout::new(parameters(6, 5, 8), 1 << 27)?;
//! let dispatches = |fuse| lower(&graph, &Caps::portable(), &layout, LowerOptions { fuse, half: false }).map(|p| p.dispatches.len());
//! assert!(dispatches(true)? < dispatches(false)?);
//! # Ok::<(), wgen::Error>(())
//! ```

use rand::RngExt;

use super::step::Setup;
use super::{Comparison, step};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::layout::{Init, Layout, Parameter};
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::{Domain, RandomState};
use crate::nn::init::{draw, generator};
use crate::program::PlanOptions;
use crate::tensor::Value;
use crate::tensor::{DType, TensorType};
use crate::verify::cases::{Values, numbers};

/// What they are called in a report.
pub(super) const NAME: &str = "chains";

/// How many random graphs are verified.
pub fn count(quick: bool) -> u64 {
    if quick { 12 } else { 40 }
}

/// The name of one of them.
pub fn name(seed: u64) -> String {
    format!("chain {seed}")
}

/// The parameters of a random graph.
pub fn parameters(rows: usize, inner: usize, columns: usize) -> Vec<Parameter> {
    let init = Init::Normal(0.0, 0.7);
    vec![
        Parameter::new("a", [rows, inner], init),
        Parameter::new("b", [inner, columns], init),
        Parameter::new("bias", [columns], init),
        Parameter::new("c", [columns, inner], init),
    ]
}

/// A random graph over those parameters and input `x` `[rows, columns]`: its loss and their gradients as results.
pub fn random_graph(seed: u64, rows: usize, inner: usize, columns: usize) -> Graph {
    let graph = Graph::new(Domain::Training);
    let mut rng = generator(seed, "chain");
    let vars: Vec<Var<'_>> = parameters(rows, inner, columns)
        .into_iter()
        .map(|p| graph.parameter(&p.name, p.shape))
        .collect();
    let x = graph.input("x", TensorType::f32([rows, columns]));
    let mut pool: Vec<Var<'_>> = vec![x, vars[0].matmul(vars[1]) + vars[2]];
    for i in 0..10 {
        let a = pool[rng.random_range(0..pool.len())];
        let b = pool[rng.random_range(0..pool.len())];
        let next = match rng.random_range(0..16) {
            0 => a + b,
            1 => a * b.tanh(),
            2 => a - b.sigmoid() * 0.5,
            3 => a.silu(),
            4 => a.max(b) * 0.5,
            5 => a.elu(1.0) + vars[2],
            6 => a.gelu_tanh(),
            7 => a / (b.square() + 1.0),
            8 => a * graph.random(&format!("noise {i}"), Distribution::Normal, [rows, columns]),
            9 => a - a.log_sum_exp(&[1]).reshape([rows, 1]),
            10 => a * (a.mean(&[0]) + 0.5),
            11 => a.matmul(vars[3]).relu().matmul(vars[1]) * 0.2,
            12 => {
                // A row's own noise: in memory, and read by others of its size.
                let noise = graph.random(&format!("row {i}"), Distribution::Uniform, [rows, 1]);
                a * noise + b * (-noise + 1.0)
            }
            13 => a.normalize(&[1], 1e-3) + b.stop_gradient() * 0.1,
            14 => a.transpose().softplus().transpose() - b,
            _ => graph.concat(
                1,
                &[a.slice(1, 0, columns / 2), b.slice(1, columns / 2, columns)],
            ),
        };
        pool.push(next);
    }
    let last = pool[pool.len() - 1] + pool[pool.len() - 3] + x * 0.1;
    let loss = (last.tanh().square() + last.abs() * 0.1).mean_all();
    for (parameter, gradient) in parameters(rows, inner, columns)
        .iter()
        .zip(graph.gradients(loss, &vars))
    {
        graph.output_gradient(&parameter.name, gradient);
    }
    graph.output("loss", loss);
    graph.output("last", last);
    graph
}

/// A graph of random element-wise chains, products, reductions and rearrangements, with its gradients, verified like a model.
pub(super) fn chain(gpu: &Gpu, seed: u64) -> Result<Comparison> {
    let sizes = [(6, 5, 8), (33, 12, 20), (7, 3, 10), (16, 16, 64)];
    let (rows, inner, columns) = sizes[seed as usize % sizes.len()];
    let graph = random_graph(seed, rows, inner, columns);
    let layout = Layout::new(parameters(rows, inner, columns), gpu.caps().binding_bytes)?;
    let weights = layout.parameters.iter().map(|p| draw(p, seed)).collect();
    debug_assert_eq!(graph.nodes()[0].ty.dtype, DType::F32);
    let setup = Setup {
        graph: &graph,
        layout,
        weights,
        inputs: vec![(
            "x",
            Value::new(
                [rows, columns],
                numbers(Values::Normal, seed, rows * columns),
            )?,
        )],
        state: RandomState {
            seed,
            step: 3,
            cursor: 0,
        },
        schedule: vec![[0.0; crate::kernels::SCHEDULE_COLUMNS]; 2],
    };
    step::graph(gpu, &setup, PlanOptions::default())
}
