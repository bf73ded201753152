//! A folder of pictures as a data set: turned upright, without alpha, brought to one size where that is asked for, in grey or RGB. Folders
//! in it are its classes (with all that lies below them), or, named `train`, `test` or `val`, its parts.
//!
//! ```
//! use wgen::data::images::{Options, load};
//! # let dir = tempfile::tempdir().unwrap();
//!
//! for (class, grey) in [("dark", 20), ("light", 230)] {
//!     let folder = dir.path().join(class);
//!     std::fs::create_dir(&folder).unwrap();
//!     image::GrayImage::from_pixel(8, 8, image::Luma([grey])).save(folder.join("0.png")).unwrap();
//! }
//! let data = load(dir.path(), &Options { size: Some(4), grey: true, ..Options::default() })?;
//! assert_eq!((data.rows(), data.shape.count()), (2, 4 * 4));
//! assert_eq!((data.classes, data.labels), (vec!["dark".to_owned(), "light".to_owned()], Some(vec![0, 1])));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::held_out::{HeldOut, choose};
use super::idx::Part;
use super::report::{Class, Loaded, Pictures, Reason, Report, Used};
use super::scene::Format;
use super::{Dataset, ImageShape};
use crate::error::{Error, Result};
use crate::tensor::Data;

mod decode;
mod folder;
mod gif;
mod jpeg;
mod kind;
mod orientation;
mod pixels;
mod png;

pub(super) use decode::Head;
use decode::{
    Picture, Room, Stored, decode, read as read_picture, read_grey, read_head, read_straight,
};
use folder::{Folder, Tree};

/// How pictures are read, and which of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Resize to a square of this many pixels; `None` wants all pictures to have one size already. Oblong ones are stretched, or with `crop`
    /// cut.
    pub size: Option<u32>,
    /// Grey instead of RGB: Rec. 601, as Pillow computes it.
    pub grey: bool,
    /// Take the largest square in the middle first.
    pub crop: bool,
    /// What transparent pictures are composed over.
    pub background: Background,
    /// Pass over pictures that cannot be decoded, instead of refusing the folder.
    pub skip_broken: bool,
    /// What is kept away from training, where the folder has no part of its own for that.
    pub held_out: HeldOut,
    /// The seed that it is drawn by.
    pub held_out_seed: u64,
    /// Of a scene: what its own format's scale is multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene_scale: Option<f64>,
    /// Of a scene: how many times smaller pictures are made along each side, intrinsics with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene_downscale: Option<u32>,
    /// Of a scene: which of several formats is read that lie in its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene_format: Option<Format>,
}

/// A colour behind transparent pictures: `white`, `black` or `RRGGBB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Background(pub [u8; 3]);

impl Default for Background {
    /// White.
    fn default() -> Self {
        Self([255; 3])
    }
}

impl FromStr for Background {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim_start_matches('#').to_lowercase();
        let hex = match lower.as_str() {
            "white" => "ffffff",
            "black" => "000000",
            other => other,
        };
        match u32::from_str_radix(hex, 16) {
            Ok(word) if hex.len() == 6 && !hex.starts_with('+') => {
                let [_, r, g, b] = word.to_be_bytes();
                Ok(Self([r, g, b]))
            }
            _ => Err(Error::field(
                "background",
                format!("'{text}' must be white, black or six hexadecimal digits, as ff8000"),
            )),
        }
    }
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [255, 255, 255] => f.write_str("white"),
            [0, 0, 0] => f.write_str("black"),
            [r, g, b] => write!(f, "{r:02x}{g:02x}{b:02x}"),
        }
    }
}

impl TryFrom<String> for Background {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Background> for String {
    fn from(background: Background) -> Self {
        background.to_string()
    }
}

/// A hash of the names and sizes of the files that training draws on, by which a folder is known again wherever it lies.
///
/// # Errors
/// When the folder cannot be read.
pub fn fingerprint(dir: &Path) -> Result<String> {
    Ok(Folder::survey(dir)?.fingerprint())
}

/// Pictures that are read at a time.
pub(super) const AT_A_TIME: usize = 256;

/// Width, height and straight RGBA of a picture in 8 bits.
type Straight = ((u32, u32), Vec<u8>);

/// Decodes some pictures with their alpha, each turned as its camera's tag says or as it is stored, all `smaller` times smaller.
pub(super) fn straight(pictures: &[(&Path, bool)], smaller: u32) -> Vec<Result<Straight>> {
    let room = Room::default();
    let one = |(path, turned): &(&Path, bool)| read_straight(path, *turned, smaller, &room);
    pictures.par_iter().map(one).collect()
}

/// How large pictures are. None is decoded.
pub(super) fn heads(paths: &[&Path]) -> Vec<Result<Head>> {
    paths.par_iter().map(|path| read_head(path)).collect()
}

/// Width, height and values of a picture as it is stored, in grey of 8 bits: a mask.
pub(super) fn grey(path: &Path) -> Result<Straight> {
    read_grey(path, &Room::default())
}

/// Whether a file has the ending of a picture that is read.
pub(super) fn has_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str());
    ending.is_some_and(|e| kind::ENDINGS.contains(&e.to_lowercase().as_str()))
}

