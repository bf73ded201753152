//! Time on the device: timestamps where they are honest, else the wall clock around a submission.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Gpu;
use crate::error::{Error, Result};
use crate::gpu::BufferSlice;

/// What times are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Timestamps that the device writes at a pass's beginning and end.
    Timestamps,
    /// The host's clock around submission and wait: includes their cost, some ten to a hundred microseconds.
    Wall,
}

/// Queries of one set, as WebGPU guarantees them.
const QUERIES: u32 = 4096;

/// Measures passes on a device.
#[derive(Debug)]
pub(crate) struct Timer {
    gpu: Gpu,
    queries: Option<(wgpu::QuerySet, wgpu::Buffer)>,
    clock: Clock,
    doubt: Option<String>,
}

/// Seconds of some passes in one submission.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Times {
    /// Of each pass. By the wall clock only their sum is known, and each is its share.
    pub passes: Vec<f64>,
    /// From submission to the end, by the host's clock.
    pub wall: f64,
}

impl Timer {
    /// A timer that reads timestamps where the device has them.
    ///
    /// # Errors
    /// When memory is exhausted.
    pub(crate) fn new(gpu: &Gpu) -> Result<Self> {
        let stamped = gpu
            .device()
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY);
        let queries = if stamped {
            let set = gpu.scoped("timestamps", u64::from(QUERIES) * 8, || {
                gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("timestamps"),
                    ty: wgpu::QueryType::Timestamp,
                    count: QUERIES,
                })
            })?;
            let bytes = u64::from(QUERIES) * 8;
            let resolved = gpu.scoped("timestamps", bytes, || {
                gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: Some("timestamps"),
                    size: bytes,
                    usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                    mapped_at_creation: false,
                })
            })?;
            Some((set, resolved))
        } else {
            None
        };
        Ok(Self {
            gpu: gpu.clone(),
            clock: if stamped {
                Clock::Timestamps
            } else {
                Clock::Wall
            },
            doubt: (!stamped).then(|| "the device has no timestamps".to_owned()),
            queries,
        })
    }

    /// What times are read from.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Why timestamps are not used, where they are not.
    pub(crate) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Compares timestamps with the wall clock over a pass that takes some milliseconds at least, and gives them up where they do
    /// not agree: some drivers report zeros.
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn calibrate(
        &mut self,
        mut record: impl FnMut(&mut wgpu::ComputePass<'_>),
    ) -> Result<()> {
        self.time(1, |_, pass| record(pass))?;
        let ratios: Vec<f64> = (0..3)
            .map(|_| {
                let times = self.time(1, |_, pass| record(pass))?;
                Ok(times.passes[0] / times.wall)
            })
            .collect::<Result<_>>()?;
        let best = ratios.iter().fold(0.0_f64, |m, &r| m.max(r));
        // A pass cannot last longer than the wait for it, nor should the wait be twice as long where the pass is all there is.
        if self.clock == Clock::Timestamps && !(0.5..1.02).contains(&best) {
            self.clock = Clock::Wall;
            self.doubt = Some(format!(
                "timestamps give {best:.2} of the time that the host measured"
            ));
        }
        Ok(())
    }

    /// Times `passes` passes of one submission; `record` is told which it fills.
    ///
    /// # Errors
    /// When the device is lost, or there are more passes than queries for them.
    pub(crate) fn time(
        &self,
        passes: usize,
        mut record: impl FnMut(usize, &mut wgpu::ComputePass<'_>),
    ) -> Result<Times> {
        if passes == 0 || passes > QUERIES as usize / 2 {
            return Err(Error::Usage(format!(
                "{passes} passes; from 1 to {} can be timed at once",
                QUERIES / 2
            )));
        }
        let stamps = self
            .queries
            .as_ref()
            .filter(|_| self.clock == Clock::Timestamps);
        let device = self.gpu.device();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for i in 0..passes {
            let writes = stamps.map(|(set, _)| wgpu::ComputePassTimestampWrites {
                query_set: set,
                beginning_of_pass_write_index: Some(2 * i as u32),
                end_of_pass_write_index: Some(2 * i as u32 + 1),
            });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: writes,
            });
            record(i, &mut pass);
        }
        let count = 2 * passes as u32;
        if let Some((set, resolved)) = stamps {
            encoder.resolve_query_set(set, 0..count, resolved, 0);
        }
        let commands = encoder.finish();
        let begin = Instant::now();
        self.gpu.queue().submit([commands]);
        self.gpu.wait()?;
        let wall = begin.elapsed().as_secs_f64();
        let Some((_, resolved)) = stamps else {
            return Ok(Times {
                passes: vec![wall / passes as f64; passes],
                wall,
            });
        };
        let range = BufferSlice {
            buffer: resolved.clone(),
            offset: 0,
            size: u64::from(count) * 8,
        };
        let period = f64::from(self.gpu.queue().get_timestamp_period()) * 1e-9;
        let bytes = self.gpu.read(&[range])?.remove(0);
        let stamp = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * i..8 * i + 8]);
            u64::from_le_bytes(word)
        };
        let passes = (0..passes)
            .map(|i| stamp(2 * i + 1).saturating_sub(stamp(2 * i)) as f64 * period)
            .collect();
        Ok(Times { passes, wall })
    }
}
