//! Plans on the GPU: parity with PyTorch over a training run, borrowed devices, slots, explain, limits.

mod common;

use common::{golden, gpu};
use wgen::gpu::{Choice, Gpu};
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::graph::update::{Rule, Update};
use wgen::kernels::functions::Distribution;
use wgen::kernels::philox::{Domain, Key, RandomState, stream};
use wgen::models::vae::{Config, Vae};
use wgen::models::{DataType, Model};
use wgen::plan::program::Flat;
use wgen::plan::{Plan, PlanOptions, Store, StoreOptions};
use wgen::tensor::{DType, Data, TensorType, Value};
use wgen::{Error, error::Result};

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// The numbers that `tests/golden/generate.py` draws for itself from Philox.
fn words(name: &str, count: usize) -> Vec<u32> {
    let state = RandomState {
        seed: SEED,
        step: 0,
        cursor: 0,
    };
    // The streams of these numbers are hashes of bare names, which no domain of ours begins.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    (0..count).map(|i| state.word(Key::Step, hash, i)).collect()
}

fn parity_run(gpu: &Gpu, options: PlanOptions) -> (Vec<[f64; 3]>, Vec<Vec<f32>>, Layout) {
    let model = Vae::new(Config::mnist()).unwrap();
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes).unwrap();
    let store = Store::new(
        gpu,
        layout.clone(),
        StoreOptions {
            training: true,
            ema: false,
        },
    )
    .unwrap();
    let weights: Vec<Vec<f32>> = layout
        .parameters
        .iter()
        .map(|p| {
            let fan_in: f64 = match p.name.split('.').next().unwrap() {
                "fc1" => 784.0,
                "fc3" => 20.0,
                _ => 400.0,
            };
            let value =
                |w: u32| ((2.0 * (f64::from(w >> 8) / 16_777_216.0) - 1.0) / fan_in.sqrt()) as f32;
            words(&format!("init/{}", p.name), p.shape.count())
                .into_iter()
                .map(value)
                .collect()
        })
        .collect();
    store.write(Flat::Parameters, &weights).unwrap();
    let pixel = |w: u32| if w & 3 == 0 { (w >> 24) as u8 } else { 0 };
    let pixels: Vec<u8> = words("pixels", 640 * 784).into_iter().map(pixel).collect();
    let data = DataType {
        rows: 640,
        width: 784,
        dtype: DType::U8,
        indices: 12_800,
        scale: 1.0 / 255.0,
        shift: 0.0,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: model.metrics(),
        batch: 128,
        loss_scale: false,
    };
    let graph = model.training(&data, &update).unwrap();
    let plan = Plan::compile(&graph, &store, &[], options).unwrap();
    plan.write("data", &Data::U8(pixels)).unwrap();
    plan.write(
        "index",
        &Data::U32((0..12_800).map(|i| i * 77 % 640).collect()),
    )
    .unwrap();
    store.set_state(0, SEED, 0).unwrap();
    let rows: Vec<_> = (0..=100)
        .map(|t| Rule::ADAM.schedule_row(t, 1e-3, 0.0, 1.0))
        .collect();
    store.write_schedule(0, &rows, true).unwrap();
    plan.run(100).unwrap();
    let ring = gpu.read(&store.ring_and_state()[..1]).unwrap().remove(0);
    let value = |i: usize| {
        f64::from(f32::from_le_bytes(
            ring[4 * i..4 * i + 4].try_into().unwrap(),
        ))
    };
    let losses = (0..100)
        .map(|step| [value(8 * step), value(8 * step + 1), value(8 * step + 2)])
        .collect();
    (losses, store.read(Flat::Parameters).unwrap(), layout)
}

