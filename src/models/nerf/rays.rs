//! What both kinds of NeRF share: rays of a batch or a view, what they should see, what lies behind the scene.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::camera::Camera;
use crate::kernels::camera_rays::{CAMERA_FLOATS, POSE_FLOATS, RAY_FLOATS};
use crate::kernels::functions::Distribution;
use crate::models::batch::{DataType, Taken};
use crate::models::model::Figures;
use crate::tensor::{DType, TensorType, Value};

/// What lies behind the scene, where pictures are transparent and rays end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Background {
    /// White.
    #[default]
    White,
    /// Black.
    Black,
    /// In training another colour behind each ray, the same behind picture and prediction, so that only density explains what is opaque;
    /// white in views.
    Random,
}

impl Background {
    /// What views have behind them: a name and a colour.
    pub fn of_views(self) -> (&'static str, [u8; 3]) {
        match self {
            Self::Black => ("black", [0; 3]),
            Self::White | Self::Random => ("white", [255; 3]),
        }
    }
}

/// How rays are made of pixels.
pub(super) struct View {
    /// The camera that the model was made for, a pinhole.
    pub(super) camera: Camera,
    pub(super) background: Background,
    /// The near plane, where rays are wanted in normalised device coordinates: that camera's, whichever takes the picture.
    pub(super) ndc: Option<f64>,
    /// Whether the field goes on behind the scene, so that opaque pictures may have anything behind them.
    pub(super) surrounds: bool,
    /// Whether the rays of a batch are to know the numbers of their views.
    pub(super) numbered: bool,
}

/// Where pixels were seen from.
#[derive(Clone, Copy)]
struct Seen<'g> {
    /// The pixels' rows: `[R, 8]`.
    rows: Var<'g>,
    /// The views' poses: `[V, 12]`.
    poses: Var<'g>,
    /// Their cameras.
    taken: Taken<'g>,
}

/// Rays.
pub(super) struct Rays<'g> {
    /// How many.
    pub(super) count: usize,
    /// Where they begin: `[R, 3]`.
    pub(super) origin: Var<'g>,
    /// Per unit of depth: `[R, 3]`, not of unit length.
    pub(super) direction: Var<'g>,
    /// Its length: `[R, 1]`.
    pub(super) length: Var<'g>,
    /// The direction in the world, of unit length: `[R, 3]`.
    pub(super) view: Var<'g>,
    seen: Seen<'g>,
    /// Of a view, the number of the first one's pixel, `[1]`, and how many the picture has.
    part: Option<(Var<'g>, usize)>,
    /// What lies behind: `[R, 3]`.
    pub(super) background: Var<'g>,
    /// Of a batch where they are wanted, the numbers of their views: u32 `[R]`.
    pub(super) number: Option<Var<'g>>,
    /// The pictures' colours over that: `[R, 3]`.
    target: Var<'g>,
}

impl<'g> Rays<'g> {
    /// Of a step's batch.
    ///
    /// # Errors
    /// When the data is no scene.
    pub(super) fn of_batch(
        graph: &'g Graph,
        model: &str,
        data: &DataType,
        view: &View,
        batch: usize,
    ) -> Result<Self> {
        let rays = data.rays(graph, model, batch, view.numbered)?;
        if view.background == Background::Random && !view.surrounds {
            rays.cameras.check_random_background()?;
        }
        // One camera is the model's own: a configuration may say where in a pixel its ray passes.
        let taken = match rays.taken {
            Taken::ByOne(_) => Taken::ByOne(view.camera),
            each => each,
        };
        let (rows, poses) = (rays.rows, rays.poses);
        let seen = Seen { rows, poses, taken };
        Ok(Self::of(seen, view, true))
    }

    /// Of `count` pixels of a picture of `size` from input `first` `[1]` on, seen from input `poses` `[1, 12]` by input `camera` `[1, 16]`
    /// (`camera_rays::table`). Those past the last pixel are the last.
    ///
    /// # Errors
    /// When a picture has more pixels than f32 counts.
    pub(super) fn of_view(
        graph: &'g Graph,
        view: &View,
        size: &Camera,
        count: usize,
    ) -> Result<Self> {
        let pixels = pixels_of(size)?;
        let first = graph.input("first", TensorType::f32([1]));
        let poses = graph.input("poses", TensorType::f32([1, POSE_FLOATS]));
        let camera = graph.input("camera", TensorType::f32([1, CAMERA_FLOATS]));
        let number = numbers(graph, "rays", count)? + first;
        let number = number.min(graph.constant(pixels as f64 - 1.0));
        // A row has its pixel's number byte by byte. All of it is exact: numbers have 24 bits.
        let whole = |x: Var<'g>| x.cast(DType::U32).cast(DType::F32);
        let above = whole(number * (1.0 / 256.0));
        let highest = whole(above * (1.0 / 256.0));
        let nothing = graph.constant(0.0).broadcast_to([count, 1]);
        let column = |x: Var<'g>| x.reshape([count, 1]);
        let rows = [
            graph.constant(0.0).broadcast_to([count, 4]),
            column(number - above * 256.0),
            column(above - highest * 256.0),
            column(highest),
            nothing,
        ];
        let seen = Seen {
            rows: graph.concat(1, &rows),
            poses,
            taken: Taken::ByEach(camera),
        };
        Ok(Self {
            part: Some((first, pixels)),
            ..Self::of(seen, view, false)
        })
    }

