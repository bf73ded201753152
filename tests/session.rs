//! A training step in two halves, and what may stand between them; the same on a GPU and on the CPU.

mod common;

use common::gpu;
use wgen::data::digits::digits;
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter, Role};
use wgen::graph::update::{Rule, Update};
use wgen::kernels::SCHEDULE_COLUMNS;
use wgen::kernels::philox::Domain;
use wgen::models::gan::{Config as GanConfig, Gan, Networks};
use wgen::models::vae::{Config as VaeConfig, Decoder, Vae};
use wgen::models::{DataType, Model};
use wgen::nn::init;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::{Flat, PlanOptions};
use wgen::session::{Device, Executable, Session};
use wgen::tensor::{DType, Data, TensorType, Value};

const ROWS: usize = 24;
const SEED: u64 = 7;

const ALL: [Flat; 5] = [
    Flat::Parameters,
    Flat::Gradients,
    Flat::Moment1,
    Flat::Moment2,
    Flat::Ema,
];

fn devices() -> [Device; 2] {
    [Device::Gpu(gpu()), Device::Cpu]
}

/// Digits, as a model has them.
const DATA: DataType = DataType {
    rows: ROWS,
    width: 784,
    dtype: DType::U8,
    indices: ROWS,
    scale: 1.0 / 255.0,
    shift: 0.0,
    classes: 0,
    cameras: None,
};

fn vae(hidden: usize) -> Vae {
    Vae::new(VaeConfig {
        width: 784,
        hidden: vec![hidden],
        latent: 5,
        decoder: Decoder::Bernoulli,
        ..VaeConfig::mnist()
    })
    .unwrap()
}

/// A GAN with batch normalisation: parameters of two sets, and state.
fn gan() -> Gan {
    let image = digits(1, 0).shape;
    Gan::new(GanConfig {
        networks: Networks::Dcgan {
            generator_channels: 4,
            discriminator_channels: 4,
            discriminator_norm: true,
        },
        latent: 6,
        ..GanConfig::for_data(image, true)
    })
    .unwrap()
}

fn update(model: &dyn Model, phase: usize, batch: usize) -> Update {
    let phase = model.phases().swap_remove(phase);
    Update {
        rule: Rule::ADAM,
        max_norm: 0.5,
        ema: true,
        metrics: phase.metrics,
        set: phase.set,
        takes_data: phase.takes_data,
        batch,
        loss_scale: false,
    }
}

fn rows(rule: Rule, rate: f64) -> Vec<[f32; SCHEDULE_COLUMNS]> {
    (0..8)
        .map(|step| rule.schedule_row(step, rate, 0.9, 1.0))
        .collect()
}

/// A session with drawn weights that begins its first step.
fn session(device: &Device, parameters: Vec<Parameter>, rule: Rule, rate: f64) -> Box<dyn Session> {
    let weights: Vec<_> = parameters.iter().map(|p| init::draw(p, SEED)).collect();
    let layout = Layout::new(parameters, device.caps().binding_bytes).unwrap();
    let options = StoreOptions {
        training: true,
        ema: true,
    };
    let session = device.session(layout, options).unwrap();
    session.write(Flat::Parameters, &weights).unwrap();
    session.write(Flat::Ema, &weights).unwrap();
    session.set_state(0, SEED, 0).unwrap();
    session.write_schedule(0, &rows(rule, rate), true).unwrap();
    session
}

