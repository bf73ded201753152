//! Matrix products and linear layers.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, Fused, GradientAt, Lowering, MergeKey, Op, Pattern};
use crate::graph::ops::reduce::{in_one_or_two, sum_of_parts};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::functions::Function;
use crate::kernels::matmul::{self, Layout};
use crate::kernels::reduce::{Combine, Reduce};
use crate::real::{Precision, Real, Tracked};
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

/// A matrix product; operands are matrices or batches of them.
#[derive(Clone, Debug)]
pub(crate) struct Matmul {
    /// How they lie.
    pub layout: Layout,
}

/// Sizes of a product: batch, m, n, k, and whether each operand has a matrix for each of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Matrices.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Its columns.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Whether A is batched.
    pub a_batched: bool,
    /// Whether B is.
    pub b_batched: bool,
}

impl Sizes {
    /// Whether one operand is a vector, and there is something to sum.
    fn is_matrix_vector(&self) -> bool {
        self.batch == 1 && (self.m == 1 || self.n == 1) && self.k > 0
    }
}

impl Matmul {
    /// The sizes of a product of these operands.
    ///
    /// # Errors
    /// When they do not fit, with a hint if another layout would.
    pub(crate) fn sizes(&self, inputs: &[&TensorType]) -> Result<Sizes> {
        let wrong = |why: String| Err(Error::shape("matmul", why));
        let [a, b] = inputs else {
            return wrong(format!("takes 2 operands, got {}", inputs.len()));
        };
        if a.dtype != DType::F32 || b.dtype != DType::F32 {
            return wrong("takes f32 operands; cast them".to_owned());
        }
        let matrix = |t: &TensorType| match *t.shape.dims() {
            [rows, columns] => Some((None, rows, columns)),
            [batch, rows, columns] => Some((Some(batch), rows, columns)),
            _ => None,
        };
        let (Some((a_batch, a0, a1)), Some((b_batch, b0, b1))) = (matrix(a), matrix(b)) else {
            return wrong(format!(
                "operands must be matrices or batches of them, got {}",
                shapes(inputs)
            ));
        };
        let ((m, k), (n, k_of_b), text, hint) = match self.layout {
            Layout::Nn => (
                (a0, a1),
                (b1, b0),
                "a b",
                "did you mean a * b^T (Layout::Nt)?",
            ),
            Layout::Nt => (
                (a0, a1),
                (b0, b1),
                "a b^T",
                "did you mean a * b (Layout::Nn)?",
            ),
            Layout::Tn => (
                (a1, a0),
                (b1, b0),
                "a^T b",
                "did you mean a * b (Layout::Nn)?",
            ),
        };
        if k != k_of_b {
            return wrong(format!(
                "inner sizes of {text} differ: a is {:?}, b is {:?}; {hint}",
                a.shape, b.shape
            ));
        }
        let batch = match (a_batch, b_batch) {
            (Some(x), Some(y)) if x != y => {
                return wrong(format!(
                    "batches differ: a is {:?}, b is {:?}",
                    a.shape, b.shape
                ));
            }
            (x, y) => x.or(y).unwrap_or(1),
        };
        let many = a_batch.is_some() || b_batch.is_some();
        Ok(Sizes {
            batch,
            m,
            n,
            k,
            a_batched: a_batch.is_some() || !many,
            b_batched: b_batch.is_some() || !many,
        })
    }

    /// The kernel of a product with this epilogue.
    ///
    /// # Errors
    /// When the sizes do not fit, or the grid is above a limit.
    pub(crate) fn kernel(
        &self,
        caps: &Caps,
        inputs: &[&TensorType],
        epilogue: Expression,
        row_sums: bool,
    ) -> Result<matmul::Matmul> {
        let Sizes {
            batch,
            m,
            n,
            k,
            a_batched,
            b_batched,
        } = self.sizes(inputs)?;
        let kernel = matmul::Matmul::new(caps, self.layout, batch, m, n, k)?;
        Ok(matmul::Matmul {
            a_batched,
            b_batched,
            epilogue,
            row_sums,
            ..kernel
        })
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let sizes = self.sizes(inputs)?;
        let batched = inputs.iter().any(|t| t.shape.rank() == 3);
        Ok(TensorType::f32(
            if batched {
                vec![sizes.batch, sizes.m, sizes.n]
            } else {
                vec![sizes.m, sizes.n]
            }
            .as_slice(),
        ))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let (a, b, g) = (at.inputs[0], at.inputs[1], at.upstream);
        let (by_a, by_b) = match self.layout {
            Layout::Nn => (g.matmul_as(Layout::Nt, b), a.matmul_as(Layout::Tn, g)),
            Layout::Nt => (g.matmul_as(Layout::Nn, b), g.matmul_as(Layout::Tn, a)),
            Layout::Tn => (b.matmul_as(Layout::Nt, g), a.matmul_as(Layout::Nn, g)),
        };
        vec![Some(by_a.sum_to(a.shape())), Some(by_b.sum_to(b.shape()))]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let kernel = self.kernel(&Caps::portable(), &types, Expression::accumulator(), false)?;
        fn twin<T: Real>(kernel: &matmul::Matmul, inputs: &[&Value]) -> Data {
            T::into_data(reference::matmul::matmul(
                kernel,
                T::of(&inputs[0].data),
                T::of(&inputs[1].data),
            ))
        }
        let data = match cx.precision {
            Precision::F32 => Data::F32(fast(
                &kernel,
                f32::of(&inputs[0].data),
                f32::of(&inputs[1].data),
            )),
            Precision::F64 => twin::<f64>(&kernel, inputs),
            Precision::Tracked => twin::<Tracked>(&kernel, inputs),
        };
        Value::new(self.infer(&types)?.shape, data)
    }

