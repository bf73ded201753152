//! Volume rendering: colour, opacity and depth of rays from the samples along them.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::decompose::through;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::composite::{self, COLUMNS, Samples, Wanted};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

/// How the samples of rays lie in a tensor `[samples]`.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'g> {
    /// The same number for every ray, a ray's behind those of the one before.
    Dense {
        /// Samples of a ray.
        samples: usize,
        /// What nerf-pytorch adds to the light that a sample lets through: 1e-10 for weights in its arithmetic, 0 for those of the formula.
        epsilon: f32,
    },
    /// As many as `base[ray]` to `base[ray + 1]` says, u32 `[rays + 2]`, the last word being unused: what `scan` gives. Samples from
    /// `base[rays]` on belong to no ray: they count for nothing, and their gradients and weights are 0.
    Packed(Var<'g>),
}

/// Samples of a ray and what is added to the light that one lets through; `None` where they lie packed.
type Dense = Option<(usize, f32)>;

/// One of the kernels, on its operands in order.
#[derive(Clone, Debug)]
struct Composite {
    dense: Dense,
    wanted: Wanted,
}

impl Composite {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<composite::Composite> {
        let kernel = self.sizes(inputs).map(|(rays, samples)| {
            let wanted = self.wanted;
            composite::Composite {
                rays,
                samples,
                wanted,
            }
        });
        let wanted = kernel.as_ref().map(|k| self.operands(k));
        match (kernel, wanted) {
            (Some(kernel), Some(wanted)) if inputs.iter().copied().eq(wanted.iter()) => Ok(kernel),
            (_, wanted) => {
                let samples = match self.dense {
                    Some((each, _)) => format!("{each} samples a ray"),
                    None => "u32 base [rays + 2]".to_owned(),
                };
                let takes = match wanted {
                    Some(wanted) => shapes(&wanted.iter().collect::<Vec<_>>()),
                    None => "tau [samples] of whole rays, at least one,".to_owned(),
                };
                let why = format!("takes {takes} with {samples}, got {}", shapes(inputs));
                Err(Error::shape(self.name(), why))
            }
        }
    }

    /// Rays, and how their samples lie.
    fn sizes(&self, inputs: &[&TensorType]) -> Option<(usize, Samples)> {
        let &[count] = inputs.first()?.shape.dims() else {
            return None;
        };
        let (rays, samples) = match self.dense {
            Some((each, epsilon)) => (
                count
                    .checked_div(each)
                    .filter(|rays| rays * each == count)?,
                Samples::Dense { each, epsilon },
            ),
            None => (
                inputs.last()?.shape.count().checked_sub(2)?,
                Samples::Packed { capacity: count },
            ),
        };
        (rays > 0 && count > 0).then_some((rays, samples))
    }

    /// What the operands must be.
    fn operands(&self, kernel: &composite::Composite) -> Vec<TensorType> {
        let (count, rays) = (kernel.count(), kernel.rays);
        let (of_samples, of_rays) = (TensorType::f32([count]), TensorType::f32([rays, COLUMNS]));
        let colour = TensorType::f32([count, 3]);
        let mut types = vec![of_samples.clone()];
        match self.wanted {
            Wanted::Value => types.extend([colour, of_samples]),
            Wanted::Weights => {}
            Wanted::GradientByTau => {
                types.extend([colour, of_samples, of_rays.clone(), of_rays]);
            }
            Wanted::GradientByColour | Wanted::GradientByT => types.push(of_rays),
        }
        if self.dense.is_none() {
            types.push(TensorType::u32([rays + 2]));
        }
        types
    }

    /// The same kind of samples, something else of them.
    fn other(&self, wanted: Wanted) -> Self {
        let dense = self.dense;
        Self { dense, wanted }
    }

