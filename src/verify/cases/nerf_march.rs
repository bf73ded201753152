//! Rays through an occupancy grid: counting, prefix sums that drop what does not fit, writing; and the grid itself.
//!
//! Rays that miss, start inside, run along an axis or along a wall; grids that are empty, full, or anything between. Which samples a ray has is the
//! same in f32 everywhere, so that counts are compared as integers, random rays included.

use std::sync::Arc;

use super::{Case, Values, case, integers, numbers, unwritten};
use crate::kernels::march::{March, MarchCount, MarchWrite};
use crate::kernels::occupancy::{Occupancy, Stage};
use crate::kernels::ray_budget::RayBudget;
use crate::kernels::ray_of::RayOf;
use crate::kernels::scan::{self, Scan, TILE};
use crate::kernels::{STATE_WORDS, state};
use crate::reference::{self, Twin};
use crate::tensor::{DType, Data};

pub(super) fn all(quick: bool, cases: &mut Vec<Case>) {
    scans(quick, cases);
    ray_of(cases);
    ray_budget(cases);
    march(quick, cases);
    occupancy(quick, cases);
}

/// Counts of every kind.
#[derive(Clone, Copy, Debug)]
enum Counts {
    /// Up to 1,024, a third of them 0.
    Some,
    /// None at all.
    Zero,
    /// So large that a u32 of their sum would overflow.
    Huge,
}

fn counts(kind: Counts, rays: usize) -> Vec<u32> {
    let words = integers(21, u32::MAX, rays);
    let one = |&word: &u32| match kind {
        Counts::Some if word % 3 == 0 => 0,
        Counts::Some => word / 3 % 1024 + 1,
        Counts::Zero => 0,
        Counts::Huge => word | 1 << 31,
    };
    words.as_u32().iter().map(one).collect()
}

fn scans(quick: bool, cases: &mut Vec<Case>) {
    // One more and one less than a tile; 257 tiles take two turns.
    let mut sizes = vec![1, 67, TILE, TILE + 1, 256 * TILE + 5];
    if !quick {
        sizes.extend([2, TILE - 1, 5 * TILE + 3, (1 << 20) + 1]);
    }
    for rays in sizes {
        for kind in [Counts::Some, Counts::Zero, Counts::Huge] {
            let counts = counts(kind, rays);
            let sum: u64 = counts.iter().map(|&c| u64::from(c)).sum();
            let most = (sum as usize).min(scan::MOST_CAPACITY);
            // Half of them fit, all, all but the last, none but empty ones, no room at all.
            let before_first = (counts[0] as usize).saturating_sub(1).min(most);
            let mut room = vec![most / 2, most, most.saturating_sub(1), before_first, 0];
            room.truncate(match (kind, rays == 67 || !quick) {
                (Counts::Some, true) if rays < 2 * TILE => 5,
                (Counts::Some, _) => 2,
                _ => 1,
            });
            for capacity in room {
                let name = format!("{rays} rays, {kind:?} counts, room for {capacity}");
                scan_in(&name, rays, capacity, kind, cases);
            }
        }
    }
}

fn scan_in(name: &str, rays: usize, capacity: usize, kind: Counts, cases: &mut Vec<Case>) {
    use scan::Stage;
    for stage in [Stage::Sums, Stage::Starts, Stage::Base] {
        let kernel = move |stage| Scan {
            rays,
            capacity,
            stage,
        };
        let before = move |stage, inputs: Vec<Data>| {
            let mut buffers = inputs;
            buffers.push(unwritten(DType::U32));
            kernel(stage).reference(&mut buffers);
            buffers.pop().unwrap_or(unwritten(DType::U32))
        };
        let make = move || {
            let counts = Data::U32(counts(kind, rays));
            let mut inputs = vec![counts.clone()];
            if stage != Stage::Sums {
                inputs.push(before(Stage::Sums, vec![counts.clone()]));
            }
            if stage == Stage::Base {
                let totals = inputs.remove(1);
                inputs.push(before(Stage::Starts, vec![counts, totals]));
            }
            inputs.push(unwritten(DType::U32));
            inputs
        };
        cases.push(Case::new(
            format!("{stage:?}, {name}"),
            Arc::new(kernel(stage)),
            make,
        ));
    }
}

fn ray_of(cases: &mut Vec<Case>) {
    for (rays, samples, capacity) in [
        (1, 1, 1),
        (1, 65, 64),
        // The only ray has samples.
        (1, 1100, 1024),
        (2, 127, 127),
        (67, 40_000, 40_000),
        (67, 9_000, 5_000),
        (1000, 30_011, 20_000),
    ] {
        for kind in [Counts::Some, Counts::Zero] {
            let name = format!("{samples} samples of {rays} rays, {kind:?} counts");
            let kernel = RayOf { rays, samples };
            let base = move || Data::U32(reference::scan::scan(&counts(kind, rays), capacity));
            let make = move || vec![base(), unwritten(DType::U32)];
            cases.push(Case::new(name, Arc::new(kernel), make));
        }
    }
}

