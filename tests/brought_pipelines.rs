//! Folders that diffusers, of all its releases, and training scripts wrote: read as diffusers reads them, or what is missing is named.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use half::f16;
use safetensors::tensor::Dtype;
use serde_json::{Value as Json, json};
use wgen::Run;
use wgen::files::weights::{Tensors, read_tensors, to_file};
use wgen::graph::layout::Layout;
use wgen::models::diffusion::process::Prediction;
use wgen::models::diffusion::{Denoiser, Diffusion, unet};
use wgen::tensor::ImageShape;

use common::pickled;
use common::saved::{
    f32s, file, numbers, open, opened, opened_with, refused, shard, stored, temporary, vae,
};

/// A U-Net as diffusers' `save_pretrained` leaves it, whose configuration is ours with other values, or without where they are null.
fn save_unet(folder: &Path, more: &Json) -> (Vec<Vec<f32>>, Tensors) {
    let image = ImageShape {
        height: 8,
        width: 8,
        channels: 1,
    };
    let base = unet::Config {
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        ..unet::Config::of(image, &[4, 8], 1, &[])
    };
    let mut fields = base.to_diffusers();
    // As diffusers writes it.
    fields["mid_block_scale_factor"] = 1.into();
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let config = unet::Config::from_diffusers(&fields.to_string()).unwrap();
    let network = unet::UNet2DModel::new(config).unwrap();
    let layout = Layout::new(network.parameters(), u64::MAX).unwrap();
    let weights = numbers(&layout);
    let tensors = to_file(&layout.parameters, &weights, "");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), fields.to_string()).unwrap();
    let path = folder.join("diffusion_pytorch_model.safetensors");
    fs::write(path, file(&f32s(&tensors))).unwrap();
    (weights, tensors)
}

fn write_json(path: &Path, value: &Json) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// Changes the file's object.
fn change(path: &Path, more: &Json) {
    let mut json: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (name, value) in more.as_object().unwrap() {
        json[name] = value.clone();
    }
    write_json(path, &json);
}

fn pipeline(folder: &Path, unet: &Json, scheduler: &Json) -> (Vec<Vec<f32>>, Tensors) {
    let saved = save_unet(&folder.join("unet"), unet);
    let path = folder.join("scheduler/scheduler_config.json");
    write_json(
        &path,
        &json!({"_class_name": "DDPMScheduler", "num_train_timesteps": 20}),
    );
    change(&path, scheduler);
    let index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.1.1",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    write_json(&folder.join("model_index.json"), &index);
    saved
}

fn diffusion(run: &Run) -> wgen::models::diffusion::Config {
    let model = run.model().as_any().downcast_ref::<Diffusion>().unwrap();
    model.config().clone()
}

#[test]
fn halves_variants_shards_and_wrapped_names_of_pipelines_are_read() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = pipeline(&folder, &json!({}), &json!({}));
    let unet = folder.join("unet");
    let plain = unet.join("diffusion_pytorch_model.safetensors");
    assert_eq!(opened(&folder).weights(), weights);

    let halves = stored(&tensors, Dtype::F16, |x| {
        f16::from_f32(x).to_le_bytes().to_vec()
    });
    fs::write(&plain, file(&halves)).unwrap();
    let half = opened(&folder).weights().to_vec();
    let rounded = weights
        .iter()
        .map(|w| w.iter().map(|x| f16::from_f32(*x).to_f32()).collect());
    assert_eq!(half, rounded.collect::<Vec<Vec<f32>>>());
    fs::rename(
        &plain,
        unet.join("diffusion_pytorch_model.fp16.safetensors"),
    )
    .unwrap();
    assert_eq!(
        opened_with(&folder, &["fp16.safetensors is read"]).weights(),
        half
    );
    fs::remove_file(unet.join("diffusion_pytorch_model.fp16.safetensors")).unwrap();

    // An index of the variant, under diffusers' name for it.
    let names = shard(&unet, "diffusion_pytorch_model", &f32s(&tensors));
    assert_eq!(opened(&folder).weights(), weights);
    let index = unet.join("diffusion_pytorch_model.safetensors.index.json");
    fs::rename(
        index,
        unet.join("diffusion_pytorch_model.safetensors.index.fp16.json"),
    )
    .unwrap();
    assert_eq!(
        opened_with(&folder, &["index.fp16.json is read"]).weights(),
        weights
    );
    for name in names {
        fs::remove_file(unet.join(name)).unwrap();
    }
    fs::remove_file(unet.join("diffusion_pytorch_model.safetensors.index.fp16.json")).unwrap();

    // torch.compile's names, of today and with those that attention had before 0.15.
    let old = |name: &str| {
        let name = name.replace(".to_q.", ".query.").replace(".to_k.", ".key.");
        name.replace(".to_v.", ".value.")
            .replace(".to_out.0.", ".proj_attn.")
    };
    assert!(tensors.keys().any(|name| old(name) != *name));
    for rename in [&|n: &str| n.to_owned(), &old as &dyn Fn(&str) -> String] {
        let each = f32s(&tensors).into_iter();
        let compiled = each
            .map(|(n, t)| (format!("_orig_mod.{}", rename(&n)), t))
            .collect();
        fs::write(&plain, file(&compiled)).unwrap();
        assert_eq!(opened(&folder).weights(), weights);
    }
}

