//! Hash grids (Müller et al. 2022, "Instant neural graphics primitives"): a table of features by level, two small perceptrons, and a grid that
//! says where anything is, so that few samples of a ray are computed.
//!
//! A step looks at the rays that the budget allows, marches each through the occupied cells, and packs their samples into rows of fixed
//! capacity; how many there are, and how many rays the next step takes, stays on the device. `docs/models/ngp.md` sets each formula beside the
//! function here that implements it.
//!
//! ```
//! use wgen::data::scene::analytic;
//! use wgen::models::Model;
//! use wgen::models::nerf::ngp::{Config, Ngp};
//!
//! let ngp = Ngp::new(Config::blender(analytic::camera()))?;
//! let parameters = ngp.parameters();
//! assert_eq!((parameters[0].name.as_str(), parameters[0].shape.count()), ("encoding.table", 3_057_312));
//! // The occupancy grid is part of what a run keeps.
//! assert!(parameters.iter().any(|p| p.name == "occupancy.values"));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::any::Any;

use super::fit;
use super::rays::{self, Background, Rays, View};
use crate::data::scene::Views;
use crate::error::{Error, Result};
use crate::graph::layout::{Init, Parameter, Role};
use crate::graph::update::Update;
use crate::graph::{Graph, Rows, Var};
use crate::kernels::Caps;
use crate::kernels::camera_rays::{Camera, ROW_BYTES};
use crate::kernels::functions::Distribution;
use crate::kernels::march::March;
use crate::kernels::philox::Domain;
use crate::models::batch::DataType;
use crate::models::model::{Extent, Figures, Model, Phase, finish_with, trained};
use crate::models::registry::{self, Entry};
use crate::tensor::{DType, TensorType, Value};

mod cases;
mod config;
mod field;

pub use config::{Config, Loss};
use field::Field;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "ngp",
    from_json: |json| registry::built(json, Ngp::new),
    cases: cases::cases,
    usual: cases::usual,
    further: registry::nothing_further,
};

/// The optical thickness of a step above which a cell is occupied.
const OCCUPIED: f64 = 0.01;

/// What the values of the occupancy grid are multiplied by in a step: 0.95 in 16.
fn decay() -> f32 {
    0.95_f32.powf(1.0 / 16.0)
}

/// Rays of the first steps.
const FIRST_RAYS: f32 = 1024.0;

const OCCUPANCY: &str = "occupancy.values";
const ACTIVE: &str = "occupancy.rays";
const EXPOSURE: &str = "exposure";

/// What the mean square of the exposures' logarithms adds to the loss: a brightness that all of them share belongs to the field.
const EXPOSURE_DECAY: f64 = 1e-3;

/// A hash grid and its networks.
#[derive(Clone, Debug)]
pub struct Ngp {
    config: Config,
    field: Field,
    march: March,
}

/// Samples of a batch of rays.
struct Samples<'g> {
    /// Places in the unit cube: `[S, 3]`.
    places: Var<'g>,
    /// Distances along the rays in the unit cube: `[S]`.
    t: Var<'g>,
    /// Which ray each belongs to: `[S]`.
    ray: Var<'g>,
    /// Where each ray's begin, and how many rays there are: `[R + 2]`.
    base: Var<'g>,
}

impl Ngp {
    /// A model of these sizes.
    ///
    /// # Errors
    /// When one is absurd, naming it.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self {
            field: Field::new(&config)?,
            march: March::new(config.grid, config.steps)?
                .with_cascades(config.cascades, config.octave_steps)?,
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The length of the shortest step, in sides of the innermost box: what densities are of.
    fn delta(&self) -> f64 {
        3.0_f64.sqrt() / self.config.steps as f64
    }

    /// The optical thickness of samples `[S]` of these densities at the distances t, in the unit cube.
    fn thickness<'g>(&self, density: Var<'g>, t: Var<'g>) -> Var<'g> {
        let tau = density * self.delta();
        let octave = self.march.octave();
        if octave == 0 {
            return tau;
        }
        // A step is twice as long from each octave on; where one begins is exact in f32.
        let first = octave as f32 * self.march.dt();
        let doubled = (1..self.march.cascades()).map(|o| {
            // At the beginning itself, too.
            let before = (first * 2_f32.powi(o as i32)).next_down();
            t.greater_than(f64::from(before)) + 1.0
        });
        doubled.fold(tau, |tau, twice| tau * twice)
    }
}

