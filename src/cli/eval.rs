//! `wgen eval`

use clap::Args;
use serde_json::json;

use super::train::load;
use super::{DataArguments, Output, RunArguments, open};
use crate::data::idx::Part;
use crate::error::Result;
use crate::gpu::Choice;
use crate::train::evaluate::Evaluator;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Also estimate the log-likelihood with this many importance samples an example
    #[arg(long)]
    importance_samples: Option<usize>,
    /// Examples of a step
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let config = crate::train::folder::read_config(&arguments.run.folder)?;
    let dataset = arguments.data.load(Part::Test)?;
    let device = open(output, choice)?;
    let (_, weights) = load(&arguments.run.folder, &device)?;
    let model = config.build()?;
    let model = model.as_ref();
    let mut evaluator = Evaluator::new(&device, model, &weights, arguments.batch, arguments.seed)?;
    let report = model.report(&evaluator.figures(model, &dataset)?);
    let mut result = json!({
        "images": dataset.rows(),
        "data": arguments.data.data.to_string(),
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
        let value = evaluator.log_likelihood(model, &dataset, samples)?;
        output.say(&format!(
            "log-likelihood {value:.4} nats an example, {samples} importance samples"
        ));
        result["log_likelihood"] = json!(value);
        result["importance_samples"] = json!(samples);
    }
    output.result(&result)
}
