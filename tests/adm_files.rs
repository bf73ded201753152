//! Files of guided-diffusion: the published ones are known by their count of parameters, others by what is said of them; both become folders, and
//! what leaves something open is refused.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::calls::{done, refused};
use common::networks::weight;
use common::pickled::{Container, dict, packed, saved, storage, strides, view};
use safetensors::tensor::Dtype;
use serde_json::json;
use tempfile::tempdir;
use wgen::Run;
use wgen::files::guided_diffusion::{Untold, convert};
use wgen::files::weights::read_tensors;
use wgen::graph::Graph;
use wgen::graph::layout::Parameter;
use wgen::graph::op::EvalContext;
use wgen::kernels::philox::{Domain, RandomState};
use wgen::models::diffusion::adm::{Config, UNetConfig, UNetModel};
use wgen::models::diffusion::process::{BetaSchedule, Variance};
use wgen::models::diffusion::{Conditions, Denoiser, Diffusion, Network};
use wgen::models::noised_classifier::{self, NoisedClassifier};
use wgen::models::{Model, published, to_json};
use wgen::nn::Pass;
use wgen::real::Precision;
use wgen::tensor::{Data, ImageShape, TensorType, Value};

fn square(size: usize, channels: usize) -> ImageShape {
    ImageShape {
        height: size,
        width: size,
        channels,
    }
}

/// The networks of the README of guided-diffusion, and how many tensors they have.
fn of_the_readme() -> Vec<(&'static str, Vec<Parameter>, usize)> {
    let network =
        |mult: &[f64], blocks: usize, size: usize, at: &[usize], channels: usize| Config {
            channel_mult: mult.to_vec(),
            num_res_blocks: blocks,
            attention_resolutions: at.iter().map(|pixels| size / pixels).collect(),
            ..Config::of(channels)
        };
    let unet = |size: usize, classes: bool, low_res: Option<usize>, network: Config| {
        let config = UNetConfig {
            out_channels: 6,
            num_classes: classes.then_some(1000),
            low_res: low_res.map(|small| [small; 2]),
            ..UNetConfig::of(square(size, 3), network)
        };
        UNetModel::new(config).unwrap().parameters()
    };
    let classifier = |size: usize, network: Config| {
        let config = noised_classifier::Config {
            network,
            ..noised_classifier::Config::of(square(size, 3), 1000)
        };
        NoisedClassifier::new(config).unwrap().parameters()
    };
    let four = |network: Config| Config {
        num_head_channels: None,
        num_heads: 4,
        ..network
    };
    let usual = [32, 16, 8];
    let of_64 = [1.0, 2.0, 3.0, 4.0];
    let of_128 = [1.0, 1.0, 2.0, 3.0, 4.0];
    let of_256 = [1.0, 1.0, 2.0, 2.0, 4.0, 4.0];
    let of_512 = [0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0];
    let m = &network;
    vec![
        (
            "64x64_diffusion",
            unet(64, true, None, m(&of_64, 3, 64, &usual, 192)),
            541,
        ),
        (
            "128x128_diffusion",
            unet(128, true, None, four(m(&of_128, 2, 128, &usual, 256))),
            493,
        ),
        (
            "256x256_diffusion",
            unet(256, true, None, m(&of_256, 2, 256, &usual, 256)),
            567,
        ),
        (
            "256x256_diffusion_uncond",
            unet(256, false, None, m(&of_256, 2, 256, &usual, 256)),
            566,
        ),
        (
            "512x512_diffusion",
            unet(512, true, None, m(&of_512, 2, 512, &usual, 256)),
            645,
        ),
        (
            "64_256_upsampler",
            unet(256, true, Some(64), four(m(&of_256, 2, 256, &usual, 192))),
            567,
        ),
        (
            "128_512_upsampler",
            unet(
                512,
                true,
                Some(128),
                m(&[1.0, 1.0, 2.0, 2.0, 4.0, 4.0], 2, 512, &[32, 16], 192),
            ),
            537,
        ),
        (
            "64x64_classifier",
            classifier(64, m(&of_64, 4, 64, &usual, 128)),
            307,
        ),
        (
            "128x128_classifier",
            classifier(128, m(&of_128, 2, 128, &usual, 128)),
            221,
        ),
        (
            "256x256_classifier",
            classifier(256, m(&of_256, 2, 256, &usual, 128)),
            249,
        ),
        (
            "512x512_classifier",
            classifier(512, m(&of_512, 2, 512, &usual, 128)),
            281,
        ),
    ]
}

