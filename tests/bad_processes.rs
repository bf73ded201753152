//! What processes that are continuous in their noise do not have, their configurations, and the commands that train and sample them.

mod common;

use common::calls::{done, refused};
use common::continuous::{BATCH, data, edm, flow, kinds, points};
use wgen::graph::layout::Layout;
use wgen::models::Model;
use wgen::models::diffusion::process::{Edm, Kind, Prediction, Variance};
use wgen::models::diffusion::spacing::{LastSigma, SigmaSpacing, Spacing};
use wgen::models::diffusion::{Config, Diffusion, Loss};

#[test]
fn what_such_a_process_does_not_have_is_refused() {
    let with = |kind: Kind, change: &dyn Fn(&mut Config)| {
        let mut config = points(kind);
        change(&mut config);
        match Diffusion::new(config) {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    };
    for kind in [flow(1.0), edm()] {
        for (change, words) in [
            (
                &(|c: &mut Config| c.prediction = Prediction::Epsilon) as &dyn Fn(&mut Config),
                "`prediction` \"epsilon\" is not of the process",
            ),
            (
                &|c| c.prediction = Prediction::Velocity,
                "`prediction` \"v_prediction\"",
            ),
            (&|c| c.loss = Loss::MinSnr(5.0), "`loss`"),
            (&|c| c.loss = Loss::Vlb, "no timesteps to bound"),
            (
                &|c| c.variance = Variance::FixedLarge,
                "`variance` \"fixed_large\" is of ancestral steps",
            ),
            (
                &|c| c.process.zero_terminal_snr = true,
                "`zero_terminal_snr` is of variance-preserving",
            ),
            (&|c| c.process.beta_end = 0.5, "`beta_end` is of"),
            (
                &|c| c.sampling.sampler = "ddpm".to_owned(),
                "sampler ddpm is of variance-preserving processes",
            ),
            (
                &|c| c.sampling.sampler = "euler-a".to_owned(),
                "there is ddim, euler, heun",
            ),
            (
                &|c| c.sampling.spacing = Spacing::Trailing,
                "`spacing` by timesteps",
            ),
            (&|c| c.sampling.steps_offset = 1, "`steps_offset`"),
            (
                &|c| c.sampling.last_sigma = LastSigma::SigmaMin,
                "`last_sigma` sigma-min",
            ),
            (&|c| c.sampling.steps = 0, "0 sampling steps"),
        ] {
            let said = with(kind, change);
            assert!(said.contains(words), "{kind:?}: {said}");
        }
    }
    let said = with(flow(1.0), &|c| {
        c.sampling.sigmas = Some(SigmaSpacing::Karras);
    });
    assert!(said.contains("`spacing` by noise"), "{said}");
    let said = with(flow(0.0), &|_| {});
    assert!(said.contains("`shift` 0 must be above 0"), "{said}");
    let said = with(flow(1.0), &|c| c.sampling.shift = Some(f64::NAN));
    assert!(said.contains("`shift` NaN"), "{said}");
    let said = with(flow(1.0), &|c| c.sampling.steps = 1001);
    assert!(said.contains("1001 sampling steps"), "{said}");
    let said = with(edm(), &|c| c.sampling.shift = Some(2.0));
    assert!(said.contains("`shift` is of a flow"), "{said}");
    let said = with(Kind::VariancePreserving, &|c| c.sampling.shift = Some(2.0));
    assert!(said.contains("variance_preserving"), "{said}");
    let said = with(Kind::VariancePreserving, &|c| {
        c.prediction = Prediction::Flow;
    });
    assert!(said.contains("flow_prediction"), "{said}");
    for (change, words) in [
        (
            &(|e: &mut Edm| e.sigma_data = 0.0) as &dyn Fn(&mut Edm),
            "`sigma_data` 0",
        ),
        (&|e| e.sigma_min = 90.0, "`sigma_min` 90 must be below"),
        (&|e| e.log_mean = f64::NAN, "`log_mean` NaN"),
        (&|e| e.log_deviation = -1.0, "`log_deviation` -1"),
    ] {
        let mut numbers = Edm::default();
        change(&mut numbers);
        let said = with(Kind::Edm(numbers), &|_| {});
        assert!(said.contains(words), "{said}");
    }
    let model = Diffusion::new(points(edm())).unwrap();
    let said = model.bound(&data(), BATCH).unwrap_err().to_string();
    assert!(said.contains("`bound`: the process edm"), "{said}");
}

#[test]
fn a_configuration_keeps_its_process() {
    for kind in kinds() {
        let config = points(kind);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
    // What is as it always was is written as it always was.
    let text = serde_json::to_string(&points(Kind::VariancePreserving)).unwrap();
    assert!(!text.contains("kind") && !text.contains("shift"), "{text}");
    // The layout of a model is that of its network alone.
    let flowing = Diffusion::new(points(flow(1.0))).unwrap();
    assert!(Layout::new(flowing.parameters(), 1 << 27).is_ok());
}

/// A step of training, samples, and the folder again without what is ours in it: as diffusers would have saved it.
#[test]
fn commands_train_and_sample_such_processes() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    for (kind, more, class, pipeline) in [
        (
            "flow",
            ["--shift", "3"],
            "FlowMatchEulerDiscreteScheduler",
            true,
        ),
        ("edm", ["--sigma-data", "0.6"], "EDMEulerScheduler", false),
    ] {
        let folder = path(kind);
        let network = "--data digits:8 --steps 1 --batch 2 --channels 4,8 --groups 2 --head-channels 4 --no-previews";
        let mut arguments = vec!["train", "diffusion", "--process", kind, "--out", &folder];
        arguments.extend(network.split(' '));
        arguments.extend(more);
        done(&arguments);
        let picture = path("out.png");
        let sample = ["sample", &folder, "--n", "2", "--out", &picture];
        for how in [
            &["--steps", "3"][..],
            &["--sampler", "dpmpp-2m", "--steps", "3"],
            &["--threshold", "0.9", "--steps", "2"],
        ] {
            done(&[&sample[..], how].concat());
        }
        for (how, words) in [
            (&["--sampler", "ddpm"][..], "variance-preserving processes"),
            (&["--spacing", "trailing"], "--spacing by timesteps"),
            (&["--threshold", "2"], "--threshold 2 must be"),
        ] {
            refused(&[&sample[..], how].concat(), &[words]);
        }
        let scheduler = dir
            .path()
            .join(kind)
            .join("scheduler/scheduler_config.json");
        let text = std::fs::read_to_string(scheduler).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["_class_name"], class);
        assert!(json.get("beta_start").is_none(), "{text}");
        assert_eq!(
            dir.path().join(kind).join("model_index.json").exists(),
            pipeline
        );
        std::fs::remove_file(dir.path().join(kind).join("config.json")).unwrap();
        let run = wgen::Run::open(&folder).unwrap();
        let model = run.model().as_any().downcast_ref::<Diffusion>().unwrap();
        let config = model.config();
        match config.process.kind {
            Kind::Flow(flow) => {
                assert_eq!((flow.shift, config.prediction), (3.0, Prediction::Flow));
            }
            Kind::Edm(edm) => {
                assert_eq!((edm.sigma_data, config.prediction), (0.6, Prediction::Edm));
            }
            Kind::VariancePreserving => panic!("{text}"),
        }
        assert_eq!(config.sampling.shift_twice, kind == "flow");
    }
    let other = path("other");
    let train = ["train", "diffusion", "--data", "toy:ring8", "--out", &other];
    for (more, words) in [
        (
            ["--process", "edm", "--shift", "3"],
            "--shift is of --process flow",
        ),
        (
            ["--process", "flow", "--sigma-data", "1"],
            "--sigma-data is of --process edm",
        ),
        (
            ["--process", "flow", "--prediction", "epsilon"],
            "--prediction \"epsilon\" is not of the process flow",
        ),
        (
            ["--process", "edm", "--schedule", "cosine"],
            "--beta-schedule is of variance-preserving processes",
        ),
    ] {
        refused(&[&train[..], &more].concat(), &[words]);
    }
}

/// EDM has levels of its own, by their noise; those of a spacing by timesteps would be Karras' all the same.
#[test]
fn edm_is_not_spaced_by_timesteps() {
    let mut config = points(edm());
    assert!(Diffusion::new(config.clone()).is_ok());
    config.sampling.sigmas = None;
    let said = Diffusion::new(config).unwrap_err().to_string();
    assert!(said.contains("`spacing` by timesteps"), "{said}");
}
