//! What the host writes into the small buffers that a step reads: seed, step and cursor, and the schedule's rows ahead of the steps.

use std::ops::Range;

use crate::kernels::{STATE_WORDS, TABLE_ROWS, state};

/// The words of the state before step `step` (from 0), for noise of `seed`, with the batch beginning at `cursor`. Updates may happen.
pub(crate) fn words(step: u64, seed: u64, cursor: u32) -> [u32; STATE_WORDS] {
    let mut words = [0; STATE_WORDS];
    words[state::STEP_LOW] = step as u32;
    words[state::STEP_HIGH] = (step >> 32) as u32;
    words[state::SEED_LOW] = seed as u32;
    words[state::SEED_HIGH] = (seed >> 32) as u32;
    words[state::CURSOR] = cursor;
    words
}

/// Where `count` rows of the schedule for the steps from `first` on lie in the table, which is a ring: pairs of the table's first row and
/// the range of those rows that goes there. One pair, or two where the ring ends; of more rows than it has, the rest are not placed.
pub(crate) fn places_of_rows(
    first: u64,
    count: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let start = (first % TABLE_ROWS as u64) as usize;
    let head = count.min(TABLE_ROWS - start);
    let tail = count.min(TABLE_ROWS) - head;
    [(start, 0..head), (0, head..head + tail)]
        .into_iter()
        .filter(|(_, rows)| !rows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_around_the_rings_end() {
        let places = |first, count| places_of_rows(first, count).collect::<Vec<_>>();
        assert_eq!(places(5, 0), []);
        assert_eq!(places(5, 3), [(5, 0..3)]);
        assert_eq!(places(2 * 1024 - 2, 5), [(1022, 0..2), (0, 2..5)]);
        assert_eq!(places(1, 1024), [(1, 0..1023), (0, 1023..1024)]);
    }
}
