//! Where in a folder a model's weights lie, and their fit to the model: one file, a variant of it, or shards under an index, with the names
//! that wrappers of PyTorch give.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::format::{Tensor, decode};
use super::weights::{Tensors, from_file};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;

const ENDING: &str = ".safetensors";

/// Tensors as files have them, and the file that messages name.
pub(super) struct Found {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

/// The weights `stem` of a folder: `stem.safetensors`; where `stem.safetensors.index.json` is with all its shards, those, which is diffusers'
/// order too; else the one file that has a variant between, as in `stem.fp16.safetensors`.
///
/// # Errors
/// When there are none, saying what is there; when it is not clear which are meant; when a file is damaged.
pub(super) fn read(folder: &Path, stem: &str) -> Result<Found> {
    let names = names(folder, stem)?;
    let single = format!("{stem}{ENDING}");
    let indices: Vec<&String> = names.iter().filter(|n| is_index(n)).collect();
    let whole = format!("{single}.index.json");
    if names.contains(&whole) {
        let index = Index::read(&folder.join(&whole))?;
        if index.missing(folder).is_empty() || !names.contains(&single) {
            return shards(folder, &whole);
        }
    }
    if names.contains(&single) {
        return file(folder.join(single));
    }
    let shard = |name: &String| name.contains("-of-");
    let variants: Vec<&String> = names
        .iter()
        .filter(|n| n.ends_with(ENDING) && !shard(n))
        .chain(indices)
        .collect();
    match variants[..] {
        [one] => {
            log::warn!("{}: there is no {single}; {one} is read", folder.display());
            if is_index(one) {
                shards(folder, one)
            } else {
                file(folder.join(one))
            }
        }
        [] => Err(none(folder, &single, &names)),
        _ => {
            let several: Vec<&str> = variants.iter().map(|n| n.as_str()).collect();
            Err(Error::format(
                folder,
                format!(
                    "has no {single}, but {}; rename the one that is meant",
                    several.join(", ")
                ),
            ))
        }
    }
}

/// Whether a folder has weights `stem`, in whatever form.
pub(super) fn any(folder: &Path, stem: &str) -> bool {
    names(folder, stem).is_ok_and(|names| names.iter().any(|name| name.contains(ENDING)))
}

/// Files whose names begin with `stem` and a point or the hyphen of a shard.
fn names(folder: &Path, stem: &str) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let names = entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let rest = name.strip_prefix(stem);
            rest.is_some_and(|rest| rest.starts_with(['.', '-']))
        })
        .collect();
    Ok(names)
}

/// Variants stand before or after: `stem.fp16.safetensors.index.json`, or diffusers' `stem.safetensors.index.fp16.json`.
fn is_index(name: &str) -> bool {
    name.contains(".safetensors.index.") && name.ends_with(".json")
}

fn none(folder: &Path, single: &str, names: &BTreeSet<String>) -> Error {
    let pickle = |name: &&String| {
        let ending = Path::new(name.as_str()).extension();
        ending.is_some_and(|e| ["bin", "pt", "pth", "ckpt"].contains(&e.to_string_lossy().as_ref()))
    };
    if let Some(pickle) = names.iter().find(pickle) {
        return Error::format(
            folder.join(pickle),
            "is a PyTorch pickle, which may run code when it is loaded; load it in diffusers and save it with save_pretrained(folder, \
             safe_serialization=True), or save its state_dict with safetensors.torch.save_file",
        );
    }
    if folder.join(single).is_symlink() {
        // The cache of the Hugging Face Hub is made of links, and not all of it may have been copied.
        return Error::format(folder.join(single), "is a link to a file that is not there");
    }
    let shard = names.iter().find(|name| name.contains("-of-"));
    Error::format(
        folder,
        match shard {
            Some(shard) => format!(
                "has no {single}; {shard} is one of several, whose index {single}.index.json is missing"
            ),
            None => format!("has no {single}{}", others(folder, single)),
        },
    )
}

/// What else in a folder may be weights, in words that go on from what is not there: other programs have other names for them.
fn others(folder: &Path, single: &str) -> String {
    const ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut others: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let ending = Path::new(name).extension();
            ending.is_some_and(|e| ENDINGS.iter().any(|known| e == *known))
        })
        .collect();
    others.sort_unstable();
    match others.as_slice() {
        [] => String::new(),
        [one] if one.ends_with(ENDING) => {
            format!("; there is {one}: name it {single} if these are the model's weights")
        }
        some => format!("; there is {}", some.join(", ")),
    }
}

