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
use crate::error::Result;
use crate::graph::layout::{Init, Parameter, Role};
use crate::graph::update::Update;
use crate::graph::{Graph, Rows, Var};
use crate::kernels::Caps;
use crate::kernels::camera_rays::{Camera, ROW_BYTES};
use crate::kernels::functions::Distribution;
use crate::kernels::hash_encoding::HashGrid;
use crate::kernels::march::March;
use crate::kernels::philox::Domain;
use crate::models::model::{DataType, Figures, Model, Phase, finish_with, trained};
use crate::models::registry::{self, Entry};
use crate::nn::Linear;
use crate::tensor::{DType, Value};

mod cases;
mod config;

pub use config::{Config, Loss};

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

const TABLE: &str = "encoding.table";
const OCCUPANCY: &str = "occupancy.values";
const ACTIVE: &str = "occupancy.rays";

/// A hash grid and its networks.
#[derive(Clone, Debug)]
pub struct Ngp {
    config: Config,
    table: HashGrid,
    march: March,
    density: [Linear; 2],
    colour: [Linear; 3],
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
        let table = HashGrid::new(
            config.levels,
            config.features,
            config.log2_entries,
            config.base_resolution,
            config.finest_resolution,
        )?;
        let layer = |name: &str, inputs: usize, outputs: usize| Linear {
            bias: false,
            // Xavier uniform.
            init: Some(Init::Uniform((6.0 / (inputs + outputs) as f32).sqrt())),
            ..Linear::new(name, inputs, outputs)
        };
        let (width, outputs) = (config.width, config.outputs);
        Ok(Self {
            density: [
                layer("density.0", config.levels * config.features, width),
                layer("density.2", width, outputs),
            ],
            colour: [
                layer("colour.0", 16 + outputs, width),
                layer("colour.2", width, width),
                layer("colour.4", width, 3),
            ],
            march: March::new(config.grid, config.steps)?,
            table,
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The length of a step in the unit cube.
    fn delta(&self) -> f64 {
        3.0_f64.sqrt() / self.config.steps as f64
    }

    /// Density and what the colour needs of places `[S, 3]` in the unit cube: `[S]`, `[S, outputs]`.
    fn density<'g>(&self, places: Var<'g>) -> Result<(Var<'g>, Var<'g>)> {
        let graph = places.graph();
        let table = graph.parameter(TABLE, [self.table.entries(), self.config.features]);
        let features = places.hash_encode(table, &self.table);
        let [first, second] = &self.density;
        let h = second.forward(first.forward(features).relu());
        // The first output, as a product and a sum: gradients of h are then one map, where those of a slice are filled up with zeros first.
        let first = (0..self.config.outputs).map(|i| f32::from(u8::from(i == 0)));
        let first = Value::f32([self.config.outputs], first.collect())?;
        let first = graph.table("first output", first);
        Ok((rays::exponential((h * first).sum(&[1])), h))
    }

    /// Colours of samples: `[S, 3]`.
    fn colours<'g>(&self, h: Var<'g>, view: Var<'g>, ray: Var<'g>) -> Var<'g> {
        let graph = h.graph();
        let [first, second, third] = &self.colour;
        let directions = view.spherical_harmonics().gather(ray);
        let seen = graph.concat(1, &[directions, h]);
        let hidden = second.forward(first.forward(seen).relu()).relu();
        third.forward(hidden).sigmoid()
    }
}

/// The fewest rays of a step.
const FEWEST_RAYS: u32 = 64;

/// Cells of the occupancy grid that a step looks at: one in so many.
const LOOKED_AT: usize = 32;

impl Ngp {
    fn view(&self, camera: Camera) -> View {
        View {
            camera,
            background: self.config.background,
            ndc: None,
        }
    }

    /// Units of the cube per unit of the scene.
    fn scale(&self) -> f64 {
        0.5 / f64::from(self.config.half_side)
    }

    fn occupancy<'g>(&self, graph: &'g Graph) -> Var<'g> {
        graph.parameter(OCCUPANCY, [self.config.grid.pow(3)])
    }

    /// The optical thickness of a step above which a cell is occupied: 0.01, or the mean of all values where that is less.
    fn threshold<'g>(&self, values: Var<'g>) -> Var<'g> {
        let graph = values.graph();
        let mean = values.max(graph.constant(0.0)).mean_all();
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
        let (density, h) = self.density(samples.places)?;
        let colour = self.colours(h, rays.view, samples.ray);
        let tau = density * self.delta();
        Ok(tau.composite(colour, samples.t, Rows::Packed(samples.base)))
    }

    /// The occupancy grid after this step's look at some of its cells: their densities now, where these are more than what is left of the old.
    fn looked_at<'g>(&self, graph: &'g Graph) -> Result<Var<'g>> {
        let values = self.occupancy(graph);
        let some = (self.config.grid.pow(3) / LOOKED_AT).max(2);
        let cells = values.occupancy_cells("cells", self.threshold(values), some);
        let places = cells.occupancy_points("points", self.config.grid);
        let thickness = self.density(places)?.0 * self.delta();
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
        let entries = [self.table.entries(), self.config.features];
        let state = |name: &str, shape: &[usize], init: Init| {
            Parameter::new(name, shape, init).with_role(Role::State(0))
        };
        let mut parameters = vec![Parameter::new(TABLE, entries, Init::Uniform(1e-4))];
        parameters.extend(self.density.iter().flat_map(Linear::parameters));
        parameters.extend(self.colour.iter().flat_map(Linear::parameters));
        // What a field of density 1 has, as it is at first, spread a little: the half above the mean is occupied, wherever it lies. Rays with half
        // as many samples are twice as many.
        let first = Init::Normal(self.delta() as f32, 1e-3 * self.delta() as f32);
        parameters.push(state(OCCUPANCY, &[self.config.grid.pow(3)], first));
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
        let view = self.view(self.config.camera);
        let rays = Rays::of_batch(&graph, "ngp", data, &view, batch)?;
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
        let colour = rays.over_background(seen);
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
        for (gradient, parameter) in gradients.iter_mut().zip(&parameters).skip(1) {
            *gradient = *gradient + *parameter * f64::from(self.config.weight_decay);
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
        fit::check_table(&self.config, &self.table, caps)
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

    fn rendering(&self, camera: &Camera, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let rays = Rays::of_view(&graph, &self.view(*camera), count)?;
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
        let colour = rays.over_background(seen);
        rays.output(
            colour,
            [opacity, distance / rays.length, distance],
            Some(kept),
        )?;
        Ok(graph)
    }
}
