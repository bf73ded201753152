//! The sizes of a convolution, and which taps meet which pixels.

use crate::error::{Error, Result};
use crate::kernels::expression::lcm;

/// Sizes of a convolution of images `[batch, height, width, channels]` with weights `[out_channels, kernel, kernel, channels / groups]`.
/// Pairs are vertical, then horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Height and width of an image.
    pub image: [usize; 2],
    /// Channels of an image.
    pub channels: usize,
    /// Channels of the result.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Pixels between neighbouring places of the kernel.
    pub stride: [usize; 2],
    /// Zeros before and after the image.
    pub padding: [[usize; 2]; 2],
    /// Pixels between neighbouring taps of the kernel.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Geometry {
    /// Square images of `side` pixels and square kernels: `[kernel, stride, padding]`, dilation and groups 1.
    pub fn square(
        batch: usize,
        side: usize,
        channels: usize,
        out_channels: usize,
        [kernel, stride, padding]: [usize; 3],
    ) -> Self {
        Self {
            batch,
            image: [side; 2],
            channels,
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [[padding; 2]; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }

    /// Refuses sizes that make no convolution.
    ///
    /// # Errors
    /// Naming what is wrong, and where it can be said what would be right.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::shape("conv2d", why));
        let Self {
            channels,
            out_channels,
            groups,
            ..
        } = *self;
        if groups == 0 || !channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            return wrong(format!(
                "{groups} groups do not divide {channels} channels into {out_channels}; both must be multiples of the groups"
            ));
        }
        if [self.batch, channels, out_channels].contains(&0) {
            return wrong(format!(
                "batch {}, {channels} channels and {out_channels} of the result must be at least 1",
                self.batch
            ));
        }
        for (axis, name) in ["height", "width"].into_iter().enumerate() {
            let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
            if stride == 0 || dilation == 0 {
                return wrong(format!(
                    "stride {stride} and dilation {dilation} of the {name} must be at least 1"
                ));
            }
            let padded = self.padded(axis);
            let reach = dilation.saturating_mul(self.kernel[axis].max(1) - 1) + 1;
            if self.kernel[axis] == 0 || reach > padded {
                return wrong(format!(
                    "a kernel of {name} {} (dilation {dilation}) reaches over {reach} pixels; the image has {}, {padded} with its padding",
                    self.kernel[axis], self.image[axis]
                ));
            }
        }
        Ok(())
    }

    fn padded(&self, axis: usize) -> usize {
        self.image[axis] + self.padding[axis][0] + self.padding[axis][1]
    }

    /// Height and width of the result.
    pub fn out_image(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            (self.padded(axis) - reach) / self.stride[axis] + 1
        })
    }

    /// Channels that a channel of the result sees.
    pub(crate) fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// `[batch, height, width, channels]`
    pub fn image_shape(&self) -> [usize; 4] {
        [self.batch, self.image[0], self.image[1], self.channels]
    }

    /// `[out_channels, kernel height, kernel width, channels / groups]`
    pub fn weight_shape(&self) -> [usize; 4] {
        let [height, width] = self.kernel;
        [self.out_channels, height, width, self.group_channels()]
    }

    /// `[batch, height, width, out_channels]` of the result.
    pub fn out_shape(&self) -> [usize; 4] {
        let [height, width] = self.out_image();
        [self.batch, height, width, self.out_channels]
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.groups == self.channels
            && self.groups == self.out_channels
            && self.groups.is_multiple_of(4)
    }

    /// Multiplications.
    pub(super) fn terms(&self) -> f64 {
        let [height, width] = self.kernel;
        let out: usize = self.out_shape().iter().product();
        (out * height * width * self.group_channels()) as f64
    }

    /// The residues of the image's coordinates modulo the stride.
    ///
    /// Pixel h of the image takes from pixel (h + p - t d) / s of the result through the taps t for which that is whole. With
    /// h = residue + s i these are every (s / gcd(s, d))-th tap from a first one on, and the pixels i + offset - j d / gcd(s, d).
    pub(super) fn residues(&self, axis: usize) -> Phases {
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        let (taps, padding) = (self.kernel[axis], self.padding[axis][0] as i32);
        let gcd = stride * dilation / lcm(stride, dilation);
        let (skip, stride) = (stride / gcd, stride as i32);
        let residue = |r: i32| {
            let whole = |t: &usize| (r + padding - (t * dilation) as i32).rem_euclid(stride) == 0;
            let Some(first) = (0..taps.min(skip)).find(whole) else {
                return [0, 0, 0];
            };
            let offset = (r + padding - (first * dilation) as i32).div_euclid(stride);
            [first as i32, (taps - first).div_ceil(skip) as i32, offset]
        };
        Phases {
            residues: (0..stride).map(residue).collect(),
            step: -((dilation / gcd) as i32),
            skip: skip as u32,
        }
    }
}

/// One axis' residues: for each, first tap, number of taps, and offset of its first source pixel. See [`Geometry::residues`].
pub(super) struct Phases {
    pub(super) residues: Vec<[i32; 3]>,
    /// Source pixels between neighbouring taps.
    pub(super) step: i32,
    /// Taps of the kernel between neighbouring taps of a residue.
    pub(super) skip: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of a pixel and a tap that the convolution multiplies is met once by the residues of its gradient.
    #[test]
    fn residues_meet_every_tap_once() {
        for (image, kernel, stride, padding, dilation) in [
            (7, 3, 2, 1, 1),
            (8, 4, 2, 1, 1),
            (9, 3, 4, 2, 2),
            (10, 5, 3, 0, 2),
            (6, 2, 3, 1, 3),
            (11, 3, 6, 4, 4),
        ] {
            let geometry = Geometry {
                batch: 1,
                image: [image, image],
                channels: 1,
                out_channels: 1,
                kernel: [kernel, kernel],
                stride: [stride, stride],
                padding: [[padding, padding]; 2],
                dilation: [dilation, dilation],
                groups: 1,
            };
            let phases = geometry.residues(0);
            let out = geometry.out_image()[0] as i32;
            let mut met = Vec::new();
            for h in 0..image {
                let [first, taps, offset] = phases.residues[h % stride];
                for j in 0..taps {
                    let source = (h / stride) as i32 + offset + j * phases.step;
                    if (0..out).contains(&source) {
                        met.push((h, first + j * phases.skip as i32, source));
                    }
                }
            }
            let mut wanted = Vec::new();
            for o in 0..out {
                for t in 0..kernel {
                    let h = o * stride as i32 + (t * dilation) as i32 - padding as i32;
                    if (0..image as i32).contains(&h) {
                        wanted.push((h as usize, t as i32, o));
                    }
                }
            }
            met.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(met, wanted, "{geometry:?}");
        }
    }
}
