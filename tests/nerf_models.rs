//! Radiance fields as models: the same bits again and after an interruption, views and their files, fields whose views are known on paper,
//! and what is said of data, devices and trainings that do not fit.

#![cfg(unix)]

mod common;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::place::Place;
use common::{file, gpu};
use serde_json::Value as Json;
use wgen::data::Dataset;
use wgen::data::scene::{Camera, Pose, analytic};
use wgen::evaluate::views::{Renderer, View};
use wgen::files::metrics;
use wgen::files::weights::read_tensors;
use wgen::files::{Config, Training};
use wgen::graph::Graph;
use wgen::graph::layout::Parameter;
use wgen::graph::update::{Rule, Update};
use wgen::models::nerf::Background;
use wgen::models::nerf::ngp::{self, Ngp};
use wgen::models::nerf::vanilla::{self, Nerf};
use wgen::models::{DataType, Figures, Model, Phase};
use wgen::nn::init::draw;
use wgen::session::Device;
use wgen::train::Trainer;

const OCCUPANCY: &str = "occupancy.values";
const RAYS: &str = "occupancy.rays";

fn small_ngp() -> ngp::Config {
    ngp::Config {
        levels: 3,
        features: 2,
        log2_entries: 9,
        base_resolution: 4,
        finest_resolution: 32,
        width: 16,
        outputs: 8,
        grid: 16,
        steps: 48,
        capacity: 3000,
        target_samples: 2500,
        ..ngp::Config::blender(analytic::camera())
    }
}

fn small_nerf() -> vanilla::Config {
    vanilla::Config {
        coarse: 8,
        fine: 8,
        depth: 2,
        width: 16,
        skips: Vec::new(),
        point_octaves: Some(4),
        direction_octaves: Some(2),
        ..vanilla::Config::blender(analytic::camera())
    }
}

/// A small one of each.
fn models() -> [Arc<dyn Model>; 2] {
    [
        Arc::new(Ngp::new(small_ngp()).unwrap()),
        Arc::new(Nerf::new(small_nerf()).unwrap()),
    ]
}

