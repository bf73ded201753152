//! Memory with its shadow: what is known of each cell beside its bits.

use crate::plan::POISON;

/// A word of a frame or a cell of memory, and where it comes from if it should not be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) bits: u32,
    /// 0 where it is sound; [`NEVER`] where nobody wrote it; else the number of an origin.
    pub(crate) from: u32,
}

/// Of cells that nobody wrote.
pub(crate) const NEVER: u32 = u32::MAX;

/// What a cell of `granule` bytes begins with: a NaN that nobody computes, or 0.
fn begin(granule: u32, from: u32) -> Word {
    let bits = match (from, granule) {
        (NEVER, 4) => POISON,
        (NEVER, 2) => POISON >> 16,
        _ => 0,
    };
    Word { bits, from }
}

impl Word {
    pub(crate) fn sound(bits: u32) -> Self {
        Self { bits, from: 0 }
    }
}

/// An access that was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    /// Its workgroup's number and one; 0 where none was made.
    pub(crate) group: u32,
    /// Barriers before it in its workgroup, of those that order this memory.
    pub(crate) epoch: u32,
    /// Its instruction.
    pub(crate) op: u32,
    pub(crate) lane: u16,
    /// Barriers of its subgroup before it.
    pub(crate) sub_epoch: u16,
}

/// Who makes an access, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) mark: Mark,
    /// Lanes of a subgroup.
    pub(crate) subgroup_size: u32,
}

/// The last accesses of a cell.
#[derive(Clone, Copy, Debug, Default)]
struct Shadow {
    write: Mark,
    read: Mark,
    /// Whether other lanes read it since the barrier before `read`.
    lanes: bool,
    /// Whether other workgroups read it.
    groups: bool,
    /// The instruction that last wrote it and one, atomically or not.
    writer: u32,
}

/// What another access conflicts with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    pub(crate) other: Mark,
    /// Whether the other one wrote.
    pub(crate) wrote: bool,
}

/// A variable in memory: a cell a scalar of its smallest width.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) cells: Vec<Word>,
    /// None where the shader only reads.
    shadows: Vec<Shadow>,
    /// 1 where a cell was read, 2 where it was written.
    touched: Vec<u8>,
    /// Bytes of a cell, as a power of two.
    pub(crate) shift: u32,
    /// Bytes that belong to it; cells behind them are padding, which is bound too.
    pub(crate) declared: u32,
}

impl Memory {
    /// `bytes` of memory in cells of `granule` bytes, all of them `from`.
    pub(crate) fn new(bytes: u32, granule: u32, written: bool, from: u32) -> Self {
        let shift = granule.trailing_zeros();
        let cells = (bytes >> shift) as usize;
        Self {
            cells: vec![begin(granule, from); cells],
            shadows: vec![Shadow::default(); if written { cells } else { 0 }],
            touched: vec![0; cells],
            shift,
            declared: bytes,
        }
    }

