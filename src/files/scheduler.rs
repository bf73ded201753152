//! `scheduler_config.json` of diffusers, of its releases from the first to today's.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::layouts::object;
use super::scheduler_classes::{self, Class};
use crate::error::{Error, Result};
use crate::models::diffusion::keys;
use crate::models::diffusion::process::{BetaSchedule, Prediction, RHO, Variance};
use crate::models::diffusion::samplers::{self, SamplerSettings, SolverType, TIMESTEP_SCALING};
use crate::models::diffusion::spacing::{LastSigma, SigmaSpacing, Spacing};

/// What diffusers' schedulers may be told, under their names; what has no value has its class's own default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Scheduler {
    pub(super) num_train_timesteps: usize,
    pub(super) beta_start: Option<f64>,
    pub(super) beta_end: Option<f64>,
    pub(super) beta_schedule: Option<BetaSchedule>,
    pub(super) trained_betas: Option<Vec<f64>>,
    pub(super) variance_type: Option<String>,
    pub(super) clip_sample: Option<bool>,
    pub(super) clip_sample_range: f64,
    pub(super) prediction_type: Prediction,
    pub(super) thresholding: bool,
    pub(super) dynamic_thresholding_ratio: f64,
    pub(super) sample_max_value: f64,
    pub(super) timestep_spacing: Option<Spacing>,
    pub(super) steps_offset: usize,
    pub(super) rescale_betas_zero_snr: bool,
    pub(super) set_alpha_to_one: bool,
    pub(super) use_karras_sigmas: Option<bool>,
    pub(super) use_exponential_sigmas: Option<bool>,
    pub(super) use_beta_sigmas: Option<bool>,
    pub(super) use_lu_lambdas: Option<bool>,
    pub(super) use_flow_sigmas: Option<bool>,
    pub(super) flow_shift: f64,
    pub(super) use_dynamic_shifting: bool,
    pub(super) time_shift_type: String,
    pub(super) shift_terminal: Option<f64>,
    pub(super) sigma_min: Option<f64>,
    pub(super) sigma_max: Option<f64>,
    pub(super) final_sigmas_type: Option<LastSigmaType>,
    pub(super) interpolation_type: String,
    pub(super) timestep_type: String,
    pub(super) solver_order: usize,
    pub(super) algorithm_type: String,
    pub(super) solver_type: Option<String>,
    pub(super) lower_order_final: bool,
    pub(super) euler_at_final: bool,
    pub(super) lambda_min_clipped: Option<f64>,
    pub(super) predict_x0: bool,
    pub(super) disable_corrector: Vec<usize>,
    pub(super) solver_p: Option<Json>,
    pub(super) original_inference_steps: Option<usize>,
    pub(super) timestep_scaling: f64,
    pub(super) shift: f64,
    pub(super) invert_sigmas: bool,
    pub(super) stochastic_sampling: bool,
    pub(super) sigma_data: f64,
    pub(super) sigma_schedule: String,
    pub(super) rho: f64,
}

/// `final_sigmas_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LastSigmaType {
    Zero,
    SigmaMin,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: None,
            beta_end: None,
            beta_schedule: None,
            trained_betas: None,
            variance_type: None,
            clip_sample: None,
            clip_sample_range: 1.0,
            prediction_type: Prediction::Epsilon,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            timestep_spacing: None,
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: true,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            use_beta_sigmas: None,
            use_lu_lambdas: None,
            use_flow_sigmas: None,
            flow_shift: 1.0,
            use_dynamic_shifting: false,
            time_shift_type: "exponential".to_owned(),
            shift_terminal: None,
            sigma_min: None,
            sigma_max: None,
            final_sigmas_type: None,
            interpolation_type: "linear".to_owned(),
            timestep_type: "discrete".to_owned(),
            solver_order: 2,
            algorithm_type: "dpmsolver++".to_owned(),
            solver_type: None,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: None,
            predict_x0: true,
            disable_corrector: Vec::new(),
            solver_p: None,
            original_inference_steps: None,
            timestep_scaling: TIMESTEP_SCALING,
            shift: 1.0,
            invert_sigmas: false,
            stochastic_sampling: false,
            sigma_data: 0.5,
            sigma_schedule: "karras".to_owned(),
            rho: RHO,
        }
    }
}

/// A scheduler's configuration as read.
pub(super) struct Read {
    pub(super) scheduler: Scheduler,
    pub(super) class: &'static Class,
    pub(super) sampling: SamplerSettings,
    /// Keys that have no effect.
    pub(super) passed: Vec<String>,
}

