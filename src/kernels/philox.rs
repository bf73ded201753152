//! Random numbers that depend on nothing but a seed and a counter: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
//! 1, 2, 3"), and how wgen keys it. Any element's number can be computed without those before it, on any device, and again.
//!
//! key = seed; counter = (block, step low, step high, stream); word = element % 4. Where noise belongs to an example and not to a
//! step, the step's words are (example, draw) instead. `shaders/shared/philox.wgsl` computes the same words.
//!
//! ```
//! use wgen::kernels::philox::{Domain, Key, RandomState, philox4x32, stream};
//!
//! // The known answer that the authors publish with their library.
//! assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
//!
//! // Element 6 of a tensor of noise, with seed 7 in step 3, is word 2 of block 1.
//! let eps = stream(Domain::Training, "eps");
//! let state = RandomState { seed: 7, step: 3, cursor: 0 };
//! assert_eq!(state.word(Key::Step, eps, 6), philox4x32([1, 3, 0, eps], [7, 0])[2]);
//! ```

use serde::{Deserialize, Serialize};

/// Ten rounds of Philox4x32.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [
                key[0].wrapping_add(0x9e37_79b9),
                key[1].wrapping_add(0xbb67_ae85),
            ];
        }
        let p = u64::from(0xd251_1f53_u32) * u64::from(counter[0]);
        let q = u64::from(0xcd9e_8d57_u32) * u64::from(counter[2]);
        counter = [
            (q >> 32) as u32 ^ counter[1] ^ key[0],
            q as u32,
            (p >> 32) as u32 ^ counter[3] ^ key[1],
            p as u32,
        ];
    }
    counter
}

/// What noise is for. Streams of different domains never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// Training steps.
    Training,
    /// Evaluation of held-out data.
    Validation,
    /// Drawing new samples.
    Sampling,
}

/// The stream of a random node: a hash (FNV-1a) of its domain and its name, so that fusion and dead code change no noise.
pub fn stream(domain: Domain, name: &str) -> u32 {
    let prefix = match domain {
        Domain::Training => "training/",
        Domain::Validation => "validation/",
        Domain::Sampling => "sampling/",
    };
    prefix
        .bytes()
        .chain(name.bytes())
        .fold(0x811c_9dc5, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
}

/// What a random number belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Key {
    /// Element i of step s: the counter is (i / 4, s low, s high, stream).
    Step,
    /// Column c of example e, draw d: the counter is (c / 4, e, d, stream). The tensor is `[draws * examples, width]`; row r is
    /// example `cursor + r % examples` of draw `step * draws + r / examples`. The same noise for every batch size.
    Example {
        /// Rows before the next draw begins.
        examples: u32,
        /// Draws in one tensor.
        draws: u32,
        /// Elements of a row.
        width: u32,
    },
}

impl Key {
    /// What a kernel with noise is told of it: whether it belongs to an example, then examples, draws and width.
    pub fn words(self) -> [u32; 4] {
        match self {
            Self::Step => [0, 1, 1, 1],
            Self::Example {
                examples,
                draws,
                width,
            } => [1, examples, draws, width],
        }
    }
}

/// Seed, step and cursor: the words of the `state` buffer that random numbers depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomState {
    /// Philox's key.
    pub seed: u64,
    /// The step counter.
    pub step: u64,
    /// The first example of the batch.
    pub cursor: u32,
}

impl RandomState {
    /// The random word of element `index` of a tensor keyed by `key` in `stream`, and the one after it in its pair.
    ///
    /// Normals are made in pairs by Box-Muller, so both words of the pair are given: `(first of pair, second, index is second)`.
    pub fn pair(&self, key: Key, stream: u32, index: usize) -> (u32, u32, bool) {
        let index = index as u32;
        let (column, counter) = match key {
            Key::Step => (
                index,
                [
                    index / 4,
                    self.step as u32,
                    (self.step >> 32) as u32,
                    stream,
                ],
            ),
            Key::Example {
                examples,
                draws,
                width,
            } => {
                let (row, column) = (index / width, index % width);
                let example = self.cursor.wrapping_add(row % examples);
                let draw = (self.step as u32)
                    .wrapping_mul(draws)
                    .wrapping_add(row / examples);
                (column, [column / 4, example, draw, stream])
            }
        };
        let words = philox4x32(counter, [self.seed as u32, (self.seed >> 32) as u32]);
        let first = 2 * (column as usize % 4 / 2);
        (words[first], words[first + 1], column % 2 == 1)
    }

    /// The random word of element `index`.
    pub fn word(&self, key: Key, stream: u32, index: usize) -> u32 {
        let (first, second, odd) = self.pair(key, stream, index);
        if odd { second } else { first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([!0; 4], [!0; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn noise_of_an_example_does_not_depend_on_the_batch() {
        let whole = Key::Example {
            examples: 8,
            draws: 1,
            width: 3,
        };
        let part = Key::Example {
            examples: 2,
            draws: 1,
            width: 3,
        };
        let start = RandomState {
            seed: 7,
            step: 0,
            cursor: 0,
        };
        let later = RandomState { cursor: 6, ..start };
        for column in 0..3 {
            assert_eq!(
                start.word(whole, 5, 7 * 3 + column),
                later.word(part, 5, 3 + column)
            );
        }
    }

    #[test]
    fn domains_have_their_own_streams() {
        assert_ne!(stream(Domain::Training, "z"), stream(Domain::Sampling, "z"));
        assert_ne!(stream(Domain::Training, "z"), stream(Domain::Training, "y"));
    }
}
