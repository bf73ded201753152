//! The classifier of noised examples: its networks against PyTorch and against guided-diffusion's own figures, what guidance asks of it, and
//! its figures by timestep. `tests/golden/noised_classifier.py` writes the tensors.

mod common;

use std::collections::BTreeMap;

use common::networks::{assert_gradients, images, placed, planned, range, waves};
use common::{drawn, golden, gpu, relative_difference};
use wgen::data::digits::digits;
use wgen::evaluate::Evaluator;
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout};
use wgen::graph::op::EvalContext;
use wgen::kernels::philox::{Domain, RandomState};
use wgen::models::Model;
use wgen::models::diffusion::adm;
use wgen::models::noised_classifier::{Config, NoisedClassifier, Pool};
use wgen::nn::{Pass, init};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::{Flat, PlanOptions};
use wgen::real::Precision;
use wgen::session::Device;
use wgen::tensor::{Data, ImageShape, TensorType, Value};

const BATCH: usize = 2;
const CLASSES: usize = 5;

/// One-hot rows of classes 1 and 3.
fn asked_for() -> Vec<f32> {
    let mut rows = vec![0.0; BATCH * CLASSES];
    (rows[1], rows[CLASSES + 3]) = (1.0, 1.0);
    rows
}

fn model(json: &serde_json::Value) -> NoisedClassifier {
    let mut fields = json.as_object().unwrap().clone();
    let image: [usize; 3] = serde_json::from_value(fields.remove("image").unwrap()).unwrap();
    let pool: Pool = serde_json::from_value(fields.remove("pool").unwrap()).unwrap();
    let image = ImageShape {
        height: image[1],
        width: image[2],
        channels: image[0],
    };
    let network: adm::Config = serde_json::from_value(fields.into()).unwrap();
    let config = Config {
        pool,
        network,
        ..Config::of(image, CLASSES)
    };
    NoisedClassifier::new(config).unwrap()
}

/// Logits, and the gradients of the sum of log p(y | x_t, t) by x and by every parameter, on the GPU.
#[test]
fn networks_agree_with_pytorch() {
    let tensors = golden("noised_classifier");
    let text = include_str!("golden/noised_classifier.json");
    let cases: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 8);
    for (name, json) in cases {
        let model = model(&json);
        let image = model.config().image;
        let graph = Graph::new(Domain::Training);
        let x = graph.input("x", TensorType::f32([BATCH, image.count()]));
        let t = graph.input("t", TensorType::u32([BATCH]));
        let classes = graph.input("classes", TensorType::f32([BATCH, CLASSES]));
        let pass = Pass::evaluation(&graph);
        graph.output("y", model.logits(&pass, x, t));
        let loss = model.log_probability(&pass, x, t, classes).sum_all();
        let parameters = model.parameters();
        let mut wanted = vec![x];
        wanted.extend(
            parameters
                .iter()
                .map(|p| graph.parameter(&p.name, p.shape.clone())),
        );
        let mut gradients = graph.gradients(loss, &wanted);
        graph.output("by_x", gradients.remove(0));
        for (p, gradient) in parameters.iter().zip(gradients) {
            graph.output_gradient(&p.name, gradient);
        }
        let (store, plan) = planned(&name, &graph, &parameters);
        let border = images(BATCH, image);
        let input = drawn(&format!("{name}/x"), BATCH * image.count(), 1.5, 0.0);
        plan.write("x", &Data::F32(border.from_border(&input)))
            .unwrap();
        plan.write("t", &Data::U32(vec![7, 901])).unwrap();
        plan.write("classes", &Data::F32(asked_for())).unwrap();
        plan.run(1).unwrap();

        let expected = tensors[&format!("{name}/y")].data.to_f64();
        let logits = plan.read("y").unwrap().data.to_f64();
        let difference = relative_difference(&logits, &expected);
        assert!(difference < 2e-5, "{name}: {difference:e} of the range");
        let expected = tensors[&format!("{name}/x")].data.to_f64();
        let by_x = border.to_border(&plan.read("by_x").unwrap().data.to_f32());
        let by_x: Vec<f64> = by_x.into_iter().map(f64::from).collect();
        let difference = relative_difference(&by_x, &expected);
        assert!(difference < 1e-4, "{name}, by x: {difference:e}");
        assert_gradients(&name, &parameters, &store, &tensors, 1024);
    }
}

