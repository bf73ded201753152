//! Elements at other places: permute, transpose, slice, pad and copy, all by one kernel: `shaders/rearrange.wgsl`.
//!
//! Each axis of the result has a stride in the source, and may reach beyond it, where the result is filled.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::rearrange::Rearrange;
//! use wgen::tensor::{DType, Data};
//!
//! // The transpose of a matrix of 2 rows and 3 columns.
//! let mut buffers = [vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![0.0; 6]].map(Data::F32);
//! Rearrange::permute(&[2, 3].into(), &[1, 0], DType::F32).reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F32(vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
//!
//! // A window of 4 that begins before the first of 2 elements: padding by one 9 on each side.
//! let mut buffers = [vec![1.0, 2.0], vec![0.0; 4]].map(Data::F32);
//! Rearrange::window(&[2].into(), &[-1], &[4], 9.0, DType::F32).reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F32(vec![9.0, 1.0, 2.0, 9.0]));
//! ```

use serde_json::json;

use super::divide::divisor;
use super::{Binding, Cost, Grid, Kernel, Launch, fold, moving_launch};
use crate::tensor::{DType, MAX_RANK, Shape};

/// One axis of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its size.
    pub size: usize,
    /// Elements of the source between neighbours.
    pub stride: usize,
    /// Added to the coordinate.
    pub offset: isize,
    /// Coordinates from here on, and below 0, are filled.
    pub bound: usize,
}

/// Moves elements of a source of `source_count` elements to their places in a dense result.
#[derive(Clone, Debug)]
pub struct Rearrange {
    /// Elements of the source.
    pub source_count: usize,
    /// Axes of the result, outermost first.
    pub axes: Vec<Axis>,
    /// What stands outside of the source.
    pub fill: f32,
    /// The element type.
    pub dtype: DType,
}

impl Rearrange {
    /// The transposition that makes axis `order[i]` of `shape` axis `i` of the result.
    pub fn permute(shape: &Shape, order: &[usize], dtype: DType) -> Self {
        let strides = shape.strides();
        let axes = order.iter().map(|&from| Axis {
            size: shape.dims()[from],
            stride: strides[from],
            offset: 0,
            bound: shape.dims()[from],
        });
        Self {
            source_count: shape.count(),
            axes: axes.collect(),
            fill: 0.0,
            dtype,
        }
    }

    /// The window of sizes `sizes` that begins at `offsets`, which may lie outside of `shape` and is filled there.
    pub fn window(
        shape: &Shape,
        offsets: &[isize],
        sizes: &[usize],
        fill: f32,
        dtype: DType,
    ) -> Self {
        let strides = shape.strides();
        let axes = (0..shape.rank()).map(|i| Axis {
            size: sizes[i],
            stride: strides[i],
            offset: offsets[i],
            bound: shape.dims()[i],
        });
        Self {
            source_count: shape.count(),
            axes: axes.collect(),
            fill,
            dtype,
        }
    }

