//! Compositing against PyTorch and nerf-pytorch's formulas in f64 (`tests/golden/nerf_composite.py`), and against numbers that can be
//! computed on paper.

mod common;

use std::collections::BTreeMap;

use common::{golden, gpu, relative_difference};
use wgen::Twin;
use wgen::graph::layout::Layout;
use wgen::graph::op::EvalContext;
use wgen::graph::{Graph, Rows, Var};
use wgen::kernels::composite::{Composite, Samples, Wanted};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::tensor::{Data, TensorType, Value};
use wgen::verify;

type Tensors = BTreeMap<String, Value>;

const OUTPUTS: [&str; 8] = ["y", "w", "d0", "d1", "d2", "s0", "s1", "s2"];

fn names(tensors: &Tensors) -> Vec<&str> {
    let names: Vec<&str> = tensors
        .keys()
        .filter_map(|k| k.strip_suffix("/y"))
        .collect();
    assert_eq!(names.len(), 9);
    names
}

/// The graph of a case with all that is compared, and what is put in.
fn case(name: &str, tensors: &Tensors) -> (Graph, Vec<(&'static str, Value)>) {
    let graph = Graph::new(Domain::Training);
    let of = |what: &str| tensors.get(&format!("{name}/{what}")).cloned();
    let mut leaves = Vec::new();
    {
        let mut leaf = |what: &'static str| {
            let value = of(what).unwrap();
            let var = graph.input(what, value.tensor_type());
            leaves.push((what, value));
            var
        };
        let x = ["x0", "x1", "x2"].map(&mut leaf);
        let g = leaf("g");
        let rays = g.shape().dims()[0];
        let rows = match of("base") {
            Some(_) => Rows::Packed(leaf("base")),
            None => Rows::Dense {
                samples: x[0].shape().count() / rays,
                epsilon: if name.starts_with("epsilon") {
                    1e-10
                } else {
                    0.0
                },
            },
        };
        let y = x[0].composite(x[1], x[2], rows);
        graph.output("y", y);
        graph.output("w", x[0].composite_weights(rows));
        let first = graph.gradients((y * g).sum_all(), &x);
        let squares = first.iter().map(|d| d.square().sum_all());
        let squares = squares.reduce(|a: Var<'_>, b| a + b).unwrap();
        let second = graph.gradients(squares, &x);
        for (i, d) in first.into_iter().enumerate() {
            graph.output(&format!("d{i}"), d);
        }
        for (i, s) in second.into_iter().enumerate() {
            graph.output(&format!("s{i}"), s);
        }
    }
    (graph, leaves)
}

#[test]
fn values_and_gradients_of_first_and_second_order_agree_with_pytorch() {
    let tensors = golden("nerf_composite");
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState::default(),
    };
    for name in names(&tensors) {
        let (graph, leaves) = case(name, &tensors);
        for output in OUTPUTS {
            let expected = &tensors[&format!("{name}/{output}")];
            let id = graph.find_output(output).unwrap();
            let got = graph.interpret(&[id], &leaves, &cx).unwrap().remove(0);
            assert_eq!(got.shape, expected.shape, "{name} {output}");
            let difference = relative_difference(&got.data.to_f64(), &expected.data.to_f64());
            assert!(difference < 1e-12, "{name} {output}: {difference:e}");
        }
    }
}

/// The whole way through plans, the second order's primitives among them: rounding of f32 alone lies between.
#[test]
fn plans_agree_with_pytorch_on_the_gpu() {
    let gpu = gpu();
    let tensors = golden("nerf_composite");
    for name in [
        "dense_5_7",
        "epsilon_4_9",
        "packed_some_empty",
        "packed_dropped",
    ] {
        let (graph, leaves) = case(name, &tensors);
        let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
        let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        for (name, value) in &leaves {
            let data = value.data.clone().in_precision(Precision::F32);
            plan.write(name, &data).unwrap();
        }
        plan.run(1).unwrap();
        for output in OUTPUTS {
            let expected = &tensors[&format!("{name}/{output}")];
            let got = plan.read(output).unwrap().data.to_f64();
            let difference = relative_difference(&got, &expected.data.to_f64());
            // WGSL grants e^x 3 + 2 |x| ULP, which the second order has squares of.
            let most = if output.starts_with('s') { 1e-5 } else { 2e-6 };
            assert!(difference < most, "{name} {output}: {difference:e}");
        }
    }
}

/// What a kernel makes of its operands in f64; the same on the GPU, within its tolerance.
fn made(kernel: &Composite, operands: &[&[f64]], base: Option<&[u32]>) -> Vec<f64> {
    let mut buffers: Vec<Data> = operands.iter().map(|x| Data::F64(x.to_vec())).collect();
    buffers.extend(base.map(|base| Data::U32(base.to_vec())));
    buffers.push(Data::F64(Vec::new()));
    let on_gpu: Vec<Data> = buffers
        .iter()
        .map(|b| b.clone().in_precision(Precision::F32))
        .collect();
    verify::kernel(&gpu(), kernel, &on_gpu).unwrap().expect();
    kernel.reference(&mut buffers);
    buffers.pop().unwrap().to_f64()
}

