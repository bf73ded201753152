//! Where in a folder a model's weights lie, and their fit to the model: one file, a variant of it, or shards under an index, with the names
//! that wrappers of PyTorch give.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::stored::Stored;
use super::weights::{check_finite, check_names};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;

/// What files of weights are called. What is in one its content says: many a `.bin` is a safetensors file.
pub(super) const ENDINGS: [&str; 6] = [SAFETENSORS, ".bin", ".pt", ".pth", ".ckpt", ".tar"];
const SAFETENSORS: &str = ".safetensors";

/// The files of a model's weights, and the one that messages name. Values are read when they are fitted to the model.
pub(super) struct Found {
    path: PathBuf,
    files: Vec<Stored<'static>>,
    /// The tensors by name, and which of the files has each.
    tensors: BTreeMap<String, usize>,
}

/// The weights `stem` of a folder: `stem.safetensors`; where `stem.safetensors.index.json` is with all its shards, those, which is diffusers'
/// order too; else the one file that has a variant between, as in `stem.fp16.safetensors`. Where there is nothing of the kind, the same of what
/// `torch.save` wrote: `stem.bin`, `stem.pt`, `stem.pth`, `stem.ckpt` or `stem.tar`.
///
/// # Errors
/// When there are none, saying what is there; when it is not clear which are meant; when a file is damaged.
pub(super) fn read(folder: &Path, stem: &str) -> Result<Found> {
    let names = names(folder, stem)?;
    let single = format!("{stem}{SAFETENSORS}");
    let (safetensors, pickles) = ENDINGS.split_at(1);
    for endings in [safetensors, pickles] {
        let plain = endings.iter().map(|e| plain(folder, stem, e, &names));
        let plain: Vec<String> = plain.filter_map(Result::transpose).collect::<Result<_>>()?;
        let variants: Vec<&str> = match plain.is_empty() {
            true => names
                .iter()
                .filter(|n| is_variant(n, endings))
                .map(|n| n.as_str())
                .collect(),
            false => Vec::new(),
        };
        match (&plain[..], &variants[..]) {
            ([], []) => {}
            ([one], _) => return open(folder, one, endings),
            ([], [one]) => {
                log::warn!("{}: there is no {single}; {one} is read", folder.display());
                return open(folder, one, endings);
            }
            (plain, variants) => {
                let several: Vec<&str> = plain
                    .iter()
                    .map(|n| &n[..])
                    .chain(variants.iter().copied())
                    .collect();
                return Err(Error::format(
                    folder,
                    format!(
                        "has no {single}, but {}; rename the one that is meant",
                        several.join(", ")
                    ),
                ));
            }
        }
    }
    Err(none(folder, &single, &names))
}

/// The file of weights `stem` that has no variant in its name: the index of shards where all of them are there, or no single file is.
fn plain(
    folder: &Path,
    stem: &str,
    ending: &str,
    names: &BTreeSet<String>,
) -> Result<Option<String>> {
    let single = format!("{stem}{ending}");
    let index = format!("{single}.index.json");
    let alone = names.contains(&single);
    if names.contains(&index)
        && (!alone
            || Index::read(&folder.join(&index))?
                .missing(folder)
                .is_empty())
    {
        return Ok(Some(index));
    }
    Ok(alone.then_some(single))
}

/// Whether a name of [`names`] may be that of a variant.
fn is_variant(name: &str, endings: &[&str]) -> bool {
    let whole = endings.iter().any(|ending| name.ends_with(ending));
    is_index(name, endings) || whole && !name.contains("-of-")
}

fn open(folder: &Path, name: &str, endings: &[&str]) -> Result<Found> {
    if is_index(name, endings) {
        shards(folder, name)
    } else {
        file(folder.join(name))
    }
}

/// Whether a folder has weights `stem` under one of these endings, in whatever form.
pub(super) fn any(folder: &Path, stem: &str, endings: &[&str]) -> bool {
    let is_one =
        |name: &String| is_index(name, endings) || endings.iter().any(|e| name.ends_with(e));
    names(folder, stem).is_ok_and(|names| names.iter().any(is_one))
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
fn is_index(name: &str, endings: &[&str]) -> bool {
    let index = |ending: &&str| name.contains(&format!("{ending}.index."));
    name.ends_with(".json") && endings.iter().any(index)
}

fn none(folder: &Path, single: &str, names: &BTreeSet<String>) -> Error {
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
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut others: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)))
        .collect();
    others.sort_unstable();
    match others.as_slice() {
        [] => String::new(),
        [one] if one.ends_with(SAFETENSORS) => {
            format!("; there is {one}: name it {single} if these are the model's weights")
        }
        some => format!("; there is {}", some.join(", ")),
    }
}

