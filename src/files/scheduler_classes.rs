//! Which of diffusers' schedulers are read, and which of their keys mean something to which.

use serde_json::{Map, Value as Json};

use crate::models::diffusion::process::BetaSchedule;

/// A class of diffusers.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    /// The sampler that it is here.
    pub(super) sampler: &'static str,
    /// Where its file has none.
    pub(super) betas: [f64; 2],
    /// Where its file does not say: whether predictions of x_0 are clipped.
    pub(super) clips: bool,
    /// Keys that change what it does, beside those of all.
    pub(super) keys: &'static [&'static str],
}

/// Classes whose processes have no betas.
pub(super) const FLOW: &str = "FlowMatchEulerDiscreteScheduler";
pub(super) const EDM: &str = "EDMEulerScheduler";

/// Distilled models'.
const LCM: &str = "LCMScheduler";

impl Class {
    /// How betas grow where its file does not say.
    pub(super) fn beta_schedule(&self) -> BetaSchedule {
        if self.name == LCM {
            BetaSchedule::ScaledLinear
        } else {
            BetaSchedule::Linear
        }
    }

    /// Whether its process has no betas.
    pub(super) fn is_continuous(&self) -> bool {
        [FLOW, EDM].contains(&self.name)
    }

    /// Leaves the keys that its files have.
    pub(super) fn keep_own(&self, fields: &mut Map<String, Json>) {
        fields.retain(|name, _| {
            let key = name.as_str();
            if self.is_continuous() {
                return key == "num_train_timesteps" || self.keys.contains(&key);
            }
            COMMON.contains(&key) || self.keys.contains(&key) || THRESHOLDS.contains(&key)
        });
    }
}

/// What says how to threshold, of those that can.
const THRESHOLDS: &[&str] = &["dynamic_thresholding_ratio", "sample_max_value"];

/// Of all classes.
const COMMON: &[&str] = &[
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
];

const USUAL_BETAS: [f64; 2] = [1e-4, 0.02];

pub(super) const ALL: &[Class] = &[
    Class {
        name: "DDPMScheduler",
        sampler: "ddpm",
        betas: USUAL_BETAS,
        clips: true,
        keys: &[
            "variance_type",
            "clip_sample",
            "clip_sample_range",
            "thresholding",
            "rescale_betas_zero_snr",
        ],
    },
    Class {
        name: "DDIMScheduler",
        sampler: "ddim",
        betas: USUAL_BETAS,
        clips: true,
        keys: &[
            "clip_sample",
            "clip_sample_range",
            "thresholding",
            "rescale_betas_zero_snr",
            "set_alpha_to_one",
        ],
    },
    Class {
        name: "EulerDiscreteScheduler",
        sampler: "euler",
        betas: USUAL_BETAS,
        clips: false,
        keys: &[
            "rescale_betas_zero_snr",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "sigma_min",
            "sigma_max",
            "final_sigmas_type",
            "interpolation_type",
            "timestep_type",
        ],
    },
    Class {
        name: "EulerAncestralDiscreteScheduler",
        sampler: "euler-a",
        betas: USUAL_BETAS,
        clips: false,
        keys: &["rescale_betas_zero_snr"],
    },
    Class {
        name: "HeunDiscreteScheduler",
        sampler: "heun",
        betas: [0.00085, 0.012],
        clips: false,
        keys: &[
            "clip_sample",
            "clip_sample_range",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
        ],
    },
    Class {
        name: "DPMSolverMultistepScheduler",
        sampler: "dpmpp-2m",
        betas: USUAL_BETAS,
        clips: false,
        keys: &[
            "rescale_betas_zero_snr",
            "thresholding",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "use_lu_lambdas",
            "use_flow_sigmas",
            "flow_shift",
            "use_dynamic_shifting",
            "time_shift_type",
            "final_sigmas_type",
            "solver_order",
            "algorithm_type",
            "solver_type",
            "lower_order_final",
            "euler_at_final",
            "lambda_min_clipped",
        ],
    },
    Class {
        name: "UniPCMultistepScheduler",
        sampler: "unipc",
        betas: USUAL_BETAS,
        clips: false,
        keys: &[
            "rescale_betas_zero_snr",
            "thresholding",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "use_flow_sigmas",
            "flow_shift",
            "use_dynamic_shifting",
            "time_shift_type",
            "shift_terminal",
            "sigma_min",
            "sigma_max",
            "final_sigmas_type",
            "solver_order",
            "solver_type",
            "lower_order_final",
            "predict_x0",
            "disable_corrector",
            "solver_p",
        ],
    },
    Class {
        name: LCM,
        sampler: "lcm",
        betas: [0.00085, 0.012],
        clips: false,
        keys: &[
            "rescale_betas_zero_snr",
            "clip_sample",
            "clip_sample_range",
            "thresholding",
            "original_inference_steps",
            "timestep_scaling",
        ],
    },
    Class {
        name: FLOW,
        sampler: "euler",
        betas: USUAL_BETAS,
        clips: false,
        keys: &[
            "shift",
            "use_dynamic_shifting",
            "shift_terminal",
            "invert_sigmas",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "time_shift_type",
            "stochastic_sampling",
        ],
    },
    Class {
        name: EDM,
        sampler: "euler",
        betas: USUAL_BETAS,
        clips: false,
        keys: &[
            "sigma_data",
            "sigma_min",
            "sigma_max",
            "sigma_schedule",
            "prediction_type",
            "rho",
            "final_sigmas_type",
        ],
    },
];

