//! A reverse step as a row of coefficients, which the same kernels run for all samplers, and what makes such rows.

use std::fmt::Debug;

use crate::kernels::reverse_step::{COLUMNS, NO_NOISE, column};
use crate::models::diffusion::process::{Level, Prediction, Process, Variance};

/// A sampler: rows of coefficients for a process.
pub trait Sampler: Debug + Send + Sync {
    /// The steps from each of `levels` to the next, as many as there are levels less one: x of the first is noise, x' of the last an image.
    /// A step may be several rows, each with a call of the network.
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep>;
}

/// What every sampler of a model has in common: the process, and what its network says of it.
#[derive(Clone, Copy, Debug)]
pub struct Reverse<'a> {
    /// The forward process.
    pub process: &'a Process,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Predicted x_0 is clipped to [-clip, clip].
    pub clip: Option<f64>,
    /// Whether it is clipped again after a classifier has moved it.
    pub clip_guided: bool,
    /// The variance of ancestral steps.
    pub variance: Variance,
}

/// Coefficients of what a step knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Combination {
    /// Of x.
    pub x: f64,
    /// Of the prediction of x_0.
    pub x0: f64,
    /// Of the network's prediction.
    pub p: f64,
    /// Of x_0 as the step before predicted it.
    pub previous: f64,
    /// Of what the step before has kept.
    pub kept: f64,
}

impl Combination {
    fn reads(&self, of: fn(&Self) -> f64) -> bool {
        of(self) != 0.0
    }
}

/// A row: a reverse step from x to x', or a part of one; p the network's prediction, z normal noise:
///
///   x_0 = clip(`x0_x` x + `x0_p` p),  x' = `mean` + sigma z,  and `keep` is kept for the next row
///
/// ln sigma^2 goes from `min_log_variance` (the network's variance output at -1) to `max_log_variance` (at 1); both are the same where
/// the variance is not learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReverseStep {
    /// The step of the whole process that the row is of.
    pub step: usize,
    /// The number of its noise's draw: the step's, where each is made once.
    pub draw: usize,
    /// Where x is.
    pub level: Level,
    /// See above.
    pub x0_x: f64,
    /// See above.
    pub x0_p: f64,
    /// Infinite: not clipped.
    pub clip: f64,
    /// x_0 is clipped to this after a classifier has moved it.
    pub clip_again: f64,
    /// See above.
    pub mean: Combination,
    /// See above.
    pub keep: Combination,
    /// Whether noise is drawn.
    pub noise: bool,
    /// Whether a classifier moves the mean by sigma^2 times its gradient (Dhariwal & Nichol 2021, algorithm 1), and not x_0 (algorithm 2).
    pub guides_mean: bool,
    /// See above. Minus infinity: none.
    pub min_log_variance: f64,
    /// See above.
    pub max_log_variance: f64,
}

impl Reverse<'_> {
    /// Row of step `step` at a level, that predicts x_0 and is not yet told what to make of it.
    pub fn step(&self, step: usize, level: Level) -> ReverseStep {
        let [x0_x, x0_p] = x0_of(self.prediction, level);
        let clip = self.clip.unwrap_or(f64::INFINITY);
        ReverseStep {
            step,
            draw: step,
            level,
            x0_x,
            x0_p,
            clip,
            clip_again: if self.clip_guided {
                clip
            } else {
                f64::INFINITY
            },
            mean: Combination::default(),
            keep: Combination::default(),
            noise: false,
            guides_mean: false,
            min_log_variance: f64::NEG_INFINITY,
            max_log_variance: f64::NEG_INFINITY,
        }
    }

    /// The step of first order from a level to the next: the noise that takes x_0 to x stays.
    pub fn first_order(&self, step: usize, [now, next]: [Level; 2]) -> ReverseStep {
        ReverseStep {
            mean: first_order(now, next),
            ..self.step(step, now)
        }
    }
}

/// (s'/s) x + (a' - a s'/s) x_0: DDIM without noise (Song et al. 2021, eq. 12), Euler, DPM-Solver++ of order 1.
pub(super) fn first_order(now: Level, next: Level) -> Combination {
    Combination {
        x: next.s / now.s,
        x0: next.a - now.a * next.s / now.s,
        ..Combination::default()
    }
}