    fn lower_fused(
        &self,
        caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
        fused: Fused,
    ) -> Result<Lowering> {
        let sizes = self.sizes(inputs)?;
        let results = fused.epilogue.results.len();
        if !fused.row_sums && sizes.is_matrix_vector() {
            let mut lowering = Lowering::default();
            let (kernel, first) = matrix_vector(caps, self.layout, &sizes, &fused.inputs);
            let kernel = Reduce {
                epilogue: fused.epilogue,
                ..kernel
            };
            let results = vec![Argument::Output; results];
            in_one_or_two(caps, kernel, first, fused.operands, results, &mut lowering);
            return Ok(lowering);
        }
        let parts = self
            .kernel(caps, inputs, Expression::accumulator(), fused.row_sums)?
            .wanted_parts(caps);
        if parts > 1 {
            // [k, m] and [k, n] are [parts, k / parts, m] and [parts, k / parts, n] as they lie.
            let kernel = matmul::Matmul {
                row_sums: fused.row_sums,
                ..matmul::Matmul::new(caps, self.layout, parts, sizes.m, sizes.n, sizes.k / parts)?
            };
            let counts = [sizes.m * sizes.n, sizes.m];
            return Ok(sum_of_parts(caps, parts, kernel, counts, fused));
        }
        let arguments = fused.arguments(results);
        let kernel = self.kernel(caps, inputs, fused.epilogue, fused.row_sums)?;
        Ok(Lowering::single(kernel, arguments))
    }

    fn pattern(&self, inputs: &[&TensorType]) -> Pattern {
        // A product with one row or column becomes a reduction, which has no sums on the side.
        let row_sums = self.layout == Layout::Tn
            && inputs.iter().all(|t| t.shape.rank() == 2)
            && self.sizes(inputs).is_ok_and(|s| s.m != 1 && s.n != 1);
        Pattern::Product { row_sums }
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { layout } = self;
        Some(MergeKey::of(self, layout))
    }
}

/// A product with one row or one column as a reduction of `matrix * vector`: no tile is wasted.
fn matrix_vector(
    caps: &Caps,
    layout: Layout,
    sizes: &Sizes,
    inputs: &[Argument],
) -> (Reduce, Vec<Argument>) {
    let &Sizes { m, n, k, .. } = sizes;
    let (matrix, vector, rows, k_is_last) = if m == 1 {
        (1, 0, n, layout == Layout::Nt)
    } else {
        (0, 1, m, layout != Layout::Tn)
    };
    let (domain, stretched) = if k_is_last {
        (
            [rows, k, 1],
            Indexing::broadcast(&[rows, k].into(), &[k].into()),
        )
    } else {
        (
            [1, k, rows],
            Indexing::broadcast(&[k, rows].into(), &[k, 1].into()),
        )
    };
    let prologue = Expression {
        terms: vec![
            Term::Operand(0),
            Term::Operand(1),
            Term::Call(Function::Mul, vec![0, 1]),
        ],
        operands: vec![Indexing::dense(rows * k), stretched],
        results: vec![2],
    };
    let [outer, length, inner] = domain;
    (
        Reduce {
            prologue,
            ..Reduce::new(caps, Combine::Sum, outer, length, inner)
        },
        vec![inputs[matrix], inputs[vector]],
    )
}

/// The product in f32 for the fallback device, by the `gemm` crate on all cores. `verify` never takes this way.
fn fast(kernel: &matmul::Matmul, a: &[f32], b: &[f32]) -> Vec<f32> {
    let &matmul::Matmul { m, n, k, batch, .. } = kernel;
    let mut c = vec![0.0; batch * m * n];
    if k == 0 || c.is_empty() {
        return c;
    }
    let (a_rows, a_columns) = if kernel.layout == Layout::Tn {
        (1, m)
    } else {
        (k, 1)
    };
    let (b_rows, b_columns) = if kernel.layout == Layout::Nt {
        (1, k)
    } else {
        (n, 1)
    };
    for i in 0..batch {
        let a = &a[if kernel.a_batched { i * m * k } else { 0 }..][..m * k];
        let b = &b[if kernel.b_batched { i * k * n } else { 0 }..][..k * n];
        let c = &mut c[i * m * n..][..m * n];
        let parallelism = if m * n * k > 1 << 18 {
            gemm::Parallelism::Rayon(0)
        } else {
            gemm::Parallelism::None
        };
        // SAFETY: the three slices have exactly m k, k n and m n elements, which the strides stay inside of; c overlaps neither.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                a_columns as isize,
                a_rows as isize,
                b.as_ptr(),
                b_columns as isize,
                b_rows as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
    c
}

impl<'g> Var<'g> {
    /// The product in a given layout. A batch times one matrix becomes a single larger product where the layout allows it.
    pub fn matmul_as(self, layout: Layout, other: Self) -> Self {
        let (a, b) = (self.shape(), other.shape());
        if let ([batch, m, k], 2, Layout::Nn | Layout::Nt) = (a.dims(), b.rank(), layout) {
            let n = b.dims()[if layout == Layout::Nn { 1 } else { 0 }];
            let flat = self.reshape([batch * m, *k]).matmul_as(layout, other);
            return flat.reshape([*batch, *m, n]);
        }
        self.graph().apply(Matmul { layout }, &[self, other])
    }

    /// `self other`
    pub fn matmul(self, other: Self) -> Self {
        self.matmul_as(Layout::Nn, other)
    }

    /// A linear layer, `self weight^T + bias`, with weight `[out, in]` as PyTorch has it.
    pub fn linear(self, weight: Self, bias: Self) -> Self {
        self.matmul_as(Layout::Nt, weight) + bias
    }
}
