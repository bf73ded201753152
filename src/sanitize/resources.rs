//! What a shader binds, and what is bound.

use std::collections::BTreeMap;
use std::path::Path;

use naga::{
    AddressSpace, ImageClass, ImageDimension, Module, Scalar, ScalarKind, StorageAccess, TypeInner,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;

use super::code::{Num, Run, Variable};
use crate::error::{Error, Result};

/// What a binding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// A sampled texture of so many dimensions.
    Texture(u32),
    /// A storage texture of so many dimensions.
    StorageTexture(u32),
    /// A sampler.
    Sampler,
}

/// A binding that the entry point uses.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The variable's name.
    pub name: String,
    /// `@group`.
    pub group: u32,
    /// `@binding`.
    pub binding: u32,
    /// What it is.
    pub kind: ResourceKind,
    /// Bytes that it has at least.
    pub bytes: u32,
    /// The stride of the array of any length that it ends in.
    pub stride: Option<u32>,
    /// Whether its first scalars are floats.
    pub float: bool,
    /// The scalars before that array, and those of each of its elements.
    runs: [Vec<Run>; 2],
}

/// Elements of an array of any length that nobody gave.
const ELEMENTS: u32 = 1024;

/// Side of a texture that nobody gave.
const SIDE: u32 = 16;

impl Resource {
    /// Something to run the shader on where nobody gave it: reals on [-1, 1), whole numbers below 16, the same ones every time. Of `size`, elements or
    /// columns, rows and slices, where it can have any; else arrays have 1,024 elements, textures 16 texels a side.
    pub fn drawn(&self, size: Option<[u32; 3]>) -> Input {
        let seed = u64::from(self.group) << 32 | u64::from(self.binding);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut word = |num: Num| match num {
            Num::F32 => rng.random_range(-1.0_f32..1.0).to_bits(),
            Num::F16 => {
                let half = half::f16::from_f32(rng.random_range(-1.0_f32..1.0));
                u32::from(half.to_bits())
            }
            Num::I32 | Num::U32 | Num::Bool => rng.random_range(0..16),
        };
        match self.kind {
            ResourceKind::Sampler => Input::Sampler,
            ResourceKind::Texture(n) | ResourceKind::StorageTexture(n) => {
                let size = size.unwrap_or([0, 1, 2].map(|axis| if axis < n { SIDE } else { 1 }));
                let num = if self.float { Num::F32 } else { Num::U32 };
                // More than is taken is refused before it is run.
                let texels = size.iter().map(|&n| u64::from(n)).product::<u64>();
                let count = 4 * texels.min(1 << 25);
                Input::Texture {
                    size,
                    layers: 1,
                    levels: 1,
                    texels: (0..count).map(|_| word(num)).collect(),
                }
            }
            ResourceKind::Uniform | ResourceKind::Read | ResourceKind::ReadWrite => {
                let [fixed, each] = &self.runs;
                let stride = self.stride.unwrap_or(0);
                let most = (256 << 20) / stride.max(1);
                let elements = size.map_or(ELEMENTS, |size| size[0]).min(most);
                let elements = if stride > 0 { elements } else { 0 };
                let mut bytes = vec![0; (self.bytes + stride * elements) as usize];
                let mut put = |first: u32, run: &Run| {
                    let width = run.num.width();
                    for i in 0..run.count {
                        let at = (first + run.byte + i * width) as usize;
                        let word = word(run.num).to_le_bytes();
                        bytes[at..at + width as usize].copy_from_slice(&word[..width as usize]);
                    }
                };
                fixed.iter().for_each(|run| put(0, run));
                for i in 0..elements {
                    each.iter()
                        .for_each(|run| put(self.bytes + i * stride, run));
                }
                Input::buffer(bytes)
            }
        }
    }
}

/// What a binding holds when the shader begins.
#[derive(Clone, Debug)]
pub enum Input {
    /// A buffer: what was written to it, from its begin on, and how many bytes belong to it. What is bound is rounded up to `padded`.
    Buffer {
        /// May be shorter than the buffer: the rest nobody wrote.
        written: Vec<u8>,
        /// Bytes that belong to it.
        bytes: u64,
        /// Bytes that are bound: reading behind what belongs to it is no error, using it is.
        padded: u64,
    },
    /// A texture, four words a texel; nobody wrote one that is empty.
    Texture {
        /// Columns, rows, slices.
        size: [u32; 3],
        /// Layers of an array.
        layers: u32,
        /// Mip levels.
        levels: u32,
        /// Level by level.
        texels: Vec<u32>,
    },
    /// A sampler: linear, coordinates clamped to the edge.
    Sampler,
}

impl Input {
    /// A buffer that was wholly written.
    pub fn buffer(written: Vec<u8>) -> Self {
        let bytes = written.len() as u64;
        Self::Buffer {
            written,
            bytes,
            padded: bytes,
        }
    }

    /// A buffer that nobody wrote.
    pub fn unwritten(bytes: u64) -> Self {
        Self::Buffer {
            written: Vec::new(),
            bytes,
            padded: bytes,
        }
    }
}

