//! Files that a command writes: looked at before any work is done for them, then written as their endings say. `-` is standard output.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::common::Output;
use crate::data::Spec;
use crate::error::{Error, Result};
use crate::files::weights::{self, Tensors};
use crate::files::{check_writable, same_file_key, write_synced};
use crate::report::grid::{self, Format};
use crate::report::mesh::{self, Mesh};

/// What is written, which says what a name may end in.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Picture,
    Animation,
    Tensors,
    Mesh,
    /// JSON, a page: any ending.
    Text,
}

/// The files of a command, by the options that name them.
#[derive(Default)]
pub(super) struct Outputs<'a> {
    files: Vec<(&'static str, &'a Path, Content)>,
    /// What is read, and must not be written over.
    inputs: Vec<(&'static str, &'a Path)>,
    run: Option<&'a Path>,
    data: Option<&'a Spec>,
}

impl<'a> Outputs<'a> {
    pub(super) fn file(mut self, flag: &'static str, path: &'a Path, content: Content) -> Self {
        self.files.push((flag, path, content));
        self
    }

    pub(super) fn optional(
        self,
        flag: &'static str,
        path: Option<&'a PathBuf>,
        content: Content,
    ) -> Self {
        match path {
            Some(path) => self.file(flag, path, content),
            None => self,
        }
    }

    /// A file that the command reads.
    pub(super) fn input(mut self, flag: &'static str, path: Option<&'a PathBuf>) -> Self {
        self.inputs.extend(path.map(|path| (flag, path.as_path())));
        self
    }

    /// Files that the command reads.
    pub(super) fn inputs(mut self, flag: &'static str, paths: &'a [PathBuf]) -> Self {
        self.inputs
            .extend(paths.iter().map(|path| (flag, path.as_path())));
        self
    }

    /// The folder of the run that the command reads.
    pub(super) fn of_run(mut self, folder: &'a Path) -> Self {
        self.run = Some(folder);
        self
    }

    /// The data that the command reads.
    pub(super) fn of_data(mut self, data: Option<&'a Spec>) -> Self {
        self.data = data;
        self
    }

    /// Looks at all of it and says where words go: away from standard output where that has a file.
    ///
    /// # Errors
    /// When a file could not be written, or something would be lost by it.
    pub(super) fn check(&self, output: &Output) -> Result<Output> {
        let mut seen: Vec<(&str, Option<PathBuf>)> = Vec::new();
        let mut streamed = None;
        for (flag, path, content) in &self.files {
            check_ending(flag, path, *content)?;
            if is_stdout(path) {
                if output.json {
                    return Err(Error::Usage(format!(
                        "{flag} {}: standard output has the result of --json; give {flag} a file",
                        path.display()
                    )));
                }
                if let Some(other) = streamed.replace(flag) {
                    return Err(Error::Usage(format!(
                        "{other} and {flag} cannot both go to standard output; give one of them a file"
                    )));
                }
                continue;
            }
            check_writable(path)?;
            if has_stdout(path) {
                return Err(Error::Usage(format!(
                    "{flag} and standard output are one file, {}; what is said would be lost",
                    path.display()
                )));
            }
            let key = same_file_key(path);
            if let Some((other, _)) = seen.iter().find(|(_, k)| k.is_some() && *k == key) {
                return Err(Error::Usage(format!(
                    "{other} and {flag} are one file, {}; the second would overwrite the first",
                    path.display()
                )));
            }
            if let Some(key) = &key {
                self.check_inputs(flag, path, key)?;
            }
            seen.push((flag, key));
        }
        Ok(output.beside_a_file(streamed.is_some()))
    }

    /// Refuses to write over what the command reads.
    fn check_inputs(&self, flag: &str, path: &Path, key: &Path) -> Result<()> {
        let refuse = |why: String| Err(Error::Usage(format!("{flag} {}: {why}", path.display())));
        for (input, read) in &self.inputs {
            if same_file_key(read).is_some_and(|read| read == key) {
                return refuse(format!("is the file that {input} reads"));
            }
        }
        if let Some(folder) = self.run
            && is_of_run(folder, key)
        {
            return refuse(format!("is part of the run in {}", folder.display()));
        }
        match self.data {
            Some(Spec::Images(folder)) if is_inside(folder, key) => refuse(format!(
                "lies in the folder of --data, {}, and would be read as one of its pictures",
                folder.display()
            )),
            Some(Spec::Idx(folder)) if key.exists() && is_inside(folder, key) && is_idx(key) => {
                refuse("is a file of --data".to_owned())
            }
            // Only what is listed is read of a scene, so that a new file in it does no harm.
            Some(Spec::Scene(folder)) if key.exists() && is_inside(folder, key) => refuse(format!(
                "is there already, in the folder of --data, {}",
                folder.display()
            )),
            _ => Ok(()),
        }
    }
}