fn ray_budget(cases: &mut Vec<Case>) {
    // Quotients at and just below a whole number, products beyond 32 bits, no samples, no rays, clamped on both sides, a quotient beyond 32 bits.
    for (fit, samples, active, aim) in [
        (100, 500, 100, 1_000),
        (100, 501, 100, 1_000),
        (99, 700, 300, 1_000),
        (0, 0, 50, 16_384),
        (250, 0, 0, 16_384),
        (250, 1, 250, 4_000_000_000),
        (1_000_000, 16_777_215, 1_048_576, 262_144),
        (1_000_000, 1_999_999_999, 1_048_576, 2_000_000_000),
        (7, 3, 7, 9),
        (7, 1, 7, 9),
    ] {
        for step in [0, 15, 16, 31, 32] {
            let kernel = RayBudget {
                rays: 300,
                aim,
                least: 5,
                most: 1 << 20,
            };
            let name = format!("{fit} of {active} rays, {samples} samples, step {step}");
            let make = move || {
                let mut base = vec![samples; 302];
                (base[0], base[301]) = (0, fit);
                let mut words = vec![9; STATE_WORDS];
                (words[state::STEP_LOW], words[state::STEP_HIGH]) = (step, 1);
                let active = Data::F32(vec![active as f32]);
                let state = Data::U32(words);
                vec![Data::U32(base), active, state, unwritten(DType::F32)]
            };
            cases.push(Case::new(name, Arc::new(kernel), make));
        }
    }
}

/// Rays of every kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rays {
    /// From around the cube to points in it; a tenth look away.
    Around,
    /// From points inside.
    Inside,
    /// Along axes and walls, from numbers that f32 has, zeros of either sign.
    Axes,
    /// Nearly along an axis, near a wall that they meet after many steps.
    Grazing,
    /// From a hundred sides away, or two thousand: so many steps that a part in 2^16 of them is some.
    Far,
}

const KINDS: [Rays; 5] = [
    Rays::Around,
    Rays::Inside,
    Rays::Axes,
    Rays::Grazing,
    Rays::Far,
];

fn unit(v: [f32; 3]) -> [f32; 3] {
    let length = v
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt();
    v.map(|x| (f64::from(x) / length) as f32)
}

/// `count` rays `[count, 6]`.
fn rays(kind: Rays, count: usize) -> Vec<f32> {
    let drawn = numbers(Values::Normal, 31, 6 * count).to_f32();
    let words = integers(32, 1 << 16, 4 * count);
    let words = words.as_u32();
    let one = |i: usize| -> [f32; 6] {
        let a = [drawn[6 * i], drawn[6 * i + 1], drawn[6 * i + 2]];
        let b = [drawn[6 * i + 3], drawn[6 * i + 4], drawn[6 * i + 5]];
        let word = |n: usize| words[4 * i + n];
        let inside = [0, 1, 2].map(|n| word(n) as f32 / 65_536.0);
        let toward = |from: [f32; 3]| {
            let sign = if word(3) % 10 == 0 { -1.0 } else { 1.0 };
            unit([0, 1, 2].map(|n| sign * (inside[n] - from[n])))
        };
        let (origin, direction) = match kind {
            Rays::Around => {
                let from = unit(a).map(|x| 1.5 * x + 0.5);
                (from, toward(from))
            }
            Rays::Inside => (inside, unit(b)),
            Rays::Axes => {
                let axis = word(3) as usize % 3;
                let ahead = if word(3) / 3 % 2 == 0 { 1.0 } else { -1.0 };
                let mut direction = [0.0, -0.0, 0.0];
                direction[axis] = ahead;
                // Walls of 64 cells, corners of the cube, a little outside.
                let mut origin = inside.map(|x| ((x * 72.0).floor() - 4.0) / 64.0);
                if word(3) % 4 == 0 {
                    origin[axis] = 0.5 - 1.75 * ahead;
                }
                (origin, direction)
            }
            Rays::Grazing => {
                let axis = word(3) as usize % 3;
                let mut direction = b.map(|x| x * 10_f32.powi(-3 - (word(3) / 3 % 6) as i32));
                direction[axis] = 1.0;
                let wall = |n: usize| (word(n) % 64) as f32 / 64.0;
                let mut origin = [0, 1, 2].map(|n| wall(n) + 1e-6 * a[n]);
                origin[axis] = -0.25;
                (origin, unit(direction))
            }
            Rays::Far => {
                let sides = if i.is_multiple_of(2) { 100.0 } else { 2000.0 };
                let from = unit(a).map(|x| sides * x + 0.5);
                (from, toward(from))
            }
        };
        let [x, y, z] = origin;
        let [u, v, w] = direction;
        [x, y, z, u, v, w]
    };
    (0..count).flat_map(one).collect()
}

