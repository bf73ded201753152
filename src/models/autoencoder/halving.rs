//! Convolutional encoders and decoders: each convolution halves the image, each transposed one doubles it (4-2-1, as DCGAN's).

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::nn::{Activation, Sequential};
use crate::tensor::ImageShape;

/// Kernel, stride, padding.
const SIZES: [usize; 3] = [4, 2, 1];

/// Refuses images that cannot be halved so often, and absurd numbers of channels.
pub(crate) fn check(model: &str, image: ImageShape, channels: &[usize]) -> Result<()> {
    let times = channels.len();
    let whole = |side: usize| times < 16 && side >= 1 << times && side.is_multiple_of(1 << times);
    if !whole(image.height) || !whole(image.width) {
        return Err(Error::Usage(format!(
            "{model}: {times} convolutions halve the image {times} times; {}x{} cannot be: resize with `size`, or give fewer `channels`",
            image.height, image.width
        )));
    }
    if let Some(size) = channels.iter().find(|&&c| c == 0 || c > 4096) {
        return Err(Error::Usage(format!(
            "{model}: channels {size} must be from 1 to 4096"
        )));
    }
    Ok(())
}

/// Height, width and channels between encoder and decoder.
pub(crate) fn inner(image: ImageShape, channels: &[usize]) -> [usize; 3] {
    let times = channels.len();
    let last = channels.last().copied().unwrap_or(image.channels);
    [image.height >> times, image.width >> times, last]
}

/// Convolutions with relu, from images with `more` channels beside their own.
pub(crate) fn encoder(
    prefix: &str,
    image: ImageShape,
    more: usize,
    channels: &[usize],
) -> Sequential {
    let mut inputs = image.channels + more;
    channels
        .iter()
        .fold(Sequential::new(prefix), |net, &outputs| {
            let net = net.conv2d(inputs, outputs, SIZES, true);
            inputs = outputs;
            net.activation(Activation::Relu)
        })
}

/// A linear layer to the inner image, and transposed convolutions with relu between them.
pub(crate) fn decoder(
    prefix: &str,
    inputs: usize,
    image: ImageShape,
    channels: &[usize],
) -> Sequential {
    let inner = inner(image, channels);
    let mut net = Sequential::new(prefix).linear_to_image(inputs, inner, Activation::Relu);
    for i in (0..channels.len()).rev() {
        let outputs = if i == 0 {
            image.channels
        } else {
            channels[i - 1]
        };
        net = net.conv_transpose2d(channels[i], outputs, SIZES, true);
        if i > 0 {
            net = net.activation(Activation::Relu);
        }
    }
    net
}

/// Rows as images, classes as further channels that are the same everywhere.
pub(crate) fn planes<'g>(x: Var<'g>, image: ImageShape, classes: Option<Var<'g>>) -> Var<'g> {
    let batch = x.shape().dims()[0];
    let ImageShape {
        height,
        width,
        channels,
    } = image;
    let images = x.reshape([batch, height, width, channels]);
    let Some(classes) = classes else {
        return images;
    };
    let count = classes.shape().dims()[1];
    let planes = classes
        .reshape([batch, 1, 1, count])
        .broadcast_to([batch, height, width, count]);
    x.graph().concat(3, &[images, planes])
}
