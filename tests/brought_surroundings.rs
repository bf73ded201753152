//! An environment of people's own, what editors and shells make of files, and shapes in words.

#![cfg(unix)]

mod common;

use std::fs;
use std::process::Command;

use common::place::{Place, stderr};

#[test]
fn an_environment_that_is_empty_is_not_set_and_a_wrong_one_is_named() {
    common::gpu();
    let place = Place::new();
    let sample = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgen"));
        command.args(["sample", "run", "--n", "4", "--out", "x.png"]);
        command.current_dir(place.0.path());
        command.envs(variables.iter().copied()).output().unwrap()
    };
    for (name, value) in [
        ("WGPU_BACKEND", "nonsense"),
        ("WGPU_BACKEND", "vulkan,nonsense"),
        ("WGPU_BACKEND", " , "),
        ("WGPU_POWER_PREF", "fast"),
        ("WGPU_ADAPTER_NAME", "no such adapter"),
        ("WGPU_DX12_COMPILER", "gcc"),
        ("WGPU_GLES_MINOR_VERSION", "9"),
    ] {
        let out = sample(&[(name, value)]);
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{name}={value}: {message}");
        assert!(message.contains(name), "{name}={value}: {message}");
        assert!(!message.contains("install"), "{name}={value}: {message}");
        let mut info = Command::new(env!("CARGO_BIN_EXE_wgen"));
        let info = info.arg("info").env(name, value).output().unwrap();
        assert_eq!(info.status.code(), Some(2), "info, {name}={value}");
    }
    // A backend that this system cannot have was asked for all the same.
    let absent = if cfg!(target_os = "macos") {
        "dx12"
    } else {
        "metal"
    };
    let out = sample(&[("WGPU_BACKEND", absent)]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("WGPU_BACKEND is 'metal'") || cfg!(target_os = "macos"));
    // Where the loader is led to no driver, that is said, and the CPU does it.
    #[cfg(target_os = "linux")]
    for name in ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"] {
        let out = sample(&[("VK_DRIVER_FILES", ""), (name, "/nowhere/icd.json")]);
        let message = stderr(&out);
        assert!(out.status.success(), "{message}");
        assert!(
            message.contains(&format!("{name} is '/nowhere/icd.json'"))
                && message.contains("there is no /nowhere/icd.json")
                && !message.contains("install"),
            "{message}"
        );
    }

    for variables in [
        &[("WGPU_BACKEND", ""), ("WGPU_POWER_PREF", "")][..],
        &[("WGPU_ADAPTER_NAME", ""), ("WGPU_DX12_COMPILER", "")],
        &[("XDG_CACHE_HOME", "")],
        &[("XDG_CACHE_HOME", ""), ("HOME", "")],
        &[("XDG_CACHE_HOME", "relative")],
        &[("XDG_CACHE_HOME", ""), ("HOME", "relative/home")],
        &[("XDG_RUNTIME_DIR", "")],
        &[("RUST_LOG", "")],
    ] {
        let out = sample(variables);
        assert!(out.status.success(), "{variables:?}: {}", stderr(&out));
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(!said.contains("CPU interpreter"), "{variables:?}: {said}");
        assert_eq!(place.names(), ["run", "x.png"], "{variables:?}");
    }
    let absolute = place.path("cache").to_string_lossy().into_owned();
    assert!(sample(&[("XDG_CACHE_HOME", &absolute)]).status.success());
    assert!(place.path("cache").is_dir());
}

#[test]
fn files_that_an_editor_or_a_shell_marked_are_read() {
    let place = Place::new();
    let path = place.path("run/config.json");
    let text = fs::read_to_string(&path).unwrap();
    let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(unit).collect()
    };
    for (name, bytes) in [
        (
            "UTF-8 with a mark",
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        ),
        ("UTF-16, little", wide(u16::to_le_bytes)),
        ("UTF-16, big", wide(u16::to_be_bytes)),
        ("lines of Windows", text.replace('\n', "\r\n").into_bytes()),
    ] {
        fs::write(&path, bytes).unwrap();
        let run = wgen::Run::open(place.path("run"));
        assert!(run.is_ok(), "{name}: {:?}", run.err());
    }
    fs::write(&path, b"\xff\xfe\x00").unwrap();
    let error = wgen::Run::open(place.path("run")).unwrap_err().to_string();
    assert!(
        error.contains("config.json: is malformed") || error.contains("UTF-16"),
        "{error}"
    );
    fs::write(&path, b"{\"model\": \"\xe9\"}").unwrap();
    let error = wgen::Run::open(place.path("run")).unwrap_err().to_string();
    assert!(error.contains("is no text in UTF-8"), "{error}");
    fs::write(&path, &text).unwrap();
    // An editor ends a line.
    fs::write(place.path("run/checkpoints/latest"), "3\n").unwrap();
    place.done(&[
        "train",
        "vae",
        "--data",
        "toy:moons:100",
        "--out",
        "run",
        "--resume",
        "--steps",
        "5",
    ]);
    assert_eq!(place.read("run/checkpoints/latest"), b"5");
}

#[test]
fn shapes_are_said_in_a_persons_words() {
    use wgen::tensor::ImageShape;
    let shape = |height, width, channels| ImageShape {
        height,
        width,
        channels,
    };
    assert_eq!(shape(28, 28, 1).to_string(), "28 x 28 grey");
    assert_eq!(shape(32, 48, 3).to_string(), "32 x 48 RGB");
    assert_eq!(shape(4, 4, 7).to_string(), "4 x 4 of 7 channels");
    let place = Place::new();
    let text = fs::read_to_string(place.path("run/config.json")).unwrap();
    let wrong = text.replace(
        "\"width\": 2,\n    \"channels\": 1",
        "\"width\": 2,\n    \"channels\": 3",
    );
    assert_ne!(text, wrong);
    fs::write(place.path("run/config.json"), wrong).unwrap();
    let error = wgen::Run::open(place.path("run")).unwrap_err().to_string();
    assert!(error.contains("image is 1 x 2 RGB"), "{error}");
}
