//! How a data set's examples reach a device in batches: the whole set lies there, or a window of it that is refilled ahead of the steps.
//!
//! ```
//! use wgen::data::epoch_order;
//! use wgen::data::toy::{Toy, points};
//! use wgen::graph::Graph;
//! use wgen::graph::layout::Layout;
//! use wgen::kernels::philox::Domain;
//! use wgen::session::Device;
//! use wgen::session::feed::{Feed, Wants};
//!
//! let session = Device::Cpu.session(Layout::new(Vec::new(), 1 << 20)?, Default::default())?; // no parameters
//! let data = points(Toy::Moons, 100, 0);
//! let mut feed = Feed::new(session.as_ref(), data.clone(), 32, 0, 1 << 20, Wants::default())?;
//! assert_eq!((feed.batches_per_epoch(), feed.remainder()), (4, Some(4)));
//!
//! let graph = Graph::new(Domain::Training);
//! graph.output("x", feed.data_type().batch(&graph, "mine", 2, 32)?);
//! let mut batch = session.compile(&graph, &feed.inputs_of(&graph))?;
//! feed.prepare(session.as_ref(), 0)?;
//! batch.run(1)?;
//! // The first 32 examples of the first epoch.
//! let order: Vec<usize> = epoch_order(100, 0, 0)[..32].iter().map(|&i| i as usize).collect();
//! assert_eq!(batch.read("x")?.data, data.select(&order).values);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use crate::data::scene::{CAMERA_FLOATS, POSE_FLOATS, Views};
use crate::data::{Dataset, epoch_order};
use crate::error::Result;
use crate::graph::Graph;
use crate::models::DataType;
use crate::tensor::{DType, Data, Value};

use super::{Resident, Session};

/// What a model wants of its examples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// Labels.
    pub labels: bool,
    /// No batch that is smaller than the others.
    pub whole_batches: bool,
}

/// The data set's side of a training run. Batches are counted from the beginning of the training on.
#[derive(Debug)]
pub struct Feed {
    dataset: Dataset,
    batch: usize,
    seed: u64,
    /// Batches that fit into the window; `None` when the whole data set is resident.
    window: Option<usize>,
    data: Box<dyn Resident>,
    index: Box<dyn Resident>,
    /// Labels as rows of zeros and a one, where the model wants them.
    labels: Option<Box<dyn Resident>>,
    /// Where the cameras of rays are.
    poses: Option<Box<dyn Resident>>,
    /// What cameras they are.
    cameras: Option<Box<dyn Resident>>,
    /// Whether a smaller last batch of an epoch is left out.
    whole_batches: bool,
    /// The epoch whose order is at hand.
    order: Option<(u64, Vec<u32>)>,
    /// First batch and number of batches that the device has examples for.
    filled: Option<(u64, usize)>,
}

