//! The third witness: gradient rules against finite differences in f64, each operator in the middle of a graph, to second order.

use wgen::graph::Conv2dOptions;
use wgen::graph::op::EvalContext;
use wgen::graph::{Graph, Rows, StepInputs, Var};
use wgen::kernels::functions::{Distribution, Function};
use wgen::kernels::hash_encoding::HashGrid;
use wgen::kernels::matmul::Layout;
use wgen::kernels::philox::{Domain, RandomState};
use wgen::kernels::resize::Interpolation;
use wgen::kernels::reverse_step::COLUMNS;
use wgen::real::Precision;
use wgen::tensor::{Data, TensorType, Value};
use wgen::verify::cases::{Values, integers, numbers};

type Middle = for<'g> fn(&'g Graph, Var<'g>, Var<'g>) -> Var<'g>;

/// Two images of 3x4 pixels, kernels of 3x2.
fn conv<'g>(a: Var<'g>, b: Var<'g>, options: Conv2dOptions) -> Var<'g> {
    let weights = b.slice(0, 0, 3).reshape([3, 3, 2, 1]);
    a.reshape([2, 3, 4, 1]).conv2d(weights, &options)
}

/// Images of 3 pixels of 4 channels, gain and bias of each channel or of each image's.
fn norm<'g>(a: Var<'g>, b: Var<'g>, groups: usize, silu: bool, of_images: bool) -> Var<'g> {
    let affine = |row: usize| {
        if of_images {
            b.slice(0, row, row + 2).slice(1, 0, 4)
        } else {
            b.slice(0, row, row + 1).slice(1, 0, 4).reshape([4])
        }
    };
    a.reshape([2, 3, 4])
        .group_norm(groups, affine(0), affine(1) - 0.5, 0.1, silu)
}

/// Eight samples along rays.
fn along<'g>(a: Var<'g>, b: Var<'g>, rows: Rows<'g>) -> Var<'g> {
    let b = b.reshape([24]);
    let (tau, t) = (b.slice(0, 0, 8), b.slice(0, 16, 24));
    tau.composite(a.reshape([8, 3]), t, rows)
}

/// Coefficients of a reverse step whose clip is out of reach: a difference across its kink is no derivative.
fn step_of<'g>(g: &'g Graph, b: Var<'g>) -> Var<'g> {
    let b = b.reshape([24]).slice(0, 3, 3 + COLUMNS);
    g.concat(
        0,
        &[
            b.slice(0, 0, 2),
            b.slice(0, 2, 3) + 9.0,
            b.slice(0, 3, 5),
            b.slice(0, 5, 6) + 9.0,
            b.slice(0, 6, COLUMNS),
        ],
    )
}

/// A dense level of 8 entries and a hashed one of 16.
fn hash_grid() -> HashGrid {
    HashGrid::new(2, 2, 4, 2, 5).unwrap()
}