fn devices() -> [(&'static str, Device); 2] {
    [("gpu", Device::Gpu(gpu())), ("cpu", Device::Cpu)]
}

fn config(model: Arc<dyn Model>, data: &Dataset, steps: u64) -> Config {
    let training = Training {
        steps: Some(steps),
        epochs: None,
        batch: 96,
        seed: 3,
        log_steps: 1,
        checkpoint_steps: 4,
        ema: Some(0.9),
        optimizer: Rule::Adam {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-15,
            decay: 0.0,
        },
        ..Training::default()
    };
    Config::new(model, data.shape, "analytic:4", training)
}

/// Trains; `stop_at` asks for an end behind that step.
fn train(device: &Device, config: Config, data: Dataset, out: &Path, stop_at: Option<u64>) {
    let resume = out.join("config.json").exists();
    let mut trainer = Trainer::new(device, config, data, out, resume).unwrap();
    let stop = AtomicBool::new(false);
    let summary = trainer
        .run(&stop, |_, event| {
            if let (wgen::train::Event::Step { step, .. }, Some(at)) = (event, stop_at) {
                stop.fetch_or(step >= at, Ordering::SeqCst);
            }
            Ok(())
        })
        .unwrap();
    let wanted = if stop_at.is_some() {
        "interrupted"
    } else {
        "done"
    };
    assert_eq!(summary.ended, wanted);
}

/// All that a run's end consists of, as bytes.
fn ending(out: &Path, step: u64) -> Vec<Vec<u8>> {
    let parts =
        ["model", "optimizer", "ema"].map(|p| format!("checkpoints/{step}/{p}.safetensors"));
    let all = parts
        .iter()
        .map(String::as_str)
        .chain(["model.safetensors"]);
    all.map(|name| file(&out.join(name))).collect()
}

#[test]
fn training_gives_the_same_bits_again_and_after_an_interruption() {
    for (device_name, device) in devices() {
        for model in models() {
            let dir = tempfile::tempdir().unwrap();
            let out = |name: &str| dir.path().join(name);
            let data = analytic::dataset(4, 0);
            let steps = 12;
            let config = config(model.clone(), &data, steps);
            let said = format!("{} on the {device_name}", model.name());
            for name in ["whole", "again"] {
                train(&device, config.clone(), data.clone(), &out(name), None);
            }
            assert_eq!(
                ending(&out("whole"), steps),
                ending(&out("again"), steps),
                "{said}"
            );
            train(
                &device,
                config.clone(),
                data.clone(),
                &out("stopped"),
                Some(5),
            );
            let saved = file(&out("stopped").join("checkpoints/latest"));
            assert_ne!(
                saved,
                file(&out("whole").join("checkpoints/latest")),
                "{said}"
            );
            train(&device, config.clone(), data.clone(), &out("stopped"), None);
            assert_eq!(
                ending(&out("whole"), steps),
                ending(&out("stopped"), steps),
                "{said}"
            );
            let records = |name: &str| metrics::read(&out(name).join("metrics.jsonl")).unwrap();
            assert_eq!(records("whole"), records("stopped"), "{said}");
            if model.name() == "ngp" {
                the_grid_has_moved(model.as_ref(), &out("whole"));
            }
        }
    }
}

/// The occupancy grid and the number of rays are part of what was compared, and not what they were at first.
fn the_grid_has_moved(model: &dyn Model, out: &Path) {
    let saved = read_tensors(&out.join("model.safetensors")).unwrap();
    for name in [OCCUPANCY, RAYS] {
        let parameters = model.parameters();
        let parameter = parameters.iter().find(|p| p.name == name).unwrap();
        let (first, last) = (draw(parameter, 3), &saved[name].1);
        assert_eq!(first.len(), last.len());
        let moved = first.iter().zip(last).filter(|(a, b)| a != b).count();
        // Every value decays, but those that were looked at and found larger.
        assert!(2 * moved > first.len(), "{name}: {moved}");
        assert!(last.iter().all(|x| x.is_finite() && *x >= 0.0), "{name}");
    }
}

#[test]
fn the_cpu_follows_the_gpu() {
    let data = analytic::dataset(4, 0);
    for model in models() {
        let dir = tempfile::tempdir().unwrap();
        let all = devices().map(|(name, device)| {
            let out = dir.path().join(name);
            train(
                &device,
                config(model.clone(), &data, 6),
                data.clone(),
                &out,
                None,
            );
            metrics::read(&out.join("metrics.jsonl")).unwrap()
        });
        assert_eq!((all[0].len(), all[1].len()), (6, 6));
        for (a, b) in all[0].iter().zip(&all[1]) {
            assert!(a.values.contains_key("background_psnr"), "{:?}", a.values);
            for (name, x) in &a.values {
                let (x, y) = (x.as_f64().unwrap(), b.values[name].as_f64().unwrap());
                let far = (x - y).abs() > 1e-3 * x.abs().max(1e-3);
                assert!(!far, "{} step {}: {name} {x} {y}", model.name(), a.step);
            }
        }
    }
}

/// Arguments of a small ngp.
const NGP: &[&str] = &[
    "train",
    "ngp",
    "--data",
    "analytic:4",
    "--levels",
    "3",
    "--features",
    "2",
    "--log2-entries",
    "9",
    "--base-resolution",
    "4",
    "--finest-resolution",
    "32",
    "--width",
    "16",
    "--occupancy",
    "16",
    "--ray-steps",
    "48",
    "--samples",
    "3000",
    "--batch",
    "96",
    "--no-previews",
    "--out",
];

/// Arguments of a small nerf.
const NERF: &[&str] = &[
    "train",
    "nerf",
    "--data",
    "analytic:4",
    "--coarse",
    "8",
    "--fine",
    "8",
    "--depth",
    "2",
    "--width",
    "16",
    "--point-octaves",
    "4",
    "--direction-octaves",
    "2",
    "--batch",
    "96",
    "--no-previews",
    "--out",
];

#[test]
fn a_killed_training_goes_on_bit_for_bit() {
    let place = Place::empty();
    let more = [
        "--steps",
        "40",
        "--checkpoint-steps",
        "3",
        "--lr-warmup",
        "5",
    ];
    place.done(&[NGP, &["whole"], &more].concat());
    let killed = [NGP, &["killed"], &more].concat();
    let latest = place.path("killed/checkpoints/latest");
    let (mut resume, mut seen) = (&[][..], String::new());
    for _ in 0..3 {
        let mut child = place.command(&[&killed, resume].concat()).spawn().unwrap();
        let begin = Instant::now();
        // Until it is further than before.
        loop {
            let now = std::fs::read_to_string(&latest).unwrap_or_default();
            if now != seen || child.try_wait().unwrap().is_some() {
                seen = now;
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "no checkpoint");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        resume = &["--resume"];
    }
    assert!(!seen.is_empty());
    place.done(&[&killed, resume].concat());
    let path = |name: &str| place.path(name);
    let end = |name: &str| {
        [
            "checkpoints/40/model.safetensors",
            "checkpoints/40/optimizer.safetensors",
            "model.safetensors",
        ]
        .map(|f| file(&path(name).join(f)))
    };
    assert_eq!(end("whole"), end("killed"));
    let records = |name: &str| metrics::read(&path(name).join("metrics.jsonl")).unwrap();
    assert_eq!(records("whole"), records("killed"));

    // Another grid is none that this run goes on with, said by the option's name; and weights of another grid are said by the tensor's.
    let others: [(&[&str], &[&str]); 4] = [
        (&["--occupancy", "32"], &["--occupancy 32 (the run has 16)"]),
        (&["--occupancy", "64"], &["--occupancy 64 (the run has 16)"]),
        (
            &["--log2-entries", "10"],
            &["--log2-entries 10 (the run has 9)"],
        ),
        // The usual number is another one too.
        (
            &["--samples", "16384"],
            &["--samples 16384 (the run has 3000)"],
        ),
    ];
    for (asked, words) in others {
        let rest = without(NGP, asked[0]);
        place.refused(
            &[&rest[..], &["killed"], &more, asked, &["--resume"]].concat(),
            words,
        );
    }
    let path = place.path("killed/config.json");
    let mut other: Json = serde_json::from_slice(&file(&path)).unwrap();
    assert_eq!(other["model"]["grid"], 16);
    other["model"]["grid"] = 32.into();
    std::fs::write(&path, other.to_string()).unwrap();
    let error = wgen::Run::open(place.path("killed"))
        .unwrap_err()
        .to_string();
    for word in [OCCUPANCY, "4096", "32768"] {
        assert!(error.contains(word), "no {word} in: {error}");
    }
}

fn json(output: &std::process::Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn fields_are_evaluated_and_shown() {
    for (name, arguments) in [("ngp", NGP), ("nerf", NERF)] {
        let place = Place::empty();
        let summary = json(&place.done(&[arguments, &["run", "--steps", "4", "--json"]].concat()));
        assert_eq!(summary["ended"], "done");
        for figure in ["psnr", "background_psnr", "loss"] {
            assert!(summary["metrics"][figure].is_f64(), "{name}: {summary}");
        }
        shown(&place, name);
        if name == "ngp" {
            evaluated(&place);
        }
        no_pictures(&place, name);
    }
}

fn evaluated(place: &Place) {
    let eval = ["eval", "run", "--data", "analytic:4", "--examples"];
    let of_one = json(&place.done(&[&eval[..], &["1", "--json"]].concat()));
    let eval_of = |count: &str, words: &[&str]| {
        place.refused_late(&[&eval[..], &[count]].concat(), words);
    };
    eval_of("0", &["--examples 0"]);
    let eval = of_one;
    assert_eq!(
        (&eval["views"], &eval["background"]),
        (&1.into(), &"white".into())
    );
    let number = |name: &str| eval[name].as_f64().unwrap();
    assert!(number("psnr") > 3.0 && number("psnr") < 60.0, "{eval}");
    assert!(number("ssim") > -1.0 && number("ssim") < 1.0, "{eval}");
    assert!(number("background_psnr") > 3.0, "{eval}");
    assert_eq!(eval["each"].as_array().unwrap().len(), 1);
    assert_eq!(eval["each"][0]["psnr"], eval["psnr"]);
    assert_eq!(eval["worst"]["view"], eval["each"][0]["view"]);
}

fn shown(place: &Place, name: &str) {
    let base = [
        "render", "run", "--frames", "2", "--width", "10", "--json", "--out",
    ];
    let what = [
        "--what",
        "colour,depth,distance,opacity",
        "--gif",
        "turn.gif",
    ];
    let render = json(&place.done(&[&base[..], &["views"], &what].concat()));
    assert_eq!(
        (&render["views"], &render["folder"]),
        (&2.into(), &"views".into())
    );
    assert_eq!(render["camera"]["width"], 10);
    let mut numbers = Vec::new();
    for frame in 0..2 {
        for (what, bits) in [
            ("colour", 8),
            ("opacity", 8),
            ("depth", 16),
            ("distance", 16),
        ] {
            let picture = image::open(place.path(&format!("views/{what}_{frame:04}.png"))).unwrap();
            assert_eq!(
                (picture.width(), picture.height()),
                (10, 10),
                "{name}: {what}"
            );
            let channels = u16::from(picture.color().channel_count());
            let grey = what != "colour";
            assert_eq!(channels, if grey { 1 } else { 3 }, "{name}: {what}");
            assert_eq!(
                picture.color().bits_per_pixel(),
                bits * channels,
                "{name}: {what}"
            );
        }
        let depth = npy(&place.read(&format!("views/depth_{frame:04}.npy")));
        let distance = npy(&place.read(&format!("views/distance_{frame:04}.npy")));
        // The picture is the numbers, the largest of them white.
        let most = depth.iter().fold(0.0_f32, |m, &x| m.max(x));
        let grey = image::open(place.path(&format!("views/depth_{frame:04}.png")))
            .unwrap()
            .into_luma16();
        for (pixel, (&z, &r)) in grey.pixels().zip(depth.iter().zip(&distance)) {
            let expected = if most > 0.0 { 65535.0 * z / most } else { 0.0 };
            assert!(
                (f32::from(pixel.0[0]) - expected).abs() <= 0.51,
                "{name}: {z}"
            );
            // The way along the ray is longer than along the axis.
            assert!(z >= 0.0 && r >= z * 0.9999, "{name}: {z} {r}");
        }
        numbers.push(depth);
    }
    assert_ne!(numbers[0], numbers[1], "{name}: the camera does not move");
    let gif = place.read("turn.gif");
    assert!(gif.starts_with(b"GIF89a"));
    let frames = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(gif)).unwrap();
    assert_eq!(image::AnimationDecoder::into_frames(frames).count(), 2);
}

/// The numbers of a picture's array.
fn npy(bytes: &[u8]) -> Vec<f32> {
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(
        header.contains("'<f4'") && header.contains("(10, 10)"),
        "{header}"
    );
    let values = bytes[10 + length..].chunks_exact(4);
    let values: Vec<f32> = values
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(values.len(), 100);
    values
}

fn no_pictures(place: &Place, name: &str) {
    let out = ["--out", "no"];
    place.refused(
        &[&["render", "run", "--width", "0"][..], &out].concat(),
        &["--width 0"],
    );
    place.refused(
        &[&["render", "run", "--frames", "0"][..], &out].concat(),
        &["--frames 0"],
    );
    let cannot = place.run(&["sample", "run", "--n", "4", "--out", "x.png"]);
    let message = String::from_utf8_lossy(&cannot.stderr).into_owned();
    assert_eq!(cannot.status.code(), Some(2), "{name}: {message}");
    assert!(
        message.contains(&format!("a {name} model cannot draw samples")),
        "{message}"
    );
}

/// A field that is looked at so many rays at a time.
#[derive(Debug)]
struct InChunks(Arc<dyn Model>, usize);

impl Model for InChunks {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn options(&self) -> Json {
        self.0.options()
    }
    fn width(&self) -> usize {
        self.0.width()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn parameters(&self) -> Vec<Parameter> {
        self.0.parameters()
    }
    fn phases(&self) -> Vec<Phase> {
        self.0.phases()
    }
    fn training(&self, phase: usize, data: &DataType, update: &Update) -> wgen::Result<Graph> {
        self.0.training(phase, data, update)
    }
    fn evaluation(&self, data: &DataType, batch: usize) -> wgen::Result<Graph> {
        self.0.evaluation(data, batch)
    }
    fn figures(&self) -> Vec<&'static str> {
        self.0.figures()
    }
    fn rays_at_once(&self, _limit: u64) -> usize {
        self.1
    }
    fn rendering(&self, camera: &Camera, count: usize) -> wgen::Result<Graph> {
        self.0.rendering(camera, count)
    }
}

fn view(
    device: &Device,
    model: &dyn Model,
    weights: &[Vec<f32>],
    camera: &Camera,
    pose: &Pose,
) -> View {
    Renderer::new(device, model, weights, camera)
        .unwrap()
        .view(pose)
        .unwrap()
}

/// The largest difference of colours, opacities and both depths.
fn differences(a: &View, b: &View) -> [f32; 4] {
    let most = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .fold(0.0_f32, |m, (x, y)| m.max((x - y).abs()))
    };
    [
        most(&a.colour, &b.colour),
        most(&a.opacity, &b.opacity),
        most(&a.depth, &b.depth),
        most(&a.distance, &b.distance),
    ]
}

#[test]
fn a_view_does_not_depend_on_how_many_rays_are_looked_at_at_once() {
    let camera = analytic::camera().resized(14, 11);
    let pose = analytic::poses(1, 5)[0];
    for (device_name, device) in devices() {
        for model in models() {
            let weights: Vec<Vec<f32>> = model.parameters().iter().map(|p| draw(p, 2)).collect();
            let whole = view(&device, model.as_ref(), &weights, &camera, &pose);
            assert_eq!(whole.depth.len(), 14 * 11);
            assert!(whole.opacity.iter().any(|&o| o > 0.05), "nothing is seen");
            for count in [1, 37, 154, 200] {
                let chunks = InChunks(model.clone(), count);
                let other = view(&device, &chunks, &weights, &camera, &pose);
                let far = differences(&whole, &other);
                // Products choose their tiles by the number of rows, and with them the order of their sums.
                let bound = if device_name == "cpu" { 1e-5 } else { 2e-4 };
                assert!(
                    far.iter().all(|&d| d <= bound),
                    "{} {device_name} {count}: {far:?}",
                    model.name()
                );
            }
        }
    }
    // And not on how many samples there is room for, by which a hash grid's chunks end where they end.
    let device = Device::Gpu(gpu());
    let views = [48, 100, 3000].map(|capacity| {
        let config = ngp::Config {
            capacity: usize::max(capacity, 64),
            target_samples: 40,
            ..small_ngp()
        };
        let model = Ngp::new(config).unwrap();
        let weights: Vec<Vec<f32>> = model.parameters().iter().map(|p| draw(p, 2)).collect();
        view(&device, &model, &weights, &camera, &pose)
    });
    for other in &views[1..] {
        let far = differences(&views[0], other);
        assert!(far.iter().all(|&d| d <= 2e-4), "{far:?}");
    }
}

/// A field's weights: `values` of some tensors, all others 0.
fn made(model: &dyn Model, values: &BTreeMap<&str, Vec<f32>>) -> Vec<Vec<f32>> {
    let parameters = model.parameters();
    let known: Vec<&String> = parameters.iter().map(|p| &p.name).collect();
    for name in values.keys() {
        assert!(
            known.iter().any(|k| k == name),
            "{name} is none of {known:?}"
        );
    }
    let of = |p: &Parameter| match values.get(p.name.as_str()) {
        Some(values) if values.len() == 1 => vec![values[0]; p.shape.count()],
        Some(values) => values.clone(),
        None => vec![0.0; p.shape.count()],
    };
    parameters.iter().map(of).collect()
}

/// The direction of each pixel, in the camera's axes.
fn directions(camera: &Camera) -> Vec<[f64; 3]> {
    let each = (0..camera.pixels()).map(|i| {
        let (x, y) = (i % camera.width, i / camera.width);
        camera.direction(
            x as f64 + camera.pixel_offset,
            y as f64 + camera.pixel_offset,
        )
    });
    each.collect()
}

fn length(d: [f64; 3]) -> f64 {
    d.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Fog of one density and colour everywhere: what nerf's coarse network sees of it is a geometric series.
#[test]
fn a_nerf_of_fog_has_the_depth_of_a_geometric_series() {
    let density = 0.4_f64;
    let config = vanilla::Config {
        coarse: 33,
        fine: 0,
        ..small_nerf()
    };
    let model = Nerf::new(config).unwrap();
    let colour = [0.3_f64, -0.7, 1.9];
    let values = BTreeMap::from([
        ("network_fn.alpha_linear.bias", vec![density as f32]),
        (
            "network_fn.rgb_linear.bias",
            colour.map(|x| x as f32).to_vec(),
        ),
    ]);
    let weights = made(&model, &values);
    let camera = analytic::camera().resized(9, 7);
    let pose = analytic::poses(1, 5)[0];
    for (name, device) in devices() {
        let seen = view(&device, &model, &weights, &camera, &pose);
        for (i, d) in directions(&camera).into_iter().enumerate() {
            let (step, last) = (4.0 / 32.0, 32);
            let through = (-density * step * length(d)).exp();
            let weight = |k: i32| through.powi(k) * if k < last { 1.0 - through } else { 1.0 };
            let depth: f64 = (0..=last)
                .map(|k| weight(k) * (2.0 + step * f64::from(k)))
                .sum();
            let close =
                |got: f32, wanted: f64| (f64::from(got) - wanted).abs() < 2e-5 * wanted.max(1.0);
            assert!(
                close(seen.opacity[i], 1.0),
                "{name} {i}: {}",
                seen.opacity[i]
            );
            assert!(
                close(seen.depth[i], depth),
                "{name} {i}: {} {depth}",
                seen.depth[i]
            );
            assert!(
                close(seen.distance[i], depth * length(d)),
                "{name} {i}: {}",
                seen.distance[i]
            );
            for (c, logit) in colour.iter().enumerate().take(3) {
                let wanted = 1.0 / (1.0 + (-logit).exp());
                assert!(
                    close(seen.colour[3 * i + c], wanted),
                    "{name} {i}: {}",
                    seen.colour[3 * i + c]
                );
            }
        }
    }
}

/// Where a ray is within the cube of half side `half` around the origin, in lengths of its direction.
fn within(half: f64, o: [f64; 3], d: [f64; 3]) -> Option<(f64, f64)> {
    let (mut low, mut high) = (0.0_f64, f64::INFINITY);
    for i in 0..3 {
        let ends = [(-half - o[i]) / d[i], (half - o[i]) / d[i]];
        low = low.max(ends[0].min(ends[1]));
        high = high.min(ends[0].max(ends[1]));
    }
    (low < high).then_some((low, high))
}

/// A cube of fog: what an ngp sees of it is Beer and Lambert's law over the chord, to a step at either end.
#[test]
fn an_ngp_of_fog_has_the_opacity_and_depth_of_a_cube_of_fog() {
    let config = ngp::Config {
        half_side: 0.8,
        background: Background::Black,
        steps: 400,
        capacity: 4096,
        ..small_ngp()
    };
    let model = Ngp::new(config.clone()).unwrap();
    // ln density = sum of the outputs of all features of 1, through one hidden unit a row.
    let log_density = 1.25_f64;
    let (inputs, width) = (config.levels * config.features, config.width);
    let mut first = vec![0.0; inputs * width];
    first[0] = 1.0; // hidden 0 is feature 0
    let mut second = vec![0.0; width * config.outputs];
    second[0] = log_density as f32; // output 0 is that times hidden 0
    let values = BTreeMap::from([
        ("encoding.table", vec![1.0]),
        ("density.0.weight", first),
        ("density.2.weight", second),
        (OCCUPANCY, vec![1.0]),
    ]);
    let weights = made(&model, &values);
    // Some cells above the mean: all but none are occupied where all are equal to it.
    let cells = model
        .parameters()
        .iter()
        .position(|p| p.name == OCCUPANCY)
        .unwrap();
    assert!(weights[cells].iter().all(|&v| v == 1.0));
    let camera = analytic::camera().resized(12, 12);
    let pose = analytic::poses(1, 5)[0];
    // Per unit of the cube, whose side is 1: what the model's density is of.
    let density = log_density.exp();
    let unit = 2.0 * 0.8;
    let step = 3.0_f64.sqrt() / 400.0 * unit;
    let per_scene = density / unit;
    let mut met = 0;
    for (name, device) in devices() {
        let seen = view(&device, &model, &weights, &camera, &pose);
        for (i, d) in directions(&camera).into_iter().enumerate() {
            let turned = [0, 1, 2].map(|r| (0..3).map(|c| pose.0[4 * r + c] * d[c]).sum::<f64>());
            let Some((enter, leave)) = within(0.8, pose.position(), turned) else {
                assert_eq!((seen.opacity[i], seen.depth[i]), (0.0, 0.0), "{name} {i}");
                assert_eq!(seen.colour[3 * i..3 * i + 3], [0.0; 3], "{name} {i}");
                continue;
            };
            met += 1;
            let chord = (leave - enter) * length(d);
            let opacity = |chord: f64| 1.0 - (-per_scene * chord.max(0.0)).exp();
            let got = f64::from(seen.opacity[i]);
            assert!(
                got > opacity(chord - 1.5 * step) - 1e-5
                    && got < opacity(chord + 1.5 * step) + 1e-5,
                "{name} {i}: {got}, {} over {chord}",
                opacity(chord)
            );
            if chord < 4.0 * step {
                continue;
            }
            // The mean of an exponential that is cut off.
            let left = (-per_scene * chord).exp();
            let mean = 1.0 / per_scene - chord * left / (1.0 - left);
            let distance = enter * length(d) + mean;
            let got = f64::from(seen.distance[i]);
            assert!(
                (got - distance).abs() < 1.5 * step,
                "{name} {i}: {got} {distance}"
            );
            let z = f64::from(seen.depth[i]);
            assert!(
                (z - got / length(d)).abs() < 1e-5 * got,
                "{name} {i}: {z} {got}"
            );
            // Grey of 1/2 in front of black.
            let shade = f64::from(seen.colour[3 * i]) - 0.5 * f64::from(seen.opacity[i]);
            assert!(shade.abs() < 1e-5, "{name} {i}: {shade}");
        }
    }
    assert!(met > 20, "{met} rays meet the cube");
}

fn refused(arguments: &[&str], more: &[&str], words: &[&str]) {
    let place = Place::empty();
    let all = [arguments, &["run", "--steps", "1"], more].concat();
    let out = place.run(&all);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{more:?}: {message}");
    for word in words {
        assert!(
            message.contains(word),
            "{more:?}: no '{word}' in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(
        place.names(),
        Vec::<String>::new(),
        "{more:?} wrote something"
    );
}

/// [`NGP`] or [`NERF`] without an option.
fn without<'a>(arguments: &[&'a str], option: &str) -> Vec<&'a str> {
    let at = arguments.iter().position(|a| *a == option).unwrap();
    arguments[..at]
        .iter()
        .chain(&arguments[at + 2..])
        .copied()
        .collect()
}

