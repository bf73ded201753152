//! What everybody who goes through all models reads of each: the command line, configurations, `verify`, `bench`, the tests. An [`Entry`]
//! is a model's name, how it is read from a configuration, the steps that are verified and those that are timed.
//!
//! ```
//! use wgen::kernels::Caps;
//! use wgen::models;
//!
//! for entry in models::ALL {
//!     for case in (entry.cases)(&Caps::portable(), true)? {
//!         println!("{}: {} is verified", entry.name, case.name);
//!         assert_eq!(case.model.name(), entry.name);
//!     }
//!     for usual in (entry.usual)()? {
//!         println!("{} is timed with batches of {}", usual.name, usual.batch);
//!         let again = (entry.from_json)(usual.model.options())?;
//!         assert_eq!(again.parameters(), usual.model.parameters());
//!     }
//! }
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::batch::DataType;
use super::model::Model;
use crate::data::digits::digits;
use crate::data::scene::{CAMERA_FLOATS, Cameras, POSE_FLOATS, ROW_BYTES, analytic};
use crate::error::{Error, Result};
use crate::graph::update::{Rule, Update};
use crate::kernels::Caps;
use crate::program::PlanOptions;
use crate::tensor::{DType, Data, ImageShape, Value};

/// A model's entry in [`ALL`](super::ALL).
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name on the command line and in `config.json`.
    pub name: &'static str,
    /// The model, from its part of a `config.json` without the name.
    pub from_json: fn(Json) -> Result<Arc<dyn Model>>,
    /// Steps of small models that `verify` runs on a device of these capabilities; `true` for a few minutes' worth.
    pub cases: fn(&Caps, bool) -> Result<Vec<Case>>,
    /// The model in its usual size: what `bench` times.
    pub usual: fn() -> Result<Vec<Usual>>,
    /// Models whose kernels neither of these has: larger pictures, longer rows, other heads. Nothing runs them here; GPUs' compilers see
    /// them, as all of [`programs`](super::programs).
    pub further: fn() -> Result<Vec<Usual>>,
}

/// For models whose cases and usual sizes have all of their kernels.
pub(super) fn nothing_further() -> Result<Vec<Usual>> {
    Ok(Vec::new())
}

/// A training step that is verified.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The model, of 28x28 grey images of ten classes ([`CLASSES`]), or of rays.
    pub model: Arc<dyn Model>,
    /// Which of its updates.
    pub phase: usize,
    /// Examples.
    pub batch: usize,
    /// The optimiser.
    pub rule: Rule,
    /// Gradients are scaled down to this norm; 0 for never.
    pub max_norm: f32,
    /// How its plan is compiled.
    pub options: PlanOptions,
    /// Whether it is a run of the model's sampler, for `batch` samples, in place of an update.
    pub samples: bool,
}

impl Case {
    /// The first update with Adam, compiled as usual.
    pub fn new(name: impl Into<String>, model: impl Model + 'static, batch: usize) -> Self {
        Self::of(name, Arc::new(model), batch)
    }

    /// The same of a model that is shared.
    pub fn of(name: impl Into<String>, model: Arc<dyn Model>, batch: usize) -> Self {
        Self {
            name: name.into(),
            model,
            phase: 0,
            batch,
            rule: Rule::ADAM,
            max_norm: 0.0,
            options: PlanOptions::default(),
            samples: false,
        }
    }

    /// A run of the model's sampler.
    pub fn sampling(name: impl Into<String>, model: impl Model + 'static, count: usize) -> Self {
        Self {
            samples: true,
            ..Self::new(name, model, count)
        }
    }
}

impl Case {
    /// The kernels after its gradients, with a moving average.
    pub fn update(&self) -> Update {
        let phase = self.model.phases().swap_remove(self.phase);
        Update {
            rule: self.rule,
            max_norm: self.max_norm,
            ema: true,
            metrics: phase.metrics,
            set: phase.set,
            takes_data: phase.takes_data,
            batch: self.batch,
            loss_scale: self.options.half,
        }
    }
}

