//! Faults planted in the host by hand: `verify`'s checks must catch each of them, and pass without it.

mod common;

use std::sync::Arc;

use common::gpu;
use wgen::data::digits::digits;
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::graph::update::{Rule, Update};
use wgen::kernels::Kernel;
use wgen::kernels::adam::Adam;
use wgen::kernels::matmul::{self, Matmul};
use wgen::kernels::philox::{Domain, Key, RandomState};
use wgen::kernels::reparameterize::Reparameterize;
use wgen::models::vae::{Config, Decoder, Vae};
use wgen::models::{DataType, Model};
use wgen::nn::init;
use wgen::program::PlanOptions;
use wgen::program::memory::Slots;
use wgen::program::{BufferId, Origin, Program};
use wgen::reference::Twin;
use wgen::tensor::{DType, Data, TensorType, Value};
use wgen::verify::Comparison;
use wgen::verify::step::{Sabotage, Setup, sabotaged};

const BATCH: usize = 12;
const LATENT: usize = 5;

/// The training step of a small VAE with `sabotage`.
fn vae_step(sabotage: Sabotage<'_>) -> Comparison {
    let gpu = gpu();
    let config = Config {
        width: 784,
        hidden: vec![20],
        latent: LATENT,
        decoder: Decoder::Bernoulli,
        ..Config::mnist()
    };
    let model = Vae::new(config).unwrap();
    let ty = DataType {
        rows: 60,
        width: 784,
        dtype: DType::U8,
        indices: 60,
        scale: 1.0 / 255.0,
        shift: 0.0,
        classes: 0,
        cameras: None,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: true,
        metrics: model.metrics(),
        set: 0,
        takes_data: true,
        batch: BATCH,
        loss_scale: false,
    };
    let graph = model.training(0, &ty, &update).unwrap();
    let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
    let weights = layout.parameters.iter().map(|p| init::draw(p, 5)).collect();
    let setup = Setup {
        graph: &graph,
        layout,
        weights,
        inputs: vec![
            ("data", Value::new([60, 784], digits(60, 3).values).unwrap()),
            (
                "index",
                Value::new([60], Data::U32((0..60).collect())).unwrap(),
            ),
        ],
        state: RandomState {
            seed: 77,
            step: 2,
            cursor: 0,
        },
        schedule: (0..4)
            .map(|i| Rule::ADAM.schedule_row(2 + i, 1e-3, 0.9, 1.0))
            .collect(),
    };
    sabotaged(&gpu, &setup, PlanOptions::default(), sabotage).unwrap()
}

fn replace(program: &mut Program, family: &str, kernel: Arc<dyn Twin>) {
    let dispatch = program
        .dispatches
        .iter_mut()
        .find(|d| d.kernel.family() == family)
        .unwrap();
    dispatch.kernel = kernel;
}

#[test]
fn without_a_fault_the_step_passes() {
    let comparison = vae_step(&|_, _| {});
    assert!(comparison.passed(), "{:?}", comparison.failures);
}

#[test]
fn a_stale_slot_is_caught() {
    let comparison = vae_step(&|program: &mut Program, slots: &mut Slots| {
        // A value is put into the slot of another one that still waits to be read. Both get room enough.
        let lives = |b: usize| {
            let used = |d: &wgen::program::Dispatch| d.buffers.contains(&BufferId(b));
            let first = program.dispatches.iter().position(used);
            first.zip(program.dispatches.iter().rposition(used))
        };
        let transient = |b: &usize| program.buffers[*b].origin == Origin::Transient;
        let pairs = (0..program.buffers.len())
            .filter(transient)
            .flat_map(|a| (0..program.buffers.len()).map(move |b| (a, b)));
        // b is written after a was, and before a is read for the last time; never in one dispatch.
        let waits = |a: usize, b: usize| {
            let together = |d: &wgen::program::Dispatch| {
                d.buffers.contains(&BufferId(a)) && d.buffers.contains(&BufferId(b))
            };
            lives(a)
                .zip(lives(b))
                .is_some_and(|((a0, a1), (b0, _))| a0 < b0 && b0 < a1)
                && !program.dispatches.iter().any(together)
        };
        let (a, b) = pairs
            .filter(|(_, b)| transient(b))
            .find(|&(a, b)| waits(a, b))
            .expect("two such values");
        slots.of[b] = slots.of[a];
        if let Some(slot) = slots.of[a] {
            slots.sizes[slot] = slots.sizes[slot].max(program.buffers[b].ty.bytes());
        }
    });
    assert!(!comparison.passed());
}