#[test]
fn a_hundred_adam_steps_follow_pytorch() {
    let gpu = gpu();
    let tensors = golden("vae_training");
    let (losses, weights, layout) = parity_run(&gpu, PlanOptions::default());
    let expected = tensors["f64/losses"].data.to_f64();
    let mut worst = 0.0_f64;
    for (step, losses) in losses.iter().enumerate() {
        for (i, loss) in losses.iter().enumerate() {
            let e = expected[3 * step + i];
            // The KL begins near zero, as a difference of numbers of order one.
            let scale = if i == 2 {
                e.abs().max(expected[3 * step] * 1e-2)
            } else {
                e.abs()
            };
            worst = worst.max((loss - e).abs() / scale);
        }
    }
    println!("worst relative difference of a loss: {worst:.2e}");
    assert!(worst < 2e-5, "{worst:e}");
    for (parameter, values) in layout.parameters.iter().zip(&weights) {
        let some = tensors[&format!("f64/{}/some", parameter.name)]
            .data
            .to_f64();
        let stride = (values.len() / 500).max(1);
        let range = some.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let deviation = values
            .iter()
            .step_by(stride)
            .zip(&some)
            .map(|(a, b)| (f64::from(*a) - b).abs() / range)
            .fold(0.0, f64::max);
        println!(
            "{:<12} largest deviation {deviation:.2e} of its range",
            parameter.name
        );
        assert!(deviation < 2e-5, "{}: {deviation:e}", parameter.name);
        let norm = values
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        let expected = tensors[&format!("f64/{}/norm", parameter.name)]
            .data
            .to_f64()[0];
        assert!(
            (norm - expected).abs() < 1e-5 * expected,
            "{}: {norm} {expected}",
            parameter.name
        );
    }
}

#[test]
fn two_runs_and_both_memory_layouts_give_the_same_bits() {
    let gpu = gpu();
    let (first, weights, _) = parity_run(&gpu, PlanOptions::default());
    for options in [
        PlanOptions::default(),
        PlanOptions {
            retain: true,
            ..PlanOptions::default()
        },
    ] {
        let (again, other, _) = parity_run(&gpu, options);
        assert_eq!(first, again);
        assert_eq!(weights, other);
    }
}

fn small_graph() -> Graph {
    let graph = Graph::new(Domain::Sampling);
    let z = graph.input("z", TensorType::f32([4, 8]));
    let w = graph.parameter("w", [16, 8]);
    let b = graph.parameter("b", [16]);
    graph.output("y", z.linear(w, b).sigmoid());
    graph
}

fn small_store(gpu: &Gpu) -> Store {
    let init = Init::Normal(0.0, 1.0);
    let layout = Layout::new(
        vec![
            Parameter::new("w", [16, 8], init),
            Parameter::new("b", [16], init),
        ],
        1 << 20,
    )
    .unwrap();
    let store = Store::new(gpu, layout.clone(), StoreOptions::default()).unwrap();
    let values: Vec<_> = layout
        .parameters
        .iter()
        .map(|p| wgen::nn::init::draw(p, 1))
        .collect();
    store.write(Flat::Parameters, &values).unwrap();
    store
}

