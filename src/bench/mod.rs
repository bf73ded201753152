//! How fast kernels and models' steps run on this device, as a share of what it can do at most, and whether their results were right.
//!
//! What it can do at most (arithmetic and memory traffic, the ceilings) is measured on the same adapter in the same run: candidates for the
//! ceilings and all lines take turns, round by round, so that a slow spell of the machine meets them all. [`run`] times wgen's kernels and
//! models, [`kernel`] one kernel, which may be yours: the crate's first page has an example. Their reports can be kept and compared:
//!
//! ```
//! use wgen::bench;
//! # let report = |best: f64| serde_json::json!({
//! #     "adapter": { "name": "a GPU", "backend": "Vulkan", "kind": "DiscreteGpu", "driver": "1.0", "reason": "the only one" },
//! #     "wgen": "0.1.0", "wgpu": "30.0", "clock": "timestamps", "clock_doubt": null, "rounds": 9, "seconds": 60.0,
//! #     "ceilings": { "flops": 1e12, "bytes": 1e11, "kernel_bytes": 1e11, "working_set": 1 << 28, "candidates": [] },
//! #     "lines": [{ "name": "x + y, 8 Mi", "variant": "map vec4 x1", "best": best, "median": best, "flops": 8e6, "bytes": 96e6,
//! #         "gflops": 8e-3 / best, "gbytes": 96e-3 / best, "share": 96e6 / 1e11 / best, "bound": "memory", "right": true,
//! #         "of_tolerance": 0.5 }],
//! # }).to_string();
//! # let [before, after] = [1.6e-3, 0.8e-3].map(report);
//!
//! // What `wgen bench --json` wrote before a change and after it.
//! let old = bench::from_text("before.json".as_ref(), before.as_bytes())?;
//! let new = bench::from_text("after.json".as_ref(), after.as_bytes())?;
//! let change = &bench::compare(&old, &new)?[0];
//! assert_eq!((change.name.as_str(), change.ratio), ("x + y, 8 Mi", 2.0));
//! // Twice as fast, and faster than the memory's ceiling: something is wrong with that.
//! assert!(old.faults().is_empty());
//! assert!(new.faults()[0].contains("1.20 of the ceiling, which cannot be"));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::gpu::timing::{Clock, Timer};
use crate::gpu::{AdapterSummary, Bound, BufferSlice, Gpu};
use crate::kernels::{Access, Cost};
use crate::reference::Twin;
use crate::tensor::Data;
use crate::verify::{self, Comparison};

pub mod cases;
pub(crate) mod ceilings;
mod changes;
mod check;
mod meter;
pub mod models;
#[cfg(feature = "cli")]
mod page;
pub mod profile;

use crate::models::registry::Usual;
use cases::Case;
pub use ceilings::Ceilings;
pub use changes::{Change, compare, from_text, read};
use meter::Meter;
pub use meter::Progress;
use models::Ready;

/// What to time.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only lines whose name contains this.
    pub filter: Option<String>,
    /// Rounds; best and median are taken over them.
    pub rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: None,
            rounds: 9,
        }
    }
}

/// What limits a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// Arithmetic.
    Compute,
    /// Memory traffic.
    Memory,
}

/// One thing that was timed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What it computes, and how much of it.
    pub name: String,
    /// The kernel and the variant that was chosen, or the number of dispatches of a plan.
    pub variant: String,
    /// Seconds, best round.
    pub best: f64,
    /// Seconds, median round.
    pub median: f64,
    /// Flops of one run.
    pub flops: f64,
    /// Bytes that one run must move.
    pub bytes: f64,
    /// 1e9 flops a second, best round.
    pub gflops: f64,
    /// 1e9 bytes a second, best round.
    pub gbytes: f64,
    /// The time that the binding ceiling would take, over the best time. A plan is held to arithmetic alone, for its tensors may stay
    /// in caches from one dispatch to the next.
    pub share: f64,
    /// Which ceiling binds.
    pub bound: Bounds,
    /// Whether the result was right.
    pub right: bool,
    /// The largest difference from the CPU, in units of its tolerance.
    pub of_tolerance: f64,
    /// Whether matrix units compute it, or some of a plan: they are beyond the ceiling of multiply-adds in f32.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub matrix_units: bool,
}

