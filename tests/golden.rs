//! The second witness: CPU twins against PyTorch, in f64. `tests/golden/generate.py` writes the tensors.

mod common;

use std::collections::BTreeSet;

use common::{golden, relative_difference};
use wgen::graph::op::EvalContext;
use wgen::graph::update::Rule;
use wgen::graph::{Graph, Var};
use wgen::kernels::functions::Function;
use wgen::kernels::matmul::Layout;
use wgen::kernels::philox::{Domain, RandomState};
use wgen::real::Precision;
use wgen::tensor::{DType, Data, Value};

fn axes(tag: &str) -> Vec<usize> {
    tag.bytes().map(|b| usize::from(b - b'0')).collect()
}

/// What the case called `name` computes.
fn build<'g>(graph: &'g Graph, name: &str, x: &[Var<'g>]) -> Var<'g> {
    if let Some((reduction, tag)) = name.split_once('_') {
        let known = ["sum", "mean", "amax", "amin", "logsumexp", "argmax"].contains(&reduction);
        if known && tag.bytes().all(|b| b.is_ascii_digit()) {
            let axes = axes(tag);
            return match reduction {
                "sum" => x[0].sum(&axes),
                "mean" => x[0].mean(&axes),
                "amax" => x[0].max_over(&axes),
                "amin" => x[0].min_over(&axes),
                "argmax" => x[0].argmax(&axes),
                _ => x[0].log_sum_exp(&axes),
            };
        }
    }
    match name {
        "leaky_relu" => x[0].leaky_relu(0.1),
        "elu" => x[0].elu(1.3),
        "clamp" => x[0].clamp(-0.5, 0.7),
        "mul_outer" => x[0] * x[1],
        "max" => x[0].max(x[1]),
        "min" => x[0].min(x[1]),
        "select" => x[0].greater_than(0.0).select(x[1], x[2]),
        "squared_error" => x[0].squared_error(x[1]).sum_all(),
        "absolute_error" => x[0].absolute_error(x[1]).mean_all(),
        "bce_with_logits" => x[0].bce_with_logits(x[1]).sum_all(),
        "gaussian_nll" => x[0].gaussian_nll(x[1], x[2]).sum_all(),
        "kl" => x[0].kl_to_standard_normal(x[1]).sum_all(),
        "reparameterize_with" => x[0].reparameterize_with(x[1], x[2]),
        "amax_ties" => x[0].max_over(&[1]),
        "argmax_all" => x[0].argmax(&[0, 1, 2]),
        "matmul_nn" | "matmul_batched" | "matmul_one_matrix" | "matrix_vector" => x[0].matmul(x[1]),
        "matmul_nt" | "matmul_batched_nt" => x[0].matmul_as(Layout::Nt, x[1]),
        "matmul_tn" | "matmul_batched_tn" => x[0].matmul_as(Layout::Tn, x[1]),
        "linear" => x[0].linear(x[1], x[2]),
        "gather" => x[0].gather(x[1]),
        "scatter_add" => x[0].scatter_add(x[1], 5),
        "permute_201" => x[0].permute(&[2, 0, 1]),
        "transpose" => x[0].transpose(),
        "slice" => x[0].slice(1, 1, 3),
        "pad" => x[0].pad(&[0, 0, 2], &[0, 3, 1], 1.5),
        "concat_1" => graph.concat(1, x),
        "reshape" => x[0].reshape([6, 10]),
        "cast_u32" => x[0].cast(DType::U32),
        other => {
            let function = Function::ALL.iter().find(|f| f.name() == other);
            graph.elementwise(*function.unwrap_or_else(|| panic!("no case '{other}'")), x)
        }
    }
}

#[test]
fn operators_and_their_gradients_agree_with_pytorch() {
    let tensors = golden("operators");
    let names: BTreeSet<&str> = tensors
        .keys()
        .filter_map(|k| k.split_once('/'))
        .map(|(n, _)| n)
        .collect();
    assert!(names.len() >= 80, "{} cases", names.len());
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState::default(),
    };
    let mut gradients = 0;
    for name in names {
        let inputs: Vec<&Value> = (0..)
            .map_while(|i| tensors.get(&format!("{name}/x{i}")))
            .collect();
        let graph = Graph::new(Domain::Training);
        let labels: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
        let vars: Vec<Var<'_>> = labels
            .iter()
            .zip(&inputs)
            .map(|(l, v)| graph.input(l, v.tensor_type()))
            .collect();
        let y = build(&graph, name, &vars);
        let mut wanted = vec![y.id()];
        let mut expected = vec![tensors[&format!("{name}/y")].clone()];
        let mut leaves: Vec<(&str, Value)> = labels
            .iter()
            .map(String::as_str)
            .zip(inputs.iter().map(|v| (*v).clone()))
            .collect();
        if let Some(upstream) = tensors.get(&format!("{name}/g")) {
            let g = graph.input("g", upstream.tensor_type());
            leaves.push(("g", upstream.clone()));
            let loss = (y.reshape(upstream.shape.clone()) * g).sum_all();
            for (i, gradient) in graph.gradients(loss, &vars).into_iter().enumerate() {
                if let Some(d) = tensors.get(&format!("{name}/d{i}")) {
                    wanted.push(gradient.id());
                    expected.push(d.clone());
                    gradients += 1;
                }
            }
        }
        let values = graph
            .interpret(&wanted, &leaves, &cx)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for (i, (value, expected)) in values.iter().zip(&expected).enumerate() {
            assert_eq!(value.shape, expected.shape, "{name} {i}");
            let difference = relative_difference(&value.data.to_f64(), &expected.data.to_f64());
            assert!(difference < 1e-12, "{name}, result {i}: {difference:e}");
        }
    }
    assert!(gradients >= 70, "{gradients} gradients");
}