/// What guided-diffusion's own code gives in f64: parameters; sum, sum of absolute values and first of the logits; the same of the gradient of
/// the sum of log p(y | x_t, t) by x.
#[test]
fn networks_give_what_guided_diffusion_gives() {
    type Figures = [Option<f64>; 3];
    let image = ImageShape {
        height: 16,
        width: 16,
        channels: 3,
    };
    let only = |x: f64| [Some(x), None, None];
    let cases: [(Pool, usize, Figures, Figures); 4] = [
        (
            Pool::Attention,
            381_509,
            [1.630_444_39, 2.475_336_69, 0.205_295_924].map(Some),
            [-0.020_168_140_7, 2.133_661_89, 0.000_190_475_116].map(Some),
        ),
        (
            Pool::Adaptive,
            364_869,
            only(-1.592_313_57),
            [None, Some(2.007_084_44), None],
        ),
        (
            Pool::Spatial,
            835_461,
            only(-11.777_451_8),
            [None, Some(55.976_636_7), None],
        ),
        (
            Pool::SpatialV2,
            839_557,
            only(-9.315_835_91),
            [None, Some(170.885_22), None],
        ),
    ];
    for (pool, count, of_logits, of_gradient) in cases {
        let config = Config {
            pool,
            network: adm::Config {
                channel_mult: vec![1.0, 2.0],
                num_res_blocks: 1,
                attention_resolutions: vec![2],
                num_head_channels: Some(16),
                ..adm::Config::of(32)
            },
            ..Config::of(image, CLASSES)
        };
        let model = NoisedClassifier::new(config).unwrap();
        let parameters = model.parameters();
        assert_eq!(
            parameters.iter().map(|p| p.shape.count()).sum::<usize>(),
            count
        );
        let graph = Graph::new(Domain::Sampling);
        let x = graph.input("x", TensorType::f32([BATCH, image.count()]));
        let t = graph.input("t", TensorType::u32([BATCH]));
        let classes = graph.input("classes", TensorType::f32([BATCH, CLASSES]));
        let pass = Pass::evaluation(&graph);
        let logits = model.logits(&pass, x, t);
        let log_p = model.log_probability(&pass, x, t, classes);
        let by_x = graph.gradients(log_p.sum_all(), &[x]).remove(0);

        let border = images(BATCH, image);
        let mut input = placed(&border, |i| (0.3 * i as f64).cos());
        input.shape = [BATCH, image.count()].into();
        let rows: Vec<f64> = asked_for().into_iter().map(f64::from).collect();
        let mut leaves = vec![
            ("x", input),
            ("t", Value::new([BATCH], Data::U32(vec![7, 901])).unwrap()),
            (
                "classes",
                Value::new([BATCH, CLASSES], Data::F64(rows)).unwrap(),
            ),
        ];
        leaves.extend(waves(&parameters));
        let cx = EvalContext {
            precision: Precision::F64,
            state: RandomState {
                seed: 0,
                step: 0,
                cursor: 0,
            },
        };
        let values = graph
            .interpret(&[logits.id(), by_x.id()], &leaves, &cx)
            .unwrap();
        for (wanted, value) in [of_logits, of_gradient].into_iter().zip(values) {
            let found = value.data.to_f64();
            let figures = [
                found.iter().sum(),
                found.iter().map(|x| x.abs()).sum::<f64>(),
                found[0],
            ];
            for (wanted, figure) in wanted.into_iter().zip(figures) {
                let close = |w: f64| (figure - w).abs() < 1e-4 * w.abs();
                assert!(wanted.is_none_or(close), "{pool:?}: {figures:?}");
            }
        }
    }
}

