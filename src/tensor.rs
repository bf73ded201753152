//! Shapes, element types and host arrays: the plain data that every other module shares.
//!
//! ```
//! use wgen::tensor::{DType, Shape, Value};
//!
//! // Row-major, images as [batch, height, width, channels].
//! let (images, bias) = (Shape::from([8, 28, 28, 3]), Shape::from([3]));
//! assert_eq!(images.strides(), [28 * 28 * 3, 28 * 3, 3, 1]);
//! // Broadcasting is NumPy's: the bias is stretched along all axes but the last.
//! assert_eq!(images.broadcast(&bias), Some(images.clone()));
//!
//! let value = Value::f32([2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
//! assert_eq!((value.dtype(), value.data.to_device_bytes().len()), (DType::F32, 16));
//! assert!(Value::f32([2, 2], vec![1.0]).is_err()); // one element is not four
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fmt;

use crate::error::{Error, Result};
use crate::real::{Precision, Real, Tracked};

/// The largest rank a tensor may have.
pub const MAX_RANK: usize = 6;

/// The sizes of a dense, row-major tensor, outermost first. `[]` is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape; its rank is checked where a graph uses it.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Self(dims.into())
    }

    /// The scalar shape `[]`.
    pub fn scalar() -> Self {
        Self(Vec::new())
    }

    /// The sizes.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements: 1 for a scalar, 0 where an axis is empty. Saturates.
    pub fn count(&self) -> usize {
        self.0.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// Row-major strides in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis];
        }
        strides
    }

    /// The shape that two operands broadcast to, by NumPy's rule (aligned at the last axis, 1 stretches).
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let rank = self.rank().max(other.rank());
        let padded = |s: &Self, axis: usize| {
            let missing = rank - s.rank();
            if axis < missing {
                1
            } else {
                s.0[axis - missing]
            }
        };
        (0..rank)
            .map(|axis| match (padded(self, axis), padded(other, axis)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Where element `index` of a tensor of this shape reads an operand of shape `small` that broadcasts to it.
    #[cfg(test)]
    pub(crate) fn broadcast_index(&self, small: &Self, mut index: usize) -> usize {
        let missing = self.rank() - small.rank();
        let (mut source, mut stride) = (0, 1);
        for axis in (0..self.rank()).rev() {
            let coordinate = index % self.0[axis];
            index /= self.0[axis];
            if axis >= missing {
                let size = small.0[axis - missing];
                if size != 1 {
                    source += coordinate * stride;
                }
                stride *= size;
            }
        }
        source
    }

    /// Refuses ranks above [`MAX_RANK`] and element counts that no buffer index can reach.
    pub fn check(&self, op: &str) -> Result<()> {
        if self.rank() > MAX_RANK {
            return Err(Error::shape(
                op,
                format!("rank {} of {self:?} is above {MAX_RANK}", self.rank()),
            ));
        }
        let product = self.0.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        match product {
            Some(n) if n < (1 << 31) => Ok(()),
            _ => Err(Error::shape(
                op,
                format!("{self:?} has more than 2^31 elements; split it"),
            )),
        }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl From<usize> for Shape {
    fn from(count: usize) -> Self {
        Self(vec![count])
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }
}

/// The type of a tensor's elements on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// 32-bit float: all arithmetic.
    F32,
    /// 32-bit unsigned integer: indices, labels, random words.
    U32,
    /// Bytes, four to a word: stored data sets.
    U8,
    /// 16-bit float, two to a word: storage only. On the host its numbers are f32.
    F16,
}

impl DType {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::U32 => "u32",
            Self::U8 => "u8",
            Self::F16 => "f16",
        }
    }

    /// Bytes that `count` elements take in a buffer, a multiple of four.
    pub fn bytes(self, count: usize) -> u64 {
        match self {
            Self::F32 | Self::U32 => 4 * count as u64,
            Self::U8 => 4 * (count as u64).div_ceil(4),
            Self::F16 => 4 * (count as u64).div_ceil(2),
        }
    }
}

