//! Going on after a lost device, in the same process.

use std::path::Path;

use super::run::Summary;
use crate::error::{Error, Result};
use crate::files::folder;
use crate::session::Device;

/// Losses without a new checkpoint between them after which it is given up: something is wrong that a new device does not mend.
const ATTEMPTS: usize = 3;

/// Runs `attempt` on a device that `open` gives. Where the device is lost (a driver's reset, an unplugged card), everything on it is
/// gone and files are not: a new one is opened and `attempt` is told to resume from the newest checkpoint in `out`.
///
/// # Errors
/// Those of `attempt` and `open`; a lost device only after three losses in a row without a new checkpoint.
pub fn run(
    mut open: impl FnMut() -> Result<Device>,
    out: &Path,
    mut resume: bool,
    mut attempt: impl FnMut(&Device, bool) -> Result<Summary>,
) -> Result<Summary> {
    let mut reached = None;
    let mut in_vain = 0;
    loop {
        let device = open()?;
        match attempt(&device, resume) {
            Err(Error::DeviceLost(why)) => {
                let saved = folder::newest_step(out);
                in_vain = if saved > reached { 0 } else { in_vain + 1 };
                reached = saved.max(reached);
                if in_vain >= ATTEMPTS {
                    return Err(Error::DeviceLost(why));
                }
                log::warn!(
                    "the GPU device was lost ({why}); a new one goes on from step {}",
                    saved.unwrap_or(0)
                );
                resume = out.join("config.json").exists();
            }
            ended => return ended,
        }
    }
}
