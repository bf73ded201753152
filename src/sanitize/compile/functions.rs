//! WGSL's builtin functions of numbers: those of whole vectors as steps, all others element by element.

use naga::{BinaryOperator, Expression, Handle, MathFunction, TypeInner};

use super::{Compiler, Inlined, Refused};
use crate::sanitize::code::{Fun, Num, Op, Reg};

impl<'m> Compiler<'m> {
    pub(super) fn math(
        &mut self,
        inlined: &mut Inlined<'m>,
        fun: MathFunction,
        first: Handle<Expression>,
        more: [Option<Handle<Expression>>; 3],
    ) -> Refused<Reg> {
        let num = self.num_of(inlined, first)?;
        let n = self.words_of(inlined, first)?;
        let mut args = vec![self.words_at(inlined, first)?];
        let mut sizes = vec![n];
        for handle in more.into_iter().flatten() {
            args.push(self.words_at(inlined, handle)?);
            sizes.push(self.words_of(inlined, handle)?);
        }
        match fun {
            MathFunction::Transpose | MathFunction::Determinant => {
                self.of_matrix(inlined, fun, first, args[0])
            }
            MathFunction::Inverse | MathFunction::Outer => {
                Err(format!("{fun:?} of a matrix, which WGSL has not"))
            }
            MathFunction::Modf | MathFunction::Frexp => Ok(self.in_two(fun, num, args[0], n)),
            MathFunction::Dot
            | MathFunction::Length
            | MathFunction::Distance
            | MathFunction::Normalize
            | MathFunction::Cross
            | MathFunction::FaceForward
            | MathFunction::Reflect
            | MathFunction::Refract => self.of_vectors(fun, num, &args, n),
            MathFunction::Pack4x8snorm
            | MathFunction::Pack4x8unorm
            | MathFunction::Pack2x16snorm
            | MathFunction::Pack2x16unorm
            | MathFunction::Pack2x16float
            | MathFunction::Pack4xI8
            | MathFunction::Pack4xU8
            | MathFunction::Pack4xI8Clamp
            | MathFunction::Pack4xU8Clamp => {
                let (to, from) = (self.reserve(1), args[0]);
                self.emit(Op::Pack { fun, to, from });
                Ok(to)
            }
            MathFunction::Unpack4x8snorm
            | MathFunction::Unpack4x8unorm
            | MathFunction::Unpack4xI8
            | MathFunction::Unpack4xU8 => {
                let (to, from) = (self.reserve(4), args[0]);
                self.emit(Op::Unpack { fun, to, from });
                Ok(to)
            }
            MathFunction::Unpack2x16snorm
            | MathFunction::Unpack2x16unorm
            | MathFunction::Unpack2x16float => {
                let (to, from) = (self.reserve(2), args[0]);
                self.emit(Op::Unpack { fun, to, from });
                Ok(to)
            }
            other => {
                for (arg, size) in args.iter_mut().zip(sizes) {
                    if size < n {
                        *arg = self.splat(*arg, n);
                    }
                }
                Ok(self.apply(Fun::Math(other), num, &args, n))
            }
        }
    }

    fn of_matrix(
        &mut self,
        inlined: &Inlined<'m>,
        fun: MathFunction,
        matrix: Handle<Expression>,
        from: Reg,
    ) -> Refused<Reg> {
        let TypeInner::Matrix { columns, rows, .. } = *self.type_of(inlined, matrix) else {
            return Err(format!("{fun:?} of something that is no matrix"));
        };
        let (columns, rows) = (columns as u32, rows as u32);
        if fun == MathFunction::Determinant {
            let to = self.reserve(1);
            self.emit(Op::Determinant {
                to,
                from,
                n: columns,
            });
            return Ok(to);
        }
        let to = self.reserve(columns * rows);
        for c in 0..columns {
            for r in 0..rows {
                self.emit(Op::Copy {
                    to: to + r * columns + c,
                    from: from + c * rows + r,
                    n: 1,
                });
            }
        }
        Ok(to)
    }

    /// Functions whose result is a struct of two parts.
    fn in_two(&mut self, fun: MathFunction, num: Num, x: Reg, n: u32) -> Reg {
        let (first, second) = if fun == MathFunction::Modf {
            let whole = self.apply(Fun::Math(MathFunction::Trunc), num, &[x], n);
            (
                self.combine(BinaryOperator::Subtract, num, x, whole, n),
                whole,
            )
        } else {
            (
                self.apply(Fun::FrexpFraction, num, &[x], n),
                self.apply(Fun::FrexpExponent, num, &[x], n),
            )
        };
        let to = self.reserve(2 * n);
        self.emit(Op::Copy { to, from: first, n });
        self.emit(Op::Copy {
            to: to + n,
            from: second,
            n,
        });
        to
    }