    fn of(seen: Seen<'g>, view: &View, random: bool) -> Self {
        let rows = seen.rows;
        let graph = rows.graph();
        let count = rows.shape().dims().first().copied().unwrap_or(1);
        let rays = seen.taken.rays(rows, seen.poses);
        let norm = |v: Var<'g>| v.square().sum(&[1]).reshape([count, 1]).sqrt();
        let in_world = rays.slice(1, 3, 6);
        let unit = in_world / norm(in_world);
        let (rays_at, length) = match view.ndc {
            Some(near) => {
                let rays = match seen.taken {
                    Taken::ByOne(_) => rays,
                    Taken::ByEach(_) => rays.slice(1, 0, RAY_FLOATS),
                };
                let rays = rays.ndc(&view.camera, near);
                (rays, norm(rays.slice(1, 3, 6)))
            }
            None => (rays, norm(in_world)),
        };
        let background = match (view.background, random) {
            (Background::Black, _) => graph.constant(0.0).broadcast_to([count, 3]),
            (Background::Random, true) => {
                graph.random("background", Distribution::Uniform, [count, 3])
            }
            _ => graph.constant(1.0).broadcast_to([count, 3]),
        };
        let rgba = rows.slice(1, 0, 4) * (1.0 / 255.0);
        let alpha = rgba.slice(1, 3, 4);
        let behind = (-alpha + 1.0) * background;
        Self {
            count,
            origin: rays_at.slice(1, 0, 3),
            direction: rays_at.slice(1, 3, 6),
            length,
            view: unit,
            seen,
            part: None,
            background,
            number: (view.numbered && random).then(|| {
                let number = rays.slice(1, RAY_FLOATS, RAY_FLOATS + 1);
                number.reshape([count]).cast(DType::U32)
            }),
            target: rgba.slice(1, 0, 3) * alpha + behind,
        }
    }

