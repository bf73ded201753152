//! Every graph of every model as kernels, on three devices, against the text in `tests/plans/`: what a refactoring must not change.
//!
//! A line a dispatch as `explain` has it, behind it a hash of its expanded WGSL and one of what it is launched with (entry, constants,
//! parameters, workgroups). Where a line has to change, `WGEN_WRITE_PLANS=1 cargo nextest run --release --test plans` writes the files
//! anew, and the commit says why.

use std::fmt::Write as _;
use std::path::PathBuf;

use wgen::graph::Graph;
use wgen::graph::layout::Layout;
use wgen::graph::update::Update;
use wgen::kernels::Caps;
use wgen::models::registry::{Case, Examples};
use wgen::models::{ALL, Model};
use wgen::nn::init::hash;
use wgen::program::lower::{LowerOptions, lower};
use wgen::program::template::Templates;
use wgen::program::{PlanOptions, explain::explain, memory};
use wgen::verify::{cases, chains};

/// lavapipe of Mesa 22.3.6, as `wgen info --json` describes it.
fn lavapipe() -> Caps {
    Caps {
        software: true,
        vendor: 0,
        subgroup_min_size: 8,
        subgroup_max_size: 8,
        storage_buffers: 16,
        binding_bytes: 128 << 20,
        buffer_bytes: (2 << 30) - 1,
        invocations: 1024,
        workgroup_bytes: 32 << 10,
        workgroups: 65_535,
        offset_alignment: 256,
        f16: true,
        matrix_units: 0,
        half_products: false,
    }
}

/// A GPU with subgroups of 32, f16, matrix units and 64 KiB of workgroup memory.
fn hardware() -> Caps {
    Caps {
        software: false,
        vendor: 0,
        subgroup_min_size: 32,
        subgroup_max_size: 32,
        storage_buffers: 16,
        binding_bytes: 2 << 30,
        buffer_bytes: 4 << 30,
        invocations: 1024,
        workgroup_bytes: 64 << 10,
        workgroups: 65_535,
        offset_alignment: 256,
        f16: true,
        matrix_units: 16,
        half_products: false,
    }
}

