//! The storage buffers of a kernel: how each is used, and of what it is.

use serde::{Deserialize, Serialize};

use crate::real::{Real, Tracked};
use crate::tensor::DType;

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read only.
    Read,
    /// Every element is written, none read.
    Write,
    /// Read and written in place.
    ReadWrite,
    /// Words that invocations of any order add to, or otherwise change, atomically: `array<atomic<u32>>`. What was in them before counts.
    Atomic,
    /// A storage texture that is written, its values four a pixel.
    Texture {
        /// Its format.
        texel: Texel,
        /// Its columns.
        width: u32,
        /// Its rows.
        height: u32,
    },
}

impl Access {
    /// Whether what the binding holds before is read.
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite | Self::Atomic)
    }
}

/// A format of storage textures that every device can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Texel {
    /// Four bytes, each a value in [0, 1].
    Rgba8Unorm,
    /// Four f16.
    Rgba16Float,
    /// Four f32.
    Rgba32Float,
}

impl Texel {
    /// The name in WGSL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgba8Unorm => "rgba8unorm",
            Self::Rgba16Float => "rgba16float",
            Self::Rgba32Float => "rgba32float",
        }
    }

    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Self::Rgba8Unorm => 4,
            Self::Rgba16Float => 8,
            Self::Rgba32Float => 16,
        }
    }

    /// The four values of each texel in raw memory.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Rgba8Unorm => bytes.iter().map(|&b| f32::from(b) / 255.0).collect(),
            Self::Rgba16Float => bytes
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Self::Rgba32Float => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        }
    }

    /// What the format makes of a value. 8 bits hold the nearest step, so that half a step is no error; 0.1 of one is, which D3D allows.
    /// f16 holds either neighbour, at most 2^-10 of the number away, or the smallest subnormal.
    pub fn stored(self, value: Tracked) -> Tracked {
        let x = value.to_f64();
        match self {
            Self::Rgba8Unorm => {
                let clamped = Tracked::with_bias(x.clamp(0.0, 1.0), value.error() + 0.1 / 255.0);
                clamped.or_within(value.choice() + 0.5 / 255.0)
            }
            Self::Rgba16Float => value.or_within(x.abs() / 1024.0 + 6e-8),
            Self::Rgba32Float => value,
        }
    }
}

/// One storage buffer of a kernel, in the order of its `@binding` numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// The variable's name in WGSL.
    pub name: String,
    /// How it is used.
    pub access: Access,
    /// Its elements.
    #[serde(skip)]
    pub dtype: DType,
    /// The number of elements.
    pub count: usize,
    /// Whether elements are loaded and stored four at a time; not of bytes, which are so in any case.
    #[serde(skip)]
    pub vector: bool,
    /// Whether it may hold f16 in place of f32: see [`Binding::or_half`].
    #[serde(skip)]
    pub half: bool,
}

impl Binding {
    fn new(name: impl Into<String>, access: Access, dtype: DType, count: usize) -> Self {
        Self {
            name: name.into(),
            access,
            dtype,
            count,
            vector: false,
            half: false,
        }
    }

    /// A binding that is only read.
    pub fn read(name: impl Into<String>, dtype: DType, count: usize) -> Self {
        Self::new(name, Access::Read, dtype, count)
    }

    /// A binding that is wholly written.
    pub fn write(name: impl Into<String>, dtype: DType, count: usize) -> Self {
        Self::new(name, Access::Write, dtype, count)
    }

    /// A binding that is updated in place.
    pub fn read_write(name: impl Into<String>, dtype: DType, count: usize) -> Self {
        Self::new(name, Access::ReadWrite, dtype, count)
    }

    /// Words that are changed atomically.
    pub fn atomic(name: impl Into<String>, count: usize) -> Self {
        Self::new(name, Access::Atomic, DType::U32, count)
    }

    /// The same, elements loaded and stored four at a time where `vector` says so.
    #[must_use]
    pub fn vector(self, vector: bool) -> Self {
        Self { vector, ..self }
    }

    /// The same, which may hold f16 where it holds f32 otherwise: the template converts at every load and store, and no result of many
    /// terms is kept in it. What is updated in place never may.
    #[must_use]
    pub fn or_half(self) -> Self {
        let half = self.dtype == DType::F32 && matches!(self.access, Access::Read | Access::Write);
        Self { half, ..self }
    }

    /// What the shader's array is of.
    fn wgsl(&self) -> &'static str {
        if self.access == Access::Atomic {
            return "atomic<u32>";
        }
        match (self.dtype, self.vector) {
            (DType::F32, false) => "f32",
            (DType::F32, true) => "vec4<f32>",
            (DType::F16, false) => "f16",
            (DType::F16, true) => "vec4<f16>",
            (DType::U32, true) => "vec4<u32>",
            (DType::U32, false) | (DType::U8, _) => "u32",
        }
    }

    /// Bytes that must be bound.
    pub fn bytes(&self) -> u64 {
        self.dtype.bytes(self.count)
    }
}

/// Sum of the bytes of all bindings: the memory traffic of a kernel that reads and writes each once.
pub fn bytes_of(bindings: &[Binding]) -> f64 {
    let times = |access| match access {
        Access::ReadWrite | Access::Atomic => 2.0,
        _ => 1.0,
    };
    bindings
        .iter()
        .map(|b| b.bytes() as f64 * times(b.access))
        .sum()
}

/// Bindings as `shared/bindings.wgsl` wants them.
pub(crate) fn wgsl_bindings(bindings: &[Binding]) -> serde_json::Value {
    let row = |b: &Binding| {
        let access = format!("{:?}", b.access);
        serde_json::json!({"name": b.name, "access": access, "wgsl": b.wgsl()})
    };
    bindings.iter().map(row).collect()
}
