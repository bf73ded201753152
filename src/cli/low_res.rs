//! `wgen sample --low-res`: the small pictures that a model of super-resolution makes large ones of.

use std::path::PathBuf;

use super::common::Output;
use super::pictures;
use super::reading::{ReadingArguments, examples};
use super::said::shown;
use crate::data::{Dataset, Spec};
use crate::error::{Error, Result};
use crate::models::diffusion::Diffusion;
use crate::run::Run;

/// Small pictures.
pub(super) struct Small {
    /// Row after row, in the range of models.
    pub(super) values: Vec<f32>,
    /// The examples that they are the means of, where they are of data.
    pub(super) data: Option<Dataset>,
}

/// `n` small pictures: of files, in turn, of the small or the large size, or the means of held-out examples.
///
/// # Errors
/// When the model makes no large pictures of small ones, none are given, or one is of another size.
pub(super) fn read(
    output: &Output,
    asked: &[PathBuf],
    run: &Run,
    model: &Diffusion,
    n: usize,
) -> Result<Small> {
    let Some(small) = model.low_res() else {
        return Err(Error::Usage(
            "--low-res is for models of super-resolution; this one sees nothing beside x"
                .to_owned(),
        ));
    };
    if asked.is_empty() {
        return Err(Error::Usage(format!(
            "--low-res: this model makes {} of {small}: give it pictures, or data whose means it takes",
            shown(run.image())
        )));
    }
    if let [one] = asked
        && let Some(spec) = one.to_str().and_then(|text| text.parse::<Spec>().ok())
    {
        let data = examples(output, ("--low-res", &spec), run, n)?;
        return Ok(Small {
            values: model.means(&data.scaled())?,
            data: Some(data),
        });
    }
    let (mut options, _) = ReadingArguments::default().of_run(run.config())?;
    // As large as they are, in the model's colours.
    options.size = None;
    options.grey = small.channels == 1;
    let values = pictures::in_turn(asked, n, &options, |path, shape, values| {
        if shape == small {
            Ok(values)
        } else if shape == run.image() {
            model.means(&values)
        } else {
            Err(Error::Usage(format!(
                "--low-res {}: is {}; the model makes {} of {}, and takes either",
                path.display(),
                shown(shape),
                shown(run.image()),
                shown(small)
            )))
        }
    })?;
    Ok(Small { values, data: None })
}