#[test]
fn a_plan_records_into_the_callers_encoder_on_a_borrowed_device() {
    // The application's own device, with nothing beyond the defaults.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(
        &instance, None,
    ))
    .unwrap();
    let descriptor = wgpu::DeviceDescriptor {
        label: None,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    let gpu = Gpu::from_device(&device, &queue, &adapter.get_info()).unwrap();
    assert_eq!(
        gpu.caps().subgroup_min_size,
        0,
        "the application did not ask for subgroups"
    );

    let store = small_store(&gpu);
    let mut plan = Plan::compile(&small_graph(), &store, &[], PlanOptions::default()).unwrap();
    let z = wgen::verify::cases::numbers(wgen::verify::cases::Values::Normal, 4, 32);
    plan.write("z", &z).unwrap();
    // Output into the application's buffer.
    let mine = gpu.create_buffer("mine", 4 * 64).unwrap();
    plan.bind("y", (&mine).into()).unwrap();
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    plan.record(&mut encoder);
    queue.submit([encoder.finish()]);
    let bytes = gpu.read(&[(&mine).into()]).unwrap().remove(0);
    let got: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();

    let graph = small_graph();
    let parameters = store.read(Flat::Parameters).unwrap();
    let leaves = [
        ("z", Value::new([4, 8], z).unwrap()),
        ("w", Value::f32([16, 8], parameters[0].clone()).unwrap()),
        ("b", Value::f32([16], parameters[1].clone()).unwrap()),
    ];
    let cx = wgen::graph::op::EvalContext {
        precision: wgen::real::Precision::F64,
        state: RandomState::default(),
    };
    let expected = graph
        .interpret(&[graph.find_output("y").unwrap()], &leaves, &cx)
        .unwrap()[0]
        .data
        .to_f64();
    assert!(
        got.iter()
            .zip(&expected)
            .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6)
    );
}

#[test]
fn names_and_sizes_that_do_not_fit_are_errors() {
    let gpu = gpu();
    let store = small_store(&gpu);
    let slice = || (&gpu.create_buffer("small", 16).unwrap()).into();
    let mut plan = Plan::compile(&small_graph(), &store, &[], PlanOptions::default()).unwrap();
    assert!(plan.read("x").unwrap_err().to_string().contains("'x'"));
    assert!(plan.bind("nothing", slice()).is_err());
    assert!(
        plan.bind("z", slice())
            .unwrap_err()
            .to_string()
            .contains("needs 128 bytes")
    );
    assert!(plan.write("z", &Data::F32(vec![0.0; 1000])).is_err());
    // A failed bind leaves the plan as it was.
    plan.run(1).unwrap();
    let unknown = Plan::compile(
        &small_graph(),
        &store,
        &[("zz", slice())],
        PlanOptions::default(),
    );
    assert!(unknown.unwrap_err().to_string().contains("'zz'"));
    let graph = Graph::new(Domain::Sampling);
    graph.output("y", graph.parameter("w", [3, 3]).sum_all());
    let wrong = Plan::compile(&graph, &store, &[], PlanOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("'w'") && wrong.contains("[16, 8]"),
        "{wrong}"
    );
    let graph = Graph::new(Domain::Sampling);
    let a = graph.input("a", TensorType::f32([128, 784]));
    graph.output("y", a.matmul(graph.input("b", TensorType::f32([400, 784]))));
    let wrong = Plan::compile(&graph, &store, &[], PlanOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("[128, 784]") && wrong.contains("did you mean a * b^T"),
        "{wrong}"
    );
}

