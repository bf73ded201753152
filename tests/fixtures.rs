//! Run folders, checkpoints and a diffusers folder that the version before the house wrote (`tests/fixtures/`, by
//! `scripts/make_fixtures.sh`): they are read bit for bit, and what comes next is what that version made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;
use wgen::files::folder::{RunFolder, read_config, read_weights};
use wgen::files::weights::{Tensors, to_file};
use wgen::graph::layout::Layout;

/// What a run's loss may differ by, relative, on the device that it was recorded on: every kernel rounds as it did.
const SAME_DEVICE: f64 = 1e-6;

/// The same on another GPU, whose sums have another order. Between lavapipe and the interpreter it is at most 7e-7.
const OTHER_DEVICE: f64 = 1e-5;

/// Other figures and norms: some are differences of nearly equal numbers, such as the Jensen-Shannon bound of a GAN at its beginning.
const FIGURES: f64 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn json(path: &Path) -> Json {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn recorded() -> Json {
    json(&fixtures().join("recorded.json"))
}

/// A copy that may be written to: opening a run makes a lock, resuming it much more.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Tensors as bytes by name, without wgen: those whose name begins with `prefix`, without it.
type Raw = BTreeMap<String, Vec<u8>>;

fn raw(path: &Path, prefix: &str) -> Raw {
    let data = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&data).unwrap();
    let own = file
        .iter()
        .filter_map(|(name, view)| Some((name.strip_prefix(prefix)?, view)));
    own.map(|(name, view)| {
        let counter = name.ends_with("num_batches_tracked");
        let wanted = if counter { Dtype::I64 } else { Dtype::F32 };
        assert_eq!(view.dtype(), wanted, "{name} of {}", path.display());
        (name.to_owned(), view.data().to_vec())
    })
    .collect()
}

/// The parts of a checkpoint as its files have them.
fn parts(checkpoint: &Path) -> BTreeMap<&'static str, Raw> {
    let moments = checkpoint.join("optimizer.safetensors");
    let mut found = BTreeMap::from([
        ("weights", raw(&checkpoint.join("model.safetensors"), "")),
        ("moment1", raw(&moments, "moment1.")),
        ("moment2", raw(&moments, "moment2.")),
    ]);
    let ema = checkpoint.join("ema.safetensors");
    if ema.exists() {
        found.insert("ema", raw(&ema, ""));
    }
    found
}

/// FNV-1a of names and bytes, as `recorded.json` says.
fn fingerprint(tensors: &Raw) -> String {
    let bytes = tensors
        .iter()
        .flat_map(|(n, data)| n.bytes().chain(data.iter().copied()));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
}

fn norm(tensors: &Raw) -> f64 {
    let counter = |name: &str| name.ends_with("num_batches_tracked");
    let all = tensors.iter().filter(|(name, _)| !counter(name));
    let squares = all
        .flat_map(|(_, data)| floats(data))
        .map(|x| f64::from(x).powi(2));
    squares.sum::<f64>().sqrt()
}

/// What the library read, as bytes in border order.
fn border(tensors: &Tensors) -> Raw {
    let each = tensors.iter().map(|(name, (_, values))| {
        let bytes = if name.ends_with("num_batches_tracked") {
            values
                .iter()
                .flat_map(|x| (*x as i64).to_le_bytes())
                .collect()
        } else {
            values.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
        (name.clone(), bytes)
    });
    each.collect()
}

/// That what was read is the file's, tensor by tensor, and that the file is the recorded one.
#[track_caller]
fn assert_read(what: &str, read: &Raw, file: &Raw, recorded: &Json) {
    assert!(
        read.keys().eq(file.keys()),
        "{what}: {:?} in place of {:?}",
        read.keys(),
        file.keys()
    );
    for (name, bytes) in file {
        assert!(
            read[name] == *bytes,
            "{what}: {name} is not read bit for bit"
        );
    }
    assert_eq!(
        fingerprint(file),
        *recorded,
        "{what}: not the file that was recorded"
    );
}

#[test]
fn weights_moments_averages_and_steps_of_before_are_read_bit_for_bit() {
    let recorded = recorded();
    let recorded = recorded["fixtures"].as_object().unwrap();
    assert_eq!(recorded.len(), 7);
    for (name, wanted) in recorded {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixtures().join(name), dir.path());
        let config = read_config(dir.path()).unwrap();
        let layout = Layout::new(config.model.parameters(), 1 << 27).unwrap();
        let folder = RunFolder::open(dir.path(), true).unwrap();
        let ema = config.training.ema.is_some();
        let checkpoint = folder.load(&layout, ema).unwrap().unwrap();
        assert_eq!(checkpoint.progress.step, wanted["step"], "{name}");

        let as_file = |values: &[Vec<f32>]| border(&to_file(&layout.parameters, values, ""));
        let mut read = BTreeMap::from([
            ("weights", as_file(&checkpoint.weights)),
            ("moment1", as_file(&checkpoint.moments[0])),
            ("moment2", as_file(&checkpoint.moments[1])),
        ]);
        if let Some(ema) = &checkpoint.ema {
            read.insert("ema", as_file(ema));
        }
        let file = parts(&dir.path().join(format!("checkpoints/{}", wanted["step"])));
        assert!(read.keys().eq(file.keys()), "{name}: {:?}", read.keys());
        for (part, tensors) in &file {
            let what = format!("{name}, {part}");
            assert_read(&what, &read[part], tensors, &wanted["hashes"][part]);
        }
        let best = as_file(&read_weights(dir.path(), &layout).unwrap());
        let file = raw(&dir.path().join("model.safetensors"), "");
        assert_read(
            &format!("{name}, best"),
            &best,
            &file,
            &wanted["hashes"]["best"],
        );
    }
}