/// Shape and element type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Its sizes.
    pub shape: Shape,
    /// Its elements.
    pub dtype: DType,
}

impl TensorType {
    /// An f32 tensor.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self {
            shape: shape.into(),
            dtype: DType::F32,
        }
    }

    /// A u32 tensor.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Self {
            shape: shape.into(),
            dtype: DType::U32,
        }
    }

    /// Bytes in a buffer.
    pub fn bytes(&self) -> u64 {
        self.dtype.bytes(self.shape.count())
    }
}

/// Elements of a host array, in the precision that a computation runs in.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Double precision with a bound of what an f32 device may differ by.
    Tracked(Vec<Tracked>),
    /// Unsigned integers.
    U32(Vec<u32>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Data {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Tracked(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U8(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `count` zeros of `dtype`, reals in `precision`.
    pub fn zeros(dtype: DType, precision: Precision, count: usize) -> Self {
        match (dtype, precision) {
            (DType::U32, _) => Self::U32(vec![0; count]),
            (DType::U8, _) => Self::U8(vec![0; count]),
            (DType::F32 | DType::F16, Precision::F32) => Self::F32(vec![0.0; count]),
            (DType::F32 | DType::F16, Precision::F64) => Self::F64(vec![0.0; count]),
            (DType::F32 | DType::F16, Precision::Tracked) => {
                Self::Tracked(vec![Tracked::from_f64(0.0); count])
            }
        }
    }

    /// The same numbers, reals in `precision`.
    pub fn in_precision(self, precision: Precision) -> Self {
        if matches!(
            (&self, precision),
            (Self::F32(_), Precision::F32)
                | (Self::F64(_), Precision::F64)
                | (Self::Tracked(_), Precision::Tracked)
                | (Self::U32(_) | Self::U8(_), _)
        ) {
            return self;
        }
        // Without an array in between: tens of millions of elements are verified.
        if let (Self::F32(values), Precision::Tracked) = (&self, precision) {
            let tracked = |&x: &f32| Tracked::from_f64(f64::from(x));
            return Self::Tracked(values.iter().map(tracked).collect());
        }
        let wide = self.to_f64();
        match precision {
            Precision::F32 => Self::F32(wide.iter().map(|&x| x as f32).collect()),
            Precision::F64 => Self::F64(wide),
            Precision::Tracked => Self::Tracked(wide.into_iter().map(Tracked::from_f64).collect()),
        }
    }

    /// All elements as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::F64(v) => v.clone(),
            Self::Tracked(v) => v.iter().map(|x| x.to_f64()).collect(),
            Self::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// All elements as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(v) => v.clone(),
            other => other.to_f64().into_iter().map(|x| x as f32).collect(),
        }
    }

    /// The integers of a U32 array; empty for others.
    pub fn as_u32(&self) -> &[u32] {
        match self {
            Self::U32(v) => v,
            _ => &[],
        }
    }

    /// `count` elements from `first` on.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn slice(self, first: usize, count: usize) -> Self {
        if first == 0 && count == self.len() {
            return self;
        }
        let range = first..first + count;
        match self {
            Self::F32(v) => Self::F32(v[range].to_vec()),
            Self::F64(v) => Self::F64(v[range].to_vec()),
            Self::Tracked(v) => Self::Tracked(v[range].to_vec()),
            Self::U32(v) => Self::U32(v[range].to_vec()),
            Self::U8(v) => Self::U8(v[range].to_vec()),
        }
    }

    /// The bytes as a device buffer holds them: reals as f32, bytes padded to whole words.
    pub fn to_device_bytes(&self) -> Vec<u8> {
        match self {
            Self::U32(v) => bytemuck::cast_slice(v).to_vec(),
            Self::U8(v) => {
                let mut bytes = v.clone();
                bytes.resize(v.len().next_multiple_of(4), 0);
                bytes
            }
            reals => bytemuck::cast_slice(&reals.to_f32()).to_vec(),
        }
    }

    /// As [`Data::to_device_bytes`], for a buffer of `dtype`: reals may be stored as f16.
    pub fn to_device_bytes_as(&self, dtype: DType) -> Vec<u8> {
        if dtype != DType::F16 {
            return self.to_device_bytes();
        }
        let half = |x: f64| half::f16::from_f64(x).to_le_bytes();
        let mut bytes: Vec<u8> = match self {
            Self::F32(values) => values.iter().flat_map(|&x| half(f64::from(x))).collect(),
            other => other.to_f64().into_iter().flat_map(half).collect(),
        };
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// Reads `count` elements of `dtype` from a device buffer's bytes.
    pub fn from_device_bytes(dtype: DType, count: usize, bytes: &[u8]) -> Self {
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        match dtype {
            DType::F32 => Self::F32(words.into_iter().take(count).map(f32::from_bits).collect()),
            DType::U32 => Self::U32(words.into_iter().take(count).collect()),
            DType::U8 => Self::U8(bytes[..count].to_vec()),
            DType::F16 => Self::F32(
                bytes
                    .chunks_exact(2)
                    .take(count)
                    .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                    .collect(),
            ),
        }
    }
}

/// A host tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its sizes.
    pub shape: Shape,
    /// Its elements, row-major.
    pub data: Data,
}