fn limit_of(result: Result<impl Sized>) -> &'static str {
    match result.err() {
        Some(Error::Limit { limit_name, .. }) => limit_name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn shapes_over_the_devices_limits_are_refused_by_name() {
    let gpu = gpu();
    let binding = gpu.caps().binding_bytes;
    let rows = (binding / 4 / 1000 + 10) as usize;
    let graph = Graph::new(Domain::Sampling);
    let x = graph.input("x", TensorType::f32([rows, 1000]));
    // A permutation reads from all over its operand: it is not cut into ranges.
    graph.output("y", x.permute(&[1, 0]));
    let store = small_store(&gpu);
    assert_eq!(
        limit_of(Plan::compile(&graph, &store, &[], PlanOptions::default())),
        "max_storage_buffer_binding_size"
    );
    let huge = Parameter::new("huge", [rows, 1000], Init::Constant(0.0));
    assert_eq!(
        limit_of(Layout::new(vec![huge], binding)),
        "max_storage_buffer_binding_size"
    );
    assert_eq!(
        limit_of(gpu.create_buffer("huge", gpu.caps().buffer_bytes + 1)),
        "max_buffer_size"
    );
}

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
fn an_adapter_name_that_matches_nothing_is_named() {
    let error = Gpu::new(&Choice::Named("no such adapter".to_owned()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no such adapter") && error.contains("there are"),
        "{error}"
    );
}

#[test]
fn the_vae_step_stays_within_28_dispatches_and_slots_never_overlap() {
    let model = Vae::new(Config::mnist()).unwrap();
    let data = DataType {
        rows: 640,
        width: 784,
        dtype: DType::U8,
        indices: 640,
        scale: 1.0 / 255.0,
        shift: 0.0,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 1.0,
        ema: false,
        metrics: model.metrics(),
        batch: 128,
        loss_scale: false,
    };
    let graph = model.training(&data, &update).unwrap();
    for caps in [gpu().caps().clone(), wgen::kernels::Caps::portable()] {
        let layout = Layout::new(model.parameters(), caps.binding_bytes).unwrap();
        let options = wgen::plan::lower::LowerOptions {
            fuse: true,
            half: false,
        };
        let program = wgen::plan::lower::lower(&graph, &caps, &layout, options).unwrap();
        assert!(
            program.dispatches.len() <= 28,
            "{}",
            program.dispatches.len()
        );
        let slots = wgen::plan::memory::assign(&program, true);
        assert_eq!(wgen::plan::memory::overlap(&program, &slots), None);
        let text = wgen::plan::explain(&program, &slots);
        assert!(
            text.contains("reparameterize") && text.contains("adam"),
            "{text}"
        );
        // A slot assignment that forgets lifetimes is caught.
        let mut stale = slots.clone();
        stale.of.iter_mut().flatten().for_each(|s| *s = 0);
        assert!(wgen::plan::memory::overlap(&program, &stale).is_some());
    }
}

#[test]
fn noise_is_the_same_whatever_is_fused() {
    let gpu = gpu();
    let store = small_store(&gpu);
    let read = |fuse: bool, extra: bool| {
        let graph = Graph::new(Domain::Sampling);
        if extra {
            graph.output("extra", graph.random("other", Distribution::Uniform, [40]));
        }
        let noise = graph.random("noise", Distribution::Normal, [33, 5]);
        graph.output("y", noise * 2.0 + 1.0);
        let plan = Plan::compile(
            &graph,
            &store,
            &[],
            PlanOptions {
                fuse,
                ..PlanOptions::default()
            },
        )
        .unwrap();
        store.set_state(7, 3, 0).unwrap();
        plan.run(1).unwrap();
        plan.read("y").unwrap().data.to_f32()
    };
    assert_eq!(read(true, false), read(false, false));
    assert_eq!(read(true, false), read(true, true));
    assert_ne!(
        stream(Domain::Sampling, "noise"),
        stream(Domain::Sampling, "other")
    );
    let graph = Graph::new(Domain::Sampling);
    let _ = graph.random("noise", Distribution::Normal, [4]);
    let _ = graph.random("noise", Distribution::Normal, [4]);
    assert!(
        graph
            .check()
            .unwrap_err()
            .to_string()
            .contains("would repeat the noise")
    );
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
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: model.metrics(),
        batch,
        loss_scale: false,
    };
    let graph = model.training(&data, &update).unwrap();
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
    plan.write("data", &wgen::data::digits::digits(256, 3).values)
        .unwrap();
    plan.write("index", &Data::U32((0..256).collect())).unwrap();
    plan.run(1).unwrap();
    let loss = plan.read("loss").unwrap().data.to_f64()[0];
    plan.run(4).unwrap();
    let program = plan.program();
    let bound = program
        .dispatches
        .iter()
        .flat_map(|d| d.buffers.iter().zip(d.kernel.bindings()))
        .filter(|(id, _)| {
            matches!(
                program.buffers[id.0].origin,
                wgen::plan::program::Origin::Transient
            )
        })
        .map(|(_, binding)| binding.bytes())
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
    assert_eq!(plan.program().dispatches.len(), 1);
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
