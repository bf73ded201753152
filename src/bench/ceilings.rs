//! What this adapter can do at most: arithmetic by a kernel of nothing but multiply-adds, memory by the best of several copies.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::gpu::timing::Timer;
use crate::gpu::{Bound, BufferSlice, Gpu};
use crate::kernels::Kernel;
use crate::kernels::ceiling::{Copy, MultiplyAdd};

/// One candidate for a ceiling.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Which kernel.
    pub name: String,
    /// Its best rate: flops or bytes a second.
    pub best: f64,
}

/// The measured ceilings: best of the interleaved rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ceilings {
    /// Flops a second.
    pub flops: f64,
    /// Bytes a second, read and written together: kernels and buffer copies.
    pub bytes: f64,
    /// The same of kernels alone. On a software adapter a buffer copy is one `memcpy`, which no kernel comes near.
    pub kernel_bytes: f64,
    /// Bytes of the copies' working set.
    pub working_set: u64,
    /// All that competed.
    pub candidates: Vec<Candidate>,
}

enum Work {
    Kernel { bound: Bound, flops: f64 },
    BufferCopy(BufferSlice, BufferSlice),
}

/// The candidates, ready to be timed.
pub(super) struct Contest {
    entries: Vec<(String, Work, f64)>,
    working_set: u64,
    bytes: f64,
}

impl Contest {
    pub(super) fn new(gpu: &Gpu) -> Result<Self> {
        let caps = gpu.caps();
        let mut entries = Vec::new();
        let create = |label: &str, bytes: u64| -> Result<BufferSlice> {
            Ok((&gpu.create_buffer(label, bytes)?).into())
        };
        let invocations: usize = if caps.software { 1 << 13 } else { 1 << 20 };
        let (x, out) = (
            create("x", 4 * invocations as u64)?,
            create("out", 4 * invocations as u64)?,
        );
        let coefficients = create("coefficients", 8)?;
        gpu.write(
            &coefficients,
            bytemuck::cast_slice(&[-0.968_75_f32, 0.437_5]),
        )?;
        let arithmetic = [x, coefficients, out];
        for chains in [2, 4, 6] {
            for fused in [false, true] {
                let kernel = MultiplyAdd {
                    invocations,
                    rounds: 1024,
                    chains,
                    fused,
                    workgroup: if caps.software { 64 } else { 256 },
                };
                let bound = gpu.bind(&kernel, &arithmetic)?;
                let flops = kernel.cost().flops;
                entries.push((kernel.variant(), Work::Kernel { bound, flops }, 0.0));
            }
        }
        // Several times the last cache of anything sold, within a binding: 256 MiB in all on the smallest devices.
        let largest = if caps.software { 128 << 20 } else { 256 << 20 };
        let size = caps.binding_bytes.min(caps.buffer_bytes).min(largest);
        let count = size as usize / 16 * 4;
        let copied = [create("copy source", size)?, create("copy target", size)?];
        let shapes = [
            (true, 1, 64),
            (true, 1, 256),
            (true, 4, 256),
            (true, 4, 512),
            (true, 4, 1024),
            (false, 4, 256),
        ];
        let fits = |shape: &(bool, usize, u32)| shape.2 <= caps.invocations;
        for (vector, per_thread, workgroup) in shapes.into_iter().filter(fits) {
            let kernel = Copy {
                count,
                vector,
                per_thread,
                workgroup,
            };
            let bound = gpu.bind(&kernel, &copied)?;
            entries.push((kernel.variant(), Work::Kernel { bound, flops: 0.0 }, 0.0));
        }
        let [from, to] = copied;
        entries.push((
            "copy_buffer_to_buffer".to_owned(),
            Work::BufferCopy(from, to),
            0.0,
        ));
        Ok(Self {
            entries,
            working_set: 2 * size,
            bytes: 8.0 * count as f64,
        })
    }

    /// Something that takes some milliseconds at least, for the clock to be checked on.
    pub(super) fn calibrate(&self, timer: &mut Timer) -> Result<()> {
        match self.entries.first() {
            Some((_, Work::Kernel { bound, .. }, _)) => timer.calibrate(|pass| {
                (0..4).for_each(|_| bound.record(pass));
            }),
            _ => Ok(()),
        }
    }

    /// One round: each candidate once.
    pub(super) fn round(&mut self, gpu: &Gpu, timer: &Timer) -> Result<()> {
        for (_, work, best) in &mut self.entries {
            let rate = match work {
                Work::Kernel { bound, flops } => {
                    let seconds = timer.time(1, |_, pass| bound.record(pass))?.passes[0];
                    if *flops > 0.0 {
                        *flops / seconds
                    } else {
                        self.bytes / seconds
                    }
                }
                Work::BufferCopy(from, to) => {
                    let begin = std::time::Instant::now();
                    gpu.copy(from, to)?;
                    gpu.wait()?;
                    self.bytes / begin.elapsed().as_secs_f64()
                }
            };
            if rate.is_finite() {
                *best = best.max(rate);
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Ceilings {
        let mut ceilings = Ceilings {
            working_set: self.working_set,
            ..Ceilings::default()
        };
        for (name, work, best) in self.entries {
            let arithmetic = matches!(work, Work::Kernel { flops, .. } if flops > 0.0);
            if !arithmetic && matches!(work, Work::Kernel { .. }) {
                ceilings.kernel_bytes = ceilings.kernel_bytes.max(best);
            }
            let ceiling = if arithmetic {
                &mut ceilings.flops
            } else {
                &mut ceilings.bytes
            };
            *ceiling = ceiling.max(best);
            ceilings.candidates.push(Candidate { name, best });
        }
        ceilings
    }
}