impl ReverseStep {
    /// The step as the kernels read it: with classifier-free guidance `guidance` and a classifier's of scale `classifier`.
    pub fn coefficients(&self, guidance: f64, classifier: f64) -> [f32; COLUMNS] {
        let finite = |x: f64| x.min(f64::from(f32::MAX)) as f32;
        let mut row = [0.0; COLUMNS];
        row[column::X0_X] = self.x0_x as f32;
        row[column::X0_P] = self.x0_p as f32;
        row[column::CLIP] = finite(self.clip);
        row[column::GUIDANCE] = guidance as f32;
        if self.guides_mean {
            row[column::MEAN_GRADIENT] = classifier as f32;
        } else if self.level.a > 0.0 {
            // Where nothing of the image is left in x, no classifier says anything of it.
            row[column::X0_GRADIENT] =
                (self.level.s * self.level.s / self.level.a * classifier) as f32;
        }
        row[column::CLIP_AGAIN] = finite(self.clip_again);
        row[column::MEAN_X0] = self.mean.x0 as f32;
        row[column::MEAN_X] = self.mean.x as f32;
        row[column::MEAN_P] = self.mean.p as f32;
        row[column::MEAN_PREVIOUS] = self.mean.previous as f32;
        row[column::MEAN_KEPT] = self.mean.kept as f32;
        row[column::MIN_LOG_VARIANCE] = self.min_log_variance.max(NO_NOISE) as f32;
        row[column::MAX_LOG_VARIANCE] = self.max_log_variance.max(NO_NOISE) as f32;
        row[column::NOISE] = f32::from(u8::from(self.noise));
        row[column::DRAW] = self.draw as f32;
        row[column::KEEP_X] = self.keep.x as f32;
        row[column::KEEP_X0] = self.keep.x0 as f32;
        row[column::KEEP_PREVIOUS] = self.keep.previous as f32;
        row[column::KEEP_KEPT] = self.keep.kept as f32;
        row
    }

    /// Whether a process can begin with it: it needs nothing of the rows before.
    pub fn begins(&self) -> bool {
        let needs = |c: &Combination| c.reads(|c| c.previous) || c.reads(|c| c.kept);
        !needs(&self.mean) && !needs(&self.keep)
    }
}

/// What the rows of a sampler read beside x and x_0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The network's prediction, behind x_0.
    pub prediction: bool,
    /// x_0 of the row before.
    pub previous: bool,
    /// What the row before has kept.
    pub kept: bool,
}

impl Needs {
    /// Of all rows; `learned` says whether the network says the variance.
    pub fn of(steps: &[ReverseStep], learned: bool) -> Self {
        let any = |of: fn(&Combination) -> f64| {
            let mut all = steps.iter().flat_map(|s| [s.mean, s.keep]);
            all.any(|c| c.reads(of))
        };
        let range = |s: &ReverseStep| s.min_log_variance != s.max_log_variance;
        Self {
            prediction: any(|c| c.p) || (learned && steps.iter().any(range)),
            previous: any(|c| c.previous),
            kept: any(|c| c.kept),
        }
    }
}

/// x_0 as `[x, p]`: coefficients of x and of the prediction.
pub fn x0_of(prediction: Prediction, level: Level) -> [f64; 2] {
    let Level { a, s, .. } = level;
    match prediction {
        Prediction::Epsilon => [1.0 / a, -s / a],
        Prediction::Sample => [0.0, 1.0],
        Prediction::Velocity => [a, -s],
        // a + s is 1 in a flow.
        Prediction::Flow => [1.0 / (a + s), -s / (a + s)],
        Prediction::Edm => {
            let of_data = deviation_of_data(level);
            [of_data * of_data * a, s * of_data]
        }
    }
}

/// sigma_data at a level of [`Kind::Edm`](crate::models::diffusion::process::Kind::Edm), where (sigma_data a)^2 + s^2 = 1.
fn deviation_of_data(Level { a, s, .. }: Level) -> f64 {
    ((1.0 - s) * (1.0 + s)).max(0.0).sqrt() / a
}

/// The noise as `[x, p]`.
pub fn epsilon_of(prediction: Prediction, level: Level) -> [f64; 2] {
    let Level { a, s, .. } = level;
    match prediction {
        Prediction::Epsilon => [0.0, 1.0],
        Prediction::Sample => [1.0 / s, -a / s],
        Prediction::Velocity => [s, a],
        Prediction::Flow => [1.0 / (a + s), a / (a + s)],
        Prediction::Edm => [s, -a * deviation_of_data(level)],
    }
}