#[test]
fn keys_of_other_releases_are_passed_over_with_a_word() {
    let (_dir, folder) = temporary();
    let later = json!({
        "_class_name": "DDIMScheduler", "skip_prk_steps": true, "interpolation_type": "linear", "use_karras_sigmas": false, "sigma_min": null,
        "timestep_type": "discrete", "lower_order_final": true,
    });
    let (weights, _) = pipeline(&folder, &json!({}), &later);
    let words = [
        "scheduler_config.json",
        "interpolation_type, lower_order_final, sigma_min, skip_prk_steps, timestep_type, use_karras_sigmas",
    ];
    let run = opened_with(&folder, &words);
    assert_eq!(run.weights(), weights);
    assert_eq!(diffusion(&run).sampling.sampler, "ddim");
    assert_eq!(diffusion(&run).process.timesteps, 20);

    let first = json!({"tensor_format": "pt", "timestep_values": null, "predict_epsilon": true, "variance_type": "fixed_large"});
    pipeline(&folder, &json!({}), &first);
    let run = opened_with(&folder, &["over: tensor_format, timestep_values"]);
    assert_eq!(diffusion(&run).prediction, Prediction::Epsilon);

    // A training script's moving average, and a key that is to come.
    let average = json!({
        "decay": 0.9999, "inv_gamma": 1.0, "power": 0.75, "optimization_step": 100, "min_decay": 0.0, "update_after_step": 0,
        "use_ema_warmup": true, "of_the_year_2030": [1],
    });
    pipeline(&folder, &average, &json!({}));
    let words = [
        "unet/config.json",
        "decay",
        "optimization_step",
        "of_the_year_2030",
    ];
    assert_eq!(opened_with(&folder, &words).weights(), weights);

    // What begins with an underscore says where a file came from, and a byte order mark nothing.
    let private = json!({"_name_or_path": "someone/something", "_use_default_values": ["beta_end"], "beta_end": 0.5});
    pipeline(&folder, &json!({"_name_or_path": "x"}), &private);
    for name in ["unet/config.json", "scheduler/scheduler_config.json"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        fs::write(folder.join(name), format!("\u{feff}{text}")).unwrap();
    }
    assert_eq!(diffusion(&opened(&folder)).process.beta_end, 0.02);
}

