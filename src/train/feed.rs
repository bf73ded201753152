//! How examples reach a plan: the whole data set on the device, or a window of it that is refilled ahead of the steps.

use crate::data::{Dataset, epoch_order};
use crate::error::Result;
use crate::models::DataType;
use crate::tensor::{DType, Data, Value};

use super::session::{Executable, Resident, Session};

/// The data set's side of a training run.
#[derive(Debug)]
pub struct Feed {
    dataset: Dataset,
    batch: usize,
    seed: u64,
    /// Steps whose examples fit into the window; `None` when the whole data set is resident.
    window: Option<usize>,
    data: Resident,
    index: Resident,
    /// The epoch whose order is at hand.
    order: Option<(u64, Vec<u32>)>,
    /// First step and number of steps that the device has examples for.
    filled: Option<(u64, usize)>,
}

impl Feed {
    /// Uploads `dataset`, or a window of it where its bytes are above `limit`.
    ///
    /// # Errors
    /// When memory is exhausted.
    pub fn new(
        session: &Session,
        dataset: Dataset,
        batch: usize,
        seed: u64,
        limit: u64,
    ) -> Result<Self> {
        let rows = dataset.rows();
        let width = dataset.shape.count();
        let element = if dataset.dtype() == DType::U8 { 1 } else { 4 };
        let bytes = (rows * width * element) as u64;
        let window = (bytes > limit).then(|| {
            let step = (batch * width * element) as u64;
            // Two windows may be in flight in the queue's staging memory.
            (limit / 2 / step.max(1)).clamp(1, 256) as usize
        });
        let held = window.map_or(rows, |steps| steps * batch);
        let values = match (window, &dataset.values) {
            (None, values) => values.clone(),
            (Some(_), values) => Data::zeros(
                values_dtype(values),
                crate::real::Precision::F32,
                held * width,
            ),
        };
        let data = session.upload("data", Value::new([held, width], values)?)?;
        let index = session.upload(
            "index",
            Value::new([held], Data::U32((0..held as u32).collect()))?,
        )?;
        if let Some(steps) = window {
            log::info!(
                "{} has {bytes} bytes, above {limit}: streamed, {steps} steps at a time",
                dataset.name
            );
        }
        Ok(Self {
            dataset,
            batch,
            seed,
            window,
            data,
            index,
            order: None,
            filled: None,
        })
    }

    /// What graphs have to know of the data.
    pub fn data_type(&self) -> DataType {
        let (scale, shift) = self.dataset.scaling();
        let rows = self
            .window
            .map_or(self.dataset.rows(), |steps| steps * self.batch);
        DataType {
            rows,
            width: self.dataset.shape.count(),
            dtype: self.dataset.dtype(),
            indices: rows,
            scale,
            shift,
        }
    }

    /// The uploaded inputs by name.
    pub fn inputs(&self) -> [(&str, &Resident); 2] {
        [("data", &self.data), ("index", &self.index)]
    }

    /// Steps of an epoch, a smaller last batch included.
    pub fn steps_per_epoch(&self) -> u64 {
        self.dataset.rows().div_ceil(self.batch) as u64
    }

    /// Examples of the last batch of an epoch, where it is smaller.
    pub fn remainder(&self) -> Option<usize> {
        let rest = self.dataset.rows() % self.batch;
        (rest != 0).then_some(rest)
    }

    /// Examples of step `step`.
    pub fn batch_of(&self, step: u64) -> usize {
        match self.remainder() {
            Some(rest) if (step + 1).is_multiple_of(self.steps_per_epoch()) => rest,
            _ => self.batch,
        }
    }

    /// Makes the examples of step `step` available, sets the cursor where it has to be moved, and says for how many further steps
    /// of the same epoch they are.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn prepare(
        &mut self,
        session: &mut Session,
        step: u64,
        executables: &mut [&mut Executable],
    ) -> Result<usize> {
        let per_epoch = self.steps_per_epoch();
        let (epoch, position) = (step / per_epoch, (step % per_epoch) as usize);
        if let Some((first, steps)) = self.filled
            && step >= first
            && step < first + steps as u64
        {
            return Ok((first + steps as u64 - step) as usize);
        }
        if self.order.as_ref().is_none_or(|(e, _)| *e != epoch) {
            self.order = Some((epoch, epoch_order(self.dataset.rows(), self.seed, epoch)));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, o)| o.as_slice());
        let left = per_epoch as usize - position;
        let steps = match self.window {
            None => {
                let order = Data::U32(order.to_vec());
                session.replace(&mut self.index, order, executables, "index")?;
                session.set_cursor((position * self.batch) as u32)?;
                left
            }
            Some(window) => {
                let steps = window.min(left);
                let first = position * self.batch;
                let rows: Vec<usize> = order[first..order.len().min(first + steps * self.batch)]
                    .iter()
                    .map(|&r| r as usize)
                    .collect();
                let mut values = self.dataset.select(&rows).values;
                let wanted = window * self.batch * self.dataset.shape.count();
                match &mut values {
                    Data::U8(v) => v.resize(wanted, 0),
                    Data::F32(v) => v.resize(wanted, 0.0),
                    _ => {}
                }
                session.replace(&mut self.data, values, executables, "data")?;
                session.set_cursor(0)?;
                steps
            }
        };
        self.filled = Some((step, steps));
        Ok(steps)
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The device's examples are not to be relied on any more: the state was set anew.
    pub fn forget(&mut self) {
        self.filled = None;
    }
}

fn values_dtype(values: &Data) -> DType {
    if matches!(values, Data::U8(_)) {
        DType::U8
    } else {
        DType::F32
    }
}
