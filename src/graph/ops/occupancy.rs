//! The occupancy grid of a radiance field: which cells to look at, where, and what becomes of their values.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{
    Argument, Call, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision,
};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::march::March;
use crate::kernels::occupancy::{Occupancy, Stage};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

fn wrong<T>(op: &str, takes: &str, inputs: &[&TensorType]) -> Result<T> {
    let why = format!("takes {takes}, got {}", shapes(inputs));
    Err(Error::shape(op, why))
}

/// The grid of values `[side^3]`, or of several cascades `[cascades, side^3]`.
fn grid(values: &TensorType) -> Option<Occupancy> {
    let (cascades, cells) = match *values.shape.dims() {
        [cells] => (1, cells),
        [cascades, cells] if cascades > 1 => (cascades, cells),
        _ => return None,
    };
    let side = (0..=9).map(|n| 1_usize << n).find(|s| s.pow(3) == cells)?;
    let march = March::new(side, 1).and_then(|march| march.with_cascades(cascades, 0));
    let known = values.dtype == DType::F32 && march.is_ok();
    known.then_some(Occupancy {
        side,
        cascades,
        count: cascades * cells,
        stream: 0,
        decay: 0.0,
        stage: Stage::All,
    })
}

/// One f32.
fn scalar(ty: &TensorType) -> bool {
    ty == &TensorType::f32([]) || ty == &TensorType::f32([1])
}

/// What a grid's values are, in messages.
const VALUES: &str = "f32 values [side^3] or [cascades, side^3], side a power of two from 4 to 512, from 2 to 8 cascades";

fn types(inputs: &[&Value]) -> Vec<TensorType> {
    inputs.iter().map(|v| v.tensor_type()).collect()
}

/// Which cells are looked at: all, or with a stream some of them.
#[derive(Clone, Debug)]
pub(crate) struct OccupancyCells {
    /// The stream of the random cells; `None` for every cell, where there is no threshold.
    pub stream: Option<u32>,
    /// How many, where there is a stream: an even number.
    pub count: usize,
}

impl OccupancyCells {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<Occupancy> {
        match (inputs, self.stream) {
            ([values], None) => grid(values),
            ([values, threshold], Some(stream))
                if scalar(threshold) && self.count.is_multiple_of(2) =>
            {
                grid(values).map(|all| Occupancy {
                    count: self.count,
                    stream,
                    stage: Stage::Pick,
                    ..all
                })
            }
            _ => None,
        }
        .map_or_else(
            || {
                let takes = format!("{VALUES}, and where cells are picked a threshold, one f32, and an even number of them");
                wrong("occupancy_cells", &takes, inputs)
            },
            Ok,
        )
    }
}

impl Op for OccupancyCells {
    fn name(&self) -> &'static str {
        "occupancy_cells"
    }

    fn is_decision(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::u32([self.kernel(inputs)?.count]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types = types(inputs);
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let cells = match self.stream {
            None => (0..kernel.count as u32).collect(),
            Some(_) => in_precision!(cx.precision, T => {
                let (values, threshold) = (T::of(&inputs[0].data), T::of(&inputs[1].data)[0]);
                reference::occupancy::pick(&kernel, values, threshold, cx.state)
            }),
        };
        Value::new([kernel.count], Data::U32(cells))
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let arguments = match self.stream {
            None => vec![Argument::Output],
            Some(_) => vec![
                Argument::Input(0),
                Argument::Input(1),
                Argument::State,
                Argument::Output,
            ],
        };
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        match self.stream {
            None => Some(MergeKey::of(self, ())),
            Some(_) => None,
        }
    }
}

/// A random point in each cell.
#[derive(Clone, Debug)]
pub(crate) struct OccupancyPoints {
    /// Cells along an axis.
    pub side: usize,
    /// Grids.
    pub cascades: usize,
    /// The stream of the random numbers.
    pub stream: u32,
}

impl OccupancyPoints {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<Occupancy> {
        March::new(self.side, 1)?.with_cascades(self.cascades, 0)?;
        match inputs {
            [cells] if cells.dtype == DType::U32 => {
                if let &[count] = cells.shape.dims() {
                    return Ok(Occupancy {
                        side: self.side,
                        cascades: self.cascades,
                        count,
                        stream: self.stream,
                        decay: 0.0,
                        stage: Stage::Points,
                    });
                }
            }
            _ => {}
        }
        wrong("occupancy_points", "u32 cells [count]", inputs)
    }
}

impl Op for OccupancyPoints {
    fn name(&self) -> &'static str {
        "occupancy_points"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::f32([self.kernel(inputs)?.count, 3]))
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let kernel = self.kernel(&[&inputs[0].tensor_type()])?;
        let cells = inputs[0].data.as_u32();
        let data = in_precision!(cx.precision, T => {
            T::into_data(reference::occupancy::points::<T>(&kernel, cells, cx.state))
        });
        Value::new([kernel.count, 3], data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let arguments = vec![Argument::Input(0), Argument::State, Argument::Output];
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }
}

/// `max(decay value, the largest thickness found in the cell)`; a value below 0 stays.
#[derive(Clone, Debug)]
pub(crate) struct OccupancyMerge {
    /// What a value is multiplied by.
    pub decay: f32,
}