/// One file, whatever it is called.
pub(super) fn file(path: PathBuf) -> Result<Found> {
    let file = Stored::open(&path)?;
    let tensors = file.table().keys().map(|name| (name.clone(), 0)).collect();
    Ok(Found {
        path,
        files: vec![file],
        tensors,
    })
}

/// Which of the files, and under which name there.
type Place = (usize, String);

/// Tensors of a file whose names and shapes were checked.
pub(super) struct Values {
    path: PathBuf,
    files: Vec<Stored<'static>>,
    /// By the model's names.
    places: BTreeMap<String, Place>,
}

impl Values {
    /// The values of a tensor of the model's, as files have them.
    ///
    /// # Errors
    /// When they cannot be read, or one is no number.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let Some((file, there)) = self.places.get(name) else {
            return Err(Error::format(&self.path, format!("has no tensor '{name}'")));
        };
        let values = self.files[*file].floats(there)?;
        check_finite(&self.path, there, &values)?;
        Ok(values)
    }
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
    let mut files = Vec::new();
    for name in index.files() {
        let file = Stored::open(&folder.join(name))?;
        for tensor in file.table().keys() {
            // What the index does not speak of is there too, as in diffusers.
            if index.weight_map.get(tensor).is_some_and(|own| own != name) {
                continue;
            }
            if tensors.insert(tensor.clone(), files.len()).is_some() {
                return wrong(format!("has files that both hold tensor '{tensor}'"));
            }
        }
        files.push(file);
    }
    let lost = index
        .weight_map
        .iter()
        .find(|(n, _)| !tensors.contains_key(*n));
    match lost {
        Some((tensor, name)) => wrong(format!(
            "says that tensor '{tensor}' is in {name}, which does not have it"
        )),
        None => Ok(Found {
            path,
            files,
            tensors,
        }),
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
    /// The tensors by the model's names, and which file has each under which name: names as they are where `own` says they are the model's, else
    /// without wrappers and as `today` has them. Others that are no weights, being empty or of whole numbers (counters of steps), are passed over,
    /// and their names are given too.
    ///
    /// # Errors
    /// When two have one name, or one of the model's is none of floats.
    fn places(
        &self,
        own: impl Fn(&str) -> bool,
        today: impl Fn(String) -> String,
    ) -> Result<(BTreeMap<String, Place>, Vec<&str>)> {
        let mut places = BTreeMap::new();
        let mut passed = Vec::new();
        for (name, &file) in &self.tensors {
            let now = match own(name) {
                true => name.clone(),
                false => today(bare(name)),
            };
            let entry = &self.files[file].table()[name];
            let floats = entry.holds_floats(name);
            if !own(&now) && (!floats || entry.count() == 0) {
                passed.push(&name[..]);
            } else if !floats {
                return Err(Error::format(&self.path, entry.no_floats(name)));
            } else if places.insert(now.clone(), (file, name.clone())).is_some() {
                let why = format!("holds tensor '{now}' twice, also as '{name}'");
                return Err(Error::format(&self.path, why));
            }
        }
        Ok((places, passed))
    }

    /// Shapes of the tensors that are weights, by their names without wrappers.
    ///
    /// # Errors
    /// When two have one name.
    pub(super) fn shapes(&self) -> Result<BTreeMap<String, Vec<usize>>> {
        let (places, _) = self.places(|_| false, |name| name)?;
        let shape = |(file, name): Place| self.files[file].table()[&name].shape.clone();
        let each = places.into_iter();
        Ok(each.map(|(now, place)| (now, shape(place))).collect())
    }

    /// The same where it is a layout's, to be read one tensor at a time; `today` gives a tensor's name of now for one of before.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen, superfluous, or of a type that is none of floats.
    pub(super) fn checked(
        self,
        layout: &Layout,
        today: impl Fn(String) -> String,
    ) -> Result<Values> {
        let own = |name: &str| layout.find(name).is_some();
        let (places, passed) = self.places(own, today)?;
        if !passed.is_empty() {
            log::warn!(
                "{}: tensors that are no weights are passed over: {}",
                self.path.display(),
                passed.join(", ")
            );
        }
        let shapes = places.iter().map(|(now, (file, name))| {
            let entry = &self.files[*file].table()[name];
            (&now[..], &entry.shape[..])
        });
        check_names(&self.path, &shapes.collect(), layout, "")?;
        Ok(Values {
            path: self.path,
            files: self.files,
            places,
        })
    }

    /// The weights in the layout's order, as they lie on the device.
    ///
    /// # Errors
    /// As [`Found::checked`], and when a value is not finite.
    pub(super) fn fit(
        self,
        layout: &Layout,
        today: impl Fn(String) -> String,
    ) -> Result<Vec<Vec<f32>>> {
        let mut values = self.checked(layout, today)?;
        let each = layout.parameters.iter();
        each.map(|p| Ok(p.from_border(&values.read(&p.name)?)))
            .collect()
    }
}
