//! The folder of a run: its lock, its configuration, its checkpoints. A checkpoint is everything that a training needs to go on; the
//! newest two are kept.
//!
//! ```
//! use wgen::files::folder::{Checkpoint, Progress, RunFolder};
//! # use wgen::graph::layout::{Init, Layout, Parameter};
//! # let layout = Layout::new(vec![Parameter::new("w", [2], Init::Constant(0.0))], 1 << 20)?;
//! # let progress = Progress {
//! #     step: 100, best: None, since_best: 0, variants: Vec::new(), device: "CPU".to_owned(), loss_scale: 1.0, loss_scale_since: 0,
//! # };
//! # let dir = tempfile::tempdir().unwrap();
//!
//! let folder = RunFolder::open(dir.path(), false)?;
//! let (weights, zeros) = (vec![vec![1.0, 2.0]], vec![vec![0.0, 0.0]]);
//! let checkpoint = Checkpoint { weights, moments: [zeros.clone(), zeros], ema: None, progress };
//! folder.save(&layout, &checkpoint)?;
//! assert_eq!(folder.load(&layout, false)?, Some(checkpoint));
//! // One process at a time.
//! let error = RunFolder::open(dir.path(), false).unwrap_err();
//! assert!(error.to_string().contains("is in use"), "{error}");
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::synced::{Registered, read_text, remove_stale, write_synced};
use super::weights::{from_file, read_tensors, to_file, write_tensors};
use super::{Config, found};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;

fn sync_dir(path: &Path) {
    // Not every system can sync a folder; where it can, the rename is then on disk.
    if let Ok(dir) = File::open(path) {
        dir.sync_all().ok();
    }
}

/// All that a step depends on, beside weights and moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The best validation loss an example so far.
    pub best: Option<f64>,
    /// Evaluations since it was found.
    pub since_best: u64,
    /// Kernel variants of the training plan.
    pub variants: Vec<String>,
    /// The adapter.
    pub device: String,
    /// What the loss is multiplied by before it is differentiated: 1 but in f16.
    #[serde(default = "one")]
    pub loss_scale: f32,
    /// The step at which that last changed.
    #[serde(default)]
    pub loss_scale_since: u64,
}

fn one() -> f32 {
    1.0
}

/// Tensors of a checkpoint, in the layout's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Parameters.
    pub weights: Vec<Vec<f32>>,
    /// First and second moments.
    pub moments: [Vec<Vec<f32>>; 2],
    /// Moving average.
    pub ema: Option<Vec<Vec<f32>>>,
    /// The rest.
    pub progress: Progress,
}

/// A folder that one process writes at a time.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held open for its lock; its text is the newest checkpoint's step, so that a run whose checkpoints were removed is known for one.
    lock: File,
    /// Whether the lock was made just now.
    fresh: bool,
}

