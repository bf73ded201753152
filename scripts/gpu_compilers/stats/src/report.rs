//! Lines of `compile` judged, counted, and set beside those of an earlier time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compile::is_product;
use crate::exceptions::Exceptions;
use crate::judge::{Fault, faults, fma_share, statistics};
use crate::{Arguments, Listed};

/// Roles with their heads in tables.
const ROLES: [(&str, &str); 3] = [
    ("first", "first choices"),
    ("candidate", "candidates"),
    ("verified", "verified only"),
];

/// Training steps whose products are shown, as `wgen shaders` names them, with their heads in tables.
const STEPS: [(&str, &str); 8] = [
    ("vae: training, batch 128", "VAE, batch 128"),
    ("vae: training, batch 1024", "VAE, batch 1024"),
    ("diffusion: training, batch 16", "U-Net, batch 16"),
    (
        "diffusion, heads of 64: training, batch 16",
        "U-Net, heads of 64, batch 16",
    ),
    ("classifier: training, batch 64", "classifier, batch 64"),
    (
        "gan-discriminator of 64x64: training, batch 128",
        "DCGAN 64x64, discriminator",
    ),
    (
        "gan-generator of 64x64: training, batch 128",
        "DCGAN 64x64, generator",
    ),
    ("ngp: training, batch 4096", "hash grid, 4096 rays"),
];

/// What is kept of a run.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Summary {
    gpus: Vec<Gpu>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Gpu {
    name: String,
    device: String,
    driver: String,
    /// Kernels by role.
    kernels: BTreeMap<String, u64>,
    /// By role and fault.
    faults: BTreeMap<String, BTreeMap<Fault, Tally>>,
    /// Share of multiply-adds in the main loops of a training step's products, weighted by flops.
    steps: BTreeMap<String, f64>,
    /// Products and attention by body.
    bodies: BTreeMap<String, Body>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tally {
    kernels: u64,
    excused: u64,
    /// The worst: how bad, in words, and which.
    #[serde(skip)]
    amount: f64,
    worst: String,
    kernel: String,
}

/// Over the kernels that have it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Body {
    kernels: u64,
    /// Mean.
    fma_share: Option<f64>,
    /// Most.
    registers: u64,
    /// Least.
    occupancy: Option<f64>,
    /// Most.
    spills: u64,
    /// The driver's own, the most.
    estimate: Option<u64>,
    /// Whether some plan takes it first.
    first: bool,
}

/// Faults that no exception names, of a role and a body: kernels, how bad the worst is and in words, by GPU and fault.
type Unexcused = BTreeMap<(String, String), BTreeMap<String, BTreeMap<Fault, (u64, f64, String)>>>;

pub fn report(arguments: &[String]) -> Result<bool, String> {
    let arguments = Arguments::parse(arguments, &["--whole", "--loops"])?;
    let exceptions = Exceptions::read(arguments.need("--exceptions")?)?;
    let mut summary = Summary::default();
    let mut unexcused = Unexcused::new();
    for path in &arguments.rest {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.map_err(|e| format!("{path}: {e}"))?;
        if arguments.has("--loops") {
            lines.iter().for_each(print_loop);
        }
        if !lines.is_empty() {
            summary.gpus.push(gpu(&lines, &exceptions, &mut unexcused)?);
        }
    }
    if let Some(path) = arguments.get("--summary") {
        let text = serde_json::to_string(&summary).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{path}: {e}"))?;
    }
    let before = match arguments.get("--before") {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
            Some(serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?)
        }
        None => None,
    };
    if let Some(path) = arguments.get("--page") {
        let text = page(&summary, before.as_ref(), &unexcused, &exceptions);
        std::fs::write(path, text).map_err(|e| format!("{path}: {e}"))?;
    }
    print!("{}", counts(&summary, before.as_ref()));
    let mut right = unexcused.is_empty();
    for line in in_words(&unexcused) {
        println!("WRONG, {line}");
    }
    if arguments.has("--whole") {
        for e in exceptions.exception.iter().filter(|e| !e.used.get()) {
            println!(
                "WRONG: nothing needs the exception of {} on {} any more",
                e.kernel, e.gpu
            );
            right = false;
        }
    }
    Ok(right)
}

