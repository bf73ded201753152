//! What radiance fields show: evaluation, views and their files, and fields whose views are known on paper.

#![cfg(unix)]

mod common;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use common::fields::{NERF, NGP, OCCUPANCY, devices, models, small_nerf, small_ngp};
use common::gpu;
use common::place::Place;
use serde_json::Value as Json;
use wgen::Store;
use wgen::data::scene::{Camera, Pose, analytic};
use wgen::evaluate::views::{Renderer, View};
use wgen::graph::Graph;
use wgen::graph::layout::{Layout, Parameter};
use wgen::graph::update::Update;
use wgen::models::nerf::Background;
use wgen::models::nerf::ngp::{self, Ngp};
use wgen::models::nerf::vanilla::{self, Nerf};
use wgen::models::{DataType, Model, Phase};
use wgen::nn::init::draw;
use wgen::plan::{self, StoreOptions};
use wgen::program::{Flat, PlanOptions};
use wgen::session::Device;

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

/// Runs are recorded one at a time; the picture is there when all pixels are seen, the same bits as from the outside, and stays as it is.
#[test]
fn a_picture_is_seen_in_an_applications_encoder() {
    let camera = analytic::camera().resized(14, 11);
    let poses = analytic::poses(2, 5);
    let gpu = gpu();
    for model in models() {
        let weights: Vec<Vec<f32>> = model.parameters().iter().map(|p| draw(p, 2)).collect();
        let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes).unwrap();
        let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
        store.write(Flat::Parameters, &weights).unwrap();
        let graph = model.rendering(&camera, 37).unwrap();
        let options = PlanOptions::default();
        let mut renderer = plan::Renderer::new(&graph, &store, &camera, 37, options).unwrap();
        assert_eq!((renderer.runs(), renderer.seen().unwrap()), (5, 0));
        for pose in &poses {
            renderer.begin(&pose.0).unwrap();
            assert_eq!(renderer.seen().unwrap(), 0);
            let chunks = InChunks(model.clone(), 37);
            let expected = view(&Device::Gpu(gpu.clone()), &chunks, &weights, &camera, pose);
            let mut before = 0;
            // Two runs after the last one.
            for left in [4, 3, 2, 1, 0, 0, 0] {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                assert_eq!(renderer.record(&mut encoder), left);
                gpu.queue().submit([encoder.finish()]);
                let seen = renderer.seen().unwrap();
                assert!(seen > before || seen == 14 * 11, "{before}, then {seen}");
                before = seen;
            }
            renderer.finish().unwrap();
            assert_eq!(renderer.seen().unwrap(), 14 * 11);
            let mut read = |name: &str| renderer.plan().read(name).unwrap().data.to_f32();
            let found = View {
                colour: read("colour"),
                opacity: read("opacity"),
                depth: read("depth"),
                distance: read("distance"),
            };
            assert_eq!(differences(&found, &expected), [0.0; 4], "{}", model.name());
        }
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
