//! Where parameters lie on the device: one flat buffer, tensors at 256-byte offsets, zeros between, split at the binding limit.
//!
//! A file may have a tensor's axes in another order than the device: that is its border permutation.
//!
//! ```
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::kernels::Caps;
//!
//! // PyTorch has a convolution's weights as [out, in, height, width], the device with the input's channels last.
//! let weight = Parameter::new("weight", [10, 3, 3, 1], Init::Normal(0.0, 0.02)).with_border(&[0, 3, 1, 2]);
//! assert_eq!(weight.file_shape().dims(), [10, 1, 3, 3]);
//! let bias = Parameter::new("bias", [10], Init::Constant(0.0));
//!
//! let layout = Layout::new(vec![weight, bias], Caps::portable().binding_bytes)?;
//! assert_eq!(layout.count(), 100); // values that are trained
//! assert_eq!(layout.find("bias"), Some(1));
//! assert_eq!(layout.places[1].offset, 128); // 90 floats before it, and zeros
//! assert_eq!(layout.segments, [192]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::tensor::Shape;

/// Floats between the starts of tensors: 256 bytes.
pub(crate) const ALIGNMENT: usize = 64;

/// How the names of PyTorch's counters end (`num_batches_tracked` of batch normalisation): they are I64 in files, f32 on the device,
/// which counts to 16 million.
pub(crate) const COUNTER: &str = "num_batches_tracked";

/// How a parameter's initial values are drawn, in border order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant(f32),
    /// Uniform on [-bound, bound].
    Uniform(f32),
    /// Normal with mean and standard deviation.
    Normal(f32, f32),
}

/// What becomes of a tensor in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is trained, by steps that update this set: the two networks of a GAN are two sets.
    Trained(u8),
    /// State of this set: a step replaces it by what its graph gives for it, for instance running statistics. It has no gradient; the
    /// value to come lies where its gradient would.
    State(u8),
}

impl Role {
    /// The set whose steps change the tensor.
    pub fn set(self) -> u8 {
        match self {
            Self::Trained(set) | Self::State(set) => set,
        }
    }
}

/// A tensor of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, as the reference PyTorch implementation calls it.
    pub name: String,
    /// Its sizes on the device.
    pub shape: Shape,
    /// The border permutation: axis `border[i]` of the device's tensor is axis i of the file's. Empty for the same order.
    pub border: Vec<usize>,
    /// Its sizes in files where they are not the permuted ones of the device: axes that a file has flattened.
    pub file_shape: Option<Shape>,
    /// Its initial values.
    pub init: Init,
    /// What becomes of it in a step.
    pub role: Role,
}

impl Parameter {
    /// A parameter that lies on the device as it does in files.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            border: Vec::new(),
            file_shape: None,
            init,
            role: Role::Trained(0),
        }
    }

    /// The same tensor with another border permutation.
    #[must_use]
    pub fn with_border(self, border: &[usize]) -> Self {
        Self {
            border: border.to_vec(),
            ..self
        }
    }

    /// The same tensor with another role.
    #[must_use]
    pub(crate) fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same tensor in set `set`.
    #[must_use]
    pub(crate) fn in_set(self, set: u8) -> Self {
        let role = match self.role {
            Role::Trained(_) => Role::Trained(set),
            Role::State(_) => Role::State(set),
        };
        self.with_role(role)
    }

    /// Its sizes in files.
    pub fn file_shape(&self) -> Shape {
        self.file_shape
            .clone()
            .unwrap_or_else(|| self.border_shape())
    }

    /// Its sizes after the border permutation.
    fn border_shape(&self) -> Shape {
        if self.border.is_empty() {
            return self.shape.clone();
        }
        Shape::new(
            self.border
                .iter()
                .map(|&axis| self.shape.dims()[axis])
                .collect::<Vec<_>>(),
        )
    }

    /// Values in the order of files, from the device's.
    pub fn to_border(&self, device: &[f32]) -> Vec<f32> {
        self.permute(device, false)
    }

    /// Values in the order of the device, from a file's.
    pub fn from_border(&self, file: &[f32]) -> Vec<f32> {
        self.permute(file, true)
    }

    fn permute(&self, values: &[f32], inverse: bool) -> Vec<f32> {
        if self.border.is_empty() {
            return values.to_vec();
        }
        let (border_shape, strides) = (self.border_shape(), self.shape.strides());
        let mut out = vec![0.0; values.len()];
        for at in 0..values.len() {
            let (mut rest, mut place) = (at, 0);
            for (axis, &size) in border_shape.dims().iter().enumerate().rev() {
                place += rest % size * strides[self.border[axis]];
                rest /= size;
            }
            if inverse {
                out[place] = values[at];
            } else {
                out[at] = values[place];
            }
        }
        out
    }
}

