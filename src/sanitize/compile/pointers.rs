//! Pointers, loads and stores.

use naga::{ArraySize, Expression, Handle, TypeInner};

use super::types::{column_stride, num};
use super::{At, Compiler, Inlined, Pointer, Refused, Root, Value};
use crate::sanitize::code::{Limit, NONE, Op, Reg, Run};

/// What an index into a pointer's target goes by.
pub(super) struct Step {
    pub(super) limit: Limit,
    /// Words in a frame, bytes in memory.
    pub(super) stride: u32,
}

impl<'m> Compiler<'m> {
    /// What the pointer `handle` points to.
    pub(super) fn target(
        &self,
        inlined: &Inlined<'m>,
        handle: Handle<Expression>,
    ) -> Refused<TypeInner> {
        match *self.type_of(inlined, handle) {
            TypeInner::Pointer { base, .. } => Ok(self.inner(base).clone()),
            TypeInner::ValuePointer {
                size: Some(size),
                scalar,
                ..
            } => Ok(TypeInner::Vector { size, scalar }),
            TypeInner::ValuePointer { scalar, .. } => Ok(TypeInner::Scalar(scalar)),
            ref other => Err(format!("a pointer of the type {other:?}")),
        }
    }

    /// What an index into `base` goes by, which is the pointer `pointer`.
    pub(super) fn step(
        &self,
        inlined: &Inlined<'m>,
        base: Handle<Expression>,
        pointer: Pointer,
    ) -> Refused<Step> {
        let target = self.target(inlined, base)?;
        let memory = matches!(pointer.root, Root::Memory(_));
        let fixed = |n: u32, stride: u32| {
            Ok(Step {
                limit: Limit::Fixed(n),
                stride,
            })
        };
        match target {
            TypeInner::Vector { size, scalar } => {
                let stride = if memory { num(scalar)?.width() } else { 1 };
                fixed(size as u32, stride)
            }
            TypeInner::Matrix {
                columns,
                rows,
                scalar,
            } => {
                let stride = if memory {
                    column_stride(rows, scalar)
                } else {
                    rows as u32
                };
                fixed(columns as u32, stride)
            }
            TypeInner::Array { base, size, stride } => match (size, pointer.root) {
                (ArraySize::Dynamic, Root::Memory(variable)) => Ok(Step {
                    limit: Limit::Runtime {
                        variable,
                        offset: pointer.at.constant,
                    },
                    stride,
                }),
                (size, Root::Memory(_)) => fixed(self.fixed(size)?, stride),
                (size, Root::Frame(_)) => fixed(self.fixed(size)?, self.words(base)?),
            },
            other => Err(format!("an index into the type {other:?}")),
        }
    }

    /// The pointer a computed index further, which is signed or not.
    pub(super) fn indexed(
        &mut self,
        pointer: Pointer,
        step: Step,
        (index, signed): (Reg, bool),
    ) -> Value {
        let to = self.reserve(1);
        self.emit(Op::Index {
            to,
            before: pointer.at.dynamic,
            index,
            signed,
            limit: step.limit,
            stride: step.stride,
            variable: match pointer.root {
                Root::Memory(variable) => variable,
                Root::Frame(_) => NONE,
            },
        });
        let at = At {
            constant: pointer.at.constant,
            dynamic: to,
        };
        Value::Pointer(Pointer { at, ..pointer })
    }

    /// A member by its number.
    pub(super) fn member(
        &mut self,
        inlined: &mut Inlined<'m>,
        base: Handle<Expression>,
        pointer: Pointer,
        index: u32,
    ) -> Refused<Value> {
        let target = self.target(inlined, base)?;
        if let TypeInner::Struct { members, .. } = &target {
            let offset = match pointer.root {
                Root::Memory(_) => members[index as usize].offset,
                Root::Frame(_) => {
                    let mut words = 0;
                    for member in &members[..index as usize] {
                        words += self.words(member.ty)?;
                    }
                    words
                }
            };
            return Ok(Value::Pointer(pointer.further(offset)));
        }
        let step = self.step(inlined, base, pointer)?;
        if let Limit::Runtime { .. } = step.limit {
            // Even a number that is known may lie behind the end.
            let index = self.constant(&[index]);
            return Ok(self.indexed(pointer, step, (index, false)));
        }
        Ok(Value::Pointer(pointer.further(index * step.stride)))
    }

    pub(super) fn load(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
    ) -> Refused<Value> {
        let pointer = self.pointer_at(inlined, handle)?;
        let target = self.target(inlined, handle)?;
        let n = self.words_of_inner(&target)?;
        let to = self.reserve(n);
        match pointer.root {
            Root::Frame(base) => self.load_local(to, base, pointer.at, n),
            Root::Memory(variable) if matches!(target, TypeInner::Atomic(_)) => {
                let at = pointer.at;
                self.emit(Op::LoadAtomic { to, variable, at });
            }
            Root::Memory(variable) => {
                for run in self.runs_of_inner(&target)? {
                    self.emit(Op::Load {
                        to: to + run.word,
                        variable,
                        at: pointer.further(run.byte).at,
                        n: run.count,
                        num: run.num,
                    });
                }
            }
        }
        Ok(Value::Words(to))
    }

    fn load_local(&mut self, to: Reg, base: Reg, at: At, n: u32) {
        let base = base + at.constant;
        let at = at.dynamic;
        if at == NONE {
            self.emit(Op::Copy { to, from: base, n });
        } else {
            self.emit(Op::LoadLocal { to, base, at, n });
        }
    }

    pub(super) fn store(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
        value: Handle<Expression>,
    ) -> Refused<()> {
        let pointer = self.pointer_at(inlined, handle)?;
        let target = self.target(inlined, handle)?;
        let from = self.words_at(inlined, value)?;
        let n = self.words_of_inner(&target)?;
        match pointer.root {
            Root::Frame(base) => {
                let base = base + pointer.at.constant;
                let at = pointer.at.dynamic;
                if at == NONE {
                    self.emit(Op::Copy { to: base, from, n });
                } else {
                    self.emit(Op::StoreLocal { base, at, from, n });
                }
            }
            Root::Memory(variable) if matches!(target, TypeInner::Atomic(_)) => {
                let at = pointer.at;
                self.emit(Op::StoreAtomic { variable, at, from });
            }
            Root::Memory(variable) => {
                let runs: Vec<Run> = self.runs_of_inner(&target)?;
                for run in runs {
                    self.emit(Op::Store {
                        variable,
                        at: pointer.further(run.byte).at,
                        from: from + run.word,
                        n: run.count,
                        num: run.num,
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn array_length(
        &mut self,
        inlined: &mut Inlined<'m>,
        array: Handle<Expression>,
    ) -> Refused<Value> {
        let pointer = self.pointer_at(inlined, array)?;
        let step = self.step(inlined, array, pointer)?;
        let Limit::Runtime { variable, offset } = step.limit else {
            return Err("the length of an array that is known".to_owned());
        };
        let to = self.reserve(1);
        self.emit(Op::ArrayLength {
            to,
            variable,
            offset,
            stride: step.stride,
        });
        Ok(Value::Words(to))
    }
}

impl Pointer {
    /// The same, a known way further.
    pub(super) fn further(self, by: u32) -> Self {
        let at = At {
            constant: self.at.constant + by,
            dynamic: self.at.dynamic,
        };
        Self { at, ..self }
    }
}
