//! `wgen sample --mask`: pictures that are completed, and which part of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::pictures;
use super::reading::ReadingArguments;
use super::said::shown;
use crate::data::images::Options;
use crate::error::{Error, Result};
use crate::models::diffusion::Diffusion;
use crate::models::diffusion::inpainting::{Inpainting, RePaint};
use crate::run::Run;
use crate::tensor::ImageShape;

/// What is known of pictures, and how the rest is made.
#[derive(Debug, Args)]
pub(super) struct InpaintingArguments {
    /// Diffusion, with --data or --init-image: complete these pictures. A picture of the model's size, white where they are kept, black where
    /// they are made anew, grey between; or which part is made anew: lower-half, upper-half, left-half, right-half or centre
    #[arg(long, value_name = "FILE|PART")]
    mask: Option<PathBuf>,
    /// Diffusion, with --mask: RePaint's jump_length, by how many steps to go back up, from every so many [default with --jump-samples: 10]
    #[arg(long, value_name = "STEPS", requires = "mask")]
    jump_length: Option<usize>,
    /// Diffusion, with --mask: RePaint's jump_n_sample, how often each of those steps is made; 1 for fresh noise without jumps [default with --jump-length: 10]
    #[arg(long, value_name = "TIMES", requires = "mask")]
    jump_samples: Option<usize>,
}

impl InpaintingArguments {
    /// Whether pictures are completed.
    pub(super) fn given(&self) -> bool {
        self.mask.is_some()
    }

    /// The file of the mask, where it is one.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        let file = |mask: &&PathBuf| part(mask.as_os_str()).is_none();
        self.mask.as_ref().filter(file)
    }

    /// The model that completes pictures.
    ///
    /// # Errors
    /// When its sampler does not go with the jumps.
    pub(super) fn apply(&self, model: &Diffusion) -> Result<Diffusion> {
        let usual = RePaint::default();
        let jumps = self.jump_length.is_some() || self.jump_samples.is_some();
        model.inpainting(Inpainting {
            repaint: jumps.then(|| RePaint {
                jump_length: self.jump_length.unwrap_or(usual.jump_length),
                jump_n_sample: self.jump_samples.unwrap_or(usual.jump_n_sample),
            }),
        })
    }

    /// How much of each value of a picture is kept, `[height, width, channels]`; nothing where no mask is given.
    ///
    /// # Errors
    /// When it is no picture, or not of the model's size.
    pub(super) fn mask(&self, image: ImageShape) -> Result<Option<Vec<f32>>> {
        let Some(path) = &self.mask else {
            return Ok(None);
        };
        let pixels = match part(path.as_os_str()) {
            Some(anew) => {
                let size = [image.height, image.width];
                let places = (0..image.height).flat_map(|y| (0..image.width).map(move |x| [y, x]));
                places
                    .map(|place| if anew(place, size) { 0.0 } else { 1.0 })
                    .collect()
            }
            None => of_file(path, image)?,
        };
        let each = |k: f32| std::iter::repeat_n(k, image.channels);
        Ok(Some(pixels.into_iter().flat_map(each).collect()))
    }
}

/// Whether a pixel, at row and column of so many, is made anew.
type Part = fn([usize; 2], [usize; 2]) -> bool;

/// The part of that name.
fn part(name: &OsStr) -> Option<Part> {
    Some(match name.to_str()? {
        "lower-half" => |[y, _], [height, _]| 2 * y >= height,
        "upper-half" => |[y, _], [height, _]| 2 * y < height,
        "left-half" => |[_, x], [_, width]| 2 * x < width,
        "right-half" => |[_, x], [_, width]| 2 * x >= width,
        "centre" => |place, size| {
            let middle = |at: usize, size: usize| at >= size / 4 && at < size - size / 4;
            place.iter().zip(size).all(|(&at, size)| middle(at, size))
        },
        _ => return None,
    })
}

/// The greys of a picture, from 0 to 1.
fn of_file(path: &Path, image: ImageShape) -> Result<Vec<f32>> {
    let options = Options {
        grey: true,
        ..Options::default()
    };
    let (shape, greys) = pictures::read(path, &options)?;
    if (shape.height, shape.width) != (image.height, image.width) {
        return Err(Error::Usage(format!(
            "--mask {}: is {} x {}, the model's pictures are {} x {}; make a mask of that size",
            path.display(),
            shape.width,
            shape.height,
            image.width,
            image.height
        )));
    }
    Ok(greys.into_iter().map(|g| f32::from(g) / 255.0).collect())
}

/// Pictures of files for a run, in turn for `n` samples, in the range of models: read as the run read its own.
pub(super) fn known(files: &[PathBuf], run: &Run, n: usize) -> Result<Vec<f32>> {
    let (options, _) = ReadingArguments::default().of_run(run.config())?;
    pictures::in_turn(files, n, &options, |path, shape, values| {
        if shape == run.image() {
            return Ok(values);
        }
        Err(Error::Usage(format!(
            "--init-image {}: is {}; the run was trained on {}",
            path.display(),
            shown(shape),
            shown(run.image())
        )))
    })
}
