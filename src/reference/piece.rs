//! Kernels whose tensors are larger than one binding, as several on ranges of them.

use std::ops::Range;
use std::sync::Arc;

use super::Twin;
use crate::kernels::expression::lcm;
use crate::kernels::gather::Gather;
use crate::kernels::map::Map;
use crate::kernels::matmul::{Layout, Matmul};
use crate::kernels::reduce::Reduce;

/// A part of a kernel's work on ranges of its buffers.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The kernel on those ranges.
    pub kernel: Arc<dyn Twin>,
    /// The first element of each binding.
    pub offsets: Vec<usize>,
}

/// Where a range of a buffer may begin, in elements: 256 bytes, also of f16.
const ALIGNMENT: usize = 128;

/// `total` units in ranges of at most `most`, each beginning at a multiple of `grain`.
fn ranges(total: usize, most: usize, grain: usize) -> Option<Vec<Range<usize>>> {
    let step = most / grain * grain;
    (step > 0).then(|| {
        (0..total)
            .step_by(step)
            .map(|start| start..total.min(start + step))
            .collect()
    })
}

/// How many units of `elements` each fill whole alignments.
fn aligned(elements: usize) -> usize {
    lcm(elements, ALIGNMENT) / elements.max(1)
}

/// Elements of a range that `units` of `elements` each make a multiple of.
fn units_for(grain: usize, elements: usize) -> usize {
    lcm(grain, elements) / elements.max(1)
}

pub(super) fn map(kernel: &Map, limit: usize) -> Option<Vec<Piece>> {
    let grain = lcm(ALIGNMENT, kernel.expression.grain(kernel.count));
    let cut = |r: Range<usize>| {
        let (expression, mut offsets) = kernel.expression.piece(r.start, r.len(), kernel.count)?;
        offsets.extend(expression.results.iter().map(|_| r.start));
        let kernel = Map {
            count: r.len(),
            expression,
            ..kernel.clone()
        };
        Some(Piece {
            kernel: Arc::new(kernel),
            offsets,
        })
    };
    ranges(kernel.count, limit, grain)?
        .into_iter()
        .map(cut)
        .collect()
}

pub(super) fn matmul(kernel: &Matmul, limit: usize) -> Option<Vec<Piece>> {
    let &Matmul { m, n, k, .. } = kernel;
    if kernel.batch != 1 {
        return None;
    }
    let outs = kernel.epilogue.results.len();
    if kernel.layout == Layout::Tn {
        // Along k: the later pieces add to what the first one wrote.
        if kernel.epilogue.terms.len() != 1 || kernel.accumulate {
            return None;
        }
        let grain = lcm(aligned(m), aligned(n));
        let cut = |r: Range<usize>| {
            let mut offsets = vec![r.start * m, r.start * n];
            offsets.resize(2 + outs + usize::from(kernel.row_sums), 0);
            Piece {
                kernel: Arc::new(Matmul {
                    k: r.len(),
                    accumulate: r.start > 0,
                    ..kernel.clone()
                }),
                offsets,
            }
        };
        let ranges = ranges(k, limit / m.max(n), grain)?;
        return Some(ranges.into_iter().map(cut).collect());
    }
    let own = units_for(kernel.epilogue.grain(m * n), n);
    let grain = lcm(lcm(aligned(k), aligned(n)), own);
    let cut = |r: Range<usize>| {
        let (epilogue, extra) = kernel.epilogue.piece(r.start * n, r.len() * n, m * n)?;
        let mut offsets = vec![r.start * k, 0];
        offsets.extend(extra);
        offsets.extend((0..outs).map(|_| r.start * n));
        let kernel = Matmul {
            m: r.len(),
            epilogue,
            ..kernel.clone()
        };
        Some(Piece {
            kernel: Arc::new(kernel),
            offsets,
        })
    };
    ranges(m, limit / k.max(n), grain)?
        .into_iter()
        .map(cut)
        .collect()
}

pub(super) fn reduce(kernel: &Reduce, limit: usize) -> Option<Vec<Piece>> {
    let &Reduce {
        outer,
        length,
        inner,
        chunks,
        ..
    } = kernel;
    let total = outer * length * inner;
    // Units are whole reductions, or the chunks of a single one.
    let (units, elements) = match (outer, chunks) {
        (1, 2..) => (chunks, kernel.chunk() * inner),
        (2.., 1) => (outer, length * inner),
        _ => return None,
    };
    let own = units_for(kernel.prologue.grain(total), elements);
    if chunks > 1 {
        // Partial results lie close together: they are bound whole, and each piece knows where its own begin.
        let used = length.div_ceil(kernel.chunk());
        if used < chunks
            || kernel.epilogue.terms.len() != 1
            || (inner > 1 && !inner.is_multiple_of(4))
        {
            return None;
        }
        let cut = |r: Range<usize>| {
            let start = r.start * elements;
            let count = (r.len() * elements).min(total - start);
            let (prologue, mut offsets) = kernel.prologue.piece(start, count, total)?;
            offsets.push(0);
            let piece = Reduce {
                prologue,
                length: count / inner,
                chunks: r.len(),
                first: r.start * inner,
                ..kernel.clone()
            };
            // The last piece's chunks must be as long as they were.
            (piece.chunk() == kernel.chunk()).then(|| Piece {
                kernel: Arc::new(piece),
                offsets,
            })
        };
        let grain = lcm(aligned(elements), own);
        return ranges(units, limit / elements, grain)?
            .into_iter()
            .map(cut)
            .collect();
    }
    let after = units_for(kernel.epilogue.grain(kernel.results()), inner);
    let grain = lcm(lcm(aligned(elements), aligned(inner)), lcm(own, after));
    let cut = |r: Range<usize>| {
        let (start, count) = (r.start * elements, r.len() * elements);
        let (prologue, mut offsets) = kernel.prologue.piece(start, count, total)?;
        let results = (r.start * inner, r.len() * inner);
        let (epilogue, extra) = kernel
            .epilogue
            .piece(results.0, results.1, kernel.results())?;
        offsets.extend(extra);
        offsets.extend(epilogue.results.iter().map(|_| results.0));
        Some(Piece {
            kernel: Arc::new(Reduce {
                prologue,
                epilogue,
                outer: r.len(),
                ..kernel.clone()
            }),
            offsets,
        })
    };
    ranges(units, limit / elements, grain)?
        .into_iter()
        .map(cut)
        .collect()
}

pub(super) fn gather(kernel: &Gather, limit: usize) -> Option<Vec<Piece>> {
    let cut = |r: Range<usize>| {
        let mut offsets = vec![0; 2 + usize::from(kernel.cursor)];
        offsets.push(r.start * kernel.width);
        Piece {
            kernel: Arc::new(Gather {
                batch: r.len(),
                first: kernel.first + r.start,
                ..kernel.clone()
            }),
            offsets,
        }
    };
    let ranges = ranges(kernel.batch, limit / kernel.width, aligned(kernel.width))?;
    Some(ranges.into_iter().map(cut).collect())
}
