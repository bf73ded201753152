//! Examples that training never sees, where files do not say which: drawn by a seed from the names, in the same share of each class.
//!
//! ```
//! use wgen::data::held_out::HeldOut;
//!
//! let share: HeldOut = "0.1".parse()?;
//! assert_eq!((share.of(200)?, "25".parse::<HeldOut>()?.of(200)?), (20, 25));
//! // A tenth by default, but of fewer than 50 none.
//! assert_eq!((HeldOut::usual(200).of(200)?, HeldOut::usual(49).of(49)?), (20, 0));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::init::hash;

/// How many examples are held out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOut {
    /// This share of all.
    Share(f64),
    /// So many.
    Count(usize),
}

impl Default for HeldOut {
    fn default() -> Self {
        Self::Count(0)
    }
}

/// From so many examples on some are held out unless it is said otherwise.
const FEWEST: usize = 50;

impl HeldOut {
    /// What is usual for so many examples: a tenth, of fewer than 50 none.
    pub fn usual(examples: usize) -> Self {
        if examples < FEWEST {
            Self::Count(0)
        } else {
            Self::Share(0.1)
        }
    }

    /// How many that are of `examples`, rounded.
    ///
    /// # Errors
    /// When nothing would be left to train on.
    pub fn of(self, examples: usize) -> Result<usize> {
        let count = match self {
            Self::Share(share) => (share * examples as f64).round() as usize,
            Self::Count(count) => count,
        };
        if count > 0 && count >= examples {
            let message = format!("{self} of {examples} examples leaves nothing to train on");
            return Err(Error::field("held_out", message));
        }
        Ok(count)
    }
}

impl FromStr for HeldOut {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let percent = text.strip_suffix('%').map(|p| (p, 0.01));
        let share = percent.or(text.contains('.').then_some((text, 1.0)));
        let read = match share {
            Some((number, factor)) => number.parse::<f64>().ok().map(|x| Self::Share(x * factor)),
            None => text.parse().ok().map(Self::Count),
        };
        read.filter(|held| !matches!(held, Self::Share(s) if !(0.0..1.0).contains(s)))
            .ok_or_else(|| {
                let what = "a share from 0 to below 1, as 0.1, or a number of examples, as 200";
                Error::field("held_out", format!("'{text}' must be {what}"))
            })
    }
}

impl fmt::Display for HeldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share:?}"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// A number for each name that depends on it and the seed alone, so that a name keeps its place when others come and go.
fn draw(name: &str, seed: u64) -> u64 {
    let bytes = [b"held out", seed.to_le_bytes().as_slice(), name.as_bytes()].concat();
    // The hash's last bytes move its low bits most: mixed as in SplitMix64.
    let mut x = hash(&bytes);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Which of the examples `names`, each of the class in `classes`, are held out: `count` in all, of each class its share, by the largest
/// remainders; of a class of one none.
pub(super) fn choose(names: &[String], classes: &[u32], count: usize, seed: u64) -> Vec<bool> {
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (i, &class) in classes.iter().enumerate() {
        let class = class as usize;
        members.resize_with(members.len().max(class + 1), Vec::new);
        members[class].push(i);
    }
    let total = names.len().max(1);
    let mut quotas: Vec<usize> = members.iter().map(|m| m.len() * count / total).collect();
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&c| std::cmp::Reverse(members[c].len() * count % total));
    let mut missing = count - quotas.iter().sum::<usize>();
    // Classes of one keep it; the others make up for them, in turn.
    for (quota, members) in quotas.iter_mut().zip(&members) {
        let most = members.len().saturating_sub(1);
        missing += quota.saturating_sub(most);
        *quota = (*quota).min(most);
    }
    while missing > 0 {
        let before = missing;
        for &class in &order {
            if missing > 0 && quotas[class] + 1 < members[class].len() {
                quotas[class] += 1;
                missing -= 1;
            }
        }
        if missing == before {
            break;
        }
    }
    let mut held = vec![false; names.len()];
    for (mut members, quota) in members.into_iter().zip(quotas) {
        members.sort_by_key(|&i| (draw(&names[i], seed), i));
        members[..quota].iter().for_each(|&i| held[i] = true);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("{i}.png")).collect()
    }

    fn of_class(held: &[bool], classes: &[u32], class: u32) -> usize {
        let both = held.iter().zip(classes);
        both.filter(|&(&h, &c)| h && c == class).count()
    }

    #[test]
    fn each_class_gives_its_share_and_keeps_one() {
        let classes: Vec<u32> = [vec![0; 60], vec![1; 30], vec![2; 9], vec![3; 1]].concat();
        let held = choose(&names(100), &classes, 10, 0);
        let counts: Vec<usize> = (0..4).map(|c| of_class(&held, &classes, c)).collect();
        assert_eq!(counts, [6, 3, 1, 0]);
        assert_eq!(held, choose(&names(100), &classes, 10, 0));
        assert_ne!(held, choose(&names(100), &classes, 10, 1));
        // As many as can be: each class keeps one.
        let most = choose(&names(4), &[0, 0, 1, 1], 3, 0);
        assert_eq!(most.iter().filter(|h| **h).count(), 2);
    }

    #[test]
    fn a_name_keeps_its_place_when_others_come() {
        let classes = vec![0; 1000];
        let before = choose(&names(1000), &classes, 100, 3);
        let mut more = names(1000);
        more.extend((0..20).map(|i| format!("new {i}.png")));
        let after = choose(&more, &[0; 1020], 102, 3);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!(moved <= 4, "{moved}");
    }

    #[test]
    fn shares_and_counts_are_told_apart() {
        assert_eq!("0.25".parse::<HeldOut>().unwrap().of(10).unwrap(), 3);
        assert_eq!("10%".parse::<HeldOut>().unwrap().of(50).unwrap(), 5);
        assert_eq!("1".parse::<HeldOut>().unwrap(), HeldOut::Count(1));
        assert_eq!("0".parse::<HeldOut>().unwrap(), HeldOut::default());
        for text in ["1.0", "-1", "-0.1", "x", "", "nan.", "100%"] {
            assert!(text.parse::<HeldOut>().is_err(), "{text}");
        }
        assert!(HeldOut::Count(10).of(10).is_err());
    }
}
