//! `wgen info`

use clap::Args;
use serde_json::json;

use super::common::Output;
use super::flags::{flags, message};
use crate::error::{Error, Result};
use crate::gpu::{Choice, Gpu, adapter};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What the tuner learned on the adapter that would be used
    #[arg(long)]
    tuning: bool,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    if arguments.tuning {
        return tuning(output, choice);
    }
    let chosen = match choice {
        Choice::Cpu => None,
        choice => match Gpu::new(choice) {
            Ok(gpu) => Some(gpu.summary().clone()),
            Err(error @ Error::NoAdapter(_))
                if *choice == Choice::Auto && adapter::list().is_empty() =>
            {
                output.say(&message(&error));
                None
            }
            Err(error) => return Err(error),
        },
    };
    let adapters = adapter::list();
    for (i, (summary, caps, features)) in adapters.iter().enumerate() {
        output.say(&format!(
            "{i}: {} ({}, {}), driver {}",
            summary.name, summary.kind, summary.backend, summary.driver
        ));
        output.say(&format!(
            "   subgroups {} to {}; {} MiB a binding, {} MiB a buffer, {} storage buffers, {} invocations, {} KiB workgroup memory",
            caps.subgroup_min_size,
            caps.subgroup_max_size,
            caps.binding_bytes >> 20,
            caps.buffer_bytes >> 20,
            caps.storage_buffers,
            caps.invocations,
            caps.workgroup_bytes >> 10
        ));
        output.say(&format!("   features: {}", features.join(", ")));
        if caps.matrix_units > 0 {
            let side = caps.matrix_units;
            output.say(&format!(
                "   matrix units: {side}x{side}x{side}, f16 with sums in f32"
            ));
        }
    }
    match &chosen {
        Some(summary) => output.say(&format!(
            "used: {} ({})",
            summary.name,
            flags(&summary.reason)
        )),
        None => output.say("used: the CPU interpreter"),
    }
    let list: Vec<_> = adapters
        .iter()
        .map(|(s, c, f)| json!({"adapter": s, "limits": c, "features": f}))
        .collect();
    output.result(&json!({"adapters": list, "used": chosen}))
}

fn tuning(output: &Output, choice: &Choice) -> Result<()> {
    let gpu = Gpu::new(choice)?;
    let learned = gpu.tuning().entries();
    if gpu.caps().software {
        output.say(&format!(
            "{} is a software adapter: variants are chosen by rule and never tuned",
            gpu.summary().name
        ));
    } else if learned.is_empty() {
        output.say("nothing was tuned yet: it happens when a plan is compiled");
    }
    for entry in &learned {
        output.say(&format!("{}: {}", entry.what, entry.variant));
        for candidate in &entry.candidates {
            let time = candidate
                .seconds
                .map_or("not used".to_owned(), |s| format!("{:.1} us", s * 1e6));
            output.say(&format!("    {:<50} {time:>12}", candidate.variant));
        }
    }
    output.result(&json!({"adapter": gpu.summary(), "tuned": learned}))
}