/// What three steps leave in the store and in the ring.
fn after_three(
    device: &Device,
    model: &dyn Model,
    phase: usize,
    step: impl Fn(&mut dyn Executable),
) -> (Vec<Vec<Vec<u32>>>, Vec<Vec<u32>>) {
    let session = session(device, model.parameters(), Rule::ADAM, 1e-2);
    let upload = |name: &str, value| session.upload(name, value).unwrap();
    let data = upload(
        "data",
        Value::new([ROWS, 784], digits(ROWS, 3).values).unwrap(),
    );
    let order = Data::U32((0..ROWS as u32).rev().collect());
    let index = upload("index", Value::new([ROWS], order).unwrap());
    let graph = model
        .training(phase, &DATA, &update(model, phase, 8))
        .unwrap();
    let mut inputs = vec![("data", data.as_ref()), ("index", index.as_ref())];
    inputs.retain(|(name, _)| graph.has_input(name));
    let mut executable = session.compile(&graph, &inputs).unwrap();
    (0..3).for_each(|_| step(executable.as_mut()));
    let bits = |tensor: &Vec<f32>| tensor.iter().map(|x| x.to_bits()).collect();
    let flats = ALL
        .iter()
        .map(|flat| session.read(*flat).unwrap().iter().map(bits).collect())
        .collect();
    let ring = session.begin_ring().unwrap().wait().unwrap();
    assert!(ring.step() == 3 && !ring.halted());
    let figures = (0..3).map(|step| bits(&ring.row(step).to_vec())).collect();
    (flats, figures)
}

#[test]
fn two_halves_are_one_step_bit_for_bit() {
    let (vae, gan) = (vae(24), gan());
    let cases: [(&dyn Model, usize); 3] = [(&vae, 0), (&gan, 0), (&gan, 1)];
    for device in devices() {
        for (model, phase) in cases {
            let whole = after_three(&device, model, phase, |step| step.run(1).unwrap());
            let halves = after_three(&device, model, phase, |step| {
                step.gradients().unwrap();
                step.update().unwrap();
            });
            assert_eq!(whole, halves, "{} {phase}, {device:?}", model.name());
            let moved = |flat: usize| whole.0[flat].iter().flatten().any(|&bits| bits != 0);
            assert!((0..ALL.len()).all(moved));
        }
    }
}

#[test]
fn the_halves_of_a_step_of_several_segments_are_the_same_bits_too() {
    let gpu = gpu();
    let model = vae(1500);
    let batch = ROWS * 8;
    let data = DataType {
        indices: batch,
        ..DATA
    };
    let graph = model.training(0, &data, &update(&model, 0, batch)).unwrap();
    let after = |step: &dyn Fn(&Plan)| {
        let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
        let weights: Vec<_> = layout
            .parameters
            .iter()
            .map(|p| init::draw(p, SEED))
            .collect();
        let options = StoreOptions {
            training: true,
            ema: true,
        };
        let store = Store::new(&gpu, layout, options).unwrap();
        store.write(Flat::Parameters, &weights).unwrap();
        store
            .write_schedule(0, &rows(Rule::ADAM, 1e-3), true)
            .unwrap();
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        plan.write("data", &digits(ROWS, 3).values).unwrap();
        let order = (0..batch as u32).map(|i| i % ROWS as u32).collect();
        plan.write("index", &Data::U32(order)).unwrap();
        step(&plan);
        step(&plan);
        (plan.segments().len(), ALL.map(|f| store.read(f).unwrap()))
    };
    let whole = after(&|plan| plan.run(1).unwrap());
    let halves = after(&|plan| {
        plan.run_gradients().unwrap();
        plan.run_update().unwrap();
    });
    assert!(whole.0 > 1, "{} segments", whole.0);
    assert!(whole == halves);
}

const WIDTH: usize = 6;
const OUTPUTS: usize = 3;
const SGD: Rule = Rule::Sgd {
    momentum: 0.0,
    decay: 0.0,
    nesterov: false,
};
const RATE: f64 = 0.125;

fn linear() -> Vec<Parameter> {
    vec![
        Parameter::new("w", [OUTPUTS, WIDTH], Init::Normal(0.0, 0.5)),
        Parameter::new("b", [OUTPUTS], Init::Normal(0.0, 0.5)),
    ]
}

