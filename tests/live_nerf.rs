//! A radiance field that is trained and drawn in an application's frames.

mod common;

use std::sync::Arc;

use common::example::{example, in_a_window, succeeded};
use common::{fields, gpu};
use wgen::data::scene::analytic;
use wgen::files::{Config, Storage, Training};
use wgen::kernels::camera::{Camera, Lens};
use wgen::live::Live;
use wgen::models::vae::{self, Vae};
use wgen::plan::Renderer;
use wgen::program::{Flat, PlanOptions};
use wgen::session::Device;
use wgen::train::Trainer;

/// Of a small field on three views.
fn config() -> Config {
    let [ngp, _] = fields::models();
    let mut config = fields::config(ngp, &analytic::dataset(3, 1), 40);
    // A trainer's weights are its average, where there is one.
    config.training.ema = None;
    config
}

/// Frames of one step, of three, and of more than are prepared at once have the same weights as a run of its own.
#[test]
fn steps_in_somebody_elses_frames_are_those_of_a_run() {
    let gpu = gpu();
    let scene = analytic::dataset(3, 1);
    let mut live = Live::new(&gpu, &config(), scene.clone()).unwrap();
    for wanted in [1, 3, 1, 0, 35] {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let ready = live.prepare(wanted).unwrap();
        assert_eq!(ready, wanted);
        (0..ready).for_each(|_| live.plan().record(&mut encoder));
        gpu.queue().submit([encoder.finish()]);
    }
    assert_eq!(
        (live.step(), live.prepare(5).unwrap()),
        (40, 0),
        "its steps are done"
    );
    assert!(live.figures().unwrap()["psnr"] > 5.0);

    let dir = tempfile::tempdir().unwrap();
    let device = Device::Gpu(gpu.clone());
    let mut trainer = Trainer::new(&device, config(), scene, dir.path(), false).unwrap();
    trainer.run(&Default::default(), |_, _| Ok(())).unwrap();
    let weights = live.store().read(Flat::Parameters).unwrap();
    assert!(weights == trainer.weights().unwrap(), "other weights");
}

/// A renderer on the same store draws what was learned so far, by any camera of its size.
#[test]
fn a_view_reads_the_weights_where_they_lie() {
    let gpu = gpu();
    let mut live = Live::new(&gpu, &config(), analytic::dataset(3, 1)).unwrap();
    let camera = Camera::centred(24, 20, 33.0);
    let graph = live.model().rendering(&camera, 120).unwrap();
    let options = PlanOptions::default();
    let mut renderer = Renderer::new(&graph, live.store(), &camera, 120, options).unwrap();
    let pose = analytic::poses(1, 3)[0].0;
    let mut view = |live: &mut Live, steps: usize, camera: &Camera| {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let ready = live.prepare(steps).unwrap();
        (0..ready).for_each(|_| live.plan().record(&mut encoder));
        gpu.queue().submit([encoder.finish()]);
        renderer.set_camera(camera).unwrap();
        renderer.begin(&pose).unwrap();
        renderer.finish().unwrap();
        renderer.plan().read("colour").unwrap().data.to_f32()
    };
    let first = view(&mut live, 0, &camera);
    let later = view(&mut live, 30, &camera);
    assert_eq!(first.len(), 3 * 24 * 20);
    assert_ne!(first, later, "it has learned");
    assert_eq!(view(&mut live, 0, &camera), later);
    let lens = Lens::Fisheye {
        k1: 0.02,
        k2: 0.0,
        k3: 0.0,
        k4: 0.0,
    };
    assert_ne!(view(&mut live, 0, &Camera { lens, ..camera }), later);
    let larger = Camera::centred(25, 20, 33.0);
    let refused = renderer.set_camera(&larger).unwrap_err().to_string();
    assert!(
        refused.contains("25 x 20") && refused.contains("24 x 20"),
        "{refused}"
    );
}

#[test]
fn what_cannot_be_trained_frame_by_frame_is_refused() {
    let gpu = gpu();
    let scene = || analytic::dataset(3, 1);
    let refused = |config: Config| Live::new(&gpu, &config, scene()).unwrap_err().to_string();
    let with = |change: &dyn Fn(&mut Training)| {
        let mut config = config();
        change(&mut config.training);
        config
    };
    assert!(refused(with(&|t| t.precision = Storage::F16)).contains("precision"));
    assert!(refused(with(&|t| t.batch = 1 << 20)).contains("batch"));
    let vae = Arc::new(Vae::new(vae::Config::mnist()).unwrap());
    let other = Config {
        model: vae,
        ..config()
    };
    let said = refused(other);
    assert!(said.contains("1 x 1 of 8 channels"), "{said}");
}

#[test]
fn the_live_example_draws_a_field_that_it_learns() {
    let dir = tempfile::tempdir().unwrap();
    let out = example("live_nerf")
        .args(["--frames", "12", "--steps", "60", "--budget", "400"])
        .arg("--out")
        .arg(dir.path())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .unwrap();
    let said = succeeded(&out);
    assert!(
        said.contains("12 frames in") && said.contains("median frame"),
        "{said}"
    );
    let frame = |i: usize| {
        let path = dir.path().join(format!("{i:04}.png"));
        image::open(path).unwrap().into_rgba8()
    };
    assert_ne!(frame(0), frame(4), "the camera moves");
    // Black is what no view has covered: the field's own background is white.
    for i in [0, 4, 11] {
        let bare = frame(i).pixels().filter(|p| p.0[..3] == [0; 3]).count();
        assert!(bare < 100, "frame {i}: {bare} pixels of no view");
    }
    // The application's own cubes are orange; the field hides some of them and some of them it.
    let orange = |p: &&image::Rgba<u8>| p.0[0] > 100 && p.0[2] < p.0[0] / 3;
    assert!(frame(11).pixels().filter(orange).count() > 500);
}

#[test]
fn the_live_example_draws_under_xvfb() {
    in_a_window(
        "live_nerf",
        &["--frames", "4", "--steps", "10", "--budget", "300"],
        "4 frames drawn",
    );
}