#[test]
fn keys_of_the_first_schedulers_mean_what_they_meant() {
    let (_dir, folder) = temporary();
    let with = |more: Json| {
        pipeline(&folder, &json!({}), &json!({}));
        let path = folder.join("scheduler/scheduler_config.json");
        let mut all = json!({"_class_name": "DDPMScheduler"});
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        write_json(&path, &all);
    };
    with(json!({"predict_epsilon": false}));
    assert_eq!(diffusion(&opened(&folder)).prediction, Prediction::Sample);
    with(json!({"predict_epsilon": false, "prediction_type": "sample"}));
    assert_eq!(diffusion(&opened(&folder)).prediction, Prediction::Sample);
    with(json!({"predict_epsilon": null, "prediction_type": "v_prediction"}));
    assert_eq!(
        diffusion(&opened_with(&folder, &["predict_epsilon"])).prediction,
        Prediction::Velocity
    );
    with(json!({"predict_epsilon": true, "prediction_type": "v_prediction"}));
    refused(
        &folder,
        &[
            "predict_epsilon true",
            "prediction_type is \"v_prediction\"",
        ],
    );
    with(json!({"predict_epsilon": 0}));
    refused(&folder, &["predict_epsilon 0"]);
    // Before 0.1.
    with(json!({"timesteps": 50, "clip_predicted_image": false}));
    let config = diffusion(&opened(&folder));
    assert_eq!((config.process.timesteps, config.clip), (50, None));
    // Today's names are what counts where there are both; a list of timesteps never was T.
    with(json!({"timesteps": 50, "num_train_timesteps": 30}));
    assert_eq!(
        diffusion(&opened_with(&folder, &["over: timesteps"]))
            .process
            .timesteps,
        30
    );
    with(json!({"timesteps": [9, 4]}));
    assert_eq!(
        diffusion(&opened_with(&folder, &["over: timesteps"]))
            .process
            .timesteps,
        1000
    );
}

#[test]
fn what_would_change_results_is_refused_by_name() {
    let (_dir, folder) = temporary();
    for (key, value, words) in [
        ("trained_betas", json!([0.1, 0.2]), "trained_betas"),
        (
            "beta_schedule",
            json!("laplace"),
            "beta_schedule \"laplace\"",
        ),
        ("timestep_spacing", json!("log"), "timestep_spacing \"log\""),
        ("prediction_type", json!("flow"), "prediction_type \"flow\""),
        (
            "num_train_timesteps",
            json!("many"),
            "num_train_timesteps \"many\"",
        ),
        ("variance_type", json!("learned"), "variance_type 'learned'"),
    ] {
        pipeline(&folder, &json!({}), &json!({key: value}));
        refused(&folder, &["scheduler_config.json", words]);
    }
    for (key, value, words) in [
        (
            "time_embedding_type",
            json!("fourier"),
            "time_embedding_type 'fourier'",
        ),
        ("cross_attention_dim", json!(64), "cross_attention_dim 64"),
        ("layers_per_block", json!([1, 2]), "layers_per_block [1,2]"),
    ] {
        pipeline(&folder, &json!({}), &json!({}));
        change(&folder.join("unet/config.json"), &json!({key: value}));
        refused(&folder, &["unet/config.json", words]);
    }
    // DDIM has no use for a variance that it was given by the scheduler that it was converted from.
    let converted = json!({"_class_name": "DDIMScheduler", "variance_type": "learned"});
    pipeline(&folder, &json!({}), &converted);
    opened_with(&folder, &["over: variance_type"]);
    // Samples that something else makes pictures of.
    pipeline(&folder, &json!({}), &json!({}));
    change(
        &folder.join("model_index.json"),
        &json!({"safety_checker": [null, null]}),
    );
    opened(&folder);
    change(
        &folder.join("model_index.json"),
        &json!({"vqvae": ["diffusers", "VQModel"]}),
    );
    refused(&folder, &["model_index.json", "vqvae (VQModel)"]);
}

