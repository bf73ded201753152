//! What lies in a folder of pictures, before any is decoded: classes, parts, and what is no picture.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::kind::{self, ENDINGS, Kind};
use crate::data::report::{PassedOver, Reason};
use crate::error::{Error, Result};
use crate::nn::init::hash;

/// Names, in small letters, of folders that are parts of the data and no classes.
const TRAINING: &[&str] = &["train", "training", "trn"];
const TEST: &[&str] = &["test", "testing", "tst"];
const VALIDATION: &[&str] = &["val", "valid", "validation", "dev", "eval"];

/// What systems and programs leave in folders, in small letters.
const LEFT: &[&str] = &[
    "__macosx",
    "@eadir",
    "thumbs.db",
    "desktop.ini",
    "lost+found",
    "$recycle.bin",
    "system volume information",
    "__pycache__",
    r"icon\r",
];

/// Endings of copies that programs keep, and of downloads that have not ended.
const LEFT_ENDINGS: &[&str] = &[
    "~",
    ".bak",
    ".orig",
    ".part",
    ".partial",
    ".crdownload",
    ".download",
    ".tmp",
];

/// Words beside `train` or `test` in the name of a folder that is a part: `train_images`, `TestSet`.
const BESIDE: &[&str] = &[
    "image", "images", "img", "imgs", "pictures", "data", "dataset", "set", "split", "png", "jpg",
    "jpeg",
];

/// The word that makes a folder a part of the data by its name, if it has no other: `train` of `train`, `Train_Images`, `train2017`.
fn part_word(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphabetic());
    let mut words = words.filter(|w| !w.is_empty() && !BESIDE.contains(w));
    let word = words.next().filter(|_| words.next().is_none())?;
    let word = word.strip_suffix("set").unwrap_or(word);
    let known = [TRAINING, TEST, VALIDATION].concat();
    known.contains(&word).then(|| word.to_owned())
}

/// Pictures of a folder, of classes where it has folders.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The folder.
    pub(super) root: PathBuf,
    /// Files, class after class.
    pub(super) files: Vec<PathBuf>,
    /// The class of each file; empty where there are no classes.
    pub(super) labels: Vec<u32>,
    /// Names of classes that have pictures.
    pub(super) classes: Vec<String>,
    /// Folders that have none.
    pub(super) empty: Vec<String>,
    /// Folders with pictures in the only class.
    pub(super) inner: Vec<String>,
    passed: Passed,
}

/// What was passed over: how many and one of them, by reason.
#[derive(Debug, Default)]
struct Passed(BTreeMap<Reason, (usize, PathBuf)>);

impl Passed {
    fn add(&mut self, reason: Reason, path: &Path) {
        let entry = self.0.entry(reason);
        entry.or_insert_with(|| (0, path.to_owned())).0 += 1;
    }
}

/// A folder of pictures and its parts.
#[derive(Debug)]
pub(super) struct Folder {
    /// What is trained on, or all there is.
    pub(super) training: Tree,
    /// The folder of what is not, and its name, where there is one.
    pub(super) test: Option<(String, Tree)>,
    /// Other parts, which are not read.
    others: Vec<PathBuf>,
    /// Names of all parts and their pictures.
    pub(super) parts: Vec<(String, usize)>,
}

/// The name of a file or folder; bytes that are no text and characters that steer a terminal are spelt out, so that names that differ do.
fn name(path: &Path) -> String {
    let bytes = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut name = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                name.extend(c.escape_default());
            } else {
                name.push(c);
            }
        }
        name.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    name
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut paths = read
        .map(|e| e.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|e| Error::io(dir, e))?;
    paths.sort();
    Ok(paths)
}

/// Whether it is what systems and programs leave.
fn is_left(name: &str, path: &Path) -> bool {
    let lower = name.to_lowercase();
    let ends = || LEFT_ENDINGS.iter().any(|e| lower.ends_with(e));
    LEFT.contains(&lower.as_str()) || ends() && path.is_file()
}

