//! Data sets in memory: where they come from, how they are split and shuffled. A [`Spec`] names one as the command line does:
//!
//! ```
//! use wgen::data::{Spec, idx::Part, images::Options};
//!
//! let spec: Spec = "toy:ring8:1000".parse()?;
//! let data = spec.load(Part::Training, &Options::default())?;
//! assert_eq!((data.rows(), data.shape.count(), data.classes()), (1000, 2, 8));
//!
//! let (training, validation) = data.split(100, 0)?;
//! assert_eq!((training.rows(), validation.map(|v| v.rows())), (900, Some(100)));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::nn::init::{generator, hash, hash_on};
use crate::tensor::{DType, Data, ImageShape};

pub mod digits;
pub mod held_out;
pub mod idx;
pub mod images;
pub mod reading;
pub mod report;
pub mod scene;
pub(crate) mod spec;
pub mod toy;

pub use reading::Reading;
pub use report::{Class, Loaded, Report};
pub use spec::Spec;

/// Examples in memory: bytes (pixels) or reals (coordinates), row after row.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where it came from.
    pub name: String,
    /// What one example is.
    pub shape: ImageShape,
    /// `[rows, shape.count()]`.
    pub values: Data,
    /// A class for each example, where there are classes.
    pub labels: Option<Vec<u32>>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Of rays: the views that they are of. What an example is, [`scene`] says.
    pub views: Option<Arc<scene::Views>>,
}

impl Dataset {
    /// The number of examples.
    pub fn rows(&self) -> usize {
        self.values.len() / self.shape.count().max(1)
    }

    /// How elements are stored.
    pub fn dtype(&self) -> DType {
        match self.values {
            Data::U8(_) => DType::U8,
            _ => DType::F32,
        }
    }

    /// The number of classes, which parts of the data share whether they have examples of each or not; 0 without labels.
    pub fn classes(&self) -> usize {
        self.labels.as_ref().map_or(0, |_| self.classes.len())
    }

    /// The classes and the examples of each; none without labels.
    pub fn class_counts(&self) -> Vec<Class> {
        let Some(labels) = &self.labels else {
            return Vec::new();
        };
        let mut counts = vec![0; self.classes.len()];
        for &label in labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        let named = self.classes.iter().cloned().zip(counts);
        named
            .map(|(name, examples)| Class { name, examples })
            .collect()
    }

    /// The same examples, classes numbered as in `classes`: what another data set calls by a name gets that name's number. Classes that
    /// `classes` does not have come after them, as far as there are examples.
    #[must_use]
    pub fn numbered(mut self, classes: &[String]) -> Self {
        let Some(labels) = self.labels.as_mut() else {
            return self;
        };
        let mut all = classes.to_vec();
        for (label, name) in self.classes.iter().enumerate() {
            if !all.contains(name) && labels.contains(&(label as u32)) {
                all.push(name.clone());
            }
        }
        let numbers: Vec<Option<usize>> = self
            .classes
            .iter()
            .map(|name| all.iter().position(|c| c == name))
            .collect();
        for label in labels {
            if let Some(number) = numbers.get(*label as usize).copied().flatten() {
                *label = number as u32;
            }
        }
        self.classes = all;
        self
    }

    /// Places of `count` examples, of every class in turn, in the order of the data within each; without labels the first ones.
    pub fn of_every_class(&self, count: usize) -> Vec<usize> {
        let mut waiting: Vec<VecDeque<usize>> = vec![VecDeque::new(); self.classes.len().max(1)];
        for row in 0..self.rows() {
            let label = self.labels.as_ref().map_or(0, |l| l[row] as usize);
            if let Some(class) = waiting.get_mut(label) {
                class.push_back(row);
            }
        }
        let mut chosen = Vec::new();
        while chosen.len() < count && waiting.iter().any(|w| !w.is_empty()) {
            chosen.extend(waiting.iter_mut().filter_map(VecDeque::pop_front));
        }
        chosen.truncate(count);
        chosen
    }

    /// A row of `classes` bytes an example: 1 at its class.
    ///
    /// # Errors
    /// When there are no labels, or one is of a class beyond.
    pub fn one_hot(&self, classes: usize) -> Result<Vec<u8>> {
        let labels = self.labels.as_ref().ok_or_else(|| {
            Error::Usage(format!(
                "{} has no labels, which a model of {classes} classes needs",
                self.name
            ))
        })?;
        if let Some(beyond) = labels.iter().find(|&&l| l as usize >= classes) {
            let name = match self.classes.get(*beyond as usize) {
                Some(name) if *name != beyond.to_string() => format!(" ({name})"),
                _ => String::new(),
            };
            return Err(Error::Usage(format!(
                "{} has an example of class {beyond}{name}; the model has {classes} classes, from 0",
                self.name
            )));
        }
        let mut rows = vec![0; labels.len() * classes];
        for (row, &label) in rows.chunks_exact_mut(classes).zip(labels) {
            row[label as usize] = 1;
        }
        Ok(rows)
    }

    /// A hash of all that a model is trained on: sizes, values, labels, names of classes. Not of where it came from.
    pub fn digest(&self) -> String {
        let ImageShape {
            height,
            width,
            channels,
        } = self.shape;
        let sizes = hash(format!("{height} {width} {channels} {:?}", self.classes).as_bytes());
        let values = match &self.values {
            Data::U8(bytes) => hash_on(sizes, bytes.iter().copied()),
            Data::F32(reals) => hash_on(sizes, reals.iter().flat_map(|x| x.to_le_bytes())),
            other => hash_on(sizes, other.to_device_bytes().into_iter()),
        };
        let labels = self.labels.iter().flatten();
        let all = hash_on(values, labels.flat_map(|label| label.to_le_bytes()));
        let all = self.views.as_ref().map_or(all, |v| v.hashed_on(all));
        format!("{all:016x}")
    }

