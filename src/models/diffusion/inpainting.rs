//! Pictures completed by a sampler (inpainting): after each step what is known of them, with the noise of the level that x has come to, is laid
//! over x; and RePaint (Lugmayr et al. 2022, "RePaint: Inpainting using denoising diffusion probabilistic models", algorithm 1), which goes
//! back up some steps again and again, so that what is made and what is known come to fit.
//!
//! ```
//! use wgen::models::diffusion::inpainting::{Inpainting, RePaint, visits};
//! # use wgen::models::diffusion::{Config, Diffusion, Network, mlp, samplers::SamplerSettings};
//! # use wgen::tensor::ImageShape;
//! # let image = ImageShape { height: 1, width: 2, channels: 1 };
//! # let network = Network::Mlp(mlp::Config { width: 2, hidden: 16, blocks: 1, outputs: 2, classes: 0 });
//! # let sampling = SamplerSettings { sampler: "ddpm".to_owned(), steps: 250, ..SamplerSettings::default() };
//! # let model = Diffusion::new(Config { sampling, ..Config::of(image, false, network) })?;
//!
//! // Of six steps, two back and once more: x is at steps 0 to 6, where 6 is the picture.
//! let jumps = RePaint { jump_length: 2, jump_n_sample: 2 };
//! let made: Vec<_> = visits(6, jumps).iter().map(|v| (v.step, v.back_to)).collect();
//! assert_eq!(made, [
//!     (0, None), (1, None), (2, Some(1)), (1, None), (2, None), (3, None), (4, Some(3)), (3, None), (4, None), (5, None),
//! ]);
//!
//! // As in the paper: 250 steps, ten back and ten times.
//! let model = model.inpainting(Inpainting { repaint: Some(RePaint::default()) })?;
//! assert_eq!((model.step_count(), model.steps().len(), model.steps_back()), (250, 2410, 2160));
//! # Ok::<(), wgen::Error>(())
//! ```

use super::config::Config;
pub use super::given::{KNOWN, MASK};
use super::process::{Level, Process, table};
use super::samplers::{self, Needs, ReverseStep, SamplerSettings, strided};
use super::{Diffusion, sampling};
use crate::error::{Error, Result};
use crate::graph::{Graph, StepInputs, Var};
use crate::kernels::reverse_step::{COLUMNS, column};
use crate::models::model::Model;
use crate::tensor::{DType, TensorType};

/// How known values are kept while the others are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inpainting {
    /// Fresh noise over what is known in each step, and jumps; `None`: the noise that the process began with in every step, as diffusers'
    /// pipelines have it, for every sampler.
    pub repaint: Option<RePaint>,
}

/// RePaint's two numbers, by the paper's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RePaint {
    /// Steps that a jump goes back; also how far apart the places are that are jumped from.
    pub jump_length: usize,
    /// How often the steps before each of them are made; 1 for no jumps.
    pub jump_n_sample: usize,
}

impl Default for RePaint {
    /// Ten and ten (Lugmayr et al. 2022, appendix).
    fn default() -> Self {
        Self {
            jump_length: 10,
            jump_n_sample: 10,
        }
    }
}

/// The most calls of the network that jumps may make of a sampler.
const MOST_CALLS: usize = 100_000;

impl RePaint {
    /// How many calls of the network it makes of `steps` steps; nothing where they are too many to count.
    pub fn calls(&self, steps: usize) -> Option<usize> {
        let places = steps.saturating_sub(self.jump_length);
        let places = places.div_ceil(self.jump_length.max(1));
        let again = self.jump_n_sample.saturating_sub(1);
        let more = places.checked_mul(self.jump_length)?.checked_mul(again)?;
        steps.checked_add(more)
    }

    fn check(&self, steps: usize) -> Result<()> {
        let wrong = |field: &'static str, why: String| Err(Error::field(field, why));
        if self.jump_n_sample == 0 {
            return wrong(
                "jump_n_sample",
                "0: steps are made once at least; 1 is without jumps".to_owned(),
            );
        }
        if self.jump_length == 0 || (self.jump_n_sample > 1 && self.jump_length >= steps) {
            return wrong(
                "jump_length",
                format!(
                    "{} must be from 1 to {}: there are {steps} steps",
                    self.jump_length,
                    steps.saturating_sub(1)
                ),
            );
        }
        match self.calls(steps) {
            Some(calls) if calls <= MOST_CALLS => Ok(()),
            calls => wrong(
                "jump_n_sample",
                format!(
                    "{}: {} calls of the network of {steps} steps; {MOST_CALLS} at most are made",
                    self.jump_n_sample,
                    calls.map_or("too many".to_owned(), |calls| calls.to_string())
                ),
            ),
        }
    }
}

