//! Products and convolutions on matrix units, where a device has them: whole numbers, of which every sum is exact in any order, and others, whose operands may
//! be rounded to either neighbour in f16.

use super::convolutions::{geometry, result_shape};
use super::products::epilogue;
use super::{Case, Values, case};
use crate::kernels::Caps;
use crate::kernels::conv2d::{Body, Conv2d, Direction, Geometry};
use crate::kernels::matmul::{Blocks, Layout, Matmul, Variant};
use crate::tensor::Shape;

pub(super) fn all(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    let all = Blocks::all(caps);
    let other = all.last().map(|blocks| blocks.other_way());
    let fits = |blocks: &Blocks| blocks.fits(caps);
    for blocks in all.iter().copied().chain(other.filter(fits)) {
        // Larger ones are long texts, and differ from smaller ones in numbers alone; the other way differs in little more.
        let few = quick && Some(&blocks) != all.last();
        matmul(blocks, few, quick, cases);
        conv2d(blocks, few, quick, cases);
    }
}

fn matmul(blocks: Blocks, few: bool, quick: bool, cases: &mut Vec<Case>) {
    let variant = Variant::Cooperative(blocks);
    // Less than a block, edges in every direction, whole tiles, several of them, several blocks of k and what is left after them.
    let mut shapes = vec![
        (1, 1, 1),
        (3, 5, 7),
        (33, 31, 13),
        (64, 64, 64),
        (65, 36, 20),
        (130, 132, 70),
        (128, 256, 96),
    ];
    if !quick {
        shapes.extend([(63, 65, 1), (16, 20, 400), (7, 1, 129), (200, 72, 33)]);
    }
    let size = variant.describe();
    for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
        let product = |batch, m, n, k| {
            let plain = Matmul::new(&Caps::portable(), layout, batch, m, n, k).ok()?;
            Some(Matmul { variant, ..plain })
        };
        for (i, &(m, n, k)) in shapes.iter().enumerate() {
            if few && m != 130 {
                continue;
            }
            let Some(plain) = product(1, m, n, k) else {
                continue;
            };
            let drawn = [Values::Normal, Values::Positive, Values::Small][i % 3];
            for values in [Values::Whole, drawn] {
                // In a quick run others than whole ones on some shapes.
                if quick && values != Values::Whole && i.is_multiple_of(2) {
                    continue;
                }
                let name = format!("{} {size} {m}x{n}x{k} {values:?}", layout.name());
                cases.push(case(name, plain.clone(), values));
            }
        }
        let (batch, m, n, k) = (2, 68, 72, 36);
        let Some(plain) = product(batch, m, n, k) else {
            continue;
        };
        let name = format!("{} {size} {batch}x{m}x{n}x{k}", layout.name());
        let fused = Matmul {
            epilogue: epilogue(&Shape::from([batch, m, n]), true),
            ..plain.clone()
        };
        cases.push(case(format!("{name} epilogue"), fused, Values::Whole));
        let added = Matmul {
            b_batched: false,
            accumulate: true,
            ..plain.clone()
        };
        cases.push(case(
            format!("{name} accumulate, one b"),
            added,
            Values::Normal,
        ));
        if layout == Layout::Tn {
            for (accumulate, values) in [(false, Values::Normal), (true, Values::Whole)] {
                // In one column of tiles, and in several.
                let Some(plain) = product(batch, m, if accumulate { n } else { 20 }, k) else {
                    continue;
                };
                let sums = Matmul {
                    row_sums: true,
                    accumulate,
                    ..plain
                };
                let name = format!("{name} row sums, accumulate {accumulate} {values:?}");
                cases.push(case(name, sums, values));
            }
        }
    }
}

fn conv2d(blocks: Blocks, few: bool, quick: bool, cases: &mut Vec<Case>) {
    let variant = Variant::Cooperative(blocks);
    let mut geometries = vec![
        geometry(2, [7, 6], [20, 12], [3, 3], [1, 1], 1),
        geometry(2, [9, 8], [16, 40], [4, 4], [2, 2], 1),
        // Flat runs, single columns, groups, dilation, uneven padding.
        geometry(3, [9, 7], [3, 18], [4, 3], [2, 1], 1),
        Geometry {
            groups: 2,
            dilation: [1, 2],
            padding: [[0, 1], [2, 0]],
            ..geometry(2, [6, 8], [24, 16], [3, 3], [1, 2], 1)
        },
    ];
    if !quick {
        geometries.extend([
            geometry(2, [16, 16], [32, 36], [3, 3], [1, 1], 1),
            geometry(5, [4, 4], [20, 68], [4, 4], [1, 1], 1),
            geometry(2, [13, 12], [5, 33], [5, 1], [3, 2], 2),
        ]);
    }
    if few {
        geometries.truncate(1);
    }
    for (i, geometry) in geometries.into_iter().enumerate() {
        let directions = [Direction::Forward, Direction::Input, Direction::Weight];
        for (j, direction) in directions.into_iter().enumerate() {
            let Ok(plain) = Conv2d::new(&Caps::portable(), geometry, direction) else {
                continue;
            };
            let weight = direction == Direction::Weight;
            let plain = Conv2d {
                body: Body::Product(variant),
                row_sums: weight && i % 2 == 0,
                splits: if weight && i % 2 == 1 { 3 } else { 1 },
                ..plain
            };
            let values = [Values::Whole, Values::Normal][(i + j) % 2];
            let size = variant.describe();
            let name = format!("{direction:?} {size} {geometry:?} {values:?}");
            cases.push(case(name.clone(), plain.clone(), values));
            if i % 4 == 1 {
                let shape = result_shape(&geometry, direction);
                let fused = Conv2d {
                    epilogue: epilogue(&shape, i % 2 == 0),
                    row_sums: false,
                    splits: 1,
                    ..plain
                };
                cases.push(case(format!("{name} epilogue"), fused, Values::Whole));
            }
        }
    }
}
