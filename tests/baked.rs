//! Programs as plain data: through JSON and back they give the same bits as the ordinary way, and the JSON alone is enough for another
//! program.

mod common;
#[path = "common/walk.rs"]
mod walk;

use std::cell::Cell;

use common::gpu;
use std::sync::Arc;

use wgen::data::digits::digits;
use wgen::data::{Dataset, epoch_order};
use wgen::files::folder::RunFolder;
use wgen::files::{Config, Training};
use wgen::gpu::{BufferSlice, Gpu};
use wgen::graph::layout::Layout;
use wgen::graph::update::{Rule, Update};
use wgen::kernels::{Caps, SCHEDULE_COLUMNS, TABLE_ROWS};
use wgen::models::diffusion::{self, Diffusion};
use wgen::models::gan::{self, Gan, Networks};
use wgen::models::vae::{self, Vae};
use wgen::models::{DataType, Model};
use wgen::nn::init;
use wgen::nn::schedule::{self, LearningRate, Shape};
use wgen::plan::{Plan, Player, Store, StoreOptions};
use wgen::program::baked::{Baked, Epochs, Routine, Turn};
use wgen::program::lower::{LowerOptions, lower};
use wgen::program::template::Templates;
use wgen::program::{Flat, PlanOptions, memory};
use wgen::session::Device;
use wgen::tensor::Data;

/// A training: its programs and how they are driven.
struct Case<'a> {
    model: &'a dyn Model,
    dataset: Dataset,
    training: Training,
    /// Phase, batch and repeats of each part of a turn.
    parts: Vec<(usize, usize, u64)>,
    /// Batches of an epoch.
    batches: u64,
    runs: u64,
}

impl Case<'_> {
    fn data_type(&self) -> DataType {
        let (scale, shift) = self.dataset.scaling();
        DataType {
            rows: self.dataset.rows(),
            width: self.dataset.shape.count(),
            dtype: self.dataset.dtype(),
            indices: self.dataset.rows(),
            scale,
            shift,
            classes: self.dataset.classes(),
            cameras: None,
        }
    }

    fn update(&self, phase: usize, batch: usize) -> Update {
        let phase = self.model.phases().swap_remove(phase);
        Update {
            rule: self.training.optimizer,
            max_norm: self.training.clip,
            ema: self.training.ema.is_some(),
            metrics: phase.metrics,
            set: phase.set,
            takes_data: phase.takes_data,
            batch,
            loss_scale: false,
        }
    }

    /// The schedule's row of the device's step `tick`, as the trainer makes it.
    fn row(&self, tick: u64) -> [f32; SCHEDULE_COLUMNS] {
        let phases = self.model.phases();
        let ticks: u64 = phases.iter().map(|p| p.repeats as u64).sum();
        let (step, mut before) = (tick / ticks, tick % ticks);
        let mut own = 0;
        for phase in &phases {
            let repeats = phase.repeats as u64;
            if before < repeats {
                own = step * repeats + before;
                break;
            }
            before -= repeats;
        }
        let t = &self.training;
        let ema = t.ema.map_or(0.0, |decay| schedule::ema_decay(decay, step));
        let model = schedule::warm_up(t.beta, t.beta_warmup, step);
        let rate = t.learning_rate.at(step, self.runs / ticks);
        t.optimizer.schedule_row(own, rate, ema, model)
    }

    fn weights(&self) -> Vec<Vec<f32>> {
        let parameters = self.model.parameters();
        let draw = |p| init::draw(p, self.training.seed);
        parameters.iter().map(draw).collect()
    }

    fn store(&self, gpu: &Gpu) -> Store {
        let layout = Layout::new(self.model.parameters(), gpu.caps().binding_bytes).unwrap();
        let options = StoreOptions {
            training: true,
            ema: self.training.ema.is_some(),
        };
        Store::new(gpu, layout, options).unwrap()
    }

    fn fill(&self, store: &Store) {
        store.write(Flat::Parameters, &self.weights()).unwrap();
        if self.training.ema.is_some() {
            store.write(Flat::Ema, &self.weights()).unwrap();
        }
    }

    fn takes(&self) -> Vec<bool> {
        let phases = self.model.phases();
        let takes = |(phase, ..): &(usize, usize, u64)| phases[*phase].takes_data;
        self.parts.iter().map(takes).collect()
    }

    /// The ordinary way: plans on a store, driven run by run as the trainer drives them. Returns the plans' programs too.
    fn ordinary(&self, gpu: &Gpu) -> (Store, Vec<Baked>) {
        let store = self.store(gpu);
        self.fill(&store);
        let data = gpu
            .create_buffer("data", self.dataset.values.to_device_bytes().len() as u64)
            .unwrap();
        let index = gpu
            .create_buffer("index", 4 * self.dataset.rows() as u64)
            .unwrap();
        let (data, index): (BufferSlice, BufferSlice) = ((&data).into(), (&index).into());
        gpu.write(&data, &self.dataset.values.to_device_bytes())
            .unwrap();
        let plans: Vec<Plan> = self
            .parts
            .iter()
            .map(|&(phase, batch, _)| {
                let update = self.update(phase, batch);
                let graph = self
                    .model
                    .training(phase, &self.data_type(), &update)
                    .unwrap();
                let inputs = [("data", data.clone()), ("index", index.clone())];
                let inputs: Vec<_> = inputs
                    .into_iter()
                    .filter(|(n, _)| graph.has_input(n))
                    .collect();
                Plan::compile(&graph, &store, &inputs, PlanOptions::default()).unwrap()
            })
            .collect();
        let seed = self.training.seed;
        store.set_state(0, seed, 0).unwrap();
        store.write_schedule(0, &[self.row(0)], true).unwrap();
        let takes = self.takes();
        let turn: Vec<usize> = (0..self.parts.len())
            .flat_map(|i| (0..self.parts[i].2).map(move |_| i))
            .collect();
        let mut batch = 0;
        for run in 0..self.runs {
            let part = turn[run as usize % turn.len()];
            if takes[part] {
                if batch % self.batches == 0 {
                    let order = epoch_order(self.dataset.rows(), seed, batch / self.batches);
                    gpu.write(&index, bytemuck::cast_slice(&order)).unwrap();
                    store.set_cursor(0).unwrap();
                }
                batch += 1;
            }
            store
                .write_schedule(run + 1, &[self.row(run + 1)], false)
                .unwrap();
            plans[part].run(1).unwrap();
        }
        let programs = plans.iter().map(|plan| plan.baked().clone()).collect();
        (store, programs)
    }

    /// The same as data.
    fn routine(&self, programs: Vec<Baked>) -> Routine {
        let turn = (0..self.parts.len()).map(|program| Turn {
            program,
            repeats: self.parts[program].2,
        });
        let mut routine = Routine::new(programs, turn.collect(), self.runs).unwrap();
        let seed = self.training.seed;
        routine.begin(0, seed, 0);
        routine.schedule(0, |step| self.row(step));
        routine.give("data", &self.dataset.values);
        let epochs = Epochs {
            input: "index",
            batch: self.training.batch,
            batches: self.batches,
            first: 0,
        };
        let rows = self.dataset.rows();
        routine
            .epochs(epochs, &self.takes(), |epoch| {
                epoch_order(rows, seed, epoch)
            })
            .unwrap();
        routine
    }
}

