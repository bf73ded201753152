//! Bad input to operators and models: an error that says what was found and what to do, nothing written.

use std::process::Command;

use tempfile::tempdir;
use wgen::graph::Conv2dOptions;
use wgen::graph::{Graph, Var};
use wgen::kernels::philox::Domain;
use wgen::tensor::TensorType;

/// The graph must be refused with a message that contains each of `words`.
fn refused(build: impl for<'g> Fn(&'g Graph) -> Var<'g>, words: &[&str]) {
    let graph = Graph::new(Domain::Training);
    let var = build(&graph);
    graph.output("y", var);
    let message = graph.check().unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
}

fn conv<'g>(graph: &'g Graph, weight: [usize; 4], options: &Conv2dOptions) -> Var<'g> {
    let x = graph.input("x", TensorType::f32([2, 5, 6, 4]));
    x.conv2d(graph.input("w", TensorType::f32(weight)), options)
}

#[test]
fn impossible_convolutions_are_refused() {
    let usual = Conv2dOptions::new(1, 0);
    refused(
        |g| conv(g, [8, 7, 3, 4], &usual),
        &["height 7", "image has 5", "5 with its padding"],
    );
    let dilated = Conv2dOptions {
        dilation: [1, 4],
        ..usual
    };
    refused(
        |g| conv(g, [8, 3, 3, 4], &dilated),
        &["width 3", "reaches over 9"],
    );
    let groups = Conv2dOptions { groups: 3, ..usual };
    refused(
        |g| conv(g, [9, 3, 3, 1], &groups),
        &["3 groups", "4 channels"],
    );
    let groups = Conv2dOptions { groups: 2, ..usual };
    refused(|g| conv(g, [7, 3, 3, 2], &groups), &["2 groups", "into 7"]);
    for (stride, dilation) in [([0, 1], [1, 1]), ([1, 1], [1, 0])] {
        let options = Conv2dOptions {
            stride,
            dilation,
            ..usual
        };
        refused(|g| conv(g, [8, 3, 3, 4], &options), &["must be at least 1"]);
        refused(
            |g| {
                let x = g.input("x", TensorType::f32([2, 5, 6, 4]));
                x.conv_transpose2d(
                    g.input("w", TensorType::f32([4, 3, 3, 8])),
                    &options,
                    [0, 0],
                )
            },
            &["no such image"],
        );
    }
    refused(
        |g| conv(g, [8, 3, 3, 5], &usual),
        &["conv2d", "[8, 3, 3, 5]"],
    );
    refused(
        |g| {
            let x = g.input("x", TensorType::f32([2, 5, 6, 4]));
            let w = g.input("w", TensorType::f32([4, 3, 3, 8]));
            x.conv_transpose2d(w, &Conv2dOptions::new(2, 1), [2, 0])
        },
        &["output padding 2"],
    );
}

#[test]
fn impossible_pools_sizes_and_choices_are_refused() {
    refused(
        |g| {
            let x = g.input("x", TensorType::f32([1, 4, 4, 2]));
            x.max_pool2d([5, 2], [1, 1], [0, 0])
        },
        &["windows of 5", "4 pixels"],
    );
    refused(
        |g| {
            g.input("x", TensorType::f32([1, 4, 4, 2]))
                .avg_pool2d([2, 2], [0, 1], [0, 0])
        },
        &["every 0"],
    );
    refused(
        |g| g.input("x", TensorType::f32([3, 8])).top_k_mask(1, 9),
        &["k is 9", "8 elements"],
    );
    refused(
        |g| g.input("x", TensorType::f32([3, 8])).top_k_mask(1, 0),
        &["k is 0"],
    );
    refused(
        |g| g.input("x", TensorType::f32([1, 2, 2, 6])).pixel_shuffle(2),
        &["6 channels", "2^2"],
    );
    refused(
        |g| {
            let row = |name| g.input(name, TensorType::f32([3]));
            let x = g.input("x", TensorType::f32([1, 1, 1, 3]));
            x.batch_norm(row("gain"), row("bias"), 1e-5).0
        },
        &["batch of one", "`batch`"],
    );
    refused(
        |g| g.input("x", TensorType::f32([3, 8])).dropout("d", 1.0),
        &["dropout 1"],
    );
}

/// `wgen train` must fail with status 2, say each of `words`, and write nothing.
fn refused_training(arguments: &[&str], words: &[&str]) {
    let dir = tempdir().unwrap();
    let out = dir.path().join("run");
    let result = Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(["--device", "cpu", "train"])
        .args(arguments)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&result.stderr).into_owned();
    assert_eq!(result.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(
            message.contains(word),
            "{arguments:?}: no '{word}' in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{message}");
    assert!(!out.exists(), "{arguments:?} wrote something");
}

