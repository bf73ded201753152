//! Which of a kernel's variants is the fastest on this device: measured on the real shape, checked before it may win, kept on disk.
//!
//! Plans ask the tuner on hardware alone: a software adapter takes as long to compile the candidates as it would ever gain. Asked
//! directly, it measures on any device that wgen has opened itself:
//!
//! ```
//! use std::sync::Arc;
//! use wgen::gpu::tuning::Tuning;
//! use wgen::kernels::matmul::{Layout, Matmul};
//! use wgen::reference::Twin;
//! use wgen::{Choice, Gpu};
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let product: Arc<dyn Twin> = Arc::new(Matmul::new(gpu.caps(), Layout::Nt, 1, 80, 80, 80)?);
//! let tuning = Tuning::open(None); // a path, and what is learned is kept there
//! let fastest = tuning.choose(&gpu, gpu.caps(), &product)?;
//!
//! let learned = tuning.entries().remove(0);
//! assert_eq!(learned.variant, fastest.variant());
//! assert!(learned.candidates.iter().any(|c| c.variant == product.variant() && c.seconds.is_some()));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::timing::Timer;
use super::{BufferSlice, Gpu, lock};
use crate::error::{Error, Result};
use crate::kernels::{Access, Binding, Caps, Kernel};
use crate::program::candidates::candidates;
use crate::real::Real;
use crate::reference::{Sample, Twin};
use crate::tensor::{DType, Data};

/// Elements of each result that are computed on the CPU as well: enough that no tile of a wrong result is likely to hide between them.
const SAMPLES: usize = 64;

/// A candidate that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The variant.
    pub variant: String,
    /// Seconds, the best of three rounds; `None` where its result was wrong or it could not run.
    pub seconds: Option<f64>,
}

/// What was learned of one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// The kernel and its shape, for people.
    pub what: String,
    /// The variant to take.
    pub variant: String,
    /// All that were measured, the heuristic's first.
    pub candidates: Vec<Measured>,
}

/// What was learned on one adapter and driver, by shape and kernel version.
#[derive(Debug, Default)]
pub struct Tuning {
    path: Option<PathBuf>,
    entries: Mutex<BTreeMap<String, Learned>>,
}

impl Tuning {
    /// What `path` holds; a file that cannot be read counts as empty. Without a path nothing is kept.
    pub fn open(path: Option<PathBuf>) -> Self {
        let read = |path: &Path| {
            let bytes = std::fs::read(path).ok()?;
            serde_json::from_slice(&bytes)
                .map_err(|e| log::debug!("tuning {}: {e}", path.display()))
                .ok()
        };
        let entries = path.as_deref().and_then(read).unwrap_or_default();
        Self {
            path,
            entries: Mutex::new(entries),
        }
    }

    /// Where it is kept for an adapter: in the user's cache folder, by adapter and driver.
    pub(super) fn path_for(info: &wgpu::AdapterInfo) -> Option<PathBuf> {
        let name: String = format!("{}-{}-{}", info.name, info.driver, info.driver_info)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let folder = super::cache::folder()?;
        Some(folder.join(format!("tuning-{:?}-{name}.json", info.backend)))
    }

    /// Everything that was learned.
    pub fn entries(&self) -> Vec<Learned> {
        lock(&self.entries).values().cloned().collect()
    }

    /// The variant of `kernel` to run on `gpu`, for a plan that may use `caps` of it: the learned one, else the fastest of up to four candidates, which are measured now.
    ///
    /// # Errors
    /// When the device is lost or its memory exhausted, or when no candidate's result is what the CPU says: such a device cannot be used. A single
    /// candidate that cannot run or gives a wrong result does not win, and is no error.
    pub fn choose(&self, gpu: &Gpu, caps: &Caps, kernel: &Arc<dyn Twin>) -> Result<Arc<dyn Twin>> {
        let candidates = candidates(kernel, caps);
        if candidates.len() == 1 {
            return Ok(kernel.clone());
        }
        let key = self.key(gpu, &candidates);
        let of = |variant: &str| candidates.iter().find(|c| c.variant() == variant).cloned();
        if let Some(known) = lock(&self.entries).get(&key).and_then(|l| of(&l.variant)) {
            return Ok(known);
        }
        if !gpu.is_owned() {
            // Measuring submits and waits, which is not ours to do on an application's device.
            return Ok(kernel.clone());
        }
        let learned = measure(gpu, &candidates)?;
        let chosen = of(&learned.variant).unwrap_or_else(|| kernel.clone());
        log::debug!("tuned {}: {}", learned.what, learned.variant);
        lock(&self.entries).insert(key, learned);
        self.save();
        Ok(chosen)
    }

