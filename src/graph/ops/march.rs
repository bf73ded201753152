//! Rays through an occupancy grid: how many samples each has, and the samples.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::march::{self, March};
use crate::real::Real;
use crate::reference;
use crate::tensor::{Data, TensorType, Value};

/// The samples of each ray, counted.
#[derive(Clone, Debug)]
pub(crate) struct MarchCount {
    /// Grid and steps.
    pub march: March,
}

/// The samples of all rays.
#[derive(Clone, Debug)]
pub(crate) struct MarchWrite {
    /// Grid and steps.
    pub march: March,
    /// Rows for samples.
    pub samples: usize,
}

/// The number of rays `[rays, 6]`, with a jitter for each and the bits of the grid.
fn rays_of(
    march: &March,
    rays: &TensorType,
    jitter: &TensorType,
    bits: &TensorType,
) -> Option<usize> {
    let &[count, 6] = rays.shape.dims() else {
        return None;
    };
    let fits = count > 0
        && rays == &TensorType::f32([count, 6])
        && (jitter == &TensorType::f32([count]) || jitter == &TensorType::f32([count, 1]))
        && bits == &TensorType::u32([march.words()]);
    fits.then_some(count)
}

impl MarchCount {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<march::MarchCount> {
        let march = self.march;
        if let [rays, jitter, active, bits] = inputs
            && let Some(rays) = rays_of(&march, rays, jitter, bits)
            && (*active == &TensorType::f32([]) || *active == &TensorType::f32([1]))
        {
            return Ok(march::MarchCount { march, rays });
        }
        let why = format!(
            "takes f32 rays [rays, 6], f32 jitter [rays] or [rays, 1], how many rays are active as f32 [] or [1], and u32 bits [{}], got {}",
            march.words(),
            shapes(inputs)
        );
        Err(Error::shape("march_count", why))
    }
}

impl Op for MarchCount {
    fn name(&self) -> &'static str {
        "march_count"
    }

    fn is_decision(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(TensorType::u32([self.kernel(inputs)?.rays]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let bits = inputs[3].data.as_u32();
        let counts = in_precision!(cx.precision, T => {
            let [rays, jitter, active] = [0, 1, 2].map(|i| T::of(&inputs[i].data));
            reference::march::count(&kernel, rays, jitter, active[0], bits)
        });
        Value::new([kernel.rays], Data::U32(counts))
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..4).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { march } = self;
        Some(MergeKey::of(self, march))
    }
}

impl MarchWrite {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<march::MarchWrite> {
        let &Self { march, samples } = self;
        if let [rays, jitter, bits, base] = inputs
            && let Some(rays) = rays_of(&march, rays, jitter, bits)
            && *base == &TensorType::u32([rays + 2])
        {
            return Ok(march::MarchWrite {
                march,
                rays,
                samples,
            });
        }
        let why = format!(
            "takes f32 rays [rays, 6], f32 jitter [rays] or [rays, 1], u32 bits [{}] and where rays begin, u32 [rays + 2], got {}",
            march.words(),
            shapes(inputs)
        );
        Err(Error::shape("march", why))
    }
}

impl Op for MarchWrite {
    fn name(&self) -> &'static str {
        "march"
    }

    fn is_decision(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(inputs)?;
        Ok(TensorType::f32([self.samples, 4]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let [bits, base] = [2, 3].map(|i| inputs[i].data.as_u32());
        let data = in_precision!(cx.precision, T => {
            let [rays, jitter] = [0, 1].map(|i| T::of(&inputs[i].data));
            T::into_data(reference::march::write(&kernel, rays, jitter, bits, base))
        });
        Value::new([self.samples, 4], data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..4).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { march, samples } = self;
        Some(MergeKey::of(self, (march, samples)))
    }
}

impl<'g> Var<'g> {
    /// How many samples each ray has in the occupied cells of a grid, u32 `[rays]`; rays from number `active` on, one f32, have 0.
    ///
    /// Self is rays `[rays, 6]`, origin and direction (of length 1) in coordinates in which the grid is the unit cube; `jitter`, `[rays]` or
    /// `[rays, 1]` in [0, 1), moves each ray's samples along it by so much of a step; `bits`, u32 `[cells / 32]`, says which cells are occupied, as
    /// [`Var::occupancy_bits`] gives them. No gradient.
    pub fn march_count(self, jitter: Self, active: Self, bits: Self, march: &March) -> Self {
        let op = MarchCount { march: *march };
        self.graph().apply(op, &[self, jitter, active, bits])
    }

    /// The samples that [`Var::march_count`] counts, f32 `[samples, 4]`: x, y, z in the unit cube and t, the distance from the origin. Those of ray r
    /// are rows `base[r] .. base[r + 1]`, where `base` is [`Var::scan`] of the counts. Rows from the last sample on are zero. No gradient.
    pub fn march(
        self,
        jitter: Self,
        bits: Self,
        base: Self,
        samples: usize,
        march: &March,
    ) -> Self {
        let march = *march;
        let op = MarchWrite { march, samples };
        self.graph().apply(op, &[self, jitter, bits, base])
    }
}
