//! What else can be made of a diffusion model's process: samples that begin with examples (img2img), examples that are completed (inpainting),
//! and pictures of how examples are lost in noise.
//!
//! ```
//! use wgen::evaluate::{Evaluator, Start, reverse::forward};
//! # use wgen::data::toy::{Toy, points};
//! # use wgen::models::Model;
//! # use wgen::models::diffusion::inpainting::Inpainting;
//! # use wgen::models::diffusion::{Config, Diffusion, Network, mlp, samplers::SamplerSettings};
//! # use wgen::nn::init::draw;
//! # use wgen::session::Device;
//! # let data = points(Toy::Moons, 4, 0);
//! # let network = Network::Mlp(mlp::Config { width: 2, hidden: 16, blocks: 1, outputs: 2, classes: 0 });
//! # let sampling = SamplerSettings { steps: 10, ..SamplerSettings::default() };
//! # let model = Diffusion::new(Config { sampling, ..Config::of(data.shape, false, network) })?;
//! # let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect();
//! # let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 4, 0)?;
//!
//! let examples = data.scaled();
//! // Noised so far that half of the sampler's ten steps are left.
//! let (rest, start) = Start::noised(&model, &examples, 0.5, 7)?;
//! assert_eq!(rest.step_count(), 5);
//! let samples = evaluator.samples_from(&rest, 4, None, &start, &mut |_, _| Ok(()))?;
//! assert_eq!(samples.images.len(), examples.len());
//!
//! // Their first coordinates kept as they are, the second made anew.
//! let completing = model.inpainting(Inpainting::default())?;
//! let start = Start::default().keeping(&completing, &examples, &[1.0, 0.0])?;
//! let samples = evaluator.samples_from(&completing, 4, None, &start, &mut |_, _| Ok(()))?;
//! assert!(samples.images.iter().zip(&examples).step_by(2).all(|(made, known)| made == known));
//!
//! // Three moments on the way to the noise of step 0.
//! let lost = forward(&model, &examples, 0, 3, 7)?;
//! assert!(lost[0] == examples && lost[2] != examples);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::ops::Range;

use super::Start;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::models::diffusion::inpainting::{KNOWN, MASK};
use crate::models::diffusion::{Diffusion, LOW_RES};
use crate::program::sampling::Sampling;
use crate::tensor::Value;

impl Start {
    /// Begins with examples, `[count, width]` in the range of the data, noised so far that the share `strength` of the steps is left to be
    /// made, at least one (img2img; Meng et al. 2022, "SDEdit"): the model that makes them, and its start. Steps are counted, not calls of
    /// the network, so that none begins between the calls of one.
    ///
    /// # Errors
    /// When the strength is not above 0 and at most 1.
    pub fn noised(
        model: &Diffusion,
        examples: &[f32],
        strength: f64,
        seed: u64,
    ) -> Result<(Diffusion, Self)> {
        if !(strength > 0.0 && strength <= 1.0) {
            return Err(Error::field(
                "strength",
                format!("{strength} must be above 0 and at most 1"),
            ));
        }
        let steps = model.step_count();
        let made = ((steps as f64 * strength).round() as usize).clamp(1, steps);
        let first = steps - made;
        let start = Self {
            x: Some(model.noised(examples, first, seed)?.data.to_f32()),
            ..Self::default()
        };
        Ok((model.from_step(first)?, start))
    }

    /// The same, keeping what is known of `pictures` `[count, width]`, in the range of the data: `mask` says how much of each value, from 1, all of
    /// it, to 0, nothing, as `pictures` or in one row for all of them. `model` is one that completes pictures ([`Diffusion::inpainting`]).
    ///
    /// # Errors
    /// When it is another, or the mask does not fit the pictures or leaves its range.
    pub fn keeping(mut self, model: &Diffusion, pictures: &[f32], mask: &[f32]) -> Result<Self> {
        let width = model.width();
        if model.completes().is_none() {
            return Err(Error::Usage(
                "diffusion: `mask`: this model does not complete pictures; make one that does of it with `inpainting`".to_owned(),
            ));
        }
        if !pictures.len().is_multiple_of(width) || pictures.iter().any(|x| !x.is_finite()) {
            return Err(Error::Usage(format!(
                "diffusion: {} values are no pictures of {width} finite ones",
                pictures.len()
            )));
        }
        if mask.len() != width && mask.len() != pictures.len() {
            return Err(Error::field(
                "mask",
                format!(
                    "has {} values; it takes {width}, for all pictures, or {}, for each its own",
                    mask.len(),
                    pictures.len()
                ),
            ));
        }
        if let Some(k) = mask.iter().find(|k| !(0.0..=1.0).contains(*k)) {
            return Err(Error::field(
                "mask",
                format!("{k}: values go from 0, made anew, to 1, kept"),
            ));
        }
        let each = mask.iter().copied().cycle().take(pictures.len());
        let given = [(KNOWN, pictures.to_vec()), (MASK, each.collect())];
        self.given.extend(given);
        Ok(self)
    }

