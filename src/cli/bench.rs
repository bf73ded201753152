//! `wgen bench`

use std::path::PathBuf;

use clap::Args;

use super::common::{Output, open};
use super::measuring::{Measuring, left};
use super::outputs::{self, Content, Outputs};
use crate::bench::{self, Bounds, Line, Options, Progress, Report, models, profile};
use crate::error::{Error, Result};
use crate::gpu::timing::Clock;
use crate::gpu::{Choice, Gpu};
use crate::session::Device;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only lines whose name or kernel family contains this
    #[arg(long)]
    filter: Option<String>,
    /// Interleaved rounds; best and median are over them
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// With --json: where the report goes, instead of to stdout
    #[arg(value_name = "FILE", requires = "json")]
    file: Option<PathBuf>,
    /// Write one self-contained page with a roofline plot
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare two reports instead of measuring
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    compare: Option<Vec<PathBuf>>,
    /// Take one training step of this model apart instead
    #[arg(long, value_name = "MODEL")]
    profile: Option<String>,
    /// Examples of that step [default: that of the benchmark]
    #[arg(long)]
    batch: Option<usize>,
    /// With --profile: activations and their gradients stored as f16
    #[arg(long, requires = "profile")]
    half: bool,
    /// Steps that --profile replays to compare wall time with the device's
    #[arg(long, default_value_t = 1000, requires = "profile")]
    replay: usize,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    // With a file for the machine, stdout is for people.
    let people = output.for_people();
    let output = match &arguments.file {
        Some(_) => &people,
        None => output,
    };
    let compared = arguments.compare.as_deref().unwrap_or_default();
    let output = &Outputs::default()
        .optional("FILE", arguments.file.as_ref(), Content::Text)
        .optional("--html", arguments.html.as_ref(), Content::Text)
        .input("--compare", compared.first())
        .input("--compare", compared.get(1))
        .check(output)?;
    if let Some(files) = &arguments.compare {
        return compare(output, files, arguments);
    }
    if *choice == Choice::Cpu {
        return Err(Error::Usage(
            "bench measures a GPU; --device cpu has none".into(),
        ));
    }
    let Device::Gpu(gpu) = open(output, choice)? else {
        return Err(Error::NoAdapter(
            "bench needs a GPU driver; a software one such as lavapipe will do".into(),
        ));
    };
    if let Some(model) = &arguments.profile {
        return take_apart(output, &gpu, model, arguments);
    }
    let options = Options {
        filter: arguments.filter.clone(),
        rounds: arguments.rounds,
    };
    let report = measured(output, &gpu, &options)?;
    print(output, &report);
    output.result(&report)?;
    write_json(arguments, &report)?;
    if let Some(path) = &arguments.html {
        outputs::write(path, report.page()?.as_bytes())?;
    }
    let faults = report.faults();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::CheckFailed(faults.join("\n")))
}

fn measured(output: &Output, gpu: &Gpu, options: &Options) -> Result<Report> {
    let measuring = Measuring::new(output);
    let (mut since, mut told) = (0.0, 0);
    bench::run(gpu, options, |progress| match progress {
        Progress::Check { line, done } => measuring.at(&format!("checking {line}"), done),
        Progress::Checked { family, lines } => {
            let now = measuring.seconds();
            if !measuring.has_bar() {
                let took = now - since;
                output.say(&format!("checked {family}: {lines} lines in {took:.0} s"));
            }
            since = now;
        }
        Progress::Round {
            round,
            rounds,
            line,
            done,
        } => {
            measuring.at(&format!("round {round} of {rounds}: {line}"), done);
            if !measuring.has_bar() && told != round {
                told = round;
                let left = left(measuring.seconds(), done);
                output.say(&format!("round {round} of {rounds}, {left}"));
            }
        }
    })
}

fn clock_line(clock: Clock, doubt: Option<&str>) -> String {
    match (clock, doubt) {
        (Clock::Timestamps, _) => "times: timestamps of the device".to_owned(),
        (Clock::Wall, Some(doubt)) => format!("times: wall clock, because {doubt}"),
        (Clock::Wall, None) => "times: wall clock".to_owned(),
    }
}

fn print(output: &Output, report: &Report) {
    output.say(&clock_line(report.clock, report.clock_doubt.as_deref()));
    for candidate in &report.ceilings.candidates {
        log::debug!("{:<32} {:10.1} G/s", candidate.name, candidate.best / 1e9);
    }
    output.say(&format!(
        "ceilings: {:.1} GFLOP/s, {:.1} GB/s ({:.1} by a kernel) over {} MiB, best of {} rounds",
        report.ceilings.flops / 1e9,
        report.ceilings.bytes / 1e9,
        report.ceilings.kernel_bytes / 1e9,
        report.ceilings.working_set >> 20,
        report.rounds
    ));
    let width = output.width();
    table(&report.lines, width)
        .iter()
        .for_each(|row| output.say(row));
    let wrong = report.lines.iter().filter(|l| !l.right).count();
    output.say(&format!(
        "{} lines in {:.0} s, {wrong} with a wrong result",
        report.lines.len(),
        report.seconds
    ));
}

