//! The bar at the foot of the terminal: there is one at a time, and what is logged stands above it.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;

static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows a bar, which moves however long nothing happens.
pub(super) fn show(bar: &ProgressBar) {
    bar.enable_steady_tick(Duration::from_millis(150));
    *shown() = Some(bar.clone());
}

/// Takes it away.
pub(super) fn hide(bar: &ProgressBar) {
    bar.finish_and_clear();
    *shown() = None;
}

/// Where the log goes, and the word about an interruption: stderr, above the bar.
pub(super) struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let bar = shown().clone();
        let mut stderr = std::io::stderr();
        match bar {
            Some(bar) => bar.suspend(|| stderr.write(bytes)),
            None => stderr.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// `0:07`, `12:05`, `3:00:00`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let seconds = Duration::from_secs;
        assert_eq!(clock(seconds(7)), "0:07");
        assert_eq!(clock(seconds(725)), "12:05");
        assert_eq!(clock(seconds(10_800)), "3:00:00");
    }
}