    /// The same for every run of the same kernels on the same shape: shapes, and the text of all candidates.
    fn key(&self, gpu: &Gpu, candidates: &[Arc<dyn Twin>]) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |text: &str| {
            for byte in text.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for candidate in candidates {
            let launch = candidate.launch();
            take(&candidate.variant());
            take(&gpu.expand(&launch).unwrap_or_default());
            take(&format!("{:?}{:?}", launch.params, launch.workgroups));
        }
        format!("{} {hash:016x}", candidates[0].family())
    }

    fn save(&self) {
        let Some(path) = &self.path else { return };
        let text = serde_json::to_string_pretty(&*lock(&self.entries)).unwrap_or_default();
        if let Err(error) = super::cache::replace(path, text.as_bytes()) {
            log::debug!("tuning {}: {error}", path.display());
        }
    }
}

/// Small integers: every sum of products of them is exact in f32 up to 2^24, so that candidates that are right agree bit for bit in
/// the sums, whatever their order.
fn small_integers(binding: &Binding, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let count = 0..binding.count;
    match binding.dtype {
        DType::F32 | DType::F16 => Data::F32(count.map(|_| (next() % 5) as f32 - 2.0).collect()),
        DType::U32 => Data::U32(count.map(|_| next() % 7).collect()),
        DType::U8 => Data::U8(count.map(|_| (next() % 7) as u8).collect()),
    }
    .to_device_bytes_as(binding.dtype)
}

fn measure(gpu: &Gpu, candidates: &[Arc<dyn Twin>]) -> Result<Learned> {
    let bindings = candidates[0].bindings();
    let mut buffers: Vec<BufferSlice> = Vec::new();
    for binding in &bindings {
        buffers.push((&gpu.create_buffer(&binding.name, binding.bytes())?).into());
    }
    let given = |i: usize, binding: &Binding| small_integers(binding, i as u32 + 1);
    let fill = || -> Result<()> {
        for (i, (binding, buffer)) in bindings.iter().zip(&buffers).enumerate() {
            gpu.write(buffer, &given(i, binding))?;
        }
        Ok(())
    };
    let samples = samples_of(candidates[0].as_ref(), &bindings, given);
    let written: Vec<(&Binding, &BufferSlice)> = bindings
        .iter()
        .zip(&buffers)
        .filter(|(b, _)| b.access != Access::Read)
        .collect();
    let results = || -> Result<Vec<Vec<f32>>> {
        let ranges: Vec<BufferSlice> = written.iter().map(|(_, b)| (*b).clone()).collect();
        let read = gpu.read(&ranges)?;
        let decoded = written
            .iter()
            .zip(read)
            .map(|((b, _), bytes)| Data::from_device_bytes(b.dtype, b.count, &bytes).to_f32());
        Ok(decoded.collect())
    };
    let kernels: Vec<&dyn Kernel> = candidates.iter().map(|c| c.as_ref() as _).collect();
    gpu.prepare_ahead(&kernels);
    let timer = Timer::new(gpu)?;
    let mut expected: Option<Vec<Vec<f32>>> = None;
    let mut runs = Vec::new();
    for candidate in candidates {
        fill()?;
        let bound = match gpu.bind(candidate.as_ref(), &buffers) {
            Ok(bound) => bound,
            Err(error @ (Error::DeviceLost(_) | Error::OutOfMemory { .. })) => return Err(error),
            Err(error) => {
                log::warn!("tuning: {} cannot run: {error}", candidate.variant());
                runs.push(None);
                continue;
            }
        };
        gpu.dispatch(&bound);
        let got = results()?;
        // Right where the CPU looks, and everywhere the same as the first that is.
        let of_host = samples.iter().all(|s| {
            let position = bindings[..s.binding]
                .iter()
                .filter(|b| b.access != Access::Read);
            s.admits(got[position.count()][s.element])
        });
        let right = of_host && expected.as_ref().is_none_or(|e| agree(&written, e, &got));
        if right {
            expected.get_or_insert(got);
        } else {
            log::warn!(
                "tuning: {} {} gives another result than {}; it is not used",
                candidate.family(),
                candidate.variant(),
                if of_host {
                    "the first candidate"
                } else {
                    "the CPU"
                }
            );
        }
        runs.push(right.then_some((bound, f64::INFINITY)));
    }
    if expected.is_none() {
        return Err(Error::Gpu(format!(
            "{}: none of {} variants of {} gives the CPU's result on {}; `wgen verify` says what else is wrong with this device",
            gpu.summary().name,
            candidates.len(),
            candidates[0].family(),
            of_elements(&bindings),
        )));
    }
    for _ in 0..3 {
        for (bound, best) in runs.iter_mut().flatten() {
            // In place kernels work on what the last run left: finite, which is all that timing needs.
            let seconds = timer.time(1, |_, pass| (0..4).for_each(|_| bound.record(pass)))?;
            *best = best.min(seconds.passes[0] / 4.0);
        }
    }
    let seconds = runs.iter().map(|run| run.as_ref().map(|(_, best)| *best));
    Ok(learned(candidates, &bindings, seconds))
}