/// A small model, and weights that no branch begins as zero with.
fn small(pool: Pool) -> (NoisedClassifier, Vec<Vec<f32>>) {
    let config = Config {
        pool,
        network: adm::Config {
            channel_mult: vec![1.0, 1.0, 2.0],
            num_res_blocks: 1,
            attention_resolutions: vec![2],
            num_head_channels: Some(4),
            groups: 2,
            ..adm::Config::of(4)
        },
        ..Config::mnist()
    };
    let model = NoisedClassifier::new(config).unwrap();
    let each = model.parameters().into_iter().map(|mut p| {
        if p.shape.rank() > 1 {
            p.init = Init::Normal(0.0, 0.3);
        }
        init::draw(&p, 3)
    });
    let weights = each.collect();
    (model, weights)
}

/// What guidance does: the classifier beside another of the same names in one store, one t for all examples.
#[test]
fn a_second_model_of_a_store_has_names_of_its_own() {
    let (first, weights) = small(Pool::Attention);
    let second = NoisedClassifier::with_prefix(first.config().clone(), "second.").unwrap();
    assert_eq!(second.parameters().len(), first.parameters().len());
    for (a, b) in first.parameters().iter().zip(second.parameters()) {
        assert_eq!(format!("second.{}", a.name), b.name);
        assert_eq!((&a.border, a.init), (&b.border, b.init));
    }
    let graph = Graph::new(Domain::Sampling);
    let x = graph.input("x", TensorType::f32([3, 784]));
    let one = graph.input("t", TensorType::u32([1]));
    let each = graph.input("each", TensorType::u32([3]));
    let classes = graph.input("classes", TensorType::f32([3, 10]));
    let pass = Pass::evaluation(&graph);
    let a = first.log_probability(&pass, x, each, classes);
    let b = second.log_probability(&pass, x, one, classes);
    let moved = graph.gradients(b.sum_all(), &[x]).remove(0);
    graph.output("a", a);
    graph.output("b", b);
    graph.output("moved", moved);

    let parameters = [first.parameters(), second.parameters()].concat();
    let layout = Layout::new(parameters, 1 << 27).unwrap();
    let gpu = gpu();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    // The second has the first's weights, but for the bias of its last layer.
    let mut all = [weights.clone(), weights].concat();
    let last = all.len() - 1;
    all[last][4] += 5.0;
    store.write(Flat::Parameters, &all).unwrap();
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    let pixels = digits(3, 4)
        .scaled()
        .iter()
        .map(|p| 2.0 * p - 1.0)
        .collect();
    plan.write("x", &Data::F32(pixels)).unwrap();
    plan.write("t", &Data::U32(vec![300])).unwrap();
    plan.write("each", &Data::U32(vec![300; 3])).unwrap();
    let mut rows = vec![0.0; 30];
    (rows[4], rows[14], rows[29]) = (1.0, 1.0, 1.0);
    plan.write("classes", &Data::F32(rows)).unwrap();
    plan.run(1).unwrap();
    let read = |name: &str| plan.read(name).unwrap().data.to_f64();
    let (a, b, moved) = (read("a"), read("b"), read("moved"));
    assert!(a.iter().chain(&b).all(|x| *x < 0.0), "{a:?} {b:?}");
    // What was said to be of class 4 the second finds likelier, the other one less so.
    assert!(b[0] > a[0] && b[1] > a[1] && b[2] < a[2], "{a:?} {b:?}");
    assert!(range(&moved) > 1e-6, "no gradient by x");
}

