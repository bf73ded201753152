//! What else can be made of a diffusion model's process: samples that begin with examples (img2img), and pictures of how examples are lost
//! in noise.
//!
//! ```
//! use wgen::evaluate::{Evaluator, Start, reverse::forward};
//! # use wgen::data::toy::{Toy, points};
//! # use wgen::models::Model;
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
//! // Three moments on the way to the noise of step 0.
//! let lost = forward(&model, &examples, 0, 3, 7)?;
//! assert!(lost[0] == examples && lost[2] != examples);
//! # Ok::<(), wgen::Error>(())
//! ```

use super::Start;
use crate::error::{Error, Result};
use crate::models::diffusion::Diffusion;

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
            runs_done: 0,
        };
        Ok((model.from_step(first)?, start))
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
