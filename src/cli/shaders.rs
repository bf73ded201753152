//! `wgen shaders`

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::common::Output;
use super::outputs;
use crate::error::{Error, Result};
use crate::files::{read_text, write_synced};
use crate::kernels::{Caps, devices};
use crate::models::programs;
use crate::program::candidates::candidates;
use crate::program::template::Templates;
use crate::program::translate::{Target, translate};
use crate::reference::Twin;
use crate::verify::cases;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to write
    #[arg(long)]
    out: PathBuf,
    /// Also translate each kernel
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// The device to write for: amd, nvidia, apple, adreno, intel, portable, or a file with its capabilities as JSON, absent ones portable.
    /// Without, a portable one with the subgroups of `--subgroup`
    #[arg(long, value_name = "FAMILY|FILE")]
    caps: Option<String>,
    /// Also every kernel of every model's plans on that device, and what the tuner would measure beside it
    #[arg(long)]
    models: bool,
    /// The subgroup size to expand subgroup kernels for [default: 32]
    #[arg(long, conflicts_with = "caps")]
    subgroup: Option<u32>,
}

/// Why a kernel is written; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    /// A plan runs it where nothing was measured.
    First,
    /// The tuner measures it beside a first choice.
    Candidate,
    /// A case of verification alone.
    Verified,
}

impl Role {
    fn words(self) -> &'static str {
        match self {
            Self::First => "first choice",
            Self::Candidate => "candidate",
            Self::Verified => "verified",
        }
    }
}

/// Dispatches of a program that a kernel serves.
#[derive(Debug, Serialize)]
struct Use {
    program: String,
    role: Role,
    dispatches: usize,
    /// Of one run of the program.
    flops: f64,
}

/// A kernel that is written, once for all that it serves.
#[derive(Debug)]
struct Written {
    kernel: Arc<dyn Twin>,
    wgsl: String,
    role: Role,
    uses: Vec<Use>,
}

