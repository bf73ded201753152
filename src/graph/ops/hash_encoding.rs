//! Multi-resolution hash encoding of positions, and its gradient by the table.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{
    Argument, Call, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision,
};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::hash_encoding::{self, HashClear, HashFinish, HashGrid, MOST_SAMPLES};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

/// Positions and a table into encodings.
#[derive(Clone, Debug)]
pub(crate) struct HashEncode {
    /// The levels.
    pub grid: Arc<HashGrid>,
}

/// Positions and the gradient by their encodings into the gradient by the table.
#[derive(Clone, Debug)]
pub(crate) struct HashScatter {
    /// The levels.
    pub grid: Arc<HashGrid>,
}

/// The number of samples, where `inputs` are positions `[samples, 3]` and a second operand whose shape `fits`.
fn samples(
    op: &str,
    inputs: &[&TensorType],
    second: &str,
    fits: impl Fn(&[usize], usize) -> bool,
) -> Result<usize> {
    if let [x, other] = inputs
        && x.dtype == DType::F32
        && other.dtype == DType::F32
        && let &[samples, 3] = x.shape.dims()
        && fits(other.shape.dims(), samples)
    {
        return Ok(samples);
    }
    let types: Vec<&str> = inputs.iter().map(|t| t.dtype.name()).collect();
    let why = format!(
        "takes f32 positions [samples, 3] and {second}, got {} of {}",
        shapes(inputs),
        types.join(", ")
    );
    Err(Error::shape(op, why))
}

impl HashEncode {
    fn samples(&self, inputs: &[&TensorType]) -> Result<usize> {
        let table = [self.grid.entries(), self.grid.features];
        let second = format!("an f32 table {table:?}");
        samples(self.name(), inputs, &second, |dims, _| dims == table)
    }
}

impl HashScatter {
    fn samples(&self, inputs: &[&TensorType]) -> Result<usize> {
        let width = self.grid.width();
        let second = format!("their f32 gradient [samples, {width}]");
        let samples = samples(self.name(), inputs, &second, |dims, n| dims == [n, width])?;
        if samples > MOST_SAMPLES {
            let why = format!(
                "{samples} samples are more than the {MOST_SAMPLES} whose sums are exact enough; lower the capacity"
            );
            return Err(Error::shape(self.name(), why));
        }
        Ok(samples)
    }
}

