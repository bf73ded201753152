//! Which samplers there are, and all of them beside each other.

use serde_json::json;

use super::common::Output;
use super::outputs;
use super::reading::class_of;
use super::sampling::SampleArguments;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::models::diffusion::Diffusion;
use crate::models::diffusion::samplers::{ALL, Entry, SamplerSettings};
use crate::models::diffusion::spacing::Grid;
use crate::report::grid;
use crate::run::Run;
use crate::session::Device;

/// Which samplers there are.
pub(super) fn list(output: &Output) -> Result<()> {
    let wide = |of: fn(&Entry) -> usize| ALL.iter().map(of).max().unwrap_or(0);
    let (name, scheduler) = (wide(|e| e.name.len()), wide(|e| e.scheduler.len()));
    for e in ALL {
        output.say(&format!(
            "{:name$}  {}; in diffusers {:scheduler$}{}{}",
            e.name,
            e.what,
            e.scheduler,
            said("; also ", e.aliases),
            said("; takes ", e.own),
        ));
    }
    let all: Vec<_> = ALL
        .iter()
        .map(|e| {
            json!({
                "name": e.name, "what": e.what, "aliases": e.aliases, "scheduler": e.scheduler, "order": e.order, "takes": e.own,
            })
        })
        .collect();
    output.result(&json!({ "samplers": all }))
}

/// Names behind a word, where there are any.
fn said(word: &str, names: &[&str]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("{word}{}", names.join(", "))
    }
}

/// One noise and all samplers: a row for each, in it `n` samples of each number of steps, one after the other. What else is asked for counts for
/// all that take it.
pub(super) fn draw(
    output: &Output,
    device: &Device,
    run: &Run,
    arguments: &SampleArguments,
    n: usize,
) -> Result<()> {
    let Some(asked) = run.sampler_settings().cloned() else {
        return Err(Error::Usage(
            "--every-sampler is for diffusion models".to_owned(),
        ));
    };
    if run
        .model()
        .as_any()
        .downcast_ref::<Diffusion>()
        .is_some_and(|model| model.low_res().is_some())
    {
        return Err(Error::Usage(
            "--every-sampler: this model makes large pictures of small ones; draw with one sampler at a time, and --low-res".to_owned(),
        ));
    }
    let steps = &arguments.every_sampler;
    let columns = n * steps.len();
    // Of a model that was not distilled LCM makes nothing.
    let distilled = |e: &Entry| e.grid != Grid::Consistency || asked.sampler == e.name;
    let fits = |e: &&Entry| run.is_sampled_by(e.name) && distilled(e);
    let fitting: Vec<&Entry> = ALL.iter().filter(fits).collect();
    outputs::check_size(
        arguments.out(),
        grid::size(columns * fitting.len(), run.image(), columns),
    )?;
    let class = class_of(run, arguments.class.as_deref())?;
    let mut images = Vec::new();
    let mut rows = Vec::new();
    for entry in fitting {
        for &steps in steps {
            let settings = SamplerSettings {
                steps,
                sigmas: asked.sigmas,
                sigma_min: asked.sigma_min,
                sigma_max: asked.sigma_max,
                threshold: asked.threshold,
                threshold_max: asked.threshold_max,
                original_steps: asked
                    .original_steps
                    .filter(|_| entry.own.contains(&"original_steps")),
                ..run.settings_of_sampler(entry.name)?
            };
            let sampled = run.clone().with_sampler_settings(&settings)?;
            let mut evaluator = Evaluator::of(device, &sampled, n, arguments.seed)?;
            let samples = evaluator.samples(sampled.model(), n, class)?;
            let calls = sampled.model().sampling(1)?.runs;
            output.say(&format!(
                "{}, {steps} steps: {calls} calls of the network",
                entry.name
            ));
            rows.push(json!({"sampler": entry.name, "steps": steps, "calls": calls}));
            images.extend(samples.images);
        }
    }
    let picture = grid::picture(&images, run.image(), columns);
    outputs::write_picture(arguments.out(), &picture)?;
    output.result(&json!({"samples": n, "rows": rows, "file": arguments.out()}))
}
