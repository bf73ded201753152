//! `wgen verify`

use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::common::{Output, open};
use crate::error::{Error, Result};
use crate::gpu::Choice;
use crate::session::Device;
use crate::verify::{Options, all};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A few minutes' worth
    #[arg(long)]
    quick: bool,
    /// Only kernel families and models whose name contains this
    #[arg(long)]
    filter: Option<String>,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
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
    let begin = Instant::now();
    let options = Options {
        quick: arguments.quick,
        filter: arguments.filter.clone(),
    };
    let report = all(&gpu, &options, |name| {
        log::debug!("{:6.1} s {name}", begin.elapsed().as_secs_f64());
    })?;
    gpu.save_pipelines();
    output.say(&format!(
        "{:<16} {:>6} {:>15} {:>11} {:>16}  verdict",
        "kernel", "cases", "worst relative", "worst ULP", "of tolerance"
    ));
    for line in &report.lines {
        let verdict = if line.passed { "ok" } else { "FAILED" };
        output.say(&format!(
            "{:<16} {:>6} {:>15.2e} {:>11.1} {:>16.3}  {verdict}",
            line.name, line.cases, line.worst_relative, line.worst_ulp, line.worst_of_tolerance
        ));
        line.failures
            .iter()
            .for_each(|f| output.say(&format!("    {f}")));
    }
    let cases: usize = report.lines.iter().map(|l| l.cases).sum();
    let seconds = begin.elapsed().as_secs_f64();
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
