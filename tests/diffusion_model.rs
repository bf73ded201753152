//! The diffusion model as a whole: parts of a batch, memory of attention, samples that depend on nothing but their number, chains of its steps.

mod common;

use common::{gpu, relative_difference};
use wgen::evaluate::{Evaluator, Start};
use wgen::graph::Graph;
use wgen::graph::layout::Layout;
use wgen::graph::update::{Rule, Update};
use wgen::kernels::philox::Domain;
use wgen::models::diffusion::samplers::{self, SamplerSettings};
use wgen::models::diffusion::spacing::{SigmaSpacing, Spacing};
use wgen::models::diffusion::{Config, Diffusion, Network, mlp, unet};
use wgen::models::{DataType, Model};
use wgen::nn::init;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;
use wgen::session::Device;
use wgen::tensor::ImageShape;
use wgen::tensor::{DType, Data, TensorType};

fn image(side: usize) -> ImageShape {
    ImageShape {
        height: side,
        width: side,
        channels: 1,
    }
}

/// Large enough that activations are most of the memory.
const SIDE: usize = 32;

fn small_unet(accumulate: usize) -> Diffusion {
    let unet = unet::Config {
        norm_num_groups: 4,
        attention_head_dim: Some(4),
        ..unet::Config::of(image(SIDE), &[8, 16], 1, &[])
    };
    let config = Config::of(image(SIDE), true, Network::Unet(Box::new(unet)));
    Diffusion::new(Config {
        accumulate,
        ..config
    })
    .unwrap()
}

/// Weights that no branch begins as zero with.
fn weights(layout: &Layout) -> Vec<Vec<f32>> {
    let drawn = layout.parameters.iter().map(|p| {
        let mut p = p.clone();
        if p.shape.rank() > 1 {
            p.init = init_of(0.1);
        }
        init::draw(&p, 3)
    });
    drawn.collect()
}

fn init_of(deviation: f32) -> wgen::graph::layout::Init {
    wgen::graph::layout::Init::Normal(0.0, deviation)
}

/// A step's gradients, its loss and the plan's memory, of one model made in `accumulate` parts.
fn step(accumulate: usize) -> (Vec<Vec<f32>>, f64, u64) {
    const BATCH: usize = 7;
    let gpu = gpu();
    let model = small_unet(accumulate);
    let data = DataType {
        rows: BATCH,
        width: SIDE * SIDE,
        dtype: DType::F32,
        indices: BATCH,
        scale: 1.0,
        shift: 0.0,
        classes: 0,
        cameras: None,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: vec!["loss".to_owned()],
        set: 0,
        batch: BATCH,
        takes_data: true,
        loss_scale: false,
    };
    let graph = model.training(0, &data, &update).unwrap();
    let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
    let options = StoreOptions {
        training: true,
        ema: false,
    };
    let store = Store::new(&gpu, layout.clone(), options).unwrap();
    store.write(Flat::Parameters, &weights(&layout)).unwrap();
    store.set_state(4, 9, 0).unwrap();
    let row = Rule::ADAM.schedule_row(4, 1e-3, 0.0, 1.0);
    store.write_schedule(4, &[row; 2], true).unwrap();
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    let images = (0..BATCH * SIDE * SIDE).map(|i| ((i * 37) % 101) as f32 / 101.0);
    plan.write("data", &Data::F32(images.collect())).unwrap();
    let index = Data::U32((0..BATCH as u32).collect());
    plan.write("index", &index).unwrap();
    plan.run(1).unwrap();
    let loss = plan.read("loss").unwrap().data.to_f64()[0];
    (store.read(Flat::Gradients).unwrap(), loss, plan.memory())
}

#[test]
fn parts_of_a_batch_give_its_gradients_in_less_memory() {
    let (whole, loss, memory) = step(1);
    // Seven examples in parts of two: the last part is smaller.
    let (parts, parts_loss, parts_memory) = step(4);
    assert!(
        (loss / parts_loss - 1.0).abs() < 1e-5,
        "{loss} {parts_loss}"
    );
    for (a, b) in whole.iter().zip(&parts) {
        let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let (a, b) = (wide(a), wide(b));
        let range = a.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        if range > 1e-6 {
            assert!(relative_difference(&a, &b) < 1e-4);
        }
    }
    assert!(
        parts_memory * 2 < memory,
        "{parts_memory} bytes in parts, {memory} as a whole"
    );
}