/// A call of the network on RePaint's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The step that is made, from 0, the noisiest.
    pub step: usize,
    /// The step that x is noised back to after it.
    pub back_to: Option<usize>,
}

/// The way of `steps` steps with jumps: from wherever `jump_length` divides the number of steps that are left behind the next one, back up by
/// `jump_length`, `jump_n_sample` - 1 times, as far as there are so many steps before (the paper's appendix). A jump is one draw, and no call.
pub fn visits(steps: usize, jumps: RePaint) -> Vec<Visit> {
    let length = jumps.jump_length.max(1);
    // t = steps - 1 - step, as the paper counts: at t = 0, length, 2 length ... below steps - length.
    let begins = |t: usize| t.is_multiple_of(length) && t + length < steps;
    let again = jumps.jump_n_sample.saturating_sub(1);
    let mut left: Vec<usize> = (0..steps)
        .map(|t| if begins(t) { again } else { 0 })
        .collect();
    let mut all = Vec::new();
    let mut step = 0;
    while step < steps {
        // Where the step has come to.
        let t = (steps - 1 - step).checked_sub(1);
        let jumps = t.is_some_and(|t| left[t] > 0);
        if let (Some(t), true) = (t, jumps) {
            left[t] -= 1;
        }
        let back_to = jumps.then(|| step + 1 - length);
        all.push(Visit { step, back_to });
        step = back_to.unwrap_or(step + 1);
    }
    all
}

/// What is done to x after a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlay {
    /// Whether what is known is laid over x: after the last row of a step.
    pub lays: bool,
    /// What it has of the picture and of noise: the level that x has come to, after the last step the picture itself.
    pub level: Level,
    /// What a sampler has kept of an example that is on its way to the known picture: of the picture and of noise.
    pub kept: [f64; 2],
    /// x then is noised again, of x and of fresh noise: 1 and 0 where there is no jump.
    pub jump: [f64; 2],
}

/// Inpainting and what it does after each row of a sampler.
#[derive(Clone, Debug)]
pub(super) struct Overlays {
    pub(super) how: Inpainting,
    pub(super) each: Vec<Overlay>,
}

impl Overlays {
    /// For the rows of a sampler from step `from` on, which become those of all visits.
    pub(super) fn of(
        how: Inpainting,
        config: &Config,
        process: &Process,
        steps: &mut Vec<ReverseStep>,
        from: usize,
    ) -> Result<Self> {
        let settings = &config.sampling;
        let levels = settings.levels(process, &config.process)?;
        let levels = &levels[from..];
        let count = levels.len() - 1;
        let arrival = |step: usize| match step - from {
            last if last + 1 == count => Level::IMAGE,
            i if settings.stride => strided(process, levels, i, settings.steps),
            i => levels[i + 1],
        };
        let mut kept = [0.0; 2];
        let mut each = Vec::with_capacity(steps.len());
        for (i, row) in steps.iter().enumerate() {
            // An example on its way to the picture y is a y + s z, and y is all that is predicted of it.
            let (keep, level) = (&row.keep, row.level);
            kept = [
                keep.x * level.a + keep.x0 + keep.previous + keep.kept * kept[0],
                keep.x * level.s + keep.kept * kept[1],
            ];
            each.push(Overlay {
                lays: steps.get(i + 1).is_none_or(|next| next.step != row.step),
                level: arrival(row.step),
                kept,
                jump: [1.0, 0.0],
            });
        }
        if let Some(repaint) = how.repaint {
            repaint.check(count)?;
            check_sampler(settings, steps)?;
            let visits = visits(count, repaint);
            let visited = |(i, visit): (usize, &Visit)| {
                let mut overlay = each[visit.step];
                if let Some(back) = visit.back_to {
                    let (up, at) = (levels[back], overlay.level);
                    let of_x = up.a / at.a;
                    // What the noise there has beyond this one's: in a process that keeps variances 1 - of_x^2.
                    let variance = up.s * up.s - (of_x * at.s).powi(2);
                    overlay.jump = [of_x, variance.max(0.0).sqrt()];
                }
                let row = ReverseStep {
                    draw: from + i,
                    ..steps[visit.step]
                };
                (row, overlay)
            };
            (*steps, each) = visits.iter().enumerate().map(visited).unzip();
        }
        Ok(Self { how, each })
    }
}

