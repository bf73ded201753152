//! Matrix products: every body in every layout.

use super::{Case, Values, case};
use crate::kernels::Caps;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::functions::{Distribution, Function};
use crate::kernels::matmul::{Layout, Matmul, Tile, Variant};
use crate::kernels::philox::Key;
use crate::tensor::Shape;

/// Tiles that go through workgroup memory in other ways: one of each, for the ways do not depend on the size.
const OTHERWISE: [Tile; 3] = [
    Tile::MEDIUM.transposed(),
    Tile::SMALL.ahead(),
    Tile::LOW.transposed().ahead(),
];

fn is_otherwise(variant: Variant) -> bool {
    matches!(variant, Variant::Tiled(tile) if OTHERWISE.contains(&tile))
}

/// The body variants that a device can run.
pub(super) fn variants(caps: &Caps, layout: Layout) -> Vec<Variant> {
    let mut variants = vec![Variant::Registers];
    if caps.invocations >= 256 {
        variants.extend(Tile::ALL.map(Variant::Tiled));
        variants.extend(OTHERWISE.map(Variant::Tiled));
    }
    if caps.subgroup_min_size >= 4 {
        let lanes = if caps.subgroup_min_size >= 8 { 8 } else { 4 };
        for quads in [1, 2] {
            variants.push(Variant::Subgroup {
                lanes,
                rows: 32,
                quads,
            });
        }
        if layout == Layout::Tn {
            variants.push(Variant::Subgroup {
                lanes,
                rows: 64,
                quads: 1,
            });
        } else {
            variants.extend([8, 16].map(|rows| Variant::Subgroup {
                lanes,
                rows,
                quads: 1,
            }));
        }
    }
    variants
}

/// bias of a row, relu, and a residual: every way to read an operand.
pub(super) fn epilogue(shape: &Shape, random: bool) -> Expression {
    let n = shape.dims()[shape.rank() - 1];
    let m = shape.dims()[shape.rank() - 2];
    let mut terms = vec![
        Term::Accumulator,
        Term::Operand(0),
        Term::Call(Function::Add, vec![0, 1]),
        Term::Call(Function::Relu, vec![2]),
        Term::Operand(1),
        Term::Call(Function::Add, vec![3, 4]),
        Term::Operand(2),
        Term::Operand(3),
        Term::Call(Function::Mul, vec![6, 7]),
        Term::Call(Function::Mul, vec![5, 8]),
    ];
    let mut results = vec![9];
    if random {
        terms.push(Term::Random {
            distribution: Distribution::Normal,
            key: Key::Step,
            stream: 5,
        });
        terms.push(Term::Call(Function::Mul, vec![9, 10]));
        results = vec![9, 11];
    }
    let operands = vec![
        Indexing::broadcast(shape, &[n].into()),
        Indexing::dense(shape.count()),
        Indexing::broadcast(shape, &[m, 1].into()),
        Indexing::broadcast(shape, &Shape::scalar()),
    ];
    Expression {
        terms,
        operands,
        results,
    }
}

pub(super) fn matmul(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    let portable = Caps::portable();
    let mut shapes = vec![
        (1, 1, 1),
        (3, 5, 7),
        (9, 6, 10),
        (33, 31, 13),
        (64, 64, 64),
        (65, 36, 20),
        (32, 68, 17),
    ];
    if !quick {
        shapes.extend([
            (7, 1, 129),
            (1, 130, 5),
            (63, 65, 1),
            (128, 20, 400),
            (96, 132, 100),
            (40, 12, 784),
        ]);
    }
    for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
        for (place, variant) in variants(caps, layout).into_iter().enumerate() {
            for (i, &(m, n, k)) in shapes.iter().enumerate() {
                // Whole blocks, a block that is cut short, and elements one by one: what a tile's other ways may get wrong.
                if quick && is_otherwise(variant) && ![3, 4, 6].contains(&i) {
                    continue;
                }
                let Ok(plain) = Matmul::new(&portable, layout, 1, m, n, k) else {
                    continue;
                };
                let plain = Matmul { variant, ..plain };
                let values = [Values::Normal, Values::Positive, Values::Large][i % 3];
                let name = format!("{} {variant:?} {m}x{n}x{k} {values:?}", layout.name());
                cases.push(case(name, plain, values));
            }
            // Fused and batched, on shapes that are a tile's multiple and on ones that are not.
            for (i, (m, n, k)) in [(33, 35, 9), (68, 72, 36)].into_iter().enumerate() {
                // In a quick run each body meets one of these four: a pipeline is long in the making on some drivers.
                let chosen = |which: usize| {
                    !quick || (!is_otherwise(variant) && (place + 2 * i + which).is_multiple_of(4))
                };
                let batch = 2;
                let Ok(plain) = Matmul::new(&portable, layout, batch, m, n, k) else {
                    continue;
                };
                let shape = Shape::from([batch, m, n]);
                let name = format!("{} {variant:?} {batch}x{m}x{n}x{k}", layout.name());
                let plain = Matmul { variant, ..plain };
                let fused = Matmul {
                    epilogue: epilogue(&shape, n % 4 == 0),
                    ..plain.clone()
                };
                if chosen(0) {
                    cases.push(case(format!("{name} epilogue"), fused, Values::Normal));
                }
                let shared = Matmul {
                    b_batched: false,
                    accumulate: true,
                    ..plain.clone()
                };
                if chosen(1) {
                    let name = format!("{name} accumulate, one b");
                    cases.push(case(name, shared, Values::Normal));
                }
                if layout == Layout::Tn {
                    let sums = Matmul {
                        row_sums: true,
                        ..plain
                    };
                    let added = Matmul {
                        accumulate: true,
                        ..sums.clone()
                    };
                    if chosen(0) {
                        cases.push(case(format!("{name} row sums"), sums, Values::Normal));
                    }
                    if chosen(1) {
                        let name = format!("{name} row sums added");
                        cases.push(case(name, added, Values::Normal));
                    }
                }
            }
        }
    }
}
