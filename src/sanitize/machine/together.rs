//! What invocations do together: barriers of a workgroup, operations of a subgroup. All wait; when nobody can go on, it is done, and whoever is missing
//! is reported.

use naga::{Barrier, BinaryOperator, CollectiveOperation, MathFunction, SubgroupOperation};

use super::super::code::{Fun, Gather, NONE, Num, Op, Reg, Tile};
use super::super::finding::Kind;
use super::arithmetic::{apply, binary};
use super::lane::is_finite;
use super::memory::Word;
use super::{Group, Machine, State, who};

impl Machine<'_> {
    /// Does what the invocations of a workgroup wait for; says whether any of them goes on.
    pub(super) fn together(&mut self, group: &mut Group) -> bool {
        let waiting: Vec<usize> = group.waiting(0..group.lanes.len());
        if waiting.is_empty() {
            return false;
        }
        let mut done = false;
        let size = self.subgroup_size as usize;
        for first in (0..group.lanes.len()).step_by(size) {
            let members = first..(first + size).min(group.lanes.len());
            let at = group.waiting(members.clone());
            let mut at: Vec<usize> = at
                .into_iter()
                .filter(|&lane| self.is_of_subgroup(group.lanes[lane].pc))
                .collect();
            // The first in the text: who is further on waits for the others there.
            let Some(&leader) = at.iter().min_by_key(|&&lane| group.lanes[lane].pc) else {
                continue;
            };
            at.retain(|&lane| self.same_place(group, lane, leader));
            if at.len() < members.len() {
                self.not_uniform(group, &at, members);
            }
            self.of_subgroup(group, &at);
            self.go_on(group, &at);
            done = true;
        }
        if done {
            return true;
        }
        let leader = waiting[0];
        let same: Vec<usize> = waiting
            .iter()
            .copied()
            .filter(|&lane| self.same_place(group, lane, leader))
            .collect();
        if same.len() < group.lanes.len() {
            self.not_uniform(group, &same, 0..group.lanes.len());
        }
        for &lane in &waiting {
            if let Op::Barrier { kind, .. } = self.code.ops[group.lanes[lane].pc as usize] {
                // One barrier, however many wait at it.
                if lane == leader || !same.contains(&lane) {
                    group.epochs.workgroup += u32::from(kind.contains(Barrier::WORK_GROUP));
                    group.epochs.storage += u32::from(kind.contains(Barrier::STORAGE));
                    group.epochs.texture += u32::from(kind.contains(Barrier::TEXTURE));
                }
            }
        }
        self.counts.barriers += 1;
        self.go_on(group, &waiting);
        true
    }

    /// Whether an instruction is done by each subgroup for itself.
    fn is_of_subgroup(&self, pc: u32) -> bool {
        match self.code.ops[pc as usize] {
            Op::Barrier { kind, .. } => kind == Barrier::SUB_GROUP,
            _ => true,
        }
    }

    /// Whether two invocations wait at the same instruction in the same rounds of the loops around it.
    fn same_place(&self, group: &Group, one: usize, other: usize) -> bool {
        let pc = group.lanes[one].pc;
        if pc != group.lanes[other].pc {
            return false;
        }
        let frame = self.code.frame.len();
        let loops = match self.code.ops[pc as usize] {
            Op::Barrier { loops, .. }
            | Op::Ballot { loops, .. }
            | Op::Gather { loops, .. }
            | Op::Collective { loops, .. }
            | Op::CooperativeLoad { loops, .. }
            | Op::CooperativeStore { loops, .. }
            | Op::CooperativeMultiplyAdd { loops, .. } => loops,
            _ => return true,
        };
        let round = |lane: usize, counter: Reg| group.frames[lane * frame + counter as usize].bits;
        let counters = &self.code.loops[loops as usize];
        counters.iter().all(|&c| round(one, c) == round(other, c))
    }

    fn go_on(&mut self, group: &mut Group, lanes: &[usize]) {
        self.moved_on();
        for &lane in lanes {
            let lane = &mut group.lanes[lane];
            if lane.state == State::Waiting {
                if let Op::Barrier { kind, .. } = self.code.ops[lane.pc as usize] {
                    let orders = kind.contains(Barrier::SUB_GROUP);
                    lane.sub_epoch = lane.sub_epoch.wrapping_add(u16::from(orders));
                }
                lane.pc += 1;
                lane.state = State::Ready;
            }
        }
    }

    /// Reports who is not where `here` wait.
    fn not_uniform(&mut self, group: &Group, here: &[usize], all: std::ops::Range<usize>) {
        let (count, total) = (here.len(), all.len());
        let Some(missing) = all.clone().find(|lane| !here.contains(lane)) else {
            return;
        };
        let op = group.lanes[here[0]].pc;
        let missed = group.lanes[missing];
        let missing = who(group.id, self.code.workgroup_size, missing as u16);
        let other = (missed.state == State::Waiting).then_some(missed.pc);
        let of = match self.is_of_subgroup(op) {
            true => "subgroup",
            false => "workgroup",
        };
        self.log.add(Kind::NonUniform, op, other, |lines| {
            let is = match other {
                Some(pc) if pc == op => "is in another round of a loop".to_owned(),
                Some(pc) => format!("waits in line {}", lines.line(pc).number),
                None => "has ended".to_owned(),
            };
            format!("{count} of the {total} invocations of a {of} are here, {missing} {is}")
        });
    }

    /// Does what the lanes of a subgroup wait for; all of them are at the same instruction.
    fn of_subgroup(&mut self, group: &mut Group, lanes: &[usize]) {
        let code = self.code;
        match code.ops[group.lanes[lanes[0]].pc as usize] {
            Op::Barrier { .. } => {}
            Op::Ballot { to, predicate, .. } => {
                let mut words = [Word::default(); 4];
                for &lane in lanes {
                    let bit = lane % self.subgroup_size as usize;
                    let word = self.word(group, lane, predicate);
                    let into = &mut words[bit / 32];
                    into.bits |= u32::from(word.bits != 0) << (bit % 32);
                    into.from = if into.from == 0 { word.from } else { into.from };
                }
                for &lane in lanes {
                    for (i, word) in (0..4).zip(words) {
                        *self.word_mut(group, lane, to + i) = word;
                    }
                }
            }
            Op::Gather {
                how,
                to,
                value,
                index,
                n,
                ..
            } => self.gather(group, lanes, how, (to, value, index), n),
            Op::Collective {
                op,
                kind,
                num,
                to,
                value,
                n,
                ..
            } => {
                for i in 0..n {
                    self.collect(group, lanes, (op, kind, num), (to + i, value + i));
                }
            }
            Op::CooperativeLoad { to, tile, .. } => self.load_tile(group, lanes[0], to, tile),
            Op::CooperativeStore { from, tile, .. } => {
                self.store_tile(group, lanes[0], from, tile);
            }
            Op::CooperativeMultiplyAdd {
                to,
                a,
                b,
                c,
                size,
                num,
                ..
            } => self.multiply_tiles(group, lanes[0], [to, a, b, c], (size, num)),
            ref other => unreachable!("{other:?} is not done together"),
        }
    }

    fn word(&self, group: &Group, lane: usize, at: Reg) -> Word {
        group.frames[lane * self.code.frame.len() + at as usize]
    }

    fn word_mut<'g>(&self, group: &'g mut Group, lane: usize, at: Reg) -> &'g mut Word {
        &mut group.frames[lane * self.code.frame.len() + at as usize]
    }

    fn gather(
        &mut self,
        group: &mut Group,
        lanes: &[usize],
        how: Gather,
        (to, value, index): (Reg, Reg, Reg),
        n: u32,
    ) {
        let size = self.subgroup_size as usize;
        let begin = lanes[0] / size * size;
        let mut results = Vec::with_capacity(lanes.len() * n as usize);
        for &lane in lanes {
            let own = (lane % size) as u32;
            let index = match index {
                NONE => Word::default(),
                index => self.word(group, lane, index),
            };
            let source = match how {
                Gather::First => (lanes[0] % size) as u32,
                Gather::Lane => index.bits,
                Gather::Down => own.wrapping_add(index.bits),
                Gather::Up => own.wrapping_sub(index.bits),
                Gather::Xor => own ^ index.bits,
                Gather::QuadLane => (own & !3) + (index.bits & 3),
                Gather::QuadSwap(bits) => own ^ bits,
            };
            let from = begin.saturating_add(source as usize);
            let there = (source as usize) < size && lanes.contains(&from);
            for i in 0..n {
                let mut word = match there {
                    true => self.word(group, from, value + i),
                    false => {
                        let op = group.lanes[lane].pc;
                        let who = who(group.id, self.code.workgroup_size, lane as u16);
                        let from = self.log.origin(Kind::Uninitialized, op, || {
                            format!(
                                "{who} takes a value of lane {source} of its subgroup, which is not there"
                            )
                        });
                        Word { bits: 0, from }
                    }
                };
                if word.from == 0 {
                    word.from = index.from;
                }
                results.push(word);
            }
        }
        let mut results = results.into_iter();
        for &lane in lanes {
            for i in 0..n {
                if let Some(word) = results.next() {
                    *self.word_mut(group, lane, to + i) = word;
                }
            }
        }
    }

    fn collect(
        &mut self,
        group: &mut Group,
        lanes: &[usize],
        (op, kind, num): (SubgroupOperation, CollectiveOperation, Num),
        (to, value): (Reg, Reg),
    ) {
        let with = |a: u32, b: u32| match op {
            SubgroupOperation::All | SubgroupOperation::And => a & b,
            SubgroupOperation::Any | SubgroupOperation::Or => a | b,
            SubgroupOperation::Xor => a ^ b,
            SubgroupOperation::Add => binary(BinaryOperator::Add, num, a, b),
            SubgroupOperation::Mul => binary(BinaryOperator::Multiply, num, a, b),
            SubgroupOperation::Min => apply(Fun::Math(MathFunction::Min), num, [a, b, 0, 0]),
            SubgroupOperation::Max => apply(Fun::Math(MathFunction::Max), num, [a, b, 0, 0]),
        };
        let identity = match (op, num.is_float()) {
            (SubgroupOperation::Mul, true) => 1_f32.to_bits(),
            (SubgroupOperation::Mul, false) => 1,
            _ => 0,
        };
        if num.is_float() {
            self.counts.flops += lanes.len() as u64 - 1;
        }
        let mut sum: Option<Word> = None;
        let mut prefixes = Vec::with_capacity(lanes.len());
        for &lane in lanes {
            let word = self.word(group, lane, value);
            prefixes.push(sum.unwrap_or(Word::sound(identity)));
            let mut next = match sum {
                None => word,
                Some(sum) => Word {
                    bits: with(sum.bits, word.bits),
                    from: if sum.from == 0 { word.from } else { sum.from },
                },
            };
            let before = sum.is_none_or(|s| is_finite(s.bits)) && is_finite(word.bits);
            if num.is_float() && next.from == 0 && before && !is_finite(next.bits) {
                let (pc, real) = (group.lanes[lane].pc, f32::from_bits(next.bits));
                let who = who(group.id, self.code.workgroup_size, lane as u16);
                next.from = self.log.origin(Kind::NotFinite, pc, || {
                    format!("{who} and those before it in its subgroup get {real}")
                });
            }
            sum = Some(next);
            if kind == CollectiveOperation::InclusiveScan {
                prefixes.pop();
                prefixes.push(next);
            }
        }
        let all = sum.unwrap_or_default();
        for (&lane, prefix) in lanes.iter().zip(prefixes) {
            *self.word_mut(group, lane, to) = match kind {
                CollectiveOperation::Reduce => all,
                _ => prefix,
            };
        }
    }

    /// The byte of each element of a tile, column by column; a leader computes it for all.
    fn tile_bytes(&mut self, group: &mut Group, leader: usize, tile: &Tile) -> Vec<Option<u32>> {
        let stride = self.word(group, leader, tile.stride).bits;
        let width = tile.num.width();
        let base = self.context(group, leader).address(tile.at);
        let mut bytes = Vec::new();
        for c in 0..tile.columns {
            for r in 0..tile.rows {
                let element = match tile.row_major {
                    true => u64::from(r) * u64::from(stride) + u64::from(c),
                    false => u64::from(c) * u64::from(stride) + u64::from(r),
                };
                let byte = base.map(|b| u64::from(b) + element * u64::from(width));
                bytes.push(byte.and_then(|b| u32::try_from(b).ok()));
            }
        }
        let mut context = self.context(group, leader);
        let end = context.memory(tile.variable).bytes();
        let name = &context.code.variables[tile.variable as usize].name;
        if bytes.iter().any(|b| b.is_none_or(|b| u64::from(b) >= end)) {
            let (op, who) = (context.op, context.who());
            let message = format!("{who} and its subgroup take a matrix that ends behind '{name}'");
            context.log.add(Kind::OutOfBounds, op, None, |_| message);
        }
        bytes
    }

    fn load_tile(&mut self, group: &mut Group, leader: usize, to: Reg, tile: u32) {
        let tile = self.code.tiles[tile as usize];
        let bytes = self.tile_bytes(group, leader, &tile);
        let mut context = self.context(group, leader);
        // Which lane loads which element is nobody's business: none of them is taken for the one that wrote it.
        context.lane = virtual_lane(leader, context.subgroup_size);
        for (i, byte) in (0..).zip(bytes) {
            match byte {
                Some(constant) => {
                    let at = super::super::code::At {
                        constant,
                        dynamic: NONE,
                    };
                    context.load(to + i, tile.variable, at, 1, tile.num);
                }
                None => context.put(to + i, Word::sound(0)),
            }
        }
    }

    fn store_tile(&mut self, group: &mut Group, leader: usize, from: Reg, tile: u32) {
        let tile = self.code.tiles[tile as usize];
        let bytes = self.tile_bytes(group, leader, &tile);
        let mut context = self.context(group, leader);
        context.lane = virtual_lane(leader, context.subgroup_size);
        for (i, byte) in (0..).zip(bytes) {
            if let Some(constant) = byte {
                let at = super::super::code::At {
                    constant,
                    dynamic: NONE,
                };
                context.store(tile.variable, at, from + i, 1, tile.num);
            }
        }
    }

    fn multiply_tiles(
        &mut self,
        group: &mut Group,
        leader: usize,
        [to, a, b, c]: [Reg; 4],
        ([rows, inner, columns], num): ([u32; 3], Num),
    ) {
        let mut results = Vec::new();
        for column in 0..columns {
            for row in 0..rows {
                let mut sum = self.word(group, leader, c + column * rows + row);
                for k in 0..inner {
                    let x = self.word(group, leader, a + k * rows + row);
                    let y = self.word(group, leader, b + column * inner + k);
                    // Of f16 the product is exact in f32.
                    let product = f32::from_bits(x.bits) * f32::from_bits(y.bits);
                    let next = f32::from_bits(sum.bits) + product;
                    sum.bits = match num {
                        Num::F16 => half::f16::from_f32(next).to_f32().to_bits(),
                        _ => next.to_bits(),
                    };
                    for from in [x.from, y.from] {
                        sum.from = if sum.from == 0 { from } else { sum.from };
                    }
                }
                results.push(sum);
            }
        }
        self.counts.flops += 2 * u64::from(rows * inner * columns);
        for (i, word) in (0..).zip(results) {
            *self.word_mut(group, leader, to + i) = word;
        }
    }
}

/// A lane that stands for a subgroup as a whole.
fn virtual_lane(leader: usize, size: u32) -> u16 {
    u16::MAX - (leader / size.max(1) as usize) as u16
}

impl Group {
    /// Those of some lanes that wait.
    fn waiting(&self, lanes: std::ops::Range<usize>) -> Vec<usize> {
        lanes
            .filter(|&lane| self.lanes[lane].state == State::Waiting)
            .collect()
    }
}
