//! `wgen shaders`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::Output;
use super::outputs;
use crate::error::{Error, Result};
use crate::files::write_synced;
use crate::kernels::Caps;
use crate::program::template::Templates;
use crate::program::translate::{Target, translate};
use crate::verify::cases;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to write
    #[arg(long)]
    out: PathBuf,
    /// Also translate each kernel
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// The subgroup size to expand subgroup kernels for
    #[arg(long, default_value_t = 32)]
    subgroup: u32,
}

pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<()> {
    outputs::check_folder(&arguments.out, None)?;
    let io = |e| Error::io(&arguments.out, e);
    std::fs::create_dir_all(&arguments.out).map_err(io)?;
    let size = arguments.subgroup;
    let caps = Caps {
        subgroup_min_size: size,
        subgroup_max_size: size,
        ..Caps::portable()
    };
    let templates = Templates::embedded();
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    for case in cases::all(&caps, true) {
        let launch = case.kernel.launch();
        let source = templates.expand(&launch)?;
        if written.values().any(|other| other.ends_with(&source)) {
            continue;
        }
        let number = written
            .keys()
            .filter(|n| n.starts_with(&format!("{}-", launch.template)))
            .count();
        let mut text = format!(
            "// wgen {}: {} {}\n",
            env!("CARGO_PKG_VERSION"),
            case.kernel.family(),
            case.kernel.variant()
        );
        for (i, binding) in case.kernel.bindings().iter().enumerate() {
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
            case.kernel.bindings().len(),
            launch.params
        );
        let _ = writeln!(
            text,
            "// constants: {:?}; workgroups here: {:?}\n",
            launch.constants, launch.workgroups
        );
        let name = format!("{}-{number:03}", launch.template);
        if let Some(target) = arguments.target {
            let path = arguments.out.join(format!("{name}.{}", target.ending()));
            let translated = translate(&source, &launch, target)?;
            write_synced(&path, &translated)?;
        }
        written.insert(format!("{name}.wgsl"), text + &source);
    }
    for (name, text) in &written {
        let path = arguments.out.join(name);
        write_synced(&path, text.as_bytes())?;
    }
    output.say(&format!(
        "{} kernels in {}",
        written.len(),
        arguments.out.display()
    ));
    output.result(&json!({"files": written.keys().collect::<Vec<_>>()}))
}