/// To JSON and back; the JSON is walked on the way.
fn through_json(routine: &Routine) -> Routine {
    let text = serde_json::to_string(routine).unwrap();
    println!(
        "{} bytes of JSON, {} refills",
        text.len(),
        routine.refills.len()
    );
    walk::routine(&serde_json::from_str(&text).unwrap());
    let again: Routine = serde_json::from_str(&text).unwrap();
    assert_eq!(again, *routine);
    again
}

/// Everything that a training leaves in a store.
fn everything(store: &Store, ema: bool) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let flats = [
        Flat::Parameters,
        Flat::Gradients,
        Flat::Moment1,
        Flat::Moment2,
        Flat::Ema,
    ];
    for flat in flats.into_iter().filter(|f| *f != Flat::Ema || ema) {
        for tensor in store.read(flat).unwrap() {
            all.push(bytemuck::cast_slice(&tensor).to_vec());
        }
    }
    all.extend(store.gpu().read(&store.ring_and_state()).unwrap());
    all
}

/// Trains a case the ordinary way and from JSON, and compares all that is left.
fn same_bits(gpu: &Gpu, case: &Case<'_>) -> Store {
    let (ordinary, programs) = case.ordinary(gpu);
    let routine = through_json(&case.routine(programs));
    // Nothing but the JSON and the weights is needed.
    let store = Store::for_programs(gpu, &routine.programs).unwrap();
    case.fill(&store);
    let mut player = Player::new(routine, &store, &[]).unwrap();
    // In two stretches, as somebody who looks in between.
    assert_eq!(player.play(5).unwrap(), 5);
    assert_eq!(player.play(u64::MAX).unwrap(), case.runs - 5);
    assert_eq!((player.done(), player.play(1).unwrap()), (case.runs, 0));
    let ema = case.training.ema.is_some();
    let (a, b) = (everything(&ordinary, ema), everything(&store, ema));
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!(a == b, "array {i} has other bits");
    }
    store
}