/// Reads the part to train on, as [`read`] does, without the report.
///
/// # Errors
/// As [`read`].
pub fn load(dir: &Path, options: &Options) -> Result<Dataset> {
    Ok(read(dir, Part::Training, options)?.data)
}

/// How many pictures there are to be trained on, held-out ones included, and whether the folder has a part for those itself. None is decoded.
///
/// # Errors
/// When the folder cannot be read, or has pictures beside folders of pictures.
pub fn count(dir: &Path) -> Result<(usize, bool)> {
    let folder = Folder::survey(dir)?;
    Ok((folder.training.files.len(), folder.test.is_some()))
}

/// Reads one part of a folder. What is no picture is passed over and reported, and so are hidden files and what systems leave.
///
/// The part to test on is the folder's own (`test`, else `val`), or what `held_out` keeps away from training; where there is neither, it is
/// all pictures, which the report says.
///
/// # Errors
/// When there is no picture, one cannot be decoded, sizes are mixed and no `size` is given, or pictures lie beside folders of pictures.
pub fn read(dir: &Path, part: Part, options: &Options) -> Result<Loaded> {
    if options.size.is_some_and(|s| s == 0 || s > 4096) {
        let message = format!("{} must be from 1 to 4096", options.size.unwrap_or(0));
        return Err(Error::field("size", message));
    }
    let folder = Folder::survey(dir)?;
    let (tree, chosen, used) = chosen(&folder, part, options)?;
    if tree.files.is_empty() {
        return Err(none(dir, &folder, tree));
    }
    let files: Vec<&PathBuf> = chosen.iter().map(|&i| &tree.files[i]).collect();
    let pictures = decoded(dir, &files, options)?;
    let kept = |i: &usize| tree.labels[chosen[*i]];
    let labelled = !tree.classes.is_empty();
    let data = Dataset {
        name: format!("images:{}", dir.display()),
        shape: pictures.shape,
        values: Data::U8(pictures.values),
        labels: labelled.then(|| pictures.kept.iter().map(kept).collect()),
        classes: tree.classes.clone(),
        views: None,
    };
    let mut report = Report::of(&data, used);
    report.of = match report.used {
        Used::Part(_) => report.examples,
        _ => tree.files.len(),
    };
    report.parts = (folder.parts.iter().cloned())
        .map(|(name, examples)| Class { name, examples })
        .collect();
    report.empty_folders.clone_from(&tree.empty);
    report.inner_folders.clone_from(&tree.inner);
    report.pictures = Some(summary(&pictures.stored, options));
    report.passed_over = folder.passed_over(tree, dir);
    report.broken = pictures.broken;
    report.folder = Some(folder.fingerprint());
    Ok(Loaded { data, report })
}

/// The files of a part: whose they are, which, and what part that is.
fn chosen<'a>(
    folder: &'a Folder,
    part: Part,
    options: &Options,
) -> Result<(&'a Tree, Vec<usize>, Used)> {
    let all = |tree: &Tree| (0..tree.files.len()).collect();
    let tree = &folder.training;
    match (&folder.test, part) {
        (Some((name, tree)), Part::Test) => return Ok((tree, all(tree), Used::Part(name.clone()))),
        (Some(_), Part::Training) => return Ok((tree, all(tree), Used::Training)),
        _ => {}
    }
    let count = options.held_out.of(tree.files.len())?;
    if count == 0 {
        return Ok((tree, all(tree), Used::All));
    }
    let names: Vec<String> = tree.files.iter().map(|f| tree.relative(f)).collect();
    let classes = if tree.labels.is_empty() {
        vec![0; names.len()]
    } else {
        tree.labels.clone()
    };
    let seed = options.held_out_seed;
    let held = choose(&names, &classes, count, seed);
    let wanted = part == Part::Test;
    let chosen = (0..names.len()).filter(|&i| held[i] == wanted).collect();
    let used = if wanted {
        Used::HeldOut { seed }
    } else {
        Used::Training
    };
    Ok((tree, chosen, used))
}