fn file(path: PathBuf) -> Result<Found> {
    let data = fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let tensors = decode(&path, &data)?;
    Ok(Found { path, tensors })
}

/// What of an index matters: the file of each tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let text = super::read_text(path)?;
        let index: Self = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| Error::format(path, format!("is no index of shards: {e}")))?;
        // A file beside it and nowhere else.
        let beside = |name: &&String| {
            let mut parts = Path::new(name.as_str()).components();
            !matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            )
        };
        match index.weight_map.values().find(beside) {
            Some(name) => Err(Error::format(
                path,
                format!("names '{name}', which is no file beside it"),
            )),
            None => Ok(index),
        }
    }

    fn files(&self) -> BTreeSet<&String> {
        self.weight_map.values().collect()
    }

    fn missing(&self, folder: &Path) -> Vec<&String> {
        let gone = |name: &&String| !folder.join(name.as_str()).is_file();
        self.files().into_iter().filter(gone).collect()
    }
}

fn shards(folder: &Path, index_name: &str) -> Result<Found> {
    let path = folder.join(index_name);
    let index = Index::read(&path)?;
    let wrong = |why: String| Err(Error::format(&path, why));
    if let [first, ..] = index.missing(folder)[..] {
        return wrong(format!(
            "names {} files, of which {} are missing, {first} first; put all of them beside it",
            index.files().len(),
            index.missing(folder).len()
        ));
    }
    let mut tensors = BTreeMap::new();
    for name in index.files() {
        for (tensor, value) in file(folder.join(name))?.tensors {
            // What the index does not speak of is there too, as in diffusers.
            if index.weight_map.get(&tensor).is_some_and(|own| own != name) {
                continue;
            }
            if tensors.insert(tensor.clone(), value).is_some() {
                return wrong(format!("has files that both hold tensor '{tensor}'"));
            }
        }
    }
    let lost = index
        .weight_map
        .iter()
        .find(|(n, _)| !tensors.contains_key(*n));
    match lost {
        Some((tensor, name)) => wrong(format!(
            "says that tensor '{tensor}' is in {name}, which does not have it"
        )),
        None => Ok(Found { path, tensors }),
    }
}

/// A name without what PyTorch's wrappers put before it: `module.` (`DataParallel`, `AveragedModel`) and `_orig_mod.` (`torch.compile`), the
/// latter also of a part.
fn bare(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = ["_orig_mod.", "module."]
        .iter()
        .find_map(|wrapper| name.strip_prefix(wrapper))
    {
        name = rest;
    }
    name.replace("._orig_mod.", ".")
}

impl Found {
    /// The weights in the layout's order, as they lie on the device; `today` gives a tensor's name of now for one of before.
    ///
    /// Tensors beside the model's that are no weights, being empty or of whole numbers (counters of steps), are passed over with a word.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen, superfluous, of a type that is none of floats, or not finite.
    pub(super) fn fit(
        self,
        layout: &Layout,
        today: impl Fn(String) -> String,
    ) -> Result<Vec<Vec<f32>>> {
        let (path, mut floats) = (self.path, Tensors::new());
        let mut passed = Vec::new();
        for (name, tensor) in self.tensors {
            let own = |name: &str| layout.find(name).is_some();
            let known = if own(&name) {
                name.clone()
            } else {
                today(bare(&name))
            };
            match tensor {
                Tensor::Other(_) if !own(&known) => {
                    passed.push(name);
                    continue;
                }
                Tensor::Floats(_, values) if values.is_empty() && !own(&known) => {
                    passed.push(name);
                    continue;
                }
                tensor => {
                    let tensor = tensor.floats(&path, &name)?;
                    if floats.insert(known.clone(), tensor).is_some() {
                        return Err(Error::format(
                            path,
                            format!("holds tensor '{known}' twice, also as '{name}'"),
                        ));
                    }
                }
            }
        }
        if !passed.is_empty() {
            log::warn!(
                "{}: tensors that are no weights are passed over: {}",
                path.display(),
                passed.join(", ")
            );
        }
        from_file(&path, &floats, layout, "")
    }
}
