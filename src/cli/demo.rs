//! `wgen demo`: the main job on built-in data, in about a minute.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::common::{Output, open};
use super::outputs;
use super::train::drive;
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
    /// Where to write; a demo that is there already is replaced
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Training steps
    #[arg(long, default_value_t = 2500)]
    steps: u64,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    outputs::check_folder(&arguments.out, None)?;
    let device = open(output, choice)?;
    let training = digits(20_000, 1);
    let held_out = digits(2_000, 2);
    output.say(&format!(
        "20,000 digits to train on, 2,000 held out, drawn in {:.1} s",
        begin.elapsed().as_secs_f64()
    ));
    // Only a folder that a demo made is replaced.
    if arguments.out.join("config.json").exists() {
        let config = crate::files::folder::read_config(&arguments.out)?;
        if config.data != "digits, by wgen demo" {
            let path = &arguments.out;
            return Err(Error::format(
                path,
                "has a run that is no demo; choose another --out",
            ));
        }
        std::fs::remove_dir_all(&arguments.out).map_err(|e| Error::io(&arguments.out, e))?;
    }
    let config = Config::new(
        Arc::new(Vae::new(vae::Config::mnist())?),
        training.shape,
        "digits, by wgen demo",
        Training {
            steps: Some(arguments.steps),
            epochs: None,
            seed: arguments.seed,
            ..Training::default()
        },
    );
    let (Data::U8(pixels), Data::U8(held_out_pixels)) = (&training.values, &held_out.values) else {
        return Err(Error::Usage("digits are bytes".to_owned()));
    };
    let baseline = mean_pixel_loss(pixels, held_out_pixels, 784);
    let mut trainer = Trainer::new(
        &device,
        config.clone(),
        training.clone(),
        &arguments.out,
        false,
    )?;
    let summary = drive(output, &device, &mut trainer, true, None)?;
    if summary.ended == "interrupted" {
        return output.result(&json!({"training": summary}));
    }
    let weights = trainer.weights()?;
    let model = config.model.as_ref();
    let mut evaluator = Evaluator::new(&device, model, &weights, 100, arguments.seed)?;
    let figures = evaluator.figures(model, &held_out)?;
    let loss = model.validation_loss(&figures);

    let samples = arguments.out.join("samples.png");
    let images = evaluator.samples(model, 100, None)?.images;
    let picture = grid::picture(&images, config.image, 10);
    write_synced(&samples, &grid::png(&picture)?)?;
    let Some(animation) = diffusion(output, &device, &arguments.out, arguments)? else {
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
        arguments.out.join("metrics.jsonl").display()
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
    arguments: &Arguments,
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
            steps: Some((arguments.steps * 4 / 5).max(1)),
            epochs: None,
            batch: 256,
            seed: arguments.seed,
            learning_rate: LearningRate {
                peak: 3e-3,
                shape: Shape::Cosine,
                warmup: 0,
            },
            ema: Some(0.99),
            checkpoint_steps: arguments.steps.max(1),
            ..Training::default()
        },
    );
    let mut trainer = Trainer::new(device, config.clone(), data, &out.join("diffusion"), false)?;
    if drive(output, device, &mut trainer, true, None)?.ended == "interrupted" {
        return Ok(None);
    }
    let weights = trainer.weights()?;
    let mut evaluator = Evaluator::new(device, model.as_ref(), &weights, POINTS, arguments.seed)?;
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
