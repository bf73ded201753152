//! Folders as diffusers saves a `DDPMPipeline`: `model_index.json`, `unet/`, `scheduler/`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::layouts::{self, CONFIG, INDEX, Parts};
use super::scheduler::{self, Scheduler};
use super::scheduler_classes;
use super::synced::write_synced;
use super::weights::{Tensors, write_tensors};
use super::{Config, Training, found};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;
use crate::models::diffusion::process::{self, Kind, Prediction, Rounding, Variance};
use crate::models::diffusion::{Config as Diffusing, Diffusion, Loss, Network, unet};

pub(crate) use super::layouts::is_pipeline;

const UNET_CONFIG: &str = "unet/config.json";
pub(super) const UNET_WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const WEIGHTS: &str = "diffusion_pytorch_model";

/// The release whose configurations ours are.
const VERSION: &str = "0.42.1";

/// The class that we write of a variance-preserving process.
const ANCESTRAL: &str = "DDPMScheduler";

/// The key by which we mark the networks that we write: which of the embeddings is the null class of guidance, or null where none is. diffusers
/// passes over keys that begin with an underscore, and keeps them when it saves what it has read.
const NULL_CLASS: &str = "_wgen_null_class";

/// What diffusers makes of no configuration at all, said by a warning.
fn without_scheduler(folder: &Path, doubled: bool) -> Result<(scheduler::Read, Variance)> {
    let read = scheduler::Read::without().map_err(|why| Error::format(folder, why))?;
    let variance = if doubled {
        Variance::LearnedRange
    } else {
        Variance::FixedSmall
    };
    Ok((read, variance))
}

fn passed_over(path: &Path, class: &str, names: &[String]) {
    if !names.is_empty() {
        log::warn!(
            "{}: keys that a {class} of diffusers {VERSION} does not read are passed over: {}",
            path.display(),
            names.join(", ")
        );
    }
}

/// The network's configuration, and how many of its classes take turns.
fn read_unet(parts: &Parts) -> Result<(unet::Config, usize)> {
    let path = parts.unet.join(CONFIG);
    let fields = layouts::object(&path)?;
    let wrong = |why: String| Error::format(&path, why);
    let null = null_class(&fields).map_err(wrong)?;
    if fields.get("sample_size").is_none_or(Json::is_null) {
        log::warn!(
            "{}: has no sample_size: images of 32 by 32 are made; write another size there",
            path.display()
        );
    }
    let (unet, passed) = unet::Config::read_diffusers(fields).map_err(|e| wrong(e.to_string()))?;
    passed_over(&path, "UNet2DModel", &passed);
    let rows = unet.num_class_embeds.unwrap_or(0);
    match null {
        Some(null) if null + 1 != rows => Err(wrong(format!(
            "{NULL_CLASS} {null} is not supported; the null class is the last of {rows}"
        ))),
        _ => Ok((unet, null.unwrap_or(rows))),
    }
}

/// Which embedding is the null class: as our mark says, and without it none, as nothing of diffusers has one.
fn null_class(fields: &Map<String, Json>) -> std::result::Result<Option<usize>, String> {
    match fields.get(NULL_CLASS) {
        Some(Json::Null) => Ok(None),
        Some(index) => match index.as_u64() {
            Some(index) => Ok(usize::try_from(index).ok()),
            None => Err(format!(
                "{NULL_CLASS} {index} must be the index of a class, or null"
            )),
        },
        // Before there was a mark: our configurations had the version of diffusers, as its own have, but 1.0 where it writes 1.
        None => {
            let ours = fields.get("_diffusers_version").and_then(Json::as_str) == Some(VERSION)
                && fields
                    .get("mid_block_scale_factor")
                    .is_some_and(Json::is_f64);
            let rows = fields.get("num_class_embeds").and_then(Json::as_u64);
            let last = rows
                .and_then(|rows| rows.checked_sub(1))
                .filter(|last| ours && *last > 0);
            Ok(last.and_then(|last| usize::try_from(last).ok()))
        }
    }
}

