//! Kernels that move elements: rearrange, concat, cast, gather, scatter-add.

use super::{Case, Values, case, integers};
use crate::kernels::Texel;
use crate::kernels::cast::Cast;
use crate::kernels::concat::Concat;
use crate::kernels::gather::Gather;
use crate::kernels::present::{Picture, Present};
use crate::kernels::rearrange::Rearrange;
use crate::kernels::scatter_add::{FindStarts, MergeRuns, ScatterAdd, SortTiles, sorting};
use crate::reference::Twin;
use crate::reference::scatter_add::{sorted_positions, starts};
use crate::tensor::{DType, Data, Shape};

/// Several tiles of blocks, in each of two planes.
pub(super) fn rearrange_planes(cases: &mut Vec<Case>) {
    let kernel = Rearrange::permute(&Shape::from([2, 80, 96]), &[0, 2, 1], DType::F32);
    let name = "permute [2, 80, 96] by [0, 2, 1]".to_owned();
    cases.push(case(name, kernel, Values::Normal));
}

pub(super) fn rearrange(cases: &mut Vec<Case>) {
    for (dims, order) in [
        (vec![5, 7], vec![1, 0]),
        (vec![8, 12], vec![1, 0]),
        (vec![2, 3, 4], vec![1, 0, 2]),
        (vec![2, 3, 4, 5], vec![0, 2, 3, 1]),
        (vec![2, 3, 1, 2, 3, 2], vec![5, 3, 1, 0, 2, 4]),
        // In blocks of 4x4: whole tiles, some beyond the edges, with axes about them on both sides.
        (vec![64, 32], vec![1, 0]),
        (vec![36, 100], vec![1, 0]),
        (vec![3, 8, 12, 4], vec![0, 2, 3, 1]),
        (vec![2, 8, 3, 4, 5, 4], vec![3, 0, 2, 5, 4, 1]),
        // Pixels to planes of channels and back; one channel too many.
        (vec![2, 6, 6, 3], vec![0, 3, 1, 2]),
        (vec![2, 3, 6, 6], vec![0, 2, 3, 1]),
        (vec![3, 20, 7], vec![0, 2, 1]),
        (vec![7, 5, 300], vec![0, 2, 1]),
        (vec![4, 2, 40], vec![2, 0, 1]),
        (vec![2, 12, 9], vec![0, 2, 1]),
        (vec![2, 9, 12], vec![0, 2, 1]),
        // More than one unit an invocation.
        (vec![3, 5, 4099], vec![1, 0, 2]),
        (vec![300], vec![0]),
        (vec![2001], vec![0]),
    ] {
        let shape = Shape::new(dims);
        let kernel = Rearrange::permute(&shape, &order, DType::F32);
        cases.push(case(
            format!("permute {shape:?} by {order:?}"),
            kernel,
            Values::Normal,
        ));
    }
    let shape = Shape::from([6, 8]);
    for (offsets, sizes) in [
        ([1, 2], [4, 5]),
        ([-1, -2], [9, 11]),
        ([2, 4], [3, 4]),
        ([0, -4], [6, 16]),
        ([3, 4], [8, 8]),
    ] {
        let kernel = Rearrange::window(&shape, &offsets, &sizes, 1.5, DType::F32);
        cases.push(case(
            format!("window {sizes:?} at {offsets:?} of {shape:?}"),
            kernel,
            Values::Normal,
        ));
        let kernel = Rearrange::window(&shape, &offsets, &sizes, 9.0, DType::U32);
        cases.push(case(
            format!("integers, window {sizes:?} at {offsets:?}"),
            kernel,
            Values::Normal,
        ));
    }
}

pub(super) fn concat(cases: &mut Vec<Case>) {
    for (outer, inner, lengths) in [
        (1, 1, vec![3, 5]),
        (9, 7, vec![3, 5]),
        (4, 3, vec![1, 2, 4]),
        (2, 1, vec![1; 7]),
        (3, 4, vec![100]),
        (70, 4, vec![64, 32, 160]),
    ] {
        for dtype in [DType::F32, DType::U32] {
            let kernel = Concat {
                outer,
                inner,
                lengths: lengths.clone(),
                dtype,
            };
            cases.push(case(
                format!("{lengths:?} in {outer} x {inner} {}", dtype.name()),
                kernel,
                Values::Normal,
            ));
        }
    }
}