/// What is said of a folder without pictures.
fn none(dir: &Path, folder: &Folder, tree: &Tree) -> Error {
    let passed = folder.passed_over(tree, dir);
    let found: Vec<String> = passed
        .iter()
        .map(|p| {
            let more = match p.count {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let why = if p.reason == Reason::OtherFormats {
                ", of a format that is not read: convert it to PNG or JPEG"
            } else {
                ""
            };
            format!("{}{more}{why}", p.example)
        })
        .collect();
    let found = if found.is_empty() {
        String::new()
    } else {
        format!("; what lies there: {}", found.join(", "))
    };
    Error::format(
        &tree.root,
        format!("has no images (PNG, JPEG, GIF, BMP, WebP), directly or in subfolders{found}"),
    )
}

/// Pictures of one size.
struct Decoded {
    shape: ImageShape,
    values: Vec<u8>,
    /// What was in their files.
    stored: Vec<Stored>,
    /// Their places among the files.
    kept: Vec<usize>,
    /// What could not be decoded.
    broken: Vec<String>,
}

fn decoded(dir: &Path, files: &[&PathBuf], options: &Options) -> Result<Decoded> {
    let room = Room::default();
    let mut all = Decoded {
        shape: ImageShape {
            height: 0,
            width: 0,
            channels: 0,
        },
        values: Vec::new(),
        stored: Vec::new(),
        kept: Vec::new(),
        broken: Vec::new(),
    };
    for (start, some) in (0..).step_by(AT_A_TIME).zip(files.chunks(AT_A_TIME)) {
        let read: Vec<Result<Picture>> = some
            .par_iter()
            .map(|path| read_picture(path, options, &room))
            .collect();
        for (i, picture) in read.into_iter().enumerate() {
            let picture = match picture {
                Ok(picture) => picture,
                Err(error) if options.skip_broken => {
                    all.broken.push(error.to_string());
                    continue;
                }
                Err(error) => {
                    return Err(Error::Usage(format!(
                        "{error}; `skip_broken` passes over what cannot be decoded"
                    )));
                }
            };
            if let Some(&first) = all.kept.first() {
                same_size(
                    dir,
                    (files[first], all.shape),
                    (files[start + i], picture.shape),
                )?;
            } else {
                all.shape = picture.shape;
                all.values
                    .reserve(picture.bytes.len().saturating_mul(files.len()).min(1 << 34));
            }
            all.values.extend(picture.bytes);
            all.stored.push(picture.stored);
            all.kept.push(start + i);
        }
    }
    match (all.kept.is_empty(), all.broken.first()) {
        (true, Some(first)) => Err(Error::Usage(format!(
            "none of the {} pictures of {} can be decoded; the first: {first}",
            all.broken.len(),
            dir.display()
        ))),
        _ => Ok(all),
    }
}

fn same_size(
    dir: &Path,
    (first, shape): (&PathBuf, ImageShape),
    (name, other): (&PathBuf, ImageShape),
) -> Result<()> {
    if shape == other {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{}: images have mixed sizes: {} is {} x {}, {} is {} x {}; give `size`",
        dir.display(),
        first.display(),
        shape.width,
        shape.height,
        name.display(),
        other.width,
        other.height
    )))
}

fn summary(stored: &[Stored], options: &Options) -> Pictures {
    let area = |s: &&Stored| u64::from(s.size.0) * u64::from(s.size.1);
    let size = |s: Option<&Stored>| s.map_or([0, 0], |s| [s.size.0, s.size.1]);
    let count = |of: &dyn Fn(&Stored) -> bool| stored.iter().filter(|s| of(s)).count();
    let oblong = count(&|s| s.size.0 != s.size.1);
    Pictures {
        smallest: size(stored.iter().min_by_key(area)),
        largest: size(stored.iter().max_by_key(area)),
        sizes: stored.iter().map(|s| s.size).collect::<BTreeSet<_>>().len(),
        colour: count(&|s| s.colour),
        grey: count(&|s| !s.colour),
        alpha: count(&|s| s.alpha),
        turned: count(&|s| s.turned),
        stretched: if options.size.is_some() && !options.crop {
            oblong
        } else {
            0
        },
        cropped: if options.crop { oblong } else { 0 },
    }
}

/// Decodes one picture from memory to its shape and NHWC bytes; `path` is for messages alone.
///
/// # Errors
/// When it cannot be decoded, is cut short, or claims to be larger than its bytes could make it.
pub fn from_bytes(path: &Path, bytes: &[u8], options: &Options) -> Result<(ImageShape, Vec<u8>)> {
    let picture = decode(path, bytes, options, &Room::default())?;
    Ok((picture.shape, picture.bytes))
}
