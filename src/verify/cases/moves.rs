//! Kernels that move elements: rearrange, concat, cast, gather, scatter-add.

use super::{Case, Values, case, integers};
use crate::kernels::Texel;
use crate::kernels::cast::Cast;
use crate::kernels::concat::Concat;
use crate::kernels::gather::Gather;
use crate::kernels::present::{Picture, Present};
use crate::kernels::rearrange::Rearrange;
use crate::kernels::scatter_add::{RankPositions, ScatterAdd};
use crate::reference::scatter_add::rank_positions;
use crate::tensor::{DType, Data, Shape};

pub(super) fn rearrange(cases: &mut Vec<Case>) {
    for (dims, order) in [
        (vec![5, 7], vec![1, 0]),
        (vec![8, 12], vec![1, 0]),
        (vec![2, 3, 4], vec![1, 0, 2]),
        (vec![2, 3, 4, 5], vec![0, 2, 3, 1]),
        (vec![2, 3, 1, 2, 3, 2], vec![5, 3, 1, 0, 2, 4]),
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
        for count in [1, 7, 1030, 1928] {
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

pub(super) fn scatter_add(cases: &mut Vec<Case>) {
    for count in [1, 63, 130, 521] {
        cases.push(case(
            format!("rank of {count}"),
            RankPositions { count },
            Values::Normal,
        ));
    }
    for (count, rows, width) in [
        (1, 1, 1),
        (130, 50, 3),
        (65, 7, 20),
        (300, 60, 1),
        (40, 30, 17),
    ] {
        let kernel = ScatterAdd { count, rows, width };
        let name = format!("{count} into {rows} x {width}");
        let ranked = |inputs: &mut [Data]| {
            inputs[2] = Data::U32(rank_positions(inputs[1].as_u32()));
        };
        cases.push(case(name, kernel, Values::Normal).changed(ranked));
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
