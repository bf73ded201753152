//! Where the tensors of a store lie, and how a file of weights comes there.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::layout::{ALIGNMENT, Init, Layout, Parameter, Place, Role};
use crate::tensor::Shape;

/// The layout of a store's flat buffers. Parameters, gradients, moments and the moving average each have a buffer a segment, with the same
/// tensors at the same places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The segments.
    pub segments: Vec<Segment>,
    /// The tensors, in the order of the model.
    pub tensors: Vec<Tensor>,
}

/// One buffer of each flat buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Floats.
    pub count: usize,
    /// What becomes of its tensors in a step.
    pub role: Role,
}

/// A tensor of f32. To bring it there from a file: element i of the file, in row-major order over `file_shape`, is element i of a tensor
/// whose axis a has the size of the device's axis `border[a]`; on the device the axes are in order again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Its name in files of weights.
    pub name: String,
    /// Its sizes on the device.
    pub shape: Shape,
    /// Its sizes in files.
    pub file_shape: Shape,
    /// Axis `border[a]` of the device's tensor is axis a of the file's; empty where they are in the same order.
    pub border: Vec<usize>,
    /// The segment that it lies in.
    pub segment: usize,
    /// Floats from the segment's beginning.
    pub offset: usize,
    /// Its number of floats.
    pub count: usize,
    /// What it is before training.
    pub initial: Initial,
    /// What becomes of it in a step.
    pub role: Role,
}

/// How initial values are drawn, in the file's order. Numbers are the bits of an f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Initial {
    /// The same number everywhere.
    Constant {
        /// That number.
        value: u32,
    },
    /// Uniform on [-bound, bound].
    Uniform {
        /// The bound.
        bound: u32,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: u32,
        /// The standard deviation.
        deviation: u32,
    },
}

impl Stored {
    /// A layout as plain data.
    pub fn of(layout: &Layout) -> Self {
        let segments = layout.segments.iter().zip(&layout.roles);
        let tensors = layout.parameters.iter().zip(&layout.places);
        Self {
            segments: segments
                .map(|(&count, &role)| Segment { count, role })
                .collect(),
            tensors: tensors
                .map(|(parameter, place)| Tensor {
                    name: parameter.name.clone(),
                    shape: parameter.shape.clone(),
                    file_shape: parameter.file_shape(),
                    border: parameter.border.clone(),
                    segment: place.segment,
                    offset: place.offset,
                    count: place.count,
                    initial: match parameter.init {
                        Init::Constant(value) => Initial::Constant {
                            value: value.to_bits(),
                        },
                        Init::Uniform(bound) => Initial::Uniform {
                            bound: bound.to_bits(),
                        },
                        Init::Normal(mean, deviation) => Initial::Normal {
                            mean: mean.to_bits(),
                            deviation: deviation.to_bits(),
                        },
                    },
                    role: parameter.role,
                })
                .collect(),
        }
    }

    /// The layout that it describes: for a store that nobody else has made.
    ///
    /// # Errors
    /// When a tensor does not lie in its segment or has not the number of elements of its shape, or two have one name.
    pub fn layout(&self) -> Result<Layout> {
        for (i, tensor) in self.tensors.iter().enumerate() {
            self.check(tensor)?;
            if self.tensors[..i].iter().any(|t| t.name == tensor.name) {
                return Err(Error::Usage(format!(
                    "a baked program has two tensors '{}'",
                    tensor.name
                )));
            }
        }
        Ok(Layout {
            parameters: self.tensors.iter().map(Tensor::parameter).collect(),
            places: self.tensors.iter().map(Tensor::place).collect(),
            segments: self.segments.iter().map(|s| s.count).collect(),
            roles: self.segments.iter().map(|s| s.role).collect(),
        })
    }

    fn check(&self, tensor: &Tensor) -> Result<()> {
        let refuse = |why: String| Err(Error::shape(format!("tensor '{}'", tensor.name), why));
        tensor.shape.check(&tensor.name)?;
        let (count, file) = (tensor.shape.count(), tensor.file_shape.count());
        if count != tensor.count || file != count || count == 0 {
            return refuse(format!(
                "has {} elements, {:?} on the device and {:?} in files",
                tensor.count, tensor.shape, tensor.file_shape
            ));
        }
        let mut axes = tensor.border.clone();
        axes.sort_unstable();
        if !axes.is_empty() && axes != (0..tensor.shape.rank()).collect::<Vec<_>>() {
            return refuse(format!("{:?} is no order of its axes", tensor.border));
        }
        let end = tensor.offset.checked_add(count);
        let segment = self.segments.get(tensor.segment);
        if !tensor.offset.is_multiple_of(ALIGNMENT)
            || segment.is_none_or(|s| end.is_none_or(|end| end > s.count))
        {
            return refuse(format!(
                "lies at {} of segment {}, which {}",
                tensor.offset,
                tensor.segment,
                segment.map_or("is not there".to_owned(), |s| format!("has {}", s.count))
            ));
        }
        Ok(())
    }
}

impl Tensor {
    fn place(&self) -> Place {
        Place {
            segment: self.segment,
            offset: self.offset,
            count: self.count,
        }
    }

    fn parameter(&self) -> Parameter {
        let init = match self.initial {
            Initial::Constant { value } => Init::Constant(f32::from_bits(value)),
            Initial::Uniform { bound } => Init::Uniform(f32::from_bits(bound)),
            Initial::Normal { mean, deviation } => {
                Init::Normal(f32::from_bits(mean), f32::from_bits(deviation))
            }
        };
        let plain = Parameter::new(self.name.clone(), self.shape.clone(), init)
            .with_border(&self.border)
            .with_role(self.role);
        let flattened = plain.file_shape() != self.file_shape;
        Parameter {
            file_shape: flattened.then(|| self.file_shape.clone()),
            ..plain
        }
    }
}
