//! Pictures completed by a sampler: against loops that were written apart from it, run by run on both devices; known values to the last bit;
//! RePaint's way; and what is refused.

mod common;

use common::laws::{Law, Normal};
use common::sampled::{State, apply, trailing};
use common::{drawn, golden, gpu};
use wgen::evaluate::{Evaluator, Samples, Start};
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout};
use wgen::kernels::philox::Domain;
use wgen::models::Model;
use wgen::models::diffusion::inpainting::{Inpainting, RePaint, visits};
use wgen::models::diffusion::process::Prediction;
use wgen::models::diffusion::samplers::{self, SamplerSettings};
use wgen::models::diffusion::{Config, Diffusion, Network, mlp};
use wgen::nn::init;
use wgen::plan::{Plan, Player, Sampler, Store, StoreOptions};
use wgen::program::baked::Routine;
use wgen::program::sampling::normal;
use wgen::program::{Flat, PlanOptions};
use wgen::session::Device;
use wgen::tensor::ImageShape;

const MASKED: Inpainting = Inpainting { repaint: None };

fn jumps(jump_length: usize, jump_n_sample: usize) -> Inpainting {
    Inpainting {
        repaint: Some(RePaint {
            jump_length,
            jump_n_sample,
        }),
    }
}

fn settings(sampler: &str, steps: usize) -> SamplerSettings {
    SamplerSettings {
        sampler: sampler.to_owned(),
        spacing: samplers::find(sampler).unwrap().spacing,
        steps,
        ..SamplerSettings::default()
    }
}

/// A perceptron on pictures of one row, that predicts x_0 and is not clipped.
fn model(width: usize, pixels: bool, sampling: SamplerSettings) -> Diffusion {
    let image = ImageShape {
        height: 1,
        width,
        channels: 1,
    };
    let network = mlp::Config {
        width,
        hidden: 16,
        blocks: 1,
        outputs: width,
        classes: 0,
    };
    Diffusion::new(Config {
        prediction: Prediction::Sample,
        clip: None,
        sampling,
        ..Config::of(image, pixels, Network::Mlp(network))
    })
    .unwrap()
}

fn weights(model: &Diffusion) -> Vec<Vec<f32>> {
    let drawn = model.parameters().into_iter().map(|mut p| {
        if p.shape.rank() > 1 {
            p.init = Init::Normal(0.0, 0.3);
        }
        init::draw(&p, 3)
    });
    drawn.collect()
}

const SEED: u64 = 9;

fn completed(device: &Device, model: &Diffusion, count: usize, start: &Start) -> Samples {
    let mut evaluator = Evaluator::new(device, model, &weights(model), 4, SEED).unwrap();
    evaluator
        .samples_from(model, count, None, start, &mut |_, _| Ok(()))
        .unwrap()
}

/// `waves` of the script.
fn wave(phase: f64, visit: usize, element: usize) -> f64 {
    (element as f64 * 1.7 + 0.9 * visit as f64 + phase).cos()
}

/// Rows and overlays in f64, of the law whose denoiser is known.
fn by_rows(model: &Diffusion) -> Vec<f64> {
    let tensors = golden("inpainting");
    let of = |name: &str| tensors[name].data.to_f64();
    let (picture, mask, start, fixed) = (of("picture"), of("mask"), of("start"), of("fixed"));
    let fresh = model.completes().unwrap().repaint.is_some();
    let one = |e: usize| {
        let mut state = State {
            x: start[e],
            ..State::default()
        };
        for (row, overlay) in model.steps().iter().zip(model.overlays()) {
            let p = Normal.denoise(state.x, row.level);
            apply(row, &mut state, p, wave(0.0, row.draw, e));
            let z = if fresh {
                wave(2.0, row.draw, e)
            } else {
                fixed[e]
            };
            let k = if overlay.lays { mask[e] } else { 0.0 };
            let over = |[a, s]: [f64; 2], x: f64| k * (a * picture[e] + s * z) + (1.0 - k) * x;
            state.x = over([overlay.level.a, overlay.level.s], state.x);
            state.kept = over(overlay.kept, state.kept);
            let [of_x, of_z] = overlay.jump;
            state.x = of_x * state.x + of_z * wave(4.0, row.draw, e);
        }
        state.x
    };
    (0..picture.len()).map(one).collect()
}

