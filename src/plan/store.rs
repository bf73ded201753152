//! Named parameters, gradients, moments, moving average and state, in buffers that outlive plans.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::{BufferSlice, Gpu};
use crate::graph::layout::Layout;
use crate::kernels::{
    CONTROL_FLOATS, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, STATE_WORDS, TABLE_ROWS, state,
};
use crate::program::Flat;
use crate::program::baked::{Baked, Fill};
use crate::program::state as host;

/// What a store keeps beside parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// Gradients and two moments: needed by training plans.
    pub training: bool,
    /// A moving average.
    pub ema: bool,
}

/// The buffers. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    gpu: Gpu,
    layout: Layout,
    options: StoreOptions,
    flats: Vec<(Flat, Vec<wgpu::Buffer>)>,
    state: wgpu::Buffer,
    schedule: wgpu::Buffer,
    table: wgpu::Buffer,
    control: wgpu::Buffer,
    ring: wgpu::Buffer,
}

impl Store {
    /// Buffers for the parameters of `layout`, all zero.
    ///
    /// # Errors
    /// When memory is exhausted or a limit exceeded.
    pub fn new(gpu: &Gpu, layout: Layout, options: StoreOptions) -> Result<Self> {
        let mut wanted = vec![(Flat::Parameters, "parameters")];
        if options.training {
            wanted.extend([
                (Flat::Gradients, "gradients"),
                (Flat::Moment1, "moment1"),
                (Flat::Moment2, "moment2"),
            ]);
        }
        if options.ema {
            wanted.push((Flat::Ema, "ema"));
        }
        let segments = |name: &str| -> Result<Vec<wgpu::Buffer>> {
            layout
                .segments
                .iter()
                .map(|&count| gpu.create_buffer(name, 4 * count as u64))
                .collect()
        };
        let flats = wanted
            .into_iter()
            .map(|(f, name)| Ok((f, segments(name)?)))
            .collect::<Result<_>>()?;
        let inner = Inner {
            gpu: gpu.clone(),
            flats,
            state: gpu.create_buffer("state", 4 * STATE_WORDS as u64)?,
            schedule: gpu.create_buffer("schedule", 4 * SCHEDULE_COLUMNS as u64)?,
            table: gpu.create_buffer("table", 4 * (TABLE_ROWS * SCHEDULE_COLUMNS) as u64)?,
            control: gpu.create_buffer("control", 4 * CONTROL_FLOATS as u64)?,
            ring: gpu.create_buffer("ring", 4 * (RING_ROWS * RING_COLUMNS) as u64)?,
            layout,
            options,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Buffers for the parameters of baked programs, all zero, with what else the programs use.
    ///
    /// # Errors
    /// When there is no program, their store does not hang together, memory is exhausted or a limit exceeded.
    pub fn for_programs(gpu: &Gpu, programs: &[Baked]) -> Result<Self> {
        let first = programs.first();
        let first = first.ok_or_else(|| Error::Usage("a store of no program".to_owned()))?;
        let uses = |flat: Flat| programs.iter().any(|p| p.uses(flat));
        let trained = [Flat::Gradients, Flat::Moment1, Flat::Moment2];
        let options = StoreOptions {
            training: trained.into_iter().any(uses),
            ema: uses(Flat::Ema),
        };
        Self::new(gpu, first.store.layout()?, options)
    }

    /// Its device.
    pub fn gpu(&self) -> &Gpu {
        &self.inner.gpu
    }

    /// Where parameters lie.
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    fn segments(&self, flat: Flat) -> Result<&[wgpu::Buffer]> {
        let found = self.inner.flats.iter().find(|(f, _)| *f == flat);
        let options = self.inner.options;
        found.map(|(_, b)| b.as_slice()).ok_or_else(|| {
            Error::Usage(format!(
                "the store has no {flat:?} buffers: it was made with {options:?}"
            ))
        })
    }

    /// The memory of a program's buffer, if it is the store's.
    pub(super) fn slice(&self, fill: &Fill) -> Result<Option<BufferSlice>> {
        let part = |flat: Flat, position: usize| -> Result<Option<BufferSlice>> {
            let place = self.inner.layout.places[position];
            let buffer = self.segments(flat)?[place.segment].clone();
            Ok(Some(BufferSlice {
                buffer,
                offset: 4 * place.offset as u64,
                size: 4 * place.count as u64,
            }))
        };
        let whole = |buffer: &wgpu::Buffer| Ok(Some(BufferSlice::from(buffer)));
        match fill {
            Fill::Parameter { tensor } => part(Flat::Parameters, *tensor),
            Fill::Gradient { tensor } => part(Flat::Gradients, *tensor),
            Fill::Segment { flat, segment } => {
                let count = self.inner.layout.segments[*segment];
                let buffer = self.segments(*flat)?[*segment].clone();
                Ok(Some(BufferSlice {
                    buffer,
                    offset: 0,
                    size: 4 * count as u64,
                }))
            }
            Fill::State => whole(&self.inner.state),
            Fill::Schedule => whole(&self.inner.schedule),
            Fill::Table => whole(&self.inner.table),
            Fill::Control => whole(&self.inner.control),
            Fill::Ring => whole(&self.inner.ring),
            Fill::Transient { .. } | Fill::Output { .. } | Fill::Input { .. } => Ok(None),
        }
    }

    /// All tensors of a flat buffer, in the layout's order, as they lie on the device.
    ///
    /// # Errors
    /// When the store has no such buffer or the device is lost.
    pub fn read(&self, flat: Flat) -> Result<Vec<Vec<f32>>> {
        let slices: Vec<BufferSlice> = self.segments(flat)?.iter().map(BufferSlice::from).collect();
        let segments = self.gpu().read(&slices)?;
        let layout = self.layout();
        Ok(layout
            .places
            .iter()
            .map(|p| {
                let bytes = &segments[p.segment][4 * p.offset..4 * (p.offset + p.count)];
                bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect()
            })
            .collect())
    }

    /// Replaces all tensors of a flat buffer.
    ///
    /// # Errors
    /// When the number or a size differs.
    pub fn write(&self, flat: Flat, tensors: &[Vec<f32>]) -> Result<()> {
        let layout = self.layout();
        if tensors.len() != layout.places.len() {
            let (wanted, got) = (layout.places.len(), tensors.len());
            return Err(Error::Usage(format!(
                "the store has {wanted} tensors, got {got}"
            )));
        }
        let mut segments: Vec<Vec<f32>> = layout.segments.iter().map(|&n| vec![0.0; n]).collect();
        for ((place, parameter), tensor) in
            layout.places.iter().zip(&layout.parameters).zip(tensors)
        {
            if tensor.len() != place.count {
                let why = format!("has {} elements, got {}", place.count, tensor.len());
                return Err(Error::shape(&parameter.name, why));
            }
            segments[place.segment][place.offset..place.offset + place.count]
                .copy_from_slice(tensor);
        }
        for (buffer, values) in self.segments(flat)?.iter().zip(&segments) {
            self.gpu()
                .write(&buffer.into(), bytemuck::cast_slice(values))?;
        }
        Ok(())
    }

    /// Sets step, seed and cursor, and lets updates happen again.
    ///
    /// # Errors
    /// Never in practice: the words fit.
    pub fn set_state(&self, step: u64, seed: u64, cursor: u32) -> Result<()> {
        let words = host::words(step, seed, cursor);
        self.gpu()
            .write(&(&self.inner.state).into(), bytemuck::cast_slice(&words))
    }

    /// Moves the cursor.
    ///
    /// # Errors
    /// Never in practice.
    pub fn set_cursor(&self, cursor: u32) -> Result<()> {
        let slice = BufferSlice {
            buffer: self.inner.state.clone(),
            offset: 4 * state::CURSOR as u64,
            size: 4,
        };
        self.gpu().write(&slice, &cursor.to_le_bytes())
    }

    /// Writes schedule rows for steps from `first` on; with `current`, also as the row of the step that runs next.
    ///
    /// # Errors
    /// Never in practice.
    pub fn write_schedule(
        &self,
        first: u64,
        rows: &[[f32; SCHEDULE_COLUMNS]],
        current: bool,
    ) -> Result<()> {
        // A staging buffer a write: so one write, or two where the ring ends.
        for (at, part) in host::places_of_rows(first, rows.len()) {
            let row_bytes = 4 * SCHEDULE_COLUMNS as u64;
            let slice = BufferSlice {
                buffer: self.inner.table.clone(),
                offset: at as u64 * row_bytes,
                size: part.len() as u64 * row_bytes,
            };
            self.gpu()
                .write(&slice, bytemuck::cast_slice(&rows[part]))?;
        }
        match rows.first() {
            Some(row) if current => self
                .gpu()
                .write(&(&self.inner.schedule).into(), bytemuck::cast_slice(row)),
            _ => Ok(()),
        }
    }

    /// The ring of the steps' figures and the state, to be read back.
    pub fn ring_and_state(&self) -> [BufferSlice; 2] {
        [(&self.inner.ring).into(), (&self.inner.state).into()]
    }
}
