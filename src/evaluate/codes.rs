//! What an autoencoder or VAE makes of a data set: codes, reconstructions beside their inputs, and which units of a code no example
//! activates.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::autoencoder::{Autoencoder, Config};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let data = digits(6, 1);
//! let model = Autoencoder::new(Config { hidden: vec![16], latent: 2, ..Config::deep(data.shape) })?;
//! let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect();
//! let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 6, 0)?;
//!
//! let codes = evaluator.encoded(&model, &data, &["code"])?.remove(0);
//! assert_eq!((codes.width, codes.values.len()), (2, 6 * 2));
//! // Three inputs a line, below them what the model makes of them.
//! let pairs = evaluator.pairs(&model, &data, 3)?;
//! assert_eq!(pairs.len(), 12 * 784);
//! assert_eq!(pairs[..3 * 784], data.scaled()[..3 * 784]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::time::{Duration, Instant};

use super::{Evaluator, Start};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::models::{DataType, Model};
use crate::session::Executable;

/// An output of a model's encoding graph for a whole data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// Values of an example.
    pub width: usize,
    /// Row after row.
    pub values: Vec<f32>,
}

/// What a preview came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Previewed {
    /// Pictures, and how many stand in a line.
    Images(Vec<f32>, usize),
    /// It would have taken so long.
    TooLong(Duration),
    /// The model has neither samples nor reconstructions.
    Nothing,
}

impl Evaluator {
    /// Outputs `names` of the model's encoding graph for a data set.
    ///
    /// # Errors
    /// When the model has no encoder, or the data does not fit.
    pub fn encoded(
        &mut self,
        model: &dyn Model,
        dataset: &Dataset,
        names: &[&str],
    ) -> Result<Vec<Encoded>> {
        let mut all = vec![Encoded::default(); names.len()];
        let build = |data: &DataType, batch: usize| model.encoding(data, batch);
        self.over(dataset, 1, build, names, |_, real, values| {
            for (encoded, value) in all.iter_mut().zip(values) {
                encoded.width = value.shape.dims()[1];
                let values = value.data.to_f32();
                encoded
                    .values
                    .extend_from_slice(&values[..real * encoded.width]);
            }
        })?;
        Ok(all)
    }

    /// Inputs and below them what the model makes of them, `columns` a line, ready for a grid.
    ///
    /// # Errors
    /// When the model has no encoder and decoder, or the data does not fit.
    pub fn pairs(
        &mut self,
        model: &dyn Model,
        dataset: &Dataset,
        columns: usize,
    ) -> Result<Vec<f32>> {
        let all = self.encoded(model, dataset, &["inputs", "images"])?;
        let width = dataset.shape.count();
        let mut rows = Vec::new();
        for first in (0..dataset.rows()).step_by(columns) {
            let range = first * width..(first + columns).min(dataset.rows()) * width;
            for encoded in &all {
                rows.extend_from_slice(&encoded.values[range.clone()]);
                rows.resize(rows.len().next_multiple_of(columns * width), 0.0);
            }
        }
        Ok(rows)
    }

    /// Units of a sparse code that no example activates, and all units; `None` for models whose codes are not sparse.
    ///
    /// # Errors
    /// When the data does not fit.
    pub fn dead_units(
        &mut self,
        model: &dyn Model,
        dataset: &Dataset,
    ) -> Result<Option<(usize, usize)>> {
        if !model.codes().contains(&"active") {
            return Ok(None);
        }
        let units = model.latent().unwrap_or(0);
        let mut ever = vec![false; units];
        let build = |data: &DataType, batch: usize| model.encoding(data, batch);
        self.over(dataset, 1, build, &["active"], |_, real, values| {
            for row in values[0].data.to_f32()[..real * units].chunks_exact(units) {
                ever.iter_mut().zip(row).for_each(|(e, a)| *e |= *a > 0.0);
            }
        })?;
        Ok(Some((ever.iter().filter(|e| !**e).count(), units)))
    }

    /// Where a model stands, as pictures: `count` samples at fixed noise (of super-resolution those of the first of `data`), or, of a model that has none, `count` of `data` and what it makes
    /// of them. A sampler that is run often is timed, and given up where it would take longer than `allowed`.
    ///
    /// # Errors
    /// When the data does not fit.
    pub fn preview(
        &mut self,
        model: &dyn Model,
        data: &Dataset,
        count: usize,
        allowed: Duration,
    ) -> Result<Previewed> {
        if let Ok(sampling) = model.sampling(1) {
            let (begin, runs) = (Instant::now(), sampling.runs);
            let (mut done, mut second, mut cost) = (0, begin, None);
            let mut watch = |_, sampler: &dyn Executable| {
                done += 1;
                // The first run has the driver's compiling in it; reading waits for it.
                if allowed == Duration::MAX || done > 2 || runs <= 2 {
                    return Ok(());
                }
                sampler.read(sampling.output)?;
                if done == 1 {
                    second = Instant::now();
                    return Ok(());
                }
                let whole = begin.elapsed() + second.elapsed() * (runs - 2) as u32;
                if whole > allowed {
                    cost = Some(whole);
                    return Err(Error::Usage("the preview takes too long".to_owned()));
                }
                Ok(())
            };
            let start = Start::of_examples(model, data, count)?;
            let drawn = self.samples_from(model, count, None, &start, &mut watch);
            return match (drawn, cost) {
                (_, Some(cost)) => Ok(Previewed::TooLong(cost)),
                (drawn, None) => Ok(Previewed::Images(drawn?.images, 8)),
            };
        }
        if model.decoding(1).is_err() {
            return Ok(Previewed::Nothing);
        }
        let some = data.select(&(0..count.min(data.rows())).collect::<Vec<_>>());
        Ok(Previewed::Images(self.pairs(model, &some, 16)?, 16))
    }
}