#[test]
fn rows_come_to_what_loops_written_apart_come_to() {
    let eta = |eta: f64| SamplerSettings {
        eta,
        ..settings("ddim", 20)
    };
    for (name, sampling, how) in [
        ("first", settings("ddim", 10), MASKED),
        ("first", settings("euler", 10), MASKED),
        ("heun", settings("heun", 10), MASKED),
        ("two_m", settings("dpmpp-2m", 10), MASKED),
        ("unipc", settings("unipc", 10), MASKED),
        ("repaint/ddpm", settings("ddpm", 20), jumps(5, 3)),
        ("repaint/ddpm", settings("euler-a", 20), jumps(5, 3)),
        ("repaint/ddim", eta(0.7), jumps(5, 3)),
    ] {
        let model = model(4, false, trailing(sampling)).inpainting(how).unwrap();
        let expected = golden("inpainting")[name].data.to_f64();
        let sampler = &model.config().sampling.sampler;
        for (got, expected) in by_rows(&model).into_iter().zip(expected) {
            assert!(
                (got - expected).abs() < 1e-10,
                "{name}, {sampler}: {got}, not {expected}"
            );
        }
    }
}

#[test]
fn repaint_goes_the_way_of_the_paper_and_of_diffusers() {
    let text = include_str!("golden/inpainting.json");
    let ways: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(ways.len(), 5);
    for (name, way) in &ways {
        let numbers: Vec<usize> = name.split(',').map(|n| n.parse().unwrap()).collect();
        let [n, jump_length, jump_n_sample] = numbers[..] else {
            panic!("{name}")
        };
        let repaint = RePaint {
            jump_length,
            jump_n_sample,
        };
        let made = visits(n, repaint);
        // t of each x, the way up step by step: as diffusers lists it.
        let mut ts = vec![n - 1];
        for visit in &made {
            assert_eq!(ts.last(), Some(&(n - 1 - visit.step)), "{name}");
            if visit.step + 1 < n {
                ts.push(n - 2 - visit.step);
            }
            if let Some(back) = visit.back_to {
                ts.extend(n - 1 - visit.step..=n - 1 - back);
            }
        }
        assert_eq!(way["steps"], ts.len(), "{name}");
        assert_eq!(way["calls"], made.len(), "{name}");
        assert_eq!(repaint.calls(n), Some(made.len()), "{name}");
        let expected: Vec<usize> = serde_json::from_value(way["way"].clone()).unwrap();
        assert_eq!(ts[..expected.len()], expected, "{name}");
    }
    // 250 steps, ten back and ten times.
    let model = model(2, false, settings("ddpm", 250));
    let model = model.inpainting(jumps(10, 10)).unwrap();
    assert_eq!(model.steps().len(), 2410);
    assert_eq!(model.steps().len() + model.steps_back(), 4570);
    assert_eq!(model.sampling(1).unwrap().runs, 2410);
    // Each visit has noise of its own.
    assert!(model.steps().iter().enumerate().all(|(i, r)| r.draw == i));
}

/// Noise of a sampling stream, of a draw: keyed by example, as whoever draws it by itself would.
fn noise(stream: &str, draw: usize, count: usize, width: usize) -> Vec<f64> {
    let graph = Graph::new(Domain::Sampling);
    graph.output("z", graph.normal_by_example(stream, 1, count, width));
    let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
    let session = Device::Cpu
        .session(layout, StoreOptions::default())
        .unwrap();
    let mut executable = session.compile(&graph, &[]).unwrap();
    session.set_state(draw as u64, SEED, 0).unwrap();
    executable.run(1).unwrap();
    executable.read("z").unwrap().data.to_f64()
}

