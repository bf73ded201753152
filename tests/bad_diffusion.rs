//! Bad input to diffusion models: an error that names what is wrong, and nothing written or lost.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::tempdir;
use wgen::files::folder::{read_config, read_weights};
use wgen::files::weights::{Tensors, write_tensors};
use wgen::graph::Graph;
use wgen::kernels::philox::Domain;
use wgen::models::diffusion::process::{self, Prediction, Variance};
use wgen::models::diffusion::samplers::{SamplerSettings, SolverType};
use wgen::models::diffusion::spacing::{SigmaSpacing, Spacing};
use wgen::models::diffusion::{Config, Denoiser, Diffusion, Loss, Network, mlp, unet};
use wgen::tensor::ImageShape;
use wgen::tensor::TensorType;

fn wgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(arguments)
        .output()
        .unwrap()
}

/// The command must end with status 2 and say each of `words`.
fn refused(arguments: &[&str], words: &[&str]) {
    let out = wgen(arguments);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
}

fn points() -> Config {
    let network = mlp::Config {
        width: 2,
        hidden: 8,
        blocks: 1,
        outputs: 2,
        classes: 0,
    };
    let image = ImageShape {
        height: 1,
        width: 2,
        channels: 1,
    };
    Config::of(image, false, Network::Mlp(network))
}

fn message<T>(result: wgen::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn processes_that_are_none_are_refused() {
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = points();
        change(&mut config);
        message(Diffusion::new(config))
    };
    let process = process::Config::default();
    for (change, words) in [
        (
            process::Config {
                timesteps: 0,
                ..process.clone()
            },
            "timesteps 0",
        ),
        (
            process::Config {
                timesteps: usize::MAX,
                ..process.clone()
            },
            "timesteps",
        ),
        (
            process::Config {
                beta_start: 0.0,
                ..process.clone()
            },
            "beta_start 0",
        ),
        (
            process::Config {
                beta_end: 1.0,
                ..process.clone()
            },
            "beta_end 1",
        ),
        (
            process::Config {
                beta_end: f64::NAN,
                ..process.clone()
            },
            "beta_end NaN",
        ),
    ] {
        let said = with(&|c| c.process = change.clone());
        assert!(said.contains(words), "{said}");
    }
    let said = with(&|c| c.sampling.steps = 1001);
    assert!(said.contains("1001 sampling steps"), "{said}");
    let said = with(&|c| c.sampling.steps = 0);
    assert!(said.contains("0 sampling steps"), "{said}");
    let said = with(&|c| c.sampling.eta = 1.5);
    assert!(said.contains("`eta` 1.5"), "{said}");
    let said = with(&|c| c.sampling.guidance = 2.0);
    assert!(said.contains("not conditional"), "{said}");
    let said = with(&|c| c.process.zero_terminal_snr = true);
    assert!(said.contains("v_prediction"), "{said}");
    let said = with(&|c| c.loss = Loss::Hybrid);
    assert!(said.contains("learned_range"), "{said}");
    let said = with(&|c| c.loss = Loss::MinSnr(0.0));
    assert!(said.contains("min_snr 0"), "{said}");
    let said = with(&|c| c.variance = Variance::LearnedRange);
    assert!(said.contains("needs 4 outputs"), "{said}");
    let said = with(&|c| c.accumulate = 0);
    assert!(said.contains("at least 1 part"), "{said}");
    let said = with(&|c| {
        c.sampling = SamplerSettings {
            spacing: Spacing::Leading,
            steps: 500,
            steps_offset: 2,
            ..c.sampling.clone()
        }
    });
    assert!(said.contains("offset 2"), "{said}");
    // What samplers cannot do.
    let karras = |c: &mut Config, steps: usize| {
        c.sampling.sampler = "euler".to_owned();
        c.sampling.sigmas = Some(SigmaSpacing::Karras);
        c.sampling.steps = steps;
    };
    let said = with(&|c| karras(c, 1));
    assert!(said.contains("1 step spaced by noise"), "{said}");
    let said = with(&|c| {
        karras(c, 5);
        (c.sampling.sigma_min, c.sampling.sigma_max) = (Some(3.0), Some(2.0));
    });
    assert!(
        said.contains("sigma_min 3 must be above 0 and below sigma_max 2"),
        "{said}"
    );
    let said = with(&|c| c.sampling.sigma_max = Some(2.0));
    assert!(said.contains("ends of karras and exponential"), "{said}");
    for scale in [f64::NAN, f64::INFINITY] {
        let said = with(&|c| c.sampling.classifier_scale = scale);
        assert!(
            said.contains("`classifier_scale`") && said.contains("finite"),
            "{said}"
        );
        let said = with(&|c| c.sampling.guidance = scale);
        assert!(said.contains("`guidance`"), "{said}");
    }
    let said = with(&|c| c.sampling.sampler = "plms".to_owned());
    assert!(
        said.contains("no sampler 'plms'; there is ddpm, ddim, euler"),
        "{said}"
    );
    let said = with(&|c| {
        c.sampling.sampler = "unipc".to_owned();
        c.sampling.eta = 0.5;
    });
    assert!(said.contains("`eta` is of ddim, not of unipc"), "{said}");
    let said = with(&|c| {
        c.sampling.sampler = "heun".to_owned();
        c.sampling.solver_type = SolverType::Heun;
    });
    assert!(
        said.contains("`solver_type` is of dpmpp-2m, dpmpp-2m-sde"),
        "{said}"
    );
    let said = with(&|c| {
        c.sampling.sampler = "dpmpp-2m".to_owned();
        c.sampling.steps = 1000;
    });
    assert!(
        said.contains("1000 sampling steps; from 1 to 999"),
        "{said}"
    );
    let said = with(&|c| {
        c.sampling.stride = true;
        c.sampling.sigmas = Some(SigmaSpacing::Exponential);
    });
    assert!(said.contains("`stride` counts timesteps"), "{said}");
    // What is needed of a null class.
    let said = with(&|c| {
        c.classes = 3;
        if let Network::Mlp(mlp) = &mut c.network {
            mlp.classes = 3;
        }
        c.sampling.guidance = 2.0;
    });
    assert!(said.contains("no null class"), "{said}");
    let velocity = Config {
        prediction: Prediction::Velocity,
        ..points()
    };
    assert!(Diffusion::new(velocity).is_ok());
}

