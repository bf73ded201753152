//! The second witness of the image operators: CPU twins against PyTorch, in f64; GPU plans of the same graphs against it too.
//! `tests/golden/images.py` writes the tensors.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{golden, gpu, relative_difference};
use wgen::gpu::Gpu;
use wgen::graph::Conv2dOptions;
use wgen::graph::layout::{Layout, Parameter};
use wgen::graph::op::EvalContext;
use wgen::graph::{Graph, Var};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::kernels::resize::Interpolation;
use wgen::nn::{BatchNorm, Pass};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::tensor::Value;

type Tensors = BTreeMap<String, Value>;

fn numbers(name: &str) -> Vec<usize> {
    name.split('_')
        .filter_map(|part| part.parse().ok())
        .collect()
}

fn build<'g>(name: &str, tensors: &Tensors, x: &[Var<'g>]) -> Var<'g> {
    if let Some(options) = tensors.get(&format!("{name}/options")) {
        let o: Vec<usize> = options.data.as_u32().iter().map(|&n| n as usize).collect();
        let options = Conv2dOptions {
            stride: [o[1], o[2]],
            padding: [[o[3]; 2], [o[4]; 2]],
            dilation: [o[5], o[6]],
            groups: o[7],
        };
        let y = if o[0] == 1 {
            x[0].conv_transpose2d(x[1], &options, [o[8], o[9]])
        } else {
            x[0].conv2d(x[1], &options)
        };
        return y + x[2];
    }
    let n = numbers(name);
    match name {
        _ if name.starts_with("max_pool") => x[0].max_pool2d([n[0]; 2], [n[1]; 2], [n[2]; 2]),
        _ if name.starts_with("avg_pool") => x[0].avg_pool2d([n[0]; 2], [n[1]; 2], [n[2]; 2]),
        _ if name.starts_with("resize_nearest") => {
            x[0].resize([n[0], n[1]], Interpolation::Nearest)
        }
        _ if name.starts_with("resize_bilinear") => {
            x[0].resize([n[0], n[1]], Interpolation::Bilinear)
        }
        "pixel_shuffle_2" => x[0].pixel_shuffle(2),
        "layer_norm" => x[0].layer_norm(x[1], x[2], 1e-5),
        "batch_norm" => x[0].batch_norm(x[1], x[2], 1e-5).0,
        "softmax" => x[0].softmax(),
        "log_softmax" => x[0].log_softmax(),
        "cross_entropy" => {
            let labels = &tensors["cross_entropy/labels"];
            x[0].cross_entropy(x[0].graph().input("labels", labels.tensor_type()))
        }
        "keep_top_k" => x[0].keep_top_k(1, 3),
        "quantile_37" => x[0].quantile(0.37),
        "quantile_995" => x[0].quantile(0.995),
        "quantile_ties" => x[0].quantile(0.25),
        "quantile_most" => x[0].quantile(1.0),
        other => panic!("no case '{other}'"),
    }
}

/// The graph of a case: outputs `y`, `d0`, `d1`, ..., and what is put in.
fn case(name: &str, tensors: &Tensors) -> (Graph, Vec<(String, Value)>) {
    let graph = Graph::new(Domain::Training);
    let mut leaves: Vec<(String, Value)> = Vec::new();
    while let Some(value) = tensors.get(&format!("{name}/x{}", leaves.len())) {
        leaves.push((format!("x{}", leaves.len()), value.clone()));
    }
    {
        let vars: Vec<Var<'_>> = leaves
            .iter()
            .map(|(label, value)| graph.input(label, value.tensor_type()))
            .collect();
        let y = build(name, tensors, &vars);
        graph.output("y", y);
        let upstream = &tensors[&format!("{name}/g")];
        let g = graph.input("g", upstream.tensor_type());
        let loss = (y * g).sum_all();
        for (i, gradient) in graph.gradients(loss, &vars).into_iter().enumerate() {
            graph.output(&format!("d{i}"), gradient);
        }
        leaves.push(("g".to_owned(), upstream.clone()));
    }
    if let Some(labels) = tensors.get(&format!("{name}/labels")) {
        leaves.push(("labels".to_owned(), labels.clone()));
    }
    (graph, leaves)
}