fn gpu(lines: &[Value], exceptions: &Exceptions, unexcused: &mut Unexcused) -> Result<Gpu, String> {
    let text = |key: &str| {
        let named = lines.iter().find_map(|line| line[key].as_str());
        named.unwrap_or_default().trim().to_owned()
    };
    let mut of = Gpu {
        name: text("gpu"),
        device: text("device"),
        driver: text("driver"),
        ..Gpu::default()
    };
    // Flops, and flops over share, of each step.
    let mut steps: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut shares: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines {
        let listed: Listed =
            serde_json::from_value(line["listed"].clone()).map_err(|e| format!("a line: {e}"))?;
        let (title, role) = (listed.title(), listed.role.as_str());
        *of.kernels.entry(role.to_owned()).or_default() += 1;
        for (fault, amount, words) in faults(line) {
            let tallies = of.faults.entry(role.to_owned()).or_default();
            let tally = tallies.entry(fault).or_default();
            tally.kernels += 1;
            if amount > tally.amount {
                (tally.amount, tally.worst, tally.kernel) = (amount, words.clone(), title.clone());
            }
            if exceptions.excuse(&title, &of.name, role, fault) {
                tally.excused += 1;
                continue;
            }
            let of_body = unexcused.entry((role.to_owned(), body_of(&listed)));
            let of_gpu = of_body.or_default().entry(of.name.clone()).or_default();
            let (kernels, worst, said) = of_gpu.entry(fault).or_default();
            *kernels += 1;
            if amount > *worst {
                (*worst, *said) = (amount, words);
            }
        }
        if !is_product(&listed.family) || role == "verified" {
            continue;
        }
        let share = fma_share(line);
        if let Some(share) = share {
            let trained = |program: &str| STEPS.iter().find(|step| step.0 == program);
            for each in listed.uses.iter().filter(|u| u.role == "first") {
                if let Some((step, _)) = trained(&each.program)
                    && listed.family != "attention"
                {
                    let sums = steps.entry(step).or_default();
                    (sums.0, sums.1) = (sums.0 + each.flops, sums.1 + each.flops / share);
                }
            }
        }
        let plain = body_of(&listed);
        let body = of.bodies.entry(plain.clone()).or_default();
        body.kernels += 1;
        body.first |= role == "first";
        if let Some(s) = statistics(line) {
            body.registers = body.registers.max(s.registers);
            body.spills = body.spills.max(s.spills);
            body.estimate = body.estimate.max(s.estimate);
            let least = |a: f64| body.occupancy.map_or(a, |b| a.min(b));
            body.occupancy = s.occupancy.map(least).or(body.occupancy);
        }
        shares.entry(plain).or_default().extend(share);
    }
    for (name, (flops, slots)) in steps {
        of.steps.insert(name.to_owned(), rounded(flops / slots));
    }
    for (name, all) in shares.iter().filter(|(_, all)| !all.is_empty()) {
        if let Some(body) = of.bodies.get_mut(name) {
            body.fma_share = Some(rounded(all.iter().sum::<f64>() / all.len() as f64));
        }
    }
    Ok(of)
}

/// Family and variant without what is fused. How a head of attention is cut is no part of the name either: it changes from version to version.
fn body_of(listed: &Listed) -> String {
    let end = if listed.family == "attention" {
        ","
    } else {
        " +"
    };
    let title = listed.title();
    title.split(end).next().unwrap_or_default().to_owned()
}

/// A line for each body that has faults which nothing excuses.
fn in_words(unexcused: &Unexcused) -> Vec<String> {
    let each = unexcused.iter().map(|((role, body), by_gpu)| {
        let by_gpu = by_gpu.iter().map(|(gpu, faults)| {
            let each = faults
                .iter()
                .map(|(fault, (kernels, _, worst))| match kernels {
                    1 => format!("{} {worst}", fault.name()),
                    n => format!("{} {worst} ({n} kernels)", fault.name()),
                });
            format!("{gpu} {}", each.collect::<Vec<_>>().join(", "))
        });
        format!("{role}: {body}: {}", by_gpu.collect::<Vec<_>>().join("; "))
    });
    each.collect()
}

fn rounded(x: f64) -> f64 {
    (1e3 * x).round() / 1e3
}

