//! `wgen verify --sanitize`

use serde_json::json;

use super::common::Output;
use super::measuring::Measuring;
use crate::error::{Error, Result};
use crate::gpu::{Choice, Gpu};
use crate::kernels::{Caps, devices};
use crate::verify::{Options, Sanitized, SanitizedLine, Sanitizing, sanitize_all};

/// Columns of a line.
const HEAD: &str =
    "kernel              cases variants   runs  flops/cost  bytes/cost  moved/cost  verdict";

/// Examines all cases on the CPU. The adapter, where there is one, only says which variants are its own: those of other families of devices are examined too.
pub(super) fn run(output: &Output, choice: &Choice, options: &Options, costs: bool) -> Result<()> {
    let all = devices(output, choice)?;
    let measuring = Measuring::new(output);
    let mut headed = false;
    let lines = sanitize_all(&all, options, |progress| match progress {
        Sanitizing::Case { line, case, done } => measuring.at(&format!("{line}: {case}"), done),
        Sanitizing::Done {
            line,
            case,
            sanitized,
        } => {
            if costs {
                measuring.say(&format!("    {line} {case}: {}", of_costs(sanitized)));
            }
        }
        Sanitizing::Line(line) => {
            if !std::mem::replace(&mut headed, true) {
                measuring.say(HEAD);
            }
            rows(line).iter().for_each(|row| measuring.say(row));
        }
    })?;
    measuring.end();
    let count = |of: fn(&SanitizedLine) -> usize| lines.iter().map(of).sum::<usize>();
    let (cases, runs, left) = (
        count(|l| l.cases),
        count(|l| l.runs),
        count(|l| l.not_run.len()),
    );
    let passed = lines.iter().all(SanitizedLine::passed);
    let seconds = measuring.seconds();
    let verdict = if passed { "nothing found" } else { "FOUND" };
    let beside = match left {
        0 => String::new(),
        n => format!(", {n} too large and not run"),
    };
    output.say(&format!(
        "{cases} cases in {runs} runs, {seconds:.0} s{beside}: {verdict}"
    ));
    output.result(&json!({"passed": passed, "seconds": seconds, "lines": lines}))?;
    if passed {
        Ok(())
    } else {
        Err(Error::CheckFailed(
            "the sanitizer found something; see the lines above".into(),
        ))
    }
}

/// What devices can do whose variants are examined.
fn devices(output: &Output, choice: &Choice) -> Result<Vec<Caps>> {
    let mut all: Vec<Caps> = Vec::new();
    if *choice != Choice::Cpu {
        match Gpu::new(choice) {
            Ok(gpu) => {
                output.say(&format!(
                    "variants of {}, and of others",
                    gpu.summary().name
                ));
                all.push(gpu.caps().clone());
            }
            Err(Error::NoAdapter(_)) if *choice == Choice::Auto => {}
            Err(error) => return Err(error),
        }
    }
    all.extend(devices::ALL.iter().map(|family| family.caps.clone()));
    Ok(all)
}

fn ratio(of: f64, to: f64) -> String {
    if to > 0.0 {
        format!("{:.3}", of / to)
    } else {
        "-".to_owned()
    }
}

/// What was counted in a case beside what its kernel says.
fn of_costs(sanitized: &Sanitized) -> String {
    let (counts, cost) = (&sanitized.counts, &sanitized.cost);
    let bytes = counts.distinct_read + counts.distinct_written;
    let moved = counts.bytes_loaded + counts.bytes_stored;
    format!(
        "flops {} of {} ({}), bytes {bytes} of {} ({}), moved {moved} ({})",
        counts.flops,
        cost.flops,
        ratio(counts.flops as f64, cost.flops),
        cost.bytes,
        ratio(bytes as f64, cost.bytes),
        ratio(moved as f64, cost.bytes),
    )
}

/// A line of the report, and what was found in it.
fn rows(line: &SanitizedLine) -> Vec<String> {
    let verdict = if line.passed() { "ok" } else { "FOUND" };
    let mut rows = vec![format!(
        "{:<19} {:>5} {:>8} {:>6} {:>11} {:>11} {:>11}  {verdict}",
        line.name,
        line.cases,
        line.variants,
        line.runs,
        ratio(line.flops.0, line.flops.1),
        ratio(line.bytes.0, line.bytes.1),
        ratio(line.moved, line.bytes.1),
    )];
    for case in &line.not_run {
        rows.push(format!("    not run, too large: {case}"));
    }
    for found in line.found.iter().take(5) {
        rows.push(format!("    {}", found.case));
        let findings = found.findings.iter().map(ToString::to_string);
        for text in findings.chain(found.differences.iter().cloned()) {
            rows.extend(text.lines().map(|l| format!("      {l}")));
        }
    }
    if line.found.len() > 5 {
        rows.push(format!("    and {} cases more", line.found.len() - 5));
    }
    rows
}