#[test]
fn depths_and_sizes_that_cannot_be_are_refused() {
    refused(
        NERF,
        &["--near", "6", "--far", "2"],
        &["near 6", "far 2", "near before far"],
    );
    refused(NERF, &["--near", "2", "--far", "2"], &["near before far"]);
    refused(NERF, &["--near", "0", "--lindisp"], &["near 0", "above 0"]);
    refused(NERF, &["--skips", "7"], &["skips has 7", "depth 2"]);
    refused(
        &without(NERF, "--coarse"),
        &["--coarse", "2"],
        &["coarse is 2"],
    );
    refused(NGP, &["--half-side", "0"], &["half_side 0"]);
    refused(
        &without(NGP, "--occupancy"),
        &["--occupancy", "20"],
        &["power of two", "20"],
    );
    refused(
        &without(NGP, "--features"),
        &["--features", "3"],
        &["features", "1, 2, 4 or 8"],
    );
    refused(
        &without(NGP, "--samples"),
        &["--samples", "10"],
        &["capacity is 11"],
    );
    refused(
        &without(NGP, "--data"),
        &["--data", "digits:40"],
        &["ngp", "no cameras"],
    );
}

/// Two views of one grey, from `distance` along x and y, looking at the origin or away from it.
fn scene(place: &Place, distance: f64, away: bool, alpha: u8) {
    let up = [0.0, 0.0, 1.0];
    let mut frames = Vec::new();
    for (name, position) in [("a", [distance, 0.0, 0.0]), ("b", [0.0, distance, 0.0])] {
        let target = if away {
            position.map(|x| 2.0 * x)
        } else {
            [0.0; 3]
        };
        let p = Pose::looking(position, target, up).0;
        let picture = image::RgbaImage::from_pixel(8, 8, image::Rgba([90, 90, 90, alpha]));
        picture
            .save(place.path(&format!("scene/{name}.png")))
            .unwrap();
        let rows: Vec<&[f64]> = p.chunks(4).collect();
        frames.push(serde_json::json!({"file_path": format!("./{name}"), "transform_matrix": [rows[0], rows[1], rows[2], [0.0, 0.0, 0.0, 1.0]]}));
    }
    let list = serde_json::json!({"camera_angle_x": 0.7, "frames": frames});
    std::fs::write(place.path("scene/transforms_train.json"), list.to_string()).unwrap();
}

