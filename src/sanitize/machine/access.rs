//! Indices, loads, stores and atomics of variables in memory.

use naga::AtomicFunction;

use super::super::code::{At, Code, Limit, NONE, Num, Place, Reg};
use super::super::finding::Kind;
use super::arithmetic::{apply, binary};
use super::lane::Context;
use super::memory::{Conflict, Memory, NEVER, Word};
use crate::sanitize::code::Fun;

impl Context<'_> {
    pub(super) fn memory(&mut self, variable: u32) -> &mut Memory {
        match self.code.variables[variable as usize].place {
            Place::Workgroup(i) => &mut self.memories[i as usize],
            Place::Buffer(i) => &mut self.buffers[i as usize],
            Place::Image(_) | Place::Sampler => unreachable!("a texture is no memory of words"),
        }
    }

    fn epoch(&self, variable: u32) -> u32 {
        match self.code.variables[variable as usize].place {
            Place::Workgroup(_) => self.epochs.workgroup,
            _ => self.epochs.storage,
        }
    }

    fn is_global(&self, variable: u32) -> bool {
        matches!(
            self.code.variables[variable as usize].place,
            Place::Buffer(_)
        )
    }

    /// Elements of the array of any length that begins at byte `offset`.
    pub(super) fn length(&mut self, variable: u32, offset: u32, stride: u32) -> u32 {
        let bytes = self.memory(variable).bytes();
        (bytes.saturating_sub(u64::from(offset)) / u64::from(stride)) as u32
    }

    pub(super) fn index(
        &mut self,
        to: Reg,
        before: Reg,
        (index, signed): (Reg, bool),
        (limit, variable): (Limit, u32),
        stride: u32,
    ) {
        let word = self.get(index);
        if word.from != 0 {
            self.matters(word.from, "and is taken for an index");
        }
        let length = match limit {
            Limit::Fixed(n) => n,
            Limit::Runtime { variable, offset } => self.length(variable, offset, stride),
        };
        let before = match before {
            NONE => 0,
            before => self.get(before).bits,
        };
        let place = if word.bits >= length {
            let (op, who) = (self.op, self.who());
            let value = if signed {
                (word.bits as i32).to_string()
            } else {
                word.bits.to_string()
            };
            let name = match self.code.variables.get(variable as usize) {
                Some(variable) => format!("in '{}'", variable.name),
                None => "in a value".to_owned(),
            };
            self.log.add(Kind::OutOfBounds, op, None, |_| {
                format!("{who} takes index {value} {name}, where {length} are")
            });
            NONE
        } else if before == NONE {
            NONE
        } else {
            before + word.bits * stride
        };
        self.put(to, Word::sound(place));
    }

    /// Reports an access of `width` bytes from byte `byte` on, which races with another; `value` is what it read or writes, `before` what was there.
    fn race(
        &mut self,
        conflict: Conflict,
        (variable, byte, num): (u32, u32, Num),
        value: u32,
        before: Option<Option<Word>>,
    ) {
        let (op, code, id, lane) = (self.op, self.code, self.id, self.lane);
        let (other, group) = (conflict.other, self.group);
        let before = before.map(|word| word.filter(|w| w.from != NEVER && conflict.wrote));
        let same = before.flatten().is_some_and(|w| w.bits == value);
        let kind = if same { Kind::RaceOfEquals } else { Kind::Race };
        self.log.add(kind, op, Some(other.op), |lines| {
            let size = code.workgroup_size;
            let (who, whose) = (super::who(id, size, lane), super::lane_of(size, other.lane));
            let value = shown(num, value);
            let does = match before {
                None => format!("reads {value} from"),
                Some(None) => format!("writes {value} to"),
                Some(Some(_)) if same => format!("writes {value}, which is there already, to"),
                Some(Some(was)) => format!("writes {value} over {} to", shown(num, was.bits)),
            };
            let place = named(code, variable, byte, num.width());
            let elsewhere = match other.group {
                number if number == group + 1 => String::new(),
                number => format!(" of workgroup number {}", number - 1),
            };
            let did = if conflict.wrote { "wrote" } else { "read" };
            let line = lines.line(other.op).number;
            format!(
                "{who} {does} {place}, which {whose}{elsewhere} {did} in line {line}: nothing orders the two"
            )
        });
    }

    /// Says whether others may see it.
    pub(super) fn load(&mut self, to: Reg, variable: u32, at: At, n: u32, num: Num) -> bool {
        let width = num.width();
        let global = self.is_global(variable);
        if global {
            self.counts.loads += 1;
            self.counts.bytes_loaded += u64::from(n * width);
        } else {
            self.counts.workgroup_loads += 1;
        }
        let who = self.marked(self.epoch(variable));
        let Some(first) = self.address(at) else {
            self.frame[to as usize..][..n as usize].fill(Word::sound(0));
            return true;
        };
        for i in 0..n {
            let byte = first + i * width;
            let memory = self.memory(variable);
            let conflict = memory.reads(byte, width, &who);
            let word = memory.get(byte, width).unwrap_or_default();
            if let Some(conflict) = conflict {
                self.race(conflict, (variable, byte, num), word.bits, None);
            }
            let name = &self.code.variables[variable as usize].name;
            let mut word =
                self.unwritten(word, || format!("word {} of '{name}'", byte / width.max(1)));
            if num == Num::F16 {
                let half = half::f16::from_bits(word.bits as u16);
                word.bits = half.to_f32().to_bits();
            }
            self.put(to + i, word);
        }
        self.memory(variable).is_shared()
    }

    pub(super) fn store(&mut self, variable: u32, at: At, from: Reg, n: u32, num: Num) {
        let width = num.width();
        let global = self.is_global(variable);
        if global {
            self.counts.stores += 1;
            self.counts.bytes_stored += u64::from(n * width);
        } else {
            self.counts.workgroup_stores += 1;
        }
        let who = self.marked(self.epoch(variable));
        let Some(first) = self.address(at) else {
            return;
        };
        for i in 0..n {
            let byte = first + i * width;
            let mut word = self.get(from + i);
            if num == Num::F16 {
                let half = half::f16::from_f32(f32::from_bits(word.bits));
                word.bits = u32::from(half.to_bits());
            }
            let memory = self.memory(variable);
            let conflict = memory.writes(byte, width, &who);
            let before = memory.get(byte, width);
            let beyond = byte >= memory.declared;
            memory.set(byte, width, word);
            if let Some(conflict) = conflict {
                self.race(conflict, (variable, byte, num), word.bits, Some(before));
            }
            if beyond {
                let declared = self.memory(variable).declared;
                let (op, code, who) = (self.op, self.code, self.who());
                self.log.add(Kind::OutOfBounds, op, None, |_| {
                    let place = named(code, variable, byte, width);
                    format!("{who} writes {place}, which has {} words", declared / width)
                });
            }
        }
    }

    /// An atomic function, or `None` for a load; `compare` makes an exchange one that compares.
    pub(super) fn atomic(
        &mut self,
        fun: Option<AtomicFunction>,
        num: Num,
        to: Reg,
        (variable, at): (u32, At),
        value: Reg,
        compare: Reg,
    ) {
        if self.is_global(variable) {
            self.counts.atomics += 1;
        }
        let Some(byte) = self.address(at) else {
            for i in 0..if to == NONE {
                0
            } else {
                1 + u32::from(compare != NONE)
            } {
                self.put(to + i, Word::sound(0));
            }
            return;
        };
        let op = self.op;
        let memory = self.memory(variable);
        if fun.is_some() {
            memory.changes(byte, 4, op);
        } else {
            memory.looks(byte, 4);
        }
        let mut old = memory.get(byte, 4).unwrap_or_default();
        let exchanges = matches!(fun, Some(AtomicFunction::Exchange { .. })) && compare == NONE;
        if !exchanges {
            let name = &self.code.variables[variable as usize].name;
            old = self.unwritten(old, || format!("word {} of '{name}'", byte / 4));
        } else if to == NONE {
            old = Word::default();
        }
        let given = match value {
            NONE => Word::default(),
            value => self.get(value),
        };
        let mut exchanged = false;
        let new = fun.and_then(|fun| {
            if let AtomicFunction::Exchange { compare: Some(_) } = fun {
                let expected = self.get(compare);
                exchanged = expected.bits == old.bits;
                return exchanged.then_some(given);
            }
            let bits = change(fun, num, old.bits, given.bits);
            let from = match fun {
                AtomicFunction::Exchange { .. } => given.from,
                _ if old.from != 0 => old.from,
                _ => given.from,
            };
            Some(Word { bits, from })
        });
        if let Some(new) = new {
            self.memory(variable).set(byte, 4, new);
        }
        if to != NONE {
            self.put(to, old);
            if compare != NONE {
                let bits = u32::from(exchanged);
                self.put(to + 1, Word { bits, ..old });
            }
        }
    }
}

