//! Folders as diffusers saves a `DDPMPipeline`: `model_index.json`, `unet/`, `scheduler/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::synced::write_synced;
use super::weights::{Tensors, read_tensors, write_tensors};
use super::{Config, Training};
use crate::error::{Error, Result};
use crate::models::diffusion::process::{
    self, BetaSchedule, Prediction, Rounding, Spacing, Variance,
};
use crate::models::diffusion::samplers::{self, SamplerSettings};
use crate::models::diffusion::{Config as Diffusing, Diffusion, Network, unet};

/// `scheduler_config.json` of a `DDPMScheduler` or `DDIMScheduler`, with diffusers' names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Scheduler {
    num_train_timesteps: usize,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: BetaSchedule,
    trained_betas: Option<Vec<f64>>,
    variance_type: String,
    clip_sample: bool,
    clip_sample_range: f64,
    prediction_type: Prediction,
    thresholding: bool,
    dynamic_thresholding_ratio: f64,
    sample_max_value: f64,
    timestep_spacing: Spacing,
    steps_offset: usize,
    rescale_betas_zero_snr: bool,
    set_alpha_to_one: bool,
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

const UNET_CONFIG: &str = "unet/config.json";
const UNET_WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// Whether a folder is one of diffusers' and not a run's.
pub(crate) fn is_pipeline(folder: &Path) -> bool {
    !folder.join("config.json").exists()
        && (folder.join("model_index.json").exists() || folder.join("unet").is_dir())
}

/// The text of a file that a pipeline must have.
fn text(folder: &Path, name: &str) -> Result<(PathBuf, String)> {
    let path = folder.join(name);
    if !path.exists() {
        return Err(Error::format(
            folder,
            format!(
                "is no whole pipeline: it has no {name}; save it with DDPMPipeline.save_pretrained"
            ),
        ));
    }
    let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    Ok((path, text))
}

/// The configuration of a folder that diffusers saved.
///
/// # Errors
/// When a file is missing, or has an option that is not supported, which is named.
pub(crate) fn read_config(folder: &Path) -> Result<Config> {
    let (path, unet_text) = text(folder, UNET_CONFIG)?;
    let unet = unet::Config::from_diffusers(&unet_text)
        .map_err(|e| Error::format(&path, e.to_string()))?;
    let (path, scheduler_text) = text(folder, SCHEDULER)?;
    let (scheduler, sampler) =
        scheduler(&scheduler_text).map_err(|why| Error::format(&path, why))?;
    let image = unet.image();
    let wrong = |why: String| Err(Error::format(&path, why));
    let variance = match scheduler.variance_type.as_str() {
        "fixed_small" | "fixed_small_log" => Variance::FixedSmall,
        "fixed_large" | "fixed_large_log" => Variance::FixedLarge,
        "learned_range" => Variance::LearnedRange,
        other => {
            return wrong(format!(
                "variance_type '{other}' is not supported; there is fixed_small, fixed_large, learned_range"
            ));
        }
    };
    if scheduler.thresholding {
        return wrong("thresholding is not supported".to_owned());
    }
    if scheduler.trained_betas.is_some() {
        return wrong("trained_betas are not supported".to_owned());
    }
    let rows = unet.num_class_embeds.unwrap_or(0);
    let timesteps = scheduler.num_train_timesteps;
    let diffusion = Diffusing {
        process: process::Config {
            timesteps,
            beta_schedule: scheduler.beta_schedule,
            beta_start: scheduler.beta_start,
            beta_end: scheduler.beta_end,
            zero_terminal_snr: scheduler.rescale_betas_zero_snr,
            rounding: Rounding::F32,
        },
        prediction: scheduler.prediction_type,
        variance,
        loss: if variance == Variance::LearnedRange {
            crate::models::diffusion::Loss::Hybrid
        } else {
            crate::models::diffusion::Loss::Simple
        },
        clip: scheduler.clip_sample.then_some(scheduler.clip_sample_range),
        // Which of the embeddings is a null class, if any, no file says; the last one is taken for it, as wgen writes it.
        classes: rows.saturating_sub(1),
        null_share: if rows > 1 { 0.1 } else { 0.0 },
        sampling: SamplerSettings {
            sampler: sampler.name.to_owned(),
            steps: sampler.usual_steps(timesteps),
            spacing: scheduler.timestep_spacing,
            steps_offset: scheduler.steps_offset,
            set_alpha_to_one: scheduler.set_alpha_to_one,
            ..SamplerSettings::default()
        },
        ..Diffusing::of(image, true, Network::Unet(Box::new(unet)))
    };
    let config = Config::new(
        Arc::new(Diffusion::new(diffusion).map_err(|e| Error::format(folder, e.to_string()))?),
        image,
        "saved by diffusers",
        Training::default(),
    );
    config
        .check()
        .map_err(|e| Error::format(folder, e.to_string()))?;
    Ok(config)
}

