//! A trained model in a folder, and what can be made of it on your device: decoder, encoder, sampler, renderer.
//!
//! ```
//! use wgen::{Choice, Gpu, Run};
//! # use std::sync::{Arc, atomic::AtomicBool};
//! # use wgen::models::vae::{Config, Vae};
//! # let dir = tempfile::tempdir().unwrap();
//! # let folder = dir.path().join("run");
//! # let data = wgen::data::digits::digits(16, 1);
//! # let training = wgen::files::Training { steps: Some(1), epochs: None, batch: 16, ..Default::default() };
//! # let model = Arc::new(Vae::new(Config { hidden: vec![16], latent: 2, ..Config::mnist() })?);
//! # let config = wgen::files::Config::new(model, data.shape, "digits", training);
//! # wgen::train::Trainer::new(&wgen::session::Device::Cpu, config, data, &folder, false)?.run(&AtomicBool::new(false), |_, _| Ok(()))?;
//!
//! // `folder` is a run of `wgen train vae`.
//! let run = Run::open(&folder)?;
//! assert_eq!((run.model().name(), run.latent(), run.data()), ("vae", Some(2), "digits"));
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let mut sampler = run.sampler(&gpu, 4)?;
//! sampler.begin(7, 0, None)?;
//! let images = sampler.samples()?;
//! assert_eq!(images.shape, [4, 784].into());
//! assert!(images.data.to_f32().iter().all(|x| (0.0..=1.0).contains(x)));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::Config;
use crate::files::folder::{read_config, read_weights};
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::graph::layout::Layout;
use crate::kernels::camera_rays::Camera;
use crate::models::diffusion::Diffusion;
use crate::models::diffusion::inpainting::Inpainting;
use crate::models::diffusion::samplers::{self, SamplerSettings};
use crate::models::noised_classifier::NoisedClassifier;
use crate::models::{DataType, Model};
use crate::plan::{Plan, Renderer, Sampler, Store, StoreOptions};
use crate::program::sampling::Classes;
use crate::program::{Flat, PlanOptions};
use crate::tensor::{DType, Data, ImageShape};

/// A trained model in a folder, ours or one that diffusers saved, and what can be made of it on the caller's device.
#[derive(Clone, Debug)]
pub struct Run {
    folder: PathBuf,
    config: Config,
    weights: Arc<Vec<Vec<f32>>>,
}