#[test]
fn every_published_file_is_known_by_its_count_of_parameters() {
    let all = of_the_readme();
    assert_eq!(all.len(), published::ALL.len());
    for (name, parameters, tensors) in all {
        let known = published::ALL.iter().find(|p| p.name == name).unwrap();
        let count: usize = parameters.iter().map(|p| p.shape.count()).sum();
        assert_eq!(
            (count, parameters.len()),
            (known.parameters, tensors),
            "{name}"
        );
        let shapes: Vec<_> = parameters.iter().map(Parameter::file_shape).collect();
        let named = parameters.iter().zip(&shapes);
        let named = named.map(|(p, s)| (&p.name[..], s.dims())).collect();
        assert!(published::is_adm(&named));
        // What is read off names and shapes, with what is known, is the same network.
        let (model, found) = published::model(&named, Untold::default()).unwrap();
        assert_eq!(found.map(|p| p.name), Some(name));
        let again = model.parameters();
        assert!(
            parameters
                .iter()
                .zip(&again)
                .all(|(a, b)| (&a.name, &a.shape) == (&b.name, &b.shape)),
            "{name}"
        );
        let json = to_json(model.as_ref());
        let network = &json["network"];
        let network = network.get("adm").map_or(network, |adm| &adm["network"]);
        let four = ["128x128_diffusion", "64_256_upsampler"].contains(&name);
        assert_eq!(
            network["num_head_channels"],
            if four { json!(null) } else { json!(64) },
            "{name}"
        );
        assert_eq!(network["num_heads"], if four { 4 } else { 1 }, "{name}");
        assert_eq!(
            network["use_new_attention_order"],
            name == "64x64_diffusion"
        );
        let cosine = name.starts_with("64x64");
        assert_eq!(
            json["process"]["beta_schedule"],
            if cosine {
                "squaredcos_cap_v2"
            } else {
                "linear"
            }
        );
        if let Some(diffusion) = model.as_any().downcast_ref::<Diffusion>() {
            let config = diffusion.config();
            assert_eq!(
                (config.variance, config.sampling.steps),
                (Variance::LearnedRange, 250)
            );
            assert_eq!(
                config.classes,
                if name.ends_with("uncond") { 0 } else { 1000 }
            );
        }
    }
}

/// A file that `torch.save` could have written, of the script's weights.
fn file(folder: &Path, container: Container, case: &str, parameters: &[Parameter]) -> PathBuf {
    let tensors = parameters.iter().map(|p| {
        let values = p.to_border(&weight(case, p));
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (
            p.name.clone(),
            (Dtype::F32, p.file_shape().dims().to_vec(), bytes),
        )
    });
    let path = folder.join(format!("{case}.pt"));
    fs::write(&path, saved(container, &tensors.collect())).unwrap();
    path
}

/// Sixteen pixels, two levels of 32 and 64 channels.
fn small() -> UNetConfig {
    let network = Config {
        channel_mult: vec![1.0, 2.0],
        num_res_blocks: 1,
        attention_resolutions: vec![2],
        num_head_channels: Some(16),
        ..Config::of(32)
    };
    UNetConfig {
        out_channels: 6,
        num_classes: Some(4),
        ..UNetConfig::of(square(16, 3), network)
    }
}

/// What is told of it.
fn told() -> Untold {
    Untold {
        image_size: Some(16),
        num_head_channels: Some(16),
        use_new_attention_order: Some(false),
        beta_schedule: Some(BetaSchedule::Linear),
        ..Untold::default()
    }
}

