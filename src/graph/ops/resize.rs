//! Images of another size, and pixels shuffled out of channels.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::resize::{self, Interpolation};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Data, TensorType, Value};

/// Resizing of images of a size to another, or its transpose.
#[derive(Clone, Debug)]
pub struct Resize {
    /// `[batch, height, width, channels]` before.
    pub image: [usize; 4],
    /// Height and width after.
    pub to: [usize; 2],
    /// How.
    pub interpolation: Interpolation,
    /// Whether it is the transpose.
    pub transposed: bool,
}

impl Resize {
    fn kernel(&self) -> resize::Resize {
        let [batch, height, width, channels] = self.image;
        resize::Resize {
            batch,
            from: [height, width],
            to: self.to,
            channels,
            interpolation: self.interpolation,
            transposed: self.transposed,
        }
    }
}

impl Op for Resize {
    fn name(&self) -> &'static str {
        self.interpolation.name()
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let (operand, result) = self.kernel().shapes();
        let fits = matches!(inputs, [x] if x.dtype == DType::F32 && x.shape == operand.into());
        if !fits || operand.contains(&0) || result.contains(&0) {
            return Err(Error::shape(
                "resize",
                format!(
                    "takes f32 images, none empty, to at least 1x1; got {} for {operand:?} to {result:?}",
                    shapes(inputs)
                ),
            ));
        }
        Ok(TensorType::f32(result))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let back = Self {
            transposed: !self.transposed,
            ..self.clone()
        };
        vec![Some(at.upstream.graph().apply(back, &[at.upstream]))]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let output = self.infer(&[&inputs[0].tensor_type()])?;
        fn twin<T: Real>(kernel: &resize::Resize, x: &Value) -> Data {
            T::into_data(reference::resize::resize(kernel, T::of(&x.data)))
        }
        let kernel = self.kernel();
        let data = in_precision!(cx.precision, T => twin::<T>(&kernel, inputs[0]));
        Value::new(output.shape, data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        _inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::single(
            self.kernel(),
            vec![Argument::Input(0), Argument::Output],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self {
            image,
            to,
            interpolation,
            transposed,
        } = self;
        Some(MergeKey::of(self, (image, to, interpolation, transposed)))
    }
}

impl<'g> Var<'g> {
    /// Images `[batch, height, width, channels]` at another height and width.
    pub fn resize(self, to: [usize; 2], interpolation: Interpolation) -> Self {
        let &[batch, height, width, channels] = self.shape().dims() else {
            self.graph().fail(Error::shape(
                "resize",
                format!(
                    "takes images [batch, height, width, channels], got {:?}",
                    self.shape()
                ),
            ));
            return self;
        };
        let op = Resize {
            image: [batch, height, width, channels],
            to,
            interpolation,
            transposed: false,
        };
        self.graph().apply(op, &[self])
    }

    /// Images with `factor` squared times fewer channels and `factor` times the height and width (Shi et al. 2016, eq. 4): channel
    /// c factor^2 + i factor + j of a pixel becomes channel c of the pixel i down and j across, as torch.nn.PixelShuffle has it.
    pub fn pixel_shuffle(self, factor: usize) -> Self {
        let &[batch, height, width, channels] = self.shape().dims() else {
            self.graph().fail(Error::shape(
                "pixel_shuffle",
                format!(
                    "takes images [batch, height, width, channels], got {:?}",
                    self.shape()
                ),
            ));
            return self;
        };
        let square = factor * factor;
        if square == 0 || !channels.is_multiple_of(square) {
            self.graph().fail(Error::shape(
                "pixel_shuffle",
                format!(
                    "{channels} channels are no multiple of {factor}^2, which must be at least 1"
                ),
            ));
            return self;
        }
        self.reshape([batch, height, width, channels / square, factor, factor])
            .permute(&[0, 1, 4, 2, 5, 3])
            .reshape([batch, height * factor, width * factor, channels / square])
    }
}
