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

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
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

    /// The same axes with those made one that the source does not tell apart: a kernel divides once an axis.
    fn merged(&self) -> Vec<Axis> {
        let mut merged: Vec<Axis> = Vec::new();
        for &axis in self.axes.iter().rev() {
            if let Some(inner) = merged.last_mut() {
                let whole = inner.offset == 0 && inner.bound == inner.size;
                if whole && axis.stride == inner.stride * inner.size {
                    *inner = Axis {
                        size: axis.size * inner.size,
                        stride: inner.stride,
                        offset: axis.offset * inner.size as isize,
                        bound: axis.bound * inner.size,
                    };
                    continue;
                }
            }
            merged.push(axis);
        }
        merged.reverse();
        merged
    }

    /// Whether four neighbours of the last axis stay neighbours, aligned, and are inside or outside together.
    fn is_vector(&self) -> bool {
        let four = |n: usize| n.is_multiple_of(4);
        self.source_count.is_multiple_of(4)
            && self.axes.split_last().is_some_and(|(last, rest)| {
                last.stride == 1
                    && four(last.size)
                    && four(last.bound)
                    && last.offset % 4 == 0
                    && rest.iter().all(|a| four(a.stride))
            })
    }
}

impl Kernel for Rearrange {
    fn family(&self) -> &'static str {
        "rearrange"
    }

    fn variant(&self) -> String {
        if self.is_vector() { "vec4" } else { "scalar" }.to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("source", self.dtype, self.source_count),
            Binding::write("out", self.dtype, self.count()),
        ]
    }

    fn launch(&self) -> Launch {
        let vector = self.is_vector();
        let width = if vector { 4 } else { 1 };
        let units = self.count() / width;
        let fill = match self.dtype {
            DType::F32 => self.fill.to_bits(),
            _ => self.fill as u32,
        };
        let mut params = vec![units as u32, fill, 0, 0];
        let axes = self.merged();
        for (i, axis) in axes.iter().rev().enumerate() {
            let (w, stride) = if i == 0 {
                (width, axis.stride)
            } else {
                (1, axis.stride / width)
            };
            params.extend([
                (axis.size / w) as u32,
                stride as u32,
                (axis.offset / w as isize) as i32 as u32,
                (axis.bound / w) as u32,
            ]);
        }
        params.resize(4 + 4 * MAX_RANK, 0);
        Launch {
            template: "rearrange",
            entry: "rearrange",
            context: json!({"vector": vector, "rank": axes.len()}),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 2 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
