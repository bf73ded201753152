//! guided-diffusion's U-Net and super-resolution: against PyTorch, against guided-diffusion's own figures, and what is refused of them.
//! `tests/golden/adm.py` writes the tensors.

mod common;

use std::collections::BTreeMap;

use common::networks::{assert_gradients, images, placed, planned, waves};
use common::{drawn, golden, relative_difference};
use wgen::graph::Graph;
use wgen::graph::op::EvalContext;
use wgen::kernels::philox::{Domain, RandomState};
use wgen::models::diffusion::adm::{Config, UNetConfig, UNetModel};
use wgen::models::diffusion::{Conditions, Denoiser};
use wgen::nn::Pass;
use wgen::real::Precision;
use wgen::tensor::{Data, ImageShape, TensorType, Value};

const BATCH: usize = 2;

/// One-hot rows of classes 1 and 3.
fn asked_for(classes: usize) -> Vec<f32> {
    let mut rows = vec![0.0; BATCH * classes];
    (rows[1], rows[classes + 3]) = (1.0, 1.0);
    rows
}

/// A network as the script's case has it.
fn model(json: &serde_json::Value) -> UNetModel {
    let mut fields = json.as_object().unwrap().clone();
    let mut take = |name: &str| fields.remove(name).unwrap();
    let [channels, height, width] = serde_json::from_value(take("image")).unwrap();
    let config = UNetConfig {
        image: ImageShape {
            height,
            width,
            channels,
        },
        out_channels: serde_json::from_value(take("out_channels")).unwrap(),
        num_classes: serde_json::from_value(take("num_classes")).unwrap(),
        low_res: serde_json::from_value(take("low_res")).unwrap(),
        network: serde_json::from_value::<Config>(fields.into()).unwrap(),
    };
    UNetModel::new(config).unwrap()
}

/// The prediction, and the gradients of its product with an upstream by x, the small images and every parameter, on the GPU.
#[test]
fn networks_agree_with_pytorch() {
    let tensors = golden("adm");
    let text = include_str!("golden/adm.json");
    let cases: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 8);
    for (name, json) in cases {
        let model = model(&json);
        let config = model.config();
        let graph = Graph::new(Domain::Training);
        let mut inputs = vec![("x", config.image, 1.5)];
        inputs.extend(config.low_res().map(|small| ("low_res", small, 1.0)));
        let vars: Vec<_> = inputs
            .iter()
            .map(|(name, image, _)| graph.input(name, TensorType::f32([BATCH, image.count()])))
            .collect();
        let t = graph.input("t", TensorType::u32([BATCH]));
        let classes = config
            .num_classes
            .map(|count| graph.input("classes", TensorType::f32([BATCH, count])));
        let told = Conditions {
            classes,
            low_res: vars.get(1).copied(),
        };
        let y = model.predict(&Pass::evaluation(&graph), vars[0], t.into(), told);
        graph.output("y", y);
        let upstream = graph.input("upstream", TensorType::f32(y.shape()));
        let parameters = model.parameters();
        let mut wanted = vars.clone();
        wanted.extend(
            parameters
                .iter()
                .map(|p| graph.parameter(&p.name, p.shape.clone())),
        );
        let mut gradients = graph
            .gradients((y * upstream).sum_all(), &wanted)
            .into_iter();
        for (name, _, _) in &inputs {
            graph.output(&format!("by_{name}"), gradients.next().unwrap());
        }
        for (p, gradient) in parameters.iter().zip(gradients) {
            graph.output_gradient(&p.name, gradient);
        }

        let (store, plan) = planned(&name, &graph, &parameters);
        let write = |input: &str, image: ImageShape, scale: f64| {
            let values = drawn(
                &format!("{name}/{input}"),
                BATCH * image.count(),
                scale,
                0.0,
            );
            let values = images(BATCH, image).from_border(&values);
            plan.write(input, &Data::F32(values)).unwrap();
        };
        for &(input, image, scale) in &inputs {
            write(input, image, scale);
        }
        let outputs = ImageShape {
            channels: config.out_channels,
            ..config.image
        };
        write("upstream", outputs, 1.0);
        plan.write("t", &Data::U32(vec![7, 901])).unwrap();
        if let Some(count) = config.num_classes {
            plan.write("classes", &Data::F32(asked_for(count))).unwrap();
        }
        plan.run(1).unwrap();

        let read = |output: &str, image: ImageShape| -> Vec<f64> {
            let values = plan.read(output).unwrap().data.to_f32();
            let values = images(BATCH, image).to_border(&values);
            values.into_iter().map(f64::from).collect()
        };
        let expected = tensors[&format!("{name}/y")].data.to_f64();
        let difference = relative_difference(&read("y", outputs), &expected);
        assert!(difference < 2e-5, "{name}: {difference:e} of the range");
        for &(input, image, _) in &inputs {
            let expected = tensors[&format!("{name}/{input}")].data.to_f64();
            let difference = relative_difference(&read(&format!("by_{input}"), image), &expected);
            assert!(difference < 1e-4, "{name}, by {input}: {difference:e}");
        }
        assert_gradients(&name, &parameters, &store, &tensors, 96);
    }
}

