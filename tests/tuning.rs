//! The tuner: it measures once, remembers, and lets nothing wrong win. Here on whatever adapter there is; plans use it on hardware alone.

mod common;

use std::sync::Arc;

use wgen::gpu::tuning::Tuning;
use wgen::kernels::expression::{Expression, Term};
use wgen::kernels::functions::Function;
use wgen::kernels::matmul::{Layout, Matmul};
use wgen::kernels::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use wgen::real::{Precision, Real, Tracked};
use wgen::reference::{Half, Twin};
use wgen::tensor::{DType, Data};

#[test]
fn a_shape_is_measured_once_and_remembered() {
    let gpu = common::gpu();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tuning.json");
    let kernel = Matmul::new(gpu.caps(), Layout::Nt, 1, 96, 96, 96).unwrap();
    let kernel: Arc<dyn Twin> = Arc::new(kernel);
    let first = Tuning::open(Some(path.clone()));
    let chosen = first.choose(&gpu, gpu.caps(), &kernel).unwrap();
    let learned = first.entries().remove(0);
    assert!((2..=4).contains(&learned.candidates.len()), "{learned:?}");
    let fastest = learned
        .candidates
        .iter()
        .min_by(|a, b| a.seconds.unwrap().total_cmp(&b.seconds.unwrap()))
        .unwrap();
    assert_eq!(
        (chosen.variant(), learned.variant.clone()),
        (fastest.variant.clone(), fastest.variant.clone())
    );

    // Another process reads it; nothing is measured again, so that the file stays as it is.
    let before = std::fs::read(&path).unwrap();
    let second = Tuning::open(Some(path.clone()));
    assert_eq!(
        second.choose(&gpu, gpu.caps(), &kernel).unwrap().variant(),
        chosen.variant()
    );
    assert_eq!(
        (std::fs::read(&path).unwrap(), second.entries()),
        (before, vec![learned])
    );

    // A kernel whose text has changed is another kernel.
    let source = wgen::program::template::Templates::embedded()
        .source("shared/product")
        .unwrap()
        .to_owned();
    gpu.set_template(
        "shared/product",
        &source.replace("let batch =", "let  batch ="),
    );
    second.choose(&gpu, gpu.caps(), &kernel).unwrap();
    assert_eq!(second.entries().len(), 2);

    // A damaged file costs a measurement, not the run.
    std::fs::write(&path, "{").unwrap();
    assert!(Tuning::open(Some(path)).entries().is_empty());
}

/// out = 2 x, honestly by a long way, or wrongly by a short one.
#[derive(Clone, Debug)]
struct Doubling {
    factor: f32,
    rounds: u32,
}

const SHADER: &str = "
struct Params { count: u32, rounds: u32, factor: f32, first_group: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(64)
fn doubling(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.count { return; }
    var kept = 0.0;
    for (var i = 0u; i < params.rounds; i++) { kept = max(kept, abs(x[(id.x + i) % params.count])); }
    out[id.x] = x[id.x] * params.factor + min(kept, 0.0);
}
";

const COUNT: usize = 20_000;

impl Kernel for Doubling {
    fn family(&self) -> &'static str {
        "doubling"
    }

    fn variant(&self) -> String {
        format!("by {} in {}", self.factor, self.rounds)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("x", DType::F32, COUNT),
            Binding::write("out", DType::F32, COUNT),
        ]
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "doubling",
            entry: "doubling",
            context: serde_json::json!({}),
            constants: Vec::new(),
            params: vec![COUNT as u32, self.rounds, self.factor.to_bits(), 0],
            workgroups: fold(COUNT.div_ceil(64) as u64),
            grid: Grid::Whole,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 1e9,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

impl Twin for Doubling {
    fn reference(&self, buffers: &mut [Data]) {
        match wgen::reference::precision_of(buffers) {
            Precision::F32 => double::<f32>(buffers),
            Precision::F64 => double::<f64>(buffers),
            Precision::Tracked => double::<Tracked>(buffers),
        }
    }

    fn alternatives(&self, _: &Caps) -> Vec<Arc<dyn Twin>> {
        vec![
            Arc::new(Self {
                factor: 2.001,
                rounds: 0,
            }),
            Arc::new(Self {
                factor: 2.0,
                rounds: 4,
            }),
            Arc::new(Self {
                factor: f32::NAN,
                rounds: 0,
            }),
        ]
    }
}

fn double<T: Real>(buffers: &mut [Data]) {
    let doubled = T::of(&buffers[0]).iter().map(|&x| x + x).collect();
    buffers[1] = T::into_data(doubled);
}

/// A kernel that writes nothing, in two variants that agree on it: what a device does that computes nothing.
#[derive(Clone, Debug)]
struct Idle(Doubling);

impl Kernel for Idle {
    fn family(&self) -> &'static str {
        "idle"
    }

    fn variant(&self) -> String {
        format!("idle in {}", self.0.rounds)
    }

