//! Buffers within limits, and readback that does not stop the queue.

use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::Gpu;
use crate::error::{Error, Result};
use crate::gpu::BufferSlice;
use crate::kernels::Access;

impl Gpu {
    /// A buffer of `bytes` (rounded up to 16) for kernels, copies and readback, zeroed.
    ///
    /// # Errors
    /// When it is above a limit, or memory is exhausted.
    pub fn create_buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let size = bytes.max(16).next_multiple_of(16);
        if size > self.caps().buffer_bytes {
            return Err(Error::Limit {
                what: label.to_owned(),
                needed: size,
                limit_name: "max_buffer_size",
                limit: self.caps().buffer_bytes,
                hint: "lower the batch or the model's sizes".to_owned(),
            });
        }
        self.scoped(label, size, || {
            self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    }

    /// A uniform buffer that holds `words`, padded to 16 bytes.
    pub(crate) fn create_uniform(&self, words: &[u32]) -> Result<wgpu::Buffer> {
        let mut words = words.to_vec();
        words.resize(words.len().max(4).next_multiple_of(4), 0);
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        self.scoped("uniform", bytes.len() as u64, || {
            let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("params"),
                size: bytes.len() as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            self.queue().write_buffer(&buffer, 0, bytes);
            buffer
        })
    }

    /// Replaces bytes of a buffer before the next submission runs.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn write(&self, to: &BufferSlice, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > to.size {
            return Err(Error::Gpu(format!(
                "{} bytes do not fit into {}",
                bytes.len(),
                to.size
            )));
        }
        self.queue().write_buffer(&to.buffer, to.offset, bytes);
        Ok(())
    }

    /// Copies one range into another of the same size, after all that was submitted; does not wait for it.
    ///
    /// # Errors
    /// When the sizes differ, are no multiple of 4, or the ranges are of one buffer.
    pub fn copy(&self, from: &BufferSlice, to: &BufferSlice) -> Result<()> {
        if from.size != to.size || !from.size.is_multiple_of(4) || from.buffer == to.buffer {
            return Err(Error::Gpu(format!(
                "a copy needs two buffers and equal multiples of 4 bytes, got {} and {} bytes",
                from.size, to.size
            )));
        }
        let mut encoder = self
            .device()
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(
            &from.buffer,
            from.offset,
            &to.buffer,
            to.offset,
            Some(from.size),
        );
        self.queue().submit([encoder.finish()]);
        Ok(())
    }

    /// Starts to read ranges back, after all that was submitted. Nothing waits until the result is asked for.
    ///
    /// # Errors
    /// When memory is exhausted.
    pub fn begin_read(&self, ranges: &[BufferSlice]) -> Result<Readback> {
        let sizes: Vec<u64> = ranges.iter().map(|r| r.size).collect();
        let total = sizes
            .iter()
            .map(|s| s.next_multiple_of(8))
            .sum::<u64>()
            .max(8);
        begin_map(self, total, sizes, |encoder, staging| {
            let mut at = 0;
            for range in ranges {
                encoder.copy_buffer_to_buffer(
                    &range.buffer,
                    range.offset,
                    staging,
                    at,
                    Some(range.size),
                );
                at += range.size.next_multiple_of(8);
            }
        })
    }

    /// Reads ranges back, waiting for them.
    ///
    /// # Errors
    /// When the device is lost or memory exhausted.
    pub fn read(&self, ranges: &[BufferSlice]) -> Result<Vec<Vec<u8>>> {
        self.begin_read(ranges)?.wait()
    }
}

/// Copies into a staging buffer of `total` bytes as `copy` records, and maps it when that is done.
pub(super) fn begin_map(
    gpu: &Gpu,
    total: u64,
    sizes: Vec<u64>,
    copy: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer),
) -> Result<Readback> {
    let staging = gpu.scoped("readback", total, || {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: total,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    })?;
    let (sender, receiver) = channel();
    gpu.scoped("readback", total, || {
        let mut encoder = gpu
            .device()
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        copy(&mut encoder, &staging);
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |done| {
            sender.send(done).ok();
        });
        gpu.queue().submit([encoder.finish()]);
    })?;
    Ok(Readback {
        gpu: gpu.clone(),
        staging,
        sizes,
        receiver,
    })
}

/// A readback under way.
#[derive(Debug)]
pub struct Readback {
    gpu: Gpu,
    staging: wgpu::Buffer,
    sizes: Vec<u64>,
    receiver: Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Readback {
    /// The bytes, if they have arrived; never waits.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn try_take(&self) -> Result<Option<Vec<Vec<u8>>>> {
        self.gpu.device().poll(wgpu::PollType::Poll).ok();
        match self.receiver.try_recv() {
            Ok(done) => self.finish(done).map(Some),
            Err(TryRecvError::Empty) => self.gpu.check().map(|()| None),
            Err(TryRecvError::Disconnected) => Err(self.lost()),
        }
    }

    /// The bytes, waiting for them.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn wait(self) -> Result<Vec<Vec<u8>>> {
        self.gpu.wait()?;
        match self.receiver.recv() {
            Ok(done) => self.finish(done),
            Err(_) => Err(self.lost()),
        }
    }

    fn lost(&self) -> Error {
        self.gpu
            .check()
            .err()
            .unwrap_or_else(|| Error::DeviceLost("a readback was dropped".to_owned()))
    }

    fn finish(
        &self,
        done: std::result::Result<(), wgpu::BufferAsyncError>,
    ) -> Result<Vec<Vec<u8>>> {
        done.map_err(|_| self.lost())?;
        let mapped = self
            .staging
            .get_mapped_range(..)
            .map_err(|e| Error::Gpu(e.to_string()))?;
        let mut at = 0;
        let mut out = Vec::with_capacity(self.sizes.len());
        for &size in &self.sizes {
            out.push(mapped[at..at + size as usize].to_vec());
            at += size.next_multiple_of(8) as usize;
        }
        drop(mapped);
        self.staging.unmap();
        Ok(out)
    }
}

/// wgpu's binding type of an access.
pub(super) fn binding_type(access: Access) -> wgpu::BindingType {
    if let Access::Texture { texel, .. } = access {
        return wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::WriteOnly,
            format: texel.format(),
            view_dimension: wgpu::TextureViewDimension::D2,
        };
    }
    wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage {
            read_only: access == Access::Read,
        },
        has_dynamic_offset: false,
        min_binding_size: None,
    }
}