    /// The value from primitives.
    fn decomposed<'g>(&self, operands: &[Var<'g>]) -> Var<'g> {
        let base = operands.last().copied().filter(|_| self.dense.is_none());
        let rays = Rays::new(operands[0], self.dense, base);
        let weights = |tau: Var<'g>| rays.weights(tau);
        match (self.wanted, operands) {
            (Wanted::GradientByTau, &[tau, colour, t, _, upstream, ..]) => {
                let graph = tau.graph();
                let column = |x: Var<'g>| x.reshape([rays.count, 1]);
                let one = graph.constant(1.0).broadcast_to([rays.count, 1]);
                let summed = graph.concat(1, &[colour, one, column(t)]);
                let value = rays.sum(column(weights(tau)) * summed);
                graph.gradients((value * upstream).sum_all(), &[tau])[0]
            }
            (Wanted::GradientByColour, &[tau, upstream, ..]) => {
                let factors = rays.spread(upstream.slice(1, 0, 3));
                weights(tau).reshape([rays.count, 1]) * factors
            }
            (Wanted::GradientByT, &[tau, upstream, ..]) => {
                let factors = rays.spread(upstream.slice(1, 4, COLUMNS));
                weights(tau) * factors.reshape([rays.count])
            }
            _ => operands[0],
        }
    }
}

/// Sums over the samples of each ray, from primitives: by doubling, each sample taking in what stands 1, 2, 4, .. before it.
struct Rays<'g> {
    /// Samples of all rays.
    count: usize,
    /// Rows that are summed along: the rays where they are dense, else one that has them all.
    rows: usize,
    packed: Option<Packed<'g>>,
    epsilon: f32,
}

/// Where rays begin and end.
struct Packed<'g> {
    /// The ray of each sample `[1, samples, 1]` f32; the number of rays for samples that belong to none.
    ray: Var<'g>,
    /// The first sample of each ray.
    first: Var<'g>,
    /// The last one, where there is one.
    last: Var<'g>,
    /// 1 for rays that have samples `[rays, 1]`.
    some: Var<'g>,
}

impl<'g> Rays<'g> {
    fn new(tau: Var<'g>, dense: Dense, base: Option<Var<'g>>) -> Self {
        let count = tau.shape().count();
        let whole = |packed| Self {
            count,
            rows: 1,
            packed,
            epsilon: 0.0,
        };
        match (dense, base) {
            (Some((each, epsilon)), _) => Self {
                rows: count / each,
                epsilon,
                ..whole(None)
            },
            (None, None) => whole(None),
            (None, Some(base)) => {
                let graph = tau.graph();
                let rays = base.shape().count() - 2;
                let ends = base.cast(DType::F32);
                let first = ends.slice(0, 0, rays);
                let behind = ends.slice(0, 1, rays + 1);
                // How many rays begin up to a sample, the end of all being one more beginning, tells whose it is.
                let one = graph.constant(1.0).broadcast_to([rays + 1, 1]);
                let begun = one.scatter_add(base.slice(0, 0, rays + 1), count);
                let ray = whole(None).scan(begun, false).reshape([1, count, 1]) - 1.0;
                whole(Some(Packed {
                    ray,
                    first: base.slice(0, 0, rays),
                    last: (behind - 1.0).max(graph.constant(0.0)).cast(DType::U32),
                    some: behind.greater(first).reshape([rays, 1]),
                }))
            }
        }
    }

