//! The U-Net against diffusers' `UNet2DModel`: outputs and every parameter's gradient.
//! `tests/golden/diffusion.py` writes the tensors.

mod common;

use std::collections::BTreeMap;

use common::{drawn, golden, gpu, relative_difference};
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::kernels::philox::Domain;
use wgen::models::diffusion::Denoiser;
use wgen::models::diffusion::unet::{Config, UNet2DModel};
use wgen::nn::Pass;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;
use wgen::tensor::{Data, TensorType};

const BATCH: usize = 2;

/// A parameter's values as the device has them.
fn weight(case: &str, parameter: &Parameter) -> Vec<f32> {
    let shape = parameter.file_shape();
    let name = format!("{case}/{}", parameter.name);
    let file = if let [count] = shape.dims() {
        let is_gain = name.contains("norm") && name.ends_with("weight");
        drawn(&name, *count, 0.3, if is_gain { 1.0 } else { 0.0 })
    } else {
        let inputs: usize = shape.dims()[1..].iter().product();
        drawn(&name, shape.count(), (3.0 / inputs as f64).sqrt(), 0.0)
    };
    parameter.from_border(&file)
}

/// Images of a file `[batch, channels, height, width]` as the device has them.
fn nhwc(values: &[f32], [batch, height, width, channels]: [usize; 4]) -> Vec<f32> {
    Parameter::new("x", [batch, height, width, channels], Init::Constant(0.0))
        .with_border(&[0, 3, 1, 2])
        .from_border(values)
}

#[test]
fn unets_agree_with_diffusers() {
    let gpu = gpu();
    let tensors = golden("diffusion");
    let text = include_str!("golden/diffusion.json");
    let configs: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    assert!(configs.len() >= 8);
    for (name, json) in configs {
        let config = Config::from_diffusers(&json.to_string()).unwrap();
        // What is written again is what was read.
        let again = Config::from_diffusers(&config.to_diffusers().to_string()).unwrap();
        assert_eq!(config, again, "{name}");
        let unet = UNet2DModel::new(config.clone()).unwrap();
        let [height, width] = config.size();
        let graph = Graph::new(Domain::Training);
        let shape = [BATCH, height, width, config.in_channels];
        let out_shape = [BATCH, height, width, config.out_channels];
        let x = graph.input("x", TensorType::f32(shape));
        let t = graph.input("t", TensorType::u32([BATCH]));
        let classes = config
            .num_class_embeds
            .map(|n| graph.input("classes", TensorType::f32([BATCH, n])));
        let upstream = graph.input("upstream", TensorType::f32(out_shape));
        let y = unet.forward(&Pass::evaluation(&graph), x, t, classes);
        graph.output("y", y);
        let parameters = unet.parameters();
        let vars: Vec<_> = parameters
            .iter()
            .map(|p| graph.parameter(&p.name, p.shape.clone()))
            .collect();
        let loss = (y * upstream).sum_all();
        for (p, gradient) in parameters.iter().zip(graph.gradients(loss, &vars)) {
            graph.output_gradient(&p.name, gradient);
        }
        // As many parameters as diffusers has, under the same names.
        let theirs = |p: &Parameter| &tensors[&format!("unet/{name}/grad/{}", p.name)];
        let prefix = format!("unet/{name}/grad/");
        let count = tensors.keys().filter(|k| k.starts_with(&prefix)).count();
        assert_eq!(parameters.len(), count, "{name}");

        let layout = Layout::new(parameters.clone(), 128 << 20).unwrap();
        let options = StoreOptions {
            training: true,
            ema: false,
        };
        let store = Store::new(&gpu, layout, options).unwrap();
        let weights: Vec<Vec<f32>> = parameters.iter().map(|p| weight(&name, p)).collect();
        store.write(Flat::Parameters, &weights).unwrap();
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        let image = |what: &str, scale: f64, shape: [usize; 4]| {
            let count = shape.iter().product();
            Data::F32(nhwc(
                &drawn(&format!("{name}/{what}"), count, scale, 0.0),
                shape,
            ))
        };
        plan.write("x", &image("x", 1.5, shape)).unwrap();
        plan.write("upstream", &image("upstream", 1.0, out_shape))
            .unwrap();
        plan.write("t", &Data::U32(vec![7, 901])).unwrap();
        if let Some(n) = config.num_class_embeds {
            let mut rows = vec![0.0; BATCH * n];
            rows[2] = 1.0;
            rows[n + 5] = 1.0;
            plan.write("classes", &Data::F32(rows)).unwrap();
        }
        plan.run(1).unwrap();
        let expected: Vec<f32> = tensors[&format!("unet/{name}/y")].data.to_f32();
        let expected: Vec<f64> = nhwc(&expected, out_shape)
            .into_iter()
            .map(f64::from)
            .collect();
        let difference = relative_difference(&plan.read("y").unwrap().data.to_f64(), &expected);
        assert!(difference < 2e-5, "{name}: {difference:e} of the range");
        let range = |values: &[f64]| values.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let largest = parameters
            .iter()
            .map(|p| range(&theirs(p).data.to_f64()))
            .fold(0.0, f64::max);
        for (p, got) in parameters.iter().zip(store.read(Flat::Gradients).unwrap()) {
            let expected: Vec<f64> = p
                .from_border(&theirs(p).data.to_f32())
                .into_iter()
                .map(f64::from)
                .collect();
            let scale = range(&expected).max(1e-3 * largest);
            let worst = got
                .iter()
                .zip(&expected)
                .map(|(&a, b)| (f64::from(a) - b).abs())
                .fold(0.0, f64::max);
            assert!(
                worst < 1e-4 * scale,
                "{name}, {}: {:e}",
                p.name,
                worst / scale
            );
        }
    }
}
