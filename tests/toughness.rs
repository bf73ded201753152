//! Hard to break: lost devices, exhausted memory, tensors beyond a binding, dispatches that would take too long.

mod common;

use std::sync::atomic::AtomicBool;

use common::{config, file, gpu, small_graph, small_store, train};
use wgen::Error;
use wgen::data::digits::digits;
use wgen::files::Training;
use wgen::gpu::Gpu;
use wgen::graph::Graph;
use wgen::graph::layout::Layout;
use wgen::graph::update::{Rule, Update};
use wgen::kernels::philox::Domain;
use wgen::models::vae::{Config, Vae};
use wgen::models::{DataType, Model};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;
use wgen::session::Device;
use wgen::tensor::{DType, Data, TensorType};
use wgen::train::{Event, Trainer};

#[test]
fn a_lost_device_is_an_error_value() {
    let gpu = gpu();
    let store = small_store(&gpu);
    let plan = Plan::compile(&small_graph(), &store, &[], PlanOptions::default()).unwrap();
    plan.write("z", &Data::F32(vec![0.5; 32])).unwrap();
    plan.run(1).unwrap();
    gpu.device().destroy();
    let after = plan.run(1).and_then(|()| plan.read("y").map(|_| ()));
    assert!(matches!(after, Err(Error::DeviceLost(_))), "{after:?}");
}

#[test]
fn a_lost_device_is_replaced_and_the_run_goes_on_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let data = digits(600, 5);
    let training = Training {
        steps: Some(40),
        epochs: None,
        batch: 32,
        checkpoint_steps: 10,
        ..Training::default()
    };
    let config = config(&data, 24, 3, training);
    let whole = dir.path().join("whole");
    train(
        &Device::Gpu(gpu()),
        config.clone(),
        data.clone(),
        &whole,
        false,
    )
    .unwrap();

    // The device goes once between checkpoints, once right after one, and once before anything was saved.
    let out = dir.path().join("lost");
    let mut losses = [0, 10, 25].into_iter();
    let mut opened = 0;
    let summary = wgen::train::recover::run(
        || {
            opened += 1;
            Ok(Device::Gpu(gpu()))
        },
        &out,
        false,
        |device, resume| {
            let Device::Gpu(gpu) = device else {
                panic!("a GPU")
            };
            let loss_at = losses.next();
            if loss_at == Some(0) {
                gpu.device().destroy();
            }
            let mut trainer = Trainer::new(device, config.clone(), data.clone(), &out, resume)?;
            trainer.run(&AtomicBool::new(false), |_, event| {
                let step = match event {
                    Event::Step { step, .. } | Event::Checkpoint { step } => step,
                    Event::Epoch { .. } | Event::Busy { .. } => 0,
                };
                if loss_at.is_some_and(|at| at > 0 && step >= at) {
                    gpu.device().destroy();
                }
                Ok(())
            })
        },
    )
    .unwrap();
    assert_eq!((summary.steps, opened), (40, 4), "three devices were lost");
    for name in ["model.safetensors", "metrics.jsonl"] {
        assert_eq!(file(&whole.join(name)), file(&out.join(name)), "{name}");
    }
}

#[test]
fn a_device_that_is_lost_again_and_again_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = digits(200, 5);
    let config = config(
        &data,
        8,
        2,
        Training {
            steps: Some(10),
            epochs: None,
            batch: 16,
            ..Training::default()
        },
    );
    let mut opened = 0;
    let lost = wgen::train::recover::run(
        || {
            opened += 1;
            let gpu = gpu();
            gpu.device().destroy();
            Ok(Device::Gpu(gpu))
        },
        &dir.path().join("run"),
        false,
        |device, resume| {
            train(
                device,
                config.clone(),
                data.clone(),
                &dir.path().join("run"),
                resume,
            )
        },
    );
    assert!(matches!(lost, Err(Error::DeviceLost(_))), "{lost:?}");
    assert_eq!(opened, 3);
}