impl Value {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// When the number of elements is not the shape's.
    pub fn new(shape: impl Into<Shape>, data: Data) -> Result<Self> {
        let shape = shape.into();
        if shape.count() != data.len() {
            return Err(Error::shape(
                "tensor",
                format!(
                    "{shape:?} has {} elements, got {}",
                    shape.count(),
                    data.len()
                ),
            ));
        }
        Ok(Self { shape, data })
    }

    /// An f32 tensor.
    ///
    /// # Errors
    /// As [`Value::new`].
    pub fn f32(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Self> {
        Self::new(shape, Data::F32(data))
    }

    /// The element type on a device.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::U32(_) => DType::U32,
            Data::U8(_) => DType::U8,
            _ => DType::F32,
        }
    }

    /// Shape and element type.
    pub fn tensor_type(&self) -> TensorType {
        TensorType {
            shape: self.shape.clone(),
            dtype: self.dtype(),
        }
    }
}

/// Height, width and channels of an image, written `28 x 28 grey`. A point in the plane is an image of height 1, width 2 and one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            height,
            width,
            channels,
        } = self;
        match channels {
            1 => write!(f, "{height} x {width} grey"),
            3 => write!(f, "{height} x {width} RGB"),
            n => write!(f, "{height} x {width} of {n} channels"),
        }
    }
}

impl ImageShape {
    /// Values of one image.
    pub fn count(&self) -> usize {
        self.height
            .saturating_mul(self.width)
            .saturating_mul(self.channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_follows_numpy() {
        let a = Shape::from([4, 1, 3]);
        assert_eq!(a.broadcast(&[5, 1].into()), Some([4, 5, 3].into()));
        assert_eq!(a.broadcast(&[2].into()), None);
        let big = Shape::from([2, 3, 4]);
        assert_eq!(big.broadcast_index(&[3, 1].into(), 23), 2);
        assert_eq!(big.broadcast_index(&Shape::scalar(), 23), 0);
        assert_eq!(big.broadcast_index(&[2, 1, 4].into(), 4 * 3 + 5), 4 + 1);
    }

    #[test]
    fn absurd_shapes_are_refused_without_overflow() {
        assert!(Shape::from([usize::MAX, 2]).check("test").is_err());
        assert!(Shape::from([1; 7]).check("test").is_err());
        assert!(Shape::from([0, 5]).check("test").is_ok());
    }
}
