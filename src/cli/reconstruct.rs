//! `wgen reconstruct`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::{Output, RunArguments, check_count, open};
use super::outputs::{self, Content, Outputs};
use super::reading::DataArguments;
use crate::data::idx::Part;
use crate::error::Result;
use crate::evaluate::Evaluator;
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
    /// The picture: inputs above, reconstructions below; in the format of its ending, as with wgen sample
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let n = check_count(arguments.n)?;
    let output = &Outputs::default()
        .of_run(&arguments.run.folder)
        .of_data(Some(&arguments.data.data))
        .file("--out", &arguments.out, Content::Picture)
        .check(output)?;
    let run = arguments.run.open()?;
    let given = arguments.data.for_run(output, &run, Part::Test)?;
    let device = open(output, choice)?;
    let chosen = given.data.of_every_class(n);
    let n = chosen.len();
    let dataset = given.data.select(&chosen);
    let columns = 16.min(n);
    outputs::check_size(&arguments.out, grid::size(2 * n, run.image(), columns))?;
    let mut evaluator = Evaluator::of(&device, &run, n, 0)?;
    let rows = evaluator.pairs(run.model(), &dataset, columns)?;
    let picture = grid::picture(&rows, run.image(), columns);
    outputs::write_picture(&arguments.out, &picture)?;
    output.say(&format!(
        "{n} inputs and their reconstructions in {}",
        outputs::shown(&arguments.out)
    ));
    output.result(&json!({"images": n, "file": arguments.out, "part": given.json()}))
}