pub(super) fn cast(cases: &mut Vec<Case>) {
    let types = [DType::F32, DType::U32, DType::U8];
    for (from, to) in types
        .iter()
        .flat_map(|&a| types.iter().map(move |&b| (a, b)))
        .filter(|(a, b)| a != b)
    {
        for count in [1, 7, 1030, 1928, 65_600] {
            let kernel = Cast { count, from, to };
            let name = format!("{count} {} to {}", from.name(), to.name());
            // Negative, fractional, and beyond the largest integer.
            let value = |i: usize| match i % 100 {
                6 => 5e9,
                _ => i as f32 * 1.7 - 9.3,
            };
            let change = move |inputs: &mut [Data]| match from {
                DType::F32 => inputs[0] = Data::F32((0..count).map(value).collect()),
                DType::U32 => inputs[0] = integers(5, 400, count),
                DType::U8 | DType::F16 => {}
            };
            cases.push(case(name, kernel, Values::Normal).changed(change));
        }
    }
}

pub(super) fn gather(cases: &mut Vec<Case>) {
    for dtype in [DType::U8, DType::F32, DType::U32] {
        for (rows, width, batch, cursor) in [
            (50, 8, 9, false),
            (50, 7, 9, false),
            (50, 784, 3, true),
            (50, 2052, 130, true),
            (50, 1, 20, true),
            (40, 5, 12, true),
        ] {
            let indices = if cursor { 13 } else { batch };
            let (scale, shift) = if dtype == DType::U32 {
                (1.0, 0.0)
            } else {
                (1.0 / 255.0, -0.5)
            };
            let kernel = Gather {
                rows,
                width,
                batch,
                indices,
                cursor,
                dtype,
                scale,
                shift,
                first: 0,
            };
            // With 40 rows some indices are beyond the end: clamped.
            let name = format!(
                "{batch} of {rows} x {width} {} cursor: {cursor}",
                dtype.name()
            );
            cases.push(case(name, kernel, Values::Normal));
        }
    }
}

/// `count` indices below `below`, sorted within tiles and merged until runs are of 2^`run`.
fn sorted_until(count: usize, below: u32, run: u32) -> Data {
    let (tiles, merges) = sorting(count);
    let mut buffers = [integers(31, below, count), Data::U32(Vec::new())];
    tiles.reference(&mut buffers);
    for merge in merges.iter().take_while(|merge| merge.run < run) {
        buffers.swap(0, 1);
        merge.reference(&mut buffers);
    }
    let [_, sorted] = buffers;
    sorted
}

pub(super) fn scatter_add(quick: bool, cases: &mut Vec<Case>) {
    for count in [1, 63, 64, 130, 521] {
        cases.push(case(
            format!("tiles of {count}"),
            SortTiles { count },
            Values::Normal,
        ));
    }
    // Few indices, so that most are equal, and many.
    let mut merges = vec![(33, 5, 5), (521, 5, 50), (128, 5, 1000), (700, 7, 7)];
    if !quick {
        merges.extend([(5000, 5, 3), (5000, 9, 4000), (5000, 11, 900)]);
    }
    for (count, run, below) in merges {
        let merged = case(
            format!("runs of 2^{run} among {count}, indices below {below}"),
            MergeRuns { count, run },
            Values::Normal,
        );
        cases.push(merged.changed(move |inputs| inputs[0] = sorted_until(count, below, run)));
    }
    for (count, rows, width) in [
        (1, 1, 1),
        (130, 50, 3),
        (65, 7, 20),
        (300, 60, 1),
        (40, 30, 17),
        (40, 30, 64),
        (90, 11, 128),
    ] {
        let sorted = move |inputs: &mut [Data], at: usize| {
            let index = integers(17, 50, count);
            inputs[at] = sorted_positions(index.as_u32());
        };
        let kernel = FindStarts { count, rows };
        let name = format!("starts of {rows} among {count}");
        let found = case(name, kernel, Values::Normal);
        cases.push(found.changed(move |inputs| sorted(inputs, 0)));
        let kernel = ScatterAdd { count, rows, width };
        let name = format!("{count} into {rows} x {width}");
        cases.push(case(name, kernel, Values::Normal).changed(move |inputs| {
            sorted(inputs, 1);
            inputs[2] = starts(inputs[1].as_u32(), rows);
        }));
    }
}

pub(super) fn present(cases: &mut Vec<Case>) {
    for texel in [Texel::Rgba8Unorm, Texel::Rgba16Float, Texel::Rgba32Float] {
        for (images, height, width, channels, columns) in [
            (1, 1, 1, 1, 1),
            (5, 7, 9, 1, 3),
            (4, 8, 8, 3, 2),
            (3, 3, 17, 4, 2),
        ] {
            let picture = Picture {
                scale: 0.7,
                shift: 0.2,
                ..Picture::grid(height, width, channels, columns)
            };
            let values = images * height * width * channels;
            if let Ok(kernel) = Present::new(values, picture, texel) {
                let name = format!("{images} of {height}x{width}x{channels}, {columns} a row");
                cases.push(case(name, kernel, Values::Normal));
            }
        }
    }
}