    fn dot(&mut self, num: Num, a: Reg, b: Reg, n: u32) -> Reg {
        let to = self.reserve(1);
        self.emit(Op::Dot { num, to, a, b, n });
        to
    }

    fn length(&mut self, num: Num, x: Reg, n: u32) -> Reg {
        if n == 1 {
            return self.apply(Fun::Math(MathFunction::Abs), num, &[x], 1);
        }
        let square = self.dot(num, x, x, n);
        self.apply(Fun::Math(MathFunction::Sqrt), num, &[square], 1)
    }

    fn of_vectors(&mut self, fun: MathFunction, num: Num, args: &[Reg], n: u32) -> Refused<Reg> {
        use BinaryOperator::{Divide, Less, Multiply, Subtract};
        let one = |c: &mut Self, x: f32| c.constant(&[x.to_bits()]);
        Ok(match fun {
            MathFunction::Dot => self.dot(num, args[0], args[1], n),
            MathFunction::Length => self.length(num, args[0], n),
            MathFunction::Distance => {
                let way = self.combine(Subtract, num, args[0], args[1], n);
                self.length(num, way, n)
            }
            MathFunction::Normalize => {
                let length = self.length(num, args[0], n);
                let length = self.splat(length, n);
                self.combine(Divide, num, args[0], length, n)
            }
            MathFunction::Cross => {
                let turned = |c: &mut Self, from: Reg, by: u32| {
                    let to = c.reserve(3);
                    for i in 0..3 {
                        let from = from + (i + by) % 3;
                        c.emit(Op::Copy {
                            to: to + i,
                            from,
                            n: 1,
                        });
                    }
                    to
                };
                let [a1, b2] = [turned(self, args[0], 1), turned(self, args[1], 2)];
                let [a2, b1] = [turned(self, args[0], 2), turned(self, args[1], 1)];
                let plus = self.combine(Multiply, num, a1, b2, 3);
                let minus = self.combine(Multiply, num, a2, b1, 3);
                self.combine(Subtract, num, plus, minus, 3)
            }
            MathFunction::FaceForward => {
                let along = self.dot(num, args[1], args[2], n);
                let zero = one(self, 0.0);
                let condition = self.combine(Less, num, along, zero, 1);
                let no = self.apply(Fun::Negate, num, &[args[0]], n);
                let to = self.reserve(n);
                self.emit(Op::Select {
                    to,
                    condition,
                    step: 0,
                    yes: args[0],
                    no,
                    n,
                });
                to
            }
            // e1 - 2 (e2 . e1) e2
            MathFunction::Reflect => {
                let along = self.dot(num, args[1], args[0], n);
                let two = one(self, 2.0);
                let twice = self.combine(Multiply, num, along, two, 1);
                let twice = self.splat(twice, n);
                let way = self.combine(Multiply, num, twice, args[1], n);
                self.combine(Subtract, num, args[0], way, n)
            }
            MathFunction::Refract => self.refract(num, args, n),
            other => return Err(format!("{other:?} of vectors")),
        })
    }

    /// k = 1 - e3^2 (1 - (e2 . e1)^2); e3 e1 - (e3 (e2 . e1) + sqrt(k)) e2, or 0 where k is negative (WGSL, section 17.5.50).
    fn refract(&mut self, num: Num, args: &[Reg], n: u32) -> Reg {
        use BinaryOperator::{Add, Less, Multiply, Subtract};
        let one = self.constant(&[1_f32.to_bits()]);
        let zeros = self.zeros(n);
        let along = self.dot(num, args[1], args[0], n);
        let square = self.combine(Multiply, num, along, along, 1);
        let rest = self.combine(Subtract, num, one, square, 1);
        let index = self.combine(Multiply, num, args[2], args[2], 1);
        let bent = self.combine(Multiply, num, index, rest, 1);
        let k = self.combine(Subtract, num, one, bent, 1);
        let condition = self.combine(Less, num, k, zeros, 1);
        let root = {
            let kept = self.apply(Fun::Math(MathFunction::Max), num, &[k, zeros], 1);
            self.apply(Fun::Math(MathFunction::Sqrt), num, &[kept], 1)
        };
        let share = self.combine(Multiply, num, args[2], along, 1);
        let share = self.combine(Add, num, share, root, 1);
        let [share, index] = [self.splat(share, n), self.splat(args[2], n)];
        let forward = self.combine(Multiply, num, index, args[0], n);
        let down = self.combine(Multiply, num, share, args[1], n);
        let no = self.combine(Subtract, num, forward, down, n);
        let to = self.reserve(n);
        self.emit(Op::Select {
            to,
            condition,
            step: 0,
            yes: zeros,
            no,
            n,
        });
        to
    }
}
