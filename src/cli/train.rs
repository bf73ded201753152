//! `wgen train`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use clap::Args;

use super::common::{Output, open};
use super::previews::Previews;
use super::progress::{Progress, figures};
use super::said::{lines, used};
use super::training::TrainingArguments;
use super::{models, outputs, resume, signals};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::judge::{Judge, made_by};
use crate::files::Config;
use crate::files::folder::read_config;
use crate::files::metrics::{self, Record};
use crate::files::write_synced;
use crate::gpu::Choice;
use crate::models::Figures;
use crate::report::curves;
use crate::session::Device;
use crate::train::recover;
use crate::train::{Event, Summary, Trainer};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) model: models::Command,
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

pub(super) fn run(output: &Output, choice: &Choice, all: &Arguments) -> Result<()> {
    let model = all.model.arguments();
    let arguments = model.training();
    // What can be wrong without a device or data is said first.
    outputs::check_folder(&arguments.out, Some(&arguments.data.data))?;
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
    check_kind(&all.model.name(), model.takes_rays(), &dataset)?;
    let config = match resumed {
        Some(config) => resume::continued(&all.model.name(), model, config, &dataset)?,
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
            drive(
                output,
                device,
                &mut trainer,
                !arguments.no_previews,
                judging.as_mut(),
            )
        },
    )?;
    output.result(&summary)
}

/// Refuses rays for models of pictures, and the other way round, before networks are chosen for what they are not.
fn check_kind(model: &str, takes_rays: bool, dataset: &Dataset) -> Result<()> {
    let name = &dataset.name;
    match (takes_rays, dataset.views.is_some()) {
        (false, true) => Err(Error::Usage(format!(
            "{model}: {name} is rays of posed pictures, which only models of radiance fields take; to learn the pictures themselves, give the \
             folder as images:DIR"
        ))),
        (true, false) => Err(Error::Usage(format!(
            "{model}: takes posed pictures (scene:DIR or analytic), {name} has no cameras"
        ))),
        _ => Ok(()),
    }
}

/// Trains with progress, sample grids, curves and a film of the samples; Ctrl-C saves and ends.
pub(super) fn drive(
    output: &Output,
    device: &Device,
    trainer: &mut Trainer,
    with_previews: bool,
    mut judging: Option<&mut Judging>,
) -> Result<Summary> {
    let folder = trainer.path().to_owned();
    let by_steps = trainer.config().training.checkpoint_steps > 0;
    let mut previews = match with_previews {
        true => Some(Previews::new(device, trainer)?),
        false => None,
    };
    let mut progress = Progress::new(output);
    progress.busy("compiling, the first step");
    let mut judge = |trainer: &Trainer, step: u64, progress: &mut Progress<'_>| {
        let Some(judging) = judging.as_mut() else {
            return Ok(());
        };
        progress.busy("judging samples");
        let line = judging.at(device, trainer, step)?;
        append_line(&folder.join("judged.jsonl"), &line)
    };
    let (mut reached, mut warned) = (0, false);
    let training = signals::Training::begin();
    let summary = trainer.run(training.flag(), |trainer, event| {
        match event {
            Event::Step {
                step,
                total,
                per_epoch,
                settled,
                record,
            } => {
                training.at(step);
                reached = step;
                if let Some(record) = record {
                    let batch = trainer.config().training.batch;
                    progress.work(trainer.model().work(batch, &known(record)));
                }
                progress.step(step, total, per_epoch, record);
                if let (Some(record), false) = (record, warned) {
                    warned = warn(trainer, record);
                }
                let between = settled && step < total;
                if let (Some(previews), true) = (&mut previews, between) {
                    previews.step(trainer, step, &mut progress)?;
                }
            }
            Event::Busy { with } => progress.busy(&with),
            Event::Epoch { epoch, validation } => {
                progress.epoch(epoch, validation);
                if !by_steps {
                    judge(trainer, reached, &mut progress)?;
                }
            }
            Event::Checkpoint { step } if by_steps => judge(trainer, step, &mut progress)?,
            Event::Checkpoint { .. } => {}
        }
        Ok(())
    })?;
    if summary.ended == "interrupted" {
        training.interrupted();
    }
    if let Some(previews) = &mut previews {
        previews.finish(trainer, summary.steps, &mut progress)?;
    }
    progress.finish();
    let records = metrics::read(&folder.join("metrics.jsonl"))?;
    let rows: Vec<_> = records.iter().map(|r| (r.step, &r.values)).collect();
    if let Some(svg) = curves::svg(&rows)? {
        write_synced(&folder.join("curves.svg"), svg.as_bytes())?;
    }
    say_ending(output, &summary, &folder);
    Ok(summary)
}

/// A record's figures.
fn known(record: &Record) -> Figures {
    let values = record.values.iter();
    let found = values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
    found.collect()
}

/// Says what is wrong with a training whose figures are these. Returns whether anything was.
fn warn(trainer: &Trainer, record: &Record) -> bool {
    let warning = trainer.model().warning(record.step, &known(record));
    if let Some(text) = &warning {
        log::warn!("{text}");
    }
    warning.is_some()
}

fn say_ending(output: &Output, summary: &Summary, folder: &Path) {
    let (loss, others) = figures(&summary.metrics);
    output.say(&format!(
        "{}: {} of {} steps in {:.1} s, {loss}; {others}",
        summary.ended, summary.steps, summary.total, summary.seconds
    ));
    let s = &summary.spent;
    let spent: Vec<String> = [
        ("first step", s.start),
        ("steps", s.steps),
        ("checkpoints", s.checkpoints),
        ("held-out figures", s.evaluation),
        ("previews", s.events),
        ("end", s.end),
    ]
    .iter()
    .filter(|(_, seconds)| *seconds >= 0.05)
    .map(|(name, seconds)| format!("{name} {seconds:.1} s"))
    .collect();
    output.say(&spent.join(", "));
    output.say(&format!("in {}", folder.display()));
}

fn append_line(path: &Path, line: &serde_json::Value) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| Error::io(path, e))?;
    writeln!(file, "{line}").map_err(|e| Error::io(path, e))
}
