//! Statements: control flow, stores, and what invocations do together.

use naga::{Arena, Barrier, Block, Expression, GatherMode, Handle, Statement, SwitchValue};

use super::{Compiler, Exits, Inlined, Refused, Value};
use crate::sanitize::code::{Gather, NONE, Op, Reg};

/// Whether a block, or what it calls, does something for which invocations wait; `functions` says it of those before.
pub(super) fn together(block: &Block, functions: &[bool]) -> bool {
    block.iter().any(|statement| match statement {
        Statement::ControlBarrier(_)
        | Statement::WorkGroupUniformLoad { .. }
        | Statement::SubgroupBallot { .. }
        | Statement::SubgroupGather { .. }
        | Statement::SubgroupCollectiveOperation { .. }
        | Statement::CooperativeStore { .. } => true,
        Statement::Block(block) => together(block, functions),
        Statement::If { accept, reject, .. } => {
            together(accept, functions) || together(reject, functions)
        }
        Statement::Switch { cases, .. } => cases.iter().any(|c| together(&c.body, functions)),
        Statement::Loop {
            body, continuing, ..
        } => together(body, functions) || together(continuing, functions),
        Statement::Call { function, .. } => {
            functions.get(function.index()).copied().unwrap_or(true)
        }
        _ => false,
    })
}

/// Whether a function multiplies or loads matrices together.
pub(super) fn cooperates(expressions: &Arena<Expression>) -> bool {
    expressions.iter().any(|(_, e)| {
        matches!(
            e,
            Expression::CooperativeLoad { .. } | Expression::CooperativeMultiplyAdd { .. }
        )
    })
}

impl<'m> Compiler<'m> {
    /// The list of the counters of the loops that are open, by number.
    pub(super) fn loops(&mut self) -> u32 {
        let found = self.code.loops.iter().position(|l| *l == self.counters);
        let number = found.unwrap_or_else(|| {
            self.code.loops.push(self.counters.clone());
            self.code.loops.len() - 1
        });
        number as u32
    }

    /// Compiles statements, and gives the words of their values back.
    pub(super) fn block(&mut self, inlined: &mut Inlined<'m>, block: &'m Block) -> Refused<()> {
        let begin = self.free;
        self.statements(inlined, block)?;
        self.release(begin);
        Ok(())
    }

    fn statements(&mut self, inlined: &mut Inlined<'m>, block: &'m Block) -> Refused<()> {
        for (statement, span) in block.span_iter() {
            self.span = *span;
            self.statement(inlined, statement)?;
        }
        Ok(())
    }

    fn statement(&mut self, inlined: &mut Inlined<'m>, statement: &'m Statement) -> Refused<()> {
        match *statement {
            Statement::Emit(ref range) => {
                for handle in range.clone() {
                    let value = self.evaluate(inlined, handle)?;
                    inlined.values.insert(handle, value);
                }
            }
            Statement::Block(ref block) => self.block(inlined, block)?,
            Statement::If {
                condition,
                ref accept,
                ref reject,
            } => {
                let condition = self.words_at(inlined, condition)?;
                let unless = self.emit(Op::Unless { condition, to: 0 });
                self.block(inlined, accept)?;
                if reject.is_empty() {
                    self.land(&[unless]);
                } else {
                    let over = self.emit(Op::Jump { to: 0 });
                    self.land(&[unless]);
                    self.block(inlined, reject)?;
                    self.land(&[over]);
                }
            }
            Statement::Switch {
                selector,
                ref cases,
            } => {
                let selector = self.words_at(inlined, selector)?;
                self.switch(inlined, selector, cases)?;
            }
            Statement::Loop {
                ref body,
                ref continuing,
                break_if,
            } => self.repeat(inlined, body, continuing, break_if)?,
            Statement::Break => {
                let jump = self.emit(Op::Jump { to: 0 });
                let exits = inlined.exits.last_mut().ok_or("a break out of nothing")?;
                exits.breaks.push(jump);
            }
            Statement::Continue => {
                let jump = self.emit(Op::Jump { to: 0 });
                let continues = inlined.exits.iter_mut().rev();
                let mut continues = continues.filter_map(|e| e.continues.as_mut());
                continues
                    .next()
                    .ok_or("a continue outside of loops")?
                    .push(jump);
            }
            Statement::Return { value } => {
                if let Some(value) = value {
                    let from = self.words_at(inlined, value)?;
                    let n = self.words_of(inlined, value)?;
                    let to = inlined.result;
                    self.emit(Op::Copy { to, from, n });
                }
                let jump = self.emit(Op::Jump { to: 0 });
                inlined.returns.push(jump);
            }
            Statement::Kill => return Err("discard, which only fragments have".to_owned()),
            Statement::ControlBarrier(kind) => {
                let loops = self.loops();
                self.code.subgroups |= kind.contains(Barrier::SUB_GROUP);
                self.emit(Op::Barrier { kind, loops });
            }
            // It orders what one invocation does; it does not let others wait.
            Statement::MemoryBarrier(_) => {}
            Statement::Store { pointer, value } => self.store(inlined, pointer, value)?,
            Statement::Call {
                function,
                ref arguments,
                result,
            } => self.call(inlined, function, arguments, result)?,
            ref other => self.together(inlined, other)?,
        }
        Ok(())
    }