#[test]
fn optimizers_agree_with_pytorch_over_ten_steps() {
    use wgen::graph::layout::{Init, Layout, Parameter};
    use wgen::graph::update::Update;
    use wgen::program::lower::lower_update;
    use wgen::program::{Flat, Origin};

    let tensors = golden("optimizers");
    let gradients = tensors["gradients"].data.to_f64();
    let start = tensors["start"].data.to_f64();
    let adam = |beta1, beta2, epsilon, decay| Rule::Adam {
        beta1,
        beta2,
        epsilon,
        decay,
    };
    let rules = [
        ("adam", adam(0.9, 0.999, 1e-8, 0.0)),
        ("adam_decay", adam(0.8, 0.95, 1e-4, 0.1)),
        (
            "adamw",
            Rule::AdamW {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                decay: 0.1,
            },
        ),
        (
            "sgd",
            Rule::Sgd {
                momentum: 0.0,
                decay: 0.0,
                nesterov: false,
            },
        ),
        (
            "sgd_momentum",
            Rule::Sgd {
                momentum: 0.9,
                decay: 0.1,
                nesterov: false,
            },
        ),
        (
            "sgd_nesterov",
            Rule::Sgd {
                momentum: 0.9,
                decay: 0.0,
                nesterov: true,
            },
        ),
        (
            "rmsprop",
            Rule::Rmsprop {
                alpha: 0.99,
                epsilon: 1e-8,
                momentum: 0.0,
                decay: 0.0,
            },
        ),
        (
            "rmsprop_momentum",
            Rule::Rmsprop {
                alpha: 0.99,
                epsilon: 1e-8,
                momentum: 0.9,
                decay: 0.1,
            },
        ),
    ];
    for (name, rule) in rules {
        for clip in ["0.0", "2.0"] {
            // The whole chain of kernels after the gradients, by their twins: norm, verdict, rule, average, counters.
            let graph = Graph::new(Domain::Training);
            graph.output("loss", graph.constant(1.0));
            graph.output_gradient("p", graph.constant(0.0).broadcast_to([24]));
            let update = Update {
                rule,
                max_norm: clip.parse().unwrap(),
                ema: true,
                metrics: vec!["loss".to_owned()],
                set: 0,
                takes_data: true,
                batch: 1,
                loss_scale: false,
            };
            let layout = Layout::new(
                vec![Parameter::new("p", [24], Init::Constant(0.0))],
                1 << 20,
            )
            .unwrap();
            let program = lower_update(&graph, &update, &layout).unwrap();
            let row = |step: u64| {
                rule.schedule_row(step, 0.05, 0.9, 0.0)
                    .map(f64::from)
                    .to_vec()
            };
            let mut padded = start.clone();
            padded.resize(64, 0.0);
            let mut arrays: Vec<Data> = program
                .buffers
                .iter()
                .map(|b| match &b.origin {
                    Origin::Segment(Flat::Parameters | Flat::Ema, _) => Data::F64(padded.clone()),
                    Origin::Table => Data::F64((0..1024).flat_map(row).collect()),
                    Origin::Schedule => Data::F64(row(0)),
                    Origin::Output(_) => Data::F64(vec![1.0]),
                    _ => Data::zeros(b.ty.dtype, Precision::F64, b.ty.shape.count()),
                })
                .collect();
            let find = |flat| {
                program
                    .buffers
                    .iter()
                    .position(|b| b.origin == Origin::Segment(flat, 0))
                    .unwrap()
            };
            for step in 0..10 {
                let mut g = gradients[step * 24..(step + 1) * 24].to_vec();
                g.resize(64, 0.0);
                arrays[find(Flat::Gradients)] = Data::F64(g);
                for dispatch in &program.dispatches {
                    let mut own: Vec<Data> = dispatch
                        .buffers
                        .iter()
                        .map(|b| arrays[b.0].clone())
                        .collect();
                    dispatch.kernel.reference(&mut own);
                    dispatch
                        .buffers
                        .iter()
                        .zip(own)
                        .for_each(|(b, data)| arrays[b.0] = data);
                }
            }
            for (flat, what) in [(Flat::Parameters, "end"), (Flat::Ema, "ema")] {
                let got = arrays[find(flat)].to_f64();
                let expected = tensors[&format!("{name}/{clip}/{what}")].data.to_f64();
                // The schedule's row is f32.
                let difference = relative_difference(&got[..24], &expected);
                assert!(
                    difference < 1e-6,
                    "{name} clip {clip} {what}: {difference:e}"
                );
                assert!(got[24..].iter().all(|x| *x == 0.0), "padding stays zero");
            }
        }
    }
}