/// Noise is keyed by example: neither the batch nor what else is evaluated moves a figure.
#[test]
fn figures_by_timestep_do_not_hang_on_the_batch() {
    let (model, weights) = small(Pool::Adaptive);
    let data = digits(11, 2);
    let figures = |batch: usize, timesteps: &[usize]| {
        let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, batch, 5).unwrap();
        evaluator.by_timestep(&model, &data, timesteps).unwrap()
    };
    let a = figures(4, &[0, 500, 999]);
    let b = figures(11, &[0, 500, 999]);
    let first = figures(3, &[0]);
    let times: Vec<usize> = a.iter().map(|f| f.timestep).collect();
    assert_eq!(times, [0, 500, 999]);
    for (a, b) in a.iter().zip(b.iter()).chain([(&a[0], &first[0])]) {
        assert_eq!(a.accuracy, b.accuracy);
        assert!((a.cross_entropy - b.cross_entropy).abs() < 1e-5 * a.cross_entropy);
    }
    // It does look at the noise, or it would see the same at all times.
    assert!(
        (a[0].cross_entropy - a[2].cross_entropy).abs() > 1e-3,
        "{a:?}"
    );
    let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 4, 5).unwrap();
    let error = evaluator.by_timestep(&model, &data, &[1000]).unwrap_err();
    assert!(error.to_string().contains("timesteps 1000"), "{error}");
}

/// What `load_state_dict(strict=True)` asks.
#[test]
fn parameters_are_named_and_shaped_as_in_guided_diffusion() {
    let model = NoisedClassifier::new(Config::mnist()).unwrap();
    let shapes: BTreeMap<String, Vec<usize>> = model
        .parameters()
        .iter()
        .map(|p| (p.name.clone(), p.file_shape().dims().to_vec()))
        .collect();
    for (name, shape) in [
        ("time_embed.0.weight", &[128, 32][..]),
        ("time_embed.2.bias", &[128]),
        ("input_blocks.0.0.weight", &[32, 1, 3, 3]),
        ("input_blocks.1.0.in_layers.0.weight", &[32]),
        ("input_blocks.1.0.in_layers.2.weight", &[32, 32, 3, 3]),
        ("input_blocks.1.0.emb_layers.1.weight", &[64, 128]),
        ("input_blocks.2.0.out_layers.3.weight", &[32, 32, 3, 3]),
        ("input_blocks.3.0.skip_connection.weight", &[64, 32, 1, 1]),
        ("middle_block.1.norm.bias", &[64]),
        ("middle_block.1.qkv.weight", &[192, 64, 1]),
        ("middle_block.1.proj_out.weight", &[64, 64, 1]),
        ("middle_block.2.out_layers.0.weight", &[64]),
        ("out.0.weight", &[64]),
        ("out.2.positional_embedding", &[64, 50]),
        ("out.2.qkv_proj.weight", &[192, 64, 1]),
        ("out.2.c_proj.weight", &[10, 64, 1]),
        ("out.2.c_proj.bias", &[10]),
    ] {
        assert_eq!(shapes.get(name).map(Vec::as_slice), Some(shape), "{name}");
    }
}

/// Parameters and tensors of what the paper's authors published: 64, 128, 256 and 512 pixels a side, 1,000 classes.
#[test]
fn published_classifiers_have_as_many_parameters() {
    for (side, blocks, channel_mult, count, tensors) in [
        (64, 4, &[1.0, 2.0, 3.0, 4.0][..], 65_438_568, 307),
        (128, 2, &[1.0, 1.0, 2.0, 3.0, 4.0], 42_568_040, 221),
        (256, 2, &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0], 54_096_360, 249),
        (
            512,
            2,
            &[0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            54_448_360,
            281,
        ),
    ] {
        let image = ImageShape {
            height: side,
            width: side,
            channels: 3,
        };
        let network = adm::Config {
            channel_mult: channel_mult.to_vec(),
            num_res_blocks: blocks,
            attention_resolutions: [32, 16, 8].map(|pixels| side / pixels).to_vec(),
            ..adm::Config::of(128)
        };
        let config = Config {
            network,
            ..Config::of(image, 1000)
        };
        let parameters = NoisedClassifier::new(config).unwrap().parameters();
        let found: usize = parameters.iter().map(|p| p.shape.count()).sum();
        assert_eq!((found, parameters.len()), (count, tensors), "{side}");
    }
}