/// The most places whose densities or colours are computed at once: enough for any device.
const MOST_PLACES: u64 = 1 << 18;

impl Ngp {
    /// Input `places` in the unit cube, what lies outside moved to its wall; and 1 for those inside, else 0: `[count, 3]`, `[count]`.
    fn places<'g>(&self, graph: &'g Graph, count: usize) -> (Var<'g>, Var<'g>) {
        let places = graph.input("places", TensorType::f32([count, 3]));
        let cube = places * self.scale() + 0.5;
        // The walls are inside, whatever rounding makes of them.
        let within = (-(cube - 0.5).abs()).greater_than(-0.5 - 1e-6);
        let all = within.sum(&[1]).greater_than(2.5);
        (cube.clamp(0.0, 1.0), all)
    }
}

/// The fewest rays of a step.
const FEWEST_RAYS: u32 = 64;

/// Cells of the occupancy grid that a step looks at: one in so many.
const LOOKED_AT: usize = 32;

impl Ngp {
    fn view(&self) -> View {
        View {
            camera: self.config.camera,
            background: self.config.background,
            ndc: None,
            surrounds: self.config.cascades > 1,
            numbered: self.config.exposures > 0,
        }
    }

    /// Refuses views of another number than there are exposures.
    fn check_exposures(&self, data: &DataType) -> Result<()> {
        let views = data.cameras.map_or(0, |c| c.count);
        if [0, views].contains(&self.config.exposures) {
            return Ok(());
        }
        Err(Error::field(
            "exposures",
            format!(
                "is {}, but the data has {views} views: 0, or as many",
                self.config.exposures
            ),
        ))
    }

    /// Units of the cube per unit of the scene.
    fn scale(&self) -> f64 {
        0.5 / f64::from(self.config.half_side)
    }

    /// Sides of the innermost box per unit of the scene: what densities are of.
    fn innermost(&self) -> f64 {
        self.scale() * f64::from(1 << (self.config.cascades - 1))
    }

    /// The shape of the occupancy's values.
    fn cells(&self) -> Vec<usize> {
        let cells = self.config.grid.pow(3);
        match self.config.cascades {
            1 => vec![cells],
            cascades => vec![cascades, cells],
        }
    }

    fn occupancy<'g>(&self, graph: &'g Graph) -> Var<'g> {
        graph.parameter(OCCUPANCY, self.cells().as_slice())
    }

    /// The optical thickness of a step above which a cell is occupied: 0.01, or the mean of the innermost box's values where that is less.
    fn threshold<'g>(&self, values: Var<'g>) -> Var<'g> {
        let graph = values.graph();
        let innermost = match self.config.cascades {
            1 => values,
            _ => values.slice(0, 0, 1),
        };
        let mean = innermost.max(graph.constant(0.0)).mean_all();
        mean.min(graph.constant(OCCUPIED))
    }

    /// The samples of the first `active` rays; `jitter` `[R]` is where in a step a ray's first one lies.
    fn samples<'g>(
        &self,
        rays: &Rays<'g>,
        jitter: Var<'g>,
        active: Var<'g>,
        capacity: usize,
    ) -> Samples<'g> {
        let graph = jitter.graph();
        let values = self.occupancy(graph);
        let bits = values.occupancy_bits(self.threshold(values));
        let origin = rays.origin * self.scale() + 0.5;
        let unit = graph.concat(1, &[origin, rays.view]);
        let counts = unit.march_count(jitter, active, bits, &self.march);
        let base = counts.scan(capacity);
        let samples = unit.march(jitter, bits, base, capacity, &self.march);
        Samples {
            places: samples.slice(1, 0, 3),
            t: samples.slice(1, 3, 4).reshape([capacity]),
            ray: base.ray_of(capacity),
            base,
        }
    }

    /// Red, green, blue, opacity and distance in the cube along each ray (`Var::composite`): `[R, 5]`.
    fn see<'g>(&self, rays: &Rays<'g>, samples: &Samples<'g>) -> Result<Var<'g>> {
        let (density, h) = self.field.density(samples.places)?;
        let directions = rays.view.spherical_harmonics().gather(samples.ray);
        let colour = self.field.colours(h, directions);
        let tau = self.thickness(density, samples.t);
        Ok(tau.composite(colour, samples.t, Rows::Packed(samples.base)))
    }

    /// The occupancy grid after this step's look at some of its cells: their densities now, where these are more than what is left of the old.
    fn looked_at<'g>(&self, graph: &'g Graph) -> Result<Var<'g>> {
        let values = self.occupancy(graph);
        let some = (self.march.cells() / LOOKED_AT).next_multiple_of(2);
        let cells = values.occupancy_cells("cells", self.threshold(values), some);
        let places = cells.occupancy_points("points", self.config.grid, self.config.cascades);
        let thickness = self.field.density(places)?.0 * self.delta();
        Ok(values.occupancy_merge(cells, thickness, decay()))
    }

    /// The error of colours, sum over the channels: `[R]`.
    fn colour_error<'g>(&self, rays: &Rays<'g>, colour: Var<'g>) -> Var<'g> {
        let e = rays.error(colour);
        let each = match self.config.loss {
            Loss::L2 => e.square(),
            Loss::Huber => {
                let far = e.abs() * 0.2 - 0.01;
                e.abs().greater_than(0.1).select(far, e.square())
            }
        };
        each.sum(&[1])
    }
}

