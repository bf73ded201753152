//! `wgen encode`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::{Output, RunArguments, open};
use super::outputs::{self, Content, Outputs};
use super::reading::DataArguments;
use crate::data::idx::Part;
use crate::error::Result;
use crate::evaluate::Evaluator;
use crate::files::weights::Tensors;
use crate::gpu::Choice;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    /// The training part instead of the held-out one
    #[arg(long)]
    training_part: bool,
    /// Also write what the model decodes from them
    #[arg(long)]
    reconstructions: bool,
    /// The safetensors file: the codes (of a VAE mu and log_variance), and labels where there are any; - for standard output
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let part = if arguments.training_part {
        Part::Training
    } else {
        Part::Test
    };
    let output = &Outputs::default()
        .of_run(&arguments.run.folder)
        .of_data(Some(&arguments.data.data))
        .file("--out", &arguments.out, Content::Tensors)
        .check(output)?;
    let run = arguments.run.open()?;
    let given = arguments.data.for_run(output, &run, part)?;
    let dataset = &given.data;
    let device = open(output, choice)?;
    let mut evaluator = Evaluator::of(&device, &run, 128, 0)?;
    let mut names = run.model().codes();
    if arguments.reconstructions {
        names.push("images");
    }
    let all = evaluator.encoded(run.model(), dataset, &names)?;
    let rows = dataset.rows();
    let latent = all.first().map(|codes| codes.width);
    let mut tensors = Tensors::new();
    for (name, codes) in names.into_iter().zip(all) {
        let name = if name == "images" {
            "reconstructions"
        } else {
            name
        };
        tensors.insert(name.to_owned(), (vec![rows, codes.width], codes.values));
    }
    if let Some(labels) = &dataset.labels {
        tensors.insert(
            "labels".to_owned(),
            (vec![rows], labels.iter().map(|&l| l as f32).collect()),
        );
    }
    outputs::write_tensors(&arguments.out, &tensors)?;
    let file = outputs::name(&arguments.out);
    output.say(&format!("codes of {rows} examples in {file}"));
    output.result(
        &json!({"examples": rows, "latent": latent, "file": arguments.out, "part": given.json()}),
    )
}