    fn switch(
        &mut self,
        inlined: &mut Inlined<'m>,
        selector: Reg,
        cases: &'m [naga::SwitchCase],
    ) -> Refused<()> {
        let mut entries = Vec::new();
        let mut default = None;
        for (i, case) in cases.iter().enumerate() {
            let value = match case.value {
                SwitchValue::I32(x) => x as u32,
                SwitchValue::U32(x) => x,
                SwitchValue::Default => {
                    default = Some(i);
                    continue;
                }
            };
            let jump = self.emit(Op::Case {
                selector,
                value,
                to: 0,
            });
            entries.push((i, jump));
        }
        let otherwise = self.emit(Op::Jump { to: 0 });
        inlined.exits.push(Exits::default());
        let mut ends = Vec::new();
        for (i, case) in cases.iter().enumerate() {
            let own: Vec<usize> = entries.iter().filter(|e| e.0 == i).map(|e| e.1).collect();
            self.land(&own);
            if default == Some(i) {
                self.land(&[otherwise]);
            }
            self.block(inlined, &case.body)?;
            if !case.fall_through {
                ends.push(self.emit(Op::Jump { to: 0 }));
            }
        }
        if default.is_none() {
            self.land(&[otherwise]);
        }
        self.land(&ends);
        let exits = inlined.exits.pop().unwrap_or_default();
        self.land(&exits.breaks);
        Ok(())
    }

    fn repeat(
        &mut self,
        inlined: &mut Inlined<'m>,
        body: &'m Block,
        continuing: &'m Block,
        break_if: Option<Handle<Expression>>,
    ) -> Refused<()> {
        // A loop around what invocations do together is counted: they must be in the same round of it.
        let counted = together(body, &self.together)
            || together(continuing, &self.together)
            || cooperates(&inlined.function.expressions);
        let free = self.free;
        if counted {
            let counter = self.reserve(1);
            self.emit(Op::LoopBegin { counter });
            self.counters.push(counter);
        }
        let begin = self.code.ops.len() as u32;
        if let Some(&counter) = self.counters.last().filter(|_| counted) {
            self.emit(Op::LoopNext { counter });
        }
        inlined.exits.push(Exits {
            breaks: Vec::new(),
            continues: Some(Vec::new()),
        });
        // What the body computed is still seen by what continues it.
        self.statements(inlined, body)?;
        let continues = inlined.exits.last_mut().and_then(|e| e.continues.take());
        self.land(&continues.unwrap_or_default());
        self.statements(inlined, continuing)?;
        match break_if {
            Some(condition) => {
                let condition = self.words_at(inlined, condition)?;
                self.emit(Op::Unless {
                    condition,
                    to: begin,
                });
            }
            None => {
                self.emit(Op::Jump { to: begin });
            }
        }
        let exits = inlined.exits.pop().unwrap_or_default();
        self.land(&exits.breaks);
        if counted {
            self.counters.pop();
        }
        self.release(free);
        Ok(())
    }

