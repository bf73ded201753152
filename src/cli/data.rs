//! `wgen data`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::common::{Output, check_count, spec};
use super::models::usual;
use super::outputs::{self, Content, Outputs};
use super::reading::ReadingArguments;
use super::said::{counted, lines, used};
use crate::data::idx::Part;
use crate::data::images::Background;
use crate::data::scene::picture;
use crate::data::{Dataset, Loaded, Report, Spec};
use crate::error::Result;
use crate::report::grid;
use crate::tensor::DType;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Training,
    HeldOut,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// digits[:COUNT], toy:ring8|moons|swissroll[:COUNT], idx:DIR, images:DIR, scene:DIR or analytic[:VIEWS]
    #[arg(value_name = "SPEC", value_parser = spec)]
    data: Spec,
    #[command(flatten)]
    reading: ReadingArguments,
    /// Which part: the one that is trained on, or the one that is not
    #[arg(long, value_enum, default_value_t = Which::Training)]
    part: Which,
    /// A picture: examples as a model sees them, of every class in turn, of a scene its views; in the format of its ending, as with wgen sample
    #[arg(long)]
    out: Option<PathBuf>,
    /// How many are in it
    #[arg(long, default_value_t = 64, requires = "out")]
    n: usize,
}

pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<()> {
    let n = check_count(arguments.n)?;
    let output = &Outputs::default()
        .of_data(Some(&arguments.data))
        .optional("--out", arguments.out.as_ref(), Content::Picture)
        .check(output)?;
    let part = match arguments.part {
        Which::Training => Part::Training,
        Which::HeldOut => Part::Test,
    };
    let options = arguments.reading.options(&arguments.data)?;
    let Loaded { data, report } = arguments.data.read(part, &options)?;
    output.say(&format!("{}: {}", arguments.data, used(&report)));
    for line in lines(&report, data.shape) {
        output.say(&line);
    }
    if data.views.is_some() {
        return scene(output, arguments, &data, &report, n);
    }
    let statistics = data.channel_statistics();
    let all = |of: fn(&(f64, f64)) -> f64| {
        let all: Vec<String> = statistics.iter().map(|s| format!("{:.4}", of(s))).collect();
        all.join(" ")
    };
    let (low, high) = range(&data);
    output.say(&format!(
        "a model sees {} values an example, from {low:.4} to {high:.4}; mean {}, deviation {}{}",
        data.shape.count(),
        all(|s| s.0),
        all(|s| s.1),
        if data.shape.channels > 1 {
            " (by channel)"
        } else {
            ""
        }
    ));
    let defaults = defaults(&data);
    for (model, options) in &defaults {
        output.say(&format!("wgen train {model}: {options}"));
    }
    if let Some(path) = &arguments.out {
        let chosen = data.select(&data.of_every_class(n));
        let columns = (chosen.rows() as f64).sqrt().ceil() as usize;
        outputs::check_size(path, grid::size(chosen.rows(), data.shape, columns))?;
        let picture = grid::picture(&chosen.scaled(), data.shape, columns);
        outputs::write_picture(path, &picture)?;
        output.say(&format!(
            "{} in {}",
            counted(chosen.rows(), "example"),
            outputs::shown(path)
        ));
    }
    output.result(&json!({
        "data": arguments.data.to_string(),
        "report": report,
        "options": options,
        "shape": data.shape,
        "range": [low, high],
        "channels": statistics.iter().map(|(mean, deviation)| json!({"mean": mean, "deviation": deviation})).collect::<Vec<_>>(),
        "defaults": defaults.iter().map(|(m, o)| json!({"model": m, "options": o})).collect::<Vec<_>>(),
        "file": arguments.out,
    }))
}

/// What there is to be said and drawn of posed pictures alone: the first views over the background.
fn scene(
    output: &Output,
    arguments: &Arguments,
    data: &Dataset,
    report: &Report,
    n: usize,
) -> Result<()> {
    if let Some(path) = &arguments.out {
        let cameras = data.views.as_ref().map_or(&[][..], |v| &v.cameras);
        let white = Background::default().0;
        if let Some((mut values, shape)) = picture(data, 0, white) {
            // Of one size, to stand in a grid.
            let size = |i: usize| (cameras[i].width, cameras[i].height);
            let alike = (1..cameras.len())
                .filter(|&i| size(i) == size(0))
                .take(n - 1);
            let pictures = alike.filter_map(|i| picture(data, i, white));
            values.extend(pictures.flat_map(|(picture, _)| picture));
            let chosen = values.len() / shape.count();
            let columns = (chosen as f64).sqrt().ceil() as usize;
            outputs::check_size(path, grid::size(chosen, shape, columns))?;
            outputs::write_picture(path, &grid::picture(&values, shape, columns))?;
            let count = counted(chosen, "view");
            output.say(&format!("{count} over white in {}", outputs::shown(path)));
        }
    }
    output.result(&json!({
        "data": arguments.data.to_string(),
        "report": report,
        "shape": data.shape,
        "file": arguments.out,
    }))
}

/// The least and the greatest value that a model sees.
fn range(data: &Dataset) -> (f32, f32) {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    let wider = |(low, high): (f32, f32), x: f32| (low.min(x), high.max(x));
    data.scaled().into_iter().fold(start, wider)
}

/// What models are made with where their arguments do not say.
fn defaults(data: &Dataset) -> Vec<(&'static str, String)> {
    let channels = usual::channels(data);
    let decoder = if usual::gaussian(data) {
        "gaussian"
    } else {
        "bernoulli"
    };
    let network = |hidden: &str, latent: usize| {
        if channels.is_empty() {
            format!("--hidden {hidden} --latent {latent}")
        } else {
            format!(
                "--channels {} --latent {}",
                usual::list(&channels),
                usual::LATENT
            )
        }
    };
    let (gan, diffusion) = if data.dtype() == DType::U8 {
        (
            "--channels 64 --latent 100 (DCGAN)",
            "--channels 32,32,64 (a U-Net)",
        )
    } else {
        (
            "perceptrons, --latent 8",
            "--hidden 128 --blocks 3 (a perceptron)",
        )
    };
    vec![
        ("vae", format!("{} --decoder {decoder}", network("400", 20))),
        ("ae", network("1000,500,250", 30)),
        ("gan", gan.to_owned()),
        ("diffusion", diffusion.to_owned()),
    ]
}