#[test]
fn a_vae_trained_from_json_has_the_trainers_bits() {
    let gpu = gpu();
    let (rows, batch) = (1000, 16);
    let dataset = digits(rows, 1);
    let training = Training {
        steps: Some(TABLE_ROWS as u64 + 76),
        epochs: None,
        batch,
        seed: 9,
        clip: 300.0,
        ema: Some(0.99),
        learning_rate: LearningRate {
            peak: 1e-3,
            shape: Shape::Cosine,
            warmup: 20,
        },
        beta_warmup: 300,
        log_steps: 100,
        ..Training::default()
    };
    let config = vae::Config::mnist();
    let model = Vae::new(config.clone()).unwrap();
    let case = Case {
        model: &model,
        runs: training.steps.unwrap(),
        parts: vec![(0, batch, (rows / batch) as u64), (0, rows % batch, 1)],
        batches: rows.div_ceil(batch) as u64,
        training,
        dataset,
    };
    let store = same_bits(&gpu, &case);

    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(
        Arc::new(Vae::new(config).unwrap()),
        case.dataset.shape,
        "test",
        case.training.clone(),
    );
    let out = dir.path().join("run");
    let device = Device::Gpu(gpu);
    common::train(&device, config, case.dataset.clone(), &out, false).unwrap();
    let folder = RunFolder::open(&out, true).unwrap();
    let saved = folder.load(store.layout(), true).unwrap().unwrap();
    assert_eq!(saved.progress.step, case.runs);
    assert!(saved.weights == store.read(Flat::Parameters).unwrap());
    assert!(saved.moments[0] == store.read(Flat::Moment1).unwrap());
    assert!(saved.moments[1] == store.read(Flat::Moment2).unwrap());
    assert!(saved.ema.unwrap() == store.read(Flat::Ema).unwrap());
}

/// A DCGAN of four channels, two updates of the discriminator for one of the generator.
fn dcgan() -> Gan {
    let config = gan::Config::for_data(digits(1, 1).shape, true);
    Gan::new(gan::Config {
        networks: Networks::Dcgan {
            generator_channels: 4,
            discriminator_channels: 4,
            discriminator_norm: true,
        },
        latent: 10,
        discriminator_steps: 2,
        ..config
    })
    .unwrap()
}

#[test]
fn a_dcgan_trained_from_json_has_the_same_bits() {
    let model = dcgan();
    let training = Training {
        batch: 8,
        seed: 4,
        optimizer: Rule::Adam {
            beta1: 0.5,
            beta2: 0.999,
            epsilon: 1e-8,
            decay: 0.0,
        },
        ..Training::default()
    };
    let case = Case {
        model: &model,
        dataset: digits(56, 2),
        training,
        parts: vec![(0, 8, 2), (1, 8, 1)],
        // Nine iterations take 18 batches of 7 an epoch, which begin in the middle of iterations too.
        batches: 7,
        runs: 27,
    };
    same_bits(&gpu(), &case);
}

#[test]
fn a_diffusion_sampler_from_json_draws_the_same_bits() {
    let gpu = gpu();
    let model = Diffusion::new(diffusion::Config::mnist()).unwrap();
    let (count, seed) = (2, 7);
    let sampling = model.sampling(count).unwrap();
    assert_eq!(sampling.runs, 50);

    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes).unwrap();
    let weights: Vec<_> = layout.parameters.iter().map(|p| init::draw(p, 1)).collect();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    store.write(Flat::Parameters, &weights).unwrap();
    let plan = Plan::compile(&sampling.graph, &store, &[], PlanOptions::default()).unwrap();
    let inputs = sampling.begin(seed, 0, 0).unwrap();
    let classes = sampling.classes.input(count, Some(3), 0).unwrap();
    for (name, value) in inputs.into_iter().chain(classes) {
        plan.write(name, &value.data).unwrap();
    }
    store.set_state(0, seed, 0).unwrap();
    plan.run(sampling.runs).unwrap();
    let images = plan.read("images").unwrap();

    let routine = Routine::of_sampling(plan.baked().clone(), &sampling, seed, 0, Some(3));
    let routine = through_json(&routine.unwrap());
    let fresh = Store::for_programs(&gpu, &routine.programs).unwrap();
    fresh.write(Flat::Parameters, &weights).unwrap();
    let mut player = Player::new(routine, &fresh, &[]).unwrap();
    assert_eq!(player.play(u64::MAX).unwrap(), 50);
    assert!(player.read("images").unwrap() == images);
    assert!(images.data.to_f32().iter().any(|x| *x != 0.0));

    // And again from the beginning, recorded run by run into encoders of the caller's.
    player.rewind().unwrap();
    let recorded = Cell::new(0);
    loop {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        if !player.record(&mut encoder).unwrap() {
            break;
        }
        recorded.set(recorded.get() + 1);
        gpu.queue().submit([encoder.finish()]);
    }
    assert_eq!(recorded.get(), 50);
    assert!(player.read("images").unwrap() == images);
}

