//! `wgen reconstruct`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::{Output, RunArguments, check_count, open};
use super::reading::DataArguments;
use crate::data::idx::Part;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::files::write_synced;
use crate::gpu::Choice;
use crate::report::grid;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    /// How many, of every class in turn
    #[arg(long, default_value_t = 32)]
    n: usize,
    /// The picture: inputs above, reconstructions below
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let n = check_count(arguments.n)?;
    let run = arguments.run.open()?;
    let given = arguments.data.for_run(output, &run, Part::Test)?;
    let device = open(output, choice)?;
    let chosen = given.data.of_every_class(n);
    let n = chosen.len();
    let dataset = given.data.select(&chosen);
    let mut evaluator = Evaluator::of(&device, &run, n, 0)?;
    let columns = 16.min(n);
    let rows = evaluator.pairs(run.model(), &dataset, columns)?;
    let picture = grid::picture(&rows, run.image(), columns);
    write_synced(&arguments.out, &grid::png(&picture)?)?;
    output.say(&format!(
        "{n} inputs and their reconstructions in {}",
        arguments.out.display()
    ));
    output.result(&json!({"images": n, "file": arguments.out, "part": given.json()}))
}