/// The configuration of a folder that diffusers saved.
///
/// # Errors
/// When a file is missing, or has an option that is not supported, which is named.
pub(crate) fn read_config(folder: &Path) -> Result<Config> {
    let parts = layouts::parts(folder)?;
    let (unet, classes) = read_unet(&parts)?;
    if parts.average {
        log::warn!(
            "{}: has a network and its moving average, unet_ema, which is read; for the other give its folder unet",
            folder.display()
        );
    }
    let doubled = unet.out_channels == 2 * unet.in_channels;
    let (read, variance) = match &parts.scheduler {
        Some(path) => {
            let read = scheduler::read(path, doubled)?;
            passed_over(path, read.0.class.name, &read.0.passed);
            if !path.starts_with(folder) {
                log::warn!(
                    "{}: the scheduler is the one of {}",
                    folder.display(),
                    path.display()
                );
            }
            read
        }
        None => {
            log::warn!(
                "{}: has no scheduler_config.json: diffusers' DDPMScheduler() is taken, 1000 timesteps, linear betas from 1e-4 to 0.02, noise \
                 predicted; if it was trained otherwise, put its scheduler_config.json there",
                folder.display()
            );
            without_scheduler(folder, doubled)?
        }
    };
    let (scheduler, class) = (read.scheduler, read.class);
    let image = unet.image();
    let rows = unet.num_class_embeds.unwrap_or(0);
    let timesteps = scheduler.num_train_timesteps;
    let diffusion = Diffusing {
        process: if class.is_continuous() {
            process::Config {
                timesteps,
                kind: scheduler.kind(class),
                ..process::Config::default()
            }
        } else {
            process::Config {
                timesteps,
                beta_schedule: scheduler.beta_schedule.unwrap_or(class.beta_schedule()),
                beta_start: scheduler.beta_start.unwrap_or(class.betas[0]),
                beta_end: scheduler.beta_end.unwrap_or(class.betas[1]),
                zero_terminal_snr: scheduler.rescale_betas_zero_snr,
                rounding: Rounding::F32,
                ..process::Config::default()
            }
        },
        prediction: scheduler.prediction(class),
        variance,
        loss: if variance == Variance::LearnedRange {
            Loss::Hybrid
        } else {
            Loss::Simple
        },
        clip: scheduler
            .clip_sample
            .unwrap_or(class.clips)
            .then_some(scheduler.clip_sample_range),
        classes,
        null_share: if classes < rows { 0.1 } else { 0.0 },
        sampling: read.sampling,
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

/// The weights of a folder that diffusers saved.
///
/// # Errors
/// When the file is missing or damaged, is a pickle, or not of this network.
pub(crate) fn read_weights(folder: &Path, layout: &Layout) -> Result<Vec<Vec<f32>>> {
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
    let unet = layouts::parts(folder)?.unet;
    found::read(&unet, WEIGHTS)?.fit(layout, today)
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
    // diffusers' flows have one prediction.
    let flow = matches!(diffusion.process.kind, Kind::Flow(_));
    if flow && diffusion.prediction != Prediction::Flow {
        return Ok(());
    }
    write_about(folder, diffusion, unet)?;
    write_tensors(&folder.join(UNET_WEIGHTS), tensors)
}

/// The same without weights, whose place is [`UNET_WEIGHTS`].
pub(super) fn write_about(folder: &Path, diffusion: &Diffusing, unet: &unet::Config) -> Result<()> {
    let save = |name: &str, json: &Json| {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        let text =
            serde_json::to_string_pretty(json).map_err(|e| Error::format(&path, e.to_string()))?;
        write_synced(&path, (text + "\n").as_bytes())
    };
    let mut json = unet.to_diffusers();
    if let (Some(fields), Some(rows)) = (json.as_object_mut(), unet.num_class_embeds) {
        let null = (diffusion.classes < rows).then_some(diffusion.classes);
        fields.insert(NULL_CLASS.to_owned(), null.into());
    }
    save(UNET_CONFIG, &json)?;
    let process = &diffusion.process;
    let continuous =
        Scheduler::of_continuous(&process.kind, process.timesteps, &diffusion.sampling);
    let (class, scheduler) = continuous.unwrap_or_else(|| (ANCESTRAL, ancestral(diffusion)));
    let mut json = serde_json::to_value(scheduler).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        if let Some(class) = scheduler_classes::ALL.iter().find(|c| c.name == class) {
            class.keep_own(fields);
        }
        fields.insert("_class_name".to_owned(), class.into());
        fields.insert("_diffusers_version".to_owned(), VERSION.into());
    }
    save(SCHEDULER, &json)?;
    // A DDPMPipeline does not scale what the network sees, as EDM's scheduler would have it.
    if unet.num_class_embeds.is_none() && !matches!(process.kind, Kind::Edm(_)) {
        let index = json!({
            "_class_name": "DDPMPipeline",
            "_diffusers_version": VERSION,
            "scheduler": ["diffusers", class],
            "unet": ["diffusers", "UNet2DModel"],
        });
        save(INDEX, &index)?;
    }
    Ok(())
}

/// The scheduler of a variance-preserving process.
fn ancestral(diffusion: &Diffusing) -> Scheduler {
    Scheduler {
        num_train_timesteps: diffusion.process.timesteps,
        beta_start: Some(diffusion.process.beta_start),
        beta_end: Some(diffusion.process.beta_end),
        beta_schedule: Some(diffusion.process.beta_schedule),
        variance_type: Some(
            match diffusion.variance {
                Variance::FixedSmall => "fixed_small",
                Variance::FixedLarge => "fixed_large",
                Variance::LearnedRange => "learned_range",
            }
            .to_owned(),
        ),
        clip_sample: Some(diffusion.clip.is_some()),
        clip_sample_range: diffusion.clip.unwrap_or(1.0),
        prediction_type: diffusion.prediction,
        timestep_spacing: Some(diffusion.sampling.spacing),
        steps_offset: diffusion.sampling.steps_offset,
        rescale_betas_zero_snr: diffusion.process.zero_terminal_snr,
        ..Scheduler::default()
    }
}
