//! The contractive autoencoder's penalty: closed form, product of Jacobians, Hutchinson's estimate, explicit Jacobian, and its gradient.

use wgen::graph::layout::Layout;
use wgen::graph::op::EvalContext;
use wgen::graph::update::{Rule, Update};
use wgen::graph::{Graph, Sink};
use wgen::kernels::philox::RandomState;
use wgen::models::autoencoder::contractive::{Config, Contractive};
use wgen::models::{DataType, Model};
use wgen::nn::init;
use wgen::real::Precision;
use wgen::tensor::ImageShape;
use wgen::tensor::{DType, Data, Value};
use wgen::verify::cases::{Values, numbers};

const BATCH: usize = 5;

fn model(layers: &[usize]) -> Contractive {
    let image = ImageShape {
        height: 4,
        width: 4,
        channels: 1,
    };
    Contractive::new(Config {
        layers: layers.to_vec(),
        ..Config::single(image, 0.7)
    })
    .unwrap()
}

fn weights(model: &Contractive) -> Vec<(String, Value)> {
    let layout = Layout::new(model.parameters(), 1 << 20).unwrap();
    let one = |p: &wgen::graph::layout::Parameter| {
        let values = init::draw(p, 3)
            .iter()
            .map(|&w| 3.0 * f64::from(w) + 0.1)
            .collect();
        (
            p.name.clone(),
            Value::new(p.shape.clone(), Data::F64(values)).unwrap(),
        )
    };
    layout.parameters.iter().map(one).collect()
}

fn at(step: u64) -> EvalContext {
    EvalContext {
        precision: Precision::F64,
        state: RandomState {
            seed: 11,
            step,
            cursor: 0,
        },
    }
}

fn values(graph: &Graph, output: &str, leaves: &[(&str, Value)], step: u64) -> Vec<f64> {
    let id = graph.find_output(output).unwrap();
    graph.interpret(&[id], leaves, &at(step)).unwrap()[0]
        .data
        .to_f64()
}

/// |J|_F^2 from J itself: sigmoid layers multiplied out example by example.
fn explicit(layers: &[usize], weights: &[(String, Value)], x: &[f64]) -> Vec<f64> {
    let find = |name: String| {
        weights
            .iter()
            .find(|(n, _)| *n == name)
            .unwrap()
            .1
            .data
            .to_f64()
    };
    let of_example = |x: &[f64]| {
        let mut h = x.to_vec();
        let mut jacobian: Vec<Vec<f64>> = (0..16)
            .map(|i| (0..16).map(|j| f64::from(u8::from(i == j))).collect())
            .collect();
        for (i, &size) in layers.iter().enumerate() {
            let (w, b) = (
                find(format!("encoder.{i}.weight")),
                find(format!("encoder.{i}.bias")),
            );
            let inputs = h.len();
            let next: Vec<f64> = (0..size)
                .map(|j| {
                    let pre: f64 =
                        (0..inputs).map(|k| w[j * inputs + k] * h[k]).sum::<f64>() + b[j];
                    1.0 / (1.0 + (-pre).exp())
                })
                .collect();
            jacobian = (0..size)
                .map(|j| {
                    let slope = next[j] * (1.0 - next[j]);
                    (0..16)
                        .map(|c| {
                            slope
                                * (0..inputs)
                                    .map(|k| w[j * inputs + k] * jacobian[k][c])
                                    .sum::<f64>()
                        })
                        .collect()
                })
                .collect();
            h = next;
        }
        jacobian.iter().flatten().map(|j| j * j).sum()
    };
    x.chunks_exact(16).map(of_example).collect()
}

