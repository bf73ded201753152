//! What goes into a plan's buffers and comes out of them.

use super::{GUARD, POISON, Plan};
use crate::error::{Error, Result};
use crate::gpu::BufferSlice;
use crate::program::BufferId;
use crate::program::baked::{Fill, Output};
use crate::tensor::{Data, Value};

impl Plan {
    /// Writes what the graph knows itself into the inputs that the caller did not bind:
    /// [`Graph::table`](crate::graph::Graph::table).
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn write_tables(&self) -> Result<()> {
        for (buffer, place) in self.baked.buffers.iter().zip(&self.places) {
            if let Fill::Input {
                words: Some(words), ..
            } = &buffer.fill
                && self.own.contains(&place.buffer)
            {
                self.gpu.write(place, bytemuck::cast_slice(words))?;
            }
        }
        Ok(())
    }

    /// Writes an input that the plan owns.
    ///
    /// # Errors
    /// When there is none of that name or the size differs.
    pub fn write(&self, name: &str, data: &Data) -> Result<()> {
        self.gpu.write(self.buffer(name)?, &data.to_device_bytes())
    }

    /// The buffer of an output.
    pub(super) fn output(&self, name: &str) -> Result<&Output> {
        self.baked.output(name).ok_or_else(|| {
            Error::Usage(format!(
                "the plan has no output '{name}'; it has {}",
                self.names()
            ))
        })
    }

    /// Reads an output, waiting for it.
    ///
    /// # Errors
    /// When there is none of that name or the device is lost.
    pub fn read(&self, name: &str) -> Result<Value> {
        let output = self.output(name)?;
        let data = self.read_buffers(&[BufferId(output.buffer)])?.remove(0);
        Value::new(output.shape.clone(), data)
    }

    /// The memory of a buffer, without what lies behind it.
    pub(super) fn exactly(&self, buffer: usize) -> BufferSlice {
        BufferSlice {
            size: self.baked.buffers[buffer].bytes.max(4),
            ..self.places[buffer].clone()
        }
    }

    /// Reads buffers of the program.
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn read_buffers(&self, ids: &[BufferId]) -> Result<Vec<Data>> {
        let ranges: Vec<BufferSlice> = ids.iter().map(|id| self.exactly(id.0)).collect();
        let bytes = self.gpu.read(&ranges)?;
        let data = |(id, bytes): (&BufferId, Vec<u8>)| {
            let buffer = &self.baked.buffers[id.0];
            Data::from_device_bytes(buffer.dtype, buffer.shape.count(), &bytes)
        };
        Ok(ids.iter().zip(bytes).map(data).collect())
    }

    /// What each binding of a dispatch holds.
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn read_bindings(&self, index: usize) -> Result<Vec<Data>> {
        let bindings = &self.baked.dispatches[index].bindings;
        let ids: Vec<BufferId> = bindings.iter().map(|b| BufferId(b.buffer)).collect();
        let whole = self.read_buffers(&ids)?.into_iter().zip(bindings);
        Ok(whole
            .map(|(data, bound)| data.slice(bound.first, bound.count))
            .collect())
    }

    /// Fills the plan's own buffers, guards included, with a NaN that nobody computes. Inputs have to be written afterwards.
    ///
    /// # Errors
    /// Never in practice.
    pub(crate) fn poison(&self) -> Result<()> {
        for buffer in &self.own {
            let words = vec![POISON; buffer.size() as usize / 4];
            self.gpu
                .write(&buffer.into(), bytemuck::cast_slice(&words))?;
        }
        Ok(())
    }

    /// After [`Plan::poison`] and a run: whether anything wrote outside of its buffer.
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn guards_intact(&self) -> Result<bool> {
        let ends = |b: &wgpu::Buffer| {
            [0, b.size() - GUARD].map(|offset| BufferSlice {
                buffer: b.clone(),
                offset,
                size: GUARD,
            })
        };
        let ranges: Vec<BufferSlice> = self.own.iter().flat_map(ends).collect();
        let intact = |bytes: &Vec<u8>| bytes.chunks_exact(4).all(|w| w == POISON.to_le_bytes());
        Ok(self.gpu.read(&ranges)?.iter().all(intact))
    }
}
