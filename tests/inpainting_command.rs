//! `wgen sample --mask`: pictures completed on the command line, what is said of it, and what is refused.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::calls::{done, refused};
use image::{GrayImage, Luma, Rgb, RgbImage};
use tempfile::{TempDir, tempdir};
use wgen::Run;
use wgen::data::idx::Part;
use wgen::data::{Dataset, Spec, images::Options};
use wgen::files::weights::read_tensors;
use wgen::files::{Config as RunConfig, Training};
use wgen::models::Model;
use wgen::models::diffusion::inpainting::Inpainting;
use wgen::models::diffusion::{Config, Diffusion, Network, unet};
use wgen::models::vae::{self, Vae};
use wgen::session::Device;
use wgen::tensor::ImageShape;
use wgen::train::Trainer;

fn small(image: ImageShape) -> Arc<dyn Model> {
    let network = unet::Config {
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        ..unet::Config::of(image, &[4, 8], 1, &[])
    };
    let model = Config::of(image, true, Network::Unet(Box::new(network)));
    Arc::new(Diffusion::new(model).unwrap())
}

fn trained(model: Arc<dyn Model>, data: Dataset, spec: &str, folder: &Path) {
    let training = Training {
        steps: Some(1),
        epochs: None,
        batch: 4,
        ..Training::default()
    };
    let config = RunConfig::new(model, data.shape, spec, training);
    Trainer::new(&Device::Cpu, config, data, folder, false)
        .unwrap()
        .run(&AtomicBool::new(false), |_, _| Ok(()))
        .unwrap();
}

struct Place(TempDir);

