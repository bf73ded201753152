//! How a diffusion model's samples are drawn, as a graph: the network, a classifier's gradient where one guides, and a sampler's rows.

use std::sync::Arc;

use super::Diffusion;
use super::config::Config;
use super::denoiser::{Conditions, Timestep, fraction_bits};
use super::given::LOW_RES;
use super::guide::Guide;
use super::process::{self, Kind, Process, Variance, table};
use super::samplers::{self, Needs, Reverse, ReverseStep, SamplerSettings};
use super::spacing::{Grid, SigmaSpacing, Spacing};
use crate::error::{Error, Result};
use crate::graph::{Graph, StepInputs, Var};
use crate::kernels::philox::Domain;
use crate::kernels::reverse_step::{COLUMNS, column};
use crate::models::model::Model;
use crate::nn::Pass;
use crate::program::sampling::{Begin, STEP, Sampling, State, Step, normal};
use crate::tensor::{DType, Data, Shape, TensorType, Value};

/// The stream of the noise that a sampler begins with.
pub(super) const PRIOR: &str = "prior";

/// The rows of a configuration's sampler from step `from` on.
pub(super) fn reverse_steps(
    config: &Config,
    process: &Process,
    from: usize,
) -> Result<Vec<ReverseStep>> {
    let settings = &config.sampling;
    let levels = settings.levels(process, &config.process)?;
    if from + 1 >= levels.len() {
        return Err(Error::Usage(format!(
            "diffusion: step {from} of {} sampling steps",
            levels.len() - 1
        )));
    }
    let reverse = Reverse {
        process,
        prediction: config.prediction,
        // A threshold takes the place of clipping.
        clip: config.clip.filter(|_| settings.threshold.is_none()),
        clip_guided: settings.clip_guided.unwrap_or(true),
        variance: config.variance,
    };
    let sampler = (samplers::find(&settings.sampler)?.build)(settings);
    let mut steps = sampler.steps(&reverse, &levels[from..]);
    for row in &mut steps {
        row.step += from;
        row.draw += from;
    }
    Ok(steps)
}

impl Diffusion {
    /// The rows of its sampler, the noisiest first; each is a call of the network. With jumps (RePaint) a step comes more than once.
    pub fn steps(&self) -> &[ReverseStep] {
        &self.steps
    }

    /// How many steps they are.
    pub fn step_count(&self) -> usize {
        match (self.steps.first(), self.steps.last()) {
            (Some(first), Some(last)) => last.step + 1 - first.step,
            _ => 0,
        }
    }

    /// How the sampler called `name` samples this model where nothing else is asked for: with the spacing of its class in diffusers, but trailing
    /// where the terminal SNR is zero, and with the levels of a process that has its own. Guidance stays.
    ///
    /// # Errors
    /// When there is no such sampler, saying which there are.
    pub fn sampling_by(&self, name: &str) -> Result<SamplerSettings> {
        let entry = samplers::find(name)?;
        let now = &self.config.sampling;
        let process = &self.config.process;
        Ok(SamplerSettings {
            sampler: entry.name.to_owned(),
            steps: entry.usual_steps(process.timesteps),
            spacing: match process.kind {
                Kind::VariancePreserving if process.zero_terminal_snr => Spacing::Trailing,
                Kind::VariancePreserving => entry.spacing,
                Kind::Flow(_) | Kind::Edm(_) => Spacing::Linspace,
            },
            sigmas: matches!(process.kind, Kind::Edm(_)).then_some(SigmaSpacing::Karras),
            shift: now.shift,
            shift_twice: now.shift_twice,
            guidance: now.guidance,
            classifier_scale: now.classifier_scale,
            clip_guided: now.clip_guided,
            ..SamplerSettings::default()
        })
    }

    /// The same model sampled in another way.
    ///
    /// # Errors
    /// When this model has no such way of sampling, naming the field.
    pub fn with_sampling(&self, sampling: &SamplerSettings) -> Result<Self> {
        self.config.check_sampling(sampling)?;
        if sampling.classifier_scale != 0.0 && self.guide.is_none() {
            return Err(Error::Usage(format!(
                "diffusion: `classifier_scale` {}: there is no classifier to guide by",
                sampling.classifier_scale
            )));
        }
        let config = Config {
            sampling: sampling.clone(),
            ..self.config.clone()
        };
        Self {
            config,
            ..self.clone()
        }
        .with_steps_from(0)
    }