/// Examples that need no files: what models of [`Case`]s and [`Usual`] steps learn.
#[derive(Debug)]
pub struct Examples {
    /// What graphs have to know of them.
    pub data: DataType,
    /// Inputs but `index`, those that a graph does not read among them.
    pub inputs: Vec<(&'static str, Value)>,
}

impl Examples {
    /// `rows` drawn digits with their classes; of a radiance field as many rays through the scene that the program draws.
    ///
    /// # Errors
    /// When there are fewer rays than that.
    pub fn of(model: &dyn Model, rows: usize) -> Result<Self> {
        let data = Self::data_type(model, rows);
        let Some(cameras) = data.cameras else {
            let digits = digits(rows, 7);
            let labels = Data::U8(digits.one_hot(CLASSES)?);
            return Ok(Self {
                data,
                inputs: vec![
                    ("data", Value::new([rows, IMAGE.count()], digits.values)?),
                    ("labels", Value::new([rows, CLASSES], labels)?),
                ],
            });
        };
        let scene = analytic::dataset(cameras.count, 7);
        // A stride that meets objects, edges and what is beside them in all views.
        let all = scene.rows();
        let chosen: Vec<usize> = (0..rows).map(|i| i * 7919 % all).collect();
        let of_views = |floats: usize, values| Value::f32([cameras.count, floats], values);
        let rays = scene.select(&chosen).values;
        Ok(Self {
            data,
            inputs: vec![
                ("data", Value::new([rows, ROW_BYTES], rays)?),
                ("poses", of_views(POSE_FLOATS, scene.poses())?),
                ("cameras", of_views(CAMERA_FLOATS, scene.cameras())?),
            ],
        })
    }

    /// What graphs have to know of them; of a model of other pictures, as many values an example.
    pub fn data_type(model: &dyn Model, rows: usize) -> DataType {
        let cameras = model.camera().map(|camera| Cameras {
            common: Some(camera),
            count: 3,
            pixels: 3 * camera.pixels() as u64,
            alpha: true,
        });
        let rays = cameras.is_some();
        DataType {
            rows,
            width: if rays { ROW_BYTES } else { model.width() },
            dtype: DType::U8,
            indices: rows,
            scale: if rays { 1.0 } else { 1.0 / 255.0 },
            shift: 0.0,
            classes: if rays { 0 } else { CLASSES },
            cameras,
        }
    }
}

/// A step that is timed.
#[derive(Clone, Debug)]
pub struct Usual {
    /// The model's name, and the update's where it has several.
    pub name: &'static str,
    /// What its samples are called in a report.
    pub title: &'static str,
    /// The model, of 28x28 grey images of ten classes.
    pub model: Arc<dyn Model>,
    /// Which of its updates.
    pub phase: usize,
    /// Examples.
    pub batch: usize,
    /// A larger batch that the step is timed with too, in f32 and in f16.
    pub large: Option<usize>,
    /// Numbers of samples that its sampler is timed with.
    pub samples: &'static [usize],
}

impl Usual {
    /// The first update of a model.
    pub fn new(name: &'static str, model: impl Model + 'static, batch: usize) -> Self {
        Self {
            name,
            title: name,
            model: Arc::new(model),
            phase: 0,
            batch,
            large: None,
            samples: &[],
        }
    }
}

/// What models of [`Case`]s and [`Usual`] steps are of: 28x28 grey images.
pub(crate) const IMAGE: ImageShape = ImageShape {
    height: 28,
    width: 28,
    channels: 1,
};

/// What models beside those are of: colour pictures of this side.
pub(crate) const fn colour(side: usize) -> ImageShape {
    ImageShape {
        height: side,
        width: side,
        channels: 3,
    }
}

/// Classes of those images: the drawn digits'.
pub const CLASSES: usize = 10;

/// A model built from options that are parsed as its configuration.
pub(super) fn built<C: DeserializeOwned, M: Model + 'static>(
    json: Json,
    build: impl Fn(C) -> Result<M>,
) -> Result<Arc<dyn Model>> {
    let config =
        serde_json::from_value(json).map_err(|e| Error::Usage(format!("model: malformed: {e}")))?;
    Ok(Arc::new(build(config)?))
}

/// A model's options for [`Model::options`].
pub(super) fn options<C: serde::Serialize>(config: &C) -> Json {
    serde_json::to_value(config).unwrap_or_default()
}