    fn bindings(&self) -> Vec<Binding> {
        self.0.bindings()
    }

    fn launch(&self) -> Launch {
        let mut launch = self.0.launch();
        // No element is below the count.
        launch.params[0] = 0;
        launch
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }
}

impl Twin for Idle {
    fn reference(&self, buffers: &mut [Data]) {
        self.0.reference(buffers);
    }

    fn alternatives(&self, _: &Caps) -> Vec<Arc<dyn Twin>> {
        let rounds = self.0.rounds + 1;
        vec![Arc::new(Self(Doubling {
            rounds,
            ..self.0.clone()
        }))]
    }
}

#[test]
fn a_device_that_computes_nothing_does_not_pass() {
    let gpu = common::gpu();
    gpu.set_template("doubling", SHADER);
    let honest = Doubling {
        factor: 2.0,
        rounds: 1,
    };
    let tuning = Tuning::open(None);
    let idle: Arc<dyn Twin> = Arc::new(Idle(honest.clone()));
    let error = tuning
        .choose(&gpu, gpu.caps(), &idle)
        .unwrap_err()
        .to_string();
    assert!(error.contains("none of 2 variants of idle"), "{error}");
    assert!(tuning.entries().is_empty());

    // The heuristic's choice is no better than others: it is wrong here, and one of the rest is taken.
    let wrong: Arc<dyn Twin> = Arc::new(Doubling {
        factor: 3.0,
        ..honest
    });
    let chosen = tuning.choose(&gpu, gpu.caps(), &wrong).unwrap();
    assert_eq!(chosen.variant(), "by 2 in 4");
}

#[test]
fn results_that_f16_cannot_hold_are_no_reason_to_refuse() {
    let gpu = common::gpu();
    if !gpu.caps().f16 {
        return;
    }
    let product = Matmul {
        // Sums of 96 small integers are some 20 away from 0: the exponential of many is infinite in f16, and no other is exact there.
        epilogue: Expression {
            terms: vec![Term::Accumulator, Term::Call(Function::Exp, vec![0])],
            operands: Vec::new(),
            results: vec![0, 1],
        },
        ..Matmul::new(gpu.caps(), Layout::Nt, 1, 96, 96, 96).unwrap()
    };
    let half: Arc<dyn Twin> = Arc::new(Half::new(Arc::new(product), vec![true; 4]));
    let tuning = Tuning::open(None);
    tuning.choose(&gpu, gpu.caps(), &half).unwrap();
    let learned = tuning.entries().remove(0);
    let taken = learned.candidates.iter().all(|c| c.seconds.is_some());
    assert!(taken, "{learned:?}");
}

#[test]
fn a_fast_candidate_with_a_wrong_result_does_not_win() {
    let gpu = common::gpu();
    gpu.set_template("doubling", SHADER);
    let kernel: Arc<dyn Twin> = Arc::new(Doubling {
        factor: 2.0,
        rounds: 400,
    });
    let tuning = Tuning::open(None);
    let chosen = tuning.choose(&gpu, gpu.caps(), &kernel).unwrap();
    let learned = tuning.entries().remove(0);
    assert_eq!(chosen.variant(), "by 2 in 4", "{learned:?}");
    let seconds: Vec<bool> = learned
        .candidates
        .iter()
        .map(|c| c.seconds.is_some())
        .collect();
    assert_eq!(seconds, [true, false, true, false], "{learned:?}");
}

#[test]
fn a_borrowed_device_is_not_measured_on() {
    let owned = common::gpu();
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(
        &instance, None,
    ))
    .unwrap();
    let gpu =
        wgen::gpu::Gpu::from_device(owned.device(), owned.queue(), &adapter.get_info()).unwrap();
    let kernel: Arc<dyn Twin> =
        Arc::new(Matmul::new(gpu.caps(), Layout::Nn, 1, 96, 96, 96).unwrap());
    let tuning = Tuning::open(None);
    assert_eq!(
        tuning.choose(&gpu, gpu.caps(), &kernel).unwrap().variant(),
        kernel.variant()
    );
    assert!(tuning.entries().is_empty());
}

#[test]
fn candidates_in_f16_are_compared_as_f16() {
    let gpu = common::gpu();
    if !gpu.caps().f16 {
        eprintln!("NOT CHECKED: this adapter has no f16");
        return;
    }
    let kernel: Arc<dyn Twin> =
        Arc::new(Matmul::new(gpu.caps(), Layout::Nn, 1, 96, 96, 96).unwrap());
    let half: Arc<dyn Twin> = Arc::new(Half::new(kernel, vec![true; 3]));
    let tuning = Tuning::open(None);
    assert!(
        tuning
            .choose(&gpu, gpu.caps(), &half)
            .unwrap()
            .variant()
            .ends_with("+f16")
    );
    let learned = tuning.entries().remove(0);
    assert!(
        learned.candidates.iter().all(|c| c.seconds.is_some()),
        "{learned:?}"
    );
}
