//! Interruptions: Ctrl-C, SIGTERM, and a terminal that is closed. A training that hears of one writes its checkpoint and ends with the status
//! 128 + the signal's number; a second one leaves at once. Every other command ends as it would without a handler, but takes its unfinished
//! files away.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use super::bar;
use crate::files::remove_temporaries;

/// What a training shares with the handler.
pub(super) struct Stop {
    /// Raised by the first signal.
    pub(super) flag: AtomicBool,
    /// Whether a training is under way, so that the first signal is its to answer.
    training: AtomicBool,
    /// Steps submitted.
    step: AtomicU64,
    /// The signal that the flag was raised by.
    signal: AtomicI32,
    /// Whether a training ended because of it.
    ended: AtomicBool,
}

static STOP: Stop = Stop {
    flag: AtomicBool::new(false),
    training: AtomicBool::new(false),
    step: AtomicU64::new(0),
    signal: AtomicI32::new(0),
    ended: AtomicBool::new(false),
};

/// A training that answers to the first signal, while this lives.
pub(super) struct Training;

impl Training {
    /// Begins.
    pub(super) fn begin() -> Self {
        STOP.step.store(0, Ordering::Relaxed);
        STOP.training.store(true, Ordering::SeqCst);
        Self
    }

    /// What is raised when it is to end.
    pub(super) fn flag(&self) -> &'static AtomicBool {
        &STOP.flag
    }

    /// It has submitted so many steps.
    pub(super) fn at(&self, step: u64) {
        STOP.step.store(step, Ordering::Relaxed);
    }

    /// It ended because of a signal: so does the process.
    pub(super) fn interrupted(&self) {
        STOP.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        STOP.training.store(false, Ordering::SeqCst);
    }
}

/// The status of a process whose training was ended by a signal.
pub(super) fn status() -> Option<ExitCode> {
    let signal = STOP.signal.load(Ordering::Relaxed);
    STOP.ended
        .load(Ordering::Relaxed)
        .then(|| ExitCode::from((128 + signal) as u8))
}

/// The first signal of a training: it is told to end, and the user what it still does. False where nobody listens, or not to a second one.
fn told(signal: i32) -> bool {
    if !STOP.training.load(Ordering::SeqCst) || STOP.flag.load(Ordering::SeqCst) {
        return false;
    }
    STOP.signal.store(signal, Ordering::SeqCst);
    STOP.flag.store(true, Ordering::SeqCst);
    let line = match STOP.step.load(Ordering::Relaxed) {
        0 => {
            "interrupted: finishing the first steps and their checkpoint; once more leaves at once"
                .to_owned()
        }
        step => {
            format!(
                "interrupted after step {step}: finishing what is under way and its checkpoint; once more leaves at once"
            )
        }
    };
    // A terminal that was closed hears nothing.
    bar::Above.write_all(format!("{line}\n").as_bytes()).ok();
    true
}

/// Makes the process listen to signals.
#[cfg(unix)]
pub(super) fn install() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    // A file above the limit of its size is then an error like a full disk, and no end in the middle of one.
    let heard = std::sync::Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGXFSZ, heard).ok();
    let mut signals = vec![SIGINT, SIGTERM];
    // Under nohup a closed terminal is to be ignored.
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    let listen = || -> std::io::Result<()> {
        let mut incoming = signal_hook::iterator::Signals::new(&signals)?;
        let listener = std::thread::Builder::new().name("signals".to_owned());
        listener.spawn(move || {
            for signal in incoming.forever() {
                if told(signal) {
                    continue;
                }
                remove_temporaries();
                if STOP.training.load(Ordering::SeqCst) {
                    // No destructors: the device may be busy for long.
                    signal_hook::low_level::exit(128 + signal);
                }
                signal_hook::low_level::emulate_default_handler(signal).ok();
            }
        })?;
        Ok(())
    };
    if let Err(error) = listen() {
        log::warn!("an interruption will end a training without a checkpoint: {error}");
    }
}

#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: a zeroed sigaction is a valid value, and without a new action the call only fills it in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Makes the process listen to Ctrl-C and to a console that is closed.
#[cfg(not(unix))]
pub(super) fn install() {
    const SIGINT: i32 = 2;
    let handler = || {
        if !told(SIGINT) {
            remove_temporaries();
            std::process::exit(128 + SIGINT);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        log::warn!("an interruption will end a training without a checkpoint: {error}");
    }
}