    /// Elements of the result.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|a| a.size).product()
    }

    /// The same axes with those made one that the source does not tell apart, and without those of one element.
    fn merged(&self) -> Vec<Axis> {
        let mut merged: Vec<Axis> = Vec::new();
        for &axis in self.axes.iter().rev() {
            if axis.size == 1 && axis.is_whole() {
                continue;
            }
            if let Some(inner) = merged.last_mut()
                && inner.is_whole()
                && axis.stride == inner.stride * inner.size
            {
                *inner = Axis {
                    size: axis.size * inner.size,
                    stride: inner.stride,
                    offset: axis.offset * inner.size as isize,
                    bound: axis.bound * inner.size,
                };
                continue;
            }
            merged.push(axis);
        }
        merged.reverse();
        merged
    }

    /// Whether four neighbours of the last axis stay neighbours, aligned, and are inside or outside together.
    fn is_vector(&self, axes: &[Axis]) -> bool {
        let four = |n: usize| n.is_multiple_of(4);
        self.source_count.is_multiple_of(4)
            && axes.split_last().is_some_and(|(last, rest)| {
                last.stride == 1
                    && four(last.size)
                    && four(last.bound)
                    && last.offset % 4 == 0
                    && rest.iter().all(|a| four(a.stride))
            })
    }

    /// The blocks that a transposition can be made of, where the source's neighbours lie along another axis than the last.
    fn blocks(&self, axes: &[Axis]) -> Option<Blocks> {
        let four = |n: usize| n.is_multiple_of(4);
        let (last, outer) = axes.split_last()?;
        let along = outer.iter().position(|a| a.stride == 1)?;
        let own = outer[along];
        if !axes.iter().all(Axis::is_whole) || !four(self.source_count) || self.count() == 0 {
            return None;
        }
        // Elements of the result between neighbours along axis `along`.
        let step: usize = axes[along + 1..].iter().map(|a| a.size).product();
        let others = |a: &usize| *a != along && *a + 1 != axes.len();
        let aligned = (0..axes.len())
            .filter(others)
            .all(|a| four(axes[a].stride) && four(axes[a + 1..].iter().map(|a| a.size).product()));
        if !aligned {
            return None;
        }
        let kind = if four(last.size) && four(own.size) && four(last.stride) {
            BlockKind::Square
        } else if four(last.size) && last.stride == own.size && own.size <= MOST_PLANES {
            BlockKind::ToPlanes
        } else if four(own.size)
            && four(last.stride)
            && step == last.size
            && last.size <= MOST_PLANES
        {
            BlockKind::FromPlanes
        } else {
            return None;
        };
        Some(Blocks { kind, along, step })
    }

    fn launch_blocks(&self, axes: &[Axis], blocks: &Blocks) -> Launch {
        let (last, own) = (axes[axes.len() - 1], axes[blocks.along]);
        let (n, step) = (blocks.kind.planes(&last, &own), blocks.step);
        // Blocks, from one to the next in the source and in the result, and a step within one: in vec4.
        let (i, j) = match blocks.kind {
            BlockKind::Square => (
                [last.size / 4, last.stride, 1, last.stride / 4],
                [own.size / 4, 1, step, step / 4],
            ),
            BlockKind::ToPlanes => ([last.size / 4, n, 1, 1], [1, 0, 0, step / 4]),
            BlockKind::FromPlanes => ([own.size / 4, 1, n, last.stride / 4], [1, 0, 0, 1]),
        };
        // 16 by 16 blocks, or fewer along one and more along the other where there are not as many.
        let along_j = j[0].next_power_of_two().min(16);
        let tile = [i[0].next_power_of_two().min(256 / along_j).min(64), along_j];
        let tiles = [i[0].div_ceil(tile[0]), j[0].div_ceil(tile[1])];
        let mut others = Vec::new();
        let mut groups = tiles[0] * tiles[1];
        for at in (0..axes.len() - 1).rev().filter(|&at| at != blocks.along) {
            let out: usize = axes[at + 1..].iter().map(|a| a.size).product();
            others.push((axes[at], out));
            groups *= axes[at].size;
        }
        let mut params = tiles.map(divisor).concat();
        params.extend([i, j].concat().iter().map(|&n| n as u32));
        params.extend([0, groups as u32, 0, 0]);
        for (axis, out) in &others {
            params.extend(divisor(axis.size));
            params.extend([(axis.stride / 4) as u32, (out / 4) as u32, 0, 0]);
        }
        params.resize(20 + 8 * MAX_RANK, 0);
        Launch {
            template: "rearrange",
            entry: "rearrange",
            context: json!({
                "block": true,
                "variant": blocks.kind.name(n),
                "loads": n,
                "stores": blocks.kind.stores(n),
                "axes": vec![0; others.len()],
            }),
            constants: vec![("TILE_I", tile[0] as f64), ("TILE_J", tile[1] as f64)],
            params,
            workgroups: fold(groups as u64),
            grid: Grid::Line { first: 16 },
            subgroups: false,
        }
    }
}

impl Axis {
    /// Whether it takes all of the source's axis and nothing else.
    fn is_whole(&self) -> bool {
        self.offset == 0 && self.bound == self.size
    }
}

/// More planes than this an invocation does not interleave: as many vec4 are in registers.
const MOST_PLANES: usize = 8;

/// How four neighbours along the source become four neighbours of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
enum BlockKind {
    /// 4x4 elements, transposed.
    Square,
    /// Four neighbours of the last axis, with all elements of the axis along the source: pixels to planes of channels.
    ToPlanes,
    /// The other way round.
    FromPlanes,
}

#[derive(Clone, Copy, Debug)]
struct Blocks {
    kind: BlockKind,
    /// The axis along which the source's neighbours lie.
    along: usize,
    /// Elements of the result between its neighbours.
    step: usize,
}

impl BlockKind {
    fn planes(self, last: &Axis, own: &Axis) -> usize {
        match self {
            Self::Square => 4,
            Self::ToPlanes => own.size,
            Self::FromPlanes => last.size,
        }
    }

    fn name(self, planes: usize) -> String {
        match self {
            Self::Square => "blocks of 4x4".to_owned(),
            Self::ToPlanes => format!("{planes} planes of pixels"),
            Self::FromPlanes => format!("pixels of {planes} planes"),
        }
    }