fn unet_config() -> unet::Config {
    let image = ImageShape {
        height: 8,
        width: 8,
        channels: 1,
    };
    unet::Config {
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        ..unet::Config::of(image, &[4, 8], 1, &[])
    }
}

#[test]
fn options_that_a_unet_does_not_have_are_named() {
    let with = |field: &str, value: serde_json::Value| {
        let mut json = unet_config().to_diffusers();
        json[field] = value;
        message(unet::Config::from_diffusers(&json.to_string()))
    };
    for (field, value, words) in [
        (
            "time_embedding_type",
            "fourier".into(),
            "time_embedding_type 'fourier'",
        ),
        ("act_fn", "gelu".into(), "act_fn 'gelu'"),
        (
            "class_embed_type",
            "timestep".into(),
            "class_embed_type 'timestep'",
        ),
        (
            "mid_block_scale_factor",
            2.0.into(),
            "mid_block_scale_factor 2",
        ),
        ("cross_attention_dim", 64.into(), "cross_attention_dim"),
        (
            "_class_name",
            "UNet2DConditionModel".into(),
            "UNet2DConditionModel",
        ),
        (
            "down_block_types",
            serde_json::json!(["SkipDownBlock2D", "DownBlock2D"]),
            "SkipDownBlock2D",
        ),
        ("sample_size", 9.into(), "9 by 9 are not divided by 2"),
        ("norm_num_groups", 3.into(), "norm_num_groups 3"),
        ("attention_head_dim", 3.into(), "attention_head_dim 3"),
        ("resnet_time_scale_shift", "spatial".into(), "'spatial'"),
    ] {
        let said = with(field, value);
        assert!(said.contains(words), "{field}: {said}");
    }
    let wide = unet::Config {
        block_out_channels: vec![4, 1024],
        attention_head_dim: Some(1024),
        ..unet_config()
    };
    let said = message(wide.check());
    assert!(said.contains("attention_head_dim 1024"), "{said}");
}

