//! Digits drawn by the program: strokes of the ten digits under random affine and elastic distortion, 28 x 28 grey, labelled, as many as
//! are asked for. They need no download and are hard enough for a model to show that it learns.
//!
//! ```
//! use wgen::data::digits::digits;
//!
//! let data = digits(20, 1);
//! assert_eq!((data.rows(), data.shape.count(), data.classes()), (20, 784, 10));
//! // Example i of a seed is the same however many are drawn.
//! let few = digits(5, 1);
//! assert_eq!(few.values, data.select(&[0, 1, 2, 3, 4]).values);
//! ```

use rayon::prelude::*;

use super::{Dataset, ImageShape};
use crate::nn::init::{generator, normal_pair, unit};
use crate::tensor::Data;

/// Pixels a side.
pub const SIDE: usize = 28;

/// Each digit as polylines in the unit square, y down.
fn strokes(digit: u32) -> Vec<Vec<(f64, f64)>> {
    // Arc from angle a to b (in turns, clockwise from the right) of an ellipse.
    let arc = |cx: f64, cy: f64, rx: f64, ry: f64, a: f64, b: f64| -> Vec<(f64, f64)> {
        (0..=16)
            .map(|i| {
                let t = (a + (b - a) * f64::from(i) / 16.0) * std::f64::consts::TAU;
                (cx + rx * t.cos(), cy + ry * t.sin())
            })
            .collect()
    };
    match digit {
        0 => vec![arc(0.5, 0.5, 0.26, 0.4, 0.0, 1.0)],
        1 => vec![vec![(0.36, 0.26), (0.53, 0.1), (0.53, 0.9)]],
        2 => {
            let mut line = arc(0.5, 0.32, 0.25, 0.22, 0.5, 1.08);
            line.extend([(0.26, 0.9), (0.78, 0.9)]);
            vec![line]
        }
        3 => {
            let mut line = arc(0.46, 0.3, 0.25, 0.2, 0.55, 1.25);
            line.extend(arc(0.46, 0.7, 0.29, 0.2, 0.75, 1.45));
            vec![line]
        }
        4 => vec![vec![(0.62, 0.9), (0.62, 0.1), (0.22, 0.64), (0.82, 0.64)]],
        5 => {
            let mut line = vec![(0.74, 0.1), (0.32, 0.1), (0.29, 0.46)];
            line.extend(arc(0.48, 0.65, 0.27, 0.25, 0.66, 1.42));
            vec![line]
        }
        6 => {
            let mut line = vec![(0.66, 0.1), (0.42, 0.3), (0.28, 0.58)];
            line.extend(arc(0.5, 0.67, 0.24, 0.23, 0.5, 1.5));
            vec![line]
        }
        7 => vec![vec![(0.24, 0.12), (0.78, 0.12), (0.42, 0.9)]],
        8 => vec![
            arc(0.5, 0.3, 0.21, 0.19, 0.25, 1.25),
            arc(0.5, 0.7, 0.26, 0.21, 0.75, 1.75),
        ],
        _ => {
            let mut line = arc(0.5, 0.34, 0.24, 0.23, 0.0, 1.0);
            line.extend([(0.72, 0.5), (0.64, 0.9)]);
            vec![line]
        }
    }
}

