//! Which of its formats a scene's folder has, and what is listed there.

use std::path::Path;

use super::format::Format;
use super::listed::{Listed, Which};
use super::{colmap, llff, transforms};
use crate::data::images::Options;
use crate::error::{Error, Result};

/// The formats that a folder has files of, in the order in which they are taken.
fn formats(dir: &Path) -> Vec<Format> {
    let is_there = |name: &str| dir.join(name).is_file();
    let has = |format: &Format| match format {
        Format::Blender => ["train", "test", "val"]
            .iter()
            .any(|part| is_there(&format!("transforms_{part}.json"))),
        Format::Transforms => is_there("transforms.json"),
        Format::Llff => is_there("poses_bounds.npy"),
        Format::Colmap => !colmap::folders(dir).is_empty(),
    };
    let mut found: Vec<Format> = Format::ALL.into_iter().filter(has).collect();
    // Held-out views alone are no scene where there is another list.
    if found.len() > 1 && !is_there("transforms_train.json") {
        found.retain(|format| *format != Format::Blender);
    }
    found
}

/// What the files of `dir` list of a part, in their own format's world.
///
/// # Errors
/// When there are none, or they are malformed.
pub(super) fn list(
    dir: &Path,
    which: Which,
    options: &Options,
    with_points: bool,
) -> Result<Listed> {
    if dir.is_file() {
        return Err(Error::format(
            dir,
            "is a file; scene:DIR wants the folder that transforms_train.json, or another list of its pictures, lies in",
        ));
    }
    std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let there = formats(dir);
    let chosen = match options.scene_format {
        Some(format) if there.contains(&format) => format,
        Some(format) => {
            let names: Vec<&str> = there.iter().map(|f| f.name()).collect();
            let names = if names.is_empty() {
                "none that is known".to_owned()
            } else {
                names.join(", ")
            };
            let message = format!("{format}: {} has no such files, but {names}", dir.display());
            return Err(Error::field("scene_format", message));
        }
        None => *there.first().ok_or_else(|| {
            Error::format(
                dir,
                "has no transforms_train.json (Blender), no transforms.json (instant-ngp, nerfstudio), no poses_bounds.npy (LLFF), and neither in it \
                 nor in sparse, sparse/0 or colmap/sparse/0 cameras and images of COLMAP (.bin or .txt)",
            )
        })?,
    };
    let mut listed = match chosen {
        Format::Blender => transforms::blender(dir, which)?,
        Format::Transforms => transforms::one_list(dir, which)?,
        Format::Llff => llff::list(dir, which)?,
        Format::Colmap => colmap::list(dir, which, with_points)?,
    };
    let others: Vec<&str> = there
        .iter()
        .filter(|f| **f != chosen)
        .map(|f| f.name())
        .collect();
    if !others.is_empty() && options.scene_format.is_none() {
        listed.notes.push(format!(
            "it is read as {chosen}; it could also be read as {} (`scene_format`)",
            others.join(" or ")
        ));
    }
    if let Some(by) = options.scene_scale {
        listed.scale(by)?;
    }
    Ok(listed)
}