#[test]
fn a_head_that_no_workgroup_holds_is_refused_in_a_graph() {
    let graph = Graph::new(Domain::Training);
    let x = graph.input("x", TensorType::f32([1, 4, 1, 516]));
    graph.output("y", x.attention(x, x));
    let said = message(graph.check());
    assert!(
        said.contains("head of 516 channels") && said.contains("512"),
        "{said}"
    );
}

/// A folder as diffusers saves it, with weights of zero.
fn pipeline(folder: &Path, classes: Option<usize>) {
    let config = unet::Config {
        num_class_embeds: classes,
        ..unet_config()
    };
    fs::create_dir_all(folder.join("unet")).unwrap();
    fs::create_dir_all(folder.join("scheduler")).unwrap();
    fs::write(
        folder.join("unet/config.json"),
        config.to_diffusers().to_string(),
    )
    .unwrap();
    fs::write(
        folder.join("scheduler/scheduler_config.json"),
        r#"{"_class_name": "DDPMScheduler", "num_train_timesteps": 20}"#,
    )
    .unwrap();
    fs::write(
        folder.join("model_index.json"),
        r#"{"_class_name": "DDPMPipeline"}"#,
    )
    .unwrap();
    let unet = unet::UNet2DModel::new(config).unwrap();
    let tensors: Tensors = unet
        .parameters()
        .iter()
        .map(|p| {
            let shape = p.file_shape();
            let zeros = vec![0.0; shape.count()];
            (p.name.clone(), (shape.dims().to_vec(), zeros))
        })
        .collect();
    write_tensors(
        &folder.join("unet/diffusion_pytorch_model.safetensors"),
        &tensors,
    )
    .unwrap();
}