fn dense(rays: usize, each: usize, epsilon: f32, wanted: Wanted) -> Composite {
    Composite {
        rays,
        samples: Samples::Dense { each, epsilon },
        wanted,
    }
}

fn packed(rays: usize, capacity: usize, wanted: Wanted) -> Composite {
    Composite {
        rays,
        samples: Samples::Packed { capacity },
        wanted,
    }
}

/// Digits as they are given: nine.
#[track_caller]
fn equal(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 0.6e-9;
    assert!(
        got.iter().zip(expected).all(close),
        "{got:?}, expected {expected:?}"
    );
}

#[test]
fn nerf_pytorchs_raw2outputs_is_met() {
    // Red, green, blue before the sigmoid, sigma before the relu; z, and a direction that is not of length 1.
    let raw = [
        [0.0, 1.0, -1.0, 0.5],
        [2.0, 0.0, 0.0, -1.0],
        [-1.0, 0.5, 0.25, 2.0],
        [0.3, -0.3, 1.0, 0.1],
    ];
    let z = [2.0, 3.0, 4.0, 5.0];
    let length = 0.6_f64.hypot(1.2);
    let run = |last: f64| {
        let sigma = [raw[0][3], raw[1][3], raw[2][3], last];
        let deltas = [1.0, 1.0, 1.0, 1e10];
        let tau: Vec<f64> = sigma
            .iter()
            .zip(deltas)
            .map(|(s, d)| s.max(0.0) * d * length)
            .collect();
        let colour: Vec<f64> = raw
            .iter()
            .flat_map(|r| r[..3].to_vec())
            .map(|x: f64| 1.0 / (1.0 + (-x).exp()))
            .collect();
        let weights = made(&dense(1, 4, 1e-10, Wanted::Weights), &[&tau], None);
        let out = made(
            &dense(1, 4, 1e-10, Wanted::Value),
            &[&tau, &colour, &z],
            None,
        );
        (weights, out)
    };
    let (weights, out) = run(raw[3][3]);
    equal(&weights, &[0.488711052, 0.0, 0.476348214, 0.034940734]);
    equal(&out[..3], &[0.392536735, 0.668653089, 0.424770140]);
    // A white background changes nothing behind an opaque last sample.
    equal(&[out[3], out[4]], &[1.0, 3.057518630]);
    equal(&[out[3] / out[4]], &[0.327062602]);
    let (_, out) = run(-1.0);
    let white: Vec<f64> = out[..3].iter().map(|c| c + 1.0 - out[3]).collect();
    equal(&white, &[0.407406026, 0.688724532, 0.434167151]);
    equal(&[out[3], out[4]], &[0.965059266, 2.882814960]);
    equal(&[out[3] / out[4]], &[0.334762820]);
}

#[test]
fn packed_samples_and_their_gradient_are_met() {
    let sigma = [0.5, 0.0, 2.0, 1.0];
    let dt = [0.1, 0.2, 0.3, 0.4];
    let tau: Vec<f64> = sigma.iter().zip(dt).map(|(s, d)| s * d).collect();
    let colour = [0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.5, 0.4, 0.6, 0.2, 0.9, 0.1];
    let t = [1.0, 2.0, 3.0, 4.0];
    let base: &[u32] = &[0, 4, 1];
    let weights = made(&packed(1, 4, Wanted::Weights), &[&tau], Some(base));
    equal(&weights, &[0.048770575, 0.0, 0.429183648, 0.172108028]);
    let value = packed(1, 4, Wanted::Value);
    let out = made(&value, &[&tau, &colour, &t], Some(base));
    equal(&[1.0 - out[3]], &[0.349937749]);
    let white: Vec<f64> = out[..3].iter().map(|c| c + 1.0 - out[3]).collect();
    equal(&white, &[0.603828236, 0.686262548, 0.639289913]);
    // The white behind it makes the opacity's upstream gradient minus the sum of the colours'.
    let g = [1.0, -2.0, 0.5, 0.5, 0.0];
    let gradient = packed(1, 4, Wanted::GradientByTau);
    let by_tau = made(&gradient, &[&tau, &colour, &t, &out, &g], Some(base));
    let by_sigma: Vec<f64> = by_tau.iter().zip(dt).map(|(g, dt)| g * dt).collect();
    equal(
        &by_sigma,
        &[0.029905190, 0.021761204, 0.132520895, -0.146973855],
    );
    let by_colour = made(
        &packed(1, 4, Wanted::GradientByColour),
        &[&tau, &g],
        Some(base),
    );
    equal(&by_colour[6..9], &[0.429183648, -0.858367296, 0.214591824]);
}