impl Read {
    /// What diffusers takes where there is no file: a `DDPMScheduler()`.
    ///
    /// # Errors
    /// Never in practice: it is supported.
    pub(super) fn without() -> Result<Self, String> {
        let (scheduler, class) = (Scheduler::default(), &scheduler_classes::ALL[0]);
        Ok(Self {
            sampling: scheduler.sampling(class)?,
            scheduler,
            class,
            passed: Vec::new(),
        })
    }
}

/// Reads a scheduler's file; `doubled` says whether the network predicts a variance too.
///
/// # Errors
/// When it cannot be read, is of another class, or has an option that is not supported, which is named.
pub(super) fn read(path: &Path, doubled: bool) -> Result<(Read, Variance)> {
    let wrong = |why: String| Error::format(path, why);
    let mut fields = object(path)?;
    let class = scheduler_classes::of(&fields).map_err(wrong)?;
    let mut passed = early(&mut fields).map_err(wrong)?;
    let all = serde_json::to_value(Scheduler::default()).map_err(|e| wrong(e.to_string()))?;
    let read = |key: &str| all.get(key).is_some();
    let others = scheduler_classes::without_effect(&mut fields, class, read).map_err(wrong)?;
    passed.extend(others);
    let (mut scheduler, others): (Scheduler, _) = keys::known(fields).map_err(wrong)?;
    passed.extend(others);
    passed.sort();
    let ancestral = class.keys.contains(&"variance_type");
    if scheduler.variance_type.as_deref() == Some("learned") && !ancestral && !doubled {
        // A DDIMScheduler has it of the scheduler that it was converted from, and no use for it.
        scheduler.variance_type = None;
        passed.push("variance_type".to_owned());
    }
    let variance = match scheduler.variance_type.as_deref() {
        None if doubled && class.name != "DDPMScheduler" => Variance::LearnedRange,
        None | Some("fixed_small" | "fixed_small_log") => Variance::FixedSmall,
        Some("fixed_large" | "fixed_large_log") => Variance::FixedLarge,
        Some("learned_range") => Variance::LearnedRange,
        Some(other) => {
            return Err(wrong(format!(
                "variance_type '{other}' is not supported; there is fixed_small, fixed_large, learned_range"
            )));
        }
    };
    let read = Read {
        sampling: scheduler.sampling(class).map_err(wrong)?,
        scheduler,
        class,
        passed,
    };
    Ok((read, variance))
}

impl Scheduler {
    /// How it samples.
    ///
    /// # Errors
    /// When it has an option that is not supported, with the nearest that is.
    fn sampling(&self, class: &Class) -> Result<SamplerSettings, String> {
        if class.is_continuous() {
            let sampler = samplers::find(class.sampler).map_err(|e| e.to_string())?;
            let usual = SamplerSettings {
                sampler: sampler.name.to_owned(),
                steps: sampler.usual_steps(self.num_train_timesteps),
                ..SamplerSettings::default()
            };
            return self.own_levels(class, usual);
        }
        self.refuse(class)?;
        let unipc = class.name == "UniPCMultistepScheduler";
        let name = match self.algorithm_type.as_str() {
            "sde-dpmsolver++" => "dpmpp-2m-sde",
            _ => class.sampler,
        };
        let sampler = samplers::find(name).map_err(|e| e.to_string())?;
        let last_sigma = match self.final_sigmas_type {
            Some(LastSigmaType::SigmaMin) => LastSigma::SigmaMin,
            None if !self.set_alpha_to_one => LastSigma::SigmaMin,
            _ => LastSigma::Zero,
        };
        let sigmas = match (self.use_karras_sigmas, self.use_exponential_sigmas) {
            (Some(true), Some(true)) => {
                return Err(
                    "use_karras_sigmas and use_exponential_sigmas: one of the two is possible"
                        .to_owned(),
                );
            }
            (Some(true), _) => Some(SigmaSpacing::Karras),
            (_, Some(true)) => Some(SigmaSpacing::Exponential),
            _ => None,
        };
        Ok(SamplerSettings {
            sampler: sampler.name.to_owned(),
            steps: sampler.usual_steps(self.num_train_timesteps),
            spacing: self.timestep_spacing.unwrap_or(sampler.spacing),
            steps_offset: self.steps_offset,
            sigmas,
            sigma_min: self.sigma_min.filter(|_| sigmas.is_some()),
            sigma_max: self.sigma_max.filter(|_| sigmas.is_some()),
            last_sigma,
            solver_type: match self.solver_type.as_deref() {
                Some("heun") if !unipc => SolverType::Heun,
                _ => SolverType::Midpoint,
            },
            solver_order: self.solver_order,
            lower_order_final: self.lower_order_final,
            euler_at_final: self.euler_at_final,
            lambda_min_clipped: self.lambda_min_clipped,
            original_steps: self.original_inference_steps,
            threshold: self.thresholding.then_some(self.dynamic_thresholding_ratio),
            threshold_max: self.thresholding.then_some(self.sample_max_value),
            ..SamplerSettings::default()
        })
    }