/// What one folder holds, without what is passed over.
#[derive(Default)]
struct Level {
    pictures: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

fn level(dir: &Path, passed: &mut Passed) -> Result<Level> {
    let mut level = Level::default();
    for path in entries(dir)? {
        let name = name(&path);
        if name.starts_with('.') {
            passed.add(Reason::Hidden, &path);
        } else if is_left(&name, &path) {
            passed.add(Reason::System, &path);
        } else if path.is_dir() {
            level.folders.push(path);
        } else if path.is_file() {
            match kind::of_file(&path) {
                Kind::Picture => level.pictures.push(path),
                Kind::Unread => passed.add(Reason::OtherFormats, &path),
                Kind::Other => passed.add(Reason::OtherFiles, &path),
            }
        } else if ENDINGS
            .iter()
            .any(|e| name.to_lowercase().ends_with(&format!(".{e}")))
            && path.is_symlink()
        {
            // A link to nothing that has a picture's name is one that is missing.
            level.pictures.push(path);
        } else {
            passed.add(Reason::NoFiles, &path);
        }
    }
    Ok(level)
}

/// All pictures of a folder and of those in it; `above` are the folders that lead there, so that a link back is seen.
fn below(dir: &Path, above: &mut Vec<PathBuf>, passed: &mut Passed) -> Result<Vec<PathBuf>> {
    let here = fs::canonicalize(dir).map_err(|e| Error::io(dir, e))?;
    if above.contains(&here) {
        passed.add(Reason::Loops, dir);
        return Ok(Vec::new());
    }
    above.push(here);
    let level = level(dir, passed)?;
    let mut files = level.pictures;
    for folder in level.folders {
        files.extend(below(&folder, above, passed)?);
    }
    above.pop();
    files.sort();
    Ok(files)
}

/// What is to be done about pictures beside folders with pictures.
fn both(dir: &Path, pictures: usize, folders: &[(String, usize)]) -> Error {
    let (first, count) = &folders[0];
    let others = match folders.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    Error::format(
        dir,
        format!(
            "has {pictures} pictures beside the folder {first} ({count} pictures){others}: folders are classes, and these pictures \
             would have none; move them into a folder of their own, or the folders elsewhere, or name a folder alone ({})",
            dir.join(first).display()
        ),
    )
}

/// A folder as one part.
fn tree(root: &Path) -> Result<Tree> {
    let mut tree = Tree {
        root: root.to_owned(),
        ..Tree::default()
    };
    let here = fs::canonicalize(root).map_err(|e| Error::io(root, e))?;
    let mut above = vec![here];
    let top = level(root, &mut tree.passed)?;
    let mut found = Vec::new();
    for folder in top.folders {
        let loops = fs::canonicalize(&folder).is_ok_and(|f| above.contains(&f));
        let files = below(&folder, &mut above, &mut tree.passed)?;
        if !files.is_empty() {
            found.push((name(&folder), files));
        } else if !loops {
            tree.empty.push(name(&folder));
        }
    }
    if found.is_empty() {
        tree.files = top.pictures;
    } else if !top.pictures.is_empty() {
        let folders: Vec<_> = found.into_iter().map(|(n, f)| (n, f.len())).collect();
        return Err(both(root, top.pictures.len(), &folders));
    }
    for (class, files) in found {
        let label = tree.classes.len() as u32;
        tree.labels.extend(files.iter().map(|_| label));
        tree.files.extend(files);
        tree.classes.push(class);
    }
    Ok(tree)
}

/// The only one of `folders` that is the part of one of `names`.
fn part<'a>(folders: &'a [String], names: &[&str]) -> Option<&'a String> {
    let fits = |f: &&String| part_word(f).is_some_and(|word| names.contains(&word.as_str()));
    let mut named = folders.iter().filter(fits);
    named.next().filter(|_| named.next().is_none())
}

/// The parts of a folder by the names of its folders.
struct Parts<'a> {
    training: &'a String,
    /// What is not trained on, where there is such.
    test: Option<&'a String>,
}

impl<'a> Parts<'a> {
    /// Where all folders are named as parts; or one to train on and one to test on are, and what lies beside them (`unlabeled`, `extra`) is
    /// another part. `train` among other names is a class, as `car` is.
    fn of(dir: &Path, folders: &'a [String]) -> Result<Option<Self>> {
        let training = part(folders, TRAINING);
        let test = part(folders, TEST).or_else(|| part(folders, VALIDATION));
        let all = !folders.is_empty() && folders.iter().all(|f| part_word(f).is_some());
        match training {
            Some(training) if all || test.is_some() => Ok(Some(Self { training, test })),
            None if all => Err(Error::format(
                dir,
                format!(
                    "has {} but no train: which of them is to be trained on? Rename it, or name it alone ({})",
                    folders.join(", "),
                    dir.join(&folders[0]).display()
                ),
            )),
            _ => Ok(None),
        }
    }
}

