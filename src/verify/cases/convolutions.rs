//! Convolutions: every product, every body, strides, dilations, groups, paddings and channels that are no multiple of anything.

use super::products::{epilogue, variants};
use super::{Case, Values, case};
use crate::kernels::Caps;
use crate::kernels::conv2d::{Body, Conv2d, Direction, Geometry};
use crate::kernels::matmul::{Layout, Tile, Variant};
use crate::tensor::Shape;

pub(super) fn geometry(
    batch: usize,
    image: [usize; 2],
    [channels, out_channels]: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: usize,
) -> Geometry {
    Geometry {
        batch,
        image,
        channels,
        out_channels,
        kernel,
        stride,
        padding: [[padding; 2]; 2],
        dilation: [1, 1],
        groups: 1,
    }
}

/// The shape of what a product of a convolution gives.
pub(super) fn result_shape(geometry: &Geometry, direction: Direction) -> Shape {
    match direction {
        Direction::Forward => geometry.out_shape(),
        Direction::Input => geometry.image_shape(),
        Direction::Weight => geometry.weight_shape(),
    }
    .into()
}

/// Sizes awkward on purpose.
fn geometries(quick: bool) -> Vec<Geometry> {
    let mut all = vec![
        geometry(2, [7, 6], [8, 12], [3, 3], [1, 1], 1),
        geometry(2, [9, 8], [4, 8], [4, 4], [2, 2], 1),
        // One channel in, one out: flat runs and single columns.
        geometry(3, [9, 7], [1, 8], [4, 3], [2, 1], 1),
        geometry(2, [6, 6], [8, 1], [3, 2], [1, 2], 0),
        geometry(1, [7, 5], [3, 5], [3, 3], [2, 3], 2),
        // Taps that reach beyond, and residues that no tap meets.
        geometry(2, [8, 9], [4, 4], [2, 1], [3, 3], 0),
        Geometry {
            dilation: [2, 3],
            ..geometry(1, [9, 11], [4, 6], [3, 2], [1, 2], 2)
        },
        Geometry {
            dilation: [2, 2],
            ..geometry(1, [11, 10], [4, 4], [3, 3], [2, 4], 3)
        },
        Geometry {
            groups: 2,
            ..geometry(2, [5, 6], [8, 16], [3, 3], [1, 2], 1)
        },
        Geometry {
            groups: 3,
            ..geometry(1, [5, 5], [6, 9], [2, 2], [1, 1], 0)
        },
        // Every channel a group.
        Geometry {
            groups: 8,
            ..geometry(2, [7, 6], [8, 8], [3, 3], [2, 1], 1)
        },
        Geometry {
            padding: [[0, 1], [2, 0]],
            ..geometry(2, [6, 5], [4, 4], [3, 3], [2, 2], 0)
        },
        // Segments that a tile reads in whole blocks, and something after them: flat runs of 21, rows of 19 pixels of vectors and of single columns.
        geometry(1, [4, 9], [3, 5], [2, 7], [1, 1], 3),
        geometry(1, [3, 19], [4, 8], [3, 3], [1, 1], 1),
        geometry(1, [2, 19], [3, 18], [1, 2], [1, 1], 1),
    ];
    if !quick {
        all.extend([
            geometry(2, [16, 16], [32, 36], [3, 3], [1, 1], 1),
            geometry(5, [4, 4], [20, 68], [4, 4], [1, 1], 1),
            geometry(2, [13, 12], [5, 33], [5, 1], [3, 2], 2),
            geometry(1, [1, 30], [12, 4], [1, 7], [1, 1], 0),
            Geometry {
                groups: 4,
                dilation: [3, 1],
                ..geometry(2, [12, 9], [16, 8], [3, 3], [1, 3], 1)
            },
            Geometry {
                groups: 12,
                dilation: [1, 2],
                ..geometry(3, [9, 9], [12, 12], [5, 3], [1, 2], 2)
            },
            // Every channel a group, but no multiple of four.
            Geometry {
                groups: 5,
                ..geometry(2, [6, 6], [5, 5], [3, 3], [1, 1], 1)
            },
        ]);
    }
    all
}

/// The bodies on which every geometry is tried: small texts; the others share their addresses.
fn bodies(caps: &Caps, kernel: &Conv2d, layout: Layout) -> Vec<Body> {
    if kernel.body == Body::Depthwise {
        return vec![Body::Depthwise];
    }
    let mut bodies = vec![Variant::Registers, Variant::Tiled(Tile::SMALL)];
    bodies.extend(
        variants(caps, layout)
            .into_iter()
            .filter(|v| v.is_subgroup())
            .take(1),
    );
    let fold = (layout != Layout::Tn && kernel.geometry.groups == 1).then_some(Body::Fold);
    let products = bodies.into_iter().map(Body::Product);
    products.chain(fold).collect()
}

pub(super) fn conv2d(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    let portable = Caps::portable();
    let directions = [
        (Direction::Forward, Layout::Nt),
        (Direction::Input, Layout::Nn),
        (Direction::Weight, Layout::Tn),
    ];
    for (i, geometry) in geometries(quick).into_iter().enumerate() {
        for (direction, layout) in directions {
            let Ok(plain) = Conv2d::new(&portable, geometry, direction) else {
                continue;
            };
            let g = &geometry;
            // Segments of a few terms, and ones of several blocks.
            let every = i == 0 || g.channels == 32;
            let all = if every && plain.body != Body::Depthwise {
                let products = variants(caps, layout).into_iter().map(Body::Product);
                products.collect()
            } else {
                bodies(caps, &plain, layout)
            };
            for (j, body) in all.into_iter().enumerate() {
                // In a quick run each geometry meets one or two of the bodies, all of them over the geometries.
                let long = g.image[1] > 16 || g.kernel[1] * g.channels > 16 && g.channels < 4;
                let tile = body == Body::Product(Variant::Tiled(Tile::SMALL));
                let chosen = (i + j).is_multiple_of(3) || long && tile;
                if quick && i > 0 && body != Body::Depthwise && !chosen {
                    continue;
                }
                let plain = Conv2d {
                    body,
                    ..plain.clone()
                };
                let values = [Values::Normal, Values::Positive, Values::Large][(i + j) % 3];
                let name = format!("{direction:?} {body:?} {g:?} {values:?}");
                let sums = Conv2d {
                    row_sums: direction == Direction::Weight && body != Body::Depthwise,
                    splits: if direction == Direction::Weight && j % 2 == 0 {
                        3
                    } else {
                        1
                    },
                    ..plain.clone()
                };
                cases.push(case(name.clone(), sums, values));
                // The first geometry meets all bodies: in a quick run a third of them with an epilogue, a third in each direction.
                let turn = (j + direction as usize).is_multiple_of(3);
                if i % 4 == 0 && (!quick || i > 0 || turn) {
                    let shape = result_shape(g, direction);
                    let fused = Conv2d {
                        epilogue: epilogue(&shape, j % 2 == 0),
                        ..plain
                    };
                    cases.push(case(format!("{name} epilogue"), fused, Values::Normal));
                }
            }
        }
    }
}