/// One drawn digit: pixels and label. Example `index` of a seed never changes.
fn draw(seed: u64, index: usize) -> (Vec<u8>, u32) {
    let mut rng = generator(seed, &format!("digit {index}"));
    let digit = ((unit(&mut rng) * 10.0) as u32).min(9);
    let mut between = |low: f64, high: f64| low + (high - low) * f64::from(unit(&mut rng));
    let (angle, shear) = (between(-0.22, 0.22), between(-0.25, 0.25));
    let (scale_x, scale_y) = (between(0.75, 1.05), between(0.8, 1.05));
    let (shift_x, shift_y) = (between(-0.06, 0.06), between(-0.06, 0.06));
    let thickness = between(0.035, 0.065);
    // Elastic: three low waves in each direction.
    let waves: Vec<[f64; 6]> = (0..3)
        .map(|_| {
            let (fx, fy) = (between(0.5, 1.4), between(0.5, 1.4));
            [
                fx,
                fy,
                between(0.0, 1.0),
                between(0.0, 1.0),
                between(-0.025, 0.025),
                between(-0.025, 0.025),
            ]
        })
        .collect();
    let place = |(x, y): (f64, f64)| {
        let (mut u, mut v) = (x, y);
        for [fx, fy, px, py, ax, ay] in &waves {
            u += ax * ((fy * y + px) * std::f64::consts::TAU).sin();
            v += ay * ((fx * x + py) * std::f64::consts::TAU).sin();
        }
        let (u, v) = ((u - 0.5) * scale_x, (v - 0.5) * scale_y);
        let u = u - shear * v;
        let (s, c) = angle.sin_cos();
        (0.5 + c * u - s * v + shift_x, 0.5 + s * u + c * v + shift_y)
    };
    let mut segments = Vec::new();
    for line in strokes(digit) {
        // Long straight parts bend too.
        let fine: Vec<(f64, f64)> = line
            .windows(2)
            .flat_map(|w| {
                let (a, b) = (w[0], w[1]);
                let parts = ((a.0 - b.0).hypot(a.1 - b.1) / 0.1).ceil().max(1.0) as usize;
                (0..=parts).map(move |i| {
                    let t = i as f64 / parts as f64;
                    (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t)
                })
            })
            .map(place)
            .collect();
        segments.extend(fine.windows(2).map(|w| (w[0], w[1])));
    }
    // The digit fills 20 of 28 pixels, as MNIST's do; ink fades over one pixel.
    let pixel = 1.0 / 20.0;
    let grain = normal_pair(&mut rng).0 * 0.02;
    let pixels = (0..SIDE * SIDE)
        .map(|i| {
            let (x, y) = (
                ((i % SIDE) as f64 - 3.5) * pixel,
                ((i / SIDE) as f64 - 3.5) * pixel,
            );
            let nearest = segments
                .iter()
                .map(|&(a, b)| distance((x, y), a, b))
                .fold(f64::INFINITY, f64::min);
            let ink = ((thickness + grain * 0.1 - nearest) / pixel + 0.5).clamp(0.0, 1.0);
            (ink * 255.0).round() as u8
        })
        .collect();
    (pixels, digit)
}

fn distance(p: (f64, f64), a: (f64, f64), b: (f64, f64)) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = dx * dx + dy * dy;
    let t = if length > 0.0 {
        (((p.0 - a.0) * dx + (p.1 - a.1) * dy) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (p.0 - a.0 - t * dx).hypot(p.1 - a.1 - t * dy)
}

/// `count` digits, the same for the same seed.
pub fn digits(count: usize, seed: u64) -> Dataset {
    let drawn: Vec<(Vec<u8>, u32)> = (0..count).into_par_iter().map(|i| draw(seed, i)).collect();
    Dataset {
        name: "digits".to_owned(),
        shape: ImageShape {
            height: SIDE,
            width: SIDE,
            channels: 1,
        },
        labels: Some(drawn.iter().map(|(_, label)| *label).collect()),
        values: Data::U8(drawn.into_iter().flat_map(|(pixels, _)| pixels).collect()),
        classes: (0..10).map(|c| c.to_string()).collect(),
        views: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_reproducible_and_have_ink() {
        let a = digits(50, 3);
        let b = digits(20, 3);
        let (Data::U8(a), Data::U8(b)) = (&a.values, &b.values) else {
            panic!()
        };
        assert_eq!(a[..20 * 784], b[..]);
        for image in a.chunks(784) {
            let ink = image.iter().map(|&p| f64::from(p)).sum::<f64>() / 784.0 / 255.0;
            assert!((0.03..0.4).contains(&ink), "{ink}");
        }
    }
}