#[test]
fn scenes_that_do_not_fit_are_refused_with_the_numbers() {
    let train = |place: &Place, model: &[&str], more: &[&str]| {
        let base = without(model, "--data");
        let out = place.run(
            &[
                &base[..],
                &["run", "--data", "scene:scene", "--steps", "1"],
                more,
            ]
            .concat(),
        );
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let refused = |place: &Place, model: &[&str], more: &[&str], words: &[&str]| {
        let (status, message) = train(place, model, more);
        assert_eq!(status, Some(2), "{message}");
        for word in words {
            assert!(message.contains(word), "no '{word}' in: {message}");
        }
        assert_eq!(place.names(), ["scene"], "{more:?} wrote something");
    };
    let place = Place::empty();
    std::fs::create_dir(place.path("scene")).unwrap();
    // Nothing is transparent: there is nothing that a random colour would be behind.
    scene(&place, 4.0, false, 255);
    let words = [
        "--scene-background random",
        "pictures that are transparent",
        "white or black",
    ];
    refused(&place, NGP, &[], &words);
    refused(&place, NERF, &["--scene-background", "random"], &words);
    // Cameras that look away: what they look at begins where they are.
    scene(&place, 4.0, true, 128);
    let words = [
        "--half-side 1.5",
        "0 of 162 rays",
        "4.000 to 4.000 away",
        "4.000 would hold",
    ];
    refused(&place, NGP, &[], &words);
    // Farther than the box has room: with the number that is asked for it begins.
    let (status, message) = train(
        &place,
        &without(NGP, "--batch"),
        &["--half-side", "4.1", "--batch", "64"],
    );
    assert_eq!(status, Some(0), "{message}");
    assert!(!message.contains("would hold"), "{message}");
    std::fs::remove_dir_all(place.path("run")).unwrap();
    // Few rays: only a warning.
    scene(&place, 4.0, false, 128);
    let (status, message) = train(&place, NGP, &["--half-side", "0.01"]);
    assert_eq!(status, Some(0), "{message}");
    let line = message
        .lines()
        .find(|l| l.starts_with("warning") || l.starts_with("warn"))
        .unwrap_or_default();
    assert!(
        line.contains("2 of 162 rays") && line.contains("--half-side"),
        "{message}"
    );
}

#[test]
fn a_table_beyond_a_binding_names_what_to_lower() {
    let caps = wgen::kernels::Caps::portable();
    assert_eq!(caps.binding_bytes, 128 << 20);
    let model = |log2_entries| {
        let config = ngp::Config {
            log2_entries,
            ..ngp::Config::blender(analytic::camera())
        };
        Ngp::new(config).unwrap()
    };
    assert!(model(17).check_device(&caps).is_ok());
    let message = model(24).check_device(&caps).unwrap_err().to_string();
    for word in [
        "log2_entries is 24",
        "8 levels of 4 features",
        "binds 128 MiB",
        "21 fits",
    ] {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
    // What is said to fit does, and one more does not.
    assert!(model(21).check_device(&caps).is_ok() && model(22).check_device(&caps).is_err());
    // By the trainer, before anything is written.
    let device = Device::Gpu(gpu());
    let limit = device.caps().binding_bytes;
    let log2 = (17..=24).find(|&l| model(l).check_device(&device.caps()).is_err());
    let Some(log2) = log2 else {
        assert!(limit > 1 << 30, "2^24 entries fit into {limit} bytes");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let data = analytic::dataset(1, 0);
    let out = dir.path().join("run");
    let error = Trainer::new(
        &device,
        config(Arc::new(model(log2)), &data, 1),
        data,
        &out,
        false,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("log2_entries is {log2}")),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn a_field_that_stays_empty_is_said_once() {
    let figures = |psnr: f64| {
        Figures::from([
            ("psnr".to_owned(), psnr),
            ("background_psnr".to_owned(), 12.0),
        ])
    };
    for model in models() {
        assert_eq!(model.warning(499, &figures(12.0)), None);
        assert_eq!(model.warning(500, &figures(12.6)), None);
        assert_eq!(model.warning(500, &Figures::new()), None);
        let said = model.warning(500, &figures(12.4)).unwrap();
        for word in ["after 500 steps", "12.40 dB", "12.00 dB", "`learning_rate`"] {
            assert!(said.contains(word), "no '{word}' in: {said}");
        }
    }
    // A rate of 0 learns nothing: said once, with the flags, and the training goes on.
    let place = Place::empty();
    let base = without(&without(&without(NERF, "--coarse"), "--fine"), "--batch");
    let size = [
        "--coarse", "3", "--fine", "0", "--batch", "4", "--steps", "620", "--lr", "1e-12",
    ];
    let out = place.done(&[&base, &["run"][..], &size].concat());
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    let lines: Vec<&str> = message
        .lines()
        .filter(|l| l.contains("hardly more than background"))
        .collect();
    assert_eq!(lines.len(), 1, "{message}");
    for word in ["--lr", "--precrop", "--raw-noise"] {
        assert!(lines[0].contains(word), "{message}");
    }
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &message;
    assert!(said.contains("620 of 620 steps"), "{said}");
}