/// What a run's network says of one input, in f64.
fn prediction(model: &Diffusion, weights: &[Vec<f32>]) -> Vec<f64> {
    let image = model.config().image;
    let graph = Graph::new(Domain::Sampling);
    let x = graph.input("x", TensorType::f32([2, image.count()]));
    let t = graph.input("t", TensorType::u32([2]));
    let classes = graph.input("classes", TensorType::f32([2, 4]));
    let small = model.low_res();
    let told = Conditions {
        classes: (model.classes() > 0).then_some(classes),
        low_res: small.map(|s| graph.input("low_res", TensorType::f32([2, s.count()]))),
    };
    let y = model.predict(&Pass::evaluation(&graph), x, t, told);
    let wave = |n: usize| {
        let values = (0..2 * n).map(|i| (0.3 * i as f64).cos()).collect();
        Value::new([2, n], Data::F64(values)).unwrap()
    };
    let rows = Data::F64(vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let mut leaves = vec![
        ("x", wave(image.count())),
        ("t", Value::new([2], Data::U32(vec![7, 901])).unwrap()),
        ("classes", Value::new([2, 4], rows).unwrap()),
    ];
    leaves.extend(small.map(|s| ("low_res", wave(s.count()))));
    let parameters = model.parameters();
    for (p, values) in parameters.iter().zip(weights) {
        let values = values.iter().map(|&v| f64::from(v)).collect();
        leaves.push((
            &p.name,
            Value::new(p.shape.clone(), Data::F64(values)).unwrap(),
        ));
    }
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState {
            seed: 0,
            step: 0,
            cursor: 0,
        },
    };
    graph.interpret(&[y.id()], &leaves, &cx).unwrap()[0]
        .data
        .to_f64()
}

fn range(values: &[f64]) -> f64 {
    values.iter().fold(0.0_f64, |m, x| m.max(x.abs()))
}