/// Refuses what RePaint does not go with: steps without noise, which would not forget what the jumps bring, and steps that look back.
fn check_sampler(settings: &SamplerSettings, steps: &[ReverseStep]) -> Result<()> {
    let needs = Needs::of(steps, false);
    let looks_back = needs.previous || needs.kept;
    let between = &steps[..steps.len().saturating_sub(1)];
    if looks_back || !between.iter().all(|row| row.noise) {
        let name = samplers::find(&settings.sampler)?.name;
        return Err(Error::field(
            "sampler",
            format!(
                "{name}{}: RePaint draws fresh noise in each step; use ddpm, or ddim with `eta` above 0",
                if name == "ddim" { " with `eta` 0" } else { "" }
            ),
        ));
    }
    Ok(())
}

impl Diffusion {
    /// The same model completing pictures: its sampler has inputs [`KNOWN`] and [`MASK`], which stay over all runs and are 0, nothing known,
    /// until they are given (`Start::keeping`, `Sampler::give`). After each step x becomes k (a' y + s' z) + (1 - k) x with the picture y, the
    /// mask k and the level (a', s') that the step has come to, after the last y itself, so that values with k = 1 come out as they were
    /// given, bit for bit. z is the noise that the process began with or, in RePaint, fresh.
    ///
    /// # Errors
    /// When RePaint does not go with the sampler, or with how many steps it has, naming the field.
    pub fn inpainting(&self, how: Inpainting) -> Result<Self> {
        Self {
            inpainting: Some(Overlays {
                how,
                each: Vec::new(),
            }),
            ..self.clone()
        }
        .with_steps_from(0)
    }

    /// What is done after each row of [`Diffusion::steps`]; nothing where no pictures are completed.
    pub fn overlays(&self) -> &[Overlay] {
        self.inpainting.as_ref().map_or(&[], |i| &i.each)
    }

    /// How pictures are completed, where they are.
    pub fn completes(&self) -> Option<Inpainting> {
        self.inpainting.as_ref().map(|i| i.how)
    }

    /// How many steps RePaint's jumps go back up, all together: as many are made again.
    pub fn steps_back(&self) -> usize {
        match self.completes().and_then(|how| how.repaint) {
            Some(_) => self.steps.len() - self.step_count(),
            None => 0,
        }
    }

    /// The rows of its sampler from step `from` on.
    pub(super) fn with_steps_from(mut self, from: usize) -> Result<Self> {
        self.steps = sampling::reverse_steps(&self.config, &self.process, from)?;
        if let Some(how) = self.completes() {
            let (config, process) = (&self.config, &self.process);
            let overlays = Overlays::of(how, config, process, &mut self.steps, from)?;
            self.inpainting = Some(overlays);
        }
        Ok(self)
    }

    /// What is laid over x after the row that `step` says, of `count` examples; nothing where no pictures are completed.
    pub(super) fn overlaid<'g>(
        &self,
        graph: &'g Graph,
        count: usize,
        step: Var<'g>,
    ) -> Option<Overlaid<'g>> {
        let overlays = self.inpainting.as_ref()?;
        let flat = [count, self.width()];
        let place = step.cast(DType::U32);
        let rows = overlays.each.len();
        let numbers = overlays.each.iter().flat_map(columns::of);
        let row = table(graph, "sampler.overlays", rows, numbers)
            .gather(place)
            .reshape([columns::COUNT]);
        let known = graph.input(KNOWN, TensorType::f32(flat));
        let mask = graph.input(MASK, TensorType::f32(flat));
        let picture = if self.config.pixels {
            known * 2.0 - 1.0
        } else {
            known
        };
        let (noise, again) = if overlays.how.repaint.is_some() {
            // A step that is nothing but its noise.
            let unit = self.steps.iter().flat_map(|row| {
                let mut unit = [0.0; COLUMNS];
                (unit[column::NOISE], unit[column::DRAW]) = (1.0, row.draw as f64);
                unit
            });
            let unit = table(graph, "sampler.draws", rows, unit)
                .gather(place)
                .reshape([COLUMNS]);
            let [pixels, channels] = self.pixels();
            let shaped = picture.reshape([count, pixels, channels]);
            let fresh = |name: &str| {
                let noise = shaped.reverse_step(name, shaped, unit, &StepInputs::default());
                noise.reshape(flat)
            };
            let jumps = overlays.each.iter().any(|o| o.jump[1] != 0.0);
            (fresh("known"), jumps.then(|| fresh("jump")))
        } else {
            // The same in every run: the sampler's state does not count them.
            let noise = graph.normal_by_example(sampling::PRIOR, 1, count, self.width());
            (noise, None)
        };
        Some(Overlaid {
            row,
            mask,
            known,
            picture,
            noise,
            again,
            pixels: self.config.pixels,
        })
    }
}