    /// Puts bytes at its begin, as somebody wrote them before.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        let width = 1_usize << self.shift;
        for (cell, bytes) in self.cells.iter_mut().zip(bytes.chunks(width)) {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            *cell = Word::sound(u32::from_le_bytes(word));
        }
    }

    /// Forgets everything, for the next workgroup.
    pub(crate) fn reset(&mut self, from: u32) {
        self.cells.fill(begin(1 << self.shift, from));
        self.shadows.fill(Shadow::default());
    }

    /// Its bytes, padding too.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let width = 1_usize << self.shift;
        let bytes = |cell: &Word| cell.bits.to_le_bytes().into_iter().take(width);
        self.cells.iter().flat_map(bytes).collect()
    }

    /// The instruction that last wrote each word, and one; 0 where none did.
    pub(crate) fn writers(&self) -> Vec<u32> {
        let words = self.shadows.chunks(1 << (2 - self.shift.min(2)));
        words
            .map(|cells| cells.iter().map(|s| s.writer).max().unwrap_or(0))
            .collect()
    }

    /// Whether the shader writes it.
    pub(crate) fn is_shared(&self) -> bool {
        !self.shadows.is_empty()
    }

    /// Bytes that are bound.
    pub(crate) fn bytes(&self) -> u64 {
        (self.cells.len() as u64) << self.shift
    }

    /// The cells of `width` bytes from byte `at` on, if they are all there.
    fn span(&self, at: u32, width: u32) -> Option<(usize, usize)> {
        let first = (at >> self.shift) as usize;
        let count = ((width >> self.shift) as usize).max(1);
        (first + count <= self.cells.len()).then_some((first, count))
    }

    /// What lies in `width` bytes from byte `at` on; nothing behind the end.
    pub(crate) fn get(&self, at: u32, width: u32) -> Option<Word> {
        let (first, count) = self.span(at, width)?;
        if count == 1 {
            return Some(self.cells[first]);
        }
        let mut word = Word::default();
        for (i, cell) in self.cells[first..][..count].iter().enumerate() {
            word.bits |= cell.bits << ((i as u32) << (self.shift + 3));
            if word.from == 0 {
                word.from = cell.from;
            }
        }
        Some(word)
    }

    /// Puts a word there.
    pub(crate) fn set(&mut self, at: u32, width: u32, word: Word) {
        let Some((first, count)) = self.span(at, width) else {
            return;
        };
        if count == 1 {
            self.cells[first] = word;
            return;
        }
        let bits = 8_u32 << self.shift;
        for (i, cell) in self.cells[first..][..count].iter_mut().enumerate() {
            cell.bits = word.bits >> (i as u32 * bits) & ((1 << bits) - 1);
            cell.from = word.from;
        }
    }

    /// Marks that it is read, and says which write this read races with.
    pub(crate) fn reads(&mut self, at: u32, width: u32, who: &Who) -> Option<Conflict> {
        let (first, count) = self.span(at, width)?;
        let mut conflict = None;
        for i in first..first + count {
            self.touched[i] |= 1;
            let Some(shadow) = self.shadows.get_mut(i) else {
                continue;
            };
            if who.races(&shadow.write) {
                let other = shadow.write;
                conflict = Some(Conflict { other, wrote: true });
            }
            shadow.read(who);
        }
        conflict
    }

    /// Marks that it is written, and says which access this write races with.
    pub(crate) fn writes(&mut self, at: u32, width: u32, who: &Who) -> Option<Conflict> {
        let (first, count) = self.span(at, width)?;
        let mut conflict = None;
        for i in first..first + count {
            self.touched[i] |= 2;
            let Some(shadow) = self.shadows.get_mut(i) else {
                continue;
            };
            if who.races(&shadow.write) {
                let other = shadow.write;
                conflict = Some(Conflict { other, wrote: true });
            } else if shadow.read_by_others(who) {
                let (other, wrote) = (shadow.read, false);
                conflict = Some(Conflict { other, wrote });
            }
            shadow.write = who.mark;
            shadow.writer = who.mark.op + 1;
        }
        conflict
    }

    /// Marks that it is changed atomically, by the instruction `op`.
    pub(crate) fn changes(&mut self, at: u32, width: u32, op: u32) {
        if let Some((first, count)) = self.span(at, width) {
            self.touched[first..first + count].fill(3);
            for shadow in self.shadows.iter_mut().skip(first).take(count) {
                shadow.writer = op + 1;
            }
        }
    }

    /// Marks that it is read atomically.
    pub(crate) fn looks(&mut self, at: u32, width: u32) {
        if let Some((first, count)) = self.span(at, width) {
            self.touched[first..first + count]
                .iter_mut()
                .for_each(|t| *t |= 1);
        }
    }

    /// Bytes that were read at least once, and such that were written.
    pub(crate) fn distinct(&self) -> (u64, u64) {
        let of = |bit: u8| {
            let cells = self.touched.iter().filter(|&&t| t & bit != 0).count() as u64;
            cells << self.shift
        };
        (of(1), of(2))
    }
}