impl RunFolder {
    /// Makes or opens a run folder and locks it.
    ///
    /// # Errors
    /// When it cannot be written, another process holds it, or it already has a run, another's model or what is left of a run and `resume` is
    /// not set; with `resume`, when there is no run.
    pub fn open(path: &Path, resume: bool) -> Result<Self> {
        let has_run = path.join("config.json").exists();
        if resume && !has_run {
            return Err(Error::Usage(format!(
                "{}: has no run to resume (no config.json); leave out `resume` to begin one",
                path.display()
            )));
        }
        if super::diffusers::is_pipeline(path) {
            return Err(Error::Usage(format!(
                "{}: has a model that diffusers saved, which would be written over; choose another `folder`",
                path.display()
            )));
        }
        fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        let lock_path = path.join(".lock");
        let fresh = !lock_path.exists();
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(|e| Error::io(&lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::Usage(format!(
                    "{}: is in use by another wgen process; wait for it or choose another `folder`",
                    path.display()
                )));
            }
            Err(fs::TryLockError::Error(e)) => return Err(Error::io(&lock_path, e)),
        }
        if let (false, Some(left)) = (has_run, left_of_a_run(path)) {
            if fresh {
                fs::remove_file(&lock_path).ok();
            }
            return Err(Error::Usage(format!(
                "{}: has no config.json but {left}, which a training would write over; choose another `folder`",
                path.display()
            )));
        }
        if has_run && !resume {
            return Err(Error::Usage(format!(
                "{}: already has a run; continue it with `resume` or choose another `folder`",
                path.display()
            )));
        }
        remove_stale(&[path, &path.join("checkpoints"), &path.join("samples")]);
        Ok(Self {
            path: path.to_owned(),
            lock,
            fresh,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `config.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_config(&self, config: &Config) -> Result<()> {
        let text = serde_json::to_string_pretty(config)
            .map_err(|e| Error::format(&self.path, e.to_string()))?;
        write_synced(&self.path.join("config.json"), text.as_bytes())
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Writes a checkpoint into a new folder, syncs it, points `latest` at it, and removes all but the last two.
    ///
    /// # Errors
    /// When it cannot be written; earlier checkpoints stay.
    pub fn save(&self, layout: &Layout, checkpoint: &Checkpoint) -> Result<()> {
        let root = self.checkpoints();
        let name = checkpoint.progress.step.to_string();
        let (temporary, target) = (root.join(format!(".{name}.tmp")), root.join(&name));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |e| Error::io(path, e)
        };
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(io(&temporary))?;
        }
        // Who leaves at once, in the middle of it, takes the unfinished folder away.
        let make = || fs::create_dir_all(&temporary).map(|()| (temporary.clone(), ()));
        let (_registered, ()) = Registered::new(make).map_err(io(&temporary))?;
        let write = || {
            let p = &layout.parameters;
            write_tensors(
                &temporary.join("model.safetensors"),
                &to_file(p, &checkpoint.weights, ""),
            )?;
            let mut moments = to_file(p, &checkpoint.moments[0], "moment1.");
            moments.extend(to_file(p, &checkpoint.moments[1], "moment2."));
            write_tensors(&temporary.join("optimizer.safetensors"), &moments)?;
            if let Some(ema) = &checkpoint.ema {
                write_tensors(&temporary.join("ema.safetensors"), &to_file(p, ema, ""))?;
            }
            let text = serde_json::to_string_pretty(&checkpoint.progress)
                .map_err(|e| Error::format(&temporary, e.to_string()))?;
            write_synced(&temporary.join("progress.json"), text.as_bytes())?;
            sync_dir(&temporary);
            if target.exists() {
                fs::remove_dir_all(&target).map_err(io(&target))?;
            }
            fs::rename(&temporary, &target).map_err(io(&target))?;
            sync_dir(&root);
            write_synced(&root.join("latest"), name.as_bytes())
        };
        if let Err(error) = write() {
            fs::remove_dir_all(&temporary).ok();
            return Err(error);
        }
        sync_dir(&root);
        self.prune(checkpoint.progress.step);
        self.remember(&name).map_err(io(&self.path.join(".lock")))
    }

    fn remember(&self, step: &str) -> std::io::Result<()> {
        let mut lock = &self.lock;
        lock.set_len(0)?;
        lock.seek(SeekFrom::Start(0))?;
        lock.write_all(step.as_bytes())
    }

    /// Refuses a run that had checkpoints and has none any more: going on would begin at 0 and overwrite what is left of it.
    fn never_saved(&self) -> Result<()> {
        let mut step = String::new();
        let mut lock = &self.lock;
        lock.seek(SeekFrom::Start(0)).ok();
        lock.read_to_string(&mut step).ok();
        let had = match step.trim().parse::<u64>() {
            Ok(step) => format!("the run had a checkpoint of step {step}"),
            Err(_) if self.path.join("model.safetensors").exists() => {
                "the run has weights".to_owned()
            }
            // A copy without its hidden files; where the lock is as the run left it, it never had a checkpoint.
            Err(_) if self.fresh && has_figures(&self.path) => "the run has figures".to_owned(),
            Err(_) => return Ok(()),
        };
        Err(Error::Usage(format!(
            "{}: has no checkpoint to go on from, though {had}; bring it back, or begin another run in another `folder`",
            self.checkpoints().display()
        )))
    }

    /// The checkpoints that are there, in words.
    fn others(&self, but: u64) -> String {
        let names = fs::read_dir(self.checkpoints())
            .into_iter()
            .flatten()
            .flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let other = |n: &String| n.parse::<u64>().is_ok_and(|step| step != but);
        let steps: Vec<String> = names.filter(other).collect();
        match steps.as_slice() {
            [] => "there is no other checkpoint".to_owned(),
            steps => format!(
                "there is {}: write that number into checkpoints/latest to go on from there",
                steps.join(", ")
            ),
        }
    }

    /// Removes checkpoints but the newest two, and what a killed process left unfinished.
    fn prune(&self, newest: u64) {
        let Ok(entries) = fs::read_dir(self.checkpoints()) else {
            return;
        };
        let mut steps: Vec<u64> = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.parse::<u64>() {
                Ok(step) if step <= newest => steps.push(step),
                Ok(_) => {}
                Err(_) if is_unfinished(&name) && entry.path().is_dir() => {
                    fs::remove_dir_all(entry.path()).ok();
                }
                Err(_) => {}
            }
        }
        steps.sort_unstable();
        let old = steps.len().saturating_sub(2);
        for step in &steps[..old] {
            fs::remove_dir_all(self.checkpoints().join(step.to_string())).ok();
        }
    }

    /// The checkpoint that `latest` points at, or `None` if no step was saved yet.
    ///
    /// # Errors
    /// When it is damaged or of another model.
    pub fn load(&self, layout: &Layout, ema: bool) -> Result<Option<Checkpoint>> {
        let pointer = self.checkpoints().join("latest");
        if !pointer.exists() {
            return self.never_saved().map(|()| None);
        }
        let text = read_text(&pointer)?;
        let Ok(step) = text.trim().parse::<u64>() else {
            return Err(Error::format(
                &pointer,
                format!("holds '{}', which is no step", text.escape_debug()),
            ));
        };
        let dir = self.checkpoints().join(step.to_string());
        if !dir.is_dir() {
            return Err(Error::format(
                &pointer,
                format!(
                    "names step {step}, of which there is no folder; {}",
                    self.others(step)
                ),
            ));
        }
        read_checkpoint(&dir, layout, ema)
            .map(Some)
            .map_err(|error| match error {
                Error::Format { path, message } => {
                    Error::format(path, format!("{message}; {}", self.others(step)))
                }
                Error::Io { path, source } => {
                    Error::format(path, format!("{source}; {}", self.others(step)))
                }
                other => other,
            })
    }
}

/// How unfinished checkpoints are called.
fn is_unfinished(name: &str) -> bool {
    let step = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".tmp"));
    step.is_some_and(|step| step.parse::<u64>().is_ok())
}

/// What in a folder without a configuration a training would write over.
fn left_of_a_run(folder: &Path) -> Option<&'static str> {
    const WRITTEN: [&str; 7] = [
        "metrics.jsonl",
        "checkpoints",
        "curves.svg",
        "unet",
        "scheduler",
        "generator.safetensors",
        "discriminator.safetensors",
    ];
    if found::any(folder, "model", &found::ENDINGS[..1]) {
        return Some("weights (model.safetensors)");
    }
    WRITTEN.into_iter().find(|name| folder.join(name).exists())
}

/// Whether a run has logged steps.
fn has_figures(folder: &Path) -> bool {
    super::metrics::read(&folder.join("metrics.jsonl")).is_ok_and(|records| !records.is_empty())
}

/// Reads the checkpoint in `dir`.
fn read_checkpoint(dir: &Path, layout: &Layout, ema: bool) -> Result<Checkpoint> {
    let tensors = |file: &str, prefix: &str| {
        let path = dir.join(file);
        from_file(&path, &read_tensors(&path)?, layout, prefix)
    };
    let path = dir.join("progress.json");
    let text = read_text(&path)?;
    Ok(Checkpoint {
        weights: tensors("model.safetensors", "")?,
        moments: [
            tensors("optimizer.safetensors", "moment1.")?,
            tensors("optimizer.safetensors", "moment2.")?,
        ],
        ema: if ema {
            Some(tensors("ema.safetensors", "")?)
        } else {
            None
        },
        progress: serde_json::from_str(&text).map_err(|e| Error::format(&path, e.to_string()))?,
    })
}

/// The step of the checkpoint that `latest` points at, if there is one.
pub(crate) fn newest_step(folder: &Path) -> Option<u64> {
    let pointer = folder.join("checkpoints").join("latest");
    read_text(&pointer).ok()?.trim().parse().ok()
}

/// Reads the `config.json` of a run folder, or makes one for a file of guided-diffusion's.
///
/// # Errors
/// When it is missing, malformed, or its sizes are absurd; when a file is none of those that were published.
pub fn read_config(folder: &Path) -> Result<Config> {
    if folder.is_file() {
        return super::guided_diffusion::read_config(folder);
    }
    if super::diffusers::is_pipeline(folder) {
        return super::diffusers::read_config(folder);
    }
    let path = folder.join("config.json");
    if !path.exists() {
        let inside = super::layouts::inside(folder).map_or(String::new(), |s| format!("; {s}"));
        return Err(Error::format(
            folder,
            format!("is no run folder: it has no config.json{inside}"),
        ));
    }
    let size = fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
    if size > 1 << 20 {
        return Err(Error::format(
            &path,
            format!("has {size} bytes; a configuration has a few hundred"),
        ));
    }
    config_from_text(&path, &read_text(&path)?)
}

/// As [`read_config`], from memory; `path` is for messages alone.
///
/// # Errors
/// As [`read_config`].
pub fn config_from_text(path: &Path, text: &str) -> Result<Config> {
    Config::from_text(text).map_err(|e| Error::format(path, e.to_string()))
}

/// Reads the best weights of a run folder, or of a file of guided-diffusion's: its moving average where it has one. Of a training that was stopped before its first end those
/// of its newest checkpoint, which the log says.
///
/// # Errors
/// When they are missing, damaged or of another model.
pub fn read_weights(folder: &Path, layout: &Layout) -> Result<Vec<Vec<f32>>> {
    if folder.is_file() {
        return found::file(folder.to_owned())?.fit(layout, |name| name);
    }
    if super::diffusers::is_pipeline(folder) {
        return super::diffusers::read_weights(folder, layout);
    }
    if found::any(folder, "model", &found::ENDINGS) {
        return found::read(folder, "model")?.fit(layout, |name| name);
    }
    let Some(step) = newest_step(folder) else {
        let lock = File::open(folder.join(".lock"));
        if lock
            .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
        {
            return Err(Error::format(
                folder,
                "is being trained, and has no checkpoint yet; wait for the first one",
            ));
        }
        if !folder.join("metrics.jsonl").exists() {
            return found::read(folder, "model")?.fit(layout, |name| name);
        }
        return Err(Error::format(
            folder,
            "has no model.safetensors, nor a checkpoint: its training was stopped before the first one, or they were removed; begin it again in \
             another folder",
        ));
    };
    let checkpoint = folder.join("checkpoints").join(step.to_string());
    let average = checkpoint.join("ema.safetensors");
    log::warn!(
        "{}: has no model.safetensors, which a training writes at its end; these are the {} of the checkpoint at step {step}; `resume` goes on \
         from there",
        folder.display(),
        if average.exists() {
            "averaged weights"
        } else {
            "weights"
        },
    );
    let path = match average.exists() {
        true => average,
        false => checkpoint.join("model.safetensors"),
    };
    from_file(&path, &read_tensors(&path)?, layout, "")
}
