//! The network of Mildenhall et al. 2020, coarse and fine, in the layout and under the names of nerf-pytorch: two perceptrons from a point and
//! a direction to density and colour, the second on points where the first found something.
//!
//! `docs/models/nerf.md` sets each formula beside the function here that implements it.
//!
//! ```
//! use wgen::data::scene::analytic;
//! use wgen::models::Model;
//! use wgen::models::nerf::vanilla::{Config, Nerf};
//!
//! let nerf = Nerf::new(Config::blender(analytic::camera()))?;
//! let weights: usize = nerf.parameters().iter().map(|p| p.shape.count()).sum();
//! assert_eq!(weights, 2 * 595_844);
//! assert_eq!(nerf.parameters()[10].name, "network_fn.pts_linears.5.weight");
//! assert_eq!(nerf.parameters()[10].shape, [256, 319].into()); // the points come in again
//! # Ok::<(), wgen::Error>(())
//! ```

use std::any::Any;

use serde::{Deserialize, Serialize};

use super::fit;
use super::rays::{self, Background, Rays, View};
use crate::error::{Error, Result};
use crate::graph::layout::Parameter;
use crate::graph::update::Update;
use crate::graph::{Depths, Graph, Rows, Var};
use crate::kernels::camera_rays::{Camera, ROW_BYTES};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::Domain;
use crate::kernels::schedule;
use crate::models::batch::DataType;
use crate::models::model::{Extent, Figures, Model, Phase, finish_step};
use crate::models::registry::{self, Entry};
use crate::tensor::TensorType;

mod cases;
mod network;

use network::{Network, Raw};

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "nerf",
    from_json: |json| registry::built(json, Nerf::new),
    cases: cases::cases,
    usual: cases::usual,
    further: registry::nothing_further,
};

/// What a NeRF is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The pictures' camera.
    pub camera: Camera,
    /// Where rays begin, in the scene's units: 2 of Blender's scenes.
    pub near: f64,
    /// Where they end: 6.
    pub far: f64,
    /// Samples of a ray by distance, on which the coarse network works.
    pub coarse: usize,
    /// Samples that are added where these found density, on all of which the fine network works; 0 for the coarse network alone.
    pub fine: usize,
    /// Layers of a network.
    pub depth: usize,
    /// Units of a layer.
    pub width: usize,
    /// Layers behind which the points come in again.
    pub skips: Vec<usize>,
    /// Whether colours depend on the direction.
    pub view_directions: bool,
    /// Frequencies of the points' encoding; `None` for the points themselves.
    pub point_octaves: Option<usize>,
    /// Frequencies of the directions' encoding.
    pub direction_octaves: Option<usize>,
    /// What lies behind the scene.
    pub background: Background,
    /// Samples at equal steps of 1 / distance.
    pub inverse_distance: bool,
    /// Rays in normalised device coordinates: forward-facing scenes.
    pub ndc: bool,
    /// Standard deviation of the noise that is added to densities in training.
    pub raw_noise: f64,
}

impl Config {
    /// The paper's for Blender's scenes: 8 x 256, 64 + 128 samples.
    pub fn blender(camera: Camera) -> Self {
        Self {
            camera,
            near: 2.0,
            far: 6.0,
            coarse: 64,
            fine: 128,
            depth: 8,
            width: 256,
            skips: vec![4],
            view_directions: true,
            point_octaves: Some(10),
            direction_octaves: Some(4),
            background: Background::White,
            inverse_distance: false,
            ndc: false,
            raw_noise: 0.0,
        }
    }

    fn depths(&self) -> Depths {
        Depths {
            near: self.near,
            far: self.far,
            samples: self.coarse,
            lindisp: self.inverse_distance,
        }
    }

    /// Refuses what is no network, or absurd, before anything is allocated.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        rays::check_camera("nerf", &self.camera)?;
        let bounded = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::Usage(format!(
                "nerf: {name} is {value}; it must be from {least} to {most}"
            )))
        };
        bounded("coarse", self.coarse, 3, 1024)?;
        bounded("fine", self.fine, 0, 1024)?;
        bounded("depth", self.depth, 1, 32)?;
        bounded("width", self.width, 2, 4096)?;
        bounded("point_octaves", self.point_octaves.unwrap_or(0), 0, 16)?;
        bounded(
            "direction_octaves",
            self.direction_octaves.unwrap_or(0),
            0,
            16,
        )?;
        for &skip in &self.skips {
            if skip + 1 >= self.depth {
                return Err(Error::Usage(format!(
                    "nerf: skips has {skip}, behind which a network of depth {} has no layer; leave it out or make depth at least {}",
                    self.depth,
                    skip + 2
                )));
            }
        }
        self.depths().check()?;
        if !(0.0..=100.0).contains(&self.raw_noise) {
            return Err(Error::Usage(format!(
                "nerf: raw_noise {} must be from 0 to 100",
                self.raw_noise
            )));
        }
        Ok(())
    }
}