impl Place {
    /// With a diffusion model of digits in `run`.
    fn new() -> Self {
        let place = Self(tempdir().unwrap());
        let data = wgen::data::digits::digits(8, 1);
        trained(
            small(data.shape),
            data,
            "digits",
            &place.0.path().join("run"),
        );
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// Tensor `images` of a file that was written.
    fn images(&self, name: &str) -> Vec<f32> {
        let tensors = read_tensors(Path::new(&self.path(name))).unwrap();
        tensors["images"].1.clone()
    }
}

/// The first held-out digits, as models see them.
fn digits(n: usize) -> Vec<f32> {
    let spec: Spec = "digits".parse().unwrap();
    let data = spec.load(Part::Test, &Options::default()).unwrap();
    data.select(&(0..n).collect::<Vec<_>>()).scaled()
}

#[test]
fn pictures_are_completed_where_the_mask_is_black() {
    let place = Place::new();
    let (run, out, saved) = (
        place.path("run"),
        place.path("out.png"),
        place.path("x.safetensors"),
    );
    let sample = [
        "sample",
        &run,
        "--data",
        "digits",
        "--n",
        "2",
        "--out",
        &out,
        "--save-tensor",
        &saved,
    ];
    // A mask of three greys, in columns.
    let mask = place.path("mask.png");
    let grey = |x: u32| [255, 255, 128, 0][x as usize / 7];
    GrayImage::from_fn(28, 28, |x, _| Luma([grey(x)]))
        .save(&mask)
        .unwrap();
    let said = done(&[&sample[..], &["--steps", "3", "--mask", &mask]].concat());
    assert!(
        said.contains("2 pictures completed") && said.contains("62.5 % of each kept"),
        "{said}"
    );
    assert!(said.contains("3 steps, 3 calls of the network"), "{said}");
    let (known, made) = (digits(2), place.images("x.safetensors"));
    let differ = |of: &dyn Fn(usize, usize) -> bool| {
        let anew = |i: &usize| of(i % 784 / 28, i % 28) && made[*i] != known[*i];
        (0..made.len()).filter(anew).count()
    };
    assert_eq!(differ(&|_, x| x < 14), 0);
    assert!(differ(&|_, x| x >= 21) > 300);

    // Parts by name, and each sampler; all of what is said for a machine.
    for (part, anew) in [
        ("lower-half", (|y, _| y >= 14) as fn(usize, usize) -> bool),
        ("upper-half", |y, _| y < 14),
        ("left-half", |_, x| x < 14),
        ("right-half", |_, x| x >= 14),
        ("centre", |y, x| {
            (7..21).contains(&y) && (7..21).contains(&x)
        }),
    ] {
        let words = [
            "--sampler",
            "heun",
            "--steps",
            "2",
            "--mask",
            part,
            "--json",
        ];
        let said = done(&[&sample[..], &words].concat());
        assert!(said.contains("\"calls\": 3"), "{said}");
        let made = place.images("x.safetensors");
        for (i, (a, b)) in made.iter().zip(&known).enumerate() {
            assert!(anew(i % 784 / 28, i % 28) || a == b, "{part}, {i}");
        }
        assert_ne!(made, known, "{part}");
    }

    // RePaint, with its calls, animations and chains as ever.
    let gif = place.path("x.gif");
    let jumps = ["--sampler", "ddpm", "--steps", "6", "--mask", "centre"];
    let more = ["--jump-length", "2", "--jump-samples", "3", "--gif", &gif];
    let said = done(&[&sample[..], &jumps, &more].concat());
    assert!(
        said.contains("ddpm: 6 steps, 8 steps back up, 14 calls of the network"),
        "{said}"
    );
    assert!(Path::new(&gif).exists());
    // Some of the steps: begun with the pictures, as img2img is.
    let words = ["--steps", "4", "--mask", "centre", "--strength", "0.5"];
    let said = done(&[&sample[..], &words].concat());
    assert!(said.contains("2 steps, 2 calls"), "{said}");
    // Fresh noise without jumps.
    let words = ["--jump-samples", "1"];
    let said = done(&[&sample[..], &jumps, &words].concat());
    assert!(said.contains("6 steps, 6 calls"), "{said}");
}

#[test]
fn pictures_of_files_are_completed_in_turn() {
    let place = Place::new();
    // In colour, so that a mask is of all channels.
    let shape = ImageShape {
        height: 28,
        width: 28,
        channels: 3,
    };
    let folder = place.path("pictures");
    fs::create_dir(&folder).unwrap();
    let picture = |seed: u32| {
        RgbImage::from_fn(28, 28, |x, y| {
            Rgb([x * 9, y * 9, seed * 20].map(|v| v as u8))
        })
    };
    for seed in 0..4 {
        picture(seed).save(format!("{folder}/{seed}.png")).unwrap();
    }
    let spec: Spec = format!("images:{folder}").parse().unwrap();
    let data = spec.load(Part::Training, &Options::default()).unwrap();
    let run = place.path("colour");
    trained(small(shape), data, &spec.to_string(), Path::new(&run));
    let (out, saved) = (place.path("out.png"), place.path("x.safetensors"));
    let [a, b] = [0, 3].map(|seed| format!("{folder}/{seed}.png"));
    done(&[
        "sample",
        &run,
        "--n",
        "3",
        "--steps",
        "2",
        "--mask",
        "upper-half",
        "--out",
        &out,
        "--save-tensor",
        &saved,
        "--init-image",
        &a,
        &b,
    ]);
    let made = place.images("x.safetensors");
    for (i, seed) in [0, 3, 0].into_iter().enumerate() {
        let own = &made[i * 2352..(i + 1) * 2352];
        let known = picture(seed).into_raw();
        let known: Vec<f32> = known
            .iter()
            .map(|&b| f32::from(b) * (1.0 / 255.0))
            .collect();
        assert_eq!(own[1176..], known[1176..]);
        assert_ne!(own[..1176], known[..1176]);
    }
}

#[test]
fn what_cannot_be_completed_is_refused() {
    let place = Place::new();
    let (run, out) = (place.path("run"), place.path("out.png"));
    let sample = ["sample", &run, "--n", "2", "--steps", "4", "--out", &out];
    let data = ["--data", "digits"];
    let wrong = place.path("wrong.png");
    GrayImage::new(20, 28).save(&wrong).unwrap();
    let text = place.path("text.png");
    fs::write(&text, "no picture").unwrap();
    let none = place.path("none.png");
    let with = |more: &[&str], words: &[&str]| {
        refused(&[&sample[..], &data, more].concat(), words);
        assert!(!Path::new(&out).exists());
    };
    with(&["--mask", &wrong], &["20 x 28", "28 x 28", "--mask"]);
    with(&["--mask", &text], &["text.png"]);
    with(&["--mask", &none], &["none.png"]);
    with(
        &[
            "--mask",
            "centre",
            "--sampler",
            "dpmpp-2m",
            "--jump-length",
            "2",
        ],
        &["--sampler dpmpp-2m", "ddpm", "--eta"],
    );
    with(
        &["--mask", "centre", "--jump-length", "2"],
        &["ddim with --eta 0"],
    );
    let ddpm = ["--mask", "centre", "--sampler", "ddpm", "--steps", "5"];
    let five = ["sample", &run, "--n", "2", "--out", &out];
    for (length, words) in [("0", "--jump-length 0"), ("5", "there are 5 steps")] {
        let more = ["--jump-length", length];
        refused(&[&five[..], &data, &ddpm, &more].concat(), &[words]);
    }
    refused(
        &[&five[..], &data, &ddpm, &["--jump-samples", "0"]].concat(),
        &["--jump-samples 0"],
    );
    with(&["--jump-length", "2"], &["--mask"]);
    // Without pictures.
    for more in [["--mask", "centre"], ["--strength", "0.5"]] {
        let message = refused(&[&sample[..], &more].concat(), &["--data", "--init-image"]);
        assert!(message.contains(more[0]), "{message}");
    }
    // The mask is no place to write to.
    GrayImage::new(28, 28).save(&none).unwrap();
    let over = ["sample", &run, "--n", "2", "--out", &none, "--mask", &none];
    refused(
        &[&over[..], &data].concat(),
        &["the file that --mask reads"],
    );

    // A model that has no process.
    let other = place.path("vae");
    let model = Vae::new(vae::Config {
        hidden: vec![8],
        latent: 2,
        ..vae::Config::mnist()
    });
    let digits = wgen::data::digits::digits(8, 1);
    trained(
        Arc::new(model.unwrap()),
        digits,
        "digits",
        Path::new(&other),
    );
    let vae = ["sample", &other, "--n", "2", "--out", &out];
    refused(
        &[&vae[..], &["--mask", "centre"]].concat(),
        &["--mask is for diffusion models"],
    );
    let message = Run::open(&other)
        .unwrap()
        .inpainting(Inpainting::default())
        .unwrap_err()
        .to_string();
    assert!(message.contains("diffusion models"), "{message}");
}
