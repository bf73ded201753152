//! `wgen eval`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::{Output, RunArguments, open};
use super::reading::{DataArguments, class_of};
use super::sampling::SamplingArguments;
use super::views;
use crate::data::Dataset;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::by_timestep::{AtTimestep, tenths};
use crate::evaluate::judge::{Judge, Judgement, made_by};
use crate::gpu::Choice;
use crate::models::diffusion::Diffusion;
use crate::models::noised_classifier::NoisedClassifier;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    sampling: SamplingArguments,
    /// Only the first so many examples of the data, for all figures but the judge's; of posed pictures so many views, spread evenly
    #[arg(long)]
    examples: Option<usize>,
    /// Also estimate the log-likelihood with this many importance samples an example
    #[arg(long)]
    importance_samples: Option<usize>,
    /// Diffusion: also the variational bound of the likelihood, by this many of the process's timesteps: bits a dimension of pixels
    #[arg(long, value_name = "TIMESTEPS")]
    bound: Option<usize>,
    /// Judge samples (of a model that has none, reconstructions) in the features of this classifier, a run folder of wgen train classifier,
    /// beside anchors: real images, with noise, blurred, one class dropped
    #[arg(long, value_name = "FOLDER")]
    judge: Option<PathBuf>,
    /// How many are judged
    #[arg(long, default_value_t = 10_000, requires = "judge")]
    samples: usize,
    /// Judge only samples of this class, by its name or number
    #[arg(long, value_name = "NAME", requires = "judge")]
    class: Option<String>,
    /// Examples of a step
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let run = arguments.sampling.apply(arguments.run.open()?)?;
    let class = class_of(&run, arguments.class.as_deref())?;
    let given = arguments.data.for_run(output, &run, Part::Test)?;
    let whole = &given.data;
    let device = open(output, choice)?;
    let model = run.model();
    if model.camera().is_some() {
        return views::evaluate(output, &device, &run, &given, arguments.examples);
    }
    let first = first_of(whole, arguments.examples)?;
    let dataset = first.as_ref().unwrap_or(whole);
    let mut evaluator = Evaluator::of(&device, &run, arguments.batch, arguments.seed)?;
    let report = model.report(&evaluator.figures(model, dataset)?);
    let mut result = json!({
        "images": dataset.rows(),
        "data": arguments.data.data.to_string(),
        "part": given.json(),
        "device": device.name(),
    });
    let mut text = Vec::new();
    for (name, value) in &report {
        result[name] = json!(value);
        text.push(format!("{name} {value:.4}"));
    }
    output.say(&format!(
        "{} examples, means: {}",
        dataset.rows(),
        text.join(", ")
    ));
    if let Some(samples) = arguments.importance_samples {
        let value = evaluator.log_likelihood(model, dataset, samples)?;
        output.say(&format!(
            "log-likelihood {value:.4} nats an example, {samples} importance samples"
        ));
        result["log_likelihood"] = json!(value);
        result["importance_samples"] = json!(samples);
    }
    if let Some(count) = arguments.bound {
        let Some(model) = model.as_any().downcast_ref::<Diffusion>() else {
            return Err(Error::Usage("--bound is for diffusion models".to_owned()));
        };
        let bound = evaluator.bound(model, dataset, count, arguments.seed)?;
        output.say(&format!(
            "at most {:.4} {} by {count} timesteps: the prior's {:.6}, that of t = 0 {:.4}",
            bound.total, bound.unit, bound.prior, bound.terms[0].mean
        ));
        result["bound"] = json!(bound);
    }
    if let Some(model) = model.as_any().downcast_ref::<NoisedClassifier>() {
        let figures = evaluator.by_timestep(model, dataset, &tenths(model.process().len()))?;
        say_by_timestep(output, &figures);
        result["by_timestep"] = json!(figures);
    }
    if let Some((dead, units)) = evaluator.dead_units(model, dataset)? {
        let share = dead as f64 / units as f64;
        output.say(&format!(
            "{dead} of {units} units are never active ({share:.4})"
        ));
        result["dead_units"] = json!(dead);
        result["dead_share"] = json!(share);
    }
    if let Some(folder) = &arguments.judge {
        let mut judge = Judge::load(&device, folder)?;
        let (what, images) = made_by(&mut evaluator, model, whole, arguments.samples, class)?;
        // Pictures that are no held-out ones are no measure of themselves.
        let real = if given.trained_on() {
            None
        } else {
            Some(arguments.data.for_anchors(output, &run)?)
        };
        let judgement = judge.judge(what, &images, whole, real.as_ref())?;
        say_judgement(output, &judgement);
        result["judgement"] = json!(judgement);
    }
    output.result(&result)
}

/// The first `examples` of a data set, where that is asked for.
fn first_of(dataset: &Dataset, examples: Option<usize>) -> Result<Option<Dataset>> {
    let Some(count) = examples else {
        return Ok(None);
    };
    if count == 0 || count > dataset.rows() {
        return Err(Error::Usage(format!(
            "--examples {count}: the data has {}, so from 1 to that many can be evaluated",
            dataset.rows()
        )));
    }
    Ok(Some(dataset.select(&(0..count).collect::<Vec<_>>())))
}

/// What is told apart at which timestep, as a table.
fn say_by_timestep(output: &Output, figures: &[AtTimestep]) {
    output.say(&format!(
        "{:>6} {:>9} {:>14}",
        "t", "accuracy", "cross-entropy"
    ));
    for f in figures {
        output.say(&format!(
            "{:>6} {:>9.4} {:>14.4}",
            f.timestep, f.accuracy, f.cross_entropy
        ));
    }
}

/// The judgement as a table.
fn say_judgement(output: &Output, judgement: &Judgement) {
    output.say(&format!(
        "{:<22} {:>9} {:>8} {:>8} {:>9} {:>9} {:>10}",
        format!("n = {}", judgement.comparison.n),
        "precision",
        "recall",
        "density",
        "coverage",
        "Frechet",
        "kernel"
    ));
    let anchors = judgement.anchors.iter().map(|(name, c)| (name.as_str(), c));
    for (name, c) in [(judgement.what.as_str(), &judgement.comparison)]
        .into_iter()
        .chain(anchors)
    {
        output.say(&format!(
            "{name:<22} {:>9.4} {:>8.4} {:>8.4} {:>9.4} {:>9.3} {:>10.5}",
            c.precision, c.recall, c.density, c.coverage, c.frechet_distance, c.kernel_distance
        ));
    }
    let shares: Vec<String> = judgement
        .class_shares
        .iter()
        .map(|s| format!("{:.1}", 100.0 * s))
        .collect();
    output.say(&format!(
        "class shares {} %; {:.4} classified with more than 0.9{}; the classifier is right on {:.4} of the data, seed {}, weights {}",
        shares.join(" "),
        judgement.confident_share,
        judgement
            .class_agreement
            .map(|a| format!(", {a:.4} as the class that they were made for"))
            .unwrap_or_default(),
        judgement.judge_accuracy,
        judgement.judge_seed,
        judgement.judge_weights
    ));
}