/// How much of a grid is occupied.
#[derive(Clone, Copy, Debug)]
enum Filled {
    Empty,
    Full,
    Half,
    Sparse,
}

fn bits(filled: Filled, march: &March) -> Vec<u32> {
    let words = integers(41, u32::MAX, 5 * march.words());
    let at = |n: usize, i: usize| words.as_u32()[n * march.words() + i];
    let one = |i: usize| match filled {
        Filled::Empty => 0,
        Filled::Full => u32::MAX,
        Filled::Half => at(0, i),
        Filled::Sparse => (0..5).fold(u32::MAX, |word, n| word & at(n, i)),
    };
    (0..march.words()).map(one).collect()
}

/// Multiples of 2^-24 in [0, 1).
fn jitter(count: usize) -> Vec<f32> {
    let words = integers(51, 1 << 24, count);
    let of = |&w: &u32| w as f32 / 16_777_216.0;
    words.as_u32().iter().map(of).collect()
}

fn march(quick: bool, cases: &mut Vec<Case>) {
    // Cells along an axis, steps, cascades, steps of an octave.
    let mut grids = vec![
        (4, 1, 1, 0),
        (16, 37, 1, 0),
        (64, 256, 1, 0),
        (8, 37, 3, 0),
        (16, 64, 4, 16),
    ];
    if !quick {
        grids.extend([
            (8, 3, 1, 0),
            (128, 1024, 1, 0),
            (16, 5, 2, 17),
            (64, 256, 8, 256),
        ]);
    }
    for (resolution, steps, cascades, octave) in grids {
        let march = March::new(resolution, steps);
        let Ok(march) = march.and_then(|m| m.with_cascades(cascades, octave)) else {
            continue;
        };
        for kind in KINDS {
            let mut several = vec![(Filled::Half, 127), (Filled::Sparse, 65)];
            if !quick && resolution > 8 {
                several.extend([(Filled::Full, 33), (Filled::Empty, 64)]);
            }
            for (filled, count) in several {
                let name = format!("{count} rays {kind:?}, {filled:?}");
                counted(&name, march, kind, filled, count, count as f32, cases);
                // Room for all of them, or for some.
                let room = if count == 127 || kind == Rays::Axes {
                    1.1
                } else {
                    0.6
                };
                let name = format!("{name}, room for {room} of them");
                written(&name, march, kind, filled, count, room, cases);
            }
        }
        // One ray, none active, some, more than there are.
        for (count, active) in [(1, 1.0), (1, 0.0), (63, 0.0), (63, 17.0), (63, 1e6)] {
            let name = format!("{active} of {count} rays");
            let (kind, filled) = (Rays::Around, Filled::Half);
            counted(&name, march, kind, filled, count, active, cases);
        }
        // Not even room for one; room and nothing else.
        for (filled, room) in [(Filled::Full, 0.01), (Filled::Empty, 0.0)] {
            let name = format!("3 rays, {filled:?}, room for {room} of them");
            written(&name, march, Rays::Inside, filled, 3, room, cases);
        }
    }
}

fn counted(
    name: &str,
    march: March,
    kind: Rays,
    filled: Filled,
    count: usize,
    active: f32,
    cases: &mut Vec<Case>,
) {
    let make = move || {
        vec![
            Data::F32(rays(kind, count)),
            Data::F32(jitter(count)),
            Data::F32(vec![active]),
            Data::U32(bits(filled, &march)),
            unwritten(DType::U32),
        ]
    };
    let kernel = MarchCount { march, rays: count };
    cases.push(Case::new(name, Arc::new(kernel), make));
}

/// With rows for `room` times as many samples as there are, and 67 more.
fn written(
    name: &str,
    march: March,
    kind: Rays,
    filled: Filled,
    count: usize,
    room: f64,
    cases: &mut Vec<Case>,
) {
    let (rays, jitter, bits) = (rays(kind, count), jitter(count), bits(filled, &march));
    let kernel = MarchCount { march, rays: count };
    let counts = reference::march::count(&kernel, &rays, &jitter, count as f32, &bits);
    let all: u32 = counts.iter().sum();
    let capacity = (f64::from(all) * room) as usize;
    let base = reference::scan::scan(&counts, capacity);
    let kernel = MarchWrite {
        march,
        rays: count,
        samples: capacity + 67,
    };
    let make = move || {
        vec![
            Data::F32(rays.clone()),
            Data::F32(jitter.clone()),
            Data::U32(bits.clone()),
            Data::U32(base.clone()),
            unwritten(DType::F32),
        ]
    };
    cases.push(Case::new(name, Arc::new(kernel), make));
}