fn names(tensors: &Tensors) -> BTreeSet<&str> {
    let all = tensors.keys().filter_map(|k| k.split_once('/'));
    all.map(|(name, _)| name)
        .filter(|n| *n != "running")
        .collect()
}

#[test]
fn image_operators_and_their_gradients_agree_with_pytorch() {
    let tensors = golden("images");
    let names = names(&tensors);
    let convolutions = names.iter().filter(|n| n.starts_with("conv")).count();
    assert!(convolutions >= 60, "{convolutions} convolutions");
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState::default(),
    };
    let mut compared = 0;
    for name in names {
        let (graph, leaves) = case(name, &tensors);
        let leaves: Vec<(&str, Value)> = leaves
            .iter()
            .map(|(n, v)| (n.as_str(), v.clone()))
            .collect();
        for output in ["y", "d0", "d1", "d2"] {
            let Some(expected) = tensors.get(&format!("{name}/{output}")) else {
                continue;
            };
            let id = graph.find_output(output).unwrap();
            let got = graph
                .interpret(&[id], &leaves, &cx)
                .unwrap_or_else(|e| panic!("{name}: {e}"))
                .remove(0);
            assert_eq!(got.shape, expected.shape, "{name} {output}");
            let difference = relative_difference(&got.data.to_f64(), &expected.data.to_f64());
            assert!(difference < 1e-11, "{name} {output}: {difference:e}");
            compared += 1;
        }
    }
    assert!(compared > 240, "{compared} tensors");
    let indices = &tensors["keep_top_k/indices"];
    let graph = Graph::new(Domain::Training);
    let x = &tensors["keep_top_k/x0"];
    let top = graph.input("x", x.tensor_type()).top_k_indices(1, 3);
    let got = graph
        .interpret(&[top.id()], &[("x", x.clone())], &cx)
        .unwrap();
    assert_eq!(got[0].data.as_u32(), indices.data.as_u32());
}

fn on_gpu(
    gpu: &Gpu,
    graph: &Graph,
    parameters: Vec<Parameter>,
    values: &[Vec<f32>],
    leaves: &[(String, Value)],
) -> Plan {
    let layout = Layout::new(parameters, 1 << 20).unwrap();
    let store = Store::new(gpu, layout, StoreOptions::default()).unwrap();
    if !values.is_empty() {
        store
            .write(wgen::program::Flat::Parameters, values)
            .unwrap();
    }
    let plan = Plan::compile(graph, &store, &[], PlanOptions::default()).unwrap();
    for (name, value) in leaves {
        plan.write(name, &value.data.clone().in_precision(Precision::F32))
            .unwrap();
    }
    plan.run(1).unwrap();
    plan
}

/// Plans with everything that fusing does to these operators, against PyTorch's f64: rounding of f32 alone lies between.
#[test]
fn plans_of_image_operators_agree_with_pytorch_on_the_gpu() {
    let gpu = gpu();
    let tensors = golden("images");
    for (i, name) in names(&tensors).into_iter().enumerate() {
        // Every third convolution: each is compiled by the driver anew.
        if name.starts_with("conv") && i % 3 != 0 {
            continue;
        }
        let (graph, leaves) = case(name, &tensors);
        let plan = on_gpu(&gpu, &graph, Vec::new(), &[], &leaves);
        for output in ["y", "d0", "d1", "d2"] {
            let Some(expected) = tensors.get(&format!("{name}/{output}")) else {
                continue;
            };
            let got = plan.read(output).unwrap().data.to_f64();
            let difference = relative_difference(&got, &expected.data.to_f64());
            assert!(difference < 2e-6, "{name} {output}: {difference:e}");
        }
    }
}

