//! How close one image is to another: peak signal to noise ratio and structural similarity, of values in [0, 1], in f64 on the CPU.
//!
//! A figure over several views is the mean of theirs, as papers have it, not the figure of the mean error.
//!
//! ```
//! use wgen::evaluate::image_metrics::{psnr, ssim};
//! use wgen::tensor::ImageShape;
//!
//! let shape = ImageShape { height: 16, width: 16, channels: 1 };
//! let truth: Vec<f32> = (0..256).map(|i| (i % 16) as f32 / 20.0).collect();
//! let brighter: Vec<f32> = truth.iter().map(|x| x + 0.1).collect();
//! assert!((psnr(&brighter, &truth)? - 20.0).abs() < 1e-5); // 10 log10(1 / 0.1^2)
//! assert!(ssim(&brighter, &truth, shape)? > 0.9); // the same structure
//! assert_eq!(ssim(&truth, &truth, shape)?, 1.0);
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// Pixels of the window's side.
const WINDOW: usize = 11;

/// Standard deviation of the window's weights, pixels.
const SIGMA: f64 = 1.5;

/// (K1 L)^2 and (K2 L)^2, the values' range L being 1: what keeps quotients of small numbers from blowing up.
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// Refuses images of different sizes.
fn same(name: &str, image: &[f32], truth: &[f32]) -> Result<()> {
    if image.len() == truth.len() && !image.is_empty() {
        return Ok(());
    }
    let why = format!(
        "compares two images of one size, got {} and {} values",
        image.len(),
        truth.len()
    );
    Err(Error::shape(name, why))
}

/// 10 log10(1 / mean squared error) in dB, infinite for equal images: values in [0, 1], all channels together.
///
/// # Errors
/// When the images have no or not as many values.
pub fn psnr(image: &[f32], truth: &[f32]) -> Result<f64> {
    same("psnr", image, truth)?;
    let squares = image.iter().zip(truth).map(|(&a, &b)| {
        let difference = f64::from(a) - f64::from(b);
        difference * difference
    });
    let mean = squares.sum::<f64>() / image.len() as f64;
    Ok(-10.0 * mean.log10())
}

/// The structural similarity of Wang, Bovik, Sheikh & Simoncelli 2004, eq. 13, at most 1: a Gaussian window of 11 x 11 pixels with a standard
/// deviation of 1.5, K1 = 0.01, K2 = 0.03, the mean over windows that lie inside of the image and over channels. Values in [0, 1], row after
/// row, channels innermost.
///
/// scikit-image gives the same with `gaussian_weights=True, use_sample_covariance=False, data_range=1`.
///
/// # Errors
/// When the images do not have the values of `shape`, or fewer than 11 pixels a side.
pub fn ssim(image: &[f32], truth: &[f32], shape: ImageShape) -> Result<f64> {
    same("ssim", image, truth)?;
    let (height, width, channels) = (shape.height, shape.width, shape.channels);
    if image.len() != shape.count() || height.min(width) < WINDOW {
        let why = format!(
            "takes images of at least {WINDOW} x {WINDOW} pixels, got {} values for {height} x {width} x {channels}",
            image.len()
        );
        return Err(Error::shape("ssim", why));
    }
    let mut sum = 0.0;
    for channel in 0..channels {
        let of = |values: &[f32]| -> Vec<f64> {
            let pixels = values.chunks_exact(channels);
            pixels.map(|pixel| f64::from(pixel[channel])).collect()
        };
        let (x, y) = (of(image), of(truth));
        let products = |a: &[f64], b: &[f64]| -> Vec<f64> {
            let both = a.iter().zip(b);
            weighted(&both.map(|(a, b)| a * b).collect::<Vec<_>>(), width)
        };
        let (mean_x, mean_y) = (weighted(&x, width), weighted(&y, width));
        let (xx, yy, xy) = (products(&x, &x), products(&y, &y), products(&x, &y));
        let windows = mean_x.len();
        let all = (0..windows).map(|i| {
            let (mx, my) = (mean_x[i], mean_y[i]);
            let (variances, covariance) = (xx[i] - mx * mx + yy[i] - my * my, xy[i] - mx * my);
            (2.0 * mx * my + C1) * (2.0 * covariance + C2)
                / ((mx * mx + my * my + C1) * (variances + C2))
        });
        sum += all.sum::<f64>() / windows as f64;
    }
    Ok(sum / channels as f64)
}

/// Weighted means of every window that lies inside of an image `width` wide, row after row.
fn weighted(values: &[f64], width: usize) -> Vec<f64> {
    let weight = |i: usize| {
        let x = i as f64 - (WINDOW / 2) as f64;
        (-0.5 * x * x / (SIGMA * SIGMA)).exp()
    };
    let total: f64 = (0..WINDOW).map(weight).sum();
    let weights: Vec<f64> = (0..WINDOW).map(|i| weight(i) / total).collect();
    // Along the rows, then along the columns.
    let along_row = |row: &[f64]| -> Vec<f64> {
        let dot = |window: &[f64]| window.iter().zip(&weights).map(|(v, w)| v * w).sum();
        row.windows(WINDOW).map(dot).collect()
    };
    let rows: Vec<Vec<f64>> = values.chunks_exact(width).map(along_row).collect();
    let columns = rows.windows(WINDOW).flat_map(|window| {
        let weights = &weights;
        (0..width + 1 - WINDOW)
            .map(move |x| window.iter().zip(weights).map(|(row, w)| row[x] * w).sum())
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_do_not_fit_are_refused() {
        let shape = |height, width| ImageShape {
            height,
            width,
            channels: 1,
        };
        let said = |e: Result<f64>| e.unwrap_err().to_string();
        assert!(said(psnr(&[0.0; 3], &[0.0; 4])).contains("got 3 and 4 values"));
        assert!(said(psnr(&[], &[])).contains("got 0 and 0 values"));
        let (small, large) = ([0.5; 110], [0.5; 132]);
        let text = said(ssim(&small, &small, shape(10, 11)));
        assert!(text.contains("at least 11 x 11 pixels, got 110 values for 10 x 11 x 1"));
        assert!(said(ssim(&large, &large, shape(11, 11))).contains("got 132 values"));
        assert_eq!(ssim(&large, &large, shape(11, 12)).unwrap(), 1.0);
        assert_eq!(psnr(&large, &large).unwrap(), f64::INFINITY);
    }
}
