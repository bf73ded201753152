//! Expressions: each one's value is computed where its `Emit` stands.

use naga::{
    BinaryOperator, Expression, Handle, RelationalFunction, ScalarKind, TypeInner, UnaryOperator,
};

use super::constants::literal;
use super::{Compiler, Inlined, Pointer, Refused, Root, Value};
use crate::sanitize::code::{Fun, Limit, NONE, Num, Op, Reg, Tile};

impl<'m> Compiler<'m> {
    /// The value of an expression, which was computed before or needs no computing.
    pub(super) fn value(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
    ) -> Refused<Value> {
        if let Some(value) = inlined.values.get(&handle) {
            return Ok(value.clone());
        }
        let value = self.evaluate(inlined, handle)?;
        inlined.values.insert(handle, value.clone());
        Ok(value)
    }

    /// The words of an expression that is no pointer.
    pub(super) fn words_at(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
    ) -> Refused<Reg> {
        match self.value(inlined, handle)? {
            Value::Words(at) => Ok(at),
            Value::Pointer(_) | Value::Resource(_) => Err("a pointer as a value".to_owned()),
        }
    }

    pub(super) fn pointer_at(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
    ) -> Refused<Pointer> {
        match self.value(inlined, handle)? {
            Value::Pointer(pointer) => Ok(pointer),
            Value::Words(_) | Value::Resource(_) => Err("a value as a pointer".to_owned()),
        }
    }

    pub(super) fn evaluate(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
    ) -> Refused<Value> {
        let around = self.span;
        self.span = inlined.function.expressions.get_span(handle);
        let value = self.compute(inlined, handle);
        self.span = around;
        value
    }

    fn compute(&mut self, inlined: &mut Inlined<'m>, handle: Handle<Expression>) -> Refused<Value> {
        let words = |at: Reg| Ok(Value::Words(at));
        match inlined.function.expressions[handle] {
            Expression::Literal(value) => words(self.constant(&[literal(value)?])),
            Expression::Constant(constant) => {
                let all = self.constant_words(self.module.constants[constant].init)?;
                words(self.constant(&all))
            }
            Expression::Override(_) => Err("an `override` without a value".to_owned()),
            Expression::ZeroValue(ty) => {
                let n = self.words(ty)?;
                words(self.zeros(n))
            }
            Expression::FunctionArgument(i) => Ok(inlined.arguments[i as usize].clone()),
            Expression::GlobalVariable(variable) => match self.variables.get(&variable) {
                Some(value) => Ok(value.clone()),
                None => Err("a variable that the entry point does not use".to_owned()),
            },
            Expression::LocalVariable(local) => {
                let root = Root::Frame(inlined.locals[&local]);
                Ok(Value::Pointer(root.begin()))
            }
            Expression::Compose { ref components, .. } => {
                words(self.compose(inlined, handle, components)?)
            }
            Expression::Splat { size, value } => {
                let from = self.words_at(inlined, value)?;
                words(self.splat(from, size as u32))
            }
            Expression::Swizzle {
                size,
                vector,
                pattern,
            } => {
                let from = self.words_at(inlined, vector)?;
                let to = self.reserve(size as u32);
                for (i, component) in pattern.iter().take(size as usize).enumerate() {
                    let from = from + *component as u32;
                    let to = to + i as u32;
                    self.emit(Op::Copy { to, from, n: 1 });
                }
                words(to)
            }
            Expression::Access { base, index } => self.access(inlined, base, index),
            Expression::AccessIndex { base, index } => self.access_index(inlined, base, index),
            Expression::Load { pointer } => self.load(inlined, pointer),
            _ => self.operate(inlined, handle),
        }
    }