/// Over the `number` rays that count: those of weight 1.
fn mean<'g>(errors: Var<'g>, weight: Var<'g>, number: Var<'g>) -> Var<'g> {
    (errors * weight).sum_all() / number
}

impl Model for Ngp {
    fn name(&self) -> &'static str {
        "ngp"
    }

    fn options(&self) -> serde_json::Value {
        registry::options(&self.config)
    }

    fn width(&self) -> usize {
        ROW_BYTES
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn parameters(&self) -> Vec<Parameter> {
        let state = |name: &str, shape: &[usize], init: Init| {
            Parameter::new(name, shape, init).with_role(Role::State(0))
        };
        let mut parameters = self.field.parameters();
        let exposures = self.config.exposures;
        if exposures > 0 {
            // Logarithms of factors of red, green and blue.
            let nothing = Init::Constant(0.0);
            parameters.push(Parameter::new(EXPOSURE, [exposures, 3], nothing));
        }
        // What a field of density 1 has, as it is at first, spread a little: the half above the mean is occupied, wherever it lies. Rays with half
        // as many samples are twice as many.
        let first = Init::Normal(self.delta() as f32, 1e-3 * self.delta() as f32);
        parameters.push(state(OCCUPANCY, &self.cells(), first));
        parameters.push(state(ACTIVE, &[1], Init::Constant(FIRST_RAYS)));
        parameters
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&[
            "loss",
            "squared_error",
            "background_error",
            "rays",
            "samples",
        ])
    }

    /// The loss of the rays whose samples fitted, mean over them; with it the grid's cells are looked at, and the next step's rays budgeted.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let batch = update.batch;
        let view = self.view();
        let rays = Rays::of_batch(&graph, "ngp", data, &view, batch)?;
        self.check_exposures(data)?;
        let jitter = graph.random("jitter", Distribution::Uniform, [batch]);
        let active = graph.parameter(ACTIVE, [1]);
        let limit = graph.constant(batch as f64);
        let samples = self.samples(&rays, jitter, active.min(limit), self.config.capacity);
        let seen = self.see(&rays, &samples)?;
        let aim = self.config.target_samples as u32;
        let budget = samples.base.ray_budget(
            active.min(limit),
            aim,
            FEWEST_RAYS.min(batch as u32),
            batch as u32,
        );
        let kept = budget.slice(0, 0, 1);
        let numbers = (0..batch).map(|i| i as f32).collect();
        let numbers = graph.table("ray numbers", Value::f32([batch], numbers)?);
        let weight = kept.greater(numbers);
        let number = kept.reshape([]).max(graph.constant(1.0));
        let exposure = rays.number.map(|view| {
            let logarithms = graph.parameter(EXPOSURE, [self.config.exposures, 3]);
            logarithms.gather(view).exp()
        });
        let colour = rays.over_background(seen, exposure);
        let loss = mean(self.colour_error(&rays, colour), weight, number);
        let all = batch as f64;
        let metrics = [
            ("loss", loss * all),
            (
                "squared_error",
                mean(rays.squared_error(colour), weight, number) * all,
            ),
            (
                "background_error",
                mean(rays.squared_error(rays.background), weight, number) * all,
            ),
            // Of a step, not of an example.
            ("rays", number * all),
            ("samples", budget.slice(0, 1, 2).reshape([]) * all),
        ];
        let states = [
            (OCCUPANCY.to_owned(), self.looked_at(&graph)?),
            (ACTIVE.to_owned(), budget.slice(0, 2, 3)),
        ];
        let parameters = trained(&graph, self, update);
        let mut gradients = graph.scaled_gradients(loss, &parameters, update);
        // L2 on matrices alone: entries of the table that no sample meets stay as they are.
        let layers = self.field.layers();
        for (gradient, parameter) in gradients.iter_mut().zip(&parameters).skip(1).take(layers) {
            *gradient = *gradient + *parameter * f64::from(self.config.weight_decay);
        }
        for (gradient, parameter) in gradients.iter_mut().zip(&parameters).skip(1 + layers) {
            let decay = 2.0 * EXPOSURE_DECAY / (3 * self.config.exposures) as f64;
            *gradient = *gradient + *parameter * decay;
        }
        finish_with(&graph, self, gradients, &metrics, &states, update);
        Ok(graph)
    }

    fn derived(&self, figures: &Figures) -> Figures {
        rays::peak_signals(figures)
    }

    fn work(&self, _batch: usize, figures: &Figures) -> Vec<(&'static str, f64)> {
        let of = |name: &'static str| Some((name, *figures.get(name)?));
        ["rays", "samples"].into_iter().filter_map(of).collect()
    }

    fn check_views(&self, views: &Views) -> Result<()> {
        fit::check_box("ngp", views, f64::from(self.config.half_side))
    }

    fn check_device(&self, caps: &Caps) -> Result<()> {
        fit::check_table(&self.config, self.field.table(), caps)
    }

    fn warning(&self, step: u64, figures: &Figures) -> Option<String> {
        let remedies = "a smaller `learning_rate`, a `half_side` that fits the scene, `scene_background` random where pictures are transparent, \
                        another seed";
        fit::empty(step, figures, remedies)
    }

    fn evaluation(&self, _data: &DataType, _batch: usize) -> Result<Graph> {
        Err(self.cannot("be evaluated ray by ray: its figures are of whole views"))
    }

    fn figures(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn has_validation_loss(&self) -> bool {
        false
    }

    fn camera(&self) -> Option<Camera> {
        Some(self.config.camera)
    }

    fn background(&self) -> (&'static str, [u8; 3]) {
        self.config.background.of_views()
    }

    fn rays_at_once(&self, _limit: u64) -> usize {
        4096
    }

    fn extent(&self) -> Result<Extent> {
        let half_side = f64::from(self.config.half_side);
        let step = self.delta() / self.innermost();
        Ok(Extent::around_origin(half_side, step))
    }

    fn densities(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let (places, within) = self.places(&graph, count);
        // The networks' is that of the innermost box's side; outside of all boxes there is nothing.
        let density = self.field.density(places)?.0 * self.innermost() * within;
        graph.output("density", density);
        Ok(graph)
    }

    fn colours(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let (places, _) = self.places(&graph, count);
        let (_, h) = self.field.density(places)?;
        let directions = graph.input("directions", TensorType::f32([count, 3]));
        let colour = self.field.colours(h, directions.spherical_harmonics());
        graph.output("colour", colour);
        Ok(graph)
    }

    fn places_at_once(&self, limit: u64) -> usize {
        let Config {
            levels,
            features,
            width,
            outputs,
            ..
        } = self.config;
        let widest = width.max(levels * features).max(16 + outputs) as u64;
        (limit / (4 * widest)).clamp(1, MOST_PLACES) as usize
    }

    fn rendering(&self, camera: &Camera, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let rays = Rays::of_view(&graph, &self.view(), camera, count)?;
        let middle = graph.constant(0.5).broadcast_to([count]);
        let all = graph.constant(count as f64).broadcast_to([1]);
        // Room for rays that are longer than most.
        let capacity = self.config.capacity.max(self.config.steps) * 2;
        let samples = self.samples(&rays, middle, all, capacity);
        let seen = self.see(&rays, &samples)?;
        let opacity = seen.slice(1, 3, 4);
        let distance =
            seen.slice(1, 4, 5) / opacity.max(graph.constant(1e-10)) * (1.0 / self.scale());
        let kept = samples.base.slice(0, count + 1, count + 2).cast(DType::F32);
        let colour = rays.over_background(seen, None);
        rays.output(
            colour,
            [opacity, distance / rays.length, distance],
            Some(kept),
        )?;
        Ok(graph)
    }
}