/// Classes that are not read, and the nearest sampler.
const NEAREST: &[(&str, &str)] = &[
    ("PNDMScheduler", "DPMSolverMultistepScheduler"),
    ("LMSDiscreteScheduler", "DPMSolverMultistepScheduler"),
    ("DEISMultistepScheduler", "DPMSolverMultistepScheduler"),
    (
        "DPMSolverSinglestepScheduler",
        "DPMSolverMultistepScheduler",
    ),
    (
        "DPMSolverSDEScheduler",
        "DPMSolverMultistepScheduler with algorithm_type 'sde-dpmsolver++'",
    ),
    ("KDPM2DiscreteScheduler", "HeunDiscreteScheduler"),
    (
        "KDPM2AncestralDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
    ),
    ("DDIMParallelScheduler", "DDIMScheduler"),
    ("DDPMParallelScheduler", "DDPMScheduler"),
    ("SASolverScheduler", "DPMSolverMultistepScheduler"),
    (
        "FlowMatchHeunDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
    ),
    ("FlowMatchLCMScheduler", "FlowMatchEulerDiscreteScheduler"),
    ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler"),
];

/// Keys of diffusers' schedulers that are read of none, of 0.42.1 and of early releases: to a class that does not have them they
/// mean nothing.
const OTHERS: &[&str] = &[
    "algorithm",
    "base_image_seq_len",
    "base_shift",
    "clip_denoised",
    "clip_predicted_image",
    "corrector_order",
    "corrector_steps",
    "eta",
    "max_image_seq_len",
    "max_shift",
    "noise_mode",
    "num_inference_steps",
    "predict_epsilon",
    "predictor_order",
    "s_noise",
    "sampling_eps",
    "scale_factors",
    "scheduler_type",
    "skip_prk_steps",
    "snr",
    "snr_shift_scale",
    "stage_range",
    "stages",
    "tau_func",
    "tensor_format",
    "timestep_values",
    "timesteps",
];

/// The class that a file names.
///
/// # Errors
/// When it names none that is read, with the nearest.
pub(super) fn of(fields: &Map<String, Json>) -> Result<&'static Class, String> {
    let name = fields.get("_class_name").and_then(Json::as_str);
    ALL.iter().find(|c| Some(c.name) == name).ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|c| c.name).collect();
        let nearest = NEAREST.iter().find(|(class, _)| Some(*class) == name);
        let advice = nearest.map_or(String::new(), |(_, nearest)| {
            format!("; the nearest is {nearest}, into which diffusers converts it by from_config")
        });
        format!(
            "_class_name is {}; there is {}{advice}",
            name.unwrap_or("missing"),
            known.join(", "),
        )
    })
}

/// Takes away what means nothing to a class, and says what that was; `read` says of a key whether it is read of any.
///
/// # Errors
/// When a key is of no scheduler that is known and says something: what it does, nobody here knows.
pub(super) fn without_effect(
    fields: &mut Map<String, Json>,
    class: &Class,
    read: impl Fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let mut passed = Vec::new();
    let mut unknown = None;
    // DDIM's files have it of the scheduler that they were converted from: it is what the network's further channels are.
    let kept = ["variance_type"];
    fields.retain(|name, value| {
        let key = name.as_str();
        let own = COMMON.contains(&key)
            || class.keys.contains(&key)
            || kept.contains(&key)
            || THRESHOLDS.contains(&key);
        if own || key.starts_with('_') {
            return true;
        }
        let says_something = !matches!(value, Json::Null | Json::Bool(false));
        if !read(key) && !OTHERS.contains(&key) && says_something {
            unknown.get_or_insert(format!("{name} {value}"));
        }
        passed.push(name.clone());
        false
    });
    match unknown {
        Some(what) => Err(format!(
            "{what} is not known: it is of a later diffusers or of somebody's own, and may change the result; leave it out if it does not"
        )),
        None => Ok(passed),
    }
}