#[test]
fn running_statistics_follow_pytorch_over_twenty_steps() {
    let gpu = gpu();
    let tensors = golden("images");
    let norm = BatchNorm::new("norm", 4);
    let xs = tensors["running/x"].data.to_f32();
    let each = xs.len() / 20;
    let step_graph = Graph::new(Domain::Training);
    {
        let pass = Pass::training(&step_graph);
        let x = step_graph.input("x", wgen::tensor::TensorType::f32([3, 2, 3, 4]));
        step_graph.output("y", norm.forward(&pass, x));
        for (name, next) in pass.states() {
            step_graph.output(&name, next);
        }
    }
    let evaluation = Graph::new(Domain::Validation);
    {
        let pass = Pass::evaluation(&evaluation);
        let x = evaluation.input("x", wgen::tensor::TensorType::f32([3, 2, 3, 4]));
        evaluation.output("y", norm.forward(&pass, x));
        assert!(pass.states().is_empty());
    }
    let layout = Layout::new(norm.parameters(), 1 << 20).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    let mut values = vec![
        tensors["running/weight"].data.to_f32(),
        tensors["running/bias"].data.to_f32(),
        vec![0.0; 4],
        vec![1.0; 4],
        vec![0.0],
    ];
    let plan = Plan::compile(&step_graph, &store, &[], PlanOptions::default()).unwrap();
    for step in 0..20 {
        store
            .write(wgen::program::Flat::Parameters, &values)
            .unwrap();
        let x = wgen::tensor::Data::F32(xs[step * each..(step + 1) * each].to_vec());
        plan.write("x", &x).unwrap();
        plan.run(1).unwrap();
        for (i, name) in ["running_mean", "running_var", "num_batches_tracked"]
            .into_iter()
            .enumerate()
        {
            values[2 + i] = plan.read(&format!("norm.{name}")).unwrap().data.to_f32();
        }
        for (i, name) in ["mean", "variance"].into_iter().enumerate() {
            let all = tensors[&format!("running/{name}")].data.to_f64();
            let got: Vec<f64> = values[2 + i].iter().map(|&x| f64::from(x)).collect();
            let difference = relative_difference(&got, &all[step * 4..(step + 1) * 4]);
            assert!(difference < 2e-6, "step {step} {name}: {difference:e}");
        }
    }
    assert_eq!(values[4], [20.0]);
    store
        .write(wgen::program::Flat::Parameters, &values)
        .unwrap();
    let plan = Plan::compile(&evaluation, &store, &[], PlanOptions::default()).unwrap();
    plan.write("x", &wgen::tensor::Data::F32(xs[..each].to_vec()))
        .unwrap();
    plan.run(1).unwrap();
    let got = plan.read("y").unwrap().data.to_f64();
    let difference = relative_difference(&got, &tensors["running/y"].data.to_f64());
    assert!(difference < 2e-6, "{difference:e}");
}

#[test]
fn image_metrics_agree_with_scikit_image() {
    use wgen::evaluate::image_metrics::{psnr, ssim};
    use wgen::tensor::ImageShape;

    let tensors = golden("image_metrics");
    let names = names(&tensors);
    assert_eq!(names.len(), 6);
    for name in names {
        let of = |what: &str| &tensors[&format!("{name}/{what}")];
        let (image, truth) = (of("x0").data.to_f32(), of("x1").data.to_f32());
        let &[height, width, channels] = of("x0").shape.dims() else {
            panic!("{name} is no image");
        };
        let shape = ImageShape {
            height,
            width,
            channels,
        };
        let got = [
            psnr(&image, &truth).unwrap(),
            ssim(&image, &truth, shape).unwrap(),
        ];
        for (got, what) in got.into_iter().zip(["psnr", "ssim"]) {
            let expected = of(what).data.to_f64()[0];
            assert!(
                (got - expected).abs() < 1e-12,
                "{name}: {what} {got}, {expected}"
            );
        }
    }
}