    fn call(
        &mut self,
        inlined: &mut Inlined<'m>,
        function: Handle<naga::Function>,
        arguments: &[Handle<Expression>],
        result: Option<Handle<Expression>>,
    ) -> Refused<()> {
        if self.code.ops.len() > super::MOST_OPS {
            return Err(format!("more than {} instructions", super::MOST_OPS));
        }
        let mut values = Vec::new();
        for &argument in arguments {
            values.push(self.value(inlined, argument)?);
        }
        let to = match result {
            Some(result) => {
                let n = self.words_of(inlined, result)?;
                self.reserve(n)
            }
            None => NONE,
        };
        let module = self.module;
        let mut called = Inlined::new(
            &module.functions[function],
            &self.info[function],
            values,
            to,
        );
        self.inline(&mut called)?;
        if let Some(result) = result {
            inlined.values.insert(result, Value::Words(to));
        }
        Ok(())
    }

    /// What invocations do together, or one after the other.
    fn together(&mut self, inlined: &mut Inlined<'m>, statement: &'m Statement) -> Refused<()> {
        match *statement {
            Statement::Atomic {
                pointer,
                fun,
                value,
                result,
            } => self.atomic(inlined, (pointer, fun, value), result),
            Statement::WorkGroupUniformLoad { pointer, result } => {
                let loops = self.loops();
                let kind = Barrier::WORK_GROUP;
                self.emit(Op::Barrier { kind, loops });
                let value = self.load(inlined, pointer)?;
                self.emit(Op::Barrier { kind, loops });
                inlined.values.insert(result, value);
                Ok(())
            }
            Statement::SubgroupBallot { .. }
            | Statement::SubgroupGather { .. }
            | Statement::SubgroupCollectiveOperation { .. } => {
                self.by_subgroups(inlined, statement)
            }
            Statement::ImageStore { .. } | Statement::ImageAtomic { .. } => {
                self.store_texel(inlined, statement)
            }
            Statement::CooperativeStore { target, ref data } => {
                let from = self.words_at(inlined, target)?;
                let naga::TypeInner::CooperativeMatrix { columns, rows, .. } =
                    *self.type_of(inlined, target)
                else {
                    return Err("a cooperative store of something else".to_owned());
                };
                let tile = self.tile(inlined, (rows as u32, columns as u32), data)?;
                let loops = self.loops();
                self.emit(Op::CooperativeStore { from, tile, loops });
                self.code.subgroups = true;
                Ok(())
            }
            Statement::RayQuery { .. } | Statement::RayPipelineFunction(_) => {
                Err("ray queries".to_owned())
            }
            ref other => Err(format!("the statement {other:?}")),
        }
    }

    /// Operations of a subgroup.
    fn by_subgroups(&mut self, inlined: &mut Inlined<'m>, statement: &'m Statement) -> Refused<()> {
        match *statement {
            Statement::SubgroupBallot { result, predicate } => {
                let predicate = match predicate {
                    Some(predicate) => self.words_at(inlined, predicate)?,
                    None => self.constant(&[1]),
                };
                let (to, loops) = (self.reserve(4), self.loops());
                self.emit(Op::Ballot {
                    to,
                    predicate,
                    loops,
                });
                self.of_subgroup(inlined, result, to)
            }
            Statement::SubgroupGather {
                mode,
                argument,
                result,
            } => self.gather(inlined, mode, argument, result),
            Statement::SubgroupCollectiveOperation {
                op,
                collective_op,
                argument,
                result,
            } => {
                let n = self.words_of(inlined, argument)?;
                let num = self.num_of(inlined, argument)?;
                let value = self.words_at(inlined, argument)?;
                let (to, loops) = (self.reserve(n), self.loops());
                self.emit(Op::Collective {
                    op,
                    kind: collective_op,
                    num,
                    to,
                    value,
                    n,
                    loops,
                });
                self.of_subgroup(inlined, result, to)
            }
            ref other => Err(format!("the statement {other:?}")),
        }
    }