#[test]
fn folders_of_the_first_releases_are_read() {
    let (_dir, folder) = temporary();
    let (weights, _) = save_unet(&folder, &json!({}));
    let path = folder.join("config.json");
    let mut config: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for key in [
        "add_attention",
        "class_embed_type",
        "num_class_embeds",
        "downsample_type",
        "time_embedding_dim",
        "mid_block_type",
    ] {
        config.as_object_mut().unwrap().remove(key).unwrap();
    }
    write_json(&path, &config);
    let scheduler = json!({"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "num_train_timesteps": 30, "trained_betas": null});
    write_json(&folder.join("scheduler_config.json"), &scheduler);
    let index = json!({"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]});
    write_json(&folder.join("model_index.json"), &index);
    let run = opened(&folder);
    assert_eq!(run.weights(), weights);
    assert_eq!(diffusion(&run).process.timesteps, 30);
    fs::remove_file(folder.join("scheduler_config.json")).unwrap();
    refused(
        &folder,
        &[
            "no whole pipeline",
            "scheduler_config.json",
            "copy all of its files",
        ],
    );
    // Their weights are what torch.save wrote.
    let path = folder.join("diffusion_pytorch_model.safetensors");
    let tensors = read_tensors(&path).unwrap();
    fs::remove_file(&path).unwrap();
    write_json(&folder.join("scheduler_config.json"), &scheduler);
    for container in pickled::BOTH {
        let bytes = pickled::saved(container, &f32s(&tensors));
        fs::write(path.with_extension("bin"), bytes).unwrap();
        assert_eq!(opened(&folder).weights(), weights);
    }
}

#[test]
fn a_network_alone_is_sampled_as_diffusers_does_by_default() {
    let (_dir, folder) = temporary();
    let (weights, _) = save_unet(&folder, &json!({}));
    let words = [
        "has no scheduler_config.json",
        "DDPMScheduler()",
        "1000 timesteps",
    ];
    let run = opened_with(&folder, &words);
    assert_eq!(run.weights(), weights);
    let config = diffusion(&run);
    assert_eq!(
        (config.process.timesteps, config.prediction, config.clip),
        (1000, Prediction::Epsilon, Some(1.0))
    );
    assert_eq!(config.sampling.sampler, "ddpm");
    // A scheduler put there is taken.
    write_json(
        &folder.join("scheduler_config.json"),
        &json!({"_class_name": "DDIMScheduler", "num_train_timesteps": 40}),
    );
    assert_eq!(diffusion(&opened(&folder)).process.timesteps, 40);
    // The network's folder of a pipeline: the scheduler lies beside.
    let other = folder.join("pipeline");
    pipeline(&other, &json!({}), &json!({}));
    let run = opened_with(
        &other.join("unet"),
        &["the scheduler is the one of", "pipeline/scheduler/"],
    );
    assert_eq!(diffusion(&run).process.timesteps, 20);
    // A size that is not written down is diffusers' own, said.
    change(&folder.join("config.json"), &json!({"sample_size": null}));
    assert_eq!(
        opened_with(&folder, &["has no sample_size: images of 32 by 32"])
            .image()
            .height,
        32
    );
}

#[test]
fn checkpoints_of_training_scripts_give_their_moving_average() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("ddpm-model");
    let checkpoint = output.join("checkpoint-500");
    let (weights, tensors) = save_unet(
        &checkpoint.join("unet_ema"),
        &json!({"decay": 0.9999, "optimization_step": 100}),
    );
    let (run, said) = open(&checkpoint);
    assert_eq!(run.unwrap().weights(), weights);
    assert!(
        said.len() == 2
            && said[0].contains("decay, optimization_step")
            && said[1].contains("DDPMScheduler()"),
        "{said:?}"
    );

    save_unet(&checkpoint.join("unet"), &json!({}));
    let zeros = stored(&tensors, Dtype::F32, |_| vec![0; 4]);
    fs::write(
        checkpoint.join("unet/diffusion_pytorch_model.safetensors"),
        file(&zeros),
    )
    .unwrap();
    let (run, said) = open(&checkpoint);
    assert_eq!(run.unwrap().weights(), weights);
    assert!(
        said.iter()
            .any(|s| s.contains("unet_ema, which is read; for the other give its folder unet")),
        "{said:?}"
    );
    let run = opened_with(&checkpoint.join("unet"), &["DDPMScheduler()"]);
    assert!(run.weights().iter().flatten().all(|x| *x == 0.0));

    // Where the training came to its end, its scheduler lies beside the checkpoints.
    refused(
        &output,
        &["is no run folder", "there is one in it: checkpoint-500"],
    );
    pipeline(&output, &json!({}), &json!({}));
    assert_eq!(diffusion(&opened(&output)).process.timesteps, 20);
    let run = opened_with(&checkpoint.join("unet"), &["the scheduler is the one of"]);
    assert_eq!(diffusion(&run).process.timesteps, 20);
}

#[test]
fn a_folder_of_folders_says_which_to_give() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &["is no run folder: it has no config.json"]);
    // The cache of the Hugging Face Hub.
    let snapshot = dir.path().join("snapshots/0a1b2c");
    pipeline(&snapshot, &json!({}), &json!({}));
    refused(dir.path(), &["there is one in it: snapshots/0a1b2c"]);
    opened(&snapshot);
    for i in 0..9 {
        vae(&dir.path().join(format!("vae-{i}")));
    }
    refused(dir.path(), &["snapshots/0a1b2c, vae-0", "and others"]);
}

/// The classes of so many samples where none is asked for.
fn turns(run: &Run, count: usize) -> Vec<usize> {
    let sampling = run.model().sampling(count).unwrap();
    let (_, value) = sampling.classes.input(count, None, 0).unwrap().unwrap();
    let rows = value.shape.dims()[1];
    let flags = value.data.to_f32();
    let of = |row: &[f32]| row.iter().position(|x| *x == 1.0).unwrap();
    flags.chunks(rows).map(of).collect()
}

#[test]
fn every_class_of_what_diffusers_trained_takes_its_turn() {
    let (_dir, folder) = temporary();
    pipeline(&folder, &json!({"num_class_embeds": 5}), &json!({}));
    let run = opened(&folder);
    assert_eq!(
        (run.classes(), turns(&run, 7)),
        (5, vec![0, 1, 2, 3, 4, 0, 1])
    );
    assert_eq!(diffusion(&run).null_share, 0.0);
    // One class alone, and the version that we too write.
    pipeline(&folder, &json!({"num_class_embeds": 1}), &json!({}));
    assert_eq!(turns(&opened(&folder), 2), [0, 0]);

    // Ours are marked, and so are those in which no embedding is the null class.
    for (mark, classes) in [(json!(4), 4), (Json::Null, 5)] {
        pipeline(
            &folder,
            &json!({"num_class_embeds": 5, "_wgen_null_class": mark}),
            &json!({}),
        );
        let run = opened(&folder);
        let expected: Vec<usize> = (0..6).map(|i| i % classes).collect();
        assert_eq!(turns(&run, 6), expected);
        assert_eq!(diffusion(&run).null_share > 0.0, classes == 4);
    }
    for mark in [json!(2), json!(5), json!(-1), json!("last")] {
        pipeline(
            &folder,
            &json!({"num_class_embeds": 5, "_wgen_null_class": mark}),
            &json!({}),
        );
        refused(&folder, &["unet/config.json", "_wgen_null_class"]);
    }
    // Before there was a mark, ours had 1.0 here, where diffusers has 1.
    let before = json!({"num_class_embeds": 5, "mid_block_scale_factor": 1.0});
    pipeline(&folder, &before, &json!({}));
    assert_eq!(turns(&opened(&folder), 5), [0, 1, 2, 3, 0]);
    change(
        &folder.join("unet/config.json"),
        &json!({"_diffusers_version": "0.30.0"}),
    );
    assert_eq!(turns(&opened(&folder), 5), [0, 1, 2, 3, 4]);
}

#[test]
fn what_wgen_writes_for_diffusers_says_which_class_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let squares = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/squares");
    for (share, mark, classes) in [("0.1", json!(5), 5), ("0", Json::Null, 5)] {
        let out = dir.path().join(share);
        let status = Command::new(env!("CARGO_BIN_EXE_wgen"))
            .args([
                "-q",
                "--device",
                "cpu",
                "train",
                "diffusion",
                "--conditional",
                "--channels",
                "2,4",
                "--groups",
                "2",
            ])
            .args([
                "--head-channels",
                "2",
                "--batch",
                "4",
                "--timesteps",
                "4",
                "--steps",
                "1",
                "--null-share",
                share,
                "--data",
            ])
            .arg(format!("idx:{}", squares.display()))
            .arg("--out")
            .arg(&out)
            .status()
            .unwrap();
        assert!(status.success());
        let text = fs::read_to_string(out.join("unet/config.json")).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(json["_wgen_null_class"], mark);
        assert!(json.as_object().unwrap().contains_key("_wgen_null_class"));
        // As our own folder, and as what diffusers would have of it.
        let whole = opened(&out);
        fs::remove_file(out.join("config.json")).unwrap();
        let part = opened(&out);
        for run in [&whole, &part] {
            assert_eq!(
                (run.classes(), turns(run, 6)),
                (classes, vec![0, 1, 2, 3, 4, 0])
            );
        }
        assert_eq!(part.weights(), whole.weights());
        assert_eq!(diffusion(&part).null_share, diffusion(&whole).null_share);
    }
}