impl OccupancyMerge {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<Occupancy> {
        if let [values, cells, thickness] = inputs
            && let Some(all) = grid(values)
            && let &[count] = cells.shape.dims()
            && *cells == &TensorType::u32([count])
            && (*thickness == &TensorType::f32([count])
                || *thickness == &TensorType::f32([count, 1]))
        {
            return Ok(Occupancy {
                count,
                decay: self.decay,
                stage: Stage::Merge,
                ..all
            });
        }
        let takes =
            format!("{VALUES}, u32 cells [count] and f32 thickness [count] or [count, 1] in them");
        wrong("occupancy_merge", &takes, inputs)
    }
}

impl Op for OccupancyMerge {
    fn name(&self) -> &'static str {
        "occupancy_merge"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(inputs)?;
        Ok(inputs[0].clone())
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types = types(inputs);
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let cells = inputs[1].data.as_u32();
        let data = in_precision!(cx.precision, T => {
            let (values, thickness) = (T::of(&inputs[0].data), T::of(&inputs[2].data));
            T::into_data(reference::occupancy::merged(&kernel, values, cells, thickness))
        });
        Value::new(inputs[0].shape.clone(), data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let kernel = self.kernel(inputs)?;
        let call = |stage, arguments| Call {
            kernel: Arc::new(Occupancy {
                stage,
                ..kernel.clone()
            }),
            arguments,
        };
        let [values, cells, thickness] = [0, 1, 2].map(Argument::Input);
        let fresh = Argument::Temporary(0);
        Ok(Lowering {
            temporaries: vec![TensorType::u32([kernel.cells()])],
            calls: vec![
                call(Stage::Clear, vec![fresh]),
                call(Stage::Largest, vec![cells, thickness, fresh]),
                call(Stage::Merge, vec![values, fresh, Argument::Output]),
            ],
        })
    }

    fn merge_key(&self) -> Option<MergeKey> {
        Some(MergeKey::of(self, self.decay.to_bits()))
    }
}

/// A bit a cell: whether its value is above a threshold.
#[derive(Clone, Debug)]
pub(crate) struct OccupancyBits;

impl OccupancyBits {
    fn kernel(inputs: &[&TensorType]) -> Result<Occupancy> {
        if let [values, threshold] = inputs
            && let Some(all) = grid(values)
            && scalar(threshold)
        {
            return Ok(Occupancy {
                stage: Stage::Bits,
                ..all
            });
        }
        let takes = format!("{VALUES}, and a threshold, one f32");
        wrong("occupancy_bits", &takes, inputs)
    }
}

impl Op for OccupancyBits {
    fn name(&self) -> &'static str {
        "occupancy_bits"
    }

    fn is_decision(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::u32([Self::kernel(inputs)?.cells() / 32]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let bits = in_precision!(cx.precision, T => {
            let (values, threshold) = (T::of(&inputs[0].data), T::of(&inputs[1].data)[0]);
            reference::occupancy::bits(values, threshold)
        });
        Value::new([bits.len()], Data::U32(bits))
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let arguments = vec![Argument::Input(0), Argument::Input(1), Argument::Output];
        Ok(Lowering::single(Self::kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        Some(MergeKey::of(self, ()))
    }
}

impl<'g> Var<'g> {
    /// Every cell of the grid of values self `[side^3]`, u32 `[side^3]`: what is looked at in the first steps. Wherever values are `[side^3]` they may
    /// also be those of several cascades, `[cascades, side^3]` ([`March::with_cascades`]); cells are then numbered through.
    pub fn occupancy_all_cells(self) -> Self {
        self.graph().apply(
            OccupancyCells {
                stream: None,
                count: 0,
            },
            &[self],
        )
    }

    /// Cells of the grid of values self `[side^3]` that are looked at in this step, u32 `[count]`, an even number. The first half are the next ones
    /// of a permutation of all cells; the second half are drawn among those above `threshold`, one f32: each is the first of ten random cells
    /// that is, or the tenth. In the first [`EARLY`](crate::kernels::occupancy::EARLY) steps all are of the permutation. `name` decides the random
    /// numbers' stream.
    pub fn occupancy_cells(self, name: &str, threshold: Self, count: usize) -> Self {
        let stream = Some(self.graph().stream(name));
        let op = OccupancyCells { stream, count };
        self.graph().apply(op, &[self, threshold])
    }

    /// A random point, `[count, 3]` in the unit cube, in each of the cells self, u32 `[count]`, of a grid of `side`^3, or of `cascades` of them
    /// ([`March::with_cascades`]). `name` decides the stream.
    pub fn occupancy_points(self, name: &str, side: usize, cascades: usize) -> Self {
        let stream = self.graph().stream(name);
        let op = OccupancyPoints {
            side,
            cascades,
            stream,
        };
        self.graph().apply(op, &[self])
    }

    /// The values `[side^3]` after cells were looked at: the larger of `decay` times the old value, self, and the largest `thickness`, `[count]` or
    /// `[count, 1]`, that was found in the cell; `cells` is u32 `[count]`, in any order, some of them perhaps twice. What is below 0, which no camera
    /// sees, stays. No gradient.
    pub fn occupancy_merge(self, cells: Self, thickness: Self, decay: f32) -> Self {
        let op = OccupancyMerge { decay };
        self.graph().apply(op, &[self, cells, thickness])
    }

    /// Which cells' values, self `[side^3]`, are above `threshold`, one f32: u32 `[side^3 / 32]`, cell c in bit `c % 32` of word `c / 32`. Cell
    /// `x + side (y + side z)` is that of a point by `floor(side x)`.
    pub fn occupancy_bits(self, threshold: Self) -> Self {
        self.graph().apply(OccupancyBits, &[self, threshold])
    }
}
