//! Results of one run beside those of another.

use super::Run;
use super::finding::Kind;
use super::log::{Log, NOWHERE};
use super::resources::Resource;
use crate::plan::POISON;

/// Sums in another order may differ by this share of the largest number in their buffer.
const SUMS: f32 = 1e-4;

/// Which instruction wrote each word of each resource in a run: see [`Memory::writers`](super::machine::Memory::writers).
pub(super) type Writers = Vec<Vec<u32>>;

/// Reports where the last run's results are not those of run `first`, which had the same subgroups; `writers` are of these two.
pub(super) fn same(
    resources: &[Resource],
    runs: &[Run],
    first: usize,
    log: &mut Log,
    writers: [&Writers; 2],
) {
    let (Some(last), one) = (runs.last(), &runs[first]) else {
        return;
    };
    for (i, resource) in resources.iter().enumerate() {
        let (Some(a), Some(b)) = (&one.outputs[i], &last.outputs[i]) else {
            continue;
        };
        if a == b {
            continue;
        }
        let words: Vec<(&[u8], &[u8])> = a.chunks(4).zip(b.chunks(4)).collect();
        let differ: Vec<usize> = (0..words.len())
            .filter(|&i| words[i].0 != words[i].1)
            .collect();
        let (name, place) = (&resource.name, differ[0]);
        let (count, all) = (differ.len(), words.len());
        let value = |x: &[u8]| value(x, resource.float);
        let (x, y) = (value(words[place].0), value(words[place].1));
        let (one, last) = (&one.name, &last.name);
        let op = writer(&writers, i, place);
        log.add(Kind::ScheduleDependent, op, None, |_| {
            format!(
                "{count} of {all} words of '{name}' differ, the first at word {place}: {x} {one}, {y} {last}"
            )
        });
    }
}

/// Reports where the results of run `other` are not those of the first run, whose subgroups were of another size: integers exactly, reals but for sums in
/// another order.
pub(super) fn alike(
    resources: &[Resource],
    runs: &[Run],
    other: usize,
    log: &mut Log,
    writers: [&Writers; 2],
) {
    let (one, other) = (&runs[0], &runs[other]);
    for (i, resource) in resources.iter().enumerate() {
        let (Some(a), Some(b)) = (&one.outputs[i], &other.outputs[i]) else {
            continue;
        };
        if a == b {
            continue;
        }
        let words: Vec<(f32, f32)> = a
            .chunks_exact(4)
            .zip(b.chunks_exact(4))
            .map(|(x, y)| (real(x), real(y)))
            .collect();
        let finite = words.iter().map(|w| w.0.abs()).filter(|x| x.is_finite());
        let range = finite.fold(0_f32, f32::max);
        let far = |&(x, y): &(f32, f32)| {
            let same = x.to_bits() == y.to_bits();
            let near = resource.float && (x - y).abs() <= SUMS * range;
            !same && !near
        };
        let Some(place) = words.iter().position(far) else {
            continue;
        };
        let value = |x: f32| value(&x.to_le_bytes(), resource.float);
        let (x, y) = (value(words[place].0), value(words[place].1));
        let (name, one, other) = (&resource.name, &one.name, &other.name);
        let op = writer(&writers, i, place);
        log.add(Kind::SubgroupSizeDependent, op, None, |_| {
            format!("word {place} of '{name}' is {x} {one}, {y} {other}")
        });
    }
}

/// The instruction that wrote a word in the last run, or else in the first.
fn writer(writers: &[&Writers; 2], resource: usize, word: usize) -> u32 {
    let of = |writers: &&Writers| writers.get(resource)?.get(word)?.checked_sub(1);
    let [first, last] = writers;
    of(last).or_else(|| of(first)).unwrap_or(NOWHERE)
}

fn real(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn value(bytes: &[u8], float: bool) -> String {
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    if u32::from_le_bytes(word) == POISON {
        return "never written".to_owned();
    }
    if float {
        f32::from_le_bytes(word).to_string()
    } else {
        u32::from_le_bytes(word).to_string()
    }
}
