//! A batch of data as a model's graphs see it: examples gathered by index, their labels, rays of posed pictures.

use crate::data::scene::{CAMERA_FLOATS, Camera, Cameras, POSE_FLOATS, ROW_BYTES};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::camera_rays::RAY_FLOATS;
use crate::tensor::{DType, TensorType};

/// A data set as a model's graphs see it: rows of pixels or coordinates, by index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataType {
    /// Rows that are resident.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Their type.
    pub dtype: DType,
    /// Length of the list of indices.
    pub indices: usize,
    /// Factor that brings elements to the model's range.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
    /// Classes of the labels; 0 where there are none.
    pub classes: usize,
    /// Of rays: the cameras that they are of.
    pub cameras: Option<Cameras>,
}

/// The step's batch of rays.
#[derive(Clone, Copy, Debug)]
pub struct Rays<'g> {
    /// Their rows `[batch, 8]`, bytes 0 to 255 as f32: red, green, blue, alpha, the pixel's number.
    pub rows: Var<'g>,
    /// The poses of all views, `[views, 12]`: input `poses`.
    pub poses: Var<'g>,
    /// What cameras took them.
    pub taken: Taken<'g>,
    /// What is known of the views.
    pub cameras: Cameras,
}

/// What cameras took the pictures of views.
#[derive(Clone, Copy, Debug)]
pub enum Taken<'g> {
    /// One for all of them, a pinhole.
    ByOne(Camera),
    /// Each by its own: `[views, 16]`, as [`camera_rays::table`](crate::kernels::camera_rays::table) has them.
    ByEach(Var<'g>),
}

impl<'g> Taken<'g> {
    /// The rays of rows `[n, 8]` of views with these poses: origins, directions, and where each view has its camera the view's number behind them.
    pub fn rays(&self, rows: Var<'g>, poses: Var<'g>) -> Var<'g> {
        match self {
            Self::ByOne(camera) => rows.camera_rays(poses, camera),
            Self::ByEach(table) => rows.camera_rays_of(poses, *table),
        }
    }
}

impl DataType {
    /// The same in the range that a diffusion process sees: pixels from [0, 1] in [-1, 1], anything else as it is.
    pub(super) fn for_process(&self, pixels: bool) -> Self {
        if !pixels {
            return *self;
        }
        Self {
            scale: 2.0 * self.scale,
            shift: 2.0 * self.shift - 1.0,
            ..*self
        }
    }

    /// The step's batch `[batch, width]` in the model's range, gathered from inputs `data` and `index`.
    ///
    /// # Errors
    /// When the data has not `width` values an example, which `model` takes.
    pub fn batch<'g>(
        &self,
        graph: &'g Graph,
        model: &str,
        width: usize,
        batch: usize,
    ) -> Result<Var<'g>> {
        if self.cameras.is_some() {
            return Err(Error::Usage(format!(
                "{model}: the model takes pictures or points; the data is rays of posed pictures, which only models of radiance fields take"
            )));
        }
        if self.width != width {
            return Err(Error::Usage(format!(
                "{model}: the model takes {width} values an input, the data has {}",
                self.width
            )));
        }
        Ok(self.gathered(graph, batch))
    }

    /// The step's batch of rays, gathered from inputs `data` and `index`, and the poses of their views, input `poses`, and where these have different
    /// cameras or lenses, or are `numbered`, input `cameras`.
    ///
    /// # Errors
    /// When the data is no rays.
    pub fn rays<'g>(
        &self,
        graph: &'g Graph,
        model: &str,
        batch: usize,
        numbered: bool,
    ) -> Result<Rays<'g>> {
        let Some(cameras) = self.cameras.filter(|_| self.width == ROW_BYTES) else {
            return Err(Error::Usage(format!(
                "{model}: the model takes posed pictures (scene:DIR or analytic); the data has {} values an example and no cameras",
                self.width
            )));
        };
        let of_views =
            |name: &str, floats: usize| graph.input(name, TensorType::f32([cameras.count, floats]));
        Ok(Rays {
            rows: self.gathered(graph, batch),
            poses: of_views("poses", POSE_FLOATS),
            taken: match cameras.common {
                Some(camera) if !numbered => Taken::ByOne(camera),
                _ => Taken::ByEach(of_views("cameras", CAMERA_FLOATS)),
            },
            cameras,
        })
    }

    fn gathered<'g>(&self, graph: &'g Graph, batch: usize) -> Var<'g> {
        let ty = TensorType {
            shape: [self.rows, self.width].into(),
            dtype: self.dtype,
        };
        let index = graph.input("index", TensorType::u32([self.indices]));
        graph
            .input("data", ty)
            .gather_batch(index, batch, self.scale, self.shift)
    }

    /// The labels of the step's batch, `[batch, classes]`: 1 at the class, else 0. Input `labels` has a row an example.
    ///
    /// # Errors
    /// When the data has no labels, or not of `classes` classes.
    pub fn labels<'g>(
        &self,
        graph: &'g Graph,
        model: &str,
        classes: usize,
        batch: usize,
    ) -> Result<Var<'g>> {
        if self.classes != classes {
            let found = match self.classes {
                0 => "the data has no labels".to_owned(),
                n => format!("the data has {n} classes"),
            };
            return Err(Error::Usage(format!(
                "{model}: the model is conditional on {classes} classes, {found}"
            )));
        }
        let ty = TensorType {
            shape: [self.rows, classes].into(),
            dtype: DType::U8,
        };
        let index = graph.input("index", TensorType::u32([self.indices]));
        Ok(graph
            .input("labels", ty)
            .gather_batch(index, batch, 1.0, 0.0))
    }
}

impl<'g> Rays<'g> {
    /// Colours `[batch, 3]` in [0, 1], straight: not yet over anything.
    pub fn colours(&self) -> Var<'g> {
        self.rows.slice(1, 0, 3) * (1.0 / 255.0)
    }

    /// How opaque the pixels are, `[batch, 1]` in [0, 1].
    pub fn alpha(&self) -> Var<'g> {
        self.rows.slice(1, 3, 4) * (1.0 / 255.0)
    }

    /// Origins and directions `[batch, 6]`, as [`Var::camera_rays`] has them.
    pub fn rays(&self) -> Var<'g> {
        let rays = self.taken.rays(self.rows, self.poses);
        rays.slice(1, 0, RAY_FLOATS)
    }
}
