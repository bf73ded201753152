//! `wgen train`

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::common::{Output, open};
use super::models;
use super::said::{lines, used};
use super::training::TrainingArguments;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::judge::{Judge, made_by};
use crate::files::Config;
use crate::files::folder::read_config;
use crate::files::write_synced;
use crate::gpu::Choice;
use crate::report::{curves, grid};
use crate::session::Device;
use crate::train::metrics;
use crate::train::recover;
use crate::train::{Event, Summary, Trainer};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    model: models::Command,
}

/// Samples judged while a model is trained.
pub(super) struct Judging {
    judge: Judge,
    held_out: Dataset,
    count: usize,
}

impl Judging {
    fn new(
        output: &Output,
        device: &Device,
        arguments: &TrainingArguments,
        config: &Config,
    ) -> Result<Option<Self>> {
        let Some(folder) = &arguments.judge else {
            return Ok(None);
        };
        Ok(Some(Self {
            judge: Judge::load(device, folder)?,
            held_out: arguments.data.to_judge(output, config)?,
            count: arguments.judge_samples,
        }))
    }

    /// A line of `judged.jsonl`.
    fn at(&mut self, device: &Device, trainer: &Trainer, step: u64) -> Result<serde_json::Value> {
        let (model, seed) = (trainer.model(), trainer.config().training.seed);
        let mut evaluator = Evaluator::new(device, model, &trainer.weights()?, 100, seed)?
            .taking(trainer.config().reading.turns());
        let (what, images) = made_by(&mut evaluator, model, &self.held_out, self.count, None)?;
        let judgement = self.judge.judge(what, &images, &self.held_out, None)?;
        Ok(serde_json::json!({"step": step, "judgement": judgement}))
    }
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let model = arguments.model.arguments();
    let arguments = model.training();
    // What can be wrong without a device or data is said first.
    let resumed = if arguments.resume {
        Some(read_config(&arguments.out)?)
    } else {
        None
    };
    let (read, reading) = arguments.data.to_train(resumed.as_ref())?;
    output.say(&format!(
        "data: {}, {}",
        arguments.data.data,
        used(&read.report)
    ));
    for line in lines(&read.report, read.data.shape) {
        output.say(&line);
    }
    let dataset = read.data;
    let config = match resumed {
        Some(mut config) => {
            if arguments.epochs.is_some() || arguments.steps.is_some() {
                (config.training.epochs, config.training.steps) =
                    (arguments.epochs, arguments.steps);
            }
            config
        }
        None => arguments.config(model, &dataset, reading)?,
    };
    config.check()?;
    let mut explain = arguments.explain;
    let summary = recover::run(
        || open(output, choice),
        &arguments.out,
        arguments.resume,
        |device, resume| {
            let (config, dataset) = (config.clone(), dataset.clone());
            let mut trainer = Trainer::new(device, config, dataset, &arguments.out, resume)?;
            if std::mem::take(&mut explain) {
                let plan = trainer.explain();
                output.say(
                    plan.as_deref()
                        .unwrap_or("the CPU interprets the graph: there is no plan"),
                );
            }
            let mut judging = Judging::new(output, device, arguments, trainer.config())?;
            drive(output, device, &mut trainer, judging.as_mut())
        },
    )?;
    output.result(&summary)
}

/// Trains with progress, sample grids, curves and a film of the samples; Ctrl-C saves and ends.
pub(super) fn drive(
    output: &Output,
    device: &Device,
    trainer: &mut Trainer,
    mut judging: Option<&mut Judging>,
) -> Result<Summary> {
    let stop = interrupt_flag();
    let folder = trainer.path().to_owned();
    let samples = folder.join("samples");
    std::fs::create_dir_all(&samples).map_err(|e| Error::io(&samples, e))?;
    let bar = (std::io::stderr().is_terminal() && !output.quiet).then(progress_bar);
    let mut film = grid::Film::default();
    let summary = trainer.run(&stop, |trainer, event| {
        match event {
            Event::Step {
                step,
                total,
                record,
            } => {
                let text = record.map(|r| figures(&r.values)).unwrap_or_default();
                if let Some(bar) = &bar {
                    bar.set_length(total);
                    bar.set_position(step);
                    bar.set_message(text);
                } else if let Some(record) = record.filter(|r| r.step.is_multiple_of(500)) {
                    output.say(&format!("step {} of {total}: {text}", record.step));
                }
            }
            Event::Epoch { epoch, validation } => {
                let held_out = validation
                    .map(|v| format!(", held-out loss {v:.3}"))
                    .unwrap_or_default();
                if bar.is_none() {
                    output.say(&format!("epoch {epoch} done{held_out}"));
                }
            }
            Event::Checkpoint { step } => {
                if let Some(picture) = preview(device, trainer)? {
                    let path = samples.join(format!("{step:08}.png"));
                    write_synced(&path, &grid::png(&picture)?)?;
                    film.push(picture);
                }
                if let Some(judging) = judging.as_mut() {
                    let line = judging.at(device, trainer, step)?;
                    append_line(&folder.join("judged.jsonl"), &line)?;
                }
            }
        }
        Ok(())
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if film.frames().len() > 1 {
        let animation = grid::gif(film.frames(), 400)?;
        write_synced(&samples.join("training.gif"), &animation)?;
    }
    let records = metrics::read(&folder.join("metrics.jsonl"))?;
    let rows: Vec<_> = records.iter().map(|r| (r.step, &r.values)).collect();
    if let Some(svg) = curves::svg(&rows)? {
        write_synced(&folder.join("curves.svg"), svg.as_bytes())?;
    }
    output.say(&format!(
        "{}: {} of {} steps in {:.1} s, {}",
        summary.ended,
        summary.steps,
        summary.total,
        summary.seconds,
        figures(&summary.metrics)
    ));
    output.say(&format!("in {}", folder.display()));
    Ok(summary)
}

fn append_line(path: &Path, line: &serde_json::Value) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| Error::io(path, e))?;
    writeln!(file, "{line}").map_err(|e| Error::io(path, e))
}

/// Where a training stands.
fn preview(device: &Device, trainer: &Trainer) -> Result<Option<image::RgbImage>> {
    const COUNT: usize = 64;
    let (config, weights) = (trainer.config(), trainer.weights()?);
    let model = trainer.model();
    let mut evaluator = Evaluator::new(device, model, &weights, COUNT, config.training.seed)?
        .taking(config.reading.turns());
    let pictures = evaluator.preview(model, trainer.dataset(), COUNT)?;
    Ok(pictures.map(|(values, columns)| grid::picture(&values, config.image, columns)))
}

fn figures(values: &serde_json::Map<String, serde_json::Value>) -> String {
    let one = |(name, value): (&String, &serde_json::Value)| {
        Some(format!("{name} {:.4}", value.as_f64()?))
    };
    values.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Raised by Ctrl-C and SIGTERM; the second time the process ends at once. The handler is installed once a process.
fn interrupt_flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    static INSTALL: Mutex<()> = Mutex::new(());
    let guard = INSTALL.lock();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let raised = flag.clone();
        let handler = move || {
            if raised.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            log::warn!("Ctrl-C will end the training without a checkpoint: {error}");
        }
        flag
    });
    drop(guard);
    flag.clone()
}
