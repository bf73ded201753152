//! What several commands share: a run folder read, codes and images of a data set, pictures of them.

use std::path::Path;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::files::Config;
use crate::files::folder::read_config;
use crate::models::Model;
use crate::report::grid;
use crate::session::Device;

/// The most pictures in one grid.
const MAX_PICTURES: usize = 10_000;

/// Refuses a number of pictures that is 0 or too large.
pub(super) fn check_count(n: usize) -> Result<usize> {
    if n == 0 || n > MAX_PICTURES {
        return Err(Error::Usage(format!(
            "--n {n} must be from 1 to {MAX_PICTURES}"
        )));
    }
    Ok(n)
}

/// The configuration and weights of a run folder.
pub(super) fn load(folder: &Path, device: &Device) -> Result<(Config, Vec<Vec<f32>>)> {
    let config = read_config(folder)?;
    let layout = crate::graph::layout::Layout::new(
        config.build()?.parameters(),
        device.caps().binding_bytes,
    )?;
    let weights = crate::files::folder::read_weights(folder, &layout)?;
    Ok((config, weights))
}

/// Outputs of the model's encoding graph for a data set: the size of a row, and the rows.
pub(super) fn encoded(
    evaluator: &mut Evaluator,
    model: &dyn Model,
    dataset: &Dataset,
    names: &[&str],
) -> Result<Vec<(usize, Vec<f32>)>> {
    let mut all = vec![(0, Vec::new()); names.len()];
    evaluator.over(
        dataset,
        1,
        |data, batch| model.encoding(data, batch),
        names,
        |_, real, values| {
            for ((size, taken), value) in all.iter_mut().zip(values) {
                *size = value.shape.dims()[1];
                taken.extend_from_slice(&value.data.to_f32()[..real * *size]);
            }
        },
    )?;
    Ok(all)
}

/// Inputs and below them what the model makes of them, `columns` a line, ready for a grid.
pub(super) fn pairs(
    evaluator: &mut Evaluator,
    model: &dyn Model,
    dataset: &Dataset,
    columns: usize,
) -> Result<Vec<f32>> {
    let all = encoded(evaluator, model, dataset, &["inputs", "images"])?;
    let width = dataset.shape.count();
    let [(_, inputs), (_, images)] = all.as_slice() else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for first in (0..dataset.rows()).step_by(columns) {
        let range = first * width..(first + columns).min(dataset.rows()) * width;
        for values in [inputs, images] {
            rows.extend_from_slice(&values[range.clone()]);
            rows.resize(rows.len().next_multiple_of(columns * width), 0.0);
        }
    }
    Ok(rows)
}

/// Images as a grid, points as a scatter plot.
pub(super) fn picture(values: &[f32], config: &Config, columns: usize) -> image::RgbImage {
    if config.image.height == 1 && config.image.width == 2 {
        grid::scatter(values, 3.0)
    } else {
        grid::grid(values, config.image, columns)
    }
}
