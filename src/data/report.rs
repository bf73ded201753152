//! What was read: how many examples, which part of the data they are, of which classes, in which sizes, and what was passed over and why.
//! Plain numbers and names, for whoever wants to say them.
//!
//! ```
//! use wgen::data::{Spec, idx::Part, images::Options, report::{Reason, Used}};
//! # let dir = tempfile::tempdir().unwrap();
//! # std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
//!
//! image::GrayImage::from_pixel(8, 6, image::Luma([7])).save(dir.path().join("0.png")).unwrap();
//! let spec = Spec::Images(dir.path().to_owned());
//! let read = spec.read(Part::Training, &Options { size: Some(4), ..Options::default() })?;
//! assert_eq!((read.report.examples, read.report.used), (1, Used::All));
//! let pictures = read.report.pictures.unwrap();
//! assert_eq!((pictures.largest, pictures.grey, pictures.stretched), ([8, 6], 1, 1));
//! assert_eq!(read.report.passed_over[0].reason, Reason::OtherFiles);
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::Serialize;

use super::Dataset;
use super::scene::{Format, World};

/// Examples, and what is to be said of them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The examples.
    pub data: Dataset,
    /// What was read and what was not.
    pub report: Report,
}

/// What was read and what was not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Where it came from.
    pub source: String,
    /// Which part of the data it is.
    pub used: Used,
    /// Examples of that part.
    pub examples: usize,
    /// Examples of that part and of the one that it was split from.
    pub of: usize,
    /// Parts that a folder has by their names, and their pictures.
    pub parts: Vec<Class>,
    /// Classes with examples in that part, in the order of labels; empty without labels.
    pub classes: Vec<Class>,
    /// Folders of classes that have no pictures, and are therefore none.
    pub empty_folders: Vec<String>,
    /// Folders with pictures in the only class, which are no classes: perhaps that folder alone was meant.
    pub inner_folders: Vec<String>,
    /// Of a folder of pictures: what was in their files.
    pub pictures: Option<Pictures>,
    /// Of a scene: its views.
    pub posed: Option<Posed>,
    /// What was not read, a line a reason.
    pub passed_over: Vec<PassedOver>,
    /// Pictures that could not be decoded and were passed over: name and reason.
    pub broken: Vec<String>,
    /// Of a folder: a hash of the names and sizes of the files that training draws on, by which the folder is known again.
    pub folder: Option<String>,
}

/// A class and its examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How many there are.
    pub examples: usize,
}

/// Which part of the data was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Used {
    /// All that there is: no part is held out.
    All,
    /// The part to train on.
    Training,
    /// What was drawn from the same examples by this seed, and is kept away from training.
    HeldOut {
        /// The seed.
        seed: u64,
    },
    /// A part of its own: the files, folder or drawing of this name.
    Part(String),
}

impl Used {
    /// Whether these are examples that no training has seen.
    pub fn is_held_out(&self) -> bool {
        matches!(self, Self::HeldOut { .. } | Self::Part(_))
    }
}

/// What was in the files of pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pictures {
    /// Width and height of the smallest, by area, upright.
    pub smallest: [u32; 2],
    /// Width and height of the largest.
    pub largest: [u32; 2],
    /// Different sizes.
    pub sizes: usize,
    /// Pictures in colour.
    pub colour: usize,
    /// Pictures in grey.
    pub grey: usize,
    /// Pictures of which something is transparent: they were composed over the background.
    pub alpha: usize,
    /// Pictures that were turned as their camera's tag says.
    pub turned: usize,
    /// Oblong pictures that were stretched to a square.
    pub stretched: usize,
    /// Oblong pictures of which the square in the middle was taken.
    pub cropped: usize,
}

/// The views of a scene.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Posed {
    /// The format that they were read as; of a scene that the program draws none.
    pub format: Option<Format>,
    /// How many there are.
    pub views: usize,
    /// How many were listed.
    pub listed: usize,
    /// How many of the same list are kept away from training, where this is what is trained on.
    pub held_out: usize,
    /// Columns of the first view's picture.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Focal lengths of its camera along x and y, in pixels.
    pub focal: [f64; 2],
    /// Where its camera's axis meets the picture, in pixels from the left and the top.
    pub centre: [f64; 2],
    /// What it covers along x and y, in degrees.
    pub field_of_view: [f64; 2],
    /// Different cameras; where there are several, what follows are ranges.
    pub cameras: usize,
    /// Least and greatest width and height.
    pub sizes: [[usize; 2]; 2],
    /// Least and greatest focal length along x.
    pub focal_lengths: [f64; 2],
    /// Least and greatest field of view along x, in degrees.
    pub fields_of_view: [f64; 2],
    /// Views whose lens is undone, of them fisheyes.
    pub lenses: [usize; 2],
    /// How many are transparent anywhere.
    pub transparent: usize,
    /// Views with a mask.
    pub masks: usize,
    /// Pixels that are no rays: masked ones, and those for which a lens cannot be undone.
    pub left_out: u64,
    /// Pictures that were turned as their camera's tag says.
    pub turned: usize,
    /// Pictures that were left as they are stored, though it says otherwise.
    pub not_turned: usize,
    /// How many times smaller pictures were made along each side.
    pub smaller: u32,
    /// Least, mean and greatest distance of the cameras from the origin, in the world's units.
    pub distances: [f64; 3],
    /// From the world of the files to that of the views.
    pub world: World,
    /// Half the side of the box that the files suggest.
    pub half_side: Option<f64>,
    /// Nearest and farthest depth that the files say.
    pub bounds: Option<[f64; 2]>,
    /// Pictures that are listed and not there.
    pub missing: usize,
    /// The first three of their names.
    pub missing_names: Vec<String>,
    /// What else is to be said of the files.
    pub notes: Vec<String>,
}

/// Why something was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Hidden files and folders: their names begin with a dot.
    Hidden,
    /// What systems and programs leave: `__MACOSX`, `Thumbs.db`, `@eaDir`.
    System,
    /// Files that are no pictures.
    OtherFiles,
    /// Pictures of formats that are not read.
    OtherFormats,
    /// Links that lead back to a folder above.
    Loops,
    /// Neither file nor folder, or a link to nothing.
    NoFiles,
    /// Folders that are parts of the data, but not this one.
    OtherParts,
}

/// What was not read for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Why.
    pub reason: Reason,
    /// How many files or folders.
    pub count: usize,
    /// One of them, from the folder on.
    pub example: String,
}

impl Report {
    /// Of data that is no folder of pictures.
    pub(super) fn of(data: &Dataset, used: Used) -> Self {
        Self {
            source: data.name.clone(),
            used,
            examples: data.rows(),
            of: data.rows(),
            parts: Vec::new(),
            classes: data.class_counts(),
            empty_folders: Vec::new(),
            inner_folders: Vec::new(),
            pictures: None,
            posed: data.views.as_ref().map(|views| Posed::of(views)),
            passed_over: Vec::new(),
            broken: Vec::new(),
            folder: None,
        }
    }

    /// Names of classes without an example in this part.
    pub fn without_examples(&self) -> Vec<&str> {
        let none = self.classes.iter().filter(|c| c.examples == 0);
        none.map(|c| c.name.as_str()).collect()
    }
}
