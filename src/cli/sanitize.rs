//! `wgen sanitize`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::{Output, counted};
use crate::error::{Error, Result};
use crate::sanitize::{Input, Options, Order, Program, Resource, ResourceKind, read_inputs};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A compute shader
    #[arg(value_name = "FILE.wgsl")]
    file: PathBuf,
    /// A safetensors file with a tensor for each binding, by the variable's name; read_write buffers without one nobody wrote. Without a file inputs are
    /// drawn
    #[arg(long, value_name = "FILE.safetensors")]
    inputs: Option<PathBuf>,
    /// The entry point, where there are several
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Workgroups in x, y and z
    #[arg(long, value_name = "X,Y,Z", default_value = "1,1,1", value_parser = three)]
    workgroups: [u32; 3],
    /// The value of an override constant, by name or @id; may be repeated
    #[arg(long = "constant", value_name = "NAME=VALUE", value_parser = constant)]
    constants: Vec<(String, f64)>,
    /// Elements of an array of any length that has no tensor (1024), or texels of a storage texture, as in out=640x480; may be repeated
    #[arg(long = "elements", value_name = "NAME=N", value_parser = elements)]
    elements: Vec<(String, [u32; 3])>,
    /// Sizes of subgroups
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [4, 8, 16, 32, 64])]
    subgroup_sizes: Vec<u32>,
    /// Shuffled orders beside in order and in reverse
    #[arg(long, value_name = "N", default_value_t = 2)]
    shuffles: u64,
    /// Workgroup memory holds anything at first, as where wgpu is told not to clear it
    #[arg(long)]
    no_zeros: bool,
}

pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<()> {
    let file = &arguments.file;
    let source = std::fs::read_to_string(file).map_err(|e| Error::io(file, e))?;
    let program = Program::new(&source, arguments.entry.as_deref(), &arguments.constants)?;
    let resources = program.resources();
    let elements: BTreeMap<String, [u32; 3]> = arguments.elements.iter().cloned().collect();
    let known = |name: &&String| resources.iter().any(|r| r.name == **name);
    if let Some(name) = elements.keys().find(|name| !known(name)) {
        let names: Vec<&str> = resources.iter().map(|r| r.name.as_str()).collect();
        return Err(Error::Usage(format!(
            "--elements {name}: the shader binds no such variable, but {}",
            names.join(", ")
        )));
    }
    let inputs = match &arguments.inputs {
        Some(path) => read_inputs(path, resources, &elements)?,
        None => {
            let drawn = |r: &Resource| r.drawn(elements.get(&r.name).copied());
            resources.iter().map(drawn).collect()
        }
    };
    for (resource, input) in resources.iter().zip(&inputs) {
        output.say(&bound(resource, input));
    }
    let shuffles = (1..=arguments.shuffles).map(Order::Shuffled);
    let options = Options {
        orders: [Order::Forward, Order::Backward]
            .into_iter()
            .chain(shuffles)
            .collect(),
        subgroup_sizes: arguments.subgroup_sizes.clone(),
        zeroed_workgroup_memory: !arguments.no_zeros,
        ..Options::default()
    };
    let report = program.run(&inputs, arguments.workgroups, &options)?;
    for finding in &report.findings {
        output.say(&format!("{}: {finding}", file.display()));
    }
    let counts = &report.counts;
    output.say(&format!(
        "'{}' in {}: {} flops, {} bytes loaded, {} stored; {}",
        program.entry(),
        counted(report.runs.len(), "run"),
        counts.flops,
        counts.bytes_loaded,
        counts.bytes_stored,
        match report.findings.len() {
            0 => "nothing found".to_owned(),
            n => counted(n, "finding"),
        }
    ));
    let runs: Vec<&str> = report.runs.iter().map(|r| r.name.as_str()).collect();
    output.result(&json!({
        "file": file,
        "entry": program.entry(),
        "workgroup_size": program.workgroup_size(),
        "workgroups": arguments.workgroups,
        "runs": runs,
        "counts": counts,
        "findings": report.findings,
        "passed": report.findings.is_empty(),
    }))?;
    if report.findings.is_empty() {
        Ok(())
    } else {
        Err(Error::CheckFailed(format!(
            "{} in {}",
            counted(report.findings.len(), "finding"),
            file.display()
        )))
    }
}

/// A line on what a binding holds.
fn bound(resource: &Resource, input: &Input) -> String {
    let Resource {
        name,
        group,
        binding,
        kind,
        ..
    } = resource;
    let kind = match kind {
        ResourceKind::Uniform => "uniform",
        ResourceKind::Read => "storage, read",
        ResourceKind::ReadWrite => "storage, read_write",
        ResourceKind::Texture(_) => "texture",
        ResourceKind::StorageTexture(_) => "storage texture",
        ResourceKind::Sampler => "sampler",
    };
    let holds = match input {
        Input::Buffer { written, bytes, .. } if written.is_empty() => {
            format!("{bytes} bytes that nobody wrote")
        }
        Input::Buffer { bytes, .. } => format!("{bytes} bytes"),
        Input::Texture {
            size: [w, h, d], ..
        } => format!("{w} x {h} x {d} texels"),
        Input::Sampler => "linear, clamped to the edge".to_owned(),
    };
    format!("@group({group}) @binding({binding}) {name} ({kind}): {holds}")
}

fn three(text: &str) -> Result<[u32; 3], String> {
    let mut all = [1; 3];
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > 3 {
        return Err("one to three numbers, as in 4,4,1".to_owned());
    }
    for (n, part) in all.iter_mut().zip(parts) {
        *n = part
            .trim()
            .parse()
            .map_err(|_| format!("'{part}' is no number of workgroups"))?;
    }
    Ok(all)
}

fn named(text: &str) -> Result<(String, &str), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a name and a value, as in SIZE=64")?;
    Ok((name.trim().to_owned(), value.trim()))
}

fn constant(text: &str) -> Result<(String, f64), String> {
    let (name, value) = named(text)?;
    let value = match value {
        "true" => 1.0,
        "false" => 0.0,
        value => value
            .parse()
            .map_err(|_| format!("'{value}' is no number"))?,
    };
    Ok((name, value))
}

fn elements(text: &str) -> Result<(String, [u32; 3]), String> {
    let (name, value) = named(text)?;
    let mut size = [1; 3];
    let parts: Vec<&str> = value.split('x').collect();
    if parts.len() > 3 {
        return Err("one to three numbers, as in out=640x480".to_owned());
    }
    for (n, part) in size.iter_mut().zip(parts) {
        *n = part
            .parse()
            .map_err(|_| format!("'{part}' is no number of elements"))?;
    }
    Ok((name, size))
}