impl Run {
    /// Reads a folder: its configuration and its best weights, the moving average where it has one. Where training was stopped before its
    /// first end the weights are those of the newest checkpoint; a warning in the log says of which step.
    ///
    /// # Errors
    /// When it is no run folder and none of diffusers', or is damaged, naming the file.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let config = read_config(folder)?;
        let layout = Layout::new(config.model.parameters(), u64::MAX)?;
        let weights = read_weights(folder, &layout)?;
        Ok(Self {
            folder: folder.to_owned(),
            config,
            weights: Arc::new(weights),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model.
    pub fn model(&self) -> &dyn Model {
        self.config.model.as_ref()
    }

    /// Classes that it is conditional on, or tells apart; 0 where there are none.
    pub fn classes(&self) -> usize {
        self.model().classes()
    }

    /// What a decoder's or sampler's input `classes` takes: classes that the data had no examples of take no turn.
    pub fn conditioning(&self) -> Classes {
        let turns = self.config.reading.turns();
        self.model().conditioning().taking(&turns)
    }

    /// The size of its codes, where it has a decoder.
    pub fn latent(&self) -> Option<usize> {
        self.model().latent()
    }

    /// What one example is.
    pub fn image(&self) -> ImageShape {
        self.config.image
    }

    /// The data that it was trained on.
    pub fn data(&self) -> &str {
        &self.config.data
    }

    /// Its weights, a tensor a parameter in the order of [`Model::parameters`], as they lie on the device.
    pub fn weights(&self) -> &[Vec<f32>] {
        &self.weights
    }

    /// How its samples are drawn, of a diffusion model.
    pub fn sampler_settings(&self) -> Option<&SamplerSettings> {
        let model = self.model().as_any().downcast_ref::<Diffusion>()?;
        Some(&model.config().sampling)
    }

    /// How the sampler called `name` draws its samples where nothing else is asked for: what [`Run::with_sampler_settings`] takes, to be
    /// changed.
    ///
    /// ```
    /// # use wgen::models::diffusion::{Config, Diffusion, Network, mlp};
    /// # use wgen::tensor::ImageShape;
    /// # let image = ImageShape { height: 1, width: 2, channels: 1 };
    /// # let network = Network::Mlp(mlp::Config { width: 2, hidden: 16, blocks: 1, outputs: 2, classes: 0 });
    /// # let model = Diffusion::new(Config::of(image, false, network))?;
    /// // Of a run it is `run.settings_of_sampler("dpmpp-2m")?`.
    /// let settings = model.sampling_by("dpmpp-2m")?;
    /// assert_eq!((settings.sampler.as_str(), settings.steps), ("dpmpp-2m", 20));
    /// # Ok::<(), wgen::Error>(())
    /// ```
    ///
    /// # Errors
    /// When it is no diffusion model, or there is no such sampler.
    pub fn settings_of_sampler(&self, name: &str) -> Result<SamplerSettings> {
        self.diffusion()?.sampling_by(name)
    }

    /// Whether the sampler called `name` can sample it: some are of variance-preserving processes alone.
    pub fn is_sampled_by(&self, name: &str) -> bool {
        let Ok(model) = self.diffusion() else {
            return false;
        };
        let kind = &model.config().process.kind;
        samplers::find(name).is_ok_and(|e| kind.preserves_variance() || !e.only_variance_preserving)
    }

    /// The model, where it is a diffusion model.
    fn diffusion(&self) -> Result<&Diffusion> {
        let model = self.model();
        model.as_any().downcast_ref::<Diffusion>().ok_or_else(|| {
            Error::Usage(format!(
                "a {} model has one way to be sampled; settings are for diffusion models",
                model.name()
            ))
        })
    }

    /// The same weights, samples drawn in another way.
    ///
    /// # Errors
    /// When it is no diffusion model, or has no such way of sampling, naming the field.
    pub fn with_sampler_settings(mut self, settings: &SamplerSettings) -> Result<Self> {
        self.config.model = Arc::new(self.diffusion()?.with_sampling(settings)?);
        Ok(self)
    }

    /// The same model guided by a noised classifier's run, a scale of 0 being none (Dhariwal & Nichol 2021): both networks' weights, the
    /// classifier's behind the model's and under names that begin with `classifier.`. An unconditional model so gets classes to be asked for;
    /// a conditional one is told the same class as the classifier.
    ///
    /// # Errors
    /// When one is no diffusion model or the other no noised classifier, or they are of different processes, images or classes.
    pub fn guided_by(mut self, classifier: &Self, scale: f64) -> Result<Self> {
        let model = classifier.model();
        let Some(noised) = model.as_any().downcast_ref::<NoisedClassifier>() else {
            return Err(Error::format(
                &classifier.folder,
                format!(
                    "holds a {} model; a noised classifier is made with wgen train classifier --noised",
                    model.name()
                ),
            ));
        };
        let guide = NoisedClassifier::with_prefix(noised.config().clone(), "classifier.")?;
        let guided = self.diffusion()?.guided_by(Arc::new(guide), scale)?;
        let weights = self.weights.iter().chain(classifier.weights.iter());
        self.weights = Arc::new(weights.cloned().collect());
        self.config.model = Arc::new(guided);
        Ok(self)
    }

    /// The same model completing pictures, of which its sampler is given inputs `known` and `mask` ([`Diffusion::inpainting`]).
    ///
    /// # Errors
    /// When it is no diffusion model, or its sampler does not go with RePaint.
    pub fn inpainting(mut self, how: Inpainting) -> Result<Self> {
        self.config.model = Arc::new(self.diffusion()?.inpainting(how)?);
        Ok(self)
    }

    /// Its weights on a device.
    ///
    /// # Errors
    /// When memory is exhausted or a limit exceeded.
    pub fn store(&self, gpu: &Gpu) -> Result<Store> {
        let layout = Layout::new(self.model().parameters(), gpu.caps().binding_bytes)?;
        let store = Store::new(gpu, layout, StoreOptions::default())?;
        store.write(Flat::Parameters, &self.weights)?;
        Ok(store)
    }

    fn plan(&self, gpu: &Gpu, graph: &Graph) -> Result<Plan> {
        Plan::compile(graph, &self.store(gpu)?, &[], PlanOptions::default())
    }

    /// From codes to examples: input `z` `[count, latent]`, output `images` `[count, width]` in the range of the data. Of a conditional
    /// model also input `classes` `[count, classes]`, at first the classes in turn.
    ///
    /// # Errors
    /// When the model has no decoder, or the device refuses.
    pub fn decoder(&self, gpu: &Gpu, count: usize) -> Result<Plan> {
        let plan = self.plan(gpu, &self.model().decoding(count)?)?;
        let classes = self.conditioning().input(count, None, 0)?;
        if let Some((name, value)) = classes {
            plan.write(name, &value.data)?;
        }
        Ok(plan)
    }

    /// From examples to codes: input `data` `[count, width]` of f32 in the range of models (pixels in [0, 1]), outputs named by
    /// [`Model::codes`] and, where there is a decoder, `images`. Of a conditional model also input `labels` `[count, classes]` of bytes, 1 at
    /// the class.
    ///
    /// # Errors
    /// When the model has no encoder, or the device refuses.
    pub fn encoder(&self, gpu: &Gpu, count: usize) -> Result<Plan> {
        let data = DataType {
            rows: count,
            width: self.image().count(),
            dtype: DType::F32,
            indices: count,
            scale: 1.0,
            shift: 0.0,
            classes: self.classes(),
            cameras: None,
        };
        let plan = self.plan(gpu, &self.model().encoding(&data, count)?)?;
        plan.write("index", &Data::U32((0..count as u32).collect()))?;
        Ok(plan)
    }

    /// What draws `count` samples at a time. How, is as the folder says, or as [`Run::with_sampler_settings`] was told.
    ///
    /// # Errors
    /// When the model has no samples, or the device refuses.
    pub fn sampler(&self, gpu: &Gpu, count: usize) -> Result<Sampler> {
        let mut sampling = self.model().sampling(count)?;
        sampling.classes = sampling.classes.taking(&self.config.reading.turns());
        Sampler::new(sampling, &self.store(gpu)?, PlanOptions::default())
    }

    /// What renders views of a radiance field, `camera`'s pictures, which may be other than those that it has learned from.
    ///
    /// ```
    /// # use std::sync::{Arc, atomic::AtomicBool};
    /// # use wgen::data::{Spec, idx::Part, images::Options, scene::analytic};
    /// # use wgen::models::nerf::ngp::{Config, Ngp};
    /// use wgen::{Choice, Gpu, Run};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let folder = dir.path().join("run");
    /// # let data = "analytic:2".parse::<Spec>()?.load(Part::Training, &Options::default())?;
    /// # let small = Config { log2_entries: 8, levels: 2, finest_resolution: 32, grid: 16, steps: 32, ..Config::blender(analytic::camera()) };
    /// # let training = wgen::files::Training { steps: Some(1), epochs: None, batch: 16, ..Default::default() };
    /// # let config = wgen::files::Config::new(Arc::new(Ngp::new(small)?), data.shape, "analytic:2", training);
    /// # wgen::train::Trainer::new(&wgen::session::Device::Cpu, config, data, &folder, false)?.run(&AtomicBool::new(false), |_, _| Ok(()))?;
    ///
    /// // `folder` is a run of `wgen train ngp`. A quarter of its pictures' width and height, seen from 4 above the origin.
    /// let run = Run::open(&folder)?;
    /// let gpu = Gpu::new(&Choice::Auto)?;
    /// let camera = run.model().camera().unwrap();
    /// let camera = camera.resized(camera.width / 4, camera.height / 4);
    /// let mut renderer = run.renderer(&gpu, &camera)?;
    /// renderer.begin(&[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 4.0])?;
    /// // In an application's frame.
    /// let mut encoder = gpu.device().create_command_encoder(&Default::default());
    /// renderer.record(&mut encoder);
    /// gpu.queue().submit([encoder.finish()]);
    /// // Whatever is left of the picture.
    /// renderer.finish()?;
    /// let colour = renderer.plan().read("colour")?;
    /// assert_eq!(colour.shape, [camera.pixels(), 3].into());
    /// # Ok::<(), wgen::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the model is no radiance field, or the device refuses.
    pub fn renderer(&self, gpu: &Gpu, camera: &Camera) -> Result<Renderer> {
        let model = self.model();
        model.check_device(gpu.caps())?;
        let count = model.rays_at_once(gpu.caps().binding_bytes);
        let count = count.min(camera.pixels());
        let graph = model.rendering(camera, count)?;
        Renderer::new(
            &graph,
            &self.store(gpu)?,
            camera,
            count,
            PlanOptions::default(),
        )
    }
}