/// The lines as rows of at most `width` columns: names and variants beside their figures, or above them where there is no room.
fn table(lines: &[Line], width: Option<usize>) -> Vec<String> {
    /// What the figures of a row take, and the longest variants.
    const FIGURES: usize = 60;
    const VARIANT: usize = 46;
    let longest = lines.iter().map(|l| l.name.len()).max().unwrap_or(0);
    let beside = width.is_none_or(|w| w >= longest + FIGURES + VARIANT);
    let name = if beside { longest } else { 0 };
    let cut = |row: String| match width {
        Some(width) if row.len() > width => row.chars().take(width).collect(),
        _ => row,
    };
    let last = if beside { "variant" } else { "" };
    let head = format!(
        "{:<name$} {:>10} {:>10} {:>9} {:>8} {:>6} {:<8}  {last}",
        "", "best ms", "median ms", "GFLOP/s", "GB/s", "share", "bound"
    );
    let mut rows = vec![cut(head)];
    for line in lines {
        let bound = match line.bound {
            Bounds::Compute => "compute",
            Bounds::Memory => "memory",
        };
        // First, for the variant may be cut.
        let verdict = if line.right { "" } else { "WRONG RESULT  " };
        let (shown, variant) = if beside {
            (line.name.as_str(), line.variant.as_str())
        } else {
            rows.push(cut(format!("{}  {}", line.name, line.variant)));
            ("", "")
        };
        rows.push(cut(format!(
            "{shown:<name$} {:>10.3} {:>10.3} {:>9.1} {:>8.2} {:>6.2} {bound:<8}  {verdict}{variant}",
            line.best * 1e3,
            line.median * 1e3,
            line.gflops,
            line.gbytes,
            line.share
        )));
    }
    rows
}

fn compare(output: &Output, files: &[PathBuf], arguments: &Arguments) -> Result<()> {
    let (old, new) = (bench::read(&files[0])?, bench::read(&files[1])?);
    let changes = bench::compare(&old, &new)?;
    if old.adapter.name != new.adapter.name || old.adapter.driver != new.adapter.driver {
        output.say(&format!(
            "note: {} ({}) against {} ({})",
            old.adapter.name, old.adapter.driver, new.adapter.name, new.adapter.driver
        ));
    }
    output.say(&format!(
        "{:<44} {:>10} {:>10} {:>8} {:>14}",
        "", "old ms", "new ms", "old/new", "share new/old"
    ));
    for change in &changes {
        output.say(&format!(
            "{:<44} {:>10.3} {:>10.3} {:>8.2} {:>14.2}",
            change.name,
            change.best[0] * 1e3,
            change.best[1] * 1e3,
            change.ratio,
            change.share_ratio
        ));
    }
    write_json(arguments, &changes)?;
    output.result(&changes)
}

fn take_apart(output: &Output, gpu: &Gpu, model: &str, arguments: &Arguments) -> Result<()> {
    let ready = models::training(gpu, model, arguments.batch, arguments.half)?;
    gpu.save_pipelines();
    let profile = profile::profile(gpu, &ready, arguments.rounds, arguments.replay)?;
    output.say(&clock_line(profile.clock, None));
    output.say(&format!(
        "{}; each dispatch in a pass of its own, best and median of {} rounds",
        profile.name, arguments.rounds
    ));
    output.say(&format!(
        "{:>3}  {:<14} {:<46} {:>9} {:>9} {:>9} {:>8}",
        "#", "kernel", "variant", "best us", "median us", "GFLOP/s", "GB/s"
    ));
    for row in &profile.rows {
        output.say(&format!(
            "{:>3}  {:<14} {:<46} {:>9.1} {:>9.1} {:>9.1} {:>8.2}",
            row.index,
            row.kernel,
            row.variant,
            row.best * 1e6,
            row.median * 1e6,
            row.gflops,
            row.gbytes
        ));
    }
    output.say(&format!(
        "sum {:.3} ms; the step in one pass {:.3} ms",
        profile.sum * 1e3,
        profile.whole * 1e3
    ));
    output.say(&format!(
        "first step, from the graph on: {:.2} s",
        profile.first_step
    ));
    if let Some(ratio) = profile.wall_over_device {
        output.say(&format!(
            "{} replayed steps: wall time {ratio:.3} of the device's",
            profile.replayed
        ));
    }
    write_json(arguments, &profile)?;
    output.result(&profile)
}

fn write_json(arguments: &Arguments, value: &impl serde::Serialize) -> Result<()> {
    let Some(path) = &arguments.file else {
        return Ok(());
    };
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::Usage(e.to_string()))?;
    outputs::write(path, (text + "\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal() {
        let line = |name: &str, right: bool| Line {
            name: name.to_owned(),
            variant: "conv2d weight product subgroup8 32x8 +vec4 +row_sums".to_owned(),
            best: 1.234_5,
            median: 12.345,
            flops: 1e9,
            bytes: 1e9,
            gflops: 123.4,
            gbytes: 12.34,
            share: 0.5,
            bound: Bounds::Memory,
            right,
            of_tolerance: 0.5,
            matrix_units: false,
        };
        let name = "conv2d weight 3x3, 64 to 64 channels, 16 of 28x28";
        let lines = [line(name, true), line("x + y, 8 Mi", false)];
        for width in [40, 80, 120, 130, 200] {
            let rows = table(&lines, Some(width));
            assert!(rows.iter().all(|r| r.len() <= width), "{width}: {rows:#?}");
            let text = rows.join("\n");
            assert!(text.contains("1234.500"), "{text}");
            assert_eq!(text.contains("WRONG RESULT"), width >= 80, "{text}");
            // Beside the figures where there is room.
            assert_eq!(rows.len(), if width < 150 { 5 } else { 3 }, "{text}");
        }
        assert!(table(&lines, None)[1].ends_with("+row_sums"));
    }
}
