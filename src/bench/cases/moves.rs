//! Data that moves and is not computed with: transposes, concatenations, casts, gathers, and their sums.

use super::{Case, case};
use crate::kernels::cast::Cast;
use crate::kernels::concat::Concat;
use crate::kernels::gather::Gather;
use crate::kernels::rearrange::Rearrange;
use crate::kernels::scatter_add::{FindStarts, ScatterAdd, sorting};
use crate::reference::scatter_add::{sorted_positions, starts};
use crate::tensor::{DType, Data, Shape};
use crate::verify::cases::integers;

/// Transposes of a matrix and of images, the heads of an attention, a slice, a pad.
pub(super) fn rearrangements(count: usize) -> Vec<Case> {
    let side = 1 << (count.ilog2() / 2);
    let permute = |name: String, dims: &[usize], order: &[usize]| {
        let kernel = Rearrange::permute(&Shape::from(dims), order, DType::F32);
        case(name, kernel)
    };
    let images = count >> 16;
    let window = |name: String, shape: [usize; 3], offsets: [isize; 3], sizes: [usize; 3]| {
        let kernel = Rearrange::window(&shape.into(), &offsets, &sizes, 0.0, DType::F32);
        case(name, kernel)
    };
    vec![
        permute(
            format!("transpose {side}x{}", count / side),
            &[side, count / side],
            &[1, 0],
        ),
        permute(
            format!("{images} of 32x32, 64 channels, NHWC to NCHW"),
            &[images, 32, 32, 64],
            &[0, 3, 1, 2],
        ),
        permute(
            format!("{images} of 32x32, 64 channels, NCHW to NHWC"),
            &[images, 64, 32, 32],
            &[0, 2, 3, 1],
        ),
        permute(
            format!("{images} of 128x128, RGB, NHWC to NCHW"),
            &[images, 128, 128, 3],
            &[0, 3, 1, 2],
        ),
        permute(
            format!("{images} of 128x128, RGB, NCHW to NHWC"),
            &[images, 3, 128, 128],
            &[0, 2, 3, 1],
        ),
        permute(
            format!("8 heads of 64 of {images} times 128 tokens"),
            &[images, 128, 8, 64],
            &[0, 2, 1, 3],
        ),
        window(
            format!("slice of 64 of 128 channels, {images} of 1024 pixels"),
            [images, 1024, 128],
            [0, 0, 64],
            [images, 1024, 64],
        ),
        window(
            format!("pad of {images} of 32 rows of 2048 by one row each side"),
            [images, 32, 2048],
            [0, -1, 0],
            [images, 34, 2048],
        ),
    ]
}

/// Concatenations, casts, and gathers of batches from a resident data set.
pub(super) fn moves(count: usize) -> Vec<Case> {
    let millions = format!("{} Mi", count >> 20);
    let mut cases = Vec::new();
    for (what, length) in [("of two", 512), ("of channels, 64 and 64", 64)] {
        let kernel = Concat {
            outer: count / (2 * length),
            inner: 1,
            lengths: vec![length, length],
            dtype: DType::F32,
        };
        cases.push(case(format!("concat {what}, {millions}"), kernel));
    }
    for (from, to) in [
        (DType::U8, DType::F32),
        (DType::F32, DType::U8),
        (DType::U32, DType::F32),
    ] {
        let name = format!("{} to {}, {millions}", from.name(), to.name());
        cases.push(case(name, Cast { count, from, to }));
    }
    for (dtype, width, scale) in [(DType::F32, 1024, 1.0), (DType::U8, 784, 1.0 / 255.0)] {
        let batch = count / 1024;
        let kernel = Gather {
            rows: batch,
            width,
            batch,
            indices: batch,
            cursor: dtype == DType::U8,
            dtype,
            scale,
            shift: 0.0,
            first: 0,
        };
        let name = format!("gather {batch} rows of {width} {}", dtype.name());
        let mut gather = case(name, kernel);
        gather.instead = Some(|inputs| {
            let batch = inputs[1].len() as u32;
            inputs[1] = Data::U32((0..batch).map(|i| i * 77 % batch).collect());
        });
        cases.push(gather);
    }
    cases
}

/// The gradient of an embedding: each kernel of it on its own.
pub(super) fn scatter_add() -> Vec<Case> {
    let (count, rows, width) = (8192, 1000, 1024);
    let (tiles, merges) = sorting(count);
    let mut cases = vec![case(format!("tiles of {count} positions sorted"), tiles)];
    for merge in merges {
        let name = format!("their runs of {} merged", 1 << merge.run);
        let mut merged = case(name, merge);
        // Wholly sorted positions are sorted in runs too, which the CPU twin does not have to be asked for.
        merged.instead =
            Some(|inputs| inputs[0] = sorted_positions(integers(0, 1000, 8192).as_u32()));
        cases.push(merged);
    }
    let mut found = case(
        format!("starts of {rows} rows among {count}"),
        FindStarts { count, rows },
    );
    found.instead = Some(|inputs| inputs[0] = sorted_positions(integers(0, 1000, 8192).as_u32()));
    cases.push(found);
    let mut scatter = case(
        format!("scatter-add {count} rows of {width} into {rows}"),
        ScatterAdd { count, rows, width },
    );
    scatter.instead = Some(|inputs| {
        inputs[1] = sorted_positions(integers(0, 1000, 8192).as_u32());
        inputs[2] = starts(inputs[1].as_u32(), 1000);
    });
    cases.push(scatter);
    cases
}
