//! Networks that fit the data where the arguments do not say: what suits digits suits no colour pictures.

use crate::data::Dataset;
use crate::tensor::{DType, ImageShape};

/// The largest grey image that dense networks are made for by default: digits and their relatives have 28 x 28 or 32 x 32 pixels.
const DENSE: usize = 32 * 32;

/// The size of a code behind convolutions that were chosen.
pub(in crate::cli) const LATENT: usize = 64;

/// Channels of the convolutions, at most.
const CHANNELS: [usize; 4] = [32, 64, 128, 256];

/// Whether these are pictures for which a dense network is no good choice: in colour, or large.
fn wants_convolutions(dataset: &Dataset) -> bool {
    let shape = dataset.shape;
    dataset.dtype() == DType::U8 && (shape.channels > 1 || shape.count() > DENSE)
}

/// Channels of convolutions that halve the image down to 4 pixels a side or what can still be halved; none where a dense network is usual,
/// or where the image cannot be halved twice.
pub(in crate::cli) fn channels(dataset: &Dataset) -> Vec<usize> {
    if !wants_convolutions(dataset) {
        return Vec::new();
    }
    let ImageShape { height, width, .. } = dataset.shape;
    let halves = |times: usize| {
        let fits = |side: usize| side.is_multiple_of(1 << times) && side >> times >= 4;
        fits(height) && fits(width)
    };
    let times = (1..=CHANNELS.len()).rev().find(|&times| halves(times));
    match times {
        Some(times) if times > 1 => CHANNELS[..times].to_vec(),
        _ => Vec::new(),
    }
}

/// Whether a Gaussian suits the values better than probabilities of black and white: of coordinates, and of colours.
pub(in crate::cli) fn gaussian(dataset: &Dataset) -> bool {
    dataset.dtype() == DType::F32 || dataset.shape.channels > 1
}

/// The logarithm of the values' variance, mean over the channels: what a Gaussian decoder that knows nothing yet is off by. Of constant
/// data, that of half a step of 8 bits.
pub(super) fn log_variance(dataset: &Dataset) -> f32 {
    let channels = dataset.channel_statistics();
    let variance = channels.iter().map(|(_, d)| d * d).sum::<f64>() / channels.len() as f64;
    variance.max((0.5_f64 / 255.0).powi(2)).ln() as f32
}

/// What is said where pictures get a dense network, though they are no digits.
pub(super) fn warn_of_dense(dataset: &Dataset, asked_for: bool) {
    if wants_convolutions(dataset) && !asked_for {
        let ImageShape {
            height,
            width,
            channels,
        } = dataset.shape;
        log::warn!(
            "pictures of {width} x {height} with {channels} channels get a dense network, which is made for digits: {width} x {height} cannot be \
             halved twice; resize with `size` to a multiple of 16 for one of convolutions"
        );
    }
}

/// What is said where a model that is always dense gets such pictures.
pub(super) fn warn_of_always_dense(dataset: &Dataset, model: &str) {
    if wants_convolutions(dataset) {
        log::warn!(
            "{model} is a dense network over all {} values of a picture, made for digits: `size` 28 and `grey` make such of pictures, and ae has \
             convolutions",
            dataset.shape.count()
        );
    }
}

/// As an argument: `32,64,128`.
pub(in crate::cli) fn list(channels: &[usize]) -> String {
    let all: Vec<String> = channels.iter().map(usize::to_string).collect();
    all.join(",")
}

/// The channels of an autoencoder's convolutions, none of a dense one, and whether they were chosen here: neither `hidden` sizes nor
/// `asked` channels were asked for. A dense one on pictures that are not for it is warned of.
pub(super) fn convolutions(dataset: &Dataset, hidden: bool, asked: &[usize]) -> (Vec<usize>, bool) {
    let free = !hidden && asked.is_empty();
    let channels = if free {
        channels(dataset)
    } else {
        asked.to_vec()
    };
    if channels.is_empty() {
        warn_of_dense(dataset, hidden);
    }
    let chosen = free && !channels.is_empty();
    (channels, chosen)
}