    /// What each vec4 is made of that is stored: components of those that were loaded.
    fn stores(self, planes: usize) -> Vec<Vec<String>> {
        let component = |load: usize, i: usize| format!("v{load}.{}", ["x", "y", "z", "w"][i]);
        let part = |store: usize, i: usize| match self {
            Self::Square => component(i, store),
            Self::ToPlanes => component((i * planes + store) / 4, (i * planes + store) % 4),
            Self::FromPlanes => component((4 * store + i) % planes, (4 * store + i) / planes),
        };
        (0..planes)
            .map(|store| (0..4).map(|i| part(store, i)).collect())
            .collect()
    }
}

impl Kernel for Rearrange {
    fn family(&self) -> &'static str {
        "rearrange"
    }

    fn variant(&self) -> String {
        let axes = self.merged();
        if self.is_vector(&axes) {
            return "vec4".to_owned();
        }
        let name = self.blocks(&axes).map(|b| {
            let planes = b.kind.planes(&axes[axes.len() - 1], &axes[b.along]);
            b.kind.name(planes)
        });
        name.unwrap_or_else(|| "scalar".to_owned())
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("source", self.dtype, self.source_count),
            Binding::write("out", self.dtype, self.count()),
        ]
    }

    fn launch(&self) -> Launch {
        let axes = self.merged();
        let vector = self.is_vector(&axes);
        if !vector && let Some(blocks) = self.blocks(&axes) {
            return self.launch_blocks(&axes, &blocks);
        }
        let width = if vector { 4 } else { 1 };
        let units = self.count() / width;
        let fill = match self.dtype {
            DType::F32 => self.fill.to_bits(),
            _ => self.fill as u32,
        };
        let mut params = vec![units as u32, fill, 0, 0];
        for (i, axis) in axes.iter().rev().enumerate() {
            let (w, stride) = if i == 0 {
                (width, axis.stride)
            } else {
                (1, axis.stride / width)
            };
            params.extend(divisor(axis.size / w));
            params.extend([
                stride as u32,
                (axis.offset / w as isize) as i32 as u32,
                (axis.bound / w) as u32,
                0,
            ]);
        }
        params.resize(4 + 8 * MAX_RANK, 0);
        let whole = |axis: &Axis| json!({"whole": axis.is_whole()});
        let axes: Vec<_> = axes.iter().rev().map(whole).collect();
        let context = json!({"block": false, "vector": vector, "axes": axes});
        moving_launch("rearrange", "rearrange", units, context, (params, 2))
    }

    fn cost(&self) -> Cost {
        // What lies outside of a window is not read.
        let inside = |a: &Axis| {
            let end = (a.offset + a.size as isize).clamp(0, a.bound as isize);
            (end - a.offset.clamp(0, end)) as usize
        };
        let read: usize = self.axes.iter().map(inside).product();
        Cost {
            flops: 0.0,
            bytes: (self.dtype.bytes(read) + self.dtype.bytes(self.count())) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_costs_what_it_reads_and_writes() {
        let bytes = |offset: isize, size: usize| {
            let kernel = Rearrange::window(&[6].into(), &[offset], &[size], 0.0, DType::F32);
            kernel.cost().bytes
        };
        assert_eq!(bytes(0, 6), 48.0);
        assert_eq!(bytes(2, 3), 24.0);
        assert_eq!(bytes(-1, 9), 4.0 * (6.0 + 9.0));
        assert_eq!(bytes(4, 5), 4.0 * (2.0 + 5.0));
        assert_eq!(bytes(-3, 2), 8.0);
        assert_eq!(bytes(9, 2), 8.0);
    }

    #[test]
    fn shapes_choose_how_elements_move() {
        let variant = |dims: &[usize], order: &[usize]| {
            Rearrange::permute(&Shape::from(dims), order, DType::F32).variant()
        };
        assert_eq!(variant(&[64, 32], &[1, 0]), "blocks of 4x4");
        assert_eq!(variant(&[2, 6, 6, 3], &[0, 3, 1, 2]), "3 planes of pixels");
        assert_eq!(variant(&[2, 3, 6, 6], &[0, 2, 3, 1]), "pixels of 3 planes");
        assert_eq!(variant(&[2, 3, 5, 8], &[0, 2, 1, 3]), "vec4");
        // One channel: the planes lie as the pixels do.
        assert_eq!(variant(&[2, 6, 6, 1], &[0, 3, 1, 2]), "vec4");
        // Nothing that is four long.
        assert_eq!(variant(&[6, 10], &[1, 0]), "scalar");
    }
}