/// What a process does whose memory is limited: see the test after it.
fn inside_of_a_memory_limit() {
    let gpu = gpu();
    let store = small_store(&gpu);
    let plan = Plan::compile(&small_graph(), &store, &[], PlanOptions::default()).unwrap();
    let mut hoard = Vec::new();
    let error = loop {
        match gpu.create_buffer("hoard", 512 << 20) {
            Ok(buffer) => hoard.push(buffer),
            Err(error) => break error,
        }
        assert!(hoard.len() < 64, "32 GiB within a limit of 6");
    };
    match &error {
        Error::OutOfMemory {
            what, bytes, held, ..
        } => {
            assert_eq!((what.as_str(), *bytes), ("hoard", 512 << 20));
            assert!(
                held.is_some_and(|h| h >= (hoard.len() as u64) << 29),
                "{held:?}"
            );
        }
        other => panic!("{other}"),
    }
    let text = error.to_string();
    assert!(
        text.contains("536870912 bytes") && text.contains("held") && text.contains("lower"),
        "{text}"
    );
    // The process goes on, with what it had and, once there is room, with new things.
    plan.write("z", &Data::F32(vec![0.5; 32])).unwrap();
    plan.run(1).unwrap();
    assert!(
        plan.read("y")
            .unwrap()
            .data
            .to_f32()
            .iter()
            .all(|y| y.is_finite())
    );
    drop(hoard);
    gpu.wait().unwrap();
    assert!(gpu.create_buffer("after", 512 << 20).is_ok());
    println!("{error}");
}

/// The test starts itself again in a process whose memory is limited.
#[cfg(target_os = "linux")]
#[test]
fn out_of_memory_is_an_error_and_the_process_goes_on() {
    const INSIDE: &str = "WGEN_TEST_INSIDE_OF_A_MEMORY_LIMIT";
    if std::env::var_os(INSIDE).is_some() {
        return inside_of_a_memory_limit();
    }
    if !gpu().caps().software {
        eprintln!("NOT CHECKED: a limit of the process does not count a hardware adapter's memory");
        return;
    }
    let name = "out_of_memory_is_an_error_and_the_process_goes_on";
    let script = format!("ulimit -v 6291456 && exec \"$0\" --exact {name} --nocapture");
    let out = std::process::Command::new("bash")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    let ran = text.contains("1 passed") && text.contains("out of GPU memory");
    assert!(out.status.success() && ran, "{text}");
}

fn vae_training(batch: usize) -> (Vae, DataType, Graph) {
    let model = Vae::new(Config {
        hidden: vec![64],
        latent: 8,
        ..Config::mnist()
    })
    .unwrap();
    let data = DataType {
        rows: 256,
        width: 784,
        dtype: DType::U8,
        indices: 256,
        scale: 1.0 / 255.0,
        shift: 0.0,
        classes: 0,
        cameras: None,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: model.metrics(),
        set: 0,
        takes_data: true,
        batch,
        loss_scale: false,
    };
    let graph = model.training(0, &data, &update).unwrap();
    (model, data, graph)
}

/// Loss of the first step and weights after five.
fn five_steps(gpu: &Gpu, options: PlanOptions) -> (f64, Vec<Vec<f32>>, Vec<u64>) {
    let (model, _, graph) = vae_training(128);
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes).unwrap();
    let weights: Vec<_> = layout
        .parameters
        .iter()
        .map(|p| wgen::nn::init::draw(p, 1))
        .collect();
    let store = Store::new(
        gpu,
        layout,
        StoreOptions {
            training: true,
            ema: false,
        },
    )
    .unwrap();
    store.write(Flat::Parameters, &weights).unwrap();
    store.set_state(0, 7, 0).unwrap();
    store
        .write_schedule(0, &[Rule::ADAM.schedule_row(0, 1e-3, 0.0, 1.0); 8], true)
        .unwrap();
    let plan = Plan::compile(&graph, &store, &[], options).unwrap();
    plan.write("data", &digits(256, 3).values).unwrap();
    plan.write("index", &Data::U32((0..256).collect())).unwrap();
    plan.run(1).unwrap();
    let loss = plan.read("loss").unwrap().data.to_f64()[0];
    plan.run(4).unwrap();
    let baked = plan.baked();
    let bound = baked
        .dispatches
        .iter()
        .flat_map(|d| d.bindings.iter().zip(&baked.shaders[d.shader].bindings))
        .filter(|(bound, _)| {
            matches!(
                baked.buffers[bound.buffer].fill,
                wgen::program::baked::Fill::Transient { .. }
            )
        })
        .map(|(bound, binding)| binding.dtype.bytes(bound.count))
        .collect();
    (loss, store.read(Flat::Parameters).unwrap(), bound)
}