    /// The same model sampled from step `step` on, x being the caller's ([`Diffusion::noised`]). Rows that look back to earlier steps are
    /// those of a sampler that begins there; noise is that of the whole process.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn from_step(&self, step: usize) -> Result<Self> {
        self.clone().with_steps_from(step)
    }

    /// The same model guided by a classifier, as [`SamplerSettings::classifier_scale`] says; its tensors come behind the network's.
    ///
    /// # Errors
    /// When the classifier is of another process, other examples or other classes.
    pub fn guided_by(&self, guide: Arc<dyn Guide>, scale: f64) -> Result<Self> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: the classifier {why}")));
        let config = &self.config;
        if guide.image() != config.image {
            return wrong(format!(
                "is for images of {}, the model for {}",
                guide.image(),
                config.image
            ));
        }
        if config.classes > 0 && guide.classes() != config.classes {
            return wrong(format!(
                "tells {} classes apart, the model has {}",
                guide.classes(),
                config.classes
            ));
        }
        // How tables are rounded is how a folder keeps them, not what the noise is.
        let rounding = config.process.rounding;
        let its = process::Config {
            rounding,
            ..guide.process().clone()
        };
        if its != config.process {
            return wrong(format!(
                "was trained on another process, {}, and not the model's, {}: it would take one noise for another",
                serde_json::json!(guide.process()),
                serde_json::json!(config.process)
            ));
        }
        let sampling = SamplerSettings {
            classifier_scale: scale,
            ..config.sampling.clone()
        };
        let guided = Self {
            guide: Some(guide),
            ..self.clone()
        };
        guided.with_sampling(&sampling)
    }

    /// The prediction of `x`; with guidance those by class and by the null class, one above the other, which the step mixes.
    fn guided<'g>(
        &self,
        graph: &'g Graph,
        x: Var<'g>,
        t: Timestep<'g>,
        told: Conditions<'g>,
    ) -> Var<'g> {
        let pass = Pass::evaluation(graph);
        let guided = self.config.sampling.guidance != 1.0;
        let Some(classes) = told.classes.filter(|_| guided) else {
            return self.predict(&pass, x, t, told);
        };
        let &[count, rows] = classes.shape().dims() else {
            return self.predict(&pass, x, t, told);
        };
        let of_null = |null: bool, columns: usize| {
            let value = if null { 1.0 } else { 0.0 };
            graph.constant(value).broadcast_to([count, columns])
        };
        let null = graph.concat(1, &[of_null(false, rows - 1), of_null(true, 1)]);
        let twice = |v: Var<'g>| graph.concat(0, &[v, v]);
        let told = Conditions {
            classes: Some(graph.concat(0, &[classes, null])),
            low_res: told.low_res.map(twice),
        };
        self.predict(&pass, twice(x), t, told)
    }

    /// The gradient of the classifier's log-probability by x (Dhariwal & Nichol 2021, algorithms 1 and 2): as x.
    fn classifier_gradient<'g>(
        &self,
        graph: &'g Graph,
        x: Var<'g>,
        t: Timestep<'g>,
        classes: Option<Var<'g>>,
    ) -> Option<Var<'g>> {
        let guide = self.guide.as_ref()?;
        // Without the null class, whose row is 0 and guides nowhere.
        let classes = classes?;
        let rows = classes.shape().dims()[1];
        let of_classes = if rows > guide.classes() {
            classes.slice(1, 0, guide.classes())
        } else {
            classes
        };
        let pass = Pass::evaluation(graph);
        let log_probability = guide.log_probability(&pass, x, t, of_classes);
        // Rows are independent: the gradient of the sum is each one's own.
        graph
            .gradients(log_probability.sum_all(), &[x])
            .first()
            .copied()
    }

    /// Images in the process's range, from that of the data.
    fn in_process<'g>(&self, images: Var<'g>) -> Var<'g> {
        if self.config.pixels {
            images * 2.0 - 1.0
        } else {
            images
        }
    }

    /// Images as a sampler sees them, from the process's range.
    fn images<'g>(&self, x: Var<'g>) -> Var<'g> {
        if self.config.pixels {
            (x * 0.5 + 0.5).clamp(0.0, 1.0)
        } else {
            x
        }
    }

    /// Examples at the sampler's step `step` by the forward process, from `x0` `[count, width]` in the range of the data: what img2img begins
    /// with. Input `x` of the sampler from there on ([`Diffusion::from_step`]).
    ///
    /// # Errors
    /// When there is no such step.
    pub fn noised(&self, x0: &[f32], step: usize, seed: u64) -> Result<Value> {
        let Some(at) = self.steps.iter().find(|row| row.step == step) else {
            return Err(Error::Usage(format!(
                "diffusion: step {step} of {} sampling steps",
                self.step_count()
            )));
        };
        let count = x0.len() / self.width();
        let noise = normal(PRIOR, count, self.width(), seed, 0);
        let values = x0.iter().zip(noise).map(|(&x, eps)| {
            let x = if self.config.pixels { 2.0 * x - 1.0 } else { x };
            (at.level.a * f64::from(x) + at.level.s * f64::from(eps)) as f32
        });
        Value::f32([count, self.width()], values.collect())
    }

    /// The deviation of the noise that its sampler begins with: 1, or that of the first level in the samplers of k-diffusion, but for leading
    /// timesteps, as diffusers has it; of the first level in flows and EDM (of EDM diffusers' own is larger by sqrt(S^2 + 1) / S, 8e-5 at S = 80).
    pub fn first_noise(&self) -> f32 {
        let settings = &self.config.sampling;
        let of_k = samplers::find(&settings.sampler).is_ok_and(|e| e.grid == Grid::Reals);
        match self.steps.first() {
            Some(row) if !self.process.kind.preserves_variance() => row.level.s as f32,
            Some(row) if of_k && settings.spacing != Spacing::Leading => row.level.s as f32,
            _ => 1.0,
        }
    }

    /// One row of the sampler a run: from inputs `x` `[count, width]` and `step` `[1]`, the number of the row, to the x and step of the next,
    /// which they become; inputs `previous` and `kept`, as x, of samplers that look back. Output `images` is x in the range of the data (of EDM between steps scaled as its network sees it),
    /// `x0` what the network takes for the image, in the process's. Input `classes` `[count, class rows]` of a conditional model; `known` and
    /// `mask`, as x, of one that completes pictures: `images` is x with the known over it, `next` also what a jump makes of it. Input `low_res`
    /// of super-resolution, `[count, its width]` in the range of the data.
    pub(super) fn sampling_graph(&self, count: usize) -> Result<Sampling> {
        let graph = Graph::new(Domain::Sampling);
        let settings = &self.config.sampling;
        let row = |step: &ReverseStep| Step {
            timestep: step.level.timestep,
            row: step
                .coefficients(settings.guidance, settings.classifier_scale)
                .to_vec(),
            begins: step.begins(),
        };
        let steps: Vec<Step> = self.steps.iter().map(row).collect();
        let flat = [count, self.width()];
        let x = graph.input("x", TensorType::f32(flat));
        let step = graph.input(STEP, TensorType::f32([1]));
        let (t, row) = current(&graph, &steps, step, self.process.len());
        let conditioning = self.conditioning();
        let rows = conditioning.columns();
        let classes = (rows > 0).then(|| graph.input("classes", TensorType::f32([count, rows])));
        let low_res = self.low_res().map(|small| {
            let given = graph.input(LOW_RES, TensorType::f32([count, small.count()]));
            self.in_process(given)
        });
        let told = Conditions {
            classes: classes.filter(|_| self.config.classes > 0),
            low_res,
        };
        let prediction = self.guided(&graph, x, t, told);
        let [pixels, channels] = self.pixels();
        let sizes = [count, pixels, channels];
        let gradient = self
            .classifier_gradient(&graph, x, t, classes)
            .map(|g| g.reshape(sizes));
        let shaped_x = x.reshape(sizes);
        let in_mean = self.steps.iter().any(|row| row.guides_mean);
        let x0 = shaped_x.predict_x0(prediction, row, gradient.filter(|_| !in_mean));
        let x0 = match settings.threshold {
            Some(ratio) => samplers::thresholded(x0.reshape(flat), ratio, settings.threshold_max)
                .reshape(sizes),
            None => x0,
        };
        let learned = self.config.variance == Variance::LearnedRange;
        let needs = Needs::of(&self.steps, learned);
        let state = |name: &str| graph.input(name, TensorType::f32(flat)).reshape(sizes);
        let inputs = StepInputs {
            prediction: needs.prediction.then_some(prediction),
            previous: needs.previous.then(|| state("previous")),
            kept: needs.kept.then(|| state("kept")),
            gradient: gradient.filter(|_| in_mean),
        };
        let next = shaped_x
            .reverse_step("reverse_step", x0, row, &inputs)
            .reshape(flat);
        let overlaid = self.overlaid(&graph, count, step);
        let (images, next) = match &overlaid {
            Some(o) => (o.images(self.images(next)), o.jumped(o.next(next))),
            None => (self.images(next), next),
        };
        graph.output("images", images);
        graph.output("x0", x0.reshape(flat));
        graph.output("next", next);
        graph.feed_back("x", next);
        graph.feed_back(STEP, step + 1.0);
        let held = |name, next, begin| State {
            name,
            next,
            shape: Shape::from(flat),
            begin,
        };
        let begin = Begin::Normal(PRIOR, self.first_noise());
        let mut states = vec![held("x", Some("next"), begin)];
        if needs.previous {
            graph.feed_back("previous", x0.reshape(flat));
            states.push(held("previous", None, Begin::Number(0.0)));
        }
        if needs.kept {
            let kept = keep(shaped_x, x0, row, &inputs).reshape(flat);
            graph.feed_back("kept", overlaid.map_or(kept, |o| o.kept(kept)));
            states.push(held("kept", None, Begin::Number(0.0)));
        }
        states.push(State {
            name: STEP,
            next: None,
            shape: [1].into(),
            begin: Begin::Number(0.0),
        });
        Ok(Sampling {
            graph,
            count,
            runs: steps.len(),
            state: states,
            given: self.given(count),
            steps,
            output: "images",
            classes: conditioning,
        })
    }
}