/// Coarse and fine networks.
#[derive(Clone, Debug)]
pub struct Nerf {
    config: Config,
    coarse: Network,
    fine: Option<Network>,
}

/// What a network saw along rays.
struct Along<'g> {
    /// Red, green, blue, opacity, depth: `[R, 5]`.
    seen: Var<'g>,
    /// With the background: `[R, 3]`.
    colour: Var<'g>,
    /// The optical thickness of each sample: `[R * N]`.
    tau: Var<'g>,
    rows: Rows<'g>,
}

impl Nerf {
    /// A model of these sizes.
    ///
    /// # Errors
    /// When one is absurd.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let network = |prefix: &str| Network::new(prefix, &config);
        let (coarse, fine) = (network("network_fn"), network("network_fine"));
        Ok(Self {
            fine: (config.fine > 0).then_some(fine),
            coarse,
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Densities and colours at depths `z` `[R, N]`, composited (eq. 3 with nerf-pytorch's guards); and the weights of the samples `[R, N]`.
    fn along<'g>(
        &self,
        network: &Network,
        rays: &Rays<'g>,
        z: Var<'g>,
        samples: usize,
        noise: Option<Var<'g>>,
    ) -> Along<'g> {
        let graph = z.graph();
        let count = rays.count;
        let of_ray = |v: Var<'g>| v.reshape([count, 1, 3]);
        let points = of_ray(rays.origin) + of_ray(rays.direction) * z.reshape([count, samples, 1]);
        let raw = network.forward(points.reshape([count * samples, 3]), rays.view, samples);
        let mut density = raw.density.reshape([count, samples]);
        if let Some(noise) = noise {
            density = density + noise;
        }
        // The last sample reaches to infinity.
        let last = graph.constant(1e10).broadcast_to([count, 1]);
        let between = z.slice(1, 1, samples) - z.slice(1, 0, samples - 1);
        let delta = graph.concat(1, &[between, last]) * rays.length;
        let tau = (density.relu() * delta).reshape([count * samples]);
        let rows = Rows::Dense {
            samples,
            epsilon: 1e-10,
        };
        let seen = tau.composite(raw.colour.sigmoid(), z.reshape([count * samples]), rows);
        Along {
            seen,
            colour: rays.over_background(seen, None),
            tau,
            rows,
        }
    }

    /// Both networks along `rays`, the last one's last. `random`: depths are drawn, and noise is added to densities.
    fn see<'g>(&self, graph: &'g Graph, rays: &Rays<'g>, random: bool) -> Vec<Along<'g>> {
        let config = &self.config;
        let count = rays.count;
        let depths = config.depths();
        let z = if random {
            let places = [count, config.coarse];
            graph
                .random("stratified", Distribution::Uniform, places)
                .stratified_with(&depths)
        } else {
            graph.even_depths(count, &depths)
        };
        let noise = |name: &str, samples: usize| {
            (random && config.raw_noise > 0.0).then(|| {
                graph.random(name, Distribution::Normal, [count, samples]) * config.raw_noise
            })
        };
        let coarse = noise("raw noise", config.coarse);
        let coarse = self.along(&self.coarse, rays, z, config.coarse, coarse);
        let Some(network) = &self.fine else {
            return vec![coarse];
        };
        let weights = coarse.tau.stop_gradient().composite_weights(coarse.rows);
        let uniforms =
            random.then(|| graph.random("sample_pdf", Distribution::Uniform, [count, config.fine]));
        let z = z.sample_pdf(
            weights.reshape([count, config.coarse]),
            uniforms,
            config.fine,
        );
        let samples = config.coarse + config.fine;
        let fine = noise("raw noise, fine", samples);
        let fine = self.along(network, rays, z, samples, fine);
        vec![coarse, fine]
    }

    /// Floats of a sample's widest tensor, about.
    fn widest(&self) -> usize {
        let config = &self.config;
        config.width.max(3 + 6 * config.point_octaves.unwrap_or(0)) + 64
    }

    fn view(&self) -> View {
        View {
            camera: self.config.camera,
            background: self.config.background,
            ndc: self.config.ndc.then_some(1.0),
            surrounds: false,
            numbered: false,
        }
    }
}

impl Nerf {
    /// What the last network gives of places as inputs name them.
    fn at_places<'g>(&self, graph: &'g Graph, count: usize) -> Raw<'g> {
        let network = self.fine.as_ref().unwrap_or(&self.coarse);
        let input = |name: &str| graph.input(name, TensorType::f32([count, 3]));
        network.forward(input("places"), input("directions"), 1)
    }
}