    /// Factor and summand to the range of models: bytes to [0, 1], reals as they are, and so the bytes of rays.
    pub fn scaling(&self) -> (f32, f32) {
        if self.dtype() == DType::U8 && self.views.is_none() {
            (1.0 / 255.0, 0.0)
        } else {
            (1.0, 0.0)
        }
    }

    /// The poses of its views, `[views, 12]`; none of what is no rays.
    pub fn poses(&self) -> Vec<f32> {
        self.views.as_ref().map(|v| v.matrix()).unwrap_or_default()
    }

    /// The cameras of its views, `[views, 16]`; none of what is no rays.
    pub fn cameras(&self) -> Vec<f32> {
        self.views.as_ref().map(|v| v.table()).unwrap_or_default()
    }

    /// All values in the range of models.
    pub fn scaled(&self) -> Vec<f32> {
        let (scale, shift) = self.scaling();
        let values = self.values.to_f32().into_iter();
        values.map(|x| x * scale + shift).collect()
    }

    /// Mean and standard deviation of each channel, in the range of models.
    pub fn channel_statistics(&self) -> Vec<(f64, f64)> {
        let channels = self.shape.channels.max(1);
        let (scale, shift) = self.scaling();
        let mut sums = vec![(0.0, 0.0); channels];
        let mut add = |i: usize, x: f32| {
            let x = f64::from(x) * f64::from(scale) + f64::from(shift);
            let (sum, square) = &mut sums[i % channels];
            *sum += x;
            *square += x * x;
        };
        match &self.values {
            Data::U8(values) => {
                for (i, &x) in values.iter().enumerate() {
                    add(i, f32::from(x));
                }
            }
            other => {
                for (i, x) in other.to_f32().into_iter().enumerate() {
                    add(i, x);
                }
            }
        }
        let count = (self.values.len() / channels).max(1) as f64;
        let one = |(sum, square): (f64, f64)| {
            let mean = sum / count;
            (mean, (square / count - mean * mean).max(0.0).sqrt())
        };
        sums.into_iter().map(one).collect()
    }

    /// The examples `rows`, in that order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let width = self.shape.count();
        let values = match &self.values {
            Data::U8(v) => Data::U8(
                rows.iter()
                    .flat_map(|&r| v[r * width..(r + 1) * width].iter().copied())
                    .collect(),
            ),
            other => {
                let v = other.to_f32();
                Data::F32(
                    rows.iter()
                        .flat_map(|&r| v[r * width..(r + 1) * width].iter().copied())
                        .collect(),
                )
            }
        };
        let labels = self
            .labels
            .as_ref()
            .map(|l| rows.iter().map(|&r| l[r]).collect());
        Self {
            values,
            labels,
            name: self.name.clone(),
            classes: self.classes.clone(),
            views: self.views.clone(),
            ..*self
        }
    }

    /// Sets `count` examples aside, the same for the same seed: (training, validation).
    ///
    /// # Errors
    /// When nothing would be left to train on.
    pub fn split(self, count: usize, seed: u64) -> Result<(Self, Option<Self>)> {
        if count == 0 {
            return Ok((self, None));
        }
        if count >= self.rows() {
            let rows = self.rows();
            return Err(Error::Usage(format!(
                "{count} validation examples of {rows} leave nothing to train on"
            )));
        }
        let mut order: Vec<usize> = (0..self.rows()).collect();
        order.shuffle(&mut generator(seed, "validation split"));
        let (validation, training) = order.split_at(count);
        Ok((self.select(training), Some(self.select(validation))))
    }
}

/// The order of examples in epoch `epoch`: a shuffle that depends on the seed and the epoch alone.
pub fn epoch_order(rows: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(&mut generator(seed, &format!("epoch {epoch}")));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_all_that_is_trained_on_and_of_nothing_else() {
        let data = digits::digits(20, 1);
        let digest = data.digest();
        let mut same = data.clone();
        same.name = "elsewhere".to_owned();
        assert_eq!(same.digest(), digest);
        let changed = |change: &dyn Fn(&mut Dataset)| {
            let mut other = data.clone();
            change(&mut other);
            other.digest()
        };
        let others = [
            changed(&|d| match &mut d.values {
                Data::U8(bytes) => bytes[400] ^= 1,
                _ => unreachable!(),
            }),
            changed(&|d| d.labels.as_mut().unwrap()[3] ^= 1),
            changed(&|d| d.labels = None),
            changed(&|d| d.classes[0] = "none".to_owned()),
            changed(&|d| (d.shape.height, d.shape.width) = (14, 56)),
            data.select(&(0..19).collect::<Vec<_>>()).digest(),
        ];
        for (i, other) in others.iter().enumerate() {
            assert!(*other != digest, "{i}");
            assert_eq!(others.iter().filter(|o| *o == other).count(), 1, "{i}");
        }
    }

    #[test]
    fn orders_are_permutations_that_seeds_repeat() {
        let a = epoch_order(1000, 5, 3);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(a, epoch_order(1000, 5, 3));
        assert_ne!(a, epoch_order(1000, 5, 4));
        assert_ne!(a, epoch_order(1000, 6, 3));
        // A fixed point of the stream: the same on every machine and version.
        assert_eq!(epoch_order(8, 0, 0).len(), 8);
    }
}