/// Least squares on `batch` examples: the loss is a sum over them, so that gradients of batches add up.
fn least_squares(batch: usize) -> Graph {
    let graph = Graph::new(Domain::Training);
    {
        let data = graph.input("data", TensorType::f32([8, WIDTH]));
        let index = graph.input("index", TensorType::u32([8]));
        let x = data.gather_batch(index, batch, 1.0, 0.0);
        let w = graph.parameter("w", [OUTPUTS, WIDTH]);
        let b = graph.parameter("b", [OUTPUTS]);
        let y = x.linear(w, b);
        let loss = (y * y).sum_all() * 0.125;
        graph.output("loss", loss);
        for (name, gradient) in ["w", "b"].iter().zip(graph.gradients(loss, &[w, b])) {
            graph.output_gradient(name, gradient);
        }
    }
    graph.set_update(Update {
        rule: SGD,
        max_norm: 0.0,
        ema: false,
        metrics: vec!["loss".to_owned()],
        set: 0,
        batch,
        takes_data: true,
        loss_scale: false,
    });
    graph
}

/// A session with least squares on `batch` examples at a time.
fn regression(device: &Device, batch: usize) -> (Box<dyn Session>, Box<dyn Executable>) {
    let session = session(device, linear(), SGD, RATE);
    let values = Data::F32(
        (0..8 * WIDTH)
            .map(|i| ((i * 37 % 23) as f32 - 11.0) / 13.0)
            .collect(),
    );
    let data = session
        .upload("data", Value::new([8, WIDTH], values).unwrap())
        .unwrap();
    let order = Data::U32(vec![5, 2, 7, 0, 3, 6, 1, 4]);
    let index = session
        .upload("index", Value::new([8], order).unwrap())
        .unwrap();
    let inputs = [("data", data.as_ref()), ("index", index.as_ref())];
    let executable = session.compile(&least_squares(batch), &inputs).unwrap();
    (session, executable)
}

/// The largest difference of two lists of tensors.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.fold(0.0, |worst, (x, y)| worst.max((x - y).abs()))
}

#[test]
fn gradients_of_two_half_batches_add_up_to_the_whole_batch() {
    for device in devices() {
        let (session, mut half) = regression(&device, 4);
        let weights = session.read(Flat::Parameters).unwrap();
        half.gradients().unwrap();
        let first = session.read(Flat::Gradients).unwrap();
        let first_loss = half.read("loss").unwrap().data.to_f64()[0];
        // Nothing has moved on: the second half of the batch has to be asked for.
        session.set_cursor(4).unwrap();
        half.gradients().unwrap();
        let mut sum = session.read(Flat::Gradients).unwrap();
        assert!(difference(&first, &sum) > 0.01);
        for (sum, first) in sum.iter_mut().flatten().zip(first.iter().flatten()) {
            *sum += first;
        }
        let loss = first_loss + half.read("loss").unwrap().data.to_f64()[0];
        session.write(Flat::Gradients, &sum).unwrap();
        half.update().unwrap();
        let accumulated = session.read(Flat::Parameters).unwrap();

        // What the rule makes of the sum: the rate is a power of two, so its product is exact.
        let mut expected = weights.clone();
        for (w, g) in expected.iter_mut().flatten().zip(sum.iter().flatten()) {
            *w -= RATE as f32 * g;
        }
        assert_eq!(accumulated, expected, "{device:?}");
        let ring = session.begin_ring().unwrap().wait().unwrap();
        assert_eq!(ring.step(), 1);
        let squares: f32 = sum.iter().flatten().map(|g| g * g).sum();
        assert!((ring.row(0)[6] - squares.sqrt()).abs() < 1e-5 * squares.sqrt());

        let (session, mut whole) = regression(&device, 8);
        whole.run(1).unwrap();
        let gradients = session.read(Flat::Gradients).unwrap();
        let apart = difference(&gradients, &sum);
        assert!(apart < 1e-5, "{device:?}: gradients differ by {apart}");
        let apart = difference(&session.read(Flat::Parameters).unwrap(), &accumulated);
        assert!(apart < 1e-5, "{device:?}: weights differ by {apart}");
        let whole_loss = whole.read("loss").unwrap().data.to_f64()[0];
        assert!((whole_loss - loss).abs() < 1e-5 * loss);
    }
}