/// Networks that diffusers has under other names and that it has not, from either container: the same predictions.
#[test]
fn a_converted_network_predicts_as_its_file_does() {
    let dir = tempdir().unwrap();
    let base = small();
    let with = |change: &dyn Fn(&mut UNetConfig)| {
        let mut config = base.clone();
        change(&mut config);
        config
    };
    let plain = |config: &mut UNetConfig| {
        config.network.use_scale_shift_norm = false;
        config.network.resblock_updown = false;
    };
    let cases: [(&str, UNetConfig, Untold, bool); 7] = [
        ("legacy", base.clone(), told(), true),
        (
            "new",
            with(&|c| {
                c.network.use_new_attention_order = true;
                c.network.attention_resolutions = vec![1, 2];
                c.network.num_res_blocks = 2;
            }),
            Untold {
                use_new_attention_order: Some(true),
                ..told()
            },
            true,
        ),
        ("plain", with(&plain), told(), true),
        (
            "unconditional",
            with(&|c| (c.num_classes, c.out_channels) = (None, 3)),
            told(),
            true,
        ),
        (
            "pooled",
            with(&|c| {
                plain(c);
                c.network.conv_resample = false;
            }),
            told(),
            false,
        ),
        (
            "heads",
            with(&|c| {
                c.network.attention_resolutions = vec![1];
                (c.network.num_head_channels, c.network.num_heads) = (None, 2);
            }),
            Untold {
                num_head_channels: None,
                num_heads: Some(2),
                ..told()
            },
            false,
        ),
        (
            "super",
            with(&|c| c.low_res = Some([8, 8])),
            Untold {
                low_res: Some(8),
                ..told()
            },
            false,
        ),
    ];
    for (i, (name, config, untold, for_diffusers)) in cases.into_iter().enumerate() {
        let model = UNetModel::new(config.clone()).unwrap();
        let container = [Container::Zip, Container::Legacy][i % 2];
        let path = file(dir.path(), container, name, &model.parameters());
        let folder = dir.path().join(name);
        let converted = convert(&path, untold, &folder).unwrap();
        assert_eq!(
            converted.for_diffusers.is_ok(),
            for_diffusers,
            "{name}: {converted:?}"
        );
        assert_eq!(converted.published, None);
        let run = Run::open(&folder).unwrap();
        assert_eq!(run.classes(), config.num_classes.unwrap_or(0));
        let diffusion = run.model().as_any().downcast_ref::<Diffusion>().unwrap();
        let unet = matches!(diffusion.config().network, Network::Unet(_));
        assert_eq!(unet, for_diffusers, "{name}");
        // The file's own weights in guided-diffusion's network.
        let own = Diffusion::new(wgen::models::diffusion::Config {
            network: Network::Adm(Box::new(config)),
            ..diffusion.config().clone()
        })
        .unwrap();
        let weights: Vec<_> = own.parameters().iter().map(|p| weight(name, p)).collect();
        let a = prediction(diffusion, run.weights());
        let b = prediction(&own, &weights);
        let off = a
            .iter()
            .zip(&b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(
            range(&b) > 0.1 && off < 1e-9 * range(&b),
            "{name}: {off:e} of {}",
            range(&b)
        );
    }
}

/// A published classifier whose tensors are all views of one storage: the file itself is opened.
#[test]
fn a_published_file_opens_as_it_is() {
    let dir = tempdir().unwrap();
    let all = of_the_readme();
    let (name, parameters, _) = &all[8];
    let sizes: Vec<Vec<i64>> = parameters
        .iter()
        .map(|p| p.file_shape().dims().iter().map(|&n| n as i64).collect())
        .collect();
    let longest = sizes
        .iter()
        .map(|s| s.iter().product::<i64>())
        .max()
        .unwrap();
    let views = parameters.iter().zip(&sizes).map(|(p, shape)| {
        let storage = storage(Dtype::F32, "0", longest);
        (&p.name[..], view(storage, 0, shape, &strides(shape)))
    });
    let bytes = (0..longest).flat_map(|i| ((i % 97) as f32 * 0.001).to_le_bytes());
    let blobs = [(("0".to_owned(), bytes.collect()), 4)];
    let path = dir.path().join("model.pt");
    fs::write(
        &path,
        packed(Container::Zip, &dict(&views.collect::<Vec<_>>()), &blobs),
    )
    .unwrap();
    let run = Run::open(&path).unwrap();
    assert_eq!(
        (run.model().name(), run.classes()),
        ("noised-classifier", 1000)
    );
    assert!(run.data().contains(name), "{}", run.data());
    assert_eq!(run.image(), square(128, 3));
    let count: usize = run.weights().iter().map(Vec::len).sum();
    assert_eq!(count, 42_568_040);
}

#[test]
fn what_names_and_shapes_leave_open_is_asked_for() {
    let dir = tempdir().unwrap();
    let model = UNetModel::new(small()).unwrap();
    let path = file(dir.path(), Container::Zip, "mine", &model.parameters());
    let (path, out) = (path.to_str().unwrap(), dir.path().join("folder"));
    let out = out.to_str().unwrap();
    let words = [
        "828870 parameters in 145 tensors",
        "--image-size, --num-head-channels or",
        "--new-attention-order, --beta-schedule",
    ];
    refused(&["convert", path, "--out", out], &words);
    refused(&["sample", path, "--out", out], &words[..1]);
    let mut flags = vec!["convert", path, "--out", out, "--image-size", "16"];
    flags.extend([
        "--new-attention-order",
        "false",
        "--beta-schedule",
        "linear",
    ]);
    let with = |more: &[&'static str]| [&flags[..], more].concat();
    refused(&with(&[]), &["leave open", "--num-head-channels"]);
    refused(
        &with(&["--num-heads", "3"]),
        &["--num-heads 3", "does not divide"],
    );
    refused(
        &with(&["--num-heads", "2", "--low-res", "5"]),
        &["--low-res"],
    );
    assert!(!Path::new(out).exists());
    let said = done(&with(&["--num-head-channels", "16"]));
    assert!(
        said.contains("828870 parameters") && said.contains("diffusers opens it"),
        "{said}"
    );
    refused(
        &with(&["--num-head-channels", "16"]),
        &["is there already", "--out"],
    );
    // The folder is a run like any other.
    let (picture, tensors) = (dir.path().join("x.png"), dir.path().join("x.safetensors"));
    done(&[
        "sample",
        out,
        "--n",
        "2",
        "--steps",
        "2",
        "--out",
        picture.to_str().unwrap(),
        "--save-tensor",
        tensors.to_str().unwrap(),
    ]);
    assert_eq!(read_tensors(&tensors).unwrap()["x"].0, [2, 3, 16, 16]);
}

#[test]
fn files_of_other_networks_and_broken_ones_are_refused() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("folder");
    let message = |path: &Path| convert(path, told(), &out).unwrap_err().to_string();
    let parameters = UNetModel::new(small()).unwrap().parameters();
    let without = |gone: &str| {
        let left: Vec<Parameter> = parameters
            .iter()
            .filter(|p| p.name != gone)
            .cloned()
            .collect();
        message(&file(dir.path(), Container::Zip, "less", &left))
    };
    let said = without("time_embed.0.weight");
    assert!(
        said.contains("none of a network of guided-diffusion"),
        "{said}"
    );
    let said = without("output_blocks.1.0.out_layers.3.bias");
    assert!(
        said.contains("lacks tensor 'output_blocks.1.0.out_layers.3.bias'"),
        "{said}"
    );
    let said = without("input_blocks.1.0.emb_layers.1.weight");
    assert!(
        said.contains("'input_blocks.1.0.emb_layers.1.weight'"),
        "{said}"
    );
    let said = without("input_blocks.3.0.in_layers.2.weight");
    assert!(
        said.contains("input_blocks.3.0.in_layers.2.weight"),
        "{said}"
    );

    let path = dir.path().join("nan.pt");
    let bytes = parameters.iter().map(|p| {
        let mut values = weight("nan", p);
        if p.name == "out.2.bias" {
            values[3] = f32::NAN;
        }
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (
            p.name.clone(),
            (Dtype::F32, p.file_shape().dims().to_vec(), bytes),
        )
    });
    let tensors: BTreeMap<_, _> = bytes.collect();
    fs::write(&path, saved(Container::Zip, &tensors)).unwrap();
    let said = message(&path);
    assert!(said.contains("'out.2.bias' holds NaN at 3"), "{said}");
    // Nothing is left, and the next attempt finds the place free.
    assert!(!out.exists());
}

/// A network and the classifier of its process, both folders, of which diffusers' keeps its tables in f32.
#[test]
fn a_converted_classifier_guides_a_converted_network() {
    let dir = tempdir().unwrap();
    let mut config = small();
    config.num_classes = None;
    let parameters = UNetModel::new(config).unwrap().parameters();
    let unet = file(dir.path(), Container::Zip, "unet", &parameters);
    let network = small().network;
    let config = noised_classifier::Config {
        network,
        ..noised_classifier::Config::of(square(16, 3), 4)
    };
    let parameters = NoisedClassifier::new(config).unwrap().parameters();
    let classifier = file(dir.path(), Container::Legacy, "classifier", &parameters);
    let folders = ["a", "b"].map(|name| dir.path().join(name));
    convert(&unet, told(), &folders[0]).unwrap();
    let deeper = Untold {
        num_res_blocks: Some(1),
        ..told()
    };
    let message = convert(&classifier, told(), &folders[1]).unwrap_err();
    assert!(
        message.to_string().contains("`num_res_blocks`"),
        "{message}"
    );
    convert(&classifier, deeper, &folders[1]).unwrap();
    let [network, classifier] = folders.map(|folder| Run::open(&folder).unwrap());
    let guided = network.guided_by(&classifier, 2.0).unwrap();
    assert_eq!(guided.classes(), 4);
}