/// Refuses a folder to write that is none, or would be among the pictures that are read.
pub(super) fn check_folder(path: &Path, data: Option<&Spec>) -> Result<()> {
    if path == OsStr::new("-") {
        return Err(Error::Usage(
            "--out -: standard output takes one file, and this writes a folder; give its name (./- for a folder of that name)"
                .to_owned(),
        ));
    }
    if path.exists() && !path.is_dir() {
        return Err(Error::io(path, ErrorKind::NotADirectory.into()));
    }
    // The folder itself, or the nearest one above it that there is.
    let nearest = path.ancestors().find(|p| p.exists());
    let nearest = nearest.unwrap_or(Path::new("."));
    tempfile::tempfile_in(nearest).map_err(|e| Error::io(path, e))?;
    if let Some(Spec::Images(folder)) = data
        && let (Ok(near), Ok(data)) = (
            std::fs::canonicalize(nearest),
            std::fs::canonicalize(folder),
        )
        && near.starts_with(&data)
    {
        return Err(Error::Usage(format!(
            "--out {}: lies in the folder of --data, {}, and its pictures would be read as data",
            path.display(),
            folder.display()
        )));
    }
    Ok(())
}

fn is_inside(folder: &Path, key: &Path) -> bool {
    std::fs::canonicalize(folder).is_ok_and(|folder| key.starts_with(folder))
}

fn is_idx(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains("idx1") || name.contains("idx3") || name.ends_with(".gz")
}

/// Whether a path is of a file that the run needs, or that its training keeps.
fn is_of_run(folder: &Path, key: &Path) -> bool {
    let Ok(folder) = std::fs::canonicalize(folder) else {
        return false;
    };
    // A file of weights that is opened as it is.
    if key == folder {
        return true;
    }
    let Ok(inside) = key.strip_prefix(&folder) else {
        return false;
    };
    let first = inside.components().next();
    let first = first.map(|c| c.as_os_str().to_string_lossy().into_owned());
    let first = first.unwrap_or_default();
    if inside.components().count() > 1 {
        return ["checkpoints", "unet", "scheduler"].contains(&first.as_str());
    }
    let own = [
        "config.json",
        "model.safetensors",
        "model_index.json",
        "metrics.jsonl",
        "judged.jsonl",
        "curves.svg",
        ".lock",
    ];
    let part = || {
        let config = crate::files::folder::read_config(&folder).ok();
        let parts = config.map(|c| c.model.parts().to_vec()).unwrap_or_default();
        parts.iter().any(|p| first == format!("{p}.safetensors"))
    };
    own.contains(&first.as_str()) || part()
}

/// Whether a path is standard output.
fn is_stdout(path: &Path) -> bool {
    let unix = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
    path == OsStr::new("-") || cfg!(unix) && unix.iter().any(|p| path == Path::new(p))
}

/// Whether standard output was redirected into this very file.
#[cfg(unix)]
fn has_stdout(path: &Path) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let said = stdout.and_then(|fd| std::fs::File::from(fd).metadata());
    match (said, std::fs::metadata(path)) {
        // /dev/fd/1 is written to and not replaced: nothing is lost.
        (Ok(a), Ok(b)) => {
            let replaced = a.is_file() && !path.starts_with("/dev") && !path.starts_with("/proc");
            replaced && (a.dev(), a.ino()) == (b.dev(), b.ino())
        }
        _ => false,
    }
}

#[cfg(not(unix))]
fn has_stdout(_: &Path) -> bool {
    false
}

fn check_ending(flag: &str, path: &Path, content: Content) -> Result<()> {
    let wanted = match content {
        Content::Picture => return Format::of(path).map(drop),
        Content::Mesh => return mesh::Format::of(path).map(drop),
        Content::Text => return Ok(()),
        Content::Animation => ("animations are written as GIF", "gif"),
        Content::Tensors => ("tensors are written as safetensors", "safetensors"),
    };
    let ending = path.extension().unwrap_or_default();
    if ending.is_empty() || ending.eq_ignore_ascii_case(wanted.1) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{flag} {}: {}, not as .{}; end its name in .{}",
        path.display(),
        wanted.0,
        ending.display(),
        wanted.1
    )))
}

/// A file in words.
pub(super) fn name(path: &Path) -> String {
    match is_stdout(path) {
        true => "standard output".to_owned(),
        false => path.display().to_string(),
    }
}

/// A picture's file in words, with its format where its name does not say it.
pub(super) fn shown(path: &Path) -> String {
    match path.extension().unwrap_or_default().is_empty() {
        true => format!("{}, as PNG", name(path)),
        false => name(path),
    }
}

/// Refuses a picture of more pixels than its format has, before it is drawn.
pub(super) fn check_size(path: &Path, size: (usize, usize)) -> Result<()> {
    Format::of(path)?.check(size)
}

pub(super) fn write_picture(path: &Path, picture: &image::RgbImage) -> Result<()> {
    write(path, &Format::of(path)?.encode(picture)?)
}

/// Pictures as an animation, `milliseconds` each.
pub(super) fn write_animation(
    path: &Path,
    frames: &[image::RgbImage],
    milliseconds: u32,
) -> Result<()> {
    write(path, &grid::gif(frames, milliseconds)?)
}

pub(super) fn write_mesh(path: &Path, mesh: &Mesh) -> Result<()> {
    write(path, &mesh::Format::of(path)?.encode(mesh)?)
}

pub(super) fn write_tensors(path: &Path, tensors: &Tensors) -> Result<()> {
    write(path, &weights::tensors_to_bytes(path, tensors)?)
}

/// Writes a file, or to standard output.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if !is_stdout(path) {
        return write_synced(path, bytes);
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // Who reads has read enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| Error::io("standard output", e)),
    }
}
