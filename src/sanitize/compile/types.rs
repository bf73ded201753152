//! How types lie in a frame, a word a scalar without any padding, and how in memory.

use naga::proc::IndexableLength;
use naga::{ArraySize, Handle, Scalar, ScalarKind, TypeInner, VectorSize};

use super::{Compiler, Refused};
use crate::sanitize::code::{Num, Run};

/// Words of a value at most: WGSL grants private variables 2,048 (section 2.2).
const MOST_WORDS: u32 = 1 << 16;

/// What a scalar type is taken for.
pub(super) fn num(scalar: Scalar) -> Refused<Num> {
    match (scalar.kind, scalar.width) {
        (ScalarKind::Float | ScalarKind::AbstractFloat, 4) => Ok(Num::F32),
        (ScalarKind::Float, 2) => Ok(Num::F16),
        (ScalarKind::Sint, 4) => Ok(Num::I32),
        (ScalarKind::Uint, 4) => Ok(Num::U32),
        (ScalarKind::Bool, _) => Ok(Num::Bool),
        (kind, width) => Err(format!(
            "numbers of {} bits ({kind:?})",
            8 * u32::from(width)
        )),
    }
}

/// Bytes from a matrix' column to the next.
pub(super) fn column_stride(rows: VectorSize, scalar: Scalar) -> u32 {
    let rows = if rows == VectorSize::Bi { 2 } else { 4 };
    rows * u32::from(scalar.width)
}

