//! Pooling and the like: windows that overlap, leave gaps, reach into the padding.

use super::{Case, Values, case};
use crate::kernels::Caps;
use crate::kernels::pool::{Mode, Pool, Windows};
use crate::kernels::quantile::Quantile;
use crate::kernels::resize::{Interpolation, Resize};
use crate::kernels::top_k::{Kept, TopK};
use crate::tensor::Data;

pub(super) fn pool(quick: bool, cases: &mut Vec<Case>) {
    let windows = |image, channels, size, stride, padding| Windows {
        batch: 2,
        image,
        channels,
        size,
        stride,
        padding,
    };
    let mut all = vec![
        windows([8, 6], 4, [2, 2], [2, 2], [0, 0]),
        windows([7, 9], 3, [3, 3], [2, 2], [1, 1]),
        windows([6, 7], 8, [3, 2], [1, 3], [1, 0]),
        windows([5, 5], 1, [5, 5], [1, 1], [0, 0]),
    ];
    if !quick {
        all.extend([
            windows([13, 11], 12, [4, 4], [3, 2], [2, 2]),
            windows([9, 4], 5, [2, 2], [3, 3], [1, 1]),
            windows([1, 17], 4, [1, 4], [1, 4], [0, 2]),
            windows([24, 24], 64, [2, 2], [2, 2], [0, 0]),
        ]);
    }
    let modes = [
        Mode::Max,
        Mode::MaxRoute,
        Mode::MaxPick,
        Mode::Average,
        Mode::AverageSpread,
    ];
    for windows in all {
        for mode in modes {
            let name = format!("{} {windows:?}", mode.name());
            let built = case(name.clone(), Pool { windows, mode }, Values::Normal);
            if mode == Mode::MaxRoute {
                // Equal pixels: the first one counts.
                let ties = case(
                    format!("{name} with ties"),
                    Pool { windows, mode },
                    Values::Normal,
                );
                cases.push(ties.changed(|inputs| {
                    let count = inputs[0].len();
                    let steps = (0..count).map(|i| (i * 7 % 5 / 2) as f32).collect();
                    inputs[0] = Data::F32(steps);
                }));
            }
            cases.push(built);
        }
    }
}

pub(super) fn top_k(caps: &Caps, cases: &mut Vec<Case>) {
    let sizes = [
        ([3, 17, 1], 5),
        ([2, 64, 1], 64),
        ([5, 100, 1], 1),
        ([2, 33, 3], 7),
        ([1, 1, 4], 1),
        ([2, 1030, 1], 31),
        // With ties: some of the k are above the others, which are equal.
        ([4, 30, 1], 15),
    ];
    for (domain, k) in sizes {
        for kept in [Kept::Mask, Kept::Indices] {
            for workgroup in [TopK::new(caps, domain, k, kept).workgroup, 64] {
                let kernel = TopK {
                    workgroup,
                    ..TopK::new(caps, domain, k, kept)
                };
                let name = format!("top {k} of {domain:?}, {kept:?}, {workgroup} a run");
                cases.push(case(name.clone(), kernel.clone(), Values::Normal));
                // Many equals, both zeros among them.
                let ties = case(format!("{name} with ties"), kernel, Values::Normal);
                cases.push(ties.changed(|inputs| {
                    let steps = (0..inputs[0].len()).map(|i| match i * 7 % 6 {
                        0 => -0.0,
                        1 => 0.0,
                        n => (n / 2) as f32 - 1.5,
                    });
                    inputs[0] = Data::F32(steps.collect());
                }));
            }
        }
    }
}

pub(super) fn quantile(caps: &Caps, cases: &mut Vec<Case>) {
    // Rows of one element, of one more and one less than a workgroup has, of many times as many; more rows than one.
    let sizes = [
        [3, 1],
        [5, 2],
        [2, 17],
        [3, 63],
        [2, 65],
        [2, 784],
        [1, 4099],
    ];
    for size in sizes {
        for ratio in [0.0, 0.37, 0.5, 0.995, 1.0] {
            let Ok(usual) = Quantile::new(caps, size, ratio) else {
                continue;
            };
            for workgroup in [usual.workgroup, 64] {
                let kernel = Quantile {
                    workgroup,
                    ..usual.clone()
                };
                let name = format!("{ratio} of {size:?}, {workgroup} a row");
                let values = if size[1] % 2 == 0 {
                    Values::Large
                } else {
                    Values::Normal
                };
                cases.push(case(name.clone(), kernel.clone(), values));
                // Many equals, both zeros among them, and numbers that differ in their last byte alone; in the last row each number twice, so that
                // the neighbours are equals and the only ones.
                let below = kernel.below;
                let ties = case(format!("{name} with ties"), kernel, values);
                cases.push(ties.changed(move |inputs| {
                    let [rows, length] = size;
                    let steps = (0..rows * length).map(|i| match i * 7 % 6 {
                        _ if rows > 1 && i / length == rows - 1 => {
                            // 11 divides none of the lengths: every rank is there once.
                            let rank = i * 11 % length;
                            0.75 * ((rank + below % 2) / 2) as f32
                        }
                        0 => -0.0,
                        1 => 0.0,
                        2 => f32::from_bits(0xbf80_0000 + (i % 5) as u32),
                        n => (n / 2) as f32 - 1.5,
                    });
                    inputs[0] = Data::F32(steps.collect());
                }));
            }
        }
    }
}

pub(super) fn resize(cases: &mut Vec<Case>) {
    let sizes = [
        ([4, 5], [8, 10], 4),
        ([7, 3], [5, 9], 3),
        ([1, 6], [3, 1], 8),
        ([5, 5], [5, 5], 1),
        ([3, 2], [13, 11], 1),
        ([11, 13], [2, 3], 4),
    ];
    for (from, to, channels) in sizes {
        for interpolation in [Interpolation::Nearest, Interpolation::Bilinear] {
            for transposed in [false, true] {
                let kernel = Resize {
                    batch: 2,
                    from,
                    to,
                    channels,
                    interpolation,
                    transposed,
                };
                let name = format!("{kernel:?}");
                cases.push(case(name, kernel, Values::Normal));
            }
        }
    }
}