#[test]
fn closed_form_product_and_estimate_of_the_norm_agree() {
    for layers in [&[9][..], &[10, 6], &[12, 8, 5]] {
        let model = model(layers);
        let weights = weights(&model);
        let x = numbers(Values::Normal, 5, BATCH * 16).to_f64();
        let mut leaves: Vec<(&str, Value)> = weights
            .iter()
            .map(|(n, v)| (n.as_str(), v.clone()))
            .collect();
        leaves.push(("x", Value::new([BATCH, 16], Data::F64(x.clone())).unwrap()));
        let graph = model.norms(BATCH);
        let exact = values(&graph, "exact", &leaves, 0);
        for (exact, explicit) in exact.iter().zip(explicit(layers, &weights, &x)) {
            assert!(
                (exact / explicit - 1.0).abs() < 1e-12,
                "{layers:?}: {exact}, {explicit}"
            );
        }
        // Hutchinson's estimate over 1,000 draws of the whole batch.
        let total: f64 = exact.iter().sum();
        let draws: Vec<f64> = (0..1000)
            .map(|step| values(&graph, "estimate", &leaves, step).iter().sum())
            .collect();
        let mean = draws.iter().sum::<f64>() / 1000.0;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 999.0;
        let error = (variance / 1000.0).sqrt();
        println!("{layers:?}: exact {total:.5}, Hutchinson {mean:.5} +- {error:.5}");
        assert!(
            error < 0.02 * total,
            "{layers:?}: standard error {error} of {total}"
        );
        assert!(
            (mean - total).abs() < 4.0 * error,
            "{layers:?}: {mean}, {total} +- {error}"
        );
    }
}

#[test]
fn the_penalised_loss_has_the_gradient_of_finite_differences() {
    for layers in [&[9][..], &[10, 6]] {
        let model = model(layers);
        let weights = weights(&model);
        let data = DataType {
            rows: BATCH,
            width: 16,
            dtype: DType::F32,
            indices: BATCH,
            scale: 1.0,
            shift: 0.0,
            classes: 0,
            cameras: None,
        };
        let update = Update {
            rule: Rule::ADAM,
            max_norm: 0.0,
            ema: false,
            metrics: model.metrics(),
            set: 0,
            batch: BATCH,
            takes_data: true,
            loss_scale: false,
        };
        let graph = model.training(0, &data, &update).unwrap();
        let x = numbers(Values::Positive, 5, BATCH * 16).to_f64();
        let mut fixed: Vec<(&str, Value)> = vec![
            ("data", Value::new([BATCH, 16], Data::F64(x)).unwrap()),
            (
                "index",
                Value::new([BATCH], Data::U32((0..BATCH as u32).collect())).unwrap(),
            ),
            ("schedule 4", Value::new([], Data::F64(vec![1.0])).unwrap()),
        ];
        fixed.extend(weights.iter().map(|(n, v)| (n.as_str(), v.clone())));
        for (i, (name, value)) in weights.iter().enumerate() {
            let sink = Sink::Gradient(name.clone());
            let id = graph.sinks().iter().find(|(s, _)| *s == sink).unwrap().1;
            let gradient = graph.interpret(&[id], &fixed, &at(0)).unwrap()[0]
                .data
                .to_f64();
            let direction = numbers(Values::Normal, 40 + i as u64, gradient.len()).to_f64();
            let h = 1e-6;
            let moved = |sign: f64| {
                let mut leaves = fixed.clone();
                let place = leaves.iter_mut().find(|(n, _)| n == name).unwrap();
                let values = value
                    .data
                    .to_f64()
                    .iter()
                    .zip(&direction)
                    .map(|(w, d)| w + sign * h * d)
                    .collect();
                place.1 = Value::new(value.shape.clone(), Data::F64(values)).unwrap();
                values_of_loss(&graph, &leaves)
            };
            let difference = (moved(1.0) - moved(-1.0)) / (2.0 * h);
            let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale = gradient.iter().fold(1e-3_f64, |m, g| m.max(g.abs()));
            assert!(
                (difference - analytic).abs() < 1e-6 * scale * gradient.len() as f64,
                "{layers:?} {name}: {difference}, {analytic}"
            );
        }
    }
}

fn values_of_loss(graph: &Graph, leaves: &[(&str, Value)]) -> f64 {
    values(graph, "loss", leaves, 0)[0]
}