    /// The same of what has operands.
    fn operate(&mut self, inlined: &mut Inlined<'m>, handle: Handle<Expression>) -> Refused<Value> {
        let words = |at: Reg| Ok(Value::Words(at));
        match inlined.function.expressions[handle] {
            Expression::Unary { op, expr } => {
                let (from, n) = (self.words_at(inlined, expr)?, self.words_of(inlined, expr)?);
                let fun = match op {
                    UnaryOperator::Negate => Fun::Negate,
                    UnaryOperator::LogicalNot | UnaryOperator::BitwiseNot => Fun::Not,
                };
                let num = self.num_of(inlined, expr)?;
                words(self.apply(fun, num, &[from], n))
            }
            Expression::Binary { op, left, right } => words(self.binary(inlined, op, left, right)?),
            Expression::Select {
                condition,
                accept,
                reject,
            } => {
                let n = self.words_of(inlined, accept)?;
                let step = u32::from(self.words_of(inlined, condition)? > 1);
                let condition = self.words_at(inlined, condition)?;
                let yes = self.words_at(inlined, accept)?;
                let no = self.words_at(inlined, reject)?;
                let to = self.reserve(n);
                self.emit(Op::Select {
                    to,
                    condition,
                    step,
                    yes,
                    no,
                    n,
                });
                words(to)
            }
            Expression::Relational { fun, argument } => {
                words(self.relational(inlined, fun, argument)?)
            }
            Expression::Math {
                fun,
                arg,
                arg1,
                arg2,
                arg3,
            } => words(self.math(inlined, fun, arg, [arg1, arg2, arg3])?),
            Expression::As {
                expr,
                kind,
                convert,
            } => words(self.cast(inlined, expr, kind, convert)?),
            Expression::ArrayLength(array) => self.array_length(inlined, array),
            Expression::CooperativeLoad {
                columns,
                rows,
                ref data,
                ..
            } => {
                let n = columns as u32 * rows as u32;
                let tile = self.tile(inlined, (rows as u32, columns as u32), data)?;
                let (to, loops) = (self.reserve(n), self.loops());
                self.emit(Op::CooperativeLoad { to, tile, loops });
                words(to)
            }
            Expression::CooperativeMultiplyAdd { a, b, c } => {
                words(self.cooperative_product(inlined, a, b, c)?)
            }
            Expression::ImageSample { .. }
            | Expression::ImageLoad { .. }
            | Expression::ImageQuery { .. } => words(self.image(inlined, handle)?),
            Expression::CallResult(_)
            | Expression::AtomicResult { .. }
            | Expression::WorkGroupUniformLoadResult { .. }
            | Expression::SubgroupBallotResult
            | Expression::SubgroupOperationResult { .. } => {
                Err("a result before what it is of".to_owned())
            }
            Expression::Derivative { .. } => Err("derivatives, which only fragments have".into()),
            Expression::RayQueryVertexPositions { .. }
            | Expression::RayQueryProceedResult
            | Expression::RayQueryGetIntersection { .. } => Err("ray queries".to_owned()),
            ref other => Err(format!("the expression {other:?}")),
        }
    }

    pub(super) fn apply(&mut self, fun: Fun, num: Num, args: &[Reg], n: u32) -> Reg {
        let to = self.reserve(n);
        let mut all = [NONE; 4];
        all[..args.len()].copy_from_slice(args);
        self.emit(Op::Apply {
            fun,
            num,
            to,
            args: all,
            n,
        });
        to
    }

    pub(super) fn combine(&mut self, op: BinaryOperator, num: Num, a: Reg, b: Reg, n: u32) -> Reg {
        let to = self.reserve(n);
        self.emit(Op::Binary {
            op,
            num,
            to,
            a,
            b,
            n,
        });
        to
    }

    pub(super) fn splat(&mut self, from: Reg, n: u32) -> Reg {
        if n == 1 {
            return from;
        }
        let to = self.reserve(n);
        self.emit(Op::Splat { to, from, n });
        to
    }

