//! Bad input on the command line: an error that names the thing, exit status 2, nothing written or lost.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use common::calls::{refused, wgen};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

fn train(data: &str, out: &str, more: &[&str]) -> Vec<String> {
    let base = [
        "train", "vae", "--data", data, "--out", out, "--hidden", "8", "--latent", "2",
    ];
    base.iter().chain(more).map(|s| (*s).to_owned()).collect()
}

fn refused_training(data: &str, folder: &Folder, more: &[&str], words: &[&str]) {
    let out = folder.text("refused");
    let arguments = train(data, &out, more);
    refused(
        &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        words,
    );
    assert!(
        !Path::new(&out).join("config.json").exists(),
        "something was written"
    );
}

/// A finished small run.
fn trained(folder: &Folder, name: &str) -> String {
    let out = folder.text(name);
    let arguments = train("digits:100", &out, &["--steps", "3", "--batch", "20"]);
    let done = wgen(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    out
}

fn idx(dims: &[u32], bytes: usize) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| file.extend(d.to_be_bytes()));
    file.resize(file.len() + bytes, 7);
    file
}

/// A folder with well-formed training files, one of which `damage` may replace.
fn idx_folder(
    folder: &Folder,
    name: &str,
    images: Option<Vec<u8>>,
    labels: Option<Vec<u8>>,
) -> String {
    let dir = folder.path(name);
    fs::create_dir(&dir).unwrap();
    if let Some(images) = images {
        fs::write(dir.join("train-images-idx3-ubyte"), images).unwrap();
    }
    if let Some(labels) = labels {
        fs::write(dir.join("train-labels-idx1-ubyte"), labels).unwrap();
    }
    format!("idx:{}", dir.display())
}