#[test]
fn gradients_scaled_by_zero_leave_the_weights_of_sgd_as_they_were() {
    for device in devices() {
        let (session, mut step) = regression(&device, 8);
        let before = session.read(Flat::Parameters).unwrap();
        step.gradients().unwrap();
        let mut gradients = session.read(Flat::Gradients).unwrap();
        assert!(gradients.iter().flatten().any(|g| g.abs() > 0.1));
        gradients.iter_mut().flatten().for_each(|g| *g *= 0.0);
        session.write(Flat::Gradients, &gradients).unwrap();
        step.update().unwrap();
        assert_eq!(session.read(Flat::Parameters).unwrap(), before);
        let ring = session.begin_ring().unwrap().wait().unwrap();
        assert!(ring.step() == 1 && ring.row(0)[6] == 0.0);
        // The next step goes on with gradients of its own.
        step.run(1).unwrap();
        assert!(difference(&session.read(Flat::Parameters).unwrap(), &before) > 0.01);
    }
}

#[test]
fn a_gradient_spoilt_between_the_halves_is_refused_as_any_other() {
    for device in devices() {
        let (session, mut step) = regression(&device, 8);
        let before = session.read(Flat::Parameters).unwrap();
        step.gradients().unwrap();
        let mut gradients = session.read(Flat::Gradients).unwrap();
        gradients[1][0] = f32::NAN;
        session.write(Flat::Gradients, &gradients).unwrap();
        step.update().unwrap();
        assert_eq!(session.read(Flat::Parameters).unwrap(), before);
        assert!(session.begin_ring().unwrap().wait().unwrap().halted());
    }
}

#[test]
fn what_does_not_belong_to_a_session_is_an_error() {
    let [gpu, cpu] = devices().map(|device| session(&device, linear(), SGD, RATE));
    let value = || Value::f32([8, WIDTH], vec![0.0; 8 * WIDTH]).unwrap();
    for (session, other) in [(&gpu, &cpu), (&cpu, &gpu)] {
        let foreign = other.upload("data", value()).unwrap();
        let error = session
            .compile(&least_squares(8), &[("data", foreign.as_ref())])
            .unwrap_err();
        assert!(error.to_string().contains("another session"), "{error}");
        let own = session.upload("data", value()).unwrap();
        let error = session
            .compile(&least_squares(8), &[("picture", own.as_ref())])
            .unwrap_err();
        assert!(error.to_string().contains("no such input"), "{error}");
        let mut step = session.compile(&least_squares(8), &[]).unwrap();
        assert!(step.write("picture", value()).is_err());
        assert!(step.read("picture").is_err());
        assert!(session.write(Flat::Parameters, &[vec![0.0]]).is_err());
        assert!(
            session
                .write(Flat::Parameters, &[vec![0.0], vec![0.0]])
                .is_err()
        );
    }
    // The interpreter has no metrics before it has run.
    let mut step = cpu.compile(&least_squares(8), &[]).unwrap();
    assert!(step.update().unwrap_err().to_string().contains("loss"));
}

#[test]
fn state_has_its_next_value_where_a_gradient_would_be() {
    let model = gan();
    let device = Device::Cpu;
    let session = session(&device, model.parameters(), Rule::ADAM, 0.0);
    let data = session
        .upload(
            "data",
            Value::new([ROWS, 784], digits(ROWS, 3).values).unwrap(),
        )
        .unwrap();
    let index = Value::new([ROWS], Data::U32((0..ROWS as u32).collect())).unwrap();
    let index = session.upload("index", index).unwrap();
    let graph = model.training(0, &DATA, &update(&model, 0, 8)).unwrap();
    let inputs = [("data", data.as_ref()), ("index", index.as_ref())];
    let mut step = session.compile(&graph, &inputs).unwrap();
    step.gradients().unwrap();
    let next = session.read(Flat::Gradients).unwrap();
    step.update().unwrap();
    let now = session.read(Flat::Parameters).unwrap();
    let parameters = &session.layout().parameters;
    let set = update(&model, 0, 8).set;
    let mut states = 0;
    for (i, parameter) in parameters.iter().enumerate() {
        if parameter.role == Role::State(set) {
            assert_eq!(now[i], next[i], "{}", parameter.name);
            states += 1;
        }
    }
    assert!(states > 0);
}
