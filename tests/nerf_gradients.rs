//! One training step of both radiance fields on the GPU against PyTorch in f64: what is reported, every parameter's gradient, and how many rays the
//! next step has. `tests/golden/nerf_models.py` writes the tensors; what is random both sides draw from the same streams.

mod common;

use common::{golden, gpu, gradients};
use wgen::data::scene::{Camera, Cameras, ROW_BYTES, table};
use wgen::graph::layout::Layout;
use wgen::graph::update::{Rule, Update};
use wgen::models::nerf::Background;
use wgen::models::nerf::ngp::{self, Loss, Ngp};
use wgen::models::nerf::vanilla::{self, Nerf};
use wgen::models::{DataType, Model};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::{Flat, PlanOptions};
use wgen::real::Precision;
use wgen::tensor::{DType, Data};

const STEP: u64 = 41;

fn camera() -> Camera {
    Camera::centred(24, 20, 28.0)
}

/// The model of a case, and the schedule's weight: below 1 only the middle of the pictures counts.
fn model(name: &str) -> (Box<dyn Model>, f64) {
    let nerf = vanilla::Config {
        coarse: 8,
        fine: 7,
        depth: 4,
        width: 14,
        skips: vec![1],
        point_octaves: Some(3),
        direction_octaves: Some(2),
        ..vanilla::Config::blender(camera())
    };
    let ngp = ngp::Config {
        levels: 3,
        features: 2,
        log2_entries: 7,
        base_resolution: 4,
        finest_resolution: 12,
        width: 12,
        outputs: 5,
        grid: 8,
        steps: 24,
        capacity: 400,
        target_samples: 300,
        ..ngp::Config::blender(camera())
    };
    match name {
        "nerf" => (Box::new(Nerf::new(nerf).unwrap()), 1.0),
        "nerf_plain" => {
            let config = vanilla::Config {
                view_directions: false,
                background: Background::Random,
                inverse_distance: true,
                raw_noise: 0.5,
                skips: vec![0, 2],
                ..nerf
            };
            (Box::new(Nerf::new(config).unwrap()), 0.0)
        }
        "ngp" => (Box::new(Ngp::new(ngp).unwrap()), 1.0),
        "ngp_full" => {
            let config = ngp::Config {
                features: 4,
                capacity: 90,
                target_samples: 80,
                background: Background::White,
                loss: Loss::L2,
                ..ngp
            };
            (Box::new(Ngp::new(config).unwrap()), 1.0)
        }
        "ngp_around" => {
            let config = ngp::Config {
                half_side: 6.0,
                cascades: 3,
                octave_steps: 16,
                exposures: 3,
                ..ngp
            };
            (Box::new(Ngp::new(config).unwrap()), 1.0)
        }
        other => panic!("no case '{other}'"),
    }
}

/// Tensors with a gradient, and the worst of these in the units of `gradients::agree`.
fn step(name: &str) -> (usize, f64) {
    let gpu = gpu();
    let tensors = golden("nerf_models");
    let (model, weight) = model(name);
    let data = &tensors[&format!("{name}/data")];
    let poses = &tensors[&format!("{name}/poses")];
    let batch = data.shape.dims()[0];
    let ty = DataType {
        rows: batch,
        width: ROW_BYTES,
        dtype: DType::F32,
        indices: batch,
        scale: 1.0,
        shift: 0.0,
        classes: 0,
        cameras: Some(Cameras {
            common: Some(camera()),
            count: poses.shape.dims()[0],
            pixels: (poses.shape.dims()[0] * camera().pixels()) as u64,
            alpha: true,
        }),
    };
    let about = model.phases().swap_remove(0);
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: about.metrics.clone(),
        set: about.set,
        batch,
        takes_data: about.takes_data,
        loss_scale: false,
    };
    let graph = model.training(0, &ty, &update).unwrap();
    let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
    let options = StoreOptions {
        training: true,
        ema: false,
    };
    let store = Store::new(&gpu, layout.clone(), options).unwrap();
    let weights = gradients::weights(name, &tensors, &layout);
    store.write(Flat::Parameters, &weights).unwrap();
    store.set_state(STEP, 0x0123_4567_89ab_cdef, 0).unwrap();
    let row = Rule::ADAM.schedule_row(STEP, 1e-3, 0.0, weight);
    store.write_schedule(STEP, &[row; 2], true).unwrap();
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    plan.write("data", &data.data.clone().in_precision(Precision::F32))
        .unwrap();
    plan.write("poses", &poses.data.clone().in_precision(Precision::F32))
        .unwrap();
    if graph.has_input("cameras") {
        let cameras = table(&vec![camera(); poses.shape.dims()[0]]);
        plan.write("cameras", &Data::F32(cameras)).unwrap();
    }
    plan.write("index", &Data::U32((0..batch as u32).collect()))
        .unwrap();
    plan.run(1).unwrap();

    let metrics = tensors[&format!("{name}/metrics")].data.to_f64();
    assert_eq!(metrics.len(), about.metrics.len(), "{name}");
    for (metric, expected) in about.metrics.iter().zip(metrics) {
        let got = plan.read(metric).unwrap().data.to_f64()[0];
        assert!(
            (got / expected - 1.0).abs() < 1e-5,
            "{name}: {metric} {got}, PyTorch's {expected}"
        );
    }
    let found = store.read(Flat::Gradients).unwrap();
    gradients::agree(name, &tensors, &layout, &found, about.set)
}

#[test]
fn a_step_of_coarse_and_fine_networks_agrees_with_pytorch() {
    let (compared, worst) = step("nerf");
    println!("nerf: {compared} gradients, worst {worst:.1e}");
    assert_eq!(compared, 2 * 16);
}

#[test]
fn a_step_without_directions_with_noise_and_in_the_middle_agrees_with_pytorch() {
    let (compared, worst) = step("nerf_plain");
    println!("nerf_plain: {compared} gradients, worst {worst:.1e}");
    assert_eq!(compared, 2 * 12);
}

#[test]
fn a_step_of_the_hash_grid_agrees_with_pytorch() {
    let (compared, worst) = step("ngp");
    println!("ngp: {compared} gradients, worst {worst:.1e}");
    assert_eq!(compared, 6);
}

/// Steps of three lengths, each picture with an exposure of its own.
#[test]
fn a_step_of_several_boxes_agrees_with_pytorch() {
    let (compared, worst) = step("ngp_around");
    println!("ngp_around: {compared} gradients, worst {worst:.1e}");
    assert_eq!(compared, 7);
}

#[test]
fn a_step_of_the_hash_grid_whose_rays_do_not_all_fit_agrees_with_pytorch() {
    let (compared, worst) = step("ngp_full");
    println!("ngp_full: {compared} gradients, worst {worst:.1e}");
    assert_eq!(compared, 6);
}