/// Where one parameter lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which segment.
    pub segment: usize,
    /// Floats from its start.
    pub offset: usize,
    /// Its number of floats.
    pub count: usize,
}

/// The flat layout of a set of parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The parameters, in order.
    pub parameters: Vec<Parameter>,
    /// Where each lies.
    pub places: Vec<Place>,
    /// Floats of each segment, multiples of 64.
    pub segments: Vec<usize>,
    /// What becomes of the tensors of each segment: those of one segment share it.
    pub roles: Vec<Role>,
}

impl Layout {
    /// Lays parameters out in segments of at most `binding_bytes`.
    ///
    /// # Errors
    /// When one parameter alone is larger, is empty, or a name comes twice.
    pub fn new(parameters: Vec<Parameter>, binding_bytes: u64) -> Result<Self> {
        let limit = (binding_bytes / 4) as usize / ALIGNMENT * ALIGNMENT;
        let (mut segments, mut roles): (Vec<usize>, Vec<Role>) = (Vec::new(), Vec::new());
        let mut places = Vec::new();
        let mut names = HashSet::new();
        for parameter in &parameters {
            parameter.shape.check(&parameter.name)?;
            if !names.insert(parameter.name.as_str()) {
                return Err(Error::Usage(format!(
                    "parameter '{}' is declared twice",
                    parameter.name
                )));
            }
            let count = parameter.shape.count();
            let room = count.next_multiple_of(ALIGNMENT);
            if count == 0 {
                return Err(Error::shape(
                    &parameter.name,
                    format!("{:?} has no elements", parameter.shape),
                ));
            }
            if room > limit {
                return Err(Error::Limit {
                    what: format!("parameter '{}' {:?}", parameter.name, parameter.shape),
                    needed: 4 * count as u64,
                    limit_name: "max_storage_buffer_binding_size",
                    limit: binding_bytes,
                    hint: "lower the model's sizes".to_owned(),
                });
            }
            // The newest segment of this role is the only one with room.
            let open = roles.iter().rposition(|r| *r == parameter.role);
            let segment = open
                .filter(|&s| segments[s] + room <= limit)
                .unwrap_or_else(|| {
                    segments.push(0);
                    roles.push(parameter.role);
                    segments.len() - 1
                });
            places.push(Place {
                segment,
                offset: segments[segment],
                count,
            });
            segments[segment] += room;
        }
        Ok(Self {
            parameters,
            places,
            segments,
            roles,
        })
    }

    /// Segments of this role.
    pub(crate) fn segments_of(&self, role: Role) -> impl Iterator<Item = usize> {
        let of_role = move |(i, r): (usize, &Role)| (*r == role).then_some(i);
        self.roles.iter().enumerate().filter_map(of_role)
    }

    /// The position of the parameter called `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.parameters.iter().position(|p| p.name == name)
    }

    /// The position of every parameter by its name.
    pub(crate) fn positions(&self) -> HashMap<&str, usize> {
        let names = self.parameters.iter().map(|p| p.name.as_str());
        names.zip(0..).collect()
    }

    /// The number of trained values.
    pub fn count(&self) -> usize {
        let trained = |p: &&Place| matches!(self.roles[p.segment], Role::Trained(_));
        self.places.iter().filter(trained).map(|p| p.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_split_at_the_binding_limit() {
        let p = |name: &str, n: usize| Parameter::new(name, [n], Init::Constant(0.0));
        let layout = Layout::new(vec![p("a", 100), p("b", 65), p("c", 200)], 4 * 300).unwrap();
        assert_eq!(layout.segments, [256, 256]);
        assert_eq!(
            layout.places[1],
            Place {
                segment: 0,
                offset: 128,
                count: 65
            }
        );
        assert_eq!(
            layout.places[2],
            Place {
                segment: 1,
                offset: 0,
                count: 200
            }
        );
        let mut state = p("d", 3);
        state.role = Role::State(0);
        let mixed = Layout::new(vec![p("a", 100), state, p("b", 65)], 4 * 300).unwrap();
        assert_eq!(mixed.segments, [256, 64]);
        assert_eq!(mixed.roles, [Role::Trained(0), Role::State(0)]);
        assert_eq!(mixed.places[2].offset, 128);
        assert_eq!(mixed.count(), 165);
        assert!(Layout::new(vec![p("a", 400)], 4 * 300).is_err());
        assert!(Layout::new(vec![p("a", 4), p("a", 4)], 4 * 300).is_err());
    }

    #[test]
    fn border_permutation_is_undone() {
        let mut p = Parameter::new("w", [2, 3, 4], Init::Constant(0.0));
        p.border = vec![2, 0, 1];
        let device: Vec<f32> = (0..24).map(|x| x as f32).collect();
        let file = p.to_border(&device);
        assert_eq!(p.border_shape(), [4, 2, 3].into());
        assert_eq!(file[1], 4.0);
        assert_eq!(p.from_border(&file), device);
    }
}