impl Who {
    /// Whether nothing orders this access after `other`.
    fn races(&self, other: &Mark) -> bool {
        let own = &self.mark;
        if other.group == 0 {
            return false;
        }
        if other.group != own.group {
            return true;
        }
        if other.lane == own.lane || other.epoch != own.epoch {
            return false;
        }
        let subgroup = |lane: u16| u32::from(lane) / self.subgroup_size.max(1);
        subgroup(other.lane) != subgroup(own.lane) || other.sub_epoch == own.sub_epoch
    }
}

impl Shadow {
    fn read(&mut self, who: &Who) {
        let own = &who.mark;
        if self.read.group != own.group {
            self.groups |= self.read.group != 0;
            self.read = *own;
            self.lanes = false;
        } else if self.read.epoch != own.epoch {
            self.read = *own;
            self.lanes = false;
        } else if self.read.lane != own.lane {
            self.lanes = true;
        } else {
            self.read = *own;
        }
    }

    fn read_by_others(&self, who: &Who) -> bool {
        let (own, read) = (&who.mark, &self.read);
        if read.group == 0 {
            return false;
        }
        self.groups
            || read.group != own.group
            || (read.epoch == own.epoch && self.lanes)
            || who.races(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(group: u32, lane: u16, epoch: u32) -> Who {
        let mark = Mark {
            group,
            epoch,
            op: 0,
            lane,
            sub_epoch: 0,
        };
        Who {
            mark,
            subgroup_size: 32,
        }
    }

    #[test]
    fn a_barrier_between_two_accesses_orders_them() {
        let mut memory = Memory::new(16, 4, true, 0);
        assert!(memory.writes(4, 4, &who(1, 0, 0)).is_none());
        assert!(memory.reads(4, 4, &who(1, 0, 0)).is_none(), "its own");
        assert!(memory.reads(8, 4, &who(1, 1, 0)).is_none(), "another word");
        assert!(memory.reads(4, 4, &who(1, 1, 0)).is_some_and(|c| c.wrote));
        assert!(memory.reads(4, 4, &who(1, 1, 1)).is_none(), "a barrier");
        assert!(memory.reads(4, 4, &who(2, 1, 9)).is_some(), "another group");
    }

    #[test]
    fn a_write_races_with_reads_of_others_alone() {
        let mut memory = Memory::new(16, 4, true, 0);
        assert!(memory.reads(0, 4, &who(1, 3, 0)).is_none());
        assert!(memory.writes(0, 4, &who(1, 3, 0)).is_none(), "its own");
        assert!(memory.reads(4, 4, &who(1, 3, 0)).is_none());
        assert!(memory.writes(4, 4, &who(1, 4, 0)).is_some_and(|c| !c.wrote));
        assert!(memory.reads(8, 4, &who(1, 3, 0)).is_none());
        assert!(memory.reads(8, 4, &who(1, 4, 0)).is_none());
        let last = memory.writes(8, 4, &who(1, 3, 0));
        assert!(last.is_some(), "lane 4 read it too");
        assert!(memory.reads(12, 4, &who(1, 3, 0)).is_none());
        assert!(memory.reads(12, 4, &who(2, 3, 0)).is_none());
        let last = memory.writes(12, 4, &who(2, 3, 5));
        assert!(last.is_some(), "workgroup 1 read it too");
    }

    #[test]
    fn halves_of_a_word_are_cells_of_their_own() {
        let mut memory = Memory::new(8, 2, true, NEVER);
        memory.set(2, 2, Word::sound(0x1234));
        assert_eq!(memory.get(2, 2), Some(Word::sound(0x1234)));
        assert_eq!(
            memory.get(0, 4).map(|w| (w.bits, w.from)),
            Some((0x1234_0000 | POISON >> 16, NEVER))
        );
        memory.set(4, 4, Word::sound(0x89ab_cdef));
        assert_eq!(memory.get(6, 2), Some(Word::sound(0x89ab)));
        assert_eq!(memory.get(8, 2), None);
        assert!(memory.writes(0, 2, &who(1, 0, 0)).is_none());
        assert!(memory.writes(2, 2, &who(1, 1, 0)).is_none());
    }
}