#[test]
fn each_run_lays_the_known_over_what_it_made() {
    const COUNT: usize = 3;
    const WIDTH: usize = 8;
    let pictures = drawn("pictures", COUNT * WIDTH, 0.5, 0.5);
    let mut mask = drawn("mask", COUNT * WIDTH, 0.5, 0.5);
    for (i, k) in mask.iter_mut().enumerate() {
        *k = [*k, 0.0, 1.0][i % 3];
    }
    let fixed = normal("prior", COUNT, WIDTH, SEED, 0);
    let eta = |eta: f64| SamplerSettings {
        eta,
        ..settings("ddim", 6)
    };
    let mut cases: Vec<(SamplerSettings, Inpainting)> = samplers::ALL
        .iter()
        .map(|entry| (settings(entry.name, 6), MASKED))
        .collect();
    cases.push((settings("ddpm", 6), jumps(2, 3)));
    cases.push((eta(0.6), jumps(2, 2)));
    for (sampling, how) in cases {
        for pixels in [true, false] {
            let model = model(WIDTH, pixels, sampling.clone());
            let levels = sampling
                .levels(model.process(), &model.config().process)
                .unwrap();
            let model = model.inpainting(how).unwrap();
            let start = Start::default().keeping(&model, &pictures, &mask).unwrap();
            for device in [Device::Gpu(gpu()), Device::Cpu] {
                let begin = model.sampling(COUNT).unwrap().begin(SEED, 0, 0).unwrap();
                let mut x = begin[0].1.data.to_f64();
                let mut states = vec![State::default(); COUNT * WIDTH];
                let runs = model.steps().len();
                let mut watch = |left: usize, run: &dyn wgen::session::Executable| {
                    let at = runs - 1 - left;
                    let (row, last) = (model.steps()[at], left == 0);
                    let read = |name: &str| Ok::<_, wgen::Error>(run.read(name)?.data.to_f64());
                    let (x0, next, images) = (read("x0")?, read("next")?, read("images")?);
                    let z = noise("reverse_step", row.draw, COUNT, WIDTH);
                    let (known, again) = match how.repaint {
                        Some(_) => (
                            noise("known", row.draw, COUNT, WIDTH),
                            noise("jump", row.draw, COUNT, WIDTH),
                        ),
                        None => (fixed.iter().map(|&z| f64::from(z)).collect(), Vec::new()),
                    };
                    // Of the pair of Heun's rows the first is no step yet.
                    let whole = model.steps().get(at + 1).is_none_or(|r| r.step != row.step);
                    let to = levels[row.step + 1]; // Of the last step: the picture.
                    let back = model.steps().get(at + 1).filter(|r| r.step < row.step);
                    for i in 0..x.len() {
                        let state = &mut states[i];
                        state.x = x[i];
                        apply(&row, state, x0[i], z[i]);
                        let y = f64::from(pictures[i]);
                        let y = if pixels { 2.0 * y - 1.0 } else { y };
                        let k = if whole { f64::from(mask[i]) } else { 0.0 };
                        let noised = |a: f64, s: f64| a * y + s * known[i];
                        let over = |a: f64, s: f64, x: f64| k * noised(a, s) + (1.0 - k) * x;
                        let shown = |x: f64| {
                            if pixels {
                                (0.5 * x + 0.5).clamp(0.0, 1.0)
                            } else {
                                x
                            }
                        };
                        let image = k * shown(noised(to.a, to.s)) + (1.0 - k) * shown(state.x);
                        let mut expected = over(to.a, to.s, state.x);
                        let [of_y, of_z] = model.overlays()[at].kept;
                        state.kept = over(of_y, of_z, state.kept);
                        if let Some(back) = back {
                            let of_x = back.level.a / to.a;
                            expected = of_x * expected + (1.0 - of_x * of_x).sqrt() * again[i];
                        }
                        // A dozen roundings of numbers below ten, and the noise's.
                        let bound = 2e-5 * expected.abs().max(1.0);
                        assert!(
                            (next[i] - expected).abs() < bound,
                            "{}, run {at}: {}, not {expected}",
                            sampling.sampler,
                            next[i]
                        );
                        assert!(
                            (images[i] - image).abs() < bound,
                            "{}, run {at}: image {}, not {image}",
                            sampling.sampler,
                            images[i]
                        );
                        assert!(!(last && mask[i] == 1.0) || images[i] == f64::from(pictures[i]));
                    }
                    x = next;
                    Ok(())
                };
                let mut evaluator =
                    Evaluator::new(&device, &model, &weights(&model), 4, SEED).unwrap();
                evaluator
                    .samples_from(&model, COUNT, None, &start, &mut watch)
                    .unwrap();
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn known_values_come_out_to_the_last_bit() {
    const WIDTH: usize = 256;
    const COUNT: usize = 2;
    // All bytes as pixels, and numbers that no byte gives.
    let mut pictures: Vec<f32> = (0..WIDTH).map(|b| b as f32 * (1.0 / 255.0)).collect();
    pictures.extend(drawn("known", WIDTH, 0.5, 0.5));
    // Every third is made anew, one in seven of the others half.
    let k = |i: usize| match i {
        _ if i.is_multiple_of(3) => 0.0,
        _ if i.is_multiple_of(7) => 0.5,
        _ => 1.0,
    };
    let mask: Vec<f32> = (0..WIDTH).map(k).collect();
    let mut cases: Vec<(SamplerSettings, Inpainting)> = samplers::ALL
        .iter()
        .map(|entry| (settings(entry.name, 4), MASKED))
        .collect();
    cases.push((settings("ddpm", 5), jumps(2, 2)));
    let sigma_min = SamplerSettings {
        last_sigma: wgen::models::diffusion::spacing::LastSigma::SigmaMin,
        ..settings("ddim", 4)
    };
    cases.push((sigma_min, MASKED));
    for (sampling, how) in cases {
        for (pixels, scale) in [(true, 1.0), (false, 3.7)] {
            let pictures: Vec<f32> = pictures.iter().map(|x| x * scale).collect();
            // What is made anew is not looked at.
            let mut others = pictures.clone();
            for (i, x) in others.iter_mut().enumerate() {
                if mask[i % WIDTH] == 0.0 {
                    *x = 0.25;
                }
            }
            let model = model(WIDTH, pixels, sampling.clone());
            let plain = model.clone();
            let model = model.inpainting(how).unwrap();
            for device in [Device::Gpu(gpu()), Device::Cpu] {
                let of = |pictures: &[f32]| {
                    let start = Start::default().keeping(&model, pictures, &mask).unwrap();
                    completed(&device, &model, COUNT, &start)
                };
                let samples = of(&pictures);
                let mut anew = 0;
                for (i, (&made, &known)) in samples.images.iter().zip(&pictures).enumerate() {
                    let (name, k) = (&sampling.sampler, mask[i % WIDTH]);
                    if k == 1.0 {
                        assert_eq!(made.to_bits(), known.to_bits(), "{name}: {made}, {known}");
                        let x = if pixels { 2.0 * known - 1.0 } else { known };
                        assert_eq!(samples.x[i], x, "{name}");
                    } else {
                        anew += usize::from(made != known);
                    }
                }
                assert!(anew > 100, "{}: {anew}", sampling.sampler);
                assert_eq!(bits(&samples.images), bits(&of(&others).images));
                // Nothing known: as without.
                if how == MASKED {
                    let nothing = completed(&device, &model, COUNT, &Start::default());
                    let before = completed(&device, &plain, COUNT, &Start::default());
                    assert_eq!(nothing.images, before.images, "{}", sampling.sampler);
                }
            }
        }
    }
}

#[test]
fn a_sample_is_the_same_in_every_batch_and_from_a_later_step_too() {
    let model = model(4, true, settings("ddpm", 8))
        .inpainting(jumps(2, 3))
        .unwrap();
    let pictures = drawn("pictures", 40, 0.5, 0.5);
    let mask = [1.0, 0.0, 0.5, 0.0];
    let device = Device::Cpu;
    for strength in [1.0, 0.5] {
        let (model, start) = Start::noised(&model, &pictures, strength, SEED).unwrap();
        let of = |count: usize| {
            let start = start.clone();
            let mut start = start
                .keeping(&model, &pictures[..4 * count], &mask)
                .unwrap();
            start.x = start.x.map(|x| x[..4 * count].to_vec());
            completed(&device, &model, count, &start).images
        };
        // More than a sampler has at a time are tested by the chunks of `samples`; here that rows are keyed by example.
        assert_eq!(of(10)[..12], of(3));
        let calls = RePaint {
            jump_length: 2,
            jump_n_sample: 3,
        }
        .calls(model.step_count());
        assert_eq!(Some(model.steps().len()), calls);
    }
    // Fresh noise without jumps and without a mask is the plain sampler, bit by bit.
    let plain = self::model(4, true, settings("ddpm", 8));
    let fresh = plain.inpainting(jumps(2, 1)).unwrap();
    let x = |model: &Diffusion| completed(&device, model, 5, &Start::default()).x;
    assert_eq!(x(&plain), x(&fresh));
}

#[test]
fn a_recorded_sampler_and_a_baked_one_are_given_pictures() {
    const COUNT: usize = 3;
    let gpu = gpu();
    let model = model(8, true, settings("unipc", 5));
    let model = model.inpainting(MASKED).unwrap();
    let pictures = drawn("pictures", COUNT * 8, 0.5, 0.5);
    let mask: Vec<f32> = (0..COUNT * 8).map(|i| [1.0, 0.0, 0.25][i % 3]).collect();
    let start = Start::default().keeping(&model, &pictures, &mask).unwrap();
    let expected = completed(&Device::Gpu(gpu.clone()), &model, COUNT, &start);

    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    store.write(Flat::Parameters, &weights(&model)).unwrap();
    let sampling = model.sampling(COUNT).unwrap();
    let names: Vec<&str> = sampling.given.iter().map(|g| g.name).collect();
    assert_eq!(names, ["known", "mask"]);
    let mut sampler = Sampler::new(sampling, &store, PlanOptions::default()).unwrap();
    sampler.give("known", &pictures).unwrap();
    sampler.give("mask", &mask).unwrap();
    // They stay whatever begins.
    for _ in 0..2 {
        sampler.begin(SEED, 0, None).unwrap();
        while !sampler.is_done() {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            sampler.record(&mut encoder);
            gpu.queue().submit([encoder.finish()]);
        }
        assert_eq!(sampler.samples().unwrap().data.to_f32(), expected.images);
    }
    for (name, values, words) in [
        ("masks", &mask[..], "known, mask"),
        ("mask", &mask[1..], "24 values, [3, 8]; got 23"),
    ] {
        let said = sampler.give(name, values).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }

    let sampling = model.sampling(COUNT).unwrap();
    let plan = Plan::compile(&sampling.graph, &store, &[], PlanOptions::default()).unwrap();
    let routine = Routine::of_sampling(plan.baked().clone(), &sampling, SEED, 0, None);
    let mut routine = routine.unwrap();
    let nothing = play(routine.clone(), &gpu, &model);
    assert_ne!(nothing, expected.images);
    let given = |values: &[f32]| wgen::tensor::Data::F32(values.to_vec());
    routine.give("known", &given(&pictures));
    routine.give("mask", &given(&mask));
    routine.check().unwrap();
    assert_eq!(play(routine, &gpu, &model), expected.images);
}

fn play(routine: Routine, gpu: &wgen::Gpu, model: &Diffusion) -> Vec<f32> {
    let store = Store::for_programs(gpu, &routine.programs).unwrap();
    store.write(Flat::Parameters, &weights(model)).unwrap();
    let mut player = Player::new(routine, &store, &[]).unwrap();
    player.play(u64::MAX).unwrap();
    player.read("images").unwrap().data.to_f32()
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let said = |result: wgen::Result<Diffusion>| result.unwrap_err().to_string();
    let of = |sampler: &str, steps: usize| model(4, true, settings(sampler, steps));
    for name in ["dpmpp-2m", "dpmpp-2m-sde", "unipc", "heun", "euler", "ddim"] {
        let message = said(of(name, 10).inpainting(jumps(2, 2)));
        assert!(
            message.starts_with(&format!("sampler {name}")) && message.contains("ddpm"),
            "{message}"
        );
    }
    for (length, times, words) in [
        (0, 2, "jump_length 0 must be from 1 to 9"),
        (10, 2, "jump_length 10 must be from 1 to 9: there are 10"),
        (
            usize::MAX,
            2,
            "jump_length 18446744073709551615 must be from 1 to 9",
        ),
        (2, 0, "jump_n_sample 0"),
        (1, usize::MAX, "too many calls"),
        (1, 100_000, "calls of the network of 10 steps"),
    ] {
        let message = said(of("ddpm", 10).inpainting(jumps(length, times)));
        assert!(message.contains(words), "{message}");
    }
    // Settings and steps that come later are held to it too.
    let completing = of("ddpm", 10).inpainting(jumps(4, 2)).unwrap();
    let message = said(completing.with_sampling(&settings("unipc", 10)));
    assert!(message.contains("unipc"), "{message}");
    let message = said(completing.from_step(7));
    assert!(message.contains("there are 3 steps"), "{message}");
    // Pictures and masks.
    let pictures = [0.5; 8];
    for (model, pictures, mask, words) in [
        (&of("ddpm", 10), &pictures[..], &[1.0; 4][..], "inpainting"),
        (&completing, &pictures[..7], &[1.0; 4], "no pictures of 4"),
        (&completing, &[f32::NAN; 4], &[1.0; 4], "finite"),
        (
            &completing,
            &pictures[..],
            &[1.0; 3],
            "mask has 3 values; it takes 4, for all pictures, or 8",
        ),
        (&completing, &pictures[..], &[1.5; 4], "mask 1.5"),
        (&completing, &pictures[..], &[f32::NAN; 4], "mask NaN"),
    ] {
        let start = Start::default().keeping(model, pictures, mask);
        let message = start.unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    // As many pictures as samples, and a sampler that takes them.
    let start = Start::default().keeping(&completing, &pictures, &[1.0; 4]);
    let start = start.unwrap();
    let mut evaluator =
        Evaluator::new(&Device::Cpu, &completing, &weights(&completing), 4, SEED).unwrap();
    for (model, count, words) in [
        (&completing, 3, "8 values; 3 samples take 12"),
        (&of("ddpm", 10), 2, "given no 'known'"),
    ] {
        let samples = evaluator.samples_from(model, count, None, &start, &mut |_, _| Ok(()));
        let message = samples.unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}
