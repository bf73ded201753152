//! Twin of `shaders/present.wgsl`. The texture's format rounds besides.

use super::twin;
use crate::kernels::present::Present;
use crate::real::Real;
use crate::tensor::Data;

twin!(Present, run);

fn run<T: Real>(kernel: &Present, buffers: &mut [Data]) {
    let images = T::of(&buffers[0]);
    let p = kernel.picture;
    let [width, height] = kernel.size();
    let (scale, shift) = (
        T::from_f64(f64::from(p.scale)),
        T::from_f64(f64::from(p.shift)),
    );
    let mut pixels = vec![T::from_f64(0.0); 4 * width * height];
    for image in 0..kernel.images {
        let (left, top) = (image % p.columns * p.width, image / p.columns * p.height);
        for y in 0..p.height {
            for x in 0..p.width {
                let to = 4 * ((top + y) * width + left + x);
                let from = ((image * p.height + y) * p.width + x) * p.channels;
                for channel in 0..4 {
                    pixels[to + channel] = match (p.channels, channel) {
                        (1 | 3, 3) => T::from_f64(1.0),
                        (1, _) => images[from] * scale + shift,
                        _ => images[from + channel] * scale + shift,
                    };
                }
            }
        }
    }
    buffers[1] = T::into_data(pixels);
}
