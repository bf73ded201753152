//! A training within somebody else's frames: its steps are recorded into his encoder, as many a frame as he has time for, and what is drawn of the
//! model reads the weights where they lie.
//!
//! ```
//! # use std::sync::Arc;
//! # use wgen::data::scene::analytic;
//! # use wgen::files::{Config, Training};
//! # use wgen::gpu::{Choice, Gpu};
//! # use wgen::models::nerf::ngp::{self, Ngp};
//! # use wgen::live::Live;
//! # let gpu = Gpu::new(&Choice::Auto)?;
//! let scene = analytic::dataset(3, 1);
//! # let small = ngp::Config { log2_entries: 8, levels: 2, finest_resolution: 32, grid: 16, steps: 32, capacity: 600, target_samples: 500, ..ngp::Config::blender(analytic::camera()) };
//! # let model = Arc::new(Ngp::new(small)?);
//! let training = Training { steps: Some(100), epochs: None, batch: 64, ..Training::default() };
//! let config = Config::new(model, scene.shape, "analytic", training);
//! let mut live = Live::new(&gpu, &config, scene)?;
//! // A frame of the application.
//! let mut encoder = gpu.device().create_command_encoder(&Default::default());
//! for _ in 0..live.prepare(3)? {
//!     live.plan().record(&mut encoder);
//! }
//! gpu.queue().submit([encoder.finish()]);
//! assert_eq!(live.step(), 3);
//! assert!(live.figures()?["psnr"] > 0.0);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::{Config, Storage, Training};
use crate::gpu::Gpu;
use crate::graph::layout::Layout;
use crate::models::{Figures, Model};
use crate::nn::init;
use crate::plan::{Plan, Store, StoreOptions};
use crate::program::{Flat, PlanOptions};
use crate::session::Session;
use crate::session::feed::{Feed, Wants};
use crate::session::gpu::bindings;
use crate::train::timetable::{Timetable, update_of};

/// The most steps that are prepared at once.
const MOST: usize = 64;

/// A training whose steps are recorded into frames. Weights, moments and figures lie in its [`Store`], on which any other plan of the same model may be
/// compiled: a [`Renderer`](crate::plan::Renderer) of a radiance field draws what has been learned so far, without a copy.
#[derive(Debug)]
pub struct Live {
    model: Arc<dyn Model>,
    store: Store,
    feed: Feed,
    plan: Plan,
    timetable: Timetable,
    /// The next step.
    step: u64,
}

impl Live {
    /// Draws the weights of `config`'s model and compiles its step on `gpu`, for `dataset`, which is uploaded. No folder is written.
    ///
    /// # Errors
    /// When options or data do not fit, the model has several losses, `precision` is f16, or the device refuses.
    pub fn new(gpu: &Gpu, config: &Config, dataset: Dataset) -> Result<Self> {
        config.check()?;
        let training = Training {
            // Steps are as many as are recorded.
            log_steps: 1,
            ..config.training.clone()
        };
        let (model, phases) = (config.model.clone(), config.model.phases());
        if training.precision == Storage::F16 {
            return Err(Error::field(
                "precision",
                "f16 needs its loss scale looked after between steps, which nobody does here: take f32",
            ));
        }
        let [phase] = phases.as_slice() else {
            return Err(model.cannot("be trained frame by frame: it has several losses"));
        };
        if let Some(views) = &dataset.views {
            model.check_views(views)?;
        }
        let caps = gpu.caps();
        model.check_device(caps)?;
        let layout = Layout::new(model.parameters(), caps.binding_bytes)?;
        let drawn = layout.parameters.iter();
        let weights: Vec<_> = drawn.map(|p| init::draw(p, training.seed)).collect();
        let options = StoreOptions {
            training: true,
            ema: training.ema.is_some(),
        };
        let store = Store::new(gpu, layout, options)?;
        store.write(Flat::Parameters, &weights)?;
        if options.ema {
            store.write(Flat::Ema, &weights)?;
        }
        let wants = Wants {
            labels: model.classes() > 0,
            // One plan is recorded, whichever step it is.
            whole_batches: true,
        };
        if dataset.rows() < training.batch {
            return Err(Error::field(
                "batch",
                format!(
                    "is {}, but the data has {} examples",
                    training.batch,
                    dataset.rows()
                ),
            ));
        }
        let limit = caps.binding_bytes.min(1 << 30);
        let (batch, seed) = (training.batch, training.seed);
        let feed = Feed::new(&store, dataset, batch, seed, limit, wants)?;
        let update = update_of(&training, phase, batch);
        let graph = model.training(0, &feed.data_type(), &update)?;
        let inputs = bindings(&feed.inputs_of(&graph))?;
        let plan = Plan::compile(&graph, &store, &inputs, PlanOptions::default())?;
        let timetable = Timetable::new(training, phases, feed.batches_per_epoch());
        store.set_state(0, seed, 0)?;
        store.write_schedule(0, &[timetable.row(0, 1.0)], true)?;
        Ok(Self {
            model,
            store,
            feed,
            plan,
            timetable,
            step: 0,
        })
    }

    /// Makes the next steps ready, `most` or fewer (64, and no further than an epoch's end), once between two submissions, and says how many: as often [`Live::plan`] must be recorded then, before the next submission. 0 only
    /// where `most` is, or where the training's steps are done.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn prepare(&mut self, most: usize) -> Result<usize> {
        let left = self.timetable.total().saturating_sub(self.step) as usize;
        let most = most.min(MOST).min(left);
        if most == 0 {
            return Ok(0);
        }
        let ready = self.feed.prepare(&self.store, self.step)?;
        let count = most.min(ready);
        let rows = (1..=count as u64).map(|i| self.timetable.row(self.step + i, 1.0));
        let rows: Vec<_> = rows.collect();
        self.store.write_schedule(self.step + 1, &rows, false)?;
        self.step += count as u64;
        Ok(count)
    }

    /// One step.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the weights lie.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The model.
    pub fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    /// Steps that were prepared so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The figures of the newest step that was submitted, an example each, waiting for it; none before the first.
    ///
    /// # Errors
    /// When a loss or gradient was not finite, or the device is lost.
    pub fn figures(&self) -> Result<Figures> {
        let ring = self.store.begin_ring()?.wait()?;
        if ring.halted() {
            return Err(Error::NotFinite {
                step: ring.step(),
                tensor: "a loss or a gradient".to_owned(),
                detail: "the step was refused, and all since".to_owned(),
                remedy: "train with a smaller `learning_rate`".to_owned(),
            });
        }
        let Some(last) = ring.step().checked_sub(1) else {
            return Ok(Figures::new());
        };
        let names = self.timetable.phases().iter().flat_map(|p| &p.metrics);
        let examples = self.timetable.training().batch as f64;
        let named = names.zip(ring.row(last));
        let mut figures: Figures = named
            .map(|(name, sum)| (name.clone(), f64::from(*sum) / examples))
            .collect();
        figures.extend(self.model.derived(&figures));
        Ok(figures)
    }
}