    fn compose(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
        components: &[Handle<Expression>],
    ) -> Refused<Reg> {
        let n = self.words_of(inlined, handle)?;
        let to = self.reserve(n);
        let mut at = to;
        for &component in components {
            let from = self.words_at(inlined, component)?;
            let n = self.words_of(inlined, component)?;
            self.emit(Op::Copy { to: at, from, n });
            at += n;
        }
        Ok(to)
    }

    /// One component of `base`, a value or a pointer, by an index that is computed.
    fn access(
        &mut self,
        inlined: &mut Inlined<'m>,
        base: Handle<Expression>,
        index: Handle<Expression>,
    ) -> Refused<Value> {
        let signed = self.num_of(inlined, index)? == Num::I32;
        let index = self.words_at(inlined, index)?;
        match self.value(inlined, base)? {
            Value::Pointer(pointer) => {
                let step = self.step(inlined, base, pointer)?;
                Ok(self.indexed(pointer, step, (index, signed)))
            }
            Value::Words(from) => {
                let inner = self.type_of(inlined, base).clone();
                let (limit, stride) = self.part(&inner)?;
                let at = self.reserve(1);
                self.emit(Op::Index {
                    to: at,
                    before: NONE,
                    index,
                    signed,
                    limit: Limit::Fixed(limit),
                    stride,
                    variable: NONE,
                });
                let to = self.reserve(stride);
                self.emit(Op::LoadLocal {
                    to,
                    base: from,
                    at,
                    n: stride,
                });
                Ok(Value::Words(to))
            }
            Value::Resource(_) => Err("arrays of bindings".to_owned()),
        }
    }

    /// The parts of a composite value: their number, and the words of each.
    fn part(&self, inner: &TypeInner) -> Refused<(u32, u32)> {
        match *inner {
            TypeInner::Vector { size, .. } => Ok((size as u32, 1)),
            TypeInner::Matrix { columns, rows, .. } => Ok((columns as u32, rows as u32)),
            TypeInner::Array { base, size, .. } => Ok((self.fixed(size)?, self.words(base)?)),
            ref other => Err(format!("an index into the type {other:?}")),
        }
    }

    fn access_index(
        &mut self,
        inlined: &mut Inlined<'m>,
        base: Handle<Expression>,
        index: u32,
    ) -> Refused<Value> {
        match self.value(inlined, base)? {
            Value::Pointer(pointer) => self.member(inlined, base, pointer, index),
            Value::Words(from) => {
                let inner = self.type_of(inlined, base).clone();
                let word = if let TypeInner::Struct { members, .. } = &inner {
                    let mut word = 0;
                    for member in &members[..index as usize] {
                        word += self.words(member.ty)?;
                    }
                    word
                } else {
                    index * self.part(&inner)?.1
                };
                Ok(Value::Words(from + word))
            }
            Value::Resource(_) => Err("arrays of bindings".to_owned()),
        }
    }

    fn binary(
        &mut self,
        inlined: &mut Inlined<'m>,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Refused<Reg> {
        let a = self.words_at(inlined, left)?;
        let b = self.words_at(inlined, right)?;
        let num = self.num_of(inlined, left)?;
        let (x, y) = (
            self.type_of(inlined, left).clone(),
            self.type_of(inlined, right).clone(),
        );
        let (n, m) = (self.words_of_inner(&x)?, self.words_of_inner(&y)?);
        let is_matrix = |t: &TypeInner| matches!(t, TypeInner::Matrix { .. });
        let is_scalar = |t: &TypeInner| matches!(t, TypeInner::Scalar(_));
        let product = op == BinaryOperator::Multiply && (is_matrix(&x) || is_matrix(&y));
        if product && !is_scalar(&x) && !is_scalar(&y) {
            // Columns and rows; a vector is a column on the right, a row on the left.
            let shape = |t: &TypeInner, row: bool| match *t {
                TypeInner::Matrix { columns, rows, .. } => (columns as u32, rows as u32),
                TypeInner::Vector { size, .. } if row => (size as u32, 1),
                TypeInner::Vector { size, .. } => (1, size as u32),
                _ => (1, 1),
            };
            let ((inner, rows), (columns, _)) = (shape(&x, true), shape(&y, false));
            let to = self.reserve(rows * columns);
            self.emit(Op::MatrixMultiply {
                num,
                to,
                a,
                b,
                rows,
                inner,
                columns,
            });
            return Ok(to);
        }
        let wide = n.max(m);
        let (a, b) = (
            if n < wide { self.splat(a, wide) } else { a },
            if m < wide { self.splat(b, wide) } else { b },
        );
        Ok(self.combine(op, num, a, b, wide))
    }

