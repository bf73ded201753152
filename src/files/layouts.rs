//! Where the parts of a model of diffusers lie: in subfolders, as pipelines have them; all in one folder, as the first releases and
//! `UNet2DModel.save_pretrained` have it; or in the checkpoint of a training script, which has no scheduler.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};
use crate::models::diffusion::keys;

/// Names of files, as diffusers has them.
pub(super) const CONFIG: &str = "config.json";
pub(super) const SCHEDULER: &str = "scheduler_config.json";
pub(super) const INDEX: &str = "model_index.json";

/// No configuration is larger, but one that has betas of its own for many timesteps.
const LONGEST: u64 = 8 << 20;

/// The parts of a model.
#[derive(Debug)]
pub(super) struct Parts {
    /// The folder that has the network's configuration and weights.
    pub(super) unet: PathBuf,
    /// The scheduler's configuration.
    pub(super) scheduler: Option<PathBuf>,
    /// Whether `unet` is a moving average beside which the network itself lies.
    pub(super) average: bool,
}

/// The object in a JSON file.
pub(super) fn object(path: &Path) -> Result<Map<String, Json>> {
    let size = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if size > LONGEST {
        let why = format!("has {size} bytes; a configuration has a few thousand");
        return Err(Error::format(path, why));
    }
    let text = super::read_text(path)?;
    keys::object(&text).map_err(|why| Error::format(path, why))
}

/// Whether a folder is one of diffusers' and not a run's: a run's `config.json` names no class.
pub(crate) fn is_pipeline(folder: &Path) -> bool {
    let config = folder.join(CONFIG);
    if config.exists() {
        return object(&config).is_ok_and(|fields| fields.contains_key("_class_name"));
    }
    folder.join(INDEX).exists() || folder.join("unet").is_dir() || folder.join("unet_ema").is_dir()
}

/// The parts of a folder for which [`is_pipeline`] holds.
///
/// # Errors
/// When it lacks one that it says it has, or has one that is not supported.
pub(super) fn parts(folder: &Path) -> Result<Parts> {
    let index = folder.join(INDEX);
    let index = index.exists().then(|| object(&index)).transpose()?;
    if let Some(index) = &index {
        supported(&folder.join(INDEX), index)?;
    }
    let has = |name: &str| folder.join(name).join(CONFIG).exists();
    // diffusers' training scripts keep the average beside the network, and make the pipeline of it in the end.
    let average = index.is_none() && has("unet_ema");
    let alone = !average && !has("unet") && folder.join(CONFIG).exists();
    let unet = match (average, alone) {
        (true, _) => folder.join("unet_ema"),
        (_, true) => folder.to_owned(),
        _ => folder.join("unet"),
    };
    if !unet.join(CONFIG).exists() {
        return Err(lacks(folder, "unet/config.json"));
    }
    let mut places = vec![
        folder.join("scheduler").join(SCHEDULER),
        folder.join(SCHEDULER),
    ];
    if index.is_none()
        && let Ok(path) = fs::canonicalize(folder)
    {
        // Of a pipeline's unet/, and of a checkpoint in the folder that the pipeline was saved to, or that checkpoint's unet/.
        let above = path.ancestors().skip(1).take(2);
        places.extend(above.map(|dir| dir.join("scheduler").join(SCHEDULER)));
    }
    let scheduler = places.into_iter().find(|path| path.exists());
    if index.is_some() && scheduler.is_none() {
        return Err(lacks(folder, "scheduler/scheduler_config.json"));
    }
    Ok(Parts {
        unet,
        scheduler,
        average: average && has("unet"),
    })
}

fn lacks(folder: &Path, name: &str) -> Error {
    let why = format!(
        "is no whole pipeline: it has no {name}; save it with DDPMPipeline.save_pretrained, or copy all of its files"
    );
    Error::format(folder, why)
}

/// Refuses a pipeline whose samples are made by more than a network and a scheduler.
fn supported(path: &Path, index: &Map<String, Json>) -> Result<()> {
    let other = index.iter().find_map(|(name, value)| {
        // [library, class], both null where a pipeline can do without.
        let class = value.as_array()?.get(1)?.as_str()?;
        (!["unet", "scheduler"].contains(&name.as_str())).then_some((name, class))
    });
    match other {
        Some((name, class)) => Err(Error::format(
            path,
            format!("has a {name} ({class}); pipelines of unet and scheduler alone are supported"),
        )),
        None => Ok(()),
    }
}

/// What to give in place of a folder that has no model: models that lie in it.
pub(super) fn inside(folder: &Path) -> Option<String> {
    let mut found: Vec<String> = [folder.to_owned(), folder.join("snapshots")]
        .iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.join(CONFIG).exists() || is_pipeline(path))
        .filter_map(|path| Some(path.strip_prefix(folder).ok()?.display().to_string()))
        .collect();
    found.sort();
    let more = if found.len() > 5 { ", and others" } else { "" };
    found.truncate(5);
    (!found.is_empty()).then(|| format!("there is one in it: {}{more}", found.join(", ")))
}