#[test]
fn nerfaccs_packed_example_is_met() {
    let tau = [0.4, 0.8, 0.1, 0.8, 0.1, 0.0, 0.9];
    let weights = made(
        &packed(3, 7, Wanted::Weights),
        &[&tau],
        Some(&[0, 3, 5, 7, 3]),
    );
    let light = [1.0, 0.670320046, 0.301194212, 1.0, 0.449328964, 1.0, 1.0];
    let expected: Vec<f64> = light
        .iter()
        .zip(tau)
        .map(|(l, t)| l * (1.0 - (-t).exp()))
        .collect();
    equal(&weights, &expected);
}

#[test]
fn opacity_is_exact_whatever_the_steps_and_depth_converges() {
    // sigma 1.5 on [0, 2].
    let opacity = 1.0 - (-3.0_f64).exp();
    for (steps, depth) in [(8, Some(0.541307349)), (2, None), (64, None)] {
        let dt = 2.0 / steps as f64;
        let tau = vec![1.5 * dt; steps];
        let middles: Vec<f64> = (0..steps).map(|i| (i as f64 + 0.5) * dt).collect();
        let colour = vec![1.0; 3 * steps];
        let kernel = dense(1, steps, 0.0, Wanted::Value);
        let out = made(&kernel, &[&tau, &colour, &middles], None);
        assert!((out[3] - opacity).abs() < 4e-16, "{steps}: {}", out[3]);
        equal(&[out[3]], &[0.950212932]);
        assert!(
            (out[4] - 0.533901151).abs() < 2.0 * dt * dt,
            "{steps}: {}",
            out[4]
        );
        if let Some(depth) = depth {
            equal(&[out[4]], &[depth]);
        }
    }
    // A Gaussian of density at its middle, its light on [2, 4] by midpoints.
    for (steps, left) in [(16, 0.029332041), (64, 0.029352628), (256, 0.029353939)] {
        let dt = 2.0 / steps as f64;
        let sigma = |t: f64| 4.0 * (-((t - 3.0) / 0.5).powi(2)).exp();
        let tau: Vec<f64> = (0..steps)
            .map(|i| sigma(2.0 + (i as f64 + 0.5) * dt) * dt)
            .collect();
        let weights = made(&dense(1, steps, 0.0, Wanted::Weights), &[&tau], None);
        equal(&[1.0 - weights.iter().sum::<f64>()], &[left]);
    }
}

/// 1 - exp(-tau) as f32 has it would be a multiple of 6e-8.
#[test]
fn thin_samples_keep_their_digits() {
    let tau: Vec<f64> = (1..=50).map(|i| 1e-9 * f64::from(i)).collect();
    let on_gpu = [
        Data::F64(tau.clone()).in_precision(Precision::F32),
        Data::F32(Vec::new()),
    ];
    let kernel = dense(50, 1, 0.0, Wanted::Weights);
    let comparison = verify::kernel(&gpu(), &kernel, &on_gpu).unwrap();
    comparison.expect();
    assert!(comparison.worst_relative < 1e-6, "{comparison}");
    assert_eq!(comparison.elements, 50);
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let said = |sizes: [&[usize]; 3], rows: &dyn for<'g> Fn(&'g Graph) -> Rows<'g>| {
        let graph = Graph::new(Domain::Training);
        let x = ["tau", "colour", "t"];
        let x: Vec<Var<'_>> = x
            .iter()
            .zip(sizes)
            .map(|(name, size)| graph.input(name, TensorType::f32(size)))
            .collect();
        x[0].composite(x[1], x[2], rows(&graph));
        graph.check().unwrap_err().to_string()
    };
    let of = |samples: usize| Rows::Dense {
        samples,
        epsilon: 0.0,
    };
    let text = said([&[7], &[7, 3], &[7]], &|_| of(3));
    assert!(
        text.contains("whole rays") && text.contains("3 samples a ray, got [7], [7, 3], [7]"),
        "{text}"
    );
    let text = said([&[6], &[6, 4], &[6]], &|_| of(3));
    assert!(
        text.contains("takes [6], [6, 3], [6]") && text.contains("got [6], [6, 4], [6]"),
        "{text}"
    );
    for samples in [0, 8] {
        assert!(said([&[6], &[6, 3], &[6]], &|_| of(samples)).contains("whole rays"));
    }
    let text = said([&[6], &[6, 3], &[6]], &|g| {
        Rows::Packed(g.input("base", TensorType::f32([4])))
    });
    assert!(text.contains("u32 base [rays + 2]"), "{text}");
    let text = said([&[6], &[6, 3], &[6]], &|g| {
        Rows::Packed(g.input("base", TensorType::u32([2])))
    });
    assert!(
        text.contains("u32 base [rays + 2], got [6], [6, 3], [6], [2]"),
        "{text}"
    );
}