fn scheduler(text: &str) -> std::result::Result<(Scheduler, &'static samplers::Entry), String> {
    let mut fields: serde_json::Map<String, Json> =
        serde_json::from_str(text).map_err(|e| e.to_string())?;
    let class = fields.get("_class_name").and_then(Json::as_str);
    let Some(sampler) = samplers::ALL.iter().find(|s| Some(s.scheduler) == class) else {
        let known: Vec<&str> = samplers::ALL.iter().map(|s| s.scheduler).collect();
        return Err(format!(
            "_class_name is {class:?}; there is {}, into which diffusers converts others by from_config",
            known.join(" and ")
        ));
    };
    fields.retain(|name, _| !name.starts_with('_'));
    let scheduler = serde_json::from_value(Json::Object(fields)).map_err(|e| e.to_string())?;
    Ok((scheduler, sampler))
}

/// The weights of a folder that diffusers saved.
///
/// # Errors
/// When the file is missing or damaged, or is a pickle.
pub(crate) fn read_weights(folder: &Path) -> Result<(PathBuf, Tensors)> {
    let path = folder.join(UNET_WEIGHTS);
    if !path.exists() {
        let pickle = folder.join("unet/diffusion_pytorch_model.bin");
        return Err(if pickle.exists() {
            Error::format(
                pickle,
                "is a PyTorch pickle, which may run code when it is loaded; load it in diffusers and save it with save_pretrained(folder, safe_serialization=True)",
            )
        } else {
            Error::format(
                folder,
                format!("is no whole pipeline: it has no {UNET_WEIGHTS}"),
            )
        });
    }
    let tensors = read_tensors(&path)?;
    // The names that attention had before diffusers 0.15.
    let today = |name: String| {
        let renamed = [
            (".query.", ".to_q."),
            (".key.", ".to_k."),
            (".value.", ".to_v."),
            (".proj_attn.", ".to_out.0."),
        ];
        renamed
            .into_iter()
            .filter(|_| name.contains("attentions."))
            .find(|(old, _)| name.contains(old))
            .map_or(name.clone(), |(old, new)| name.replace(old, new))
    };
    Ok((
        path,
        tensors.into_iter().map(|(n, t)| (today(n), t)).collect(),
    ))
}

/// Writes what diffusers reads beside a run's own files: `unet/` and `scheduler/`, and of an unconditional model `model_index.json`, with which
/// the folder is a `DDPMPipeline`. Nothing for models that are no U-Net.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn write(folder: &Path, config: &Config, tensors: &Tensors) -> Result<()> {
    let Some(diffusion) = config.model.as_any().downcast_ref::<Diffusion>() else {
        return Ok(());
    };
    let diffusion = diffusion.config();
    let Network::Unet(unet) = &diffusion.network else {
        return Ok(());
    };
    let save = |name: &str, json: &Json| {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        let text =
            serde_json::to_string_pretty(json).map_err(|e| Error::format(&path, e.to_string()))?;
        write_synced(&path, (text + "\n").as_bytes())
    };
    save(UNET_CONFIG, &unet.to_diffusers())?;
    write_tensors(&folder.join(UNET_WEIGHTS), tensors)?;
    let scheduler = Scheduler {
        num_train_timesteps: diffusion.process.timesteps,
        beta_start: diffusion.process.beta_start,
        beta_end: diffusion.process.beta_end,
        beta_schedule: diffusion.process.beta_schedule,
        variance_type: match diffusion.variance {
            Variance::FixedSmall => "fixed_small",
            Variance::FixedLarge => "fixed_large",
            Variance::LearnedRange => "learned_range",
        }
        .to_owned(),
        clip_sample: diffusion.clip.is_some(),
        clip_sample_range: diffusion.clip.unwrap_or(1.0),
        prediction_type: diffusion.prediction,
        timestep_spacing: diffusion.sampling.spacing,
        steps_offset: diffusion.sampling.steps_offset,
        rescale_betas_zero_snr: diffusion.process.zero_terminal_snr,
        ..Scheduler::default()
    };
    let mut json = serde_json::to_value(scheduler).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        // Of DDIM alone.
        fields.remove("set_alpha_to_one");
        fields.insert("_class_name".to_owned(), "DDPMScheduler".into());
        fields.insert("_diffusers_version".to_owned(), "0.42.1".into());
    }
    save(SCHEDULER, &json)?;
    if unet.num_class_embeds.is_none() {
        let index = json!({
            "_class_name": "DDPMPipeline",
            "_diffusers_version": "0.42.1",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        });
        save("model_index.json", &index)?;
    }
    Ok(())
}
