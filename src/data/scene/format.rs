//! In which of the forms that scenes have a folder is one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a scene is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `transforms_train.json` and its fellows.
    Blender,
    /// One `transforms.json`: instant-ngp, nerfstudio.
    Transforms,
    /// A sparse model of COLMAP, text or binary.
    Colmap,
    /// `poses_bounds.npy`.
    Llff,
}

impl Format {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 4] = [Self::Blender, Self::Transforms, Self::Llff, Self::Colmap];

    /// Its name, as options have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blender => "blender",
            Self::Transforms => "transforms",
            Self::Colmap => "colmap",
            Self::Llff => "llff",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::field("scene_format", format!("'{text}' must be one of {names}"))
        })
    }
}
