//! `wgen interpolate`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::{Output, RunArguments, check_count, open};
use super::outputs::{self, Content, Outputs};
use super::reading::DataArguments;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::gpu::Choice;
use crate::models::codes;
use crate::report::grid;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    /// The example to begin at
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// The example to end at
    #[arg(long, default_value_t = 1)]
    to: usize,
    /// Pictures on the way, both ends included
    #[arg(long, default_value_t = 10)]
    n: usize,
    /// The picture, in the format of its ending, as with wgen sample
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let n = check_count(arguments.n)?.max(2);
    let output = &Outputs::default()
        .of_run(&arguments.run.folder)
        .of_data(Some(&arguments.data.data))
        .file("--out", &arguments.out, Content::Picture)
        .check(output)?;
    let run = arguments.run.open()?;
    let given = arguments.data.for_run(output, &run, Part::Test)?;
    let dataset = &given.data;
    for (name, example) in [("--from", arguments.from), ("--to", arguments.to)] {
        if example >= dataset.rows() {
            return Err(Error::Usage(format!(
                "{name} {example}: the data has {} examples",
                dataset.rows()
            )));
        }
    }
    let device = open(output, choice)?;
    let model = run.model();
    let ends = dataset.select(&[arguments.from, arguments.to]);
    outputs::check_size(&arguments.out, grid::size(n, run.image(), n))?;
    let mut evaluator = Evaluator::of(&device, &run, 2, 0)?;
    let first = model.codes().first().copied().unwrap_or("code");
    let code = evaluator.encoded(model, &ends, &[first])?.remove(0);
    // A conditional model decodes the way there as the class that it begins at.
    let class = ends.labels.as_ref().map(|labels| labels[0] as usize);
    let class = class.filter(|_| run.conditioning().columns() > 0);
    let classes = run.conditioning().input(n, class, 0)?;
    let z = ("z", codes::between(&code.values, n));
    let inputs = classes.into_iter().chain([z]).collect();
    let images = evaluator.once(&model.decoding(n)?, inputs, "images", 0)?;
    let picture = grid::picture(&images.data.to_f32(), run.image(), n);
    outputs::write_picture(&arguments.out, &picture)?;
    output.say(&format!(
        "{n} steps from {} to {} in {}",
        arguments.from,
        arguments.to,
        outputs::shown(&arguments.out)
    ));
    output.result(&json!({"images": n, "file": arguments.out, "part": given.json()}))
}