    /// Stores to textures, and their atomics.
    fn store_texel(&mut self, inlined: &mut Inlined<'m>, statement: &'m Statement) -> Refused<()> {
        match *statement {
            Statement::ImageStore {
                image,
                coordinate,
                array_index,
                value,
            } => {
                let texel = self.texel(inlined, image, coordinate, array_index, None)?;
                let from = self.words_at(inlined, value)?;
                let (n, num) = (self.words_of(inlined, value)?, self.num_of(inlined, value)?);
                self.emit(Op::ImageStore {
                    texel,
                    from,
                    n,
                    num,
                });
                Ok(())
            }
            Statement::ImageAtomic {
                image,
                coordinate,
                array_index,
                fun,
                value,
            } => {
                let texel = self.texel(inlined, image, coordinate, array_index, None)?;
                let num = self.num_of(inlined, value)?;
                let value = self.words_at(inlined, value)?;
                self.emit(Op::ImageAtomic {
                    texel,
                    fun,
                    num,
                    value,
                });
                Ok(())
            }
            ref other => Err(format!("the statement {other:?}")),
        }
    }

    fn of_subgroup(
        &mut self,
        inlined: &mut Inlined<'m>,
        result: Handle<Expression>,
        to: Reg,
    ) -> Refused<()> {
        self.code.subgroups = true;
        inlined.values.insert(result, Value::Words(to));
        Ok(())
    }

    fn gather(
        &mut self,
        inlined: &mut Inlined<'m>,
        mode: GatherMode,
        argument: Handle<Expression>,
        result: Handle<Expression>,
    ) -> Refused<()> {
        let n = self.words_of(inlined, argument)?;
        let value = self.words_at(inlined, argument)?;
        let (how, index) = match mode {
            GatherMode::BroadcastFirst => (Gather::First, None),
            GatherMode::Broadcast(i) | GatherMode::Shuffle(i) => (Gather::Lane, Some(i)),
            GatherMode::ShuffleDown(i) => (Gather::Down, Some(i)),
            GatherMode::ShuffleUp(i) => (Gather::Up, Some(i)),
            GatherMode::ShuffleXor(i) => (Gather::Xor, Some(i)),
            GatherMode::QuadBroadcast(i) => (Gather::QuadLane, Some(i)),
            GatherMode::QuadSwap(direction) => (Gather::QuadSwap(direction as u32 + 1), None),
        };
        let index = match index {
            Some(index) => self.words_at(inlined, index)?,
            None => NONE,
        };
        let (to, loops) = (self.reserve(n), self.loops());
        self.emit(Op::Gather {
            how,
            to,
            value,
            index,
            n,
            loops,
        });
        self.of_subgroup(inlined, result, to)
    }

    fn atomic(
        &mut self,
        inlined: &mut Inlined<'m>,
        (pointer, fun, value): (Handle<Expression>, naga::AtomicFunction, Handle<Expression>),
        result: Option<Handle<Expression>>,
    ) -> Refused<()> {
        let at = self.pointer_at(inlined, pointer)?;
        let super::Root::Memory(variable) = at.root else {
            return Err("an atomic in a private variable".to_owned());
        };
        let num = self.num_of(inlined, value)?;
        let value = self.words_at(inlined, value)?;
        let compare = match fun {
            naga::AtomicFunction::Exchange {
                compare: Some(compare),
            } => self.words_at(inlined, compare)?,
            _ => NONE,
        };
        let to = self.reserve(2);
        self.emit(Op::Atomic {
            fun,
            num,
            to,
            variable,
            at: at.at,
            value,
            compare,
        });
        if let Some(result) = result {
            inlined.values.insert(result, Value::Words(to));
        }
        Ok(())
    }
}
