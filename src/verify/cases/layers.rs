//! Group normalisation and attention: groups of one channel, two, three, many; heads that no vec4 divides; rows that no tile divides.

use super::{Case, Values, case};
use crate::kernels::attention::{self, Attention};
use crate::kernels::group_norm::{GroupNorm, Mode, Sizes};
use crate::kernels::{Caps, Kernel};

pub(super) fn group_norm(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    // Batch, pixels, channels, groups.
    let mut sizes = vec![
        [2, 9, 8, 8],
        [1, 7, 8, 4],
        [3, 5, 9, 3],
        [2, 49, 24, 2],
        [1, 1, 6, 3],
        [2, 70, 32, 8],
    ];
    if !quick {
        sizes.extend([
            [2, 13, 10, 5],
            [1, 130, 12, 1],
            [4, 3, 64, 32],
            [1, 5, 7, 7],
        ]);
    }
    for [batch, pixels, channels, groups] in sizes {
        let sizes = Sizes {
            batch,
            pixels,
            channels,
            groups,
        };
        let mut add = |mode: Mode, silu: bool, shared: bool, values: Values| {
            let kernel = GroupNorm::new(caps, sizes, mode, silu, shared, 1e-5);
            let name = format!(
                "{} {sizes:?}, shared: {shared}, {values:?}",
                kernel.variant()
            );
            cases.push(case(name, kernel, values));
        };
        add(Mode::Statistics, false, true, Values::Normal);
        add(Mode::Statistics, false, true, Values::Positive);
        // An epsilon that shows.
        add(Mode::Statistics, false, true, Values::Small);
        for mode in [Mode::Apply, Mode::Sums, Mode::Input] {
            add(mode, true, false, Values::Normal);
            add(mode, false, true, Values::Positive);
            if !quick {
                add(mode, true, true, Values::Positive);
                add(mode, false, false, Values::Normal);
            }
        }
    }
}

pub(super) fn attention(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    // Batch, queries, keys, heads, channels of a head.
    let mut sizes = vec![
        [2, 5, 5, 2, 8],
        [1, 9, 6, 1, 3],
        [1, 1, 1, 1, 1],
        [2, 49, 49, 2, 16],
        [1, 6, 7, 3, 20],
        [1, 3, 10, 1, 68],
        // Rows that no vector divides, with three and with two left over; the first in several workgroups.
        [2, 70, 5, 2, 7],
        [2, 3, 5, 1, 6],
        // Two vec4 of a result a lane, one of them beyond the row's end; more lanes; two tiles.
        [1, 5, 18, 2, 32],
        [1, 6, 35, 1, 64],
        [1, 5, 130, 1, 512],
    ];
    if !quick {
        sizes.extend([
            [1, 9, 70, 2, 128],
            [1, 17, 66, 1, 160],
            [1, 6, 65, 2, 256],
            [1, 66, 33, 3, 40],
            [1, 130, 65, 1, 4],
            [1, 4, 9, 2, 33],
            [3, 17, 2, 2, 11],
            [1, 5, 6, 1, 100],
        ]);
    }
    let modes = [
        attention::Mode::Forward,
        attention::Mode::LogSums,
        attention::Mode::ByQuery,
        attention::Mode::ByKey,
        attention::Mode::ByValue,
    ];
    for [batch, queries, keys, heads, size] in sizes {
        let sizes = attention::Sizes {
            batch,
            queries,
            keys,
            heads,
            size,
        };
        for mode in modes {
            let mut kernels = vec![Attention::new(caps, sizes, mode)];
            // The body that this device does not take.
            let other = Caps {
                software: !caps.software,
                ..caps.clone()
            };
            if !quick || size % 4 > 0 || size == 32 {
                kernels.push(Attention::new(&other, sizes, mode));
            }
            for kernel in kernels {
                cases.push(case(
                    format!("{} {sizes:?}", kernel.variant()),
                    kernel,
                    Values::Normal,
                ));
            }
        }
    }
}