    /// The same with small images `[count, small width]` beside x, in the range of the data, of a model of super-resolution.
    ///
    /// # Errors
    /// When it is no such model, or they are none of its small images.
    pub fn beside(mut self, model: &Diffusion, small: &[f32]) -> Result<Self> {
        let Some(image) = model.low_res() else {
            return Err(Error::Usage(
                "diffusion: `low_res`: this model sees nothing beside x; it is of models of super-resolution".to_owned(),
            ));
        };
        let width = image.count();
        if !small.len().is_multiple_of(width) || small.iter().any(|x| !x.is_finite()) {
            return Err(Error::field(
                "low_res",
                format!(
                    "{} values are no images of {image}, {width} finite values each",
                    small.len()
                ),
            ));
        }
        self.given.push((LOW_RES, small.to_vec()));
        Ok(self)
    }

    /// What a model is given of the first `count` examples of `data`, or of all in turn: of super-resolution the means of their pixels, and their
    /// classes where it is conditional. Nothing of other models.
    ///
    /// # Errors
    /// When they are not of the model's size.
    pub fn of_examples(model: &dyn Model, data: &Dataset, count: usize) -> Result<Self> {
        let start = Self::default();
        let diffusion = model.as_any().downcast_ref::<Diffusion>();
        let Some(diffusion) = diffusion.filter(|d| d.low_res().is_some()) else {
            return Ok(start);
        };
        let rows: Vec<usize> = (0..data.rows().max(1)).cycle().take(count).collect();
        let some = data.select(&rows);
        let start = start.beside(diffusion, &diffusion.means(&some.scaled())?)?;
        Ok(start.of_classes(diffusion, &some))
    }

    /// The same for the classes of examples, where they have some and the model is conditional on as many.
    #[must_use]
    pub fn of_classes(mut self, model: &Diffusion, data: &Dataset) -> Self {
        let classes = model.classes();
        if let Some(labels) = &data.labels
            && data.classes() == classes
            && classes > 0
        {
            self.classes = labels.iter().map(|&l| l as usize).collect();
        }
        self
    }

    /// Refuses what is given for `count` samples and does not fit their sampler.
    pub(super) fn check_given(&self, one: &Sampling, count: usize) -> Result<()> {
        if !self.classes.is_empty() && self.classes.len() != count {
            return Err(Error::Usage(format!(
                "{} classes for {count} samples",
                self.classes.len()
            )));
        }
        let given = |name: &str| self.given.iter().any(|(own, _)| *own == name);
        if let Some(needed) = one.given.iter().find(|g| g.needed && !given(g.name)) {
            return Err(Error::Usage(format!(
                "`{}`: this model makes samples of what it is given: give it some",
                needed.name
            )));
        }
        for (name, values) in &self.given {
            let Some(given) = one.given.iter().find(|g| g.name == *name) else {
                return Err(Error::Usage(format!(
                    "the sampler is given no '{name}': leave it out"
                )));
            };
            let wanted = count * given.shape.count();
            if values.len() != wanted {
                return Err(Error::Usage(format!(
                    "'{name}' has {} values; {count} samples take {wanted}",
                    values.len()
                )));
            }
        }
        Ok(())
    }

    /// What `sampling` is given for the samples of these numbers, the rest of its samples 0.
    pub(super) fn given(
        &self,
        sampling: &Sampling,
        numbers: Range<usize>,
    ) -> Result<Vec<(&'static str, Value)>> {
        let mut all = Vec::new();
        for given in &sampling.given {
            let count = given.shape.count();
            let width = count / sampling.count.max(1);
            let mut rows = match self.given.iter().find(|(name, _)| *name == given.name) {
                Some((_, values)) => values[numbers.start * width..numbers.end * width].to_vec(),
                None => Vec::new(),
            };
            rows.resize(count, 0.0);
            all.push((given.name, Value::f32(given.shape.clone(), rows)?));
        }
        Ok(all)
    }
}

/// How examples are lost on the way to the step that the reverse process begins with, `moments` of it at equal distances, the examples
/// themselves the first: each `[count, width]` in the range of the data.
///
/// # Errors
/// When there is no such step.
pub fn forward(
    model: &Diffusion,
    examples: &[f32],
    last: usize,
    moments: usize,
    seed: u64,
) -> Result<Vec<Vec<f32>>> {
    let steps = model.step_count();
    let pixels = model.config().pixels;
    let shown = |x: f32| if pixels { 0.5 * x + 0.5 } else { x };
    let mut columns = vec![examples.to_vec()];
    for i in 1..moments {
        let step = steps - 1 - (steps - 1 - last) * i / (moments - 1);
        let x = model.noised(examples, step, seed)?.data.to_f32();
        columns.push(x.into_iter().map(shown).collect());
    }
    Ok(columns)
}

/// Whether step `at` (from 1) of `steps` is one of `count` moments: the ends and what lies at equal distances between them.
pub fn is_moment(at: usize, steps: usize, count: usize) -> bool {
    (at * count) / steps != ((at - 1) * count) / steps
}