/// Reads inputs from a safetensors file: a tensor a binding, by the variable's name. A texture's is of rows, columns and channels (before them slices,
/// where it has any), f32 or, for one of integers, u32. Buffers that are written and have no tensor, nobody wrote: `sizes` says how many
/// elements those of any length have, and the columns, rows and slices of storage textures, by name. Any other binding without one is an error.
///
/// # Errors
/// When the file cannot be read or is none, or a tensor is not what its binding takes.
pub fn read_inputs(
    path: &Path,
    resources: &[Resource],
    sizes: &BTreeMap<String, [u32; 3]>,
) -> Result<Vec<Input>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::format(path, format!("no safetensors: {e}")))?;
    let known = |name: &str| resources.iter().any(|r| r.name == name);
    if let Some(name) = file.names().into_iter().find(|name| !known(name)) {
        let names: Vec<&str> = resources.iter().map(|r| r.name.as_str()).collect();
        return Err(Error::format(
            path,
            format!("the shader binds no '{name}', but {}", names.join(", ")),
        ));
    }
    let of = |resource: &Resource| match file.tensor(&resource.name) {
        Ok(tensor) => given(path, resource, &tensor),
        Err(_) => absent(path, resource, sizes.get(&resource.name).copied()),
    };
    resources.iter().map(of).collect()
}

fn given(
    path: &Path,
    resource: &Resource,
    tensor: &safetensors::tensor::TensorView<'_>,
) -> Result<Input> {
    let (name, shape) = (&resource.name, tensor.shape());
    let (ResourceKind::Texture(n) | ResourceKind::StorageTexture(n)) = resource.kind else {
        return Ok(Input::buffer(tensor.data().to_vec()));
    };
    let dimensions = n as usize + 1;
    let channels = shape.last().copied().unwrap_or(0);
    let words = tensor.dtype().bitsize() == 32;
    if shape.len() != dimensions || !(1..=4).contains(&channels) || !words {
        return Err(Error::format(
            path,
            format!(
                "'{name}' is a texture of {n} dimensions: its tensor has them and one of 1 to 4 channels, of 32 bits, not {shape:?} of {:?}",
                tensor.dtype()
            ),
        ));
    }
    let mut size = [1; 3];
    for (axis, &n) in shape[..dimensions - 1].iter().rev().enumerate() {
        size[axis] = u32::try_from(n).unwrap_or(u32::MAX);
    }
    let one = if resource.float { 1_f32.to_bits() } else { 1 };
    let words: Vec<u32> = tensor
        .data()
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let texel = |words: &[u32]| {
        let mut four = [0, 0, 0, one];
        four[..words.len()].copy_from_slice(words);
        four
    };
    Ok(Input::Texture {
        size,
        layers: 1,
        levels: 1,
        texels: words.chunks_exact(channels).flat_map(texel).collect(),
    })
}

fn absent(path: &Path, resource: &Resource, size: Option<[u32; 3]>) -> Result<Input> {
    let name = &resource.name;
    match (resource.kind, resource.stride) {
        (ResourceKind::Sampler, _) => Ok(Input::Sampler),
        (ResourceKind::StorageTexture(n), _) => Ok(Input::Texture {
            size: size.unwrap_or([0, 1, 2].map(|axis| if axis < n { SIDE } else { 1 })),
            layers: 1,
            levels: 1,
            texels: Vec::new(),
        }),
        (ResourceKind::ReadWrite, None) => Ok(Input::unwritten(u64::from(resource.bytes))),
        (ResourceKind::ReadWrite, Some(stride)) => {
            let elements = size.map_or(ELEMENTS, |size| size[0]);
            let bytes = u64::from(resource.bytes) + u64::from(stride) * u64::from(elements);
            Ok(Input::unwritten(bytes))
        }
        _ => Err(Error::format(
            path,
            format!("no tensor '{name}', which the shader reads"),
        )),
    }
}

pub(super) fn resource(module: &Module, variable: &Variable) -> Option<Resource> {
    let global = &module.global_variables[variable.handle];
    let inner = &module.types[global.ty].inner;
    let kind = match (global.space, inner) {
        (AddressSpace::Uniform | AddressSpace::Immediate, _) => ResourceKind::Uniform,
        (AddressSpace::Storage { access }, _) => match access.contains(StorageAccess::STORE) {
            true => ResourceKind::ReadWrite,
            false => ResourceKind::Read,
        },
        (_, TypeInner::Image { dim, class, .. }) => {
            let dimensions = match dim {
                ImageDimension::D1 => 1,
                ImageDimension::D2 | ImageDimension::Cube => 2,
                ImageDimension::D3 => 3,
            };
            match class {
                ImageClass::Storage { .. } => ResourceKind::StorageTexture(dimensions),
                _ => ResourceKind::Texture(dimensions),
            }
        }
        (_, TypeInner::Sampler { .. }) => ResourceKind::Sampler,
        _ => return None,
    };
    let binding = global.binding.as_ref();
    Some(Resource {
        name: variable.name.clone(),
        group: binding.map_or(0, |b| b.group),
        binding: binding.map_or(0, |b| b.binding),
        kind,
        bytes: variable.bytes,
        stride: variable.runtime,
        float: match inner {
            TypeInner::Image {
                class: ImageClass::Storage { format, .. },
                ..
            } => Scalar::from(*format).kind == ScalarKind::Float,
            TypeInner::Image {
                class: ImageClass::Sampled { kind, .. },
                ..
            } => *kind == ScalarKind::Float,
            TypeInner::Image { .. } => true,
            _ => variable
                .runs
                .iter()
                .flatten()
                .next()
                .is_some_and(|r| r.num.is_float()),
        },
        runs: variable.runs.clone(),
    })
}
