//! The models: each builds its graphs, names its parameters, and reads like its paper. What all of them have in common is the trait
//! [`Model`], and [`ALL`] is the only list of them.
//!
//! A model is built from its configuration, which is also what stands in a run's `config.json`:
//!
//! ```
//! use wgen::models::vae::{Config, Vae};
//! use wgen::models::{self, Model};
//!
//! let vae = Vae::new(Config { latent: 8, ..Config::mnist() })?;
//! let json = models::to_json(&vae);
//! assert_eq!((&json["name"], &json["latent"]), (&"vae".into(), &8.into()));
//!
//! let again = models::from_json(&json)?;
//! assert_eq!(again.parameters(), vae.parameters());
//! let error = models::find("vea").unwrap_err();
//! assert!(error.to_string().contains("there is vae, ae, sparse-ae"), "{error}");
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::error::{Error, Result};

pub mod autoencoder;
mod batch;
pub mod classifier;
pub mod codes;
pub mod diffusion;
pub mod gan;
mod model;
pub mod nerf;
pub mod noised_classifier;
pub mod programs;
pub mod published;
pub mod registry;
pub mod vae;

pub use batch::{DataType, Rays, Taken};
pub use model::{Extent, Figures, Model, Phase};
pub use registry::Entry;

/// All models.
pub const ALL: &[Entry] = &[
    vae::ENTRY,
    autoencoder::ENTRY,
    autoencoder::sparse::ENTRY,
    autoencoder::contractive::ENTRY,
    classifier::ENTRY,
    gan::ENTRY,
    diffusion::ENTRY,
    nerf::vanilla::ENTRY,
    nerf::ngp::ENTRY,
    noised_classifier::ENTRY,
];

/// The entry of the model called `name`. Names with `_` for `-`, which configurations of before have, are found too.
///
/// # Errors
/// When there is none, saying which there are.
pub fn find(name: &str) -> Result<&'static Entry> {
    let wanted = name.replace('_', "-");
    ALL.iter().find(|e| e.name == wanted).ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        Error::Usage(format!(
            "there is no model '{name}'; there is {}",
            known.join(", ")
        ))
    })
}

/// A model from its part of a `config.json`: its name and its options.
///
/// # Errors
/// When there is no such model, an option is unknown or missing, or the model cannot be built.
pub fn from_json(json: &Json) -> Result<Arc<dyn Model>> {
    let Some(mut fields) = json.as_object().cloned() else {
        return Err(Error::Usage("model must be an object".to_owned()));
    };
    let Some(Json::String(name)) = fields.remove("name") else {
        return Err(Error::Usage("model has no name".to_owned()));
    };
    (find(&name)?.from_json)(Json::Object(fields))
}

/// A model as [`from_json`] takes it.
pub fn to_json(model: &dyn Model) -> Json {
    let mut fields = Map::from_iter([("name".to_owned(), Json::from(model.name()))]);
    if let Json::Object(options) = model.options() {
        fields.extend(options);
    }
    Json::Object(fields)
}