#[test]
fn the_memory_of_attention_grows_linearly() {
    let gpu = gpu();
    let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    // Forward and all three gradients.
    let memory = |tokens: usize| {
        let graph = Graph::new(Domain::Training);
        let x = graph.input("x", TensorType::f32([1, tokens, 2, 16]));
        let [q, k, v] = [1.0, 2.0, 3.0].map(|factor| x * factor);
        let y = q.attention(k, v);
        let loss = (y * y).sum_all();
        for (name, gradient) in ["q", "k", "v"]
            .into_iter()
            .zip(graph.gradients(loss, &[q, k, v]))
        {
            graph.output(name, gradient);
        }
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        plan.memory()
    };
    let sizes: Vec<u64> = [512, 1024, 2048, 4096].into_iter().map(memory).collect();
    for pair in sizes.windows(2) {
        let growth = pair[1] as f64 / pair[0] as f64;
        assert!(growth < 2.02, "{sizes:?}");
    }
    // A matrix of 4096 by 4096 for two heads alone would have 128 MiB.
    assert!(sizes[3] < 16 << 20, "{sizes:?}");
}

fn points(sampling: SamplerSettings) -> Diffusion {
    let network = mlp::Config {
        width: 2,
        hidden: 16,
        blocks: 1,
        outputs: 2,
        classes: 4,
    };
    let shape = ImageShape {
        height: 1,
        width: 2,
        channels: 1,
    };
    let config = Config::of(shape, false, Network::Mlp(network));
    Diffusion::new(Config {
        classes: 3,
        null_share: 0.1,
        sampling,
        ..config
    })
    .unwrap()
}

#[test]
fn samples_are_the_same_on_gpu_and_cpu_and_whatever_their_number() {
    let ancestral = SamplerSettings {
        sampler: "ddpm".to_owned(),
        steps: 8,
        guidance: 1.7,
        ..SamplerSettings::default()
    };
    let deterministic = SamplerSettings {
        steps: 8,
        ..SamplerSettings::default()
    };
    for sampling in [ancestral, deterministic] {
        let model = points(sampling);
        let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
        let weights = weights(&layout);
        let samples = |device: &Device, count: usize| {
            let mut evaluator = Evaluator::new(device, &model, &weights, 4, 11).unwrap();
            evaluator.samples(&model, count, None).unwrap()
        };
        let device = Device::Gpu(gpu());
        let many = samples(&device, 70);
        let few = samples(&device, 5);
        assert_eq!(many.x[..10], few.x[..]);
        assert_eq!(many.labels[..5], [0, 1, 2, 0, 1]);
        let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let cpu = samples(&Device::Cpu, 5);
        let difference = relative_difference(&wide(&few.x), &wide(&cpu.x));
        assert!(difference < 1e-4, "{difference:e}");
    }
}

#[test]
fn guided_ddim_goes_on_from_the_clipped_x0_unless_told_otherwise() {
    for (guidance, told, clipped) in [
        (1.0, None, false),
        (2.0, None, true),
        (2.0, Some(false), false),
        (1.0, Some(true), true),
    ] {
        let model = points(SamplerSettings {
            guidance,
            use_clipped_model_output: told,
            ..SamplerSettings::default()
        });
        // The prediction enters by x_0 alone.
        assert!(
            model.steps()[..49]
                .iter()
                .all(|s| (s.mean.p == 0.0) == clipped)
        );
    }
}

#[test]
fn a_process_that_is_interrupted_goes_on_to_the_same_samples() {
    let model = points(SamplerSettings {
        steps: 10,
        ..SamplerSettings::default()
    });
    let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
    let weights = weights(&layout);
    let device = Device::Gpu(gpu());
    let mut evaluator = Evaluator::new(&device, &model, &weights, 4, 2).unwrap();
    let mut middle = Vec::new();
    let whole = evaluator
        .samples_from(&model, 6, Some(1), &Start::default(), &mut |left, run| {
            if left == 6 {
                middle = run.read("next")?.data.to_f32();
            }
            Ok(())
        })
        .unwrap();
    let start = Start {
        x: Some(middle),
        runs_done: 4,
        ..Start::default()
    };
    let rest = evaluator
        .samples_from(&model, 6, Some(1), &start, &mut |_, _| Ok(()))
        .unwrap();
    assert_eq!(whole.x, rest.x);
}