#[test]
fn a_reused_random_stream_is_caught() {
    let comparison = vae_step(&|program, _| {
        let kernel = Reparameterize {
            count: BATCH * LATENT,
            key: Key::Step,
            stream: 1,
        };
        replace(program, "reparameterize", Arc::new(kernel));
    });
    assert!(!comparison.passed());
}

#[test]
fn noise_shared_across_samples_is_caught() {
    let comparison = vae_step(&|program, _| {
        // Every row draws as if it were the first example.
        let key = Key::Example {
            examples: 1,
            draws: 0,
            width: LATENT as u32,
        };
        let stream = wgen::kernels::philox::stream(Domain::Training, "z");
        replace(
            program,
            "reparameterize",
            Arc::new(Reparameterize {
                count: BATCH * LATENT,
                key,
                stream,
            }),
        );
    });
    assert!(!comparison.passed());
}

/// Adam as it would be if the host forgot the bias corrections: the twin is right, the kernel is given ones.
#[derive(Debug)]
struct Uncorrected(Adam);

impl Kernel for Uncorrected {
    fn family(&self) -> &'static str {
        "adam"
    }
    fn variant(&self) -> String {
        self.0.variant()
    }
    fn bindings(&self) -> Vec<wgen::kernels::Binding> {
        self.0.bindings()
    }
    fn launch(&self) -> wgen::kernels::Launch {
        wgen::kernels::Launch {
            template: "uncorrected",
            ..self.0.launch()
        }
    }
    fn cost(&self) -> wgen::kernels::Cost {
        self.0.cost()
    }
}

impl Twin for Uncorrected {
    fn reference(&self, buffers: &mut [Data]) {
        self.0.reference(buffers);
    }
}

#[test]
fn a_missing_bias_correction_is_caught() {
    let gpu = gpu();
    let source = wgen::program::template::Templates::embedded()
        .source("adam")
        .unwrap()
        .to_owned();
    gpu.set_template("uncorrected", &source.replace("* schedule[1] *", "*"));
    let cases = wgen::verify::cases::all(gpu.caps(), true);
    let case = cases
        .iter()
        .find(|c| c.kernel.family() == "adam" && c.name.contains("refused: false"))
        .unwrap();
    let count = case.kernel.bindings()[0].count;
    let adam = Adam {
        count,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        decay: 0.0,
        decoupled: false,
    };
    assert!(
        wgen::verify::kernel(&gpu, &adam, &case.inputs())
            .unwrap()
            .passed()
    );
    assert!(
        !wgen::verify::kernel(&gpu, &Uncorrected(adam), &case.inputs())
            .unwrap()
            .passed()
    );
    // And on the host's side: a schedule without them is not Adam's.
    let row = Rule::ADAM.schedule_row(0, 1e-3, 0.0, 0.0);
    assert!(
        (row[1] - 10.0).abs() < 1e-5 && (row[2] - 31.622_776).abs() < 1e-4,
        "{row:?}"
    );
}

#[test]
fn a_wrong_accumulate_is_caught() {
    let gpu = gpu();
    let graph = Graph::new(Domain::Training);
    let (a, b) = (
        graph.parameter("a", [9, 7]),
        graph.input("b", TensorType::f32([7, 5])),
    );
    let product = a.matmul(b);
    graph.output("y", product.transpose());
    graph.output("loss", product.sum_all());
    let layout = Layout::new(
        vec![Parameter::new("a", [9, 7], Init::Normal(0.0, 1.0))],
        1 << 20,
    )
    .unwrap();
    let weights = layout.parameters.iter().map(|p| init::draw(p, 5)).collect();
    let values = wgen::verify::cases::numbers(wgen::verify::cases::Values::Normal, 4, 35);
    let setup = Setup {
        graph: &graph,
        layout,
        weights,
        inputs: vec![("b", Value::new([7, 5], values).unwrap())],
        state: RandomState::default(),
        schedule: vec![[0.0; 8]; 2],
    };
    let run = |accumulate: bool| {
        let sabotage = |program: &mut Program, _: &mut Slots| {
            let kernel = Matmul::new(gpu.caps(), matmul::Layout::Nn, 1, 9, 5, 7).unwrap();
            replace(
                program,
                "matmul",
                Arc::new(Matmul {
                    accumulate,
                    ..kernel
                }),
            );
        };
        sabotaged(&gpu, &setup, PlanOptions::default(), &sabotage).unwrap()
    };
    assert!(run(false).passed(), "{:?}", run(false).failures);
    assert!(!run(true).passed());
}