impl Model for Nerf {
    fn name(&self) -> &'static str {
        "nerf"
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
        let networks = [Some(&self.coarse), self.fine.as_ref()];
        networks
            .into_iter()
            .flatten()
            .flat_map(Network::parameters)
            .collect()
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&["loss", "squared_error", "background_error"])
    }

    /// Squared errors of both networks' colours, means over the channels and sums over the rays; the gradient is of the mean over the rays.
    /// While the schedule's weight is below 1, rays outside of the pictures' middle count for nothing: a scene before much background is
    /// found there first.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let rays = Rays::of_batch(&graph, "nerf", data, &self.view(), update.batch)?;
        let weight = rays.middle(graph.schedule(schedule::MODEL))?;
        let share = weight.mean_all().max(graph.constant(1e-6));
        let error = |colour| (rays.squared_error(colour) * weight).sum_all() / share;
        let errors: Vec<_> = self
            .see(&graph, &rays, true)
            .iter()
            .map(|a| error(a.colour))
            .collect();
        let squared = errors[errors.len() - 1];
        let loss = errors[1..].iter().fold(errors[0], |sum, &e| sum + e);
        let background = error(rays.background);
        let metrics = [
            ("loss", loss),
            ("squared_error", squared),
            ("background_error", background),
        ];
        let mean = loss * (1.0 / update.batch as f64);
        finish_step(&graph, self, mean, &metrics, &[], update);
        Ok(graph)
    }

    fn derived(&self, figures: &Figures) -> Figures {
        rays::peak_signals(figures)
    }

    fn warning(&self, step: u64, figures: &Figures) -> Option<String> {
        let remedies = "a smaller `learning_rate`, more steps in which only the middle of the pictures is seen (`precrop`), `raw_noise` 1, near and far that fit the scene, another seed";
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

    fn work(&self, batch: usize, _figures: &Figures) -> Vec<(&'static str, f64)> {
        // The fine network sees the coarse one's depths, too.
        let fine = self.fine.as_ref().map_or(0, |_| self.config.coarse);
        let samples = batch * (self.config.coarse + fine + self.config.fine);
        vec![("rays", batch as f64), ("samples", samples as f64)]
    }

    fn camera(&self) -> Option<Camera> {
        Some(self.config.camera)
    }

    fn background(&self) -> (&'static str, [u8; 3]) {
        self.config.background.of_views()
    }

    fn rays_at_once(&self, limit: u64) -> usize {
        let config = &self.config;
        let of_ray = 4 * (config.coarse + config.fine) as u64 * self.widest() as u64;
        (limit.min(1 << 27) / of_ray).clamp(1, 4096) as usize
    }

    /// Rays go from near to far, so that what they see lies between: around the origin, where cameras look at it, half that far on either side.
    fn extent(&self) -> Result<Extent> {
        let config = &self.config;
        if config.ndc {
            return Err(self.cannot(
                "say what is where in the scene: its field is in normalised device coordinates (`ndc`)",
            ));
        }
        let length = config.far - config.near;
        let samples = config.coarse + config.fine;
        Ok(Extent::around_origin(0.5 * length, length / samples as f64))
    }

    fn densities(&self, count: usize) -> Result<Graph> {
        self.extent()?;
        let graph = Graph::new(Domain::Sampling);
        let density = self.at_places(&graph, count).density.relu();
        graph.output("density", density.reshape([count]));
        Ok(graph)
    }

    fn colours(&self, count: usize) -> Result<Graph> {
        self.extent()?;
        let graph = Graph::new(Domain::Sampling);
        let colour = self.at_places(&graph, count).colour.sigmoid();
        graph.output("colour", colour);
        Ok(graph)
    }

    fn places_at_once(&self, limit: u64) -> usize {
        (limit / (4 * self.widest() as u64)).clamp(1, 1 << 18) as usize
    }

    fn rendering(&self, camera: &Camera, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let rays = Rays::of_view(&graph, &self.view(), camera, count)?;
        let all = self.see(&graph, &rays, false);
        let last = &all[all.len() - 1];
        let opacity = last.seen.slice(1, 3, 4);
        // In units of d, whose component along the camera's axis is 1.
        let depth = last.seen.slice(1, 4, 5) / opacity.max(graph.constant(1e-10));
        rays.output(last.colour, [opacity, depth, depth * rays.length], None)?;
        Ok(graph)
    }
}