    /// The colour of what `composite` gave `[R, 5]`, times an `exposure` `[R, 3]` where there is one, the background added: `[R, 3]`.
    pub(super) fn over_background(&self, seen: Var<'g>, exposure: Option<Var<'g>>) -> Var<'g> {
        let colour = seen.slice(1, 0, 3);
        let colour = exposure.map_or(colour, |factors| colour * factors);
        colour + (-seen.slice(1, 3, 4) + 1.0) * self.background
    }

    /// The difference of a colour `[R, 3]` and the picture's.
    pub(super) fn error(&self, colour: Var<'g>) -> Var<'g> {
        colour - self.target
    }

    /// Its square, mean over the channels: `[R]`.
    pub(super) fn squared_error(&self, colour: Var<'g>) -> Var<'g> {
        self.error(colour).square().mean(&[1])
    }

    /// 1 for rays around the camera's axis, in half of a picture's width and height, 0 for others, while `weight` is below 1; else 1: `[R]`.
    pub(super) fn middle(&self, weight: Var<'g>) -> Result<Var<'g>> {
        let graph = weight.graph();
        // A camera that is not turned has rays in its own axes.
        let axes = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let Seen { rows, poses, taken } = self.seen;
        let views = match taken {
            Taken::ByOne(_) => 1,
            Taken::ByEach(_) => poses.shape().dims()[0],
        };
        let unturned = Value::f32([views, POSE_FLOATS], axes.repeat(views))?;
        let rays = taken.rays(rows, graph.table("unturned", unturned));
        let column = |of: Var<'g>, c: usize| of.slice(1, c, c + 1).reshape([self.count]);
        let from_axis = |axis: usize| column(rays, 3 + axis).abs();
        let middle = match taken {
            Taken::ByEach(table) => {
                let own = table.gather(column(rays, RAY_FLOATS).cast(DType::U32));
                let within = |axis: usize| {
                    let half = column(own, 2 + axis) * column(own, 6 + axis) * 0.25;
                    half.greater(from_axis(axis))
                };
                within(0) * within(1)
            }
            Taken::ByOne(c) => {
                let within = |axis: usize, size: usize, focal: f64| {
                    let half = size as f64 / 4.0;
                    (-from_axis(axis)).greater_than(-half / focal)
                };
                within(0, c.width, c.fx) * within(1, c.height, c.fy)
            }
        };
        Ok(middle.max(weight.greater_than(1.0 - 1e-6)))
    }

    /// Adds what is seen along these rays to the picture that earlier runs began: outputs `colour` `[pixels, 3]`, `opacity`, `depth` and
    /// `distance` `[pixels]`, and `next`, the pixel that the next run begins with, the number of pixels at the end. `kept` `[1]` is how many of
    /// the rays count, where not all may.
    ///
    /// # Errors
    /// Never in practice: these are rays of a view.
    pub(super) fn output(
        &self,
        colour: Var<'g>,
        [opacity, depth, distance]: [Var<'g>; 3],
        kept: Option<Var<'g>>,
    ) -> Result<()> {
        let graph = colour.graph();
        let count = self.count;
        let Some((first, pixels)) = self.part else {
            return Err(Error::Usage("rays of a batch make no picture".to_owned()));
        };
        let kept = kept.unwrap_or_else(|| graph.constant(count as f64).broadcast_to([1]));
        let column = |x: Var<'g>| x.reshape([count, 1]);
        let seen = [colour, column(opacity), column(depth), column(distance)];
        let seen = graph.concat(1, &seen);
        let ray = numbers(graph, "pixels", pixels)? - first;
        let among = ray.greater_than(-0.5) * (kept - ray).greater_than(0.5);
        let ray = ray.clamp(0.0, count as f64 - 1.0).cast(DType::U32);
        let before = graph.input("picture", TensorType::f32([pixels, 6]));
        let after = among.reshape([pixels, 1]).select(seen.gather(ray), before);
        graph.feed_back("picture", after);
        let end = (first + kept).min(graph.constant(pixels as f64));
        graph.feed_back("first", end);
        graph.output("next", end);
        graph.output("colour", after.slice(1, 0, 3));
        for (at, name) in ["opacity", "depth", "distance"].into_iter().enumerate() {
            graph.output(name, after.slice(1, 3 + at, 4 + at).reshape([pixels]));
        }
        Ok(())
    }
}

/// 0, 1, 2 and so on: `[count]`.
fn numbers<'g>(graph: &'g Graph, name: &str, count: usize) -> Result<Var<'g>> {
    let values = (0..count).map(|i| i as f32).collect();
    Ok(graph.table(name, Value::f32([count], values)?))
}

/// The pixels of a camera's picture.
fn pixels_of(camera: &Camera) -> Result<usize> {
    match camera.pixels() {
        pixels if pixels <= 1 << 24 => Ok(pixels),
        pixels => Err(Error::Usage(format!(
            "a view of {} x {} has {pixels} pixels; at most {} are rendered at once",
            camera.width,
            camera.height,
            1 << 24
        ))),
    }
}

/// Peak signal-to-noise ratios in dB, of what was predicted and of the background alone, from the mean squared errors of a step.
pub(super) fn peak_signals(figures: &Figures) -> Figures {
    let ratio = |name: &str| figures.get(name).map(|e| -10.0 * e.max(1e-20).log10());
    let named = [
        ("psnr", "squared_error"),
        ("background_psnr", "background_error"),
    ];
    let of = |(to, from): (&str, &str)| Some((to.to_owned(), ratio(from)?));
    named.into_iter().filter_map(of).collect()
}

/// Refuses a camera that has no pictures.
pub(super) fn check_camera(model: &str, camera: &Camera) -> Result<()> {
    let focal = |f: f64| f.is_finite() && f > 0.0;
    let finite = [camera.cx, camera.cy, camera.pixel_offset];
    let whole = camera.width > 0 && camera.height > 0 && finite.iter().all(|x| x.is_finite());
    if whole && focal(camera.fx) && focal(camera.fy) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{model}: camera {camera:?} has no pictures; sizes and focal lengths must be above 0"
    )))
}

/// The density's bound: exp beyond it is not finite for long.
const MOST_LOG_DENSITY: f64 = 60.0;

/// exp whose gradient is bounded (torch-ngp's `trunc_exp`): forward exp(min(h, 60)), backward exp(clamp(h, -15, 15)).
pub(super) fn exponential(h: Var<'_>) -> Var<'_> {
    let value = h
        .min(h.graph().constant(MOST_LOG_DENSITY))
        .exp()
        .stop_gradient();
    let slope = h.clamp(-15.0, 15.0).exp().stop_gradient();
    // The second summand is 0, its gradient the slope.
    value + (h - h.stop_gradient()) * slope
}
