//! Interruptions: by Ctrl-C, a closed terminal, a kill, once and twice; and what a killed process leaves.

#![cfg(unix)]

mod common;

use std::fs::{self, File};

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::place::{Place, kill, stderr};

#[test]
fn a_training_that_is_interrupted_keeps_its_checkpoint_and_says_which_signal() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let place = Place::empty();
        // The test may itself run where a closed terminal is ignored.
        let under = ["env", "--default-signal=HUP"];
        let under = if signal == "-HUP" { &under[..] } else { &[] };
        let child = place.endless(&[], under);
        kill(&child, signal);
        let out = child.wait_with_output().unwrap();
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(status), "{signal}: {message}");
        assert!(message.contains("interrupted"), "{message}");
        assert!(message.contains("once more leaves at once"), "{message}");
        let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(summary["ended"], "interrupted");
        let latest = String::from_utf8(place.read("run/checkpoints/latest")).unwrap();
        assert_eq!(summary["steps"].to_string(), latest);
        place.done(&["sample", "run", "--n", "4", "--out", "x.png"]);
        assert_eq!(place.unfinished(), Vec::<String>::new());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn under_nohup_a_closed_terminal_is_ignored() {
    let place = Place::empty();
    let mut child = place.endless(&[], &["env", "--ignore-signal=HUP"]);
    kill(&child, "-HUP");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it ended");
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_second_signal_leaves_at_once_and_files_whole() {
    use std::os::unix::process::ExitStatusExt;
    // Checkpoints are written all the time: the signals fall into the middle of one.
    for delay in [0, 3, 7, 12, 20, 33] {
        let place = Place::empty();
        let mut child = place.endless(&["--checkpoint-steps", "1"], &[]);
        std::thread::sleep(Duration::from_millis(delay));
        kill(&child, "-INT");
        kill(&child, "-TERM");
        let status = child.wait().unwrap();
        // By the second one, or the training was done with the first before it came; where the process was ending by then, it ended at once.
        let ended = matches!(status.code(), Some(143 | 130)) || status.signal() == Some(15);
        assert!(ended, "{status:?}");
        assert_eq!(place.unfinished(), Vec::<String>::new(), "after {delay} ms");
        place.done(&["sample", "run", "--n", "4", "--out", "x.png"]);
    }
}

#[test]
fn other_commands_end_by_the_signal_and_leave_no_unfinished_file() {
    use std::os::unix::process::ExitStatusExt;
    let mut killed = 0;
    for delay in [0, 10, 25, 60] {
        let place = Place::empty();
        let mut child = place
            .command(&["shaders", "--out", "kernels"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while fs::read_dir(place.path("kernels")).map_or(0, Iterator::count) == 0 {
            assert!(begin.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(delay));
        kill(&child, "-TERM");
        let status = child.wait().unwrap();
        assert!(
            status.signal() == Some(15) || status.success(),
            "{status:?}"
        );
        killed += usize::from(status.signal().is_some());
        assert_eq!(place.unfinished(), Vec::<String>::new(), "after {delay} ms");
    }
    assert!(killed > 0, "every one was done before the signal came");
}

#[test]
fn a_run_that_was_killed_is_sampled_from_its_checkpoint() {
    let place = Place::empty();
    let mut child = place.endless(&["--ema", "0.5"], &[]);
    kill(&child, "-KILL");
    child.wait().unwrap();
    assert!(!place.path("run/model.safetensors").exists());
    let step = String::from_utf8(place.read("run/checkpoints/latest")).unwrap();
    let said = |arguments: &[&str]| {
        let message = stderr(&place.done(arguments));
        let word = format!("the averaged weights of the checkpoint at step {step}");
        assert!(message.contains(&word), "{arguments:?}: {message}");
        assert!(message.contains("--resume"), "{arguments:?}: {message}");
    };
    said(&["sample", "run", "--n", "4", "--out", "x.png"]);
    said(&["eval", "run", "--data", "toy:moons:100"]);
    said(&["encode", "run", "--data", "toy:moons:100", "--out", "codes"]);
    let weights = || {
        wgen::Run::open(place.path("run"))
            .unwrap()
            .weights()
            .to_vec()
    };
    let averaged = weights();
    let checkpoint = place.path("run/checkpoints").join(&step);
    let file = |name: &str| wgen::files::weights::read_tensors(&checkpoint.join(name)).unwrap();
    let values = |name: &str| -> Vec<f32> { file(name).into_values().flat_map(|t| t.1).collect() };
    let sum = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>();
    let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
    let average = sum(&values("ema.safetensors"));
    assert!(close(sum(&averaged.concat()), average));
    // Without an average the weights themselves.
    fs::remove_file(checkpoint.join("ema.safetensors")).unwrap();
    let plain = sum(&weights().concat());
    assert!(close(plain, sum(&values("model.safetensors"))) && !close(plain, average));
    // A damaged checkpoint is named.
    fs::write(checkpoint.join("model.safetensors"), "short").unwrap();
    let error = wgen::Run::open(place.path("run")).unwrap_err().to_string();
    assert!(
        error.contains("checkpoints") && error.contains(&step),
        "{error}"
    );
    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    let out = place.run(&["sample", "run", "--n", "4", "--out", "x.png"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("nor a checkpoint"),
        "{}",
        stderr(&out)
    );
}

#[test]
fn what_a_killed_training_left_goes_when_the_run_goes_on() {
    let place = Place::new();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let names = ["run/.wgen-abc.tmp", "run/checkpoints/.wgen-abc.tmp"];
    for name in names {
        let file = File::create(place.path(name)).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    // Another process may be writing this one.
    fs::write(place.path("run/.wgen-new.tmp"), "").unwrap();
    fs::write(place.path("run/mine.tmp"), "").unwrap();
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
    for name in names {
        assert!(!place.path(name).exists(), "{name}");
    }
    assert!(place.path("run/.wgen-new.tmp").exists() && place.path("run/mine.tmp").exists());
}