#[test]
fn tensors_beyond_a_binding_are_cut_into_ranges() {
    let gpu = gpu();
    let limit = 96 << 10;
    let (whole, weights, large) = five_steps(&gpu, PlanOptions::default());
    let cut = PlanOptions {
        binding_bytes: Some(limit),
        ..PlanOptions::default()
    };
    let (pieces, again, small) = five_steps(&gpu, cut);
    assert!(
        large.iter().any(|&b| b > 4 * limit),
        "the activations are 392 KiB"
    );
    assert!(small.iter().all(|&b| b <= limit), "{small:?}");
    assert!(small.len() > large.len());
    // Sums over the batch are made in another order.
    assert!((pieces / whole - 1.0).abs() < 1e-6, "{pieces} {whole}");
    for (a, b) in weights.iter().flatten().zip(again.iter().flatten()) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn a_tensor_beyond_the_devices_own_binding_limit_works() {
    let gpu = gpu();
    let limit = gpu.caps().binding_bytes;
    let rows = (limit / 4 / 1024) as usize + 4096;
    if limit > 256 << 20 || gpu.caps().buffer_bytes < (rows * 4096) as u64 {
        eprintln!("NOT CHECKED: {limit} bytes a binding are too many to go beyond in a test");
        return;
    }
    let graph = Graph::new(Domain::Sampling);
    let small = graph.input("small", TensorType::f32([1024]));
    let tall = graph.input("tall", TensorType::f32([rows, 1]));
    // Two results, so that the first is in memory; then sums over rows that lie beyond one binding.
    let large = (small * tall + 1.0).relu();
    graph.output("large", large);
    graph.output("sums", large.sum(&[1]));
    let store = Store::new(
        &gpu,
        Layout::new(Vec::new(), limit).unwrap(),
        StoreOptions::default(),
    )
    .unwrap();
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    plan.write(
        "small",
        &Data::F32((0..1024).map(|i| (i % 7) as f32).collect()),
    )
    .unwrap();
    plan.write(
        "tall",
        &Data::F32((0..rows).map(|i| (i % 5) as f32 - 1.0).collect()),
    )
    .unwrap();
    plan.run(1).unwrap();
    let sums = plan.read("sums").unwrap().data.to_f32();
    for row in [0, 1, 2, rows / 2, rows - 3, rows - 2, rows - 1] {
        let factor = (row % 5) as f32 - 1.0;
        let expected: f32 = (0..1024)
            .map(|i| ((i % 7) as f32 * factor + 1.0).max(0.0))
            .sum();
        assert_eq!(sums[row], expected, "row {row}");
    }
}

#[test]
fn a_dispatch_that_would_take_too_long_is_cut() {
    let gpu = gpu();
    // An estimate of well over 100 ms at the rates that are assumed of a slow device of its kind.
    let side = if gpu.caps().software { 1284 } else { 4096 };
    let graph = Graph::new(Domain::Sampling);
    let a = graph.input("a", TensorType::f32([side, side]));
    let b = graph.input("b", TensorType::f32([side, side]));
    graph.output("c", a.matmul(b));
    let store = Store::new(
        &gpu,
        Layout::new(Vec::new(), 1 << 27).unwrap(),
        StoreOptions::default(),
    )
    .unwrap();
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    assert_eq!(plan.baked().dispatches.len(), 1);
    assert!(plan.segments().len() > 1, "{:?}", plan.segments());
    // Small integers: exact in f32.
    let value = |i: usize, step: usize| (i * step % 5) as f32 - 2.0;
    plan.write(
        "a",
        &Data::F32((0..side * side).map(|i| value(i, 3)).collect()),
    )
    .unwrap();
    plan.write(
        "b",
        &Data::F32((0..side * side).map(|i| value(i, 7)).collect()),
    )
    .unwrap();
    plan.run(1).unwrap();
    let c = plan.read("c").unwrap().data.to_f32();
    for (row, column) in [
        (0, 0),
        (1, side - 1),
        (side / 2, 3),
        (side - 1, side - 1),
        (side / 3, side / 5),
    ] {
        let expected: f32 = (0..side)
            .map(|k| value(row * side + k, 3) * value(k * side + column, 7))
            .sum();
        assert_eq!(c[row * side + column], expected, "{row}, {column}");
    }
    assert!(c.iter().any(|&x| x != 0.0));
}
