//! SPEC: how a data set is named on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::held_out::HeldOut;
use super::idx::{self, Part};
use super::report::{Loaded, Report, Used};
use super::toy::{self, Toy};
use super::{Dataset, digits, images, scene};
use crate::error::{Error, Result};

/// Where data comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// `digits` or `digits:COUNT`: drawn by the program.
    Digits(usize),
    /// `toy:NAME` or `toy:NAME:COUNT`: points in the plane.
    Toy(Toy, usize),
    /// `idx:DIR`: the MNIST family.
    Idx(PathBuf),
    /// `images:DIR`: a folder of images.
    Images(PathBuf),
    /// `scene:DIR`: posed pictures.
    Scene(PathBuf),
    /// `analytic` or `analytic:VIEWS`: a scene drawn by the program.
    Analytic(usize),
}

/// How many examples are drawn where SPEC does not say.
const DEFAULT_COUNT: usize = 20_000;

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let forms = "digits[:COUNT], toy:ring8|moons|swissroll[:COUNT], idx:DIR, images:DIR, scene:DIR or analytic[:VIEWS]";
        let wrong = |why: &str| {
            Err(Error::field(
                "data",
                format!("'{text}': {why}; it may be {forms}"),
            ))
        };
        let count = |part: Option<&str>| match part.map(str::parse::<usize>) {
            None => Ok(DEFAULT_COUNT),
            Some(Ok(n)) if (1..=10_000_000).contains(&n) => Ok(n),
            Some(_) => Err(Error::field(
                "data",
                format!("'{text}': the count must be from 1 to 10,000,000"),
            )),
        };
        let (kind, rest) = text
            .split_once(':')
            .map_or((text, None), |(k, r)| (k, Some(r)));
        match (kind, rest) {
            ("digits", rest) => Ok(Self::Digits(count(rest)?)),
            ("toy", Some(rest)) => {
                let (name, n) = rest
                    .split_once(':')
                    .map_or((rest, None), |(a, b)| (a, Some(b)));
                let toy = [Toy::Ring8, Toy::Moons, Toy::SwissRoll]
                    .into_iter()
                    .find(|t| t.name() == name);
                toy.map_or_else(
                    || wrong("there is no such toy"),
                    |toy| Ok(Self::Toy(toy, count(n)?)),
                )
            }
            ("idx", Some(dir)) if !dir.is_empty() => Ok(Self::Idx(dir.into())),
            ("images", Some(dir)) if !dir.is_empty() => Ok(Self::Images(dir.into())),
            ("scene", Some(dir)) if !dir.is_empty() => Ok(Self::Scene(dir.into())),
            ("analytic", rest) => match rest.map(str::parse::<usize>) {
                None => Ok(Self::Analytic(scene::analytic::VIEWS)),
                Some(Ok(views)) if (1..=10_000).contains(&views) => Ok(Self::Analytic(views)),
                Some(_) => wrong("the number of views must be from 1 to 10,000"),
            },
            _ => wrong("not understood"),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digits(n) => write!(f, "digits:{n}"),
            Self::Toy(toy, n) => write!(f, "toy:{}:{n}", toy.name()),
            Self::Idx(dir) => write!(f, "idx:{}", dir.display()),
            Self::Images(dir) => write!(f, "images:{}", dir.display()),
            Self::Scene(dir) => write!(f, "scene:{}", dir.display()),
            Self::Analytic(views) => write!(f, "analytic:{views}"),
        }
    }
}

impl Spec {
    /// Loads one part, as [`Spec::read`] does, without the report.
    ///
    /// # Errors
    /// As [`Spec::read`].
    pub fn load(&self, part: Part, options: &images::Options) -> Result<Dataset> {
        Ok(self.read(part, options)?.data)
    }

    /// Loads one part and says what was read and what was not. Drawn data has a seed of its own for each part; a folder of pictures has
    /// parts where folders of it are named so, or where `options` hold some back.
    ///
    /// # Errors
    /// When files are missing or malformed.
    pub fn read(&self, part: Part, options: &images::Options) -> Result<Loaded> {
        let training = part == Part::Training;
        let seed = if training { 1 } else { 2 };
        // A tenth is enough to evaluate on.
        let count = |n: usize| if training { n } else { n.div_ceil(10) };
        let data = match self {
            Self::Digits(n) => digits::digits(count(*n), seed),
            Self::Toy(toy, n) => toy::points(*toy, count(*n), seed),
            Self::Idx(dir) => idx::load(dir, part)?,
            Self::Images(dir) => return images::read(dir, part, options),
            Self::Scene(dir) => return scene::read(dir, part, options),
            Self::Analytic(views) => scene::analytic::dataset(count(*views), seed),
        };
        let used = match (self, training) {
            (_, true) => Used::Training,
            (Self::Idx(_), false) => Used::Part("t10k".to_owned()),
            _ => Used::Part("drawn by another seed".to_owned()),
        };
        let report = Report::of(&data, used);
        Ok(Loaded { data, report })
    }

    /// What is held out unless it is said otherwise: of a folder without a part of its own for that a tenth, from 50 pictures on.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn usually_held_out(&self) -> Result<HeldOut> {
        let Self::Images(dir) = self else {
            return Ok(HeldOut::default());
        };
        let (pictures, has_test) = images::count(dir)?;
        Ok(if has_test {
            HeldOut::default()
        } else {
            HeldOut::usual(pictures)
        })
    }
}
