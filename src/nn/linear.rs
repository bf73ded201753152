//! The linear layer.

use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};

/// `y = x weight^T + bias`, weight `[outputs, inputs]`, as torch.nn.Linear has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The prefix of its parameters' names.
    pub name: String,
    /// Columns of x.
    pub inputs: usize,
    /// Columns of y.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// Height, width and channels of the images that x are, laid out flat: files have the channels first.
    pub from_image: Option<[usize; 3]>,
    /// Likewise of the images that y are to be.
    pub to_image: Option<[usize; 3]>,
    /// Initial weights where they are not torch.nn.Linear's.
    pub init: Option<Init>,
}

impl Linear {
    /// A layer; its parameters are `name.weight` and `name.bias`.
    pub fn new(name: impl Into<String>, inputs: usize, outputs: usize) -> Self {
        Self {
            name: name.into(),
            inputs,
            outputs,
            bias: true,
            from_image: None,
            to_image: None,
            init: None,
        }
    }

    fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    fn bias_name(&self) -> String {
        format!("{}.bias", self.name)
    }

    /// The weight's sizes on the device: an image's axes apart, where it has any.
    fn weight_shape(&self) -> Vec<usize> {
        let mut shape = match self.to_image {
            Some(image) => image.to_vec(),
            None => vec![self.outputs],
        };
        match self.from_image {
            Some(image) => shape.extend(image),
            None => shape.push(self.inputs),
        }
        shape
    }

    /// Its parameters, initially uniform on +-1 / sqrt(inputs): torch.nn.Linear's kaiming_uniform with a = sqrt(5).
    pub fn parameters(&self) -> Vec<Parameter> {
        let uniform = Init::Uniform(1.0 / (self.inputs as f32).sqrt());
        let init = self.init.unwrap_or(uniform);
        // In files the channels come before height and width.
        let mut border: Vec<usize> = Vec::new();
        for image in [self.to_image, self.from_image] {
            let first = border.len();
            match image {
                Some(_) => border.extend([first + 2, first, first + 1]),
                None => border.push(first),
            }
        }
        let mut weight = Parameter::new(self.weight_name(), self.weight_shape().as_slice(), init);
        if border.len() > 2 {
            weight.border = border;
            weight.file_shape = Some([self.outputs, self.inputs].into());
        }
        let mut parameters = vec![weight];
        if self.bias {
            let shape: Vec<usize> = self.to_image.map_or(vec![self.outputs], |i| i.to_vec());
            let mut bias = Parameter::new(self.bias_name(), shape.as_slice(), init);
            if self.to_image.is_some() {
                bias.border = vec![2, 0, 1];
                bias.file_shape = Some([self.outputs].into());
            }
            parameters.push(bias);
        }
        parameters
    }

    /// The layer applied to `x` `[batch, inputs]`.
    pub fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let weight = x
            .graph()
            .parameter(&self.weight_name(), self.weight_shape().as_slice());
        self.forward_with(x, weight)
    }

    /// The layer with another weight of the same number of elements.
    pub fn forward_with<'g>(&self, x: Var<'g>, weight: Var<'g>) -> Var<'g> {
        let graph = x.graph();
        let weight = weight.reshape([self.outputs, self.inputs]);
        if !self.bias {
            return x.matmul_as(crate::kernels::matmul::Layout::Nt, weight);
        }
        let shape: Vec<usize> = self.to_image.map_or(vec![self.outputs], |i| i.to_vec());
        let bias = graph.parameter(&self.bias_name(), shape.as_slice());
        x.linear(weight, bias.reshape([self.outputs]))
    }
}