#[test]
fn a_process_begins_where_a_step_does() {
    let settings = |sampler: &str| SamplerSettings {
        sampler: sampler.to_owned(),
        spacing: Spacing::Trailing,
        steps: 10,
        ..SamplerSettings::default()
    };
    let examples = [0.5, -0.25, 1.0, 0.0];
    for (sampler, rows) in [("heun", 19), ("dpmpp-2m", 10), ("unipc", 10), ("euler", 10)] {
        let model = points(settings(sampler));
        assert_eq!(
            (model.step_count(), model.steps().len()),
            (10, rows),
            "{sampler}"
        );
        // A strength that is no whole number of steps is rounded, to one at least; of Heun's pairs none is cut.
        for (strength, steps) in [(0.55, 6), (0.5, 5), (0.44, 4), (0.01, 1), (1.0, 10)] {
            let (rest, start) = Start::noised(&model, &examples, strength, 3).unwrap();
            assert_eq!(rest.step_count(), steps, "{sampler}, {strength}");
            let first = rest.steps()[0];
            assert!(first.begins() && first.step == 10 - steps);
            // Its noise is that of the first step that is left.
            let at = model.noised(&examples, 10 - steps, 3).unwrap();
            assert_eq!(start.x, Some(at.data.to_f32()));
            assert_eq!(
                first.level,
                model
                    .steps()
                    .iter()
                    .find(|r| r.step == 10 - steps)
                    .unwrap()
                    .level
            );
            let calls = if sampler == "heun" {
                2 * steps - 1
            } else {
                steps
            };
            assert_eq!(rest.steps().len(), calls);
        }
        // Begun in the middle of a pair, or of what looks back, it is refused.
        let sampling = model.sampling(2).unwrap();
        let refused = sampling.begin(0, 0, 3);
        if sampler == "euler" {
            assert!(refused.is_ok());
        } else {
            let said = refused.unwrap_err().to_string();
            assert!(
                said.contains("run 3") && said.contains("goes on from the one before"),
                "{said}"
            );
        }
        assert!(sampling.begin(0, 0, 0).is_ok());
    }
    let heun = points(settings("heun")).sampling(1).unwrap();
    // The second of a pair goes on, the first does not.
    assert!(heun.begin(0, 0, 4).is_ok() && heun.begin(0, 0, 5).is_err());
}

#[test]
fn every_sampler_gives_the_same_on_the_gpu_and_the_cpu() {
    for entry in samplers::ALL {
        for sigmas in [None, Some(SigmaSpacing::Karras)] {
            // Its model was distilled at some timesteps.
            if sigmas.is_some() && entry.name == "lcm" {
                continue;
            }
            let model = points(SamplerSettings {
                sampler: entry.name.to_owned(),
                spacing: entry.spacing,
                sigmas,
                steps: 6,
                ..SamplerSettings::default()
            });
            let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
            let weights = weights(&layout);
            let x = |device: &Device| {
                let mut evaluator = Evaluator::new(device, &model, &weights, 4, 5).unwrap();
                let samples = evaluator.samples(&model, 9, None).unwrap();
                samples
                    .x
                    .iter()
                    .map(|&x| f64::from(x))
                    .collect::<Vec<f64>>()
            };
            let (gpu, cpu) = (x(&Device::Gpu(gpu())), x(&Device::Cpu));
            let difference = relative_difference(&gpu, &cpu);
            assert!(
                difference < 1e-4,
                "{}, {sigmas:?}: {difference:e}",
                entry.name
            );
        }
    }
}

/// As diffusers strides, however many steps are left (img2img).
#[test]
fn a_stride_is_of_the_whole_process() {
    let base = small_unet(1);
    let settings = SamplerSettings {
        steps: 10,
        stride: true,
        ..base.config().sampling.clone()
    };
    let whole = base.with_sampling(&settings).unwrap();
    let rest = whole.from_step(5).unwrap();
    assert_eq!(rest.steps(), &whole.steps()[5..]);
    assert_eq!(rest.steps().len(), 5);
}