    /// Refuses what would change the result.
    fn refuse(&self, class: &Class) -> Result<(), String> {
        let unipc = class.name == "UniPCMultistepScheduler";
        let shown = |x: &Option<f64>| x.map_or("null".to_owned(), |x| x.to_string());
        let continuous =
            self.timestep_type == "continuous" && self.prediction_type == Prediction::Velocity;
        let algorithm = self.algorithm_type.as_str();
        let known = ["dpmsolver++", "sde-dpmsolver++", "deis"].contains(&algorithm);
        let solver = self.solver_type.as_deref().unwrap_or("midpoint");
        let solvers = ["midpoint", "heun", "logrho", "bh1", "bh2"];
        let refused = [
            ([Prediction::Flow, Prediction::Edm].contains(&self.prediction_type), format!("prediction_type {} is not supported: it is of models that match flows, or of EDM", serde_json::json!(self.prediction_type))),
            (self.timestep_scaling != TIMESTEP_SCALING, format!("timestep_scaling {} is not supported; the nearest is {TIMESTEP_SCALING}", self.timestep_scaling)),
            (self.trained_betas.is_some(), "trained_betas are not supported".to_owned()),
            (self.use_beta_sigmas == Some(true), "use_beta_sigmas true is not supported; the nearest is use_karras_sigmas true".to_owned()),
            (self.use_lu_lambdas == Some(true), "use_lu_lambdas true is not supported; the nearest is use_exponential_sigmas true".to_owned()),
            (self.use_flow_sigmas == Some(true), "use_flow_sigmas true is not supported: the model was trained to match flows".to_owned()),
            (self.use_dynamic_shifting, "use_dynamic_shifting true is not supported: it is of models that match flows".to_owned()),
            (self.shift_terminal.is_some(), format!("shift_terminal {} is not supported: it is of models that match flows", shown(&self.shift_terminal))),
            (self.interpolation_type != "linear", format!("interpolation_type '{}' is not supported; the nearest is use_exponential_sigmas true", self.interpolation_type)),
            (continuous, "timestep_type 'continuous' with v_prediction is not supported: the network was told ln(sigma) / 4; the nearest is 'discrete'".to_owned()),
            (!known, format!("algorithm_type '{algorithm}' is not supported; the nearest is 'dpmsolver++'")),
            (!solvers.contains(&solver), format!("solver_type '{solver}' is not supported; the nearest is 'midpoint'")),
            (unipc && solver == "bh1", "solver_type 'bh1' is not supported; the nearest is 'bh2'".to_owned()),
            (!(1..=2).contains(&self.solver_order) || (unipc && self.solver_order != 2), format!("solver_order {} is not supported; the nearest is 2", self.solver_order)),
            (!self.predict_x0, "predict_x0 false is not supported; the nearest is true".to_owned()),
            (!self.disable_corrector.is_empty(), "disable_corrector is not supported; the nearest is a DPMSolverMultistepScheduler, which corrects nothing".to_owned()),
            (self.solver_p.is_some(), "solver_p is not supported; the nearest is null".to_owned()),
        ];
        match refused.into_iter().find(|(is, _)| *is) {
            Some((_, why)) => Err(why),
            None => Ok(()),
        }
    }
}

/// Keys of early releases become today's. Gives those that say nothing beside today's.
///
/// Before 0.1 T was `timesteps` and clipping `clip_predicted_image`; up to 0.12 there was `predict_epsilon`, true or, for networks that predict
/// the image, false.
fn early(fields: &mut Map<String, Json>) -> Result<Vec<String>, String> {
    let mut passed = Vec::new();
    let renamed = [
        ("timesteps", "num_train_timesteps"),
        ("clip_predicted_image", "clip_sample"),
    ];
    for (old, today) in renamed {
        let meant = fields
            .get(old)
            .is_some_and(|v| v.is_u64() || v.is_boolean());
        if meant
            && !fields.contains_key(today)
            && let Some(value) = fields.remove(old)
        {
            fields.insert(today.to_owned(), value);
        }
    }
    match fields.remove("predict_epsilon") {
        None => {}
        Some(Json::Null) => passed.push("predict_epsilon".to_owned()),
        Some(Json::Bool(epsilon)) => {
            let meant = Json::from(if epsilon { "epsilon" } else { "sample" });
            let said = fields.entry("prediction_type").or_insert(meant.clone());
            if *said != meant {
                return Err(format!(
                    "predict_epsilon {epsilon} is prediction_type {meant}, but prediction_type is {said}; leave out the one that is wrong"
                ));
            }
        }
        Some(other) => {
            return Err(format!("predict_epsilon {other} must be true or false"));
        }
    }
    Ok(passed)
}
