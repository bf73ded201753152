//! One invocation, instruction by instruction.

use naga::BinaryOperator;

use super::super::Counts;
use super::super::code::{At, Code, Fun, NONE, Num, Op, Reg};
use super::super::finding::Kind;
use super::super::log::Log;
use super::arithmetic::{
    apply, binary, convert, determinant, flops, flops_of, makes_float, numbers, pack, unpack,
};
use super::memory::{Mark, Memory, NEVER, Who, Word};
use super::{Epochs, Image, who};

/// Why an invocation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At something that invocations do together.
    Together,
    End,
    /// After an access that others may see.
    Paused,
    /// Its turn is over.
    Turn,
}

/// All that an invocation sees.
pub(super) struct Context<'c> {
    pub(super) code: &'c Code,
    pub(super) frame: &'c mut [Word],
    pub(super) memories: &'c mut [Memory],
    pub(super) buffers: &'c mut [Memory],
    pub(super) images: &'c mut [Image],
    pub(super) log: &'c mut Log,
    pub(super) counts: &'c mut Counts,
    pub(super) epochs: Epochs,
    pub(super) group: u32,
    pub(super) id: [u32; 3],
    pub(super) lane: u16,
    pub(super) sub_epoch: u16,
    pub(super) subgroup_size: u32,
    /// The instruction that is next, or under way.
    pub(super) op: u32,
}