    /// What stands `by` samples before each, `fill` where that is not of the same ray. `x` is `[rows, each, columns]`.
    fn before(&self, x: Var<'g>, by: usize, fill: f32) -> Var<'g> {
        let each = self.count / self.rows;
        let moved =
            |x: Var<'g>, fill: f32| x.slice(1, 0, each - by).pad(&[0, by, 0], &[0; 3], fill);
        match &self.packed {
            None => moved(x, fill),
            Some(packed) => moved(x, fill) * packed.ray.equal(moved(packed.ray, -1.0)),
        }
    }

    /// Sums, or products of dense rows, of each ray's samples up to each, that one included. `x` is `[samples, columns]`.
    fn scan(&self, x: Var<'g>, product: bool) -> Var<'g> {
        let (each, columns) = (self.count / self.rows, x.shape().count() / self.count);
        let mut sums = x.reshape([self.rows, each, columns]);
        let mut by = 1;
        while by < each {
            sums = if product {
                sums * self.before(sums, by, 1.0)
            } else {
                sums + self.before(sums, by, 0.0)
            };
            by *= 2;
        }
        sums.reshape([self.count, columns])
    }

    /// The weight of each sample.
    fn weights(&self, tau: Var<'g>) -> Var<'g> {
        let each = self.count / self.rows;
        let cube = |x: Var<'g>| x.reshape([self.rows, each, 1]);
        let left = if self.epsilon == 0.0 {
            let sums = cube(self.scan(tau, false));
            (-self.before(sums, 1, 0.0)).exp()
        } else {
            let through = (-tau).exp() + f64::from(self.epsilon);
            self.before(cube(self.scan(through, true)), 1, 1.0)
        };
        -(-tau).exp_minus_one() * left.reshape([self.count])
    }

    /// Sums over each ray of `x` `[samples, columns]`.
    fn sum(&self, x: Var<'g>) -> Var<'g> {
        match &self.packed {
            None => {
                let columns = x.shape().count() / self.count;
                x.reshape([self.rows, self.count / self.rows, columns])
                    .sum(&[1])
                    .reshape([self.rows, columns])
            }
            Some(packed) => self.scan(x, false).gather(packed.last) * packed.some,
        }
    }

    /// What a ray has, `[rays, columns]`, for each of its samples.
    fn spread(&self, x: Var<'g>) -> Var<'g> {
        let columns = x.shape().dims().last().copied().unwrap_or(1);
        match &self.packed {
            None => {
                let each = self.count / self.rows;
                x.reshape([self.rows, 1, columns])
                    .broadcast_to([self.rows, each, columns])
                    .reshape([self.count, columns])
            }
            // It stands at the first sample, and is summed from there on.
            Some(packed) => {
                let at_first = (x * packed.some).scatter_add(packed.first, self.count);
                self.scan(at_first, false)
            }
        }
    }
}

impl Op for Composite {
    fn name(&self) -> &'static str {
        match self.wanted {
            Wanted::Value => "composite",
            Wanted::Weights => "composite_weights",
            Wanted::GradientByTau => "composite_by_tau",
            Wanted::GradientByColour => "composite_by_colour",
            Wanted::GradientByT => "composite_by_t",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(inputs)?;
        Ok(match self.wanted {
            Wanted::Value => TensorType::f32([kernel.rays, COLUMNS]),
            Wanted::GradientByColour => TensorType::f32([kernel.count(), 3]),
            _ => TensorType::f32([kernel.count()]),
        })
    }

    /// Of the value one kernel an operand: one pass each that reads what it needs, and a gradient that nobody asks for is not computed.
    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        if self.wanted == Wanted::Weights {
            return vec![None; at.inputs.len()];
        }
        if self.wanted != Wanted::Value {
            return through(at, |operands| self.decomposed(operands));
        }
        let graph = at.upstream.graph();
        let (given, base) = at.inputs.split_at(3);
        let gradient = |wanted: Wanted, operands: &[Var<'g>]| {
            let operands = [operands, base].concat();
            Some(graph.apply(self.other(wanted), &operands))
        };
        let &[tau, colour, t] = given else {
            return vec![None; at.inputs.len()];
        };
        let mut gradients = vec![
            gradient(
                Wanted::GradientByTau,
                &[tau, colour, t, at.output, at.upstream],
            ),
            gradient(Wanted::GradientByColour, &[tau, at.upstream]),
            gradient(Wanted::GradientByT, &[tau, at.upstream]),
        ];
        gradients.resize_with(at.inputs.len(), || None);
        gradients
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        fn twin<T: Real>(kernel: &composite::Composite, inputs: &[&Value]) -> Data {
            let (reals, base) = match inputs.split_last() {
                Some((base, reals)) if kernel.packed() => (reals, base.data.as_u32()),
                _ => (inputs, &[][..]),
            };
            let operands: Vec<&[T]> = reals.iter().map(|v| T::of(&v.data)).collect();
            T::into_data(reference::composite::composite(kernel, &operands, base))
        }
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let kernel = self.kernel(&types)?;
        let data = in_precision!(cx.precision, T => twin::<T>(&kernel, inputs));
        Value::new(self.infer(&types)?.shape, data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let dense = self.dense.map(|(each, epsilon)| (each, epsilon.to_bits()));
        Some(MergeKey::of(self, (dense, self.wanted)))
    }
}

impl<'g> Var<'g> {
    /// Red, green, blue, opacity and depth `[rays, 5]` of rays on whose samples self is the optical thickness, `tau` `[samples]`: density
    /// times the length that a sample stands for, not negative.
    ///
    /// `colour` is `[samples, 3]`, `t` `[samples]` the distance of each in the unit that the depth is wanted in. Weights are
    /// `w_k = T_k (1 - exp(-tau_k))`, `T_k` the light that comes as far as sample k, and the value is the sums of `w_k colour_k`, `w_k` and
    /// `w_k t_k`: what of the background is seen is 1 - opacity, and the expected distance depth / opacity. Differentiable by all three
    /// (Mildenhall et al. 2020, eq. 3).
    ///
    /// A gradient of second order is computed from primitives in about log2 of as many passes as there are samples.
    ///
    /// ```
    /// use wgen::graph::op::EvalContext;
    /// use wgen::graph::{Graph, Rows};
    /// use wgen::kernels::philox::{Domain, RandomState};
    /// use wgen::real::Precision;
    /// use wgen::tensor::{TensorType, Value};
    ///
    /// // Two rays: the first has two samples, a haze that holds half of the light back and a wall, the second none.
    /// let graph = Graph::new(Domain::Sampling);
    /// let tau = graph.input("tau", TensorType::f32([3]));
    /// let colour = graph.input("colour", TensorType::f32([3, 3]));
    /// let t = graph.input("t", TensorType::f32([3]));
    /// let base = graph.input("base", TensorType::u32([4]));
    /// let out = tau.composite(colour, t, Rows::Packed(base));
    /// graph.check()?;
    /// let values = [
    ///     ("tau", Value::f32([3], vec![std::f32::consts::LN_2, 50.0, 7.0])?),
    ///     ("colour", Value::f32([3, 3], vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 9.0, 9.0, 9.0])?),
    ///     ("t", Value::f32([3], vec![2.0, 4.0, 6.0])?),
    ///     ("base", Value::new([4], wgen::tensor::Data::U32(vec![0, 2, 2, 2]))?),
    /// ];
    /// let context = EvalContext { precision: Precision::F32, state: RandomState::default() };
    /// let rays = graph.interpret(&[out.id()], &values, &context)?[0].data.to_f32();
    /// let expected = [0.5, 0.5, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    /// assert!(rays.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    /// # Ok::<(), wgen::Error>(())
    /// ```
    pub fn composite(self, colour: Self, t: Self, rows: Rows<'g>) -> Self {
        self.along(Wanted::Value, &[self, colour, t], rows)
    }

    /// The weight `[samples]` of each sample in [`Var::composite`], self being the optical thickness `[samples]`. No gradient: it is what
    /// further samples are placed by.
    pub fn composite_weights(self, rows: Rows<'g>) -> Self {
        self.along(Wanted::Weights, &[self], rows)
    }

    fn along(self, wanted: Wanted, operands: &[Self], rows: Rows<'g>) -> Self {
        let mut operands = operands.to_vec();
        let dense = match rows {
            Rows::Dense { samples, epsilon } => Some((samples, epsilon)),
            Rows::Packed(base) => {
                operands.push(base);
                None
            }
        };
        self.graph().apply(Composite { dense, wanted }, &operands)
    }
}