/// A place in memory in words.
fn named(code: &Code, variable: u32, byte: u32, width: u32) -> String {
    let variable = &code.variables[variable as usize];
    format!("word {} of '{}'", byte / width.max(1), variable.name)
}

/// What lies in memory, as its type has it.
fn shown(num: Num, bits: u32) -> String {
    match num {
        Num::F32 => f32::from_bits(bits).to_string(),
        Num::F16 => half::f16::from_bits(bits as u16).to_string(),
        Num::I32 => (bits as i32).to_string(),
        Num::U32 => bits.to_string(),
        Num::Bool => (bits != 0).to_string(),
    }
}

/// What an atomic function makes of a value.
pub(super) fn change(fun: AtomicFunction, num: Num, old: u32, value: u32) -> u32 {
    use naga::{BinaryOperator as B, MathFunction as M};
    let of = |op| binary(op, num, old, value);
    let choose = |fun| apply(Fun::Math(fun), num, [old, value, 0, 0]);
    match fun {
        AtomicFunction::Add => of(B::Add),
        AtomicFunction::Subtract => of(B::Subtract),
        AtomicFunction::And => of(B::And),
        AtomicFunction::ExclusiveOr => of(B::ExclusiveOr),
        AtomicFunction::InclusiveOr => of(B::InclusiveOr),
        AtomicFunction::Min => choose(M::Min),
        AtomicFunction::Max => choose(M::Max),
        AtomicFunction::Exchange { .. } => value,
    }
}
