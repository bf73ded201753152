//! `wgen demo`: the main job on built-in data, in about a minute.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::common::{Output, open};
use super::train::drive;
use super::{demo_nerf, outputs};
use crate::data::digits::digits;
use crate::data::toy::{Toy, points};
use crate::error::{Error, Result};
use crate::evaluate::{Evaluator, Start, mean_pixel_loss};
use crate::files::write_synced;
use crate::files::{Config, Training};
use crate::gpu::Choice;
use crate::models::diffusion::{self, Diffusion, mlp};
use crate::models::vae::{self, Vae};
use crate::nn::schedule::{LearningRate, Shape};
use crate::report::grid;
use crate::session::Device;
use crate::tensor::Data;
use crate::train::Trainer;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to write; a demo that is there already is replaced [default: runs/demo, with --nerf runs/demo-nerf]
    #[arg(long)]
    out: Option<PathBuf>,
    /// A radiance field of a scene that the program draws, instead: an orbit, and how far its depth is from the true one
    #[arg(long)]
    nerf: bool,
    /// Seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Training steps [default: 2500, with --nerf 500]
    #[arg(long)]
    steps: Option<u64>,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let usual = if arguments.nerf {
        "runs/demo-nerf"
    } else {
        "runs/demo"
    };
    let out = arguments.out.as_deref().unwrap_or(Path::new(usual));
    outputs::check_folder(out, None)?;
    if arguments.nerf {
        let steps = arguments.steps.unwrap_or(demo_nerf::STEPS);
        return demo_nerf::run(output, choice, out, arguments.seed, steps);
    }
    digits_and_spiral(output, choice, out, arguments)
}

fn digits_and_spiral(
    output: &Output,
    choice: &Choice,
    out: &Path,
    arguments: &Arguments,
) -> Result<()> {
    let begin = Instant::now();
    let steps = arguments.steps.unwrap_or(2500);
    let device = open(output, choice)?;
    let training = digits(20_000, 1);
    let held_out = digits(2_000, 2);
    output.say(&format!(
        "20,000 digits to train on, 2,000 held out, drawn in {:.1} s",
        begin.elapsed().as_secs_f64()
    ));
    // Only a folder that a demo made is replaced.
    if out.join("config.json").exists() {
        let config = crate::files::folder::read_config(out)?;
        if config.data != "digits, by wgen demo" {
            return Err(Error::format(
                out,
                "has a run that is no demo; choose another --out",
            ));
        }
        std::fs::remove_dir_all(out).map_err(|e| Error::io(out, e))?;
    }
    let config = Config::new(
        Arc::new(Vae::new(vae::Config::mnist())?),
        training.shape,
        "digits, by wgen demo",
        Training {
            steps: Some(steps),
            epochs: None,
            seed: arguments.seed,
            ..Training::default()
        },
    );
    let (Data::U8(pixels), Data::U8(held_out_pixels)) = (&training.values, &held_out.values) else {
        return Err(Error::Usage("digits are bytes".to_owned()));
    };
    let baseline = mean_pixel_loss(pixels, held_out_pixels, 784);
    let mut trainer = Trainer::new(&device, config.clone(), training.clone(), out, false)?;
    let summary = drive(output, &device, &mut trainer, true, None)?;
    if summary.ended == "interrupted" {
        return output.result(&json!({"training": summary}));
    }
    let weights = trainer.weights()?;
    let model = config.model.as_ref();
    let mut evaluator = Evaluator::new(&device, model, &weights, 100, arguments.seed)?;
    let figures = evaluator.figures(model, &held_out)?;
    let loss = model.validation_loss(&figures);

    let samples = out.join("samples.png");
    let images = evaluator.samples(model, 100, None)?.images;
    let picture = grid::picture(&images, config.image, 10);
    write_synced(&samples, &grid::png(&picture)?)?;
    let Some(animation) = diffusion(output, &device, out, steps, arguments.seed)? else {
        return output.result(&json!({"training": summary}));
    };
    let seconds = begin.elapsed().as_secs_f64();
    output.say(&format!(
        "held-out loss {loss:.2} nats an image, {:.2} of the mean-pixel model's {baseline:.2}; {seconds:.0} s in all",
        loss / baseline
    ));
    output.say(&format!(
        "look at {}, and at {}: noise becoming a spiral",
        samples.display(),
        animation.display()
    ));
    output.say(&format!(
        "and at {}, curves.svg, samples/ beside it",
        out.join("metrics.jsonl").display()
    ));
    output.result(&json!({
        "held_out_loss": loss, "mean_pixel_loss": baseline, "ratio": loss / baseline, "seconds": seconds,
        "samples": samples, "animation": animation, "training": summary,
    }))
}

/// A diffusion model of a spiral in the plane, and its reverse process as an animation; none where its training was interrupted.
fn diffusion(
    output: &Output,
    device: &Device,
    out: &Path,
    steps: u64,
    seed: u64,
) -> Result<Option<PathBuf>> {
    const POINTS: usize = 2000;
    let data = points(Toy::SwissRoll, 20_000, 1);
    let network = mlp::Config {
        width: 2,
        hidden: 64,
        blocks: 3,
        outputs: 2,
        classes: 0,
    };
    let network = diffusion::Network::Mlp(network);
    let model = Arc::new(Diffusion::new(diffusion::Config::of(
        data.shape, false, network,
    ))?);
    let config = Config::new(
        model.clone(),
        data.shape,
        "toy:swissroll, by wgen demo",
        Training {
            steps: Some((steps * 4 / 5).max(1)),
            epochs: None,
            batch: 256,
            seed,
            learning_rate: LearningRate {
                peak: 3e-3,
                shape: Shape::Cosine,
                warmup: 0,
            },
            ema: Some(0.99),
            checkpoint_steps: steps.max(1),
            ..Training::default()
        },
    );
    let mut trainer = Trainer::new(device, config.clone(), data, &out.join("diffusion"), false)?;
    if drive(output, device, &mut trainer, true, None)?.ended == "interrupted" {
        return Ok(None);
    }
    let weights = trainer.weights()?;
    let mut evaluator = Evaluator::new(device, model.as_ref(), &weights, POINTS, seed)?;
    let mut film = grid::Film::default();
    evaluator.samples_from(
        model.as_ref(),
        POINTS,
        None,
        &Start::default(),
        &mut |_, run| {
            film.push(grid::picture(
                &run.read("images")?.data.to_f32(),
                config.image,
                1,
            ));
            Ok(())
        },
    )?;
    let animation = out.join("diffusion.gif");
    write_synced(&animation, &grid::gif(film.frames(), 60)?)?;
    Ok(Some(animation))
}