/// What the times of the candidates say, those of wrong ones being `None`.
fn learned(
    candidates: &[Arc<dyn Twin>],
    bindings: &[Binding],
    seconds: impl Iterator<Item = Option<f64>>,
) -> Learned {
    let measured: Vec<Measured> = candidates
        .iter()
        .zip(seconds)
        .map(|(candidate, seconds)| Measured {
            variant: candidate.variant(),
            seconds,
        })
        .collect();
    let fastest = measured
        .iter()
        .filter(|m| m.seconds.is_some())
        .min_by(|a, b| {
            a.seconds
                .unwrap_or(0.0)
                .total_cmp(&b.seconds.unwrap_or(0.0))
        });
    Learned {
        what: format!("{} on {}", candidates[0].family(), of_elements(bindings)),
        variant: fastest.map_or_else(|| candidates[0].variant(), |m| m.variant.clone()),
        candidates: measured,
    }
}

/// The sizes of a kernel's buffers in words.
fn of_elements(bindings: &[Binding]) -> String {
    let sizes: Vec<String> = bindings.iter().map(|b| b.count.to_string()).collect();
    format!("{} elements", sizes.join(", "))
}

/// What some elements of the results have to be, by the CPU.
fn samples_of(
    kernel: &dyn Twin,
    bindings: &[Binding],
    given: impl Fn(usize, &Binding) -> Vec<u8>,
) -> Vec<Sample> {
    let decoded = bindings.iter().enumerate().map(|(i, b)| {
        let bytes = given(i, b);
        Data::from_device_bytes(b.dtype, b.count, &bytes)
    });
    let mut samples = kernel.samples(&decoded.collect::<Vec<Data>>(), SAMPLES);
    // The exponential of a long sum of small integers is infinite, in f16 soon: what becomes of it is each device's own affair.
    samples.retain(|s| {
        let reach = s.value.to_f64().abs() + s.value.tolerance();
        reach < largest(bindings[s.binding].dtype)
    });
    samples
}

/// The largest number that a buffer of this type holds.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::MAX.to_f64(),
        _ => f64::from(f32::MAX),
    }
}

/// Whether two results are the same but for the rounding of an epilogue's built-ins, and of what is stored in f16; neither counts where neither is a
/// number.
fn agree(written: &[(&Binding, &BufferSlice)], expected: &[Vec<f32>], got: &[Vec<f32>]) -> bool {
    let mut all = written.iter().zip(expected.iter().zip(got));
    all.all(|((binding, _), (expected, got))| {
        let finite = expected.iter().filter(|x| x.is_finite());
        let range = finite.fold(1.0_f32, |m, x| m.max(x.abs()));
        let stored = match binding.dtype {
            DType::F16 => half::f16::EPSILON.to_f32(),
            _ => 0.0,
        };
        let beyond = |x: f32| x.is_nan() || f64::from(x.abs()) >= largest(binding.dtype);
        expected.iter().zip(got).all(|(&e, &g)| {
            (e - g).abs() <= 1e-5 * range + stored * e.abs() || beyond(e) && beyond(g)
        })
    })
}