/// Distinct kernels, by template, in the order of their coming.
struct Collection {
    templates: Templates,
    by_template: BTreeMap<&'static str, Vec<Written>>,
    /// What of a launch makes its text, with the place of what came of it.
    seen: HashMap<String, (&'static str, usize)>,
}

impl Collection {
    fn add(&mut self, kernel: &Arc<dyn Twin>, role: Role, of: &str) -> Result<()> {
        let launch = kernel.launch();
        let key = format!(
            "{} {} {:?}",
            launch.template, launch.context, launch.constants
        );
        let place = match self.seen.get(&key) {
            Some(&place) => place,
            None => {
                let wgsl = self.templates.expand(&launch)?;
                let all = self.by_template.entry(launch.template).or_default();
                // Variables that the text does not show make no other kernel.
                let constants = |w: &Written| w.kernel.launch().constants == launch.constants;
                let same = all.iter().position(|w| w.wgsl == wgsl && constants(w));
                let index = same.unwrap_or(all.len());
                if same.is_none() {
                    all.push(Written {
                        kernel: kernel.clone(),
                        wgsl,
                        role,
                        uses: Vec::new(),
                    });
                }
                self.seen.insert(key, (launch.template, index));
                (launch.template, index)
            }
        };
        let Some(written) = self
            .by_template
            .get_mut(place.0)
            .and_then(|all| all.get_mut(place.1))
        else {
            return Ok(());
        };
        if role < written.role {
            // What it is shown with is what a plan runs.
            (written.role, written.kernel) = (role, kernel.clone());
        }
        let flops = kernel.cost().flops;
        let before = written
            .uses
            .iter_mut()
            .rev()
            .take_while(|u| u.program == of);
        match before.into_iter().find(|u| u.role == role) {
            Some(same) => {
                same.dispatches += 1;
                same.flops += flops;
            }
            None => written.uses.push(Use {
                program: of.to_owned(),
                role,
                dispatches: 1,
                flops,
            }),
        }
        Ok(())
    }
}

pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<()> {
    let caps = match &arguments.caps {
        Some(name) => named(name)?,
        None => {
            let size = arguments.subgroup.unwrap_or(32);
            Caps {
                subgroup_min_size: size,
                subgroup_max_size: size,
                ..Caps::portable()
            }
        }
    };
    // No device on DX12 has them.
    let caps = match arguments.target {
        Some(Target::Hlsl) => Caps {
            matrix_units: 0,
            ..caps
        },
        _ => caps,
    };
    outputs::check_folder(&arguments.out, None)?;
    std::fs::create_dir_all(&arguments.out).map_err(|e| Error::io(&arguments.out, e))?;
    let mut collection = Collection {
        templates: Templates::embedded(),
        by_template: BTreeMap::new(),
        seen: HashMap::new(),
    };
    for case in cases::all(&caps, true) {
        collection.add(&case.kernel, Role::Verified, &case.name)?;
    }
    if arguments.models {
        programs::all(&caps, &mut |named| {
            for dispatch in &named.program.dispatches {
                for (i, kernel) in candidates(&dispatch.kernel, &named.caps).iter().enumerate() {
                    let role = if i == 0 { Role::First } else { Role::Candidate };
                    collection.add(kernel, role, &named.name)?;
                }
            }
            Ok(())
        })?;
    }
    let (mut files, mut kernels) = (Vec::new(), Vec::new());
    for (template, all) in &collection.by_template {
        for (number, written) in all.iter().enumerate() {
            let name = format!("{template}-{number:03}");
            write(&arguments.out, &name, written, arguments.target)?;
            files.push(format!("{name}.wgsl"));
            kernels.push(json!({
                "file": format!("{name}.wgsl"),
                "family": written.kernel.family(),
                "variant": written.kernel.variant(),
                "role": written.role,
                "uses": written.uses,
            }));
        }
    }
    let count = |role: Role| {
        let all = collection.by_template.values().flatten();
        all.filter(|w| w.role == role).count()
    };
    let roles = if arguments.models {
        let [first, candidate, verified] =
            [Role::First, Role::Candidate, Role::Verified].map(count);
        format!(
            ": {first} of plans, {candidate} that the tuner measures beside them, {verified} of verification alone"
        )
    } else {
        String::new()
    };
    output.say(&format!(
        "{} kernels in {}{roles}",
        files.len(),
        arguments.out.display()
    ));
    output.result(&json!({"caps": caps, "files": files, "kernels": kernels}))
}

/// The capabilities of a family, or those in a file.
fn named(name: &str) -> Result<Caps> {
    if let Some(family) = devices::find(name) {
        return Ok(family.caps.clone());
    }
    let path = Path::new(name);
    if !path.exists() {
        let known: Vec<&str> = devices::ALL.iter().map(|family| family.name).collect();
        return Err(Error::Usage(format!(
            "--caps {name}: there is no such family ({}), and no such file",
            known.join(", ")
        )));
    }
    let caps: Caps = serde_json::from_str(&read_text(path)?)
        .map_err(|e| Error::format(path, format!("is no device's capabilities: {e}")))?;
    match caps.below_floor() {
        None => Ok(caps),
        Some((limit, has, needed)) => Err(Error::format(
            path,
            format!("has {limit} {has}; every kernel may count on {needed}"),
        )),
    }
}

/// Writes a kernel with what is to be known of it, and its translation.
fn write(out: &Path, name: &str, written: &Written, target: Option<Target>) -> Result<()> {
    let Written { kernel, wgsl, .. } = written;
    let launch = kernel.launch();
    if let Some(target) = target {
        let path = out.join(format!("{name}.{}", target.ending()));
        write_synced(&path, &translate(wgsl, &launch, target)?)?;
    }
    let mut text = format!(
        "// wgen {}: {} {}\n",
        env!("CARGO_PKG_VERSION"),
        kernel.family(),
        kernel.variant()
    );
    let mut of: Vec<&str> = Vec::new();
    for each in written.uses.iter().filter(|u| u.role == written.role) {
        if !of.contains(&each.program.as_str()) {
            of.push(&each.program);
        }
    }
    let more = match of.len().saturating_sub(1) {
        0 => String::new(),
        n => format!("; and of {n} more"),
    };
    let first = of.first().copied().unwrap_or_default();
    let _ = writeln!(text, "// {}: {first}{more}", written.role.words());
    for (i, binding) in kernel.bindings().iter().enumerate() {
        let (name, access, dtype) = (&binding.name, binding.access, binding.dtype.name());
        let _ = writeln!(
            text,
            "// binding {i}: {name}, {access:?}, {dtype}, here {} elements",
            binding.count
        );
    }
    let _ = writeln!(
        text,
        "// binding {}: params, uniform, here {:?}",
        kernel.bindings().len(),
        launch.params
    );
    let _ = writeln!(
        text,
        "// constants: {:?}; workgroups here: {:?}\n",
        launch.constants, launch.workgroups
    );
    let path = out.join(format!("{name}.wgsl"));
    write_synced(&path, (text + wgsl).as_bytes())
}
