//! meganeura as a peer: a static graph over its own GPU layer.

use meganeura::graph::NodeId;
use meganeura::{Graph, SessionConfig};
use peer_protocol::{Case, Layout, Run, serve};

const BATCH: usize = 128;

fn noise(count: usize, low: f32, high: f32) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low + (high - low) * (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

/// Runs a graph of named inputs without training.
fn forward(graph: &mut Graph, output: NodeId, inputs: &[(&str, usize)]) -> Run {
    graph.set_outputs(vec![output]);
    let mut session = meganeura::build(graph, SessionConfig::inference_from_env()).0;
    for (name, count) in inputs {
        session.set_input(name, &noise(*count, -1.0, 1.0));
    }
    Box::new(move |times| {
        (0..times).for_each(|_| session.step());
        session.wait();
    })
}

fn linear(g: &mut Graph, x: NodeId, name: &str, inputs: usize, outputs: usize) -> NodeId {
    let w = g.parameter(&format!("{name}.weight"), &[inputs, outputs]);
    let b = g.parameter(&format!("{name}.bias"), &[outputs]);
    let product = g.matmul(x, w);
    g.bias_add(product, b)
}

fn vae() -> Run {
    let mut g = Graph::new();
    let x = g.input("x", &[BATCH, 784]);
    let epsilon = g.input("noise", &[BATCH, 20]);
    let h = linear(&mut g, x, "fc1", 784, 400);
    let h = g.relu(h);
    let mu = linear(&mut g, h, "fc21", 400, 20);
    let log_variance = linear(&mut g, h, "fc22", 400, 20);
    let half = g.constant(vec![0.5; BATCH * 20], &[BATCH, 20]);
    let scaled = g.mul(log_variance, half);
    let deviation = g.exp(scaled);
    let shift = g.mul(epsilon, deviation);
    let z = g.add(mu, shift);
    let h = linear(&mut g, z, "fc3", 20, 400);
    let h = g.relu(h);
    let logits = linear(&mut g, h, "fc4", 400, 784);
    // Cross entropy from logits: softplus(l) - x l.
    let soft = g.softplus(logits, 1.0);
    let product = g.mul(x, logits);
    let negative = g.neg(product);
    let cross = g.add(soft, negative);
    let cross = g.sum_all(cross);
    let square = g.mul(mu, mu);
    let variance = g.exp(log_variance);
    let sum = g.add(square, variance);
    let minus = g.neg(log_variance);
    let sum = g.add(sum, minus);
    let kl = g.mul(sum, half);
    let kl = g.sum_all(kl);
    let loss = g.add(cross, kl);
    g.set_outputs(vec![loss]);
    let mut session = meganeura::build(&g, SessionConfig::from_env()).0;
    for (name, inputs, outputs) in [
        ("fc1", 784, 400),
        ("fc21", 400, 20),
        ("fc22", 400, 20),
        ("fc3", 20, 400),
        ("fc4", 400, 784),
    ] {
        let bound = 1.0 / (inputs as f32).sqrt();
        session.set_parameter(
            &format!("{name}.weight"),
            &noise(inputs * outputs, -bound, bound),
        );
        session.set_parameter(&format!("{name}.bias"), &noise(outputs, -bound, bound));
    }
    session.set_adam(1e-3, 0.9, 0.999, 1e-8);
    let (batch, epsilon) = (noise(BATCH * 784, 0.0, 1.0), noise(BATCH * 20, -1.7, 1.7));
    session.set_input("x", &batch);
    Box::new(move |times| {
        for _ in 0..times {
            session.set_input("noise", &epsilon);
            session.step();
        }
        session.wait();
    })
}

fn prepare(case: Case) -> Option<Run> {
    let mut g = Graph::new();
    let square = |n: usize| [n / 1024, 1024];
    Some(match case {
        Case::Matmul(layout, m, n, k) => {
            let a = g.input("a", &if layout == Layout::Tn { [k, m] } else { [m, k] });
            let b = g.input("b", &if layout == Layout::Nt { [n, k] } else { [k, n] });
            let c = match layout {
                Layout::Nn => g.matmul(a, b),
                Layout::Nt => g.matmul_bt(a, b),
                Layout::Tn => g.matmul_at(a, b),
            };
            forward(&mut g, c, &[("a", m * k), ("b", k * n)])
        }
        Case::Add(n) => {
            let (x, y) = (g.input("x", &square(n)), g.input("y", &square(n)));
            let out = g.add(x, y);
            forward(&mut g, out, &[("x", n), ("y", n)])
        }
        Case::Chain(n) => {
            let (x, y) = (g.input("x", &square(n)), g.input("y", &square(n)));
            let s = g.sigmoid(x);
            let product = g.mul(s, y);
            let out = g.add(product, x);
            forward(&mut g, out, &[("x", n), ("y", n)])
        }
        Case::RowSums(m, n) => {
            let x = g.input("x", &[m, n]);
            let out = g.sum_inner(x);
            forward(&mut g, out, &[("x", m * n)])
        }
        Case::ColumnSums(..) => return None,
        Case::Conv(..) | Case::DcganStep | Case::DiffusionStep | Case::DiffusionSample => {
            return None;
        }
        Case::VaeStep => vae(),
    })
}

fn main() {
    serve("meganeura 0.3.0", prepare);
}