#[test]
fn names_that_config_json_no_longer_has_are_still_in_the_fixtures() {
    // Written anew by a later version, these two would no longer show that old files open.
    for (folder, name) in [
        ("sparse-ae", "sparse_ae"),
        ("contractive-ae", "contractive_ae"),
    ] {
        let config = json(&fixtures().join(folder).join("config.json"));
        assert_eq!(config["model"]["name"], name);
    }
}

/// Runs wgen and returns what it says in JSON.
fn wgen(device: &str, arguments: &[&str]) -> Json {
    let out = Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(["--json", "--quiet", "--device", device])
        .args(arguments)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{arguments:?} on {device}: {words}");
    serde_json::from_slice(&out.stdout).unwrap_or(Json::Null)
}

#[track_caller]
fn assert_close(what: &str, got: &Json, wanted: &Json, tolerance: f64) {
    let value = |json: &Json| {
        json.as_f64()
            .unwrap_or_else(|| panic!("{what}: {json} is no number"))
    };
    let (got, wanted) = (value(got), value(wanted));
    assert!(
        (got - wanted).abs() <= tolerance * wanted.abs(),
        "{what}: {got}, recorded is {wanted}; {tolerance:e} of that is allowed"
    );
}

/// Resumes a fixture on the GPU and on the CPU for as many steps as were recorded.
fn goes_on(name: &str) {
    let recorded = recorded();
    let fixture = &recorded["fixtures"][name];
    let step = fixture["step"].as_u64().unwrap();
    let text = |key: &str| fixture[key].as_str().unwrap();
    let data = text("data").replace("idx:", &format!("idx:{}/", fixtures().display()));
    for (choice, device) in [("auto", "gpu"), ("cpu", "cpu")] {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixtures().join(name), dir.path());
        // Every step's loss, not one in fifty.
        let path = dir.path().join("config.json");
        let mut config = json(&path);
        config["training"]["log_steps"] = 1.into();
        std::fs::write(&path, config.to_string()).unwrap();

        let wanted = &fixture["next"][device];
        let figures = wanted["figures"].as_array().unwrap();
        assert_eq!(figures.len(), 3);
        let total = step + figures.len() as u64;
        let (steps, out) = (total.to_string(), dir.path().to_string_lossy());
        let train = ["train", text("model"), "--data", &data, "--resume"];
        let rest = ["--steps", &steps, "--out", &out];
        let summary = wgen(choice, &[&train[..], &rest].concat());
        assert_eq!(summary["steps"], total, "{name}");
        let same = device == "cpu" || summary["device"] == recorded["gpu"];
        assert!(
            device == "cpu"
                || !summary["device"]
                    .as_str()
                    .unwrap()
                    .contains("CPU interpreter"),
            "there must be a GPU: Debian: apt-get install mesa-vulkan-drivers"
        );

        let metrics = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        let lines = metrics
            .lines()
            .map(|line| serde_json::from_str::<Json>(line).unwrap());
        let next: Vec<Json> = lines.filter(|l| l["step"].as_u64() > Some(step)).collect();
        assert_eq!(next.len(), figures.len(), "{name} on the {device}");
        let mut losses = 0;
        for (got, wanted) in next.iter().zip(figures) {
            let wanted = wanted.as_object().unwrap();
            assert!(
                got.as_object().unwrap().keys().eq(wanted.keys()),
                "{name}: {got}"
            );
            assert_eq!(got["step"], wanted["step"], "{name} on the {device}");
            for (figure, wanted) in wanted {
                let what = format!("{name} on the {device}, {figure} at step {}", got["step"]);
                let tolerance = match (figure.ends_with("loss"), same) {
                    (true, true) => SAME_DEVICE,
                    (true, false) => OTHER_DEVICE,
                    (false, _) => FIGURES,
                };
                losses += usize::from(figure.ends_with("loss"));
                assert_close(&what, &got[figure], wanted, tolerance);
            }
        }
        assert!(losses >= figures.len(), "{name} has no losses");
        // The moving average has no part in a loss.
        let after = parts(&dir.path().join(format!("checkpoints/{total}")));
        let norms = wanted["norms"].as_object().unwrap();
        assert!(
            after.keys().copied().eq(norms.keys().map(String::as_str)),
            "{name}"
        );
        for (part, tensors) in &after {
            let what = format!("{name} on the {device}, norm of {part}");
            assert_close(&what, &norm(tensors).into(), &norms[*part], FIGURES);
        }
    }
}

