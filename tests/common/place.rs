//! A folder with a small run to call the program in.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const PNG: &[u8] = b"\x89PNG\r\n";

/// A folder to work in, with a small trained run in `run`.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn new() -> Self {
        let place = Self::empty();
        place.train("toy:moons:100", &[]);
        place
    }

    pub(crate) fn train(&self, data: &str, more: &[&str]) {
        let base = ["train", "vae", "--data", data, "--out", "run"];
        let size = [
            "--hidden", "8", "--latent", "2", "--steps", "3", "--batch", "10",
        ];
        self.done(&[&base[..], &size, more].concat());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        super::file(&self.path(name))
    }

    /// A command in this folder, on the CPU.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgen"));
        command
            .args(["--device", "cpu"])
            .args(arguments)
            .current_dir(self.0.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn done(&self, arguments: &[&str]) -> Output {
        let out = self.run(arguments);
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{arguments:?}: {message}");
        out
    }

    pub(crate) fn sample(&self, out: &str) -> Output {
        self.done(&["sample", "run", "--n", "4", "--out", out])
    }

    /// Status 2, a message with each of `words`, before a device was opened.
    pub(crate) fn refused(&self, arguments: &[&str], words: &[&str]) {
        let out = self.run(arguments);
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {message}");
        for word in words {
            assert!(
                message.contains(word),
                "{arguments:?}: no '{word}' in: {message}"
            );
        }
        let said = [out.stdout, out.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains("device:"), "{arguments:?} began: {said}");
    }

    /// As [`Place::refused`], of what is found after the device was opened.
    pub(crate) fn refused_late(&self, arguments: &[&str], words: &[&str]) {
        let out = self.run(arguments);
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "no '{word}' in: {message}");
        }
    }

    /// Names in this folder, hidden ones too.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// A training that does not end by itself, begun: its first checkpoint is there.
    pub(crate) fn endless(&self, more: &[&str], under: &[&str]) -> Child {
        let words = [under, &[env!("CARGO_BIN_EXE_wgen"), "--device", "cpu"]].concat();
        // By time the first one would be long in coming.
        let often = match more.contains(&"--checkpoint-steps") {
            true => &[][..],
            false => &["--checkpoint-steps", "10"],
        };
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["train", "vae", "--data", "toy:moons:200", "--out", "run"])
            .args(["--hidden", "8", "--latent", "2", "--batch", "20", "--steps"])
            .args(["1000000", "--json"])
            .args(often)
            .args(more)
            .current_dir(self.0.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let latest = self.path("run/checkpoints/latest");
        let begin = Instant::now();
        while !latest.exists() {
            assert!(begin.elapsed() < Duration::from_secs(120), "no checkpoint");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    pub(crate) fn unfinished(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.to_string_lossy().ends_with(".tmp") {
                    found.push(path.display().to_string());
                }
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }
}

pub(crate) fn kill(child: &Child, signal: &str) {
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
}

pub(crate) fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}