impl Op for HashEncode {
    fn name(&self) -> &'static str {
        "hash_encode"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::f32([self.samples(inputs)?, self.grid.width()]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![
            None,
            Some(at.inputs[0].hash_scatter(at.upstream, &self.grid)),
        ]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        fn twin<T: Real>(grid: &HashGrid, positions: &Data, table: &Data) -> Data {
            let (positions, table) = (T::of(positions), T::of(table));
            T::into_data(reference::hash_encoding::encode(grid, positions, table))
        }
        let (positions, table) = (&inputs[0].data, &inputs[1].data);
        let data = in_precision!(cx.precision, T => twin::<T>(&self.grid, positions, table));
        let samples = inputs[0].shape.dims()[0];
        Value::new([samples, self.grid.width()], data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _output: &TensorType) -> Result<Lowering> {
        self.grid.check(caps)?;
        let kernel = hash_encoding::HashEncode {
            grid: self.grid.clone(),
            samples: self.samples(inputs)?,
        };
        let arguments = vec![Argument::Input(0), Argument::Input(1), Argument::Output];
        Ok(Lowering::single(kernel, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        Some(MergeKey::of(self, self.grid.key()))
    }
}

impl Op for HashScatter {
    fn name(&self) -> &'static str {
        "hash_scatter"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.samples(inputs)?;
        Ok(TensorType::f32([self.grid.entries(), self.grid.features]))
    }

    // Linear in the gradient that is scattered, and an encoding is its transpose.
    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![
            None,
            Some(at.inputs[0].hash_encode(at.upstream, &self.grid)),
        ]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        use reference::hash_encoding::gradient;
        let (grid, positions, upstream) = (&self.grid, &inputs[0].data, &inputs[1].data);
        let data = in_precision!(cx.precision, T => gradient::<T>(grid, positions, upstream));
        Value::new([grid.entries(), grid.features], data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _output: &TensorType) -> Result<Lowering> {
        self.grid.check(caps)?;
        let (grid, samples) = (self.grid.clone(), self.samples(inputs)?);
        let [sums, bounds, parts] = [0, 1, 2].map(Argument::Temporary);
        let mut lowering = Lowering {
            temporaries: vec![
                TensorType::u32([grid.elements()]),
                TensorType::f32([grid.width()]),
            ],
            calls: Vec::new(),
        };
        let (first, second) = hash_encoding::bounds(samples, grid.width());
        if let Some(second) = second {
            lowering
                .temporaries
                .push(TensorType::f32([first.results()]));
            call(&mut lowering, first, &[Argument::Input(1), parts]);
            call(&mut lowering, second, &[parts, bounds]);
        } else {
            call(&mut lowering, first, &[Argument::Input(1), bounds]);
        }
        let clear = HashClear { grid: grid.clone() };
        call(&mut lowering, clear, &[sums]);
        let scatter = hash_encoding::HashScatter {
            grid: grid.clone(),
            samples,
        };
        let operands = [Argument::Input(0), Argument::Input(1), bounds, sums];
        call(&mut lowering, scatter, &operands);
        let finish = HashFinish { grid };
        call(&mut lowering, finish, &[sums, bounds, Argument::Output]);
        Ok(lowering)
    }

    fn merge_key(&self) -> Option<MergeKey> {
        Some(MergeKey::of(self, self.grid.key()))
    }
}

fn call(lowering: &mut Lowering, kernel: impl reference::Twin + 'static, arguments: &[Argument]) {
    debug_assert_eq!(kernel.bindings().len(), arguments.len());
    lowering.calls.push(Call {
        kernel: Arc::new(kernel),
        arguments: arguments.to_vec(),
    });
}

impl<'g> Var<'g> {
    /// The multi-resolution hash encoding (Müller et al. 2022) of self, positions `[samples, 3]` in [0, 1]: at each of the grid's levels the
    /// entries of `table`, `[entries, features]`, at the corners of the position's cell, interpolated: `[samples, levels * features]`.
    /// Positions outside are moved to the nearest face. Differentiable by the table, not by the position.
    ///
    /// ```
    /// use wgen::graph::Graph;
    /// use wgen::kernels::hash_encoding::HashGrid;
    /// use wgen::kernels::philox::Domain;
    /// use wgen::tensor::TensorType;
    ///
    /// let grid = HashGrid::new(8, 4, 17, 16, 512)?;
    /// let graph = Graph::new(Domain::Training);
    /// let x = graph.input("x", TensorType::f32([1024, 3]));
    /// let table = graph.parameter("table", [grid.entries(), grid.features]);
    /// let features = x.hash_encode(table, &grid);
    /// assert_eq!(features.shape().dims(), [1024, 32]);
    /// // The gradient is summed in fixed point: the same bits on every run.
    /// let gradient = graph.gradients(features.square().sum_all(), &[table])[0];
    /// assert_eq!(gradient.shape(), table.shape());
    /// # Ok::<(), wgen::Error>(())
    /// ```
    pub fn hash_encode(self, table: Self, grid: &HashGrid) -> Self {
        let grid = Arc::new(grid.clone());
        self.graph().apply(HashEncode { grid }, &[self, table])
    }

    /// The gradient by the table of [`Var::hash_encode`] of self, positions `[samples, 3]`, where `gradient` is the one by the encodings,
    /// `[samples, levels * features]`: `[entries, features]`. Summed in fixed point: the order of additions changes no bit. A number in
    /// `gradient` that is not finite makes NaN of its feature in all entries of its level.
    pub fn hash_scatter(self, gradient: Self, grid: &HashGrid) -> Self {
        let grid = Arc::new(grid.clone());
        self.graph().apply(HashScatter { grid }, &[self, gradient])
    }
}