fn devices() -> [(&'static str, Caps); 3] {
    [
        ("portable", Caps::portable()),
        ("lavapipe", lavapipe()),
        ("hardware", hardware()),
    ]
}

/// A graph as text.
fn text(graph: &Graph, model: &dyn Model, caps: &Caps, options: PlanOptions) -> String {
    let templates = Templates::embedded();
    let layout = Layout::new(model.parameters(), caps.binding_bytes).unwrap();
    let caps = options.caps(caps);
    let lower_options = LowerOptions {
        fuse: options.fuse,
        half: options.half,
    };
    let program = lower(graph, &caps, &layout, lower_options).unwrap();
    let slots = memory::assign(&program, !options.retain);
    let explained = explain(&program, &slots);
    let mut lines = explained.lines();
    let mut out = format!("{}\n", lines.next().unwrap());
    for dispatch in &program.dispatches {
        let launch = dispatch.kernel.launch();
        let wgsl = hash(templates.expand(&launch).unwrap().as_bytes());
        let launched = format!(
            "{} {:?} {:?} {:?} {:?} {:?}",
            launch.entry,
            launch.constants,
            launch.params,
            launch.workgroups,
            launch.grid,
            dispatch.offsets
        );
        let launched = hash(launched.as_bytes());
        let line = lines.next().unwrap();
        let _ = writeln!(out, "{line}  wgsl {wgsl:016x} launch {launched:016x}");
    }
    lines.for_each(|line| out.push_str(&format!("{line}\n")));
    out
}

/// The update of a step, as `verify` has it.
fn update(step: &Case) -> Update {
    let phase = step.model.phases().swap_remove(step.phase);
    Update {
        rule: step.rule,
        max_norm: step.max_norm,
        ema: true,
        metrics: phase.metrics,
        set: phase.set,
        takes_data: phase.takes_data,
        batch: step.batch,
        loss_scale: step.options.half,
    }
}

/// All graphs of a step's model: its training, and once a model the graphs that do not train.
fn graphs(step: &Case, others: bool) -> Vec<(&'static str, wgen::Result<Graph>)> {
    let model = step.model.as_ref();
    // 200 drawn digits or rays, as `verify` has them.
    let data = Examples::data_type(model, 200);
    let training = model.training(step.phase, &data, &update(step));
    let mut graphs = vec![("training", Ok(training.unwrap()))];
    if others {
        graphs.extend([
            ("evaluation", model.evaluation(&data, 6)),
            ("encoding", model.encoding(&data, 5)),
            ("decoding", model.decoding(3)),
            ("sampling", model.sampling(4).map(|s| s.graph)),
            ("importance", model.importance(&data, 3, 2)),
        ]);
        graphs.extend(model.filters().map(|graph| ("filters", Ok(graph))));
        let views = model.camera().map(|camera| model.rendering(&camera, 8));
        graphs.extend(views.map(|graph| ("rendering", graph)));
        graphs.extend([
            ("densities", model.densities(9)),
            ("colours", model.colours(9)),
        ]);
    }
    graphs
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans")
}

/// Compares text with a file of `tests/plans/`, or writes it there.
fn compare(name: &str, text: &str) -> Result<(), String> {
    let path = folder().join(name);
    if std::env::var_os("WGEN_WRITE_PLANS").is_some() {
        std::fs::write(&path, text).unwrap();
        return Ok(());
    }
    let before = std::fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
    if before == text {
        return Ok(());
    }
    let differs = |(_, (a, b)): &(usize, (&str, &str))| a != b;
    let pairs = before.lines().zip(text.lines()).enumerate();
    Err(match pairs.into_iter().find(differs) {
        Some((i, (a, b))) => format!("{name}, line {}:\n  was {a}\n  is  {b}", i + 1),
        None => format!(
            "{name} had {} lines, there are {}",
            before.lines().count(),
            text.lines().count()
        ),
    })
}

#[test]
fn plans_are_what_they_were() {
    let mut wrong = Vec::new();
    for (device, caps) in devices() {
        for entry in ALL {
            let (name, steps) = (entry.name, (entry.cases)(&caps, false).unwrap());
            let mut all = String::new();
            let mut seen: Vec<String> = Vec::new();
            for step in &steps {
                // The other graphs of a model do not depend on how it is trained.
                let model = format!("{:?}", step.model);
                let others = step.options == PlanOptions::default() && !seen.contains(&model);
                if others {
                    seen.push(model);
                }
                for (kind, graph) in graphs(step, others) {
                    let Ok(graph) = graph else { continue };
                    let _ = writeln!(all, "## {}: {kind}", step.name);
                    all.push_str(&text(&graph, step.model.as_ref(), &caps, step.options));
                    all.push('\n');
                }
            }
            wrong.extend(compare(&format!("{name}.{device}.txt"), &all).err());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cases may be added to `wgen verify`; none may go.
#[test]
fn no_case_of_verify_is_missing() {
    let mut wrong = Vec::new();
    for (device, caps) in devices() {
        for (length, quick) in [("full", false), ("quick", true)] {
            // The quick cases differ between devices as all do: one list of them is enough.
            if quick && device != "lavapipe" {
                continue;
            }
            let mut names: Vec<String> = cases::all(&caps, quick)
                .iter()
                .map(|c| format!("{}: {}", c.kernel.family(), c.name))
                .collect();
            for entry in ALL {
                let cases = (entry.cases)(&caps, quick).unwrap();
                names.extend(cases.iter().map(|c| format!("{}: {}", entry.name, c.name)));
            }
            names.extend((0..chains::count(quick)).map(|s| format!("chains: {}", chains::name(s))));
            let name = format!("verify.{device}.{length}.txt");
            let path = folder().join(&name);
            if std::env::var_os("WGEN_WRITE_PLANS").is_some() {
                std::fs::write(&path, names.join("\n") + "\n").unwrap();
            }
            let listed = std::fs::read_to_string(&path).unwrap();
            // Some cases share a name: as many as there were have to be there.
            for line in listed.lines() {
                match names.iter().position(|n| n == line) {
                    Some(at) => drop(names.swap_remove(at)),
                    None => wrong.push(format!("{name}: '{line}' is missing")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