#[test]
fn malformed_idx_files_are_refused() {
    let folder = Folder::new();
    let images = idx(&[5, 4, 4], 80);
    let labels = idx(&[5], 5);
    let mut wrong_magic = images.clone();
    wrong_magic[0] = 9;
    let mut floats = images.clone();
    floats[2] = 0x0d;
    let mut long = images.clone();
    long.push(1);
    let mut gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&images).unwrap();
        encoder.finish().unwrap()
    };
    gzip.truncate(gzip.len() / 2);
    for (i, (images, labels, words)) in [
        (None, Some(labels.clone()), &["train-images-idx3-ubyte"][..]),
        (Some(Vec::new()), Some(labels.clone()), &["empty"]),
        (
            Some(images[..50].to_vec()),
            Some(labels.clone()),
            &["[5, 4, 4]", "hold at most"],
        ),
        (
            Some(images[..7].to_vec()),
            Some(labels.clone()),
            &["cut short"],
        ),
        (
            Some(long),
            Some(labels.clone()),
            &["more than the 80 bytes"],
        ),
        (Some(wrong_magic), Some(labels.clone()), &["magic"]),
        (Some(floats), Some(labels.clone()), &["0x0d"]),
        (Some(gzip), Some(labels.clone()), &["idx3"]),
        (
            Some(idx(&[u32::MAX, u32::MAX, u32::MAX], 10)),
            Some(labels.clone()),
            &["hold at most"],
        ),
        (
            Some(idx(&[5, 16], 80)),
            Some(labels.clone()),
            &["three axes"],
        ),
        (
            Some(idx(&[0, 4, 4], 0)),
            Some(labels.clone()),
            &["no pixels"],
        ),
        (
            Some(images.clone()),
            Some(idx(&[4], 4)),
            &["there are 5 images"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = idx_folder(&folder, &format!("idx{i}"), images, labels);
        refused_training(&spec, &folder, &["--steps", "1", "--batch", "2"], words);
    }
    refused_training(
        &format!("idx:{}", folder.text("nowhere")),
        &folder,
        &[],
        &["is not a folder", "nowhere"],
    );
    // Well-formed ones are read.
    let spec = idx_folder(&folder, "good", Some(images), Some(labels));
    let out = folder.text("good run");
    let arguments = train(&spec, &out, &["--steps", "1", "--batch", "2"]);
    assert!(
        wgen(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .status
            .success()
    );
}

#[test]
fn malformed_image_folders_are_refused() {
    let folder = Folder::new();
    let save = |name: &str, side: u32| {
        let path = folder.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(side, side, image::Rgb([90, 20, 200]))
            .save(path)
            .unwrap();
    };
    fs::create_dir(folder.path("empty")).unwrap();
    refused_training(
        &format!("images:{}", folder.text("empty")),
        &folder,
        &[],
        &["has no images"],
    );
    save("mixed/a.png", 4);
    save("mixed/b.png", 6);
    let mixed = format!("images:{}", folder.text("mixed"));
    refused_training(
        &mixed,
        &folder,
        &["--steps", "1", "--batch", "1"],
        &["mixed sizes", "b.png", "--size"],
    );
    save("broken/a.png", 4);
    fs::write(folder.path("broken/b.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    refused_training(
        &format!("images:{}", folder.text("broken")),
        &folder,
        &[],
        &["b.png", "decoded"],
    );
    refused_training(&mixed, &folder, &["--size", "0"], &["--size 0"]);
    refused_training(
        &format!("images:{}", folder.text("nowhere")),
        &folder,
        &[],
        &["nowhere"],
    );
    // With a size the mixed folder is read.
    let out = folder.text("resized");
    let arguments = train(
        &mixed,
        &out,
        &["--steps", "1", "--batch", "1", "--size", "5", "--grey"],
    );
    assert!(
        wgen(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .status
            .success()
    );
}

#[test]
fn options_that_cannot_be_used_are_refused() {
    let folder = Folder::new();
    let data = "digits:50";
    for (more, words) in [
        (&["--batch", "51"][..], &["--batch 51", "50 examples"][..]),
        (&["--batch", "0"], &["--batch 0"]),
        (&["--steps", "0"], &["0 steps"]),
        (&["--epochs", "0"], &["0 steps"]),
        (&["--lr=-1"], &["--lr"]),
        (&["--lr", "NaN"], &["--lr"]),
        (&["--beta=-0.5"], &["--beta"]),
        (
            &["--clip=-1"],
            &["--clip -1 must be a finite number, 0 or more"],
        ),
        (&["--beta1", "1"], &["--beta1 1 must be in [0, 1)"]),
        (&["--beta2", "1.5"], &["--beta2 1.5"]),
        (&["--weight-decay", "nan"], &["--weight-decay NaN"]),
        (&["--weight-decay", "1e30"], &["--weight-decay"]),
        (
            &["--optimizer", "sgd", "--momentum", "2"],
            &["--momentum 2"],
        ),
        // What another optimiser has, and what only folders of pictures have, would do nothing.
        (
            &["--momentum", "0.9"],
            &["--momentum 0.9", "sgd and rmsprop", "--optimizer is adam"],
        ),
        (
            &["--optimizer", "sgd", "--beta1", "0.5"],
            &["--beta1 0.5", "adam and adamw"],
        ),
        (&["--optimizer", "rmsprop", "--beta2", "0.5"], &["--beta2"]),
        (&["--size", "14"], &["--size", "images:DIR", "digits:50"]),
        (&["--grey"], &["--grey is for folders"]),
        (&["--crop"], &["--crop is for folders"]),
        (&["--background", "black"], &["--background is for folders"]),
        (&["--skip-broken"], &["--skip-broken is for folders"]),
        (&["--held-out", "0.2"], &["--held-out is for folders"]),
        (
            &["--held-out-seed", "2"],
            &["--held-out-seed is for folders"],
        ),
        (&["--ema", "1.5"], &["--ema 1.5"]),
        (&["--latent", "0"], &["latent is 0"]),
        (&["--hidden", "99999999"], &["hidden is 99999999"]),
        (&["--patience", "3"], &["--validation"]),
        (
            &["--validation", "50", "--batch", "10"],
            &["nothing to train on"],
        ),
        (&["--resume"], &["no run folder"]),
    ] {
        let base = ["train", "vae", "--data", data, "--out"];
        let out = folder.text("refused");
        refused(&[&base[..], &[&out], more].concat(), words);
        assert!(
            !folder.path("refused").join("config.json").exists(),
            "{more:?} wrote something"
        );
    }
    for spec in [
        "nothing",
        "toy:spiral",
        "idx:",
        "digits:0",
        "digits:many",
        "images",
    ] {
        let out = folder.text("refused");
        let message = refused(
            &["train", "vae", "--data", spec, "--out", &out],
            &["--data"],
        );
        assert!(message.contains("digits"), "{message}");
    }
    let adapter = Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args([
            "--device",
            "no such adapter",
            "demo",
            "--out",
            &folder.text("x"),
        ])
        .output()
        .unwrap();
    assert_eq!(adapter.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&adapter.stderr).contains("no such adapter"));
    refused(&["verify"], &["would compare the CPU with itself"]);
}

#[test]
fn damaged_run_folders_are_refused() {
    let folder = Folder::new();
    let run = trained(&folder, "run");
    let eval = |words: &[&str]| refused(&["eval", &run, "--data", "digits:30"], words);
    let weights = Path::new(&run).join("model.safetensors");
    let good = fs::read(&weights).unwrap();

    fs::write(&weights, &good[..good.len() - 9]).unwrap();
    eval(&["model.safetensors", "no whole safetensors"]);
    fs::write(&weights, b"PK\x03\x04pickle").unwrap();
    eval(&["model.safetensors", "no whole PyTorch file"]);
    fs::write(&weights, [0xff; 64]).unwrap();
    eval(&["model.safetensors"]);
    fs::remove_file(&weights).unwrap();
    let checkpoints = Path::new(&run).join("checkpoints");
    fs::rename(&checkpoints, folder.path("gone")).unwrap();
    eval(&["model.safetensors", "nor a checkpoint"]);
    fs::rename(folder.path("gone"), &checkpoints).unwrap();

    // A tensor missing, superfluous, misshapen, with a NaN inside.
    let tensors = {
        fs::write(&weights, &good).unwrap();
        wgen::files::weights::read_tensors(&weights).unwrap()
    };
    let change = |change: &dyn Fn(&mut wgen::files::weights::Tensors)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        wgen::files::weights::write_tensors(&weights, &tensors).unwrap();
    };
    change(&|t| drop(t.remove("fc21.bias")));
    eval(&["lacks tensor 'fc21.bias'"]);
    change(&|t| drop(t.insert("fc5.bias".to_owned(), (vec![1], vec![0.0]))));
    eval(&["'fc5.bias'", "does not have"]);
    change(&|t| drop(t.insert("fc21.bias".to_owned(), (vec![3], vec![0.0; 3]))));
    eval(&["'fc21.bias' is [3]", "[2]"]);
    change(&|t| t.get_mut("fc3.weight").unwrap().1[5] = f32::NAN);
    eval(&["'fc3.weight' holds NaN at 5"]);
    fs::write(&weights, &good).unwrap();
    assert!(
        wgen(&["eval", &run, "--data", "digits:30"])
            .status
            .success()
    );

    // Data of another size.
    refused(&["eval", &run, "--data", "toy:moons:50"], &["784", "2"]);
    refused(
        &["sample", &run, "--n", "0", "--out", &folder.text("x.png")],
        &["--n 0"],
    );
    refused(
        &[
            "interpolate",
            &run,
            "--data",
            "digits:30",
            "--to",
            "99",
            "--out",
            &folder.text("x.png"),
        ],
        &["--to 99"],
    );
    refused(
        &[
            "eval",
            &run,
            "--data",
            "digits:30",
            "--importance-samples",
            "0",
        ],
        &["--importance-samples"],
    );

    // Configurations: malformed and hostile.
    let config = Path::new(&run).join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, words) in [
        (
            "\"latent\": 2",
            "\"latent\": -2",
            &["config.json", "malformed"][..],
        ),
        ("\"latent\": 2", "\"latent\": 0", &["latent is 0"]),
        (
            "\"width\": 784",
            "\"width\": 99999999999",
            &["width is 99999999999"],
        ),
        (
            "\"latent\": 2",
            "\"latent\": 2, \"surprise\": 1",
            &["surprise"],
        ),
        ("\"name\": \"vae\"", "\"name\": \"gpt\"", &["gpt"]),
        ("\"height\": 28", "\"height\": 4000000000", &["image"]),
        ("{", "", &["malformed"]),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&config, text.replacen(from, to, 1)).unwrap();
        eval(words);
    }
    fs::write(&config, vec![b' '; 2 << 20]).unwrap();
    eval(&["bytes"]);
    fs::remove_file(&config).unwrap();
    eval(&["is no run folder"]);
}

