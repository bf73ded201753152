//! A dispatch, executed: workgroups in an order, the invocations of each in an order, until they wait for each other.

mod access;
mod arithmetic;
mod image;
mod lane;
pub(crate) mod memory;
mod shared;
mod texels;
mod together;

use rand::RngExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::code::{Builtins, Code, Place};
use super::finding::Kind;
use super::log::Log;
use super::{Counts, Order};
pub(crate) use image::Image;
use lane::{Context, Stop};
pub(crate) use memory::{Memory, NEVER, Word};

/// Instructions that an invocation runs before another has its turn, where they are not shuffled: one that waits for another would never end.
const TURN: u64 = 1 << 18;

/// Instructions after which, where nobody ended and nobody was let go on, another workgroup is begun: those under way may wait for it.
const PATIENCE: u64 = 1 << 22;

/// So many times as many instructions as one invocation may run, all may run without anybody ending.
const IDLE: u64 = 16;

/// Workgroups that may wait for those that are not begun.
const MOST_OPEN: usize = 32;

/// Workgroups that are under way together where they are shuffled.
const TOGETHER: usize = 4;

/// A dispatch that is run once.
pub(super) struct Machine<'a> {
    pub(super) code: &'a Code,
    pub(super) buffers: Vec<Memory>,
    pub(super) images: Vec<Image>,
    pub(super) log: &'a mut Log,
    pub(super) counts: Counts,
    pub(super) workgroups: [u32; 3],
    pub(super) subgroup_size: u32,
    /// Whether workgroup memory is zero when a workgroup begins.
    pub(super) zeroed: bool,
    /// Instructions that one invocation may run while no other ends or is let go on.
    pub(super) most_steps: u64,
    /// Instructions since an invocation ended, or was let go on by others.
    pub(super) idle: u64,
    /// How often one was.
    pub(super) progress: u64,
    /// Whether it was given up.
    pub(super) ended: bool,
}

/// An invocation.
#[derive(Clone, Copy, Debug)]
struct Lane {
    pc: u32,
    state: State,
    /// Instructions since `progress` of the machine was what it is here.
    steps: u64,
    progress: u64,
    sub_epoch: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// At an instruction that invocations do together.
    Waiting,
    Done,
}

/// Barriers so far, by what they order.
#[derive(Clone, Copy, Debug, Default)]
struct Epochs {
    workgroup: u32,
    storage: u32,
    texture: u32,
}

/// A workgroup under way.
struct Group {
    id: [u32; 3],
    number: u32,
    frames: Vec<Word>,
    lanes: Vec<Lane>,
    memories: Vec<Memory>,
    epochs: Epochs,
}