/// What a row keeps for the next.
fn keep<'g>(x: Var<'g>, x0: Var<'g>, row: Var<'g>, inputs: &StepInputs<'g>) -> Var<'g> {
    let of = |column: usize| row.slice(0, column, column + 1);
    let mut kept = of(column::KEEP_X) * x + of(column::KEEP_X0) * x0;
    if let Some(previous) = inputs.previous {
        kept = kept + of(column::KEEP_PREVIOUS) * previous;
    }
    if let Some(before) = inputs.kept {
        kept = kept + of(column::KEEP_KEPT) * before;
    }
    kept
}

/// The timestep `[1]` and the coefficients of the row that `step` says, from tables of all, of a process of `total` timesteps.
fn current<'g>(
    graph: &'g Graph,
    steps: &[Step],
    step: Var<'g>,
    total: usize,
) -> (Timestep<'g>, Var<'g>) {
    let rows = steps
        .iter()
        .flat_map(|s| s.row.iter().map(|&x| f64::from(x)));
    let rows = table(graph, "sampler.steps", steps.len(), rows);
    // As fine as a word can be, where there is anything between the integers.
    let fraction_bits = if steps.iter().all(|s| s.timestep.fract() == 0.0) {
        0
    } else {
        fraction_bits(total)
    };
    let unit = f64::from(1_u32 << fraction_bits);
    // Two's complement.
    let words = steps
        .iter()
        .map(|s| (s.timestep * unit).round() as i32 as u32);
    let timesteps = graph.table(
        "sampler.timesteps",
        Value {
            shape: [steps.len(), 1].into(),
            data: Data::U32(words.collect()),
        },
    );
    let place = step.cast(DType::U32);
    let t = Timestep {
        value: timesteps.gather(place).reshape([1]),
        fraction_bits,
    };
    (t, rows.gather(place).reshape([COLUMNS]))
}
