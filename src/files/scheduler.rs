//! `scheduler_config.json` of diffusers, of its releases from the first to today's.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::layouts::object;
use crate::error::{Error, Result};
use crate::models::diffusion::keys;
use crate::models::diffusion::process::{BetaSchedule, Prediction, Variance};
use crate::models::diffusion::samplers;
use crate::models::diffusion::spacing::Spacing;

/// `scheduler_config.json` of a `DDPMScheduler` or `DDIMScheduler`, with diffusers' names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Scheduler {
    pub(super) num_train_timesteps: usize,
    pub(super) beta_start: f64,
    pub(super) beta_end: f64,
    pub(super) beta_schedule: BetaSchedule,
    pub(super) trained_betas: Option<Vec<f64>>,
    pub(super) variance_type: String,
    pub(super) clip_sample: bool,
    pub(super) clip_sample_range: f64,
    pub(super) prediction_type: Prediction,
    pub(super) thresholding: bool,
    pub(super) dynamic_thresholding_ratio: f64,
    pub(super) sample_max_value: f64,
    pub(super) timestep_spacing: Spacing,
    pub(super) steps_offset: usize,
    pub(super) rescale_betas_zero_snr: bool,
    pub(super) set_alpha_to_one: bool,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            variance_type: "fixed_small".to_owned(),
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: Prediction::Epsilon,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            timestep_spacing: Spacing::Leading,
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: true,
        }
    }
}

/// A scheduler's configuration as read.
pub(super) struct Read {
    pub(super) scheduler: Scheduler,
    pub(super) sampler: &'static samplers::Entry,
    /// Keys that have no effect.
    pub(super) passed: Vec<String>,
}

/// Reads a scheduler's file; `doubled` says whether the network predicts a variance too.
///
/// # Errors
/// When it cannot be read, is of another class, or has an option that is not supported, which is named.
pub(super) fn read(path: &Path, doubled: bool) -> Result<(Read, Variance)> {
    let wrong = |why: String| Error::format(path, why);
    let mut fields = object(path)?;
    let sampler = sampler(&fields).map_err(wrong)?;
    let mut passed = early(&mut fields).map_err(wrong)?;
    let (mut scheduler, others): (Scheduler, _) = keys::known(fields).map_err(wrong)?;
    passed.extend(others);
    if scheduler.thresholding {
        return Err(wrong("thresholding true is not supported".to_owned()));
    }
    if scheduler.trained_betas.is_some() {
        return Err(wrong("trained_betas are not supported".to_owned()));
    }
    if scheduler.variance_type == "learned" && sampler.name == "ddim" && !doubled {
        // A DDIMScheduler has it of the scheduler that it was converted from, and no use for it.
        scheduler.variance_type = Scheduler::default().variance_type;
        passed.push("variance_type".to_owned());
    }
    let variance = match scheduler.variance_type.as_str() {
        "fixed_small" | "fixed_small_log" => Variance::FixedSmall,
        "fixed_large" | "fixed_large_log" => Variance::FixedLarge,
        "learned_range" => Variance::LearnedRange,
        other => {
            return Err(wrong(format!(
                "variance_type '{other}' is not supported; there is fixed_small, fixed_large, learned_range"
            )));
        }
    };
    let read = Read {
        scheduler,
        sampler,
        passed,
    };
    Ok((read, variance))
}

fn sampler(fields: &Map<String, Json>) -> Result<&'static samplers::Entry, String> {
    let class = fields.get("_class_name").and_then(Json::as_str);
    samplers::ALL
        .iter()
        .find(|s| Some(s.scheduler) == class)
        .ok_or_else(|| {
            let known: Vec<&str> = samplers::ALL.iter().map(|s| s.scheduler).collect();
            format!(
                "_class_name is {}; there is {}, into which diffusers converts others by from_config",
                class.unwrap_or("missing"),
                known.join(" and ")
            )
        })
}

/// Keys of early releases become today's. Gives those that say nothing beside today's.
///
/// Before 0.1 T was `timesteps` and clipping `clip_predicted_image`; up to 0.12 there was `predict_epsilon`, true or, for networks that predict
/// the image, false.
fn early(fields: &mut Map<String, Json>) -> Result<Vec<String>, String> {
    let mut passed = Vec::new();
    let renamed = [
        ("timesteps", "num_train_timesteps"),
        ("clip_predicted_image", "clip_sample"),
    ];
    for (old, today) in renamed {
        let meant = fields
            .get(old)
            .is_some_and(|v| v.is_u64() || v.is_boolean());
        if meant
            && !fields.contains_key(today)
            && let Some(value) = fields.remove(old)
        {
            fields.insert(today.to_owned(), value);
        }
    }
    match fields.remove("predict_epsilon") {
        None => {}
        Some(Json::Null) => passed.push("predict_epsilon".to_owned()),
        Some(Json::Bool(epsilon)) => {
            let meant = Json::from(if epsilon { "epsilon" } else { "sample" });
            let said = fields.entry("prediction_type").or_insert(meant.clone());
            if *said != meant {
                return Err(format!(
                    "predict_epsilon {epsilon} is prediction_type {meant}, but prediction_type is {said}; leave out the one that is wrong"
                ));
            }
        }
        Some(other) => {
            return Err(format!("predict_epsilon {other} must be true or false"));
        }
    }
    Ok(passed)
}