/// Operators of two smooth operands of shape [4, 6], the second one positive.
fn middles() -> Vec<(&'static str, Middle)> {
    vec![
        ("add", |_, a, b| a + b),
        ("sub broadcast", |_, a, b| a - b.slice(0, 0, 1)),
        ("mul column", |_, a, b| a * b.slice(1, 2, 3)),
        ("div", |_, a, b| a / b),
        ("max", |_, a, b| a.max(b)),
        ("min", |_, a, b| a.min(b)),
        ("select", |_, a, b| a.greater_than(0.1).select(a * b, b)),
        ("clamp", |_, a, _| a.clamp(-0.6, 0.7)),
        ("abs", |_, a, _| a.abs()),
        ("square", |_, a, _| a.square()),
        ("sqrt", |_, _, b| b.sqrt()),
        ("exp", |_, a, _| a.exp()),
        ("exp_minus_one", |_, a, _| a.exp_minus_one()),
        ("log", |_, _, b| b.log()),
        ("log_one_plus", |g, _, b| {
            g.elementwise(Function::LogOnePlus, &[b * 0.3])
        }),
        ("relu", |_, a, _| a.relu()),
        ("leaky_relu", |_, a, _| a.leaky_relu(0.2)),
        ("leaky_relu slope", |g, a, b| {
            g.elementwise(Function::LeakyRelu, &[a, b])
        }),
        ("elu", |_, a, _| a.elu(1.2)),
        ("elu alpha", |g, a, b| g.elementwise(Function::Elu, &[a, b])),
        ("sigmoid", |_, a, _| a.sigmoid()),
        ("tanh", |_, a, _| a.tanh()),
        ("silu", |_, a, _| a.silu()),
        ("erf", |_, a, _| a.erf()),
        ("gelu", |_, a, _| a.gelu()),
        ("gelu_tanh", |_, a, _| a.gelu_tanh()),
        ("softplus", |_, a, _| a.softplus()),
        ("bce_with_logits", |_, a, b| a.bce_with_logits(b * 0.5)),
        ("gaussian_nll", |_, a, b| a.gaussian_nll(b, a * b)),
        ("kl", |_, a, b| a.kl_to_standard_normal(b)),
        ("squared_error", |_, a, b| a.squared_error(b)),
        ("absolute_error", |_, a, b| a.absolute_error(b * 2.0)),
        ("sum 0", |_, a, _| a.sum(&[0])),
        ("mean 1", |_, a, _| a.mean(&[1])),
        ("max over", |_, a, _| a.max_over(&[1])),
        ("min over", |_, a, _| a.min_over(&[0])),
        ("log_sum_exp", |_, a, _| (a * 2.0).log_sum_exp(&[1])),
        ("log_sum_exp all", |_, a, _| a.log_sum_exp(&[0, 1])),
        ("sum of outer axes", |_, a, b| {
            (a.reshape([4, 2, 3]) * b.reshape([4, 2, 3])).sum(&[0, 2])
        }),
        ("matmul nn", |_, a, b| a.matmul(b.transpose())),
        ("matmul nt", |_, a, b| a.matmul_as(Layout::Nt, b)),
        ("matmul tn", |_, a, b| a.matmul_as(Layout::Tn, b)),
        ("matmul batched", |_, a, b| {
            a.reshape([2, 4, 3]).matmul(b.reshape([2, 3, 4]))
        }),
        ("matmul one matrix", |_, a, b| {
            a.reshape([2, 4, 3])
                .matmul(b.slice(0, 0, 2).reshape([3, 4]))
        }),
        ("matmul tn one matrix", |_, a, b| {
            a.reshape([2, 4, 3]).matmul_as(Layout::Tn, b)
        }),
        ("linear", |_, a, b| {
            a.linear(b, b.slice(1, 0, 1).reshape([4]))
        }),
        ("permute", |_, a, _| {
            a.reshape([2, 2, 6]).permute(&[2, 0, 1])
        }),
        ("transpose", |_, a, _| a.transpose()),
        ("slice", |_, a, _| a.slice(1, 1, 4)),
        ("pad", |_, a, _| a.pad(&[1, 0], &[0, 2], 3.0)),
        ("concat", |g, a, b| g.concat(1, &[a, b, a])),
        ("concat of nine", |g, a, b| {
            g.concat(0, &[a, b, a, b, a, b, a, b, a])
        }),
        ("reshape", |_, a, _| a.reshape([8, 3])),
        ("broadcast_to", |_, a, _| {
            a.slice(0, 1, 2).broadcast_to([3, 5, 6])
        }),
        ("gather", |g, a, _| {
            a.gather(g.input("index", TensorType::u32([7])))
        }),
        ("scatter_add", |g, a, _| {
            a.reshape([6, 4])
                .slice(0, 0, 5)
                .scatter_add(g.input("index5", TensorType::u32([5])), 4)
        }),
        ("hash_encode", |g, a, b| {
            // No gradient goes to positions, so they may not depend on an operand.
            let x = g.input("positions", TensorType::f32([5, 3]));
            let table = g.concat(0, &[a, b]).reshape([24, 2]);
            x.hash_encode(table, &hash_grid())
        }),
        ("hash_scatter", |g, a, _| {
            let x = g.input("positions", TensorType::f32([5, 3]));
            x.hash_scatter(a.slice(1, 0, 5).reshape([5, 4]), &hash_grid())
        }),
        ("reparameterize", |_, a, b| a.reparameterize("z", b)),
        ("reparameterize by example", |_, a, b| {
            a.reparameterize_by_example("z", 2, b)
        }),
        ("reparameterize with noise", |g, a, b| {
            a.reparameterize_with(b, g.random("eps", Distribution::Normal, [4, 6]))
        }),
        ("group_norm", |_, a, b| norm(a, b, 2, false, false)),
        ("group_norm of each image", |_, a, b| {
            norm(a, b, 4, false, true)
        }),
        ("group_norm and silu", |_, a, b| norm(a, b, 2, true, false)),
        ("group_norm of each image and silu", |_, a, b| {
            norm(a, b, 1, true, true)
        }),
        ("attention", |_, a, b| {
            let [q, k] = [a, b].map(|v| v.reshape([2, 3, 2, 2]));
            q.attention(k, (a - b).reshape([2, 3, 2, 2]))
        }),
        ("attention to itself", |_, a, _| {
            let x = a.reshape([1, 4, 2, 3]);
            x.attention(x, x)
        }),
        ("attention to fewer", |_, a, b| {
            let k = b.slice(0, 0, 2).reshape([1, 2, 1, 6]);
            a.reshape([1, 4, 1, 6]).attention(k, k.square())
        }),
        ("q_sample", |g, a, b| {
            let t = g.input("t", TensorType::u32([4]));
            // No gradient goes to the table, so it may not depend on an operand.
            let table = g.input("table", TensorType::f32([12, 2]));
            let (noised, noise) = a.q_sample("q", t, table);
            noised * noise * b
        }),
        ("q_sample with noise", |g, a, b| {
            let t = g.input("t", TensorType::u32([4]));
            a.q_sample_with(t, b.reshape([12, 2]), a - b)
        }),
        ("predict_x0", |g, a, b| {
            let x = a.slice(0, 0, 2).reshape([1, 4, 3]);
            let p = (a + b).slice(0, 1, 3).reshape([1, 4, 3]);
            x.predict_x0(p, step_of(g, b), None)
        }),
        (
            "predict_x0, guided, learned variance, gradient",
            |g, a, b| {
                let x = a.reshape([24]).slice(0, 0, 6).reshape([1, 3, 2]);
                let p = g.concat(0, &[a, b]).slice(0, 1, 5).reshape([2, 3, 4]);
                x.predict_x0(p, step_of(g, b), Some(x * p.slice(0, 0, 1).slice(2, 1, 3)))
            },
        ),
        ("reverse_step", |g, a, b| {
            let x = a.slice(0, 0, 2).reshape([1, 4, 3]);
            let step = step_of(g, b);
            let inputs = StepInputs {
                previous: Some(x * 0.5 + 0.1),
                kept: Some(x.square()),
                ..StepInputs::default()
            };
            x.reverse_step_with((a + b).slice(0, 1, 3).reshape([1, 4, 3]), step, x, &inputs)
        }),
        (
            "reverse_step, guided, learned variance, gradient",
            |g, a, b| {
                let x = a.reshape([24]).slice(0, 0, 6).reshape([1, 3, 2]);
                let p = g.concat(0, &[a, b]).slice(0, 1, 5).reshape([2, 3, 4]);
                let step = step_of(g, b);
                let inputs = StepInputs {
                    prediction: Some(p),
                    gradient: Some(x * 0.3),
                    ..StepInputs::default()
                };
                x.reverse_step_with(x.sigmoid(), step, x.square(), &inputs)
            },
        ),
        ("composite", |_, a, b| {
            let samples = 4;
            along(
                a,
                b,
                Rows::Dense {
                    samples,
                    epsilon: 0.0,
                },
            )
        }),
        ("composite with nerf-pytorch's epsilon", |_, a, b| {
            // Large enough to be seen.
            let (samples, epsilon) = (2, 0.05);
            along(a, b, Rows::Dense { samples, epsilon })
        }),
        ("composite of packed samples", |g, a, b| {
            along(a, b, Rows::Packed(g.input("base", TensorType::u32([6]))))
        }),
        ("conv2d", |_, a, b| conv(a, b, Conv2dOptions::new(1, 1))),
        ("conv2d strided", |_, a, b| {
            conv(a, b, Conv2dOptions::new(2, 2))
        }),
        ("conv2d dilated", |_, a, b| {
            let dilation = [2, 1];
            conv(
                a,
                b,
                Conv2dOptions {
                    dilation,
                    ..Conv2dOptions::new(1, 2)
                },
            )
        }),
        ("conv2d grouped", |_, a, b| {
            let groups = 2;
            let images = a.reshape([1, 3, 4, 2]);
            images.conv2d(
                b.slice(0, 0, 2).reshape([2, 3, 2, 1]),
                &Conv2dOptions {
                    groups,
                    ..Conv2dOptions::new(2, 1)
                },
            )
        }),
        ("conv_transpose2d", |_, a, b| {
            let images = a.reshape([2, 2, 3, 2]);
            images.conv_transpose2d(b.reshape([2, 3, 2, 2]), &Conv2dOptions::new(2, 1), [1, 0])
        }),
        ("conv2d of one pixel", |_, a, b| {
            let images = a.reshape([1, 3, 4, 2]);
            images.conv2d(
                b.slice(0, 0, 1).reshape([3, 1, 1, 2]),
                &Conv2dOptions::new(1, 0),
            )
        }),
        ("max_pool2d", |_, a, _| {
            a.reshape([1, 4, 6, 1]).max_pool2d([3, 2], [2, 2], [1, 0])
        }),
        ("avg_pool2d", |_, a, _| {
            a.reshape([1, 4, 6, 1]).avg_pool2d([3, 2], [1, 2], [1, 1])
        }),
        ("resize nearest", |_, a, _| {
            a.reshape([1, 4, 3, 2])
                .resize([7, 2], Interpolation::Nearest)
        }),
        ("resize bilinear", |_, a, _| {
            a.reshape([1, 4, 3, 2])
                .resize([3, 7], Interpolation::Bilinear)
        }),
        ("pixel_shuffle", |_, a, _| {
            a.reshape([1, 2, 3, 4]).pixel_shuffle(2)
        }),
        ("normalize", |_, a, _| a.normalize(&[0], 0.1)),
        ("layer_norm", |_, a, b| {
            let row = |i| b.slice(0, i, i + 1).reshape([6]);
            a.layer_norm(row(0), row(1), 0.1)
        }),
        ("batch_norm", |_, a, b| {
            let row = |i| b.slice(0, i, i + 1).reshape([6]);
            a.batch_norm(row(0), row(1), 0.1).0
        }),
        ("softmax", |_, a, _| (a * 2.0).softmax()),
        ("cross_entropy", |_, a, b| a.cross_entropy(b)),
        ("frequency_encode", |_, a, b| {
            a.frequency_encode(2) * b.slice(1, 0, 1)
        }),
        ("spherical_harmonics", |_, a, b| {
            (a + b).reshape([8, 3]).spherical_harmonics()
        }),
        ("keep_top_k", |_, a, b| (a * b).keep_top_k(1, 2)),
        ("quantile", |_, a, b| (a * b).quantile(0.37) * 2.0),
        ("the largest by quantile", |_, a, b| (a * b).quantile(1.0)),
        ("dropout", |_, a, _| a.dropout("drop", 0.4)),
        ("random mask", |g, a, _| {
            a * g.random("mask", Distribution::Bernoulli(0.6), [4, 6])
        }),
    ]
}

