//! What a classifier of noised examples still tells apart, timestep by timestep.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::evaluate::{Evaluator, by_timestep::tenths};
//! use wgen::models::Model;
//! use wgen::models::diffusion::{adm, process};
//! use wgen::models::noised_classifier::{Config, NoisedClassifier};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let data = digits(6, 1);
//! let network = adm::Config { channel_mult: vec![1.0; 3], attention_resolutions: vec![], num_head_channels: Some(4), groups: 2, ..adm::Config::of(4) };
//! let process = process::Config { timesteps: 50, ..process::Config::default() };
//! let model = NoisedClassifier::new(Config { network, process, ..Config::of(data.shape, 10) })?;
//! let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained
//! let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 6, 0)?;
//!
//! let timesteps = tenths(model.process().len());
//! assert_eq!(timesteps, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
//! let figures = evaluator.by_timestep(&model, &data, &timesteps[8..])?;
//! assert_eq!((figures[0].timestep, figures[1].timestep), (40, 45));
//! assert!(figures.iter().all(|f| f.cross_entropy > 1.0 && f.accuracy < 1.0), "{figures:?}");
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::Serialize;

use super::Evaluator;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::models::DataType;
use crate::models::noised_classifier::NoisedClassifier;
use crate::tensor::Value;

/// Means over a data set whose examples were all noised to one timestep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtTimestep {
    /// t
    pub timestep: usize,
    /// Share of examples whose class has the largest logit.
    pub accuracy: f64,
    /// -ln p of their class, in nats.
    pub cross_entropy: f64,
}

/// Timesteps at tenths of a process of `total`: 0, 100, ..., 900 of 1000. Fewer where there are fewer than ten.
pub fn tenths(total: usize) -> Vec<usize> {
    let mut timesteps: Vec<usize> = (0..10).map(|i| i * total / 10).collect();
    timesteps.dedup();
    timesteps
}

impl Evaluator {
    /// Figures at each of `timesteps`. The noise of an example hangs on the seed, its place in the data and that of the timestep in the list.
    ///
    /// # Errors
    /// When a timestep is none of the model's, or the data does not fit.
    pub fn by_timestep(
        &mut self,
        model: &NoisedClassifier,
        dataset: &Dataset,
        timesteps: &[usize],
    ) -> Result<Vec<AtTimestep>> {
        let total = model.process().len();
        if let Some(t) = timesteps.iter().find(|&&t| t >= total) {
            return Err(Error::field(
                "timesteps",
                format!("{t}: the model's process has {total}, from 0 on"),
            ));
        }
        let mut sums = vec![[0.0; 2]; timesteps.len()];
        self.over_with(
            dataset,
            timesteps.len() as u64,
            |data: &DataType, batch| model.at_timestep(data, batch),
            &["accuracy", "cross_entropy"],
            |repeat| match Value::f32([1], vec![timesteps[repeat as usize] as f32]) {
                Ok(t) => vec![("t", t)],
                Err(_) => Vec::new(),
            },
            |_, real, repeat, values| {
                for (sum, value) in sums[repeat as usize].iter_mut().zip(&values) {
                    *sum += value.data.to_f64()[..real].iter().sum::<f64>();
                }
            },
        )?;
        let rows = dataset.rows() as f64;
        let means = timesteps.iter().zip(sums);
        Ok(means
            .map(|(&timestep, [accuracy, cross_entropy])| AtTimestep {
                timestep,
                accuracy: accuracy / rows,
                cross_entropy: cross_entropy / rows,
            })
            .collect())
    }
}