fn occupancy(quick: bool, cases: &mut Vec<Case>) {
    // Cells along an axis, cascades.
    let mut grids = vec![(4_usize, 1), (16, 1), (4, 3), (16, 8)];
    if !quick {
        grids.extend([(8, 1), (64, 1), (8, 2), (32, 5)]);
    }
    for (side, cascades) in grids {
        let cells = cascades * side.pow(3);
        let kernel = move |stage, count| Occupancy {
            side,
            cascades,
            count,
            stream: 0x2468_ace1,
            decay: 0.95,
            stage,
        };
        let named = |stage, count, what: &str| {
            let name = format!("{stage:?}, {cascades} x {side}^3 cells, {what}");
            case(name, kernel(stage, count), Values::Normal)
        };
        cases.push(named(Stage::All, cells, "each"));
        cases.push(named(Stage::Clear, 1, "each"));
        // Nearly all are above, half of them, hardly one, none.
        for threshold in [-3.0, 0.0, 2.5, 1e9] {
            let set = move |inputs: &mut [Data]| inputs[1] = Data::F32(vec![threshold]);
            let what = format!("above {threshold}");
            cases.push(named(Stage::Pick, cells / 2, &what).changed(set));
            cases.push(named(Stage::Bits, 1, &what).changed(set));
        }
        // What is equal is not above; both zeros.
        let equals = |inputs: &mut [Data]| {
            let count = inputs[0].len();
            let values = (0..count).map(|i| [0.0, -0.0, 1.0, -1.0][i * 7 % 5 % 4]);
            (inputs[0], inputs[1]) = (Data::F32(values.collect()), Data::F32(vec![0.0]));
        };
        cases.push(named(Stage::Bits, 1, "ties").changed(equals));
        cases.push(named(Stage::Pick, cells / 2, "ties").changed(equals));
        for step in [0, 16, 255, 256, 1027] {
            let at = move |inputs: &mut [Data]| {
                let mut words = vec![3; STATE_WORDS];
                (words[state::STEP_LOW], words[state::STEP_HIGH]) = (step, 0);
                inputs[2] = Data::U32(words);
            };
            let what = format!("step {step}");
            cases.push(named(Stage::Pick, cells / 32 + 2, &what).changed(at));
        }
        for count in [1, 63, 130, 521] {
            let drawn = move |inputs: &mut [Data]| {
                inputs[0] = integers(61, cells as u32, count);
            };
            let what = format!("{count} of them");
            cases.push(named(Stage::Points, count, &what).changed(drawn));
            // Many of one cell, some of none; nothing found yet, or something.
            for below in [7, cells as u32 + 5] {
                let found = move |inputs: &mut [Data]| {
                    inputs[0] = integers(62, below, count);
                    let before = integers(63, 3, cells);
                    let before = before.as_u32().iter().map(|&w| (w as f32 * 0.5).to_bits());
                    inputs[2] = Data::U32(before.collect());
                };
                let what = format!("{count} of the first {below}");
                cases.push(named(Stage::Largest, count, &what).changed(found));
            }
        }
        let unseen = move |inputs: &mut [Data]| {
            let values = numbers(Values::Positive, 64, cells).to_f32();
            let seen = |(i, v): (usize, &f32)| [*v, *v, -1.0, *v, 0.0][i % 5];
            inputs[0] = Data::F32(values.iter().enumerate().map(seen).collect());
            let fresh = numbers(Values::Positive, 65, cells).to_f32();
            let found = |(i, v): (usize, &f32)| if i % 3 == 1 { 0 } else { v.to_bits() };
            inputs[1] = Data::U32(fresh.iter().enumerate().map(found).collect());
        };
        cases.push(named(Stage::Merge, 1, "some unseen").changed(unseen));
    }
    let cell = |stage| Occupancy {
        side: 512,
        cascades: 1,
        count: 67,
        stream: 5,
        decay: 0.95,
        stage,
    };
    let name = "Points, 512^3 cells".to_owned();
    cases.push(
        case(name, cell(Stage::Points), Values::Normal).changed(|inputs| {
            inputs[0] = integers(66, 1 << 27, 67);
        }),
    );
}