fn evaluate(graph: &Graph, wanted: Var<'_>, p: &[f64], indices: &[(&str, Value)]) -> Vec<f64> {
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState {
            seed: 3,
            step: 5,
            cursor: 1,
        },
    };
    let mut leaves: Vec<(&str, Value)> = indices.to_vec();
    leaves.push(("p", Value::new([4, 6], Data::F64(p.to_vec())).unwrap()));
    graph.interpret(&[wanted.id()], &leaves, &cx).unwrap()[0]
        .data
        .to_f64()
}

/// Central differences of `value` along `direction`, against `gradient`.
fn check(
    name: &str,
    graph: &Graph,
    value: Var<'_>,
    gradient: Var<'_>,
    p: &[f64],
    indices: &[(&str, Value)],
) {
    let direction = numbers(Values::Normal, 91, 24).to_f64();
    let h = 1e-5;
    let moved = |sign: f64| -> Vec<f64> {
        p.iter()
            .zip(&direction)
            .map(|(x, d)| x + sign * h * d)
            .collect()
    };
    let difference = (evaluate(graph, value, &moved(1.0), indices)[0]
        - evaluate(graph, value, &moved(-1.0), indices)[0])
        / (2.0 * h);
    let g = evaluate(graph, gradient, p, indices);
    let analytic: f64 = g.iter().zip(&direction).map(|(a, b)| a * b).sum();
    let scale = g.iter().map(|x| x.abs()).fold(1e-3, f64::max) * 5.0;
    assert!(
        (difference - analytic).abs() < 2e-7 * scale,
        "{name}: finite differences {difference}, gradient {analytic}"
    );
}