/// A model and data, of which nothing is trained.
fn untrained(model: &dyn Model) -> Case<'_> {
    Case {
        model,
        dataset: digits(40, 1),
        training: Training::default(),
        parts: Vec::new(),
        batches: 1,
        runs: 1,
    }
}

#[test]
fn without_a_device_programs_are_baked_for_the_portable_floor() {
    let templates = Templates::embedded();
    let caps = Caps::portable();
    let vae = Vae::new(vae::Config::mnist()).unwrap();
    let gan = dcgan();
    let diffusion = Diffusion::new(diffusion::Config::mnist()).unwrap();
    let training = |model: &dyn Model, phase: usize| {
        let case = untrained(model);
        let update = case.update(phase, 8);
        model.training(phase, &case.data_type(), &update).unwrap()
    };
    let graphs = [
        (&vae as &dyn Model, training(&vae, 0)),
        (&gan, training(&gan, 0)),
        (&gan, training(&gan, 1)),
        (&diffusion, diffusion.sampling(2).unwrap().graph),
        (&diffusion, training(&diffusion, 0)),
    ];
    for (model, graph) in graphs {
        let layout = Layout::new(model.parameters(), caps.binding_bytes).unwrap();
        let options = LowerOptions {
            fuse: true,
            half: false,
        };
        let program = lower(&graph, &caps, &layout, options).unwrap();
        let slots = memory::assign(&program, true);
        let baked = program
            .baked(&|launch| templates.expand(launch), &slots, &layout)
            .unwrap();
        baked.check().unwrap();
        assert_eq!(
            baked.explain(),
            wgen::program::explain::explain(&program, &slots)
        );
        assert_eq!(baked.store.layout().unwrap(), layout);
        assert!(
            baked
                .shaders
                .iter()
                .all(|s| s.subgroups.is_none() && !s.f16)
        );
        let needed = walk::program(&serde_json::to_value(&baked).unwrap());
        println!(
            "{}: {} dispatches of {} shaders, inputs {needed:?}",
            model.name(),
            baked.dispatches.len(),
            baked.shaders.len()
        );
    }
}

#[test]
fn a_plan_runs_what_the_templates_of_its_device_bake() {
    let gpu = gpu();
    let store = common::small_store(&gpu);
    let options = PlanOptions {
        tune: false,
        ..PlanOptions::default()
    };
    let plan = Plan::compile(&common::small_graph(), &store, &[], options).unwrap();
    let program = Plan::lower(&common::small_graph(), &store, options).unwrap();
    let slots = memory::assign(&program, true);
    let templates = Templates::embedded();
    let baked = program
        .baked(&|launch| templates.expand(launch), &slots, store.layout())
        .unwrap();
    assert_eq!(baked, *plan.baked());
}

#[test]
fn programs_that_do_not_hang_together_are_errors() {
    let gpu = gpu();
    let store = common::small_store(&gpu);
    let plan = Plan::compile(&common::small_graph(), &store, &[], PlanOptions::default()).unwrap();
    let refused = |change: &dyn Fn(&mut Baked)| {
        let mut baked = plan.baked().clone();
        change(&mut baked);
        Plan::from_baked(baked, &store, &[])
            .unwrap_err()
            .to_string()
    };
    for (change, word) in [
        (&|b: &mut Baked| b.format = 2, "format 2"),
        (&|b| b.dispatches[0].shader = 99, "shader 99"),
        (&|b| b.dispatches[0].bindings[0].buffer = 99, "buffer 99"),
        (
            &|b| b.dispatches[0].bindings[0].first = usize::MAX,
            "dispatch 0",
        ),
        (&|b| b.dispatches[0].bindings.clear(), "binds 0"),
        (&|b| b.dispatches[0].params.clear(), "parameter words"),
        (&|b| b.outputs[0].buffer = 99, "output 'y'"),
        (&|b| b.outputs[0].shape = [77].into(), "output 'y'"),
        (&|b| b.buffers[0].bytes = 3, "bytes"),
        (&|b| b.store.tensors[0].offset = 1 << 40, "tensor 'w'"),
        (&|b| b.store.tensors[1].name = "c".to_owned(), "store"),
        (&|b| b.update = 99, "update"),
        (&|b| b.shaders[0].wgsl = "fn".to_owned(), "shader"),
    ] as [(&dyn Fn(&mut Baked), &str); 13]
    {
        let message = refused(change);
        assert!(message.contains(word), "{word}: {message}");
    }
    let mut routine = Routine::of_one(plan.baked().clone(), 1).unwrap();
    routine.give("z", &Data::F32(vec![0.0; 33]));
    let message = Player::new(routine, &store, &[]).unwrap_err().to_string();
    assert!(message.contains("33 words"), "{message}");
    assert!(Routine::new(vec![plan.baked().clone()], Vec::new(), 1).is_err());
}