#[test]
fn a_vae_of_before_goes_on_as_it_did() {
    goes_on("vae");
}

#[test]
fn a_vae_of_convolutions_of_before_goes_on_as_it_did() {
    goes_on("conv-vae");
}

#[test]
fn a_sparse_autoencoder_under_its_old_name_goes_on_as_it_did() {
    goes_on("sparse-ae");
}

#[test]
fn a_contractive_autoencoder_under_its_old_name_goes_on_as_it_did() {
    goes_on("contractive-ae");
}

#[test]
fn a_gan_of_perceptrons_of_before_goes_on_as_it_did() {
    goes_on("gan");
}

#[test]
fn a_dcgan_of_before_goes_on_as_it_did() {
    goes_on("dcgan");
}

#[test]
fn a_unet_of_before_goes_on_as_it_did() {
    goes_on("unet");
}

#[test]
fn a_diffusers_folder_of_before_opens_bit_for_bit_and_draws_what_it_drew() {
    let recorded = recorded();
    let folder = fixtures().join("diffusers");
    let config = read_config(&folder).unwrap();
    let layout = Layout::new(config.model.parameters(), 1 << 27).unwrap();
    let weights = read_weights(&folder, &layout).unwrap();
    assert_read(
        "diffusers",
        &border(&to_file(&layout.parameters, &weights, "")),
        &raw(&folder.join("unet/diffusion_pytorch_model.safetensors"), ""),
        &recorded["diffusers"]["hash"],
    );

    let settings = &recorded["diffusers"]["samples"];
    let number = |name: &str| settings[name].to_string();
    let wanted = raw(&fixtures().join(settings["file"].as_str().unwrap()), "");
    assert!(wanted.keys().eq(["images", "x"]), "{:?}", wanted.keys());
    let used = wgen("auto", &["info"])["used"].take();
    let adapter = |key: &str| used[key].as_str().expect("there must be a GPU");
    let same = format!("{} ({})", adapter("name"), adapter("driver")) == recorded["gpu"];
    for (device, same) in [("auto", same), ("cpu", false)] {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let (n, steps, seed) = (number("n"), number("steps"), number("seed"));
        let (folder, picture, tensors) = (
            folder.to_string_lossy(),
            path("picture.png"),
            path("tensors.safetensors"),
        );
        let sample = [
            "sample", &folder, "--n", &n, "--steps", &steps, "--seed", &seed,
        ];
        let out = ["--out", &picture, "--save-tensor", &tensors];
        wgen(device, &[&sample[..], &out].concat());
        let drawn = raw(Path::new(&tensors), "");
        assert!(drawn.keys().eq(wanted.keys()), "{:?}", drawn.keys());
        for (name, wanted) in &wanted {
            if same {
                assert!(drawn[name] == *wanted, "{name} is not drawn bit for bit");
            }
            assert_eq!(drawn[name].len(), wanted.len(), "{name} on {device}");
            for (i, (got, wanted)) in floats(&drawn[name]).zip(floats(wanted)).enumerate() {
                assert!(
                    (got - wanted).abs() <= 1e-5,
                    "{name} on {device}, {i}: {got}, recorded is {wanted}"
                );
            }
        }
    }
}