/// What `wgen bench` measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The adapter.
    pub adapter: AdapterSummary,
    /// This library's version.
    pub wgen: String,
    /// The version of wgpu that it is built on.
    pub wgpu: String,
    /// What times were read from.
    pub clock: Clock,
    /// Why not from timestamps.
    pub clock_doubt: Option<String>,
    /// Rounds.
    pub rounds: usize,
    /// The ceilings.
    pub ceilings: Ceilings,
    /// The lines.
    pub lines: Vec<Line>,
    /// Seconds of the whole benchmark.
    pub seconds: f64,
}

/// As `Cargo.toml` asks for it.
const WGPU: &str = "30.0";

/// A line above this share of its ceiling is a fault of the benchmark.
const CREDIBLE: f64 = 1.05;

impl Report {
    /// What is wrong with it: results that were not right, and rates that cannot be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for line in &self.lines {
            if !line.right {
                faults.push(format!(
                    "{}: the result is wrong, {:.1} times its tolerance",
                    line.name, line.of_tolerance
                ));
            }
            if line.share > CREDIBLE && !line.matrix_units {
                faults.push(format!(
                    "{}: {:.2} of the ceiling, which cannot be: the ceiling is too low or the cost is counted wrongly",
                    line.name, line.share
                ));
            }
        }
        faults
    }
}

enum Work {
    Kernel(Bound),
    Plan(Box<Ready>),
}

struct Item {
    name: String,
    variant: String,
    cost: Cost,
    work: Work,
    repeats: usize,
    times: Vec<f64>,
    of_tolerance: f64,
    matrix_units: bool,
}

impl Item {
    /// Seconds of one run, from as many as it takes to be measured well.
    fn once(&self, timer: &Timer, repeats: usize) -> Result<f64> {
        let seconds = match &self.work {
            Work::Kernel(bound) => {
                timer
                    .time(1, |_, pass| (0..repeats).for_each(|_| bound.record(pass)))?
                    .passes[0]
            }
            Work::Plan(ready) => {
                ready.rewind()?;
                let times = timer.time(repeats, |_, pass| ready.plan.record_into(pass))?;
                times.passes.iter().sum()
            }
        };
        Ok(seconds / repeats as f64)
    }
}

/// Compiles a plan when its turn comes.
type Make<'a> = Box<dyn Fn() -> Result<Ready> + 'a>;

/// Seconds that one item is run in one round.
const ROUND: f64 = 0.02;

