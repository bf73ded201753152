//! Where the time of one step of a model goes, dispatch by dispatch: what `wgen bench --profile MODEL` prints.
//!
//! ```
//! use wgen::bench::{models, profile};
//! use wgen::{Choice, Gpu};
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let steps = models::steps()?;
//! let vae = steps.iter().find(|step| step.name == "vae").unwrap();
//! let ready = models::sampling(&gpu, vae, 1)?;
//! let profile = profile::profile(&gpu, &ready, 2, 0)?;
//! for row in &profile.rows {
//!     println!("{:>9.1} us  {} {}", 1e6 * row.best, row.kernel, row.variant);
//! }
//! assert_eq!(profile.rows.len(), ready.plan.baked().dispatches.len());
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::Serialize;

use super::models::Ready;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::timing::{Clock, Timer};

/// One dispatch of a step, a pass of its own.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its place in the step.
    pub index: usize,
    /// Kernel family.
    pub kernel: String,
    /// Variant.
    pub variant: String,
    /// Seconds, best round.
    pub best: f64,
    /// Seconds, median round.
    pub median: f64,
    /// 1e9 flops a second, best round.
    pub gflops: f64,
    /// 1e9 bytes a second, best round.
    pub gbytes: f64,
}

/// A step taken apart.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The plan.
    pub name: String,
    /// What times were read from.
    pub clock: Clock,
    /// Its dispatches, each in a pass of its own, which costs a little that a step's one pass does not.
    pub rows: Vec<Row>,
    /// Sum of the best times.
    pub sum: f64,
    /// Seconds of the step as it is recorded otherwise, in one pass: best round.
    pub whole: f64,
    /// Wall time of replayed steps, from the call to the end of the wait, over the sum of as many steps' timestamps: the median over
    /// turns of 50 steps each.
    pub wall_over_device: Option<f64>,
    /// Seconds from the graph to the end of its first step: lowering, shaders, pipelines and the driver's compiler.
    pub first_step: f64,
    /// How many steps were replayed for that.
    pub replayed: usize,
}

/// Steps of one turn.
const TURN: usize = 50;

/// Takes a step apart over `rounds` rounds, and replays `replayed` steps, timed from the outside and from the inside.
///
/// # Errors
/// When the device is lost.
pub fn profile(gpu: &Gpu, ready: &Ready, rounds: usize, replayed: usize) -> Result<Profile> {
    let mut timer = Timer::new(gpu)?;
    timer.calibrate(|pass| (0..8).for_each(|_| ready.plan.record_into(pass)))?;
    let dispatches = &ready.plan.baked().dispatches;
    let count = dispatches.len();
    let mut times = vec![Vec::new(); count];
    let mut whole = f64::INFINITY;
    for _ in 0..rounds {
        ready.rewind()?;
        let apart = timer.time(count, |i, pass| ready.plan.record_one_into(i, pass))?;
        times
            .iter_mut()
            .zip(&apart.passes)
            .for_each(|(all, &t)| all.push(t));
        ready.rewind()?;
        let together = timer.time(1, |_, pass| ready.plan.record_into(pass))?;
        whole = whole.min(together.passes[0]);
    }
    let rows: Vec<Row> = times
        .iter_mut()
        .zip(dispatches)
        .enumerate()
        .map(|(index, (times, dispatch))| {
            times.sort_by(f64::total_cmp);
            let (best, cost) = (times[0].max(1e-9), dispatch.cost);
            Row {
                index,
                kernel: dispatch.family.clone(),
                variant: dispatch.variant.clone(),
                best,
                median: times[times.len() / 2],
                gflops: cost.flops / best / 1e9,
                gbytes: cost.bytes / best / 1e9,
            }
        })
        .collect();
    // By turns, so that a slow spell of the machine meets both.
    let mut ratios = Vec::new();
    for first in (0..replayed).step_by(TURN) {
        let steps = TURN.min(replayed - first);
        ready.rewind()?;
        let times = timer.time(steps, |_, pass| ready.plan.record_into(pass))?;
        let device: f64 = times.passes.iter().sum();
        ready.rewind()?;
        let begin = std::time::Instant::now();
        ready.plan.run(steps)?;
        gpu.wait()?;
        ratios.push(begin.elapsed().as_secs_f64() / device.max(1e-12));
    }
    ratios.sort_by(f64::total_cmp);
    Ok(Profile {
        name: ready.name.clone(),
        clock: timer.clock(),
        sum: rows.iter().map(|r| r.best).sum(),
        rows,
        whole,
        wall_over_device: ratios.get(ratios.len() / 2).copied(),
        first_step: ready.first_step,
        replayed,
    })
}