impl Compiler<'_> {
    /// Words of a type in a frame.
    pub(super) fn words(&self, ty: Handle<naga::Type>) -> Refused<u32> {
        self.words_of_inner(self.inner(ty))
    }

    pub(super) fn words_of_inner(&self, inner: &TypeInner) -> Refused<u32> {
        Ok(match *inner {
            TypeInner::Scalar(_) | TypeInner::Atomic(_) => 1,
            TypeInner::Vector { size, .. } => size as u32,
            TypeInner::Matrix { columns, rows, .. } => columns as u32 * rows as u32,
            TypeInner::CooperativeMatrix { columns, rows, .. } => columns as u32 * rows as u32,
            TypeInner::Array { base, size, .. } => {
                let words = u64::from(self.words(base)?) * u64::from(self.fixed(size)?);
                u32::try_from(words)
                    .ok()
                    .filter(|&w| w <= MOST_WORDS)
                    .ok_or_else(|| format!("a value of {words} words, more than {MOST_WORDS}"))?
            }
            TypeInner::Struct { ref members, .. } => {
                let mut n = 0;
                for member in members {
                    n += self.words(member.ty)?;
                }
                n
            }
            TypeInner::RayQuery { .. } => return Err("ray queries".to_owned()),
            ref other => return Err(format!("a value of the type {other:?}")),
        })
    }

    pub(super) fn num_of_inner(&self, inner: &TypeInner) -> Refused<Num> {
        match *inner {
            TypeInner::Scalar(scalar)
            | TypeInner::Atomic(scalar)
            | TypeInner::Vector { scalar, .. }
            | TypeInner::Matrix { scalar, .. }
            | TypeInner::CooperativeMatrix { scalar, .. }
            | TypeInner::ValuePointer { scalar, .. } => num(scalar),
            TypeInner::Array { base, .. } | TypeInner::Pointer { base, .. } => {
                self.num_of_inner(self.inner(base))
            }
            TypeInner::Struct { ref members, .. } => match members.first() {
                Some(first) => self.num_of_inner(self.inner(first.ty)),
                None => Err("a struct without members".to_owned()),
            },
            ref other => Err(format!("numbers of the type {other:?}")),
        }
    }

    /// The elements of an array, which are so many whatever is bound.
    pub(super) fn fixed(&self, size: ArraySize) -> Refused<u32> {
        match size.resolve(self.module.to_ctx()) {
            Ok(IndexableLength::Known(n)) => Ok(n),
            Ok(IndexableLength::Dynamic) => Err("an array of any length as a value".to_owned()),
            Err(e) => Err(format!("an array whose size is not known: {e}")),
        }
    }

    /// Bytes of a variable, and the stride of the array of any length that it ends in.
    pub(super) fn extent(&self, ty: Handle<naga::Type>) -> (u32, Option<u32>) {
        match self.inner(ty) {
            TypeInner::Array {
                size: ArraySize::Dynamic,
                stride,
                ..
            } => (0, Some(*stride)),
            TypeInner::Struct { members, .. } => {
                let last = members.last();
                let runtime = last.and_then(|m| {
                    let (before, stride) = self.extent(m.ty);
                    stride.map(|stride| (m.offset + before, Some(stride)))
                });
                runtime.unwrap_or((self.layouter[ty].size, None))
            }
            _ => (self.layouter[ty].size, None),
        }
    }

    /// The scalars of a variable before the array of any length that it ends in, and those of each of its elements.
    pub(super) fn runs_of_variable(&self, ty: Handle<naga::Type>) -> Refused<[Vec<Run>; 2]> {
        let [mut fixed, mut each] = [Vec::new(), Vec::new()];
        match self.inner(ty) {
            TypeInner::Array {
                base,
                size: ArraySize::Dynamic,
                ..
            } => self.add_runs(self.inner(*base), 0, 0, &mut each)?,
            TypeInner::Struct { members, .. } if self.extent(ty).1.is_some() => {
                let last = members.len() - 1;
                for member in &members[..last] {
                    self.add_runs(self.inner(member.ty), member.offset, 0, &mut fixed)?;
                }
                each = self.runs_of_variable(members[last].ty)?[1].clone();
            }
            inner => self.add_runs(inner, 0, 0, &mut fixed)?,
        }
        Ok([fixed, each])
    }

    /// Bytes of the smallest scalar of a type.
    pub(super) fn granule(&self, ty: Handle<naga::Type>) -> Refused<u32> {
        match self.inner(ty) {
            TypeInner::Array { base, .. } => self.granule(*base),
            TypeInner::Struct { members, .. } => {
                let mut least = 4;
                for member in members {
                    least = least.min(self.granule(member.ty)?);
                }
                Ok(least)
            }
            other => Ok(self.num_of_inner(other)?.width()),
        }
    }

    /// The scalars of a type, as runs.
    pub(super) fn runs_of_inner(&self, inner: &TypeInner) -> Refused<Vec<Run>> {
        let mut runs = Vec::new();
        self.add_runs(inner, 0, 0, &mut runs)?;
        Ok(runs)
    }

    fn add_runs(
        &self,
        inner: &TypeInner,
        byte: u32,
        word: u32,
        runs: &mut Vec<Run>,
    ) -> Refused<()> {
        let mut add = |byte: u32, word: u32, count: u32, num: Num| {
            if let Some(last) = runs.last_mut() {
                let follows =
                    last.byte + last.count * num.width() == byte && last.word + last.count == word;
                if follows && last.num == num {
                    last.count += count;
                    return;
                }
            }
            runs.push(Run {
                byte,
                word,
                count,
                num,
            });
        };
        match *inner {
            TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => {
                add(byte, word, 1, num(scalar)?);
            }
            TypeInner::Vector { size, scalar } => add(byte, word, size as u32, num(scalar)?),
            TypeInner::Matrix {
                columns,
                rows,
                scalar,
            } => {
                let stride = column_stride(rows, scalar);
                for c in 0..columns as u32 {
                    add(
                        byte + c * stride,
                        word + c * rows as u32,
                        rows as u32,
                        num(scalar)?,
                    );
                }
            }
            TypeInner::Array { base, size, stride } => {
                let (inner, words) = (self.inner(base), self.words(base)?);
                for i in 0..self.fixed(size)? {
                    self.add_runs(inner, byte + i * stride, word + i * words, runs)?;
                }
            }
            TypeInner::Struct { ref members, .. } => {
                let mut word = word;
                for member in members {
                    self.add_runs(self.inner(member.ty), byte + member.offset, word, runs)?;
                    word += self.words(member.ty)?;
                }
            }
            ref other => return Err(format!("loads and stores of the type {other:?}")),
        }
        Ok(())
    }
}
