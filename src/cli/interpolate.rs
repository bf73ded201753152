//! `wgen interpolate`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::pictures::{check_count, encoded, load, picture};
use super::{DataArguments, Output, RunArguments, open};
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::files::folder::write_synced;
use crate::gpu::Choice;
use crate::models::vae;
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
    /// The picture
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let n = check_count(arguments.n)?.max(2);
    let dataset = arguments.data.load(Part::Test)?;
    for (name, example) in [("--from", arguments.from), ("--to", arguments.to)] {
        if example >= dataset.rows() {
            return Err(Error::Usage(format!(
                "{name} {example}: the data has {} examples",
                dataset.rows()
            )));
        }
    }
    let device = open(output, choice)?;
    let (config, weights) = load(&arguments.run.folder, &device)?;
    let model = config.build()?;
    let ends = dataset.select(&[arguments.from, arguments.to]);
    let mut evaluator = Evaluator::new(&device, model.as_ref(), &weights, 2, 0)?;
    let codes = model.codes();
    let first = codes.first().copied().unwrap_or("code");
    let (_, code) = encoded(&mut evaluator, model.as_ref(), &ends, &[first])?.remove(0);
    let inputs = vec![("z", vae::codes_between(&code, n))];
    let images = evaluator.once(&model.decoding(n)?, inputs, "images", 0)?;
    let drawn = picture(&images.data.to_f32(), &config, n);
    write_synced(&arguments.out, &grid::png(&drawn)?)?;
    output.say(&format!(
        "{n} steps from {} to {} in {}",
        arguments.from,
        arguments.to,
        arguments.out.display()
    ));
    output.result(&json!({"images": n, "file": arguments.out}))
}
