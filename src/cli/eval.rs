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
    let mut evaluator = Evaluator::new(&device, &model, &weights, arguments.batch, arguments.seed)?;
    let figures = evaluator.figures(&model, &dataset, &["reconstruction", "kl"])?;
    let (reconstruction, kl) = (figures["reconstruction"], figures["kl"]);
    let mut result = json!({
        "reconstruction": reconstruction,
        "kl": kl,
        "elbo": -(reconstruction + kl),
        "images": dataset.rows(),
        "data": arguments.data.data.to_string(),
        "device": device.name(),
    });
    output.say(&format!(
        "{} examples: reconstruction {reconstruction:.4}, KL {kl:.4}, ELBO {:.4} nats an example",
        dataset.rows(),
        -(reconstruction + kl)
    ));
    if let Some(samples) = arguments.importance_samples {
        let value = evaluator.log_likelihood(&model, &dataset, samples)?;
        output.say(&format!(
            "log-likelihood {value:.4} nats an example, {samples} importance samples"
        ));
        result["log_likelihood"] = json!(value);
        result["importance_samples"] = json!(samples);
    }
    output.result(&result)
}