/// `before -> now`, or one of them.
fn change(before: Option<String>, now: Option<String>) -> String {
    match (before, now) {
        (Some(before), Some(now)) if before != now => format!("{before} → {now}"),
        (_, Some(now)) => now,
        (Some(before), None) => format!("{before} → –"),
        (None, None) => "–".to_owned(),
    }
}

fn named<'a>(summary: Option<&'a Summary>, name: &str) -> Option<&'a Gpu> {
    summary?.gpus.iter().find(|gpu| gpu.name == name)
}

fn tally(gpu: &Gpu, role: &str, fault: Fault) -> String {
    let tally = gpu.faults.get(role).and_then(|f| f.get(&fault));
    match tally {
        None => "0".to_owned(),
        Some(t) if t.excused == 0 => t.kernels.to_string(),
        Some(t) => format!("{} ({} named)", t.kernels, t.excused),
    }
}

/// Kernels and faults by GPU and role.
fn counts(summary: &Summary, before: Option<&Summary>) -> String {
    let mut text = String::from(
        "| GPU | kernels | failed | spilling | with scratch | below 25 % |\n|---|---|---|---|---|---|\n",
    );
    for (role, words) in ROLES {
        text += &format!("| **{words}** | | | | | |\n");
        for gpu in &summary.gpus {
            let old = named(before, &gpu.name);
            let kernels = |g: &Gpu| g.kernels.get(role).copied().unwrap_or(0).to_string();
            let cells: Vec<String> = std::iter::once(change(old.map(kernels), Some(kernels(gpu))))
                .chain(Fault::ALL.map(|fault| {
                    change(
                        old.map(|g| tally(g, role, fault)),
                        Some(tally(gpu, role, fault)),
                    )
                }))
                .collect();
            text += &format!("| {} | {} |\n", gpu.name, cells.join(" | "));
        }
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn page(
    summary: &Summary,
    before: Option<&Summary>,
    unexcused: &Unexcused,
    exceptions: &Exceptions,
) -> String {
    let mut text = String::from(
        "# What real GPU compilers make of every kernel\n\n\
         Written by `scripts/gpu_compilers/run.sh --write`; nothing ran. Mesa's compilers on GPUs that are not there: see the README there for what \
         the figures are and are not. They are counts from the ISA and the drivers' own statistics, never times.\n\n",
    );
    if before.is_some() {
        text +=
            "`a → b` is before and now; the figures before are `gpu_compilers-before.json`.\n\n";
    }
    text += "| GPU | device | driver |\n|---|---|---|\n";
    for gpu in &summary.gpus {
        text += &format!("| {} | {} | {} |\n", gpu.name, gpu.device, gpu.driver);
    }
    text += "\n## Kernels and what is wrong with them\n\n\
             First choices are run by some plan where nothing was measured, candidates are what the tuner measures beside them, the rest is for \
             verification alone. `named` are those that `exceptions.toml` excuses, with the reason.\n\n";
    text += &counts(summary, before);
    text += "\n## The worst of each\n\n| GPU | | now | kernel | before |\n|---|---|---|---|---|\n";
    for gpu in &summary.gpus {
        for (role, words) in ROLES {
            let old = named(before, &gpu.name).and_then(|g| g.faults.get(role));
            let now = gpu.faults.get(role);
            for fault in Fault::ALL {
                let (old, now) = (
                    old.and_then(|f| f.get(&fault)),
                    now.and_then(|f| f.get(&fault)),
                );
                if old.is_none() && now.is_none() {
                    continue;
                }
                let what = |t: &Tally| t.worst.clone();
                text += &format!(
                    "| {} | {words}, {} | {} | {} | {} |\n",
                    gpu.name,
                    fault.name(),
                    now.map_or("–".to_owned(), what),
                    now.map_or("", |t| &t.kernel),
                    old.map_or("–".to_owned(), |t| format!("{} ({})", t.worst, t.kernel)),
                );
            }
        }
    }
    text += &first_choices(summary, before);
    text += &bodies(summary, before);
    text += "\n## Wrong, and named by no exception\n\n";
    if unexcused.is_empty() {
        text += "Nothing.\n";
    }
    for line in in_words(unexcused) {
        text += &format!("- {line}\n");
    }
    text += "\n## Exceptions\n\n";
    for e in &exceptions.exception {
        let role = e.role.as_deref().unwrap_or("any");
        let excuses: Vec<&str> = e.excuses.iter().map(|f| f.name()).collect();
        let (kernel, gpu, reason) = (&e.kernel, &e.gpu, &e.reason);
        text += &format!(
            "- `{kernel}`, {role}, on `{gpu}`, {}: {reason}\n",
            excuses.join(", ")
        );
    }
    text
}

/// The share of multiply-adds of the steps' products.
fn first_choices(summary: &Summary, before: Option<&Summary>) -> String {
    let with_isa: Vec<&Gpu> = summary
        .gpus
        .iter()
        .filter(|g| !g.steps.is_empty())
        .collect();
    let mut text = String::from(
        "\n## Multiply-adds among the issue slots of the main loops, % of a step's first choices\n\n\
         Products and convolutions, weighted by flops. Drivers that show no assembly (Honeykrisp) are not here.\n\n| step |",
    );
    with_isa
        .iter()
        .for_each(|g| text += &format!(" {} |", g.name));
    text += &format!("\n|---|{}\n", "---|".repeat(with_isa.len()));
    for (step, words) in STEPS {
        text += &format!("| {words} |");
        for gpu in &with_isa {
            let share = |g: &Gpu| g.steps.get(step).map(|&s| percent(s));
            let old = named(before, &gpu.name).and_then(share);
            text += &format!(" {} |", change(old, share(gpu)));
        }
        text += "\n";
    }
    text
}

/// Bodies of products and attention.
fn bodies(summary: &Summary, before: Option<&Summary>) -> String {
    let mut text = String::from(
        "\n## Bodies of first choices and candidates: multiply-adds % / registers / occupancy %\n\n\
         Mean, most and least over the kernels that have it, whatever is fused. `*`: some plan takes it first. The drivers' own estimates are in the \
         JSON.\n\n| body |",
    );
    let all = summary
        .gpus
        .iter()
        .chain(before.iter().flat_map(|b| &b.gpus));
    let names: BTreeSet<&String> = all.flat_map(|g| g.bodies.keys()).collect();
    summary
        .gpus
        .iter()
        .for_each(|g| text += &format!(" {} |", g.name));
    text += &format!("\n|---|{}\n", "---|".repeat(summary.gpus.len()));
    let cell = |body: &Body| {
        let or = |x: Option<String>| x.unwrap_or("–".to_owned());
        format!(
            "{} / {} / {}{}{}",
            or(body.fma_share.map(percent)),
            body.registers,
            or(body.occupancy.map(|o| format!("{:.0}", 100.0 * o))),
            match body.spills {
                0 => String::new(),
                spills => format!(" / {spills} spilled"),
            },
            if body.first { "*" } else { "" }
        )
    };
    for name in names {
        text += &format!("| {name} |");
        for gpu in &summary.gpus {
            let old = named(before, &gpu.name)
                .and_then(|g| g.bodies.get(name))
                .map(cell);
            text += &format!(" {} |", change(old, gpu.bodies.get(name).map(cell)));
        }
        text += "\n";
    }
    text
}

/// The hottest loop of a line, for people.
fn print_loop(line: &Value) {
    let found = &line["loop"];
    if !found.is_object() {
        return;
    }
    let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let count = |names: &[&str]| -> u64 {
        let each = names.iter().filter_map(|n| found["classes"][*n].as_u64());
        each.sum()
    };
    println!(
        "{:<9} {:<9} {:<60} {:>5} slots, {:>4} fma ({:>4.1} %), {:>4} ALU, {:>3} shared, {:>3} global, {:>3} wait, {:>2} branch, {:>4} bytes of workgroup memory",
        word(&line["gpu"]),
        word(&line["listed"]["role"]),
        format!(
            "{} {}",
            word(&line["listed"]["family"]),
            word(&line["listed"]["variant"])
        ),
        found["slots"],
        count(&["fma"]),
        100.0 * count(&["fma"]) as f64 / found["slots"].as_f64().unwrap_or(1.0).max(1.0),
        count(&["ALU", "scalar ALU"]),
        count(&["shared load", "shared store"]),
        count(&["global load", "global store", "scalar load"]),
        count(&["wait", "barrier"]),
        count(&["branch", "convergence"]),
        found["shared_bytes"],
    );
}