/// Times everything that `options` names, telling `progress` what is at hand.
///
/// # Errors
/// When the filter matches nothing, the device is lost or its memory exhausted. Wrong results and incredible rates are in the report.
pub fn run(gpu: &Gpu, options: &Options, mut progress: impl FnMut(Progress<'_>)) -> Result<Report> {
    if options.rounds == 0 {
        return Err(Error::field("rounds", "must be at least 1"));
    }
    let begin = Instant::now();
    let wanted = |name: &str| {
        options
            .filter
            .as_ref()
            .is_none_or(|f| name.contains(f.as_str()))
    };
    let steps = models::steps()?;
    let named = |case: &Case| wanted(&format!("{} ({})", case.name, case.kernel.family()));
    let cases: Vec<Case> = cases::all(gpu.caps())?.into_iter().filter(named).collect();
    let plans: Vec<Wanted<'_>> = plans(gpu, &steps)?;
    let plans: Vec<_> = plans.into_iter().filter(|p| wanted(&p.name)).collect();
    if cases.is_empty() && plans.is_empty() {
        let filter = options.filter.clone().unwrap_or_default();
        return Err(Error::field(
            "filter",
            format!("'{filter}' matches no line of the benchmark"),
        ));
    }
    let mut meter = Meter::new(&mut progress, begin);
    let checks = cases.iter().map(|c| meter::kernel_seconds(c.kernel.cost()));
    let checks = checks.chain(plans.iter().map(|p| p.seconds));
    meter.expect(checks, options.rounds);
    let mut items = checked_kernels(gpu, cases, &mut meter)?;
    items.extend(checked_plans(plans, &mut meter)?);
    meter.all_checked();
    gpu.save_pipelines();
    measured(gpu, items, options.rounds, begin, &mut meter)
}

/// A kernel of anybody's own against this adapter's measured ceilings: run over `inputs`, one host array a binding (written ones: what
/// they hold before, or empty), compared with its twin's result, and timed as [`run`] times ours. The report has one line.
///
/// # Errors
/// When the kernel cannot be made or run, or the device is lost. A wrong result is in the report.
pub fn kernel(gpu: &Gpu, kernel: &dyn Twin, inputs: &[Data]) -> Result<Report> {
    let begin = Instant::now();
    let comparison = verify::kernel(gpu, kernel, inputs)?;
    let mut buffers: Vec<BufferSlice> = Vec::new();
    for (binding, input) in kernel.bindings().iter().zip(inputs) {
        let buffer = gpu.create_buffer(&binding.name, binding.bytes())?;
        if binding.access != Access::Write {
            gpu.write(&(&buffer).into(), &input.to_device_bytes_as(binding.dtype))?;
        }
        buffers.push((&buffer).into());
    }
    let item = Item {
        name: kernel.family().to_owned(),
        variant: kernel.variant(),
        cost: kernel.cost(),
        work: Work::Kernel(gpu.bind(kernel, &buffers)?),
        repeats: 1,
        times: Vec::new(),
        of_tolerance: share(&comparison),
        matrix_units: kernel.launch().is_cooperative(),
    };
    let mut silent = |_: Progress<'_>| {};
    let mut meter = Meter::new(&mut silent, begin);
    measured(
        gpu,
        vec![item],
        Options::default().rounds,
        begin,
        &mut meter,
    )
}

/// The share of its tolerance that a comparison took; infinite where it failed.
fn share(comparison: &Comparison) -> f64 {
    if comparison.passed() {
        comparison.worst_of_tolerance
    } else {
        f64::INFINITY
    }
}

/// Times items and the candidates for the ceilings by turns.
fn measured(
    gpu: &Gpu,
    mut items: Vec<Item>,
    rounds: usize,
    begin: Instant,
    meter: &mut Meter<'_>,
) -> Result<Report> {
    let mut timer = Timer::new(gpu)?;
    let mut contest = ceilings::Contest::new(gpu)?;
    contest.calibrate(&mut timer)?;
    // How long each takes, and a round in all.
    let mut planned = Vec::new();
    for item in &mut items {
        item.once(&timer, 1)?;
        let once = item.once(&timer, 1)?;
        item.repeats = ((ROUND / once.max(1e-7)) as usize).clamp(1, 500);
        planned.push(once * item.repeats as f64);
    }
    let contested = Instant::now();
    contest.round(gpu, &timer)?;
    let ceilings = contested.elapsed().as_secs_f64();
    meter.begin_rounds(ceilings + planned.iter().sum::<f64>());
    for round in 0..rounds {
        meter.round(round, rounds, "the ceilings", 0.0);
        contest.round(gpu, &timer)?;
        let mut within = ceilings;
        for (item, planned) in items.iter_mut().zip(&planned) {
            meter.round(round, rounds, &item.name, within);
            let seconds = item.once(&timer, item.repeats)?;
            item.times.push(seconds);
            within += planned;
        }
    }
    let ceilings = contest.finish();
    Ok(Report {
        adapter: gpu.summary().clone(),
        wgen: env!("CARGO_PKG_VERSION").to_owned(),
        wgpu: WGPU.to_owned(),
        clock: timer.clock(),
        clock_doubt: timer.doubt().map(str::to_owned),
        rounds,
        lines: items.into_iter().map(|i| line(i, &ceilings)).collect(),
        ceilings,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Single kernels, run once and checked.
fn checked_kernels(gpu: &Gpu, cases: Vec<Case>, meter: &mut Meter<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for case in cases {
        meter.check(case.kernel.family(), &case.name);
        let inputs = case.inputs();
        let mut buffers: Vec<BufferSlice> = Vec::new();
        for (binding, input) in case.kernel.bindings().iter().zip(&inputs) {
            let buffer = gpu.create_buffer(&binding.name, binding.bytes())?;
            if binding.access != Access::Write {
                gpu.write(&(&buffer).into(), &input.to_device_bytes())?;
            }
            buffers.push((&buffer).into());
        }
        let bound = gpu.bind(case.kernel.as_ref(), &buffers)?;
        let matrix_units = case.kernel.launch().is_cooperative();
        gpu.dispatch(&bound);
        let comparison = check::check(gpu, &case, &inputs, &buffers)?;
        meter.checked(meter::kernel_seconds(case.kernel.cost()));
        items.push(Item {
            variant: format!("{} {}", case.kernel.family(), case.kernel.variant()),
            cost: case.kernel.cost(),
            name: case.name,
            work: Work::Kernel(bound),
            repeats: 1,
            times: Vec::new(),
            of_tolerance: share(&comparison),
            matrix_units,
        });
    }
    Ok(items)
}

/// A plan that is to be made.
struct Wanted<'a> {
    name: String,
    make: Make<'a>,
    /// About how long that takes.
    seconds: f64,
}

/// Training steps and samplers of the models.
fn plans<'a>(gpu: &'a Gpu, steps: &'a [Usual]) -> Result<Vec<Wanted<'a>>> {
    let mut plans = Vec::new();
    for usual in steps {
        let large = usual.large.map(|batch| [(batch, false), (batch, true)]);
        let batches = std::iter::once((usual.batch, false)).chain(large.into_iter().flatten());
        for (batch, half) in batches {
            if half && !gpu.caps().f16 {
                continue;
            }
            let note = if half { ", f16" } else { "" };
            plans.push(Wanted {
                name: format!("{}, training step, batch {batch}{note}", usual.name),
                make: Box::new(move || models::training(gpu, usual.name, Some(batch), half)),
                seconds: meter::plan_seconds(batch > usual.batch, half),
            });
        }
    }
    for usual in steps {
        for &count in usual.samples {
            let name = models::sampling_name(usual, count)?;
            plans.push(Wanted {
                name: format!("{} samples, {count}: {name}", usual.name),
                make: Box::new(move || models::sampling(gpu, usual, count)),
                seconds: meter::plan_seconds(false, false),
            });
        }
    }
    Ok(plans)
}

/// Those plans, run once and checked.
fn checked_plans(plans: Vec<Wanted<'_>>, meter: &mut Meter<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for Wanted {
        name,
        make,
        seconds,
    } in plans
    {
        meter.check("models", &name);
        let ready = make()?;
        items.push(Item {
            name: ready.name.clone(),
            variant: format!("{} dispatches", ready.plan.baked().dispatches.len()),
            cost: ready.plan.cost(),
            of_tolerance: ready.check()?,
            matrix_units: ready
                .plan
                .baked()
                .shaders
                .iter()
                .any(|s| s.matrices.is_some()),
            work: Work::Plan(Box::new(ready)),
            repeats: 1,
            times: Vec::new(),
        });
        meter.checked(seconds);
    }
    Ok(items)
}

fn line(mut item: Item, ceilings: &Ceilings) -> Line {
    item.times.sort_by(f64::total_cmp);
    let (best, median) = (item.times[0], item.times[item.times.len() / 2]);
    let compute = item.cost.flops / ceilings.flops;
    let memory = match item.work {
        Work::Kernel(_) => item.cost.bytes / ceilings.bytes,
        Work::Plan(_) => 0.0,
    };
    Line {
        name: item.name,
        variant: item.variant,
        best,
        median,
        flops: item.cost.flops,
        bytes: item.cost.bytes,
        gflops: item.cost.flops / best / 1e9,
        gbytes: item.cost.bytes / best / 1e9,
        share: compute.max(memory) / best,
        bound: if compute >= memory {
            Bounds::Compute
        } else {
            Bounds::Memory
        },
        right: item.of_tolerance <= 1.0,
        of_tolerance: item.of_tolerance.min(f64::MAX),
        matrix_units: item.matrix_units,
    }
}