    fn relational(
        &mut self,
        inlined: &mut Inlined<'m>,
        fun: RelationalFunction,
        argument: Handle<Expression>,
    ) -> Refused<Reg> {
        let from = self.words_at(inlined, argument)?;
        let n = self.words_of(inlined, argument)?;
        let to = self.reserve(1);
        match fun {
            RelationalFunction::All => self.emit(Op::All { to, from, n }),
            RelationalFunction::Any => self.emit(Op::Any { to, from, n }),
            RelationalFunction::IsNan | RelationalFunction::IsInf => {
                return Err("isNan and isInf, which WGSL has not".to_owned());
            }
        };
        Ok(to)
    }

    fn cast(
        &mut self,
        inlined: &mut Inlined<'m>,
        expr: Handle<Expression>,
        kind: ScalarKind,
        convert: Option<u8>,
    ) -> Refused<Reg> {
        let from = self.words_at(inlined, expr)?;
        let n = self.words_of(inlined, expr)?;
        let was = self.num_of(inlined, expr)?;
        let Some(width) = convert else {
            if was == Num::F16 {
                return Err("a bitcast of f16".to_owned());
            }
            // The same bits; a word of its own, for the value may be a variable's.
            return Ok(from);
        };
        let becomes = super::types::num(naga::Scalar { kind, width })?;
        let to = self.reserve(n);
        self.emit(Op::Convert {
            to,
            from,
            n,
            was,
            becomes,
        });
        Ok(to)
    }

    /// What a cooperative load or store takes.
    pub(super) fn tile(
        &mut self,
        inlined: &mut Inlined<'m>,
        (rows, columns): (u32, u32),
        data: &naga::CooperativeData,
    ) -> Refused<u32> {
        let num = self.num_of(inlined, data.pointer)?;
        let pointer = self.pointer_at(inlined, data.pointer)?;
        let stride = self.words_at(inlined, data.stride)?;
        let Root::Memory(variable) = pointer.root else {
            return Err("a cooperative matrix in a private variable".to_owned());
        };
        self.code.tiles.push(Tile {
            variable,
            at: pointer.at,
            stride,
            rows,
            columns,
            row_major: data.row_major,
            num,
        });
        Ok(self.code.tiles.len() as u32 - 1)
    }

    fn cooperative_product(
        &mut self,
        inlined: &mut Inlined<'m>,
        a: Handle<Expression>,
        b: Handle<Expression>,
        c: Handle<Expression>,
    ) -> Refused<Reg> {
        let shape = |t: &TypeInner| match *t {
            TypeInner::CooperativeMatrix { columns, rows, .. } => Ok((columns as u32, rows as u32)),
            ref other => Err(format!("a cooperative product of the type {other:?}")),
        };
        let (inner, rows) = shape(self.type_of(inlined, a))?;
        let (columns, _) = shape(self.type_of(inlined, b))?;
        let num = self.num_of(inlined, c)?;
        let [a, b, c] = [
            self.words_at(inlined, a)?,
            self.words_at(inlined, b)?,
            self.words_at(inlined, c)?,
        ];
        let (to, loops) = (self.reserve(rows * columns), self.loops());
        self.emit(Op::CooperativeMultiplyAdd {
            to,
            a,
            b,
            c,
            size: [rows, inner, columns],
            num,
            loops,
        });
        Ok(to)
    }
}