#[test]
fn models_that_cannot_be_are_refused() {
    let digits = ["--data", "digits:40", "--steps", "1"];
    let sparse = |more: &[&str], words: &[&str]| {
        let arguments: Vec<&str> = ["sparse-ae"]
            .iter()
            .chain(&digits)
            .chain(more)
            .copied()
            .collect();
        refused_training(&arguments, words);
    };
    sparse(&["--latent", "16", "--k", "17"], &["k is 17", "16 units"]);
    sparse(&["--k", "0"], &["k is 0"]);
    for rho in ["0", "1", "-0.2", "1.5"] {
        let rho = format!("--rho={rho}");
        sparse(
            &["--sparsity", "kl", &rho],
            &["target activation", "above 0 and below 1"],
        );
    }
    sparse(&["--sparsity", "l1", "--penalty=-1"], &["penalty -1"]);
    sparse(&["--masking", "1.5"], &["masking 1.5"]);
    let run = |model: &str, more: &[&str], words: &[&str]| {
        let arguments: Vec<&str> = [model].iter().chain(&digits).chain(more).copied().collect();
        refused_training(&arguments, words);
    };
    run("contractive-ae", &["--penalty=-0.1"], &["penalty -0.1"]);
    run("gan", &["--batch", "1"], &["batch of one", "--batch"]);
    run("gan", &["--smoothing", "1"], &["smoothing 1"]);
    run(
        "gan",
        &["--loss", "hinge", "--smoothing", "0.1"],
        &["no labels to smooth"],
    );
    run("gan", &["--gradient-penalty=-1"], &["gradient penalty -1"]);
    run(
        "gan",
        &["--discriminator-steps", "0"],
        &["0 discriminator steps"],
    );
    run(
        "gan",
        &["--loss", "wasserstein", "--discriminator-norm", "batch"],
        &["batch normalisation", "--discriminator-norm none"],
    );
    run("gan", &["--validation", "10"], &["no held-out loss"]);
    run(
        "gan",
        &["--batch", "8", "--precision", "f16"],
        &["f16", "gan"],
    );
    run(
        "vae",
        &["--channels", "8,8,8"],
        &["28x28", "3 convolutions", "--size"],
    );
    run("ae", &["--channels", "0"], &["channels 0"]);
}

#[test]
fn images_that_dcgan_cannot_reach_and_missing_labels_are_refused() {
    let dir = tempdir().unwrap();
    for class in ["a", "b"] {
        let folder = dir.path().join("odd").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        image::RgbImage::new(30, 30)
            .save(folder.join("x.png"))
            .unwrap();
    }
    let odd = format!("images:{}", dir.path().join("odd").display());
    refused_training(
        &["gan", "--data", &odd, "--steps", "1", "--batch", "2"],
        &["30x30", "28", "32", "64", "--size"],
    );
    // A folder without subfolders has no classes.
    let flat = dir.path().join("flat");
    std::fs::create_dir_all(&flat).unwrap();
    for i in 0..4 {
        image::GrayImage::new(28, 28)
            .save(flat.join(format!("{i}.png")))
            .unwrap();
    }
    let flat = format!("images:{}", flat.display());
    for arguments in [
        vec!["gan", "--conditional"],
        vec!["vae", "--conditional"],
        vec!["classifier"],
    ] {
        let arguments: Vec<&str> = arguments
            .into_iter()
            .chain(["--data", &flat, "--steps", "1", "--batch", "2"])
            .collect();
        refused_training(&arguments, &["no labels", "subfolder a class"]);
    }
}

#[test]
fn classes_that_a_model_does_not_have_are_refused() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("run");
    let wgen = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_wgen"))
            .args(["--device", "cpu"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let folder = out.to_string_lossy().into_owned();
    let picture = dir.path().join("x.png").to_string_lossy().into_owned();
    let trained = wgen(&[
        "train",
        "vae",
        "--data",
        "digits:40",
        "--steps",
        "1",
        "--batch",
        "8",
        "--hidden",
        "8",
        "--latent",
        "2",
        "--conditional",
        "--out",
        &folder,
    ]);
    assert!(
        trained.status.success(),
        "{}",
        String::from_utf8_lossy(&trained.stderr)
    );
    let beyond = wgen(&[
        "sample", &folder, "--n", "2", "--class", "10", "--out", &picture,
    ]);
    let message = String::from_utf8_lossy(&beyond.stderr).into_owned();
    assert_eq!(beyond.status.code(), Some(2), "{message}");
    assert!(
        message.contains("--class 10") && message.contains("10 classes, from 0"),
        "{message}"
    );
    let fine = wgen(&[
        "sample", &folder, "--n", "2", "--class", "9", "--out", &picture,
    ]);
    assert!(
        fine.status.success(),
        "{}",
        String::from_utf8_lossy(&fine.stderr)
    );
    // Toys have other classes than the model, and points are no images.
    let other = wgen(&["eval", &folder, "--data", "toy:ring8:40"]);
    assert_eq!(other.status.code(), Some(2));
    // A model without classes is asked for one; one without a prior for samples.
    let folder = dir.path().join("plain").to_string_lossy().into_owned();
    let trained = wgen(&[
        "train",
        "ae",
        "--data",
        "digits:40",
        "--steps",
        "1",
        "--batch",
        "8",
        "--hidden",
        "8",
        "--latent",
        "2",
        "--out",
        &folder,
    ]);
    assert!(
        trained.status.success(),
        "{}",
        String::from_utf8_lossy(&trained.stderr)
    );
    for (arguments, words) in [
        (
            vec![
                "sample", &folder, "--n", "2", "--class", "1", "--out", &picture,
            ],
            "not conditional",
        ),
        (
            vec!["sample", &folder, "--n", "2", "--out", &picture],
            "no prior",
        ),
        (
            vec!["sample", &folder, "--filters", "--out", &picture],
            "no filters",
        ),
    ] {
        let refused = wgen(&arguments);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains(words), "{message}");
    }
}