impl Folder {
    /// Looks through a folder. Folders in it are classes, but where they are named as parts (`train`, `test`, `val`). The only folder in it
    /// may have the parts (what an archive unpacks to).
    pub(super) fn survey(dir: &Path) -> Result<Self> {
        if dir.is_file() {
            return Err(Error::format(
                dir,
                "is a file; images:DIR wants the folder that it lies in",
            ));
        }
        let mut whole = tree(dir)?;
        let Some(Parts { training, test }) = Parts::of(dir, &whole.classes)? else {
            if let [only] = whole.classes.as_slice() {
                let inner = dir.join(only);
                let folders = if inner.is_dir() {
                    tree(&inner)
                } else {
                    Ok(Tree::default())
                };
                // Pictures beside its folders are no fault of a class.
                whole.inner = folders.map(|t| t.classes).unwrap_or_default();
                if Parts::of(&inner, &whole.inner).is_ok_and(|parts| parts.is_some()) {
                    return Self::survey(&inner);
                }
            }
            return Ok(Self {
                training: whole,
                test: None,
                others: Vec::new(),
                parts: Vec::new(),
            });
        };
        let others = whole
            .classes
            .iter()
            .filter(|c| *c != training && Some(*c) != test);
        let others = others.map(|c| dir.join(c)).collect();
        let pictures = |part: usize| whole.labels.iter().filter(|&&l| l as usize == part).count();
        let parts = whole.classes.iter().enumerate();
        let parts = parts.map(|(i, c)| (c.clone(), pictures(i))).collect();
        let mut tree_of_training = tree(&dir.join(training))?;
        // What lies beside the parts belongs to no part.
        let of_parts = |path: &Path| whole.classes.iter().any(|c| path.starts_with(dir.join(c)));
        for (reason, (count, example)) in whole.passed.0 {
            if !of_parts(&example) {
                let entry = tree_of_training.passed.0.entry(reason);
                entry.or_insert((0, example)).0 += count;
            }
        }
        let mut tree_of_test = match test {
            Some(test) => Some((test.clone(), tree(&dir.join(test))?)),
            None => None,
        };
        if let Some((_, test)) = &mut tree_of_test {
            share_classes(&mut tree_of_training, test);
        }
        Ok(Self {
            training: tree_of_training,
            test: tree_of_test,
            others,
            parts,
        })
    }

    /// What is said of a tree: what was passed over, other parts among it.
    pub(super) fn passed_over(&self, tree: &Tree, root: &Path) -> Vec<PassedOver> {
        let shown = |path: &Path| {
            path.strip_prefix(root)
                .unwrap_or(path)
                .to_string_lossy()
                .into_owned()
        };
        let line = |(&reason, (count, example)): (&Reason, &(usize, PathBuf))| PassedOver {
            reason,
            count: *count,
            example: shown(example),
        };
        let mut lines: Vec<PassedOver> = tree.passed.0.iter().map(line).collect();
        if let Some(first) = self.others.first() {
            lines.push(PassedOver {
                reason: Reason::OtherParts,
                count: self.others.len(),
                example: shown(first),
            });
        }
        lines
    }

    /// A hash of the names and sizes of what training draws on.
    pub(super) fn fingerprint(&self) -> String {
        let mut bytes = Vec::new();
        for path in &self.training.files {
            bytes.extend(self.training.relative(path).as_bytes());
            let size = fs::metadata(path).map_or(0, |m| m.len());
            bytes.push(0);
            bytes.extend(size.to_le_bytes());
        }
        format!("{:016x}", hash(&bytes))
    }
}

impl Tree {
    /// The name of a file from the folder on, the same on every system.
    pub(super) fn relative(&self, path: &Path) -> String {
        let rest = path.strip_prefix(&self.root).unwrap_or(path);
        let parts: Vec<_> = rest
            .components()
            .map(|c| c.as_os_str().to_string_lossy())
            .collect();
        parts.join("/")
    }
}

/// Two parts with folders of classes have the classes of both, under the same numbers.
fn share_classes(a: &mut Tree, b: &mut Tree) {
    if a.classes.is_empty() || b.classes.is_empty() {
        return;
    }
    let mut all: Vec<String> = a.classes.iter().chain(&b.classes).cloned().collect();
    // As paths are sorted: by bytes.
    all.sort();
    all.dedup();
    for tree in [a, b] {
        let number = |old: &u32| {
            let name = &tree.classes[*old as usize];
            all.iter().position(|c| c == name).unwrap_or(0) as u32
        };
        tree.labels = tree.labels.iter().map(number).collect();
        tree.classes.clone_from(&all);
    }
}
