//! Convolutional layers, plain and transposed.

use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::graph::ops::conv2d::Conv2dOptions;

/// torch.nn.Conv2d or ConvTranspose2d over images `[batch, height, width, channels]`.
///
/// The weight lies as `[out, height, width, in / groups]` (transposed: `[in, height, width, out / groups]`); files have PyTorch's
/// `[out, in / groups, height, width]` (`[in, out / groups, height, width]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// The prefix of its parameters' names.
    pub name: String,
    /// Channels of the images.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// How the kernel moves.
    pub options: Conv2dOptions,
    /// Whether it is transposed.
    pub transposed: bool,
    /// Pixels more, after the result of a transposed one.
    pub output_padding: [usize; 2],
    /// Whether it has a bias.
    pub bias: bool,
    /// Initial weights where they are not PyTorch's.
    pub init: Option<Init>,
}

impl Conv2d {
    /// A square kernel.
    pub fn new(
        name: impl Into<String>,
        inputs: usize,
        outputs: usize,
        [kernel, stride, padding]: [usize; 3],
    ) -> Self {
        Self {
            name: name.into(),
            inputs,
            outputs,
            kernel: [kernel; 2],
            options: Conv2dOptions::new(stride, padding),
            transposed: false,
            output_padding: [0; 2],
            bias: true,
            init: None,
        }
    }

    /// A transposed one.
    pub fn transposed(
        name: impl Into<String>,
        inputs: usize,
        outputs: usize,
        sizes: [usize; 3],
    ) -> Self {
        Self {
            transposed: true,
            ..Self::new(name, inputs, outputs, sizes)
        }
    }

    fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// The weight's sizes on the device.
    pub fn weight_shape(&self) -> [usize; 4] {
        let (rows, columns) = if self.transposed {
            (self.inputs, self.outputs)
        } else {
            (self.outputs, self.inputs)
        };
        let [height, width] = self.kernel;
        [rows, height, width, columns / self.options.groups.max(1)]
    }

    /// Its parameters, initially uniform on +-1 / sqrt(fan in): PyTorch's kaiming_uniform with a = sqrt(5), whose fan in is the weight's
    /// second axis of files times the kernel.
    pub fn parameters(&self) -> Vec<Parameter> {
        let [_, height, width, columns] = self.weight_shape();
        let uniform = Init::Uniform(1.0 / ((columns * height * width) as f32).sqrt());
        let weight = Parameter::new(
            self.weight_name(),
            self.weight_shape(),
            self.init.unwrap_or(uniform),
        );
        let mut parameters = vec![weight.with_border(&[0, 3, 1, 2])];
        if self.bias {
            let bias = Parameter::new(format!("{}.bias", self.name), [self.outputs], uniform);
            parameters.push(bias);
        }
        parameters
    }

    /// The layer applied to `x` `[batch, height, width, inputs]`.
    pub fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let weight = x
            .graph()
            .parameter(&self.weight_name(), self.weight_shape());
        self.forward_with(x, weight)
    }

    /// The layer with another weight of the same sizes.
    pub fn forward_with<'g>(&self, x: Var<'g>, weight: Var<'g>) -> Var<'g> {
        let y = if self.transposed {
            x.conv_transpose2d(weight, &self.options, self.output_padding)
        } else {
            x.conv2d(weight, &self.options)
        };
        if !self.bias {
            return y;
        }
        y + x
            .graph()
            .parameter(&format!("{}.bias", self.name), [self.outputs])
    }
}