#[test]
fn gradients_of_first_and_second_order_agree_with_finite_differences() {
    let p = numbers(Values::Normal, 17, 24).to_f64();
    let indices = [
        ("index", Value::new([7], integers(1, 4, 7)).unwrap()),
        (
            "table",
            Value::new([12, 2], numbers(Values::Normal, 3, 24)).unwrap(),
        ),
        ("t", Value::new([4], integers(2, 12, 4)).unwrap()),
        (
            "positions",
            Value::new([5, 3], numbers(Values::Positive, 4, 15)).unwrap(),
        ),
        ("index5", Value::new([5], integers(2, 4, 5)).unwrap()),
        // Rays of 3, 0 and 4 samples, one that was dropped, a sample that belongs to none.
        (
            "base",
            Value::new([6], Data::U32(vec![0, 3, 3, 7, 7, 3])).unwrap(),
        ),
    ];
    for (name, middle) in middles() {
        let graph = Graph::new(Domain::Training);
        let p_var = graph.parameter("p", [4, 6]);
        let a = p_var.tanh() * 1.3 + p_var * 0.1;
        let b = (p_var * 0.7).sigmoid() + 0.4;
        let y = middle(&graph, a, b);
        // The operator stands in the middle: its upstream gradient is no constant.
        let loss = (y.tanh().square() + y.square() * 0.05).sum_all();
        let gradient = graph.gradients(loss, &[p_var])[0];
        let again = (gradient.square() + gradient * 0.3).sum_all();
        let second = graph.gradients(again, &[p_var])[0];
        graph.check().unwrap_or_else(|e| panic!("{name}: {e}"));
        check(name, &graph, loss, gradient, &p, &indices);
        check(
            &format!("{name}, second order"),
            &graph,
            again,
            second,
            &p,
            &indices,
        );
    }
}

#[test]
fn stop_gradient_stops_it() {
    let graph = Graph::new(Domain::Training);
    let p = graph.parameter("p", [4, 6]);
    let loss = (p.stop_gradient() * p).sum_all();
    let gradient = graph.gradients(loss, &[p])[0];
    let values = numbers(Values::Normal, 17, 24).to_f64();
    assert_eq!(evaluate(&graph, gradient, &values, &[]), values);
}

#[test]
fn what_the_loss_does_not_depend_on_has_gradient_zero() {
    let graph = Graph::new(Domain::Training);
    let p = graph.parameter("p", [4, 6]);
    let other = graph.parameter("other", [3]);
    let gradient = graph.gradients(p.sum_all(), &[other])[0];
    assert_eq!(evaluate(&graph, gradient, &[0.0; 24], &[]), [0.0; 3]);
}
