//! `scheduler_config.json` of the classes of diffusers that are samplers here: what each key comes to, and what is refused.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::tempdir;
use wgen::Run;
use wgen::files::weights::{Tensors, write_tensors};
use wgen::models::diffusion::process::{
    BetaSchedule, Density, Edm, Flow, Kind, Prediction, Variance,
};
use wgen::models::diffusion::samplers::{ALL, SamplerSettings, SolverType, find};
use wgen::models::diffusion::spacing::{LastSigma, SigmaSpacing, Spacing};
use wgen::models::diffusion::{Config, Denoiser, Diffusion, unet};
use wgen::tensor::ImageShape;

/// A U-Net's folder as diffusers saves it, with weights of zero; its scheduler is to come.
fn small_pipeline(folder: &Path) {
    let image = ImageShape {
        height: 8,
        width: 8,
        channels: 1,
    };
    let config = unet::Config {
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        ..unet::Config::of(image, &[4, 8], 1, &[])
    };
    for name in ["unet", "scheduler"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("unet/config.json", &config.to_diffusers().to_string());
    write("model_index.json", r#"{"_class_name": "DDPMPipeline"}"#);
    let network = unet::UNet2DModel::new(config).unwrap();
    let zeros = |p: &wgen::graph::layout::Parameter| {
        let shape = p.file_shape();
        (
            p.name.clone(),
            (shape.dims().to_vec(), vec![0.0; shape.count()]),
        )
    };
    let tensors: Tensors = network.parameters().iter().map(zeros).collect();
    let weights = folder.join("unet/diffusion_pytorch_model.safetensors");
    write_tensors(&weights, &tensors).unwrap();
}

/// A model saved by diffusers with a scheduler of these keys.
fn opened(folder: &Path, scheduler: &Json) -> Result<Config, String> {
    small_pipeline(folder);
    let path = folder.join("scheduler/scheduler_config.json");
    fs::write(path, scheduler.to_string()).unwrap();
    let run = Run::open(folder).map_err(|e| e.to_string())?;
    let model = run.model().as_any().downcast_ref::<Diffusion>().unwrap();
    Ok(model.config().clone())
}

fn of(scheduler: Json) -> Result<Config, String> {
    let dir = tempdir().unwrap();
    opened(dir.path(), &scheduler)
}

#[test]
fn absent_keys_have_their_class_own_defaults() {
    for (class, sampler, spacing, clip, betas) in [
        (
            "DDPMScheduler",
            "ddpm",
            Spacing::Leading,
            Some(1.0),
            [1e-4, 0.02],
        ),
        (
            "DDIMScheduler",
            "ddim",
            Spacing::Leading,
            Some(1.0),
            [1e-4, 0.02],
        ),
        (
            "EulerDiscreteScheduler",
            "euler",
            Spacing::Linspace,
            None,
            [1e-4, 0.02],
        ),
        (
            "EulerAncestralDiscreteScheduler",
            "euler-a",
            Spacing::Linspace,
            None,
            [1e-4, 0.02],
        ),
        (
            "HeunDiscreteScheduler",
            "heun",
            Spacing::Linspace,
            None,
            [0.00085, 0.012],
        ),
        (
            "DPMSolverMultistepScheduler",
            "dpmpp-2m",
            Spacing::Linspace,
            None,
            [1e-4, 0.02],
        ),
        (
            "UniPCMultistepScheduler",
            "unipc",
            Spacing::Linspace,
            None,
            [1e-4, 0.02],
        ),
        (
            "LCMScheduler",
            "lcm",
            Spacing::Leading,
            None,
            [0.00085, 0.012],
        ),
    ] {
        let config = of(json!({"_class_name": class})).unwrap();
        let usual = SamplerSettings {
            sampler: sampler.to_owned(),
            spacing,
            steps: config.sampling.steps,
            ..SamplerSettings::default()
        };
        assert_eq!(config.sampling, usual, "{class}");
        assert_eq!(config.clip, clip, "{class}");
        let process = &config.process;
        assert_eq!([process.beta_start, process.beta_end], betas, "{class}");
        assert_eq!(process.timesteps, 1000);
        assert_eq!(
            (config.prediction, config.variance),
            (Prediction::Epsilon, Variance::FixedSmall)
        );
        assert_eq!(find(sampler).unwrap().scheduler, class);
    }
    // All samplers are some class's.
    assert_eq!(ALL.len(), 9);
}

#[test]
fn keys_are_honoured() {
    let config = of(json!({
        "_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 100, "beta_schedule": "scaled_linear",
        "algorithm_type": "sde-dpmsolver++", "solver_type": "heun", "use_karras_sigmas": true, "timestep_spacing": "trailing",
        "final_sigmas_type": "sigma_min", "lower_order_final": false, "euler_at_final": true, "prediction_type": "v_prediction",
        "lambda_min_clipped": -5.1, "steps_offset": 1, "rescale_betas_zero_snr": true,
    }))
    .unwrap();
    let sampling = &config.sampling;
    assert_eq!(sampling.sampler, "dpmpp-2m-sde");
    assert_eq!(sampling.solver_type, SolverType::Heun);
    assert_eq!(sampling.sigmas, Some(SigmaSpacing::Karras));
    assert_eq!(sampling.spacing, Spacing::Trailing);
    assert_eq!(sampling.last_sigma, LastSigma::SigmaMin);
    assert!(!sampling.lower_order_final && sampling.euler_at_final);
    assert_eq!(sampling.lambda_min_clipped, Some(-5.1));
    assert_eq!(sampling.steps_offset, 1);
    assert_eq!(config.process.beta_schedule, BetaSchedule::ScaledLinear);
    assert!(config.process.zero_terminal_snr);
    let first =
        of(json!({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 1})).unwrap();
    assert_eq!(first.sampling.solver_order, 1);
    let ends = of(json!({
        "_class_name": "EulerDiscreteScheduler", "use_exponential_sigmas": true, "sigma_min": 0.1, "sigma_max": 30.0,
    }))
    .unwrap()
    .sampling;
    assert_eq!(ends.sigmas, Some(SigmaSpacing::Exponential));
    assert_eq!((ends.sigma_min, ends.sigma_max), (Some(0.1), Some(30.0)));
    let clipped = of(
        json!({"_class_name": "HeunDiscreteScheduler", "clip_sample": true, "clip_sample_range": 2.0}),
    );
    assert_eq!(clipped.unwrap().clip, Some(2.0));
    let lcm = of(json!({"_class_name": "LCMScheduler", "original_inference_steps": 25})).unwrap();
    assert_eq!(lcm.process.beta_schedule, BetaSchedule::ScaledLinear);
    assert_eq!(lcm.sampling.original_steps, Some(25));
    assert_eq!(lcm.sampling.steps, 4);
    for class in ["DDPMScheduler", "DDIMScheduler", "UniPCMultistepScheduler"] {
        let limits = of(
            json!({"_class_name": class, "thresholding": true, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 3.0}),
        )
        .unwrap();
        let sampling = &limits.sampling;
        assert_eq!(
            (sampling.threshold, sampling.threshold_max),
            (Some(0.9), Some(3.0)),
            "{class}"
        );
    }
    let ddim = of(json!({"_class_name": "DDIMScheduler", "set_alpha_to_one": false})).unwrap();
    assert_eq!(ddim.sampling.last_sigma, LastSigma::SigmaMin);
}

#[test]
fn what_python_writes_for_infinity_is_read() {
    let dir = tempdir().unwrap();
    small_pipeline(dir.path());
    let text = r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "solver_order": 2}"#;
    fs::write(dir.path().join("scheduler/scheduler_config.json"), text).unwrap();
    let run = Run::open(dir.path()).unwrap();
    assert_eq!(run.sampler_settings().unwrap().lambda_min_clipped, None);
    // A file that was cut short is none.
    fs::write(
        dir.path().join("scheduler/scheduler_config.json"),
        &text[..60],
    )
    .unwrap();
    assert!(
        Run::open(dir.path())
            .unwrap_err()
            .to_string()
            .contains("malformed")
    );
}

#[test]
fn what_changes_results_is_refused_with_the_nearest() {
    let solver = "DPMSolverMultistepScheduler";
    for (class, key, value, words) in [
        (
            solver,
            "solver_order",
            json!(3),
            "solver_order 3 is not supported; the nearest is 2",
        ),
        (
            solver,
            "algorithm_type",
            json!("dpmsolver"),
            "algorithm_type 'dpmsolver' is not supported; the nearest is 'dpmsolver++'",
        ),
        (
            solver,
            "algorithm_type",
            json!("sde-dpmsolver"),
            "'sde-dpmsolver'",
        ),
        (
            solver,
            "use_lu_lambdas",
            json!(true),
            "use_lu_lambdas true is not supported; the nearest is use_exponential_sigmas",
        ),
        (
            solver,
            "use_flow_sigmas",
            json!(true),
            "use_flow_sigmas true",
        ),
        (
            solver,
            "prediction_type",
            json!("flow_prediction"),
            "prediction_type \"flow_prediction\"",
        ),
        (solver, "trained_betas", json!([0.1, 0.2]), "trained_betas"),
        (
            solver,
            "use_dynamic_shifting",
            json!(true),
            "use_dynamic_shifting true",
        ),
        (
            solver,
            "solver_type",
            json!("rk4"),
            "solver_type 'rk4' is not supported; the nearest is 'midpoint'",
        ),
        (
            "UniPCMultistepScheduler",
            "solver_order",
            json!(1),
            "solver_order 1",
        ),
        (
            "UniPCMultistepScheduler",
            "solver_type",
            json!("bh1"),
            "the nearest is 'bh2'",
        ),
        (
            "UniPCMultistepScheduler",
            "predict_x0",
            json!(false),
            "predict_x0 false",
        ),
        (
            "UniPCMultistepScheduler",
            "disable_corrector",
            json!([0]),
            "disable_corrector",
        ),
        (
            "UniPCMultistepScheduler",
            "shift_terminal",
            json!(0.1),
            "shift_terminal 0.1",
        ),
        (
            "EulerDiscreteScheduler",
            "use_beta_sigmas",
            json!(true),
            "use_beta_sigmas true is not supported; the nearest is use_karras_sigmas",
        ),
        (
            "EulerDiscreteScheduler",
            "interpolation_type",
            json!("log_linear"),
            "interpolation_type 'log_linear'",
        ),
        // Of nobody that is known.
        (
            "DDIMScheduler",
            "rescale_x_by",
            json!(0.5),
            "rescale_x_by 0.5 is not known",
        ),
    ] {
        let said = of(json!({"_class_name": class, key: value})).unwrap_err();
        assert!(
            said.contains(words) && said.contains("scheduler_config.json"),
            "{class}, {key}: {said}"
        );
    }
    let said = of(json!({"_class_name": solver, "thresholding": true, "sample_max_value": 0.5}));
    assert!(
        said.unwrap_err()
            .contains("`threshold_max` 0.5 must be at least 1")
    );
    let said = of(
        json!({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous", "prediction_type": "v_prediction"}),
    );
    assert!(said.unwrap_err().contains("timestep_type 'continuous'"));
    let said = of(
        json!({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true, "use_exponential_sigmas": true}),
    );
    assert!(said.unwrap_err().contains("one of the two"));
    for (class, nearest) in [
        ("PNDMScheduler", "DPMSolverMultistepScheduler"),
        ("LMSDiscreteScheduler", "DPMSolverMultistepScheduler"),
        ("DEISMultistepScheduler", "DPMSolverMultistepScheduler"),
        (
            "DPMSolverSinglestepScheduler",
            "DPMSolverMultistepScheduler",
        ),
        ("KDPM2DiscreteScheduler", "HeunDiscreteScheduler"),
    ] {
        let said = of(json!({"_class_name": class})).unwrap_err();
        assert!(
            said.contains(class) && said.contains(&format!("the nearest is {nearest}")),
            "{said}"
        );
    }
}

#[test]
fn keys_of_other_classes_change_nothing() {
    let plain = of(json!({"_class_name": "EulerAncestralDiscreteScheduler"})).unwrap();
    let with_others = of(json!({
        "_class_name": "EulerAncestralDiscreteScheduler", "use_karras_sigmas": true, "solver_order": 3, "clip_sample": true, "thresholding": true,
        "skip_prk_steps": true, "set_alpha_to_one": false, "final_sigmas_type": "sigma_min", "something_off": false, "something_new": null,
    }))
    .unwrap();
    assert_eq!(plain, with_others);
}

#[test]
fn a_run_keeps_what_it_was_told() {
    // Of folders that were written before samplers had names for it.
    let old = json!({
        "sampler": "ddim", "eta": 0.0, "steps": 10, "spacing": "leading", "steps_offset": 0, "guidance": 1.0, "set_alpha_to_one": false,
    });
    let settings: SamplerSettings = serde_json::from_value(old).unwrap();
    assert_eq!(settings.last_sigma, LastSigma::SigmaMin);
    let again: SamplerSettings =
        serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
    assert_eq!(settings, again);
}

#[test]
fn processes_without_betas_are_read() {
    let flow = of(json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15})).unwrap();
    assert_eq!(flow.prediction, Prediction::Flow);
    assert_eq!(flow.clip, None);
    let shifted = Flow {
        shift: 3.0,
        density: Density::Uniform,
    };
    assert_eq!(flow.process.kind, Kind::Flow(shifted));
    let sampling = &flow.sampling;
    assert_eq!((sampling.sampler.as_str(), sampling.steps), ("euler", 50));
    assert!(sampling.shift_twice);
    let plain = of(json!({"_class_name": "FlowMatchEulerDiscreteScheduler"})).unwrap();
    assert!(!plain.sampling.shift_twice);
    let edm = of(json!({
        "_class_name": "EDMEulerScheduler", "sigma_data": 0.6, "sigma_max": 60.0, "sigma_schedule": "exponential", "prediction_type": "epsilon",
    }))
    .unwrap();
    assert_eq!(edm.prediction, Prediction::Edm);
    let numbers = Edm {
        sigma_data: 0.6,
        sigma_max: 60.0,
        ..Edm::default()
    };
    assert_eq!(edm.process.kind, Kind::Edm(numbers));
    assert_eq!(edm.sampling.sigmas, Some(SigmaSpacing::Exponential));
    let karras = of(json!({"_class_name": "EDMEulerScheduler"})).unwrap();
    assert_eq!(karras.sampling.sigmas, Some(SigmaSpacing::Karras));
}

#[test]
fn what_changes_the_results_of_such_processes_is_refused() {
    let (flow, edm) = ("FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler");
    for (class, key, value, words) in [
        (
            flow,
            "use_dynamic_shifting",
            json!(true),
            "use_dynamic_shifting true is not supported: the shift would hang on the size",
        ),
        (
            flow,
            "shift_terminal",
            json!(0.1),
            "shift_terminal 0.1 is not supported",
        ),
        (flow, "invert_sigmas", json!(true), "invert_sigmas true"),
        (
            flow,
            "stochastic_sampling",
            json!(true),
            "stochastic_sampling true",
        ),
        (
            flow,
            "use_karras_sigmas",
            json!(true),
            "use_karras_sigmas true is not supported of flows",
        ),
        (flow, "shift", json!(0.0), "`shift` 0 must be above 0"),
        (
            edm,
            "prediction_type",
            json!("v_prediction"),
            "with the sign turned",
        ),
        (
            "LCMScheduler",
            "timestep_scaling",
            json!(5.0),
            "timestep_scaling 5 is not supported; the nearest is 10",
        ),
        (
            edm,
            "rho",
            json!(5.0),
            "rho 5 is not supported; the nearest is 7",
        ),
        (
            edm,
            "sigma_schedule",
            json!("beta"),
            "sigma_schedule 'beta'",
        ),
        (
            edm,
            "final_sigmas_type",
            json!("sigma_min"),
            "final_sigmas_type 'sigma_min'",
        ),
        (
            edm,
            "sigma_min",
            json!(90.0),
            "`sigma_min` 90 must be below",
        ),
    ] {
        let said = of(json!({"_class_name": class, key: value})).unwrap_err();
        assert!(said.contains(words), "{class}, {key}: {said}");
    }
    for (class, nearest) in [
        ("FlowMatchHeunDiscreteScheduler", flow),
        ("EDMDPMSolverMultistepScheduler", edm),
    ] {
        let said = of(json!({"_class_name": class})).unwrap_err();
        assert!(
            said.contains(&format!("the nearest is {nearest}")),
            "{said}"
        );
    }
}
