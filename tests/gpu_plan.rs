//! Plans on the GPU: parity with PyTorch over a training run, borrowed devices, slots, explain, limits.

mod common;

use common::{golden, gpu, small_graph, small_store};
use wgen::gpu::{Choice, Gpu};
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::graph::update::{Rule, Update};
use wgen::kernels::functions::Distribution;
use wgen::kernels::philox::{Domain, Key, RandomState, stream};
use wgen::models::vae::{Config, Vae};
use wgen::models::{DataType, Model};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;
use wgen::tensor::{DType, Data, TensorType, Value};
use wgen::{Error, Result};

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
        batch: 128,
        loss_scale: false,
    };
    let graph = model.training(0, &data, &update).unwrap();
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
fn an_output_has_its_own_shape_where_it_shares_a_buffer() {
    let gpu = gpu();
    let graph = Graph::new(Domain::Sampling);
    let images = graph.input("x", TensorType::f32([2, 3, 4, 1])).exp();
    graph.output("images", images);
    graph.output("rows", images.reshape([2, 12]));
    let store = small_store(&gpu);
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    let x = (0..24).map(|i| i as f32 / 24.0).collect();
    plan.write("x", &Data::F32(x)).unwrap();
    plan.run(1).unwrap();
    let [images, rows] = ["images", "rows"].map(|name| plan.read(name).unwrap());
    assert_eq!(images.shape.dims(), [2, 3, 4, 1]);
    assert_eq!(rows.shape.dims(), [2, 12]);
    assert_eq!(images.data.to_f32(), rows.data.to_f32());
    assert_eq!(
        plan.buffer("images").unwrap().offset,
        plan.buffer("rows").unwrap().offset
    );
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
        classes: 0,
        cameras: None,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 1.0,
        ema: false,
        metrics: model.metrics(),
        set: 0,
        takes_data: true,
        batch: 128,
        loss_scale: false,
    };
    let graph = model.training(0, &data, &update).unwrap();
    for caps in [gpu().caps().clone(), wgen::kernels::Caps::portable()] {
        let layout = Layout::new(model.parameters(), caps.binding_bytes).unwrap();
        let options = wgen::program::lower::LowerOptions {
            fuse: true,
            half: false,
        };
        let program = wgen::program::lower::lower(&graph, &caps, &layout, options).unwrap();
        assert!(
            program.dispatches.len() <= 28,
            "{}",
            program.dispatches.len()
        );
        let slots = wgen::program::memory::assign(&program, true);
        assert_eq!(wgen::program::memory::overlap(&program, &slots), None);
        let text = wgen::program::explain::explain(&program, &slots);
        assert!(
            text.contains("reparameterize") && text.contains("adam"),
            "{text}"
        );
        // A slot assignment that forgets lifetimes is caught.
        let mut stale = slots.clone();
        stale.of.iter_mut().flatten().for_each(|s| *s = 0);
        assert!(wgen::program::memory::overlap(&program, &stale).is_some());
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