#[test]
fn a_run_folder_is_neither_overwritten_nor_shared() {
    let folder = Folder::new();
    let run = trained(&folder, "run");
    let before = fs::read(Path::new(&run).join("model.safetensors")).unwrap();
    let again = train("digits:100", &run, &["--steps", "3", "--batch", "20"]);
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    refused(&again, &["already has a run", "--resume"]);
    // Another process holds it.
    let lock = fs::OpenOptions::new()
        .write(true)
        .open(Path::new(&run).join(".lock"))
        .unwrap();
    lock.lock().unwrap();
    refused(
        &[&again[..], &["--resume"]].concat(),
        &["in use by another"],
    );
    drop(lock);
    assert_eq!(
        fs::read(Path::new(&run).join("model.safetensors")).unwrap(),
        before
    );
    // A checkpoint cut short is named, and nothing is lost by trying.
    let checkpoint = Path::new(&run).join("checkpoints/3/optimizer.safetensors");
    let good = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &good[..100]).unwrap();
    refused(
        &[&again[..], &["--resume"]].concat(),
        &["optimizer.safetensors"],
    );
    fs::write(&checkpoint, &good).unwrap();
    let mut longer = again.clone();
    let at = longer.iter().position(|a| *a == "3").unwrap();
    longer[at] = "5";
    assert!(
        wgen(&[&longer[..], &["--resume"]].concat())
            .status
            .success()
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_and_a_folder_that_cannot_be_written_lose_nothing() {
    let folder = Folder::new();
    // /proc takes no folders, whoever asks.
    refused_training_into("/proc/wgen-run", &["/proc/wgen-run"]);
    let file = folder.text("file");
    fs::write(&file, b"a file").unwrap();
    refused_training_into(&format!("{file}/run"), &["file/run"]);
    assert_eq!(fs::read(&file).unwrap(), b"a file");
    // A file system of 300 KiB fills up in the middle of a run; its first checkpoint stays whole.
    let small = folder.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=300k", "tmpfs"])
        .arg(&small)
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        // Without the right to mount: no file may grow beyond 8 KiB, which fails the first write of the weights.
        let run = folder.text("limited");
        let arguments = train("digits:100", &run, &["--steps", "3", "--batch", "20"]);
        let command = format!(
            "trap '' XFSZ; ulimit -f 8; exec '{}' --device cpu {}",
            env!("CARGO_BIN_EXE_wgen"),
            arguments
                .iter()
                .map(|a| format!("'{a}'"))
                .collect::<Vec<_>>()
                .join(" ")
        );
        let out = Command::new("bash")
            .args(["-c", &command])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{message}");
        assert!(message.contains("too large"), "{message}");
        assert!(!Path::new(&run).join("checkpoints/latest").exists());
        return;
    }
    let run = small.join("run").to_string_lossy().into_owned();
    let arguments = train(
        "digits:100",
        &run,
        &["--steps", "30", "--batch", "20", "--checkpoint-steps", "1"],
    );
    let out = wgen(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    let latest = fs::read_to_string(Path::new(&run).join("checkpoints/latest"));
    let whole = latest.as_ref().ok().map(|step| {
        wgen::files::weights::read_tensors(
            &Path::new(&run)
                .join("checkpoints")
                .join(step)
                .join("model.safetensors"),
        )
    });
    Command::new("umount").arg(&small).status().unwrap();
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(message.contains("space"), "{message}");
    if let Some(whole) = whole {
        whole.unwrap();
    }
}

#[cfg(target_os = "linux")]
fn refused_training_into(out: &str, words: &[&str]) {
    let arguments = train("digits:50", out, &["--steps", "1", "--batch", "2"]);
    refused(
        &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        words,
    );
}

#[test]
fn every_file_that_is_read_survives_random_damage() {
    use proptest::prelude::*;
    let folder = Folder::new();
    let path = folder.path("file");
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        // Any result but a panic or an allocation far beyond the file.
        let _ = wgen::data::idx::read(&path);
        let _ = wgen::files::weights::read_tensors(&path);
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let good = idx(&[5, 4, 4], 80);
    runner
        .run(
            &(
                proptest::collection::vec(any::<u8>(), 0..200),
                0..84_usize,
                any::<u8>(),
            ),
            |(noise, at, byte)| {
                check(&noise);
                let mut damaged = good.clone();
                damaged[at] = byte;
                check(&damaged);
                Ok(())
            },
        )
        .unwrap();
}