/// Columns of the table of overlays.
mod columns {
    use super::Overlay;

    pub(super) const LAYS: usize = 0;
    pub(super) const IMAGE: usize = 1;
    pub(super) const NOISE: usize = 2;
    /// What the picture's weight lacks of 1, half of it: what is added where pixels are shown in [0, 1].
    pub(super) const SHIFT: usize = 3;
    pub(super) const KEPT_IMAGE: usize = 4;
    pub(super) const KEPT_NOISE: usize = 5;
    pub(super) const JUMP_X: usize = 6;
    pub(super) const JUMP_NOISE: usize = 7;
    pub(super) const COUNT: usize = 8;

    pub(super) fn of(overlay: &Overlay) -> [f64; COUNT] {
        let Overlay {
            lays,
            level,
            kept,
            jump,
        } = overlay;
        let mut row = [0.0; COUNT];
        row[LAYS] = f64::from(u8::from(*lays));
        row[IMAGE] = level.a;
        row[NOISE] = level.s;
        row[SHIFT] = 0.5 * (1.0 - level.a);
        [row[KEPT_IMAGE], row[KEPT_NOISE]] = *kept;
        [row[JUMP_X], row[JUMP_NOISE]] = *jump;
        row
    }
}

/// The overlay of a run, all `[count, width]` but its row of coefficients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlaid<'g> {
    row: Var<'g>,
    mask: Var<'g>,
    /// In the range of the data.
    known: Var<'g>,
    /// In the process's.
    picture: Var<'g>,
    noise: Var<'g>,
    /// The noise of jumps.
    again: Option<Var<'g>>,
    pixels: bool,
}

impl<'g> Overlaid<'g> {
    fn of(&self, column: usize) -> Var<'g> {
        self.row.slice(0, column, column + 1)
    }

    fn over(&self, known: Var<'g>, x: Var<'g>) -> Var<'g> {
        let weight = self.mask * self.of(columns::LAYS);
        let mixed = weight * known + (-weight + 1.0) * x;
        // To the last bit, whatever a driver makes of the sum, and whatever x is.
        let one = weight.graph().constant(1.0);
        weight.equal(one).select(known, mixed)
    }

    /// x after the row, `next`, with what is known over it.
    pub(super) fn next(&self, next: Var<'g>) -> Var<'g> {
        let known = self.of(columns::IMAGE) * self.picture + self.of(columns::NOISE) * self.noise;
        self.over(known, next)
    }

    /// The same in the range of the data, of `images` before. A picture of pixels is taken as it was given, not there and back: that would
    /// cost its last bits.
    pub(super) fn images(&self, images: Var<'g>) -> Var<'g> {
        let (a, s) = (self.of(columns::IMAGE), self.of(columns::NOISE));
        let known = if self.pixels {
            let shown = a * self.known + self.of(columns::SHIFT) + s * 0.5 * self.noise;
            shown.clamp(0.0, 1.0)
        } else {
            a * self.known + s * self.noise
        };
        self.over(known, images)
    }

    /// What is kept for the next row, where the known lies that of an example on its way to it.
    pub(super) fn kept(&self, kept: Var<'g>) -> Var<'g> {
        let known =
            self.of(columns::KEPT_IMAGE) * self.picture + self.of(columns::KEPT_NOISE) * self.noise;
        self.over(known, kept)
    }

    /// x noised again, where there are jumps.
    pub(super) fn jumped(&self, x: Var<'g>) -> Var<'g> {
        match self.again {
            Some(noise) => self.of(columns::JUMP_X) * x + self.of(columns::JUMP_NOISE) * noise,
            None => x,
        }
    }
}