/// What guided-diffusion's own code gives in f64: parameters; sum, sum of absolute values and first of the prediction.
#[test]
fn networks_give_what_guided_diffusion_gives() {
    let image = ImageShape {
        height: 16,
        width: 16,
        channels: 3,
    };
    let scaled = Config {
        channel_mult: vec![1.0, 2.0],
        num_res_blocks: 1,
        attention_resolutions: vec![2],
        num_head_channels: Some(16),
        ..Config::of(32)
    };
    let ordered = Config {
        use_new_attention_order: true,
        ..scaled.clone()
    };
    let plain = Config {
        use_scale_shift_norm: false,
        resblock_updown: false,
        ..scaled.clone()
    };
    let pooled = Config {
        conv_resample: false,
        ..plain.clone()
    };
    let cases = [
        (
            scaled.clone(),
            None,
            828_870,
            [232.611785, 2903.75497, 0.916678525],
        ),
        (
            ordered,
            None,
            828_870,
            [233.708721, 2916.35546, 0.918509579],
        ),
        (plain, None, 703_878, [-605.679793, 3242.26576, -1.08518432]),
        (pooled, None, 657_702, [373.664396, 2669.91076, 0.638252873]),
        (
            scaled,
            Some([8, 8]),
            829_734,
            [117.415018, 3388.99222, 0.503202151],
        ),
    ];
    for (network, low_res, count, wanted) in cases {
        let model = UNetModel::new(UNetConfig {
            out_channels: 6,
            num_classes: Some(4),
            low_res,
            ..UNetConfig::of(image, network)
        })
        .unwrap();
        let parameters = model.parameters();
        let counted: usize = parameters.iter().map(|p| p.shape.count()).sum();
        assert_eq!(counted, count);
        let graph = Graph::new(Domain::Sampling);
        let x = graph.input("x", TensorType::f32([BATCH, image.count()]));
        let t = graph.input("t", TensorType::u32([BATCH]));
        let classes = graph.input("classes", TensorType::f32([BATCH, 4]));
        let small = model.config().low_res();
        let told = Conditions {
            classes: Some(classes),
            low_res: small
                .map(|small| graph.input("low_res", TensorType::f32([BATCH, small.count()]))),
        };
        let y = model.predict(&Pass::evaluation(&graph), x, t.into(), told);
        let wave = |image: ImageShape| {
            let mut value = placed(&images(BATCH, image), |i| (0.3 * i as f64).cos());
            value.shape = [BATCH, image.count()].into();
            value
        };
        let rows: Vec<f64> = asked_for(4).into_iter().map(f64::from).collect();
        let mut leaves = vec![
            ("x", wave(image)),
            ("t", Value::new([BATCH], Data::U32(vec![7, 901])).unwrap()),
            ("classes", Value::new([BATCH, 4], Data::F64(rows)).unwrap()),
        ];
        leaves.extend(small.map(|small| ("low_res", wave(small))));
        leaves.extend(waves(&parameters));
        let cx = EvalContext {
            precision: Precision::F64,
            state: RandomState {
                seed: 0,
                step: 0,
                cursor: 0,
            },
        };
        let found = graph.interpret(&[y.id()], &leaves, &cx).unwrap()[0]
            .data
            .to_f64();
        let figures = [
            found.iter().sum(),
            found.iter().map(|x| x.abs()).sum::<f64>(),
            found[0],
        ];
        for (wanted, figure) in wanted.into_iter().zip(figures) {
            // The printed digits.
            let off = (figure - wanted).abs() / wanted.abs();
            assert!(off < 1e-6, "{count}: {figures:?}, {off:e} from {wanted}");
        }
    }
}
