//! Going on after a lost device (a driver's reset, an unplugged card), in the same process and from the newest checkpoint.
//!
//! ```
//! use wgen::session::Device;
//! use wgen::{Error, train::{Event, Trainer, recover}};
//! # use std::sync::{Arc, atomic::AtomicBool};
//! # use wgen::files::{Config, Training};
//! # use wgen::models::vae::{self, Vae};
//! # let dir = tempfile::tempdir().unwrap();
//! # let folder = dir.path();
//! # let data = wgen::data::digits::digits(16, 1);
//! # let training = Training { steps: Some(4), epochs: None, batch: 16, checkpoint_steps: 2, ..Training::default() };
//! # let model = Arc::new(Vae::new(vae::Config { hidden: vec![16], latent: 2, ..vae::Config::mnist() })?);
//! # let config = Config::new(model, data.shape, "digits", training);
//! # let stop = AtomicBool::new(false);
//!
//! let mut attempts = Vec::new();
//! let summary = recover::run(|| Ok(Device::Cpu), folder, false, |device, resume| {
//!     attempts.push(resume);
//!     let mut trainer = Trainer::new(device, config.clone(), data.clone(), folder, resume)?;
//!     trainer.run(&stop, |_, event| match event {
//!         // As if the device were lost after the first checkpoint.
//!         Event::Checkpoint { step: 2 } if !resume => Err(Error::DeviceLost("unplugged".to_owned())),
//!         _ => Ok(()),
//!     })
//! })?;
//! assert_eq!((attempts, summary.steps), (vec![false, true], 4));
//! # Ok::<(), wgen::Error>(())
//! ```

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