impl Context<'_> {
    /// Runs at most `turn` instructions, and says how many it ran.
    pub(super) fn run(&mut self, turn: u64, pause: bool) -> (Stop, u64) {
        let mut spent = 0;
        loop {
            if spent == turn {
                return (Stop::Turn, spent);
            }
            spent += 1;
            let op = self.code.ops[self.op as usize];
            match op {
                Op::Jump { to } => {
                    self.op = to;
                    continue;
                }
                Op::Unless { condition, to } => {
                    if self.decide(condition) == 0 {
                        self.op = to;
                        continue;
                    }
                }
                Op::Case {
                    selector,
                    value,
                    to,
                } => {
                    if self.decide(selector) == value {
                        self.op = to;
                        continue;
                    }
                }
                Op::End => return (Stop::End, spent),
                Op::Barrier { .. }
                | Op::Ballot { .. }
                | Op::Gather { .. }
                | Op::Collective { .. }
                | Op::CooperativeLoad { .. }
                | Op::CooperativeStore { .. }
                | Op::CooperativeMultiplyAdd { .. } => return (Stop::Together, spent),
                other => {
                    let shared = self.execute(&other);
                    if shared && pause {
                        self.op += 1;
                        return (Stop::Paused, spent);
                    }
                }
            }
            self.op += 1;
        }
    }

    /// Executes an instruction after which the next one follows; says whether others may see it.
    fn execute(&mut self, op: &Op) -> bool {
        match *op {
            Op::Copy { to, from, n } => {
                let (to, from) = (to as usize, from as usize);
                self.frame.copy_within(from..from + n as usize, to);
            }
            Op::Splat { to, from, n } => {
                let word = self.get(from);
                self.frame[to as usize..][..n as usize].fill(word);
            }
            Op::LoopBegin { counter } => self.put(counter, Word::sound(0)),
            Op::LoopNext { counter } => self.frame[counter as usize].bits += 1,
            Op::Binary {
                op,
                num,
                to,
                a,
                b,
                n,
            } => self.binary(op, num, [to, a, b], n),
            Op::Apply {
                fun,
                num,
                to,
                args,
                n,
            } => self.apply(fun, num, to, args, n),
            Op::Select {
                to,
                condition,
                step,
                yes,
                no,
                n,
            } => {
                for i in 0..n {
                    let chosen = self.get(condition + i * step);
                    let mut word = self.get(if chosen.bits != 0 { yes } else { no } + i);
                    if word.from == 0 {
                        word.from = chosen.from;
                    }
                    self.put(to + i, word);
                }
            }
            Op::Convert {
                to,
                from,
                n,
                was,
                becomes,
            } => self.convert(to, from, n, (was, becomes)),
            ref other => return self.execute_more(other),
        }
        false
    }

    /// The same of whole vectors and matrices, and of indices.
    fn execute_more(&mut self, op: &Op) -> bool {
        match *op {
            Op::All { to, from, n } => self.fold(to, from, n, 1, |a, b| a & b),
            Op::Any { to, from, n } => self.fold(to, from, n, 0, |a, b| a | b),
            Op::Dot { num, to, a, b, n } => self.product(num, to, (a, 1), (b, 1), n),
            Op::MatrixMultiply {
                num,
                to,
                a,
                b,
                rows,
                inner,
                columns,
            } => {
                for c in 0..columns {
                    for r in 0..rows {
                        let to = to + c * rows + r;
                        self.product(num, to, (a + r, rows), (b + c * inner, 1), inner);
                    }
                }
            }
            Op::Determinant { to, from, n } => {
                let words = &self.frame[from as usize..][..(n * n) as usize];
                let reals: Vec<f32> = words.iter().map(|w| f32::from_bits(w.bits)).collect();
                let from = words.iter().map(|w| w.from).find(|&f| f != 0).unwrap_or(0);
                let bits = determinant(&reals, n as usize).to_bits();
                self.put(to, Word { bits, from });
            }
            Op::Pack { fun, to, from } => {
                let count = numbers(fun);
                let words: Vec<Word> = (0..count).map(|i| self.get(from + i)).collect();
                let bits: Vec<u32> = words.iter().map(|w| w.bits).collect();
                let from = words.iter().map(|w| w.from).find(|&f| f != 0).unwrap_or(0);
                let bits = pack(fun, &bits);
                self.put(to, Word { bits, from });
            }
            Op::Unpack { fun, to, from } => {
                let word = self.get(from);
                for i in 0..numbers(fun) {
                    let bits = unpack(fun, word.bits, i);
                    self.put(to + i, Word { bits, ..word });
                }
            }
            Op::Index {
                to,
                before,
                index,
                signed,
                limit,
                stride,
                variable,
            } => self.index(to, before, (index, signed), (limit, variable), stride),
            Op::LoadLocal { to, base, at, n } => {
                let at = self.get(at).bits;
                for i in 0..n {
                    let word = match at {
                        NONE => Word::sound(0),
                        at => self.get(base + at + i),
                    };
                    self.put(to + i, word);
                }
            }
            Op::StoreLocal { base, at, from, n } => {
                let at = self.get(at).bits;
                if at != NONE {
                    let (to, from) = ((base + at) as usize, from as usize);
                    self.frame.copy_within(from..from + n as usize, to);
                }
            }
            ref other => return self.execute_shared(other),
        }
        false
    }

    #[inline]
    pub(super) fn get(&self, at: Reg) -> Word {
        self.frame[at as usize]
    }

    #[inline]
    pub(super) fn put(&mut self, at: Reg, word: Word) {
        self.frame[at as usize] = word;
    }

    /// This invocation in words.
    pub(super) fn who(&self) -> String {
        who(self.id, self.code.workgroup_size, self.lane)
    }

    pub(super) fn marked(&self, epoch: u32) -> Who {
        let mark = Mark {
            group: self.group + 1,
            epoch,
            op: self.op,
            lane: self.lane,
            sub_epoch: self.sub_epoch,
        };
        Who {
            mark,
            subgroup_size: self.subgroup_size,
        }
    }

    /// A value that control flow hangs on.
    fn decide(&mut self, at: Reg) -> u32 {
        let word = self.get(at);
        if word.from != 0 {
            self.matters(word.from, "and a branch hangs on it");
        }
        word.bits
    }

    /// Reports an origin whose value came to matter here.
    pub(super) fn matters(&mut self, origin: u32, effect: &str) {
        let op = self.op;
        self.log.matters(origin, Some(op), || effect.to_owned());
    }

    fn binary(&mut self, op: BinaryOperator, num: Num, [to, a, b]: [Reg; 3], n: u32) {
        if num.is_float() {
            self.counts.flops += flops(op) * u64::from(n);
        }
        let check = num.is_float() && makes_float(op);
        for i in 0..n {
            let (x, y) = (self.get(a + i), self.get(b + i));
            let bits = binary(op, num, x.bits, y.bits);
            let mut from = if x.from != 0 { x.from } else { y.from };
            if check && !is_finite(bits) && from == 0 && is_finite(x.bits) && is_finite(y.bits) {
                let words = || format!("{} {} {}", real(x), symbol(op), real(y));
                from = self.born(bits, words);
            }
            self.put(to + i, Word { bits, from });
        }
    }

    fn apply(&mut self, fun: Fun, num: Num, to: Reg, args: [Reg; 4], n: u32) {
        let count = args.iter().take_while(|&&a| a != NONE).count();
        if num.is_float() {
            self.counts.flops += flops_of(fun) * u64::from(n);
        }
        let check = num.is_float() && fun != Fun::FrexpExponent;
        for i in 0..n {
            let mut words = [Word::default(); 4];
            for (word, &arg) in words.iter_mut().zip(&args[..count]) {
                *word = self.get(arg + i);
            }
            let bits = apply(fun, num, words.map(|w| w.bits));
            let mut from = words.iter().map(|w| w.from).find(|&f| f != 0).unwrap_or(0);
            let sound = from == 0 && words[..count].iter().all(|w| is_finite(w.bits));
            if check && sound && !is_finite(bits) {
                let words = || {
                    let args: Vec<String> = words[..count].iter().map(|w| real(*w)).collect();
                    format!("{}({})", name(fun), args.join(", "))
                };
                from = self.born(bits, words);
            }
            self.put(to + i, Word { bits, from });
        }
    }

    fn convert(&mut self, to: Reg, from: Reg, n: u32, (was, becomes): (Num, Num)) {
        for i in 0..n {
            let word = self.get(from + i);
            let bits = convert(was, becomes, word.bits);
            let mut origin = word.from;
            let narrows = becomes == Num::F16 && origin == 0;
            let finite = !was.is_float() || is_finite(word.bits);
            if narrows && finite && !is_finite(bits) {
                let words = || format!("f16({})", real(word));
                origin = self.born(bits, words);
            }
            let word = Word { bits, from: origin };
            self.put(to + i, word);
        }
    }

    fn fold(&mut self, to: Reg, from: Reg, n: u32, begin: u32, with: fn(u32, u32) -> u32) {
        let mut word = Word::sound(begin);
        for i in 0..n {
            let next = self.get(from + i);
            word.bits = with(word.bits, next.bits);
            if word.from == 0 {
                word.from = next.from;
            }
        }
        self.put(to, word);
    }

    /// The sum of products of two lists, each with its stride.
    fn product(&mut self, num: Num, to: Reg, a: (Reg, u32), b: (Reg, u32), n: u32) {
        let float = num.is_float();
        let mut sum = Word::sound(0);
        let mut finite = true;
        for i in 0..n {
            let (x, y) = (self.get(a.0 + i * a.1), self.get(b.0 + i * b.1));
            finite &= is_finite(x.bits) && is_finite(y.bits);
            let product = binary(BinaryOperator::Multiply, num, x.bits, y.bits);
            sum.bits = match i {
                0 => product,
                _ => binary(BinaryOperator::Add, num, sum.bits, product),
            };
            for from in [x.from, y.from] {
                if sum.from == 0 {
                    sum.from = from;
                }
            }
        }
        if float {
            self.counts.flops += 2 * u64::from(n) - 1;
            if sum.from == 0 && finite && !is_finite(sum.bits) {
                let words = || format!("a sum of {n} products");
                sum.from = self.born(sum.bits, words);
            }
        }
        self.put(to, sum);
    }

    /// The origin of a NaN or an infinity that is born here.
    fn born(&mut self, bits: u32, of: impl FnOnce() -> String) -> u32 {
        let (value, op) = (f32::from_bits(bits), self.op);
        let who = self.who();
        self.log.origin(Kind::NotFinite, op, || {
            format!("{who} gets {value} as {}", of())
        })
    }

    /// Where an instruction's pointer goes; `None` where its index lay outside.
    pub(super) fn address(&self, at: At) -> Option<u32> {
        match at.dynamic {
            NONE => Some(at.constant),
            dynamic => match self.get(dynamic).bits {
                NONE => None,
                bits => Some(bits.wrapping_add(at.constant)),
            },
        }
    }

    /// What is loaded from a cell that nobody wrote: its origin is this place.
    pub(super) fn unwritten(&mut self, word: Word, name: impl FnOnce() -> String) -> Word {
        if word.from != NEVER {
            return word;
        }
        let (who, op) = (self.who(), self.op);
        let from = self.log.origin(Kind::Uninitialized, op, || {
            format!("{who} reads {}, which nobody wrote", name())
        });
        Word { from, ..word }
    }
}

pub(super) fn is_finite(bits: u32) -> bool {
    bits & 0x7f80_0000 != 0x7f80_0000
}

fn real(word: Word) -> String {
    f32::from_bits(word.bits).to_string()
}

fn symbol(op: BinaryOperator) -> &'static str {
    match op {
        BinaryOperator::Add => "+",
        BinaryOperator::Subtract => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        _ => "%",
    }
}

/// A function as WGSL calls it.
fn name(fun: Fun) -> String {
    let Fun::Math(fun) = fun else {
        return "frexp".to_owned();
    };
    let name = format!("{fun:?}");
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