impl Machine<'_> {
    /// Runs all workgroups in the order that is asked for.
    pub(super) fn run(&mut self, order: Order) {
        let [x, y, z] = self.workgroups.map(u64::from);
        let count = (x * y * z) as u32;
        let mut numbers: Vec<u32> = (0..count).collect();
        match order {
            Order::Forward => {}
            Order::Backward => numbers.reverse(),
            Order::Shuffled(seed) => {
                numbers.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            }
        }
        match order {
            Order::Forward | Order::Backward => self.one_by_one(numbers, order),
            Order::Shuffled(seed) => {
                self.shuffled(numbers, &mut ChaCha8Rng::seed_from_u64(seed ^ 0x5eed));
            }
        }
    }

    /// Workgroups one after the other; those that wait for a later one stay under way.
    fn one_by_one(&mut self, numbers: Vec<u32>, order: Order) {
        let mut spare = Vec::new();
        let mut open: Vec<Group> = Vec::new();
        for number in numbers {
            let mut group = self.begin(number, spare.pop());
            if self.advance(&mut group, order) {
                spare.push(group);
            } else {
                open.push(group);
            }
            if self.help(&mut open, order) && open.len() >= MOST_OPEN {
                self.endless(&open[0]);
            }
            if self.ended {
                return;
            }
        }
        while !open.is_empty() && !self.ended {
            self.idle = 0;
            if self.help(&mut open, order) && !self.ended {
                // Nobody helps anybody: one of them, until it ends or is taken to be endless.
                let group = &mut open[0];
                let ready = group.lanes.iter().position(|l| l.state == State::Ready);
                self.step(group, ready.unwrap_or(0), self.most_steps, false);
            }
        }
    }

    /// Lets those go on that wait for others, the last ones first, until nobody moves any more; says whether any are left.
    fn help(&mut self, open: &mut Vec<Group>, order: Order) -> bool {
        loop {
            let before = self.progress;
            for at in (0..open.len()).rev() {
                if self.ended {
                    return true;
                }
                if self.advance(&mut open[at], order) {
                    open.remove(at);
                }
            }
            if self.progress == before {
                return !open.is_empty();
            }
        }
    }

    /// Some workgroups under way together, each access of an invocation followed by one of another.
    fn shuffled(&mut self, numbers: Vec<u32>, rng: &mut ChaCha8Rng) {
        let mut waiting = numbers.into_iter();
        let mut spare = Vec::new();
        let mut open: Vec<Group> = Vec::new();
        loop {
            let stuck = self.idle > PATIENCE && waiting.len() > 0;
            let wanted = TOGETHER.max(open.len() + usize::from(stuck));
            while open.len() < wanted {
                let Some(number) = waiting.next() else { break };
                open.push(self.begin(number, spare.pop()));
                self.idle = 0;
            }
            if open.is_empty() || self.ended {
                return;
            }
            let at = rng.random_range(0..open.len());
            if self.wander(&mut open[at], rng) {
                spare.push(open.swap_remove(at));
            } else if self.idle > IDLE * self.most_steps {
                self.endless(&open[at]);
            }
        }
    }

    /// Makes a workgroup, in the memory of one that is done.
    fn begin(&mut self, number: u32, spare: Option<Group>) -> Group {
        let [x, y, _] = self.workgroups;
        let id = [number % x, number / x % y, number / x / y];
        let size = self.code.workgroup_size;
        let count = size.iter().product::<u32>();
        let from = if self.zeroed { 0 } else { NEVER };
        let frame = self.code.frame.len();
        let mut group = spare.unwrap_or_else(|| {
            let of = |v: &super::code::Variable| match v.place {
                Place::Workgroup(_) => Some(Memory::new(v.bytes, v.granule, true, from)),
                _ => None,
            };
            Group {
                id,
                number,
                frames: vec![Word::default(); frame * count as usize],
                lanes: Vec::new(),
                memories: self.code.variables.iter().filter_map(of).collect(),
                epochs: Epochs::default(),
            }
        });
        group.id = id;
        group.number = number;
        group.epochs = Epochs::default();
        for memory in &mut group.memories {
            memory.reset(from);
        }
        group.lanes.clear();
        let ready = Lane {
            pc: 0,
            state: State::Ready,
            steps: 0,
            progress: 0,
            sub_epoch: 0,
        };
        group.lanes.resize(count as usize, ready);
        for local in 0..count {
            let words = &mut group.frames[local as usize * frame..][..frame];
            for (word, bits) in words.iter_mut().zip(&self.code.frame) {
                *word = Word::sound(*bits);
            }
            self.builtins(words, id, local);
        }
        group
    }

    fn builtins(&self, words: &mut [Word], id: [u32; 3], local: u32) {
        let size = self.code.workgroup_size;
        let count = size.iter().product::<u32>();
        let place = place(size, local);
        let mut put = |at: u32, value: u32| words[at as usize] = Word::sound(value);
        for i in 0..3_u32 {
            let axis = i as usize;
            let global = id[axis].wrapping_mul(size[axis]).wrapping_add(place[axis]);
            put(Builtins::GLOBAL_ID + i, global);
            put(Builtins::LOCAL_ID + i, place[axis]);
            put(Builtins::GROUP_ID + i, id[axis]);
            put(Builtins::GROUPS + i, self.workgroups[axis]);
            put(Builtins::GROUP_SIZE + i, size[axis]);
        }
        let lanes = self.subgroup_size;
        put(Builtins::LOCAL_INDEX, local);
        put(Builtins::SUBGROUPS, count.div_ceil(lanes));
        put(Builtins::SUBGROUP_ID, local / lanes);
        put(Builtins::SUBGROUP_SIZE, lanes);
        put(Builtins::SUBGROUP_LANE, local % lanes);
    }

    /// What an invocation sees.
    fn context<'c>(&'c mut self, group: &'c mut Group, lane: usize) -> Context<'c> {
        let frame = self.code.frame.len();
        let at = group.lanes[lane];
        Context {
            code: self.code,
            frame: &mut group.frames[lane * frame..][..frame],
            memories: &mut group.memories,
            buffers: &mut self.buffers,
            images: &mut self.images,
            log: &mut *self.log,
            counts: &mut self.counts,
            epochs: group.epochs,
            group: group.number,
            id: group.id,
            lane: lane as u16,
            sub_epoch: at.sub_epoch,
            subgroup_size: self.subgroup_size,
            op: at.pc,
        }
    }

    /// Runs one invocation until it stops.
    fn step(&mut self, group: &mut Group, lane: usize, turn: u64, pause: bool) -> Stop {
        let mut context = self.context(group, lane);
        let (stop, spent) = context.run(turn, pause);
        let pc = context.op;
        let at = &mut group.lanes[lane];
        at.pc = pc;
        if at.progress != self.progress {
            (at.steps, at.progress) = (0, self.progress);
        }
        at.steps += spent;
        self.idle += spent;
        if stop == Stop::End {
            self.moved_on();
        }
        let at = &mut group.lanes[lane];
        at.state = match stop {
            Stop::Together => State::Waiting,
            Stop::End => State::Done,
            Stop::Paused | Stop::Turn => State::Ready,
        };
        if at.steps > self.most_steps && stop != Stop::End {
            self.endless(group);
        }
        stop
    }

    /// Notes that an invocation ended, or was let go on.
    fn moved_on(&mut self) {
        self.idle = 0;
        self.progress += 1;
    }

    /// Gives the run up, for the sake of the invocation of a workgroup that ran longest.
    fn endless(&mut self, group: &Group) {
        let lanes = group.lanes.iter().enumerate();
        let ready = lanes.filter(|(_, l)| l.state == State::Ready);
        if let Some((lane, at)) = ready.max_by_key(|(_, l)| l.steps) {
            let (op, steps) = (at.pc, at.steps);
            let who = who(group.id, self.code.workgroup_size, lane as u16);
            self.log.add(Kind::Endless, op, None, |_| {
                format!("{who} is still here after {steps} instructions in which nobody came on")
            });
        }
        self.ended = true;
    }

    /// Runs a workgroup as far as it comes, its invocations one after the other; says whether it is done.
    fn advance(&mut self, group: &mut Group, order: Order) -> bool {
        let count = group.lanes.len();
        loop {
            let mut stuck = false;
            for i in 0..count {
                let lane = match order {
                    Order::Backward => count - 1 - i,
                    _ => i,
                };
                if group.lanes[lane].state == State::Ready {
                    stuck |= self.step(group, lane, TURN, false) == Stop::Turn;
                }
                if self.ended {
                    return true;
                }
            }
            if self.idle > IDLE * self.most_steps {
                self.endless(group);
                return true;
            }
            if stuck && self.idle > PATIENCE {
                // It may wait for another workgroup.
                return false;
            }
            if !stuck && !self.together(group) {
                return true;
            }
        }
    }

    /// Lets one invocation of a workgroup go on to its next access; says whether the workgroup is done.
    fn wander(&mut self, group: &mut Group, rng: &mut ChaCha8Rng) -> bool {
        let count = group.lanes.len();
        let first = rng.random_range(0..count);
        let ready = (0..count).map(|i| (first + i) % count);
        let mut ready = ready.filter(|&lane| group.lanes[lane].state == State::Ready);
        match ready.next() {
            Some(lane) => {
                self.step(group, lane, TURN, true);
                self.ended
            }
            None => !self.together(group),
        }
    }

    /// Reports what depends on values that should not be relied on, of what the shader wrote.
    pub(super) fn outputs(&mut self, name_of: impl Fn(usize) -> (String, bool)) {
        for (i, buffer) in self.buffers.iter().enumerate() {
            let end = (buffer.declared >> buffer.shift) as usize;
            let cells = buffer.cells.iter().take(end).enumerate();
            for (place, cell) in cells.filter(|(_, c)| c.from != 0 && c.from != NEVER) {
                let ((name, float), byte) = (name_of(i), place << buffer.shift);
                let bits = cell.bits;
                self.log.matters(cell.from, None, || {
                    let value = match float && buffer.shift == 2 {
                        true => f32::from_bits(bits).to_string(),
                        false => format!("{bits:#x}"),
                    };
                    format!("and makes byte {byte} of '{name}' what it is: {value}")
                });
            }
        }
        for image in &self.images {
            for cell in &image.texels.cells {
                if cell.from != 0 && cell.from != NEVER {
                    self.log
                        .matters(cell.from, None, || "and reaches a texel".to_owned());
                }
            }
        }
    }
}

/// The place of an invocation in its workgroup.
pub(super) fn place(size: [u32; 3], local: u32) -> [u32; 3] {
    let [x, y, _] = size;
    [local % x, local / x % y, local / x / y]
}

/// An invocation in words.
pub(super) fn who(group: [u32; 3], size: [u32; 3], lane: u16) -> String {
    let [i, j, k] = group;
    format!("{} of workgroup ({i}, {j}, {k})", lane_of(size, lane))
}

/// An invocation of a workgroup in words; those behind the last stand for subgroups.
pub(super) fn lane_of(size: [u32; 3], lane: u16) -> String {
    if u32::from(lane) >= size.iter().product() {
        return format!("subgroup {}", u16::MAX - lane);
    }
    let [x, y, z] = place(size, u32::from(lane));
    format!("invocation ({x}, {y}, {z})")
}