impl Feed {
    /// Uploads `dataset`, or a window of it where its bytes are above `limit`.
    ///
    /// # Errors
    /// When memory is exhausted, or labels are wanted that are not there or of more classes.
    pub fn new(
        session: &dyn Session,
        dataset: Dataset,
        batch: usize,
        seed: u64,
        limit: u64,
        wants: Wants,
    ) -> Result<Self> {
        let classes = dataset.classes();
        let one_hot = wants.labels.then(|| dataset.one_hot(classes)).transpose()?;
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
        let labels = one_hot
            .map(|mut rows| {
                rows.resize(held * classes, 0);
                let value = Value::new([held, classes], Data::U8(rows))?;
                session.upload("labels", value)
            })
            .transpose()?;
        let of_views = |name: &str, floats: usize, values: fn(&Views) -> Vec<f32>| {
            let views = dataset.views.as_ref();
            let upload = |views: &Arc<Views>| {
                let shape = [views.poses.len(), floats];
                session.upload(name, Value::f32(shape, values(views))?)
            };
            views.map(upload).transpose()
        };
        let poses = of_views("poses", POSE_FLOATS, Views::matrix)?;
        let cameras = of_views("cameras", CAMERA_FLOATS, Views::table)?;
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
            labels,
            poses,
            cameras,
            whole_batches: wants.whole_batches,
            order: None,
            filled: None,
        })
    }

    /// What graphs have to know of the data.
    pub fn data_type(&self) -> DataType {
        let rows = self
            .window
            .map_or(self.dataset.rows(), |steps| steps * self.batch);
        data_type(&self.dataset, rows)
    }

    /// The uploaded inputs by name.
    pub fn inputs(&self) -> Vec<(&str, &dyn Resident)> {
        let mut inputs = vec![("data", self.data.as_ref()), ("index", self.index.as_ref())];
        inputs.extend(self.labels.as_ref().map(|l| ("labels", l.as_ref())));
        inputs.extend(self.poses.as_ref().map(|p| ("poses", p.as_ref())));
        inputs.extend(self.cameras.as_ref().map(|c| ("cameras", c.as_ref())));
        inputs
    }

    /// Those of them that `graph` reads.
    pub fn inputs_of(&self, graph: &Graph) -> Vec<(&str, &dyn Resident)> {
        let mut inputs = self.inputs();
        inputs.retain(|(name, _)| graph.has_input(name));
        inputs
    }

    /// Batches of an epoch, a smaller last one included unless whole ones are wanted.
    pub fn batches_per_epoch(&self) -> u64 {
        let rows = self.dataset.rows();
        (if self.whole_batches {
            rows / self.batch
        } else {
            rows.div_ceil(self.batch)
        }) as u64
    }

    /// Examples of the last batch of an epoch, where it is smaller.
    pub fn remainder(&self) -> Option<usize> {
        let rest = self.dataset.rows() % self.batch;
        (rest != 0 && !self.whole_batches).then_some(rest)
    }

    /// Examples of batch `number`.
    pub(crate) fn batch_of(&self, number: u64) -> usize {
        match self.remainder() {
            Some(rest) if (number + 1).is_multiple_of(self.batches_per_epoch()) => rest,
            _ => self.batch,
        }
    }

    /// Makes the examples of batch `number` available, sets the cursor where it has to be moved, and says for how many further batches
    /// of the same epoch they are.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn prepare(&mut self, session: &dyn Session, number: u64) -> Result<usize> {
        let per_epoch = self.batches_per_epoch();
        let (epoch, position) = (number / per_epoch, (number % per_epoch) as usize);
        if let Some((first, steps)) = self.filled
            && number >= first
            && number < first + steps as u64
        {
            return Ok((first + steps as u64 - number) as usize);
        }
        if self.order.as_ref().is_none_or(|(e, _)| *e != epoch) {
            self.order = Some((epoch, epoch_order(self.dataset.rows(), self.seed, epoch)));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, o)| o.as_slice());
        let left = per_epoch as usize - position;
        let steps = match self.window {
            None => {
                self.index.replace(Data::U32(order.to_vec()))?;
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
                let part = self.dataset.select(&rows);
                if let Some(labels) = &self.labels {
                    let classes = self.dataset.classes();
                    let mut rows = part.one_hot(classes)?;
                    rows.resize(window * self.batch * classes, 0);
                    labels.replace(Data::U8(rows))?;
                }
                let mut values = part.values;
                let wanted = window * self.batch * self.dataset.shape.count();
                match &mut values {
                    Data::U8(v) => v.resize(wanted, 0),
                    Data::F32(v) => v.resize(wanted, 0.0),
                    _ => {}
                }
                self.data.replace(values)?;
                session.set_cursor(0)?;
                steps
            }
        };
        self.filled = Some((number, steps));
        Ok(steps)
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The device's examples are not to be relied on any more: the state was set anew.
    pub(crate) fn forget(&mut self) {
        self.filled = None;
    }
}

/// What graphs have to know of a data set of which `rows` are on the device.
pub(crate) fn data_type(dataset: &Dataset, rows: usize) -> DataType {
    let (scale, shift) = dataset.scaling();
    DataType {
        rows,
        width: dataset.shape.count(),
        dtype: dataset.dtype(),
        indices: rows,
        scale,
        shift,
        classes: dataset.classes(),
        cameras: dataset.views.as_ref().map(|views| views.cameras()),
    }
}

fn values_dtype(values: &Data) -> DType {
    if matches!(values, Data::U8(_)) {
        DType::U8
    } else {
        DType::F32
    }
}