#[test]
fn folders_of_diffusers_that_lack_something_are_refused() {
    let dir = tempdir().unwrap();
    let fresh = |name: &str| {
        let folder = dir.path().join(name);
        pipeline(&folder, None);
        folder
    };
    let folder = fresh("whole");
    let config = read_config(&folder).unwrap();
    let layout = wgen::graph::layout::Layout::new(config.model.parameters(), 1 << 27).unwrap();
    assert!(read_weights(&folder, &layout).is_ok());

    for file in ["unet/config.json", "scheduler/scheduler_config.json"] {
        let folder = fresh(&file.replace('/', "-"));
        fs::remove_file(folder.join(file)).unwrap();
        let said = message(read_config(&folder));
        assert!(said.contains(file), "{said}");
    }
    let folder = fresh("weights");
    let weights = folder.join("unet/diffusion_pytorch_model.safetensors");
    fs::remove_file(&weights).unwrap();
    let said = message(read_weights(&folder, &layout));
    assert!(
        said.contains("diffusion_pytorch_model.safetensors"),
        "{said}"
    );
    fs::write(folder.join("unet/diffusion_pytorch_model.bin"), b"PK").unwrap();
    let said = message(read_weights(&folder, &layout));
    assert!(
        said.contains("diffusion_pytorch_model.bin") && said.contains("cut short"),
        "{said}"
    );
    for (what, text, words) in [
        (
            "thresholding",
            r#"{"_class_name": "DDPMScheduler", "thresholding": true, "dynamic_thresholding_ratio": 1.5}"#,
            "`threshold` 1.5",
        ),
        (
            "schedule",
            r#"{"_class_name": "DDPMScheduler", "beta_schedule": "laplace"}"#,
            "beta_schedule \"laplace\"",
        ),
        (
            "class",
            r#"{"_class_name": "PNDMScheduler"}"#,
            "the nearest is DPMSolverMultistepScheduler",
        ),
        (
            "variance",
            r#"{"_class_name": "DDPMScheduler", "variance_type": "learned"}"#,
            "variance_type 'learned'",
        ),
        ("malformed", r#"{"_class_name""#, "scheduler_config.json"),
    ] {
        let folder = fresh(what);
        fs::write(folder.join("scheduler/scheduler_config.json"), text).unwrap();
        let said = message(read_config(&folder));
        assert!(said.contains(words), "{what}: {said}");
    }
}

#[test]
fn commands_refuse_what_a_diffusion_model_does_not_have() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (plain, conditional, picture) = (path("plain"), path("conditional"), path("out.png"));
    pipeline(Path::new(&plain), None);
    pipeline(Path::new(&conditional), Some(4));
    let sample = |folder: &str, more: &[&str], words: &[&str]| {
        let mut arguments = vec!["sample", folder, "--n", "2", "--out", &picture];
        arguments.extend(more);
        refused(&arguments, words);
    };
    sample(&plain, &["--class", "1"], &["not conditional"]);
    sample(&plain, &["--guidance", "2"], &["not conditional"]);
    sample(&conditional, &["--class", "4"], &["4 classes"]);
    sample(&plain, &["--steps", "21"], &["21 sampling steps", "20"]);
    sample(&plain, &["--sampler", "ddpm", "--eta", "0.5"], &["--eta"]);
    let clipped = "--use-clipped-model-output";
    sample(
        &plain,
        &["--sampler", "ddpm", clipped, "true"],
        &[clipped, "ddim"],
    );
    sample(&plain, &["--filters"], &["no"]);
    let noise = path("noise.safetensors");
    let tensors = Tensors::from([("noise".to_owned(), (vec![2, 1, 8, 7], vec![0.0; 112]))]);
    write_tensors(Path::new(&noise), &tensors).unwrap();
    sample(
        &plain,
        &["--init-noise", &noise],
        &["[2, 1, 8, 7]", "[2, 1, 8, 8]"],
    );
    let tensors = Tensors::from([("eps".to_owned(), (vec![1], vec![0.0]))]);
    write_tensors(Path::new(&noise), &tensors).unwrap();
    sample(
        &plain,
        &["--init-noise", &noise],
        &["no tensor 'noise'", "eps"],
    );
    sample(
        &plain,
        &["--data", "digits:20"],
        &["the data is 28 x 28", "8 x 8 in grey"],
    );
    let animation = format!("{picture}.gif");
    refused(
        &[
            "sample", &plain, "--n", "101", "--gif", &animation, "--out", &picture,
        ],
        &["at most 64"],
    );
    assert!(!Path::new(&picture).exists());
    // What is asked for in the end is made.
    let made = wgen(&[
        "sample",
        &conditional,
        "--n",
        "2",
        "--class",
        "1",
        "--guidance",
        "2",
        "--steps",
        "2",
        "--sampler",
        "ddim",
        "--out",
        &picture,
    ]);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    assert!(Path::new(&picture).exists());

    let out = path("run");
    for (more, words) in [
        (["--timesteps", "0"], "timesteps 0"),
        (["--beta-end", "1.5"], "beta_end 1.5"),
        (["--channels", "32,32,32,32"], "not divided by 8"),
        (["--channels", "8,12"], "norm_num_groups 8"),
        (["--accumulate", "0"], "at least 1 part"),
    ] {
        let usual = [
            "train",
            "diffusion",
            "--data",
            "digits:40",
            "--steps",
            "1",
            "--out",
            &out,
        ];
        refused(&[&usual[..], &more[..]].concat(), &[words]);
    }
    assert!(!Path::new(&out).exists());
}
