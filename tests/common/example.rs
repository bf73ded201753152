//! The examples, run as programs, in a window where there is a display to be had.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An example that was built with the tests.
pub(crate) fn example(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_BIN_EXE_wgen")).parent().unwrap();
    let path: PathBuf = folder.join("examples").join(name);
    assert!(
        path.exists(),
        "{}: build the examples first",
        path.display()
    );
    Command::new(path)
}

/// What it printed.
pub(crate) fn succeeded(out: &Output) -> String {
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

/// An example run in a window, where there is one: what it printed holds `said`.
pub(crate) fn in_a_window(name: &str, arguments: &[&str], said: &str) {
    let Some(display) = Display::of(name) else {
        return;
    };
    let out = example(name)
        .args(arguments)
        .env("DISPLAY", &display.1)
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .unwrap();
    let text = succeeded(&out);
    assert!(text.contains(said), "{text}");
}

/// An X server for one test, stopped at its end.
struct Display(std::process::Child, String);

impl Display {
    /// For an example. `test.sh` installs Xvfb where apt is; elsewhere `WGEN_REQUIRE_XVFB` decides whether its absence is a failure.
    fn of(name: &str) -> Option<Self> {
        let display = Self::new();
        if display.is_none() {
            assert!(
                std::env::var_os("WGEN_REQUIRE_XVFB").is_none(),
                "Xvfb is not on PATH"
            );
            eprintln!("NOT CHECKED: Xvfb is not on PATH, so {name} was not run in a window");
        }
        display
    }

    /// Xvfb takes a free number by itself and writes it once it accepts connections: a number of our own choice may meet
    /// the socket that a killed server left behind. `None` where there is no Xvfb.
    fn new() -> Option<Self> {
        let mut child = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "640x640x24"])
            .args(["-nolisten", "tcp"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .ok()?;
        let mut number = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut number)
            .unwrap();
        let number = number.trim();
        assert!(!number.is_empty(), "Xvfb ended without a display");
        let name = format!(":{number}");
        Some(Self(child, name))
    }
}

impl Drop for Display {
    /// Asked to end, it takes its socket with it; killed, it would leave that behind.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.0.kill().ok();
        }
        self.0.wait().ok();
    }
}
