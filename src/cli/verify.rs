//! `wgen verify`

use clap::Args;
use serde_json::json;

use super::common::{Output, open};
use super::measuring::Measuring;
use super::sanitized;
use crate::error::{Error, Result};
use crate::gpu::Choice;
use crate::session::Device;
use crate::verify::{Line, Options, Progress, all};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A few minutes' worth
    #[arg(long)]
    quick: bool,
    /// Only kernel families and models whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Execute kernels on the CPU instead, in adversarial orders, and look for races, memory that nobody wrote, indices out of bounds, barriers that not all
    /// reach; with -v their costs are counted. Needs no GPU
    #[arg(long)]
    sanitize: bool,
}

pub(super) fn run(
    output: &Output,
    choice: &Choice,
    arguments: &Arguments,
    costs: bool,
) -> Result<()> {
    let options = Options {
        quick: arguments.quick,
        filter: arguments.filter.clone(),
    };
    if arguments.sanitize {
        return sanitized::run(output, choice, &options, costs);
    }
    if *choice == Choice::Cpu {
        return Err(Error::Usage(
            "verify compares a GPU with the CPU; --device cpu would compare the CPU with itself"
                .into(),
        ));
    }
    let Device::Gpu(gpu) = open(output, choice)? else {
        return Err(Error::NoAdapter(
            "verify needs a GPU driver; a software one such as lavapipe will do".into(),
        ));
    };
    let measuring = Measuring::new(output);
    let mut headed = false;
    let report = all(&gpu, &options, |progress| match progress {
        Progress::Case { line, case, done } => measuring.at(&format!("{line}: {case}"), done),
        Progress::Line(line) => {
            if !std::mem::replace(&mut headed, true) {
                measuring.say(HEAD);
            }
            rows(line).iter().for_each(|row| measuring.say(row));
        }
    })?;
    measuring.end();
    gpu.save_pipelines();
    let cases: usize = report.lines.iter().map(|l| l.cases).sum();
    let seconds = measuring.seconds();
    let verdict = if report.passed() {
        "all passed"
    } else {
        "FAILED"
    };
    output.say(&format!("{cases} cases in {seconds:.0} s: {verdict}"));
    output.result(&json!({
        "adapter": gpu.summary(), "passed": report.passed(), "seconds": seconds, "lines": report.lines
    }))?;
    if report.passed() {
        Ok(())
    } else {
        Err(Error::CheckFailed(
            "verify failed; see the lines above".into(),
        ))
    }
}

/// Columns of a line, within 80.
const HEAD: &str = "kernel              cases  worst relative  worst ULP  of tolerance  verdict";

/// A line of the report, and what failed in it.
fn rows(line: &Line) -> Vec<String> {
    let verdict = if line.passed { "ok" } else { "FAILED" };
    let ulp = line
        .worst_ulp
        .map_or("-".to_owned(), |ulp| format!("{ulp:.1}"));
    let mut rows = vec![format!(
        "{:<19} {:>5} {:>15.2e} {:>10} {:>13.3}  {verdict}",
        line.name, line.cases, line.worst_relative, ulp, line.worst_of_tolerance
    )];
    rows.extend(line.failures.iter().map(|f| format!("    {f}")));
    rows
}
