//! What nothing reaches from outside is inside. Pictures say nothing of what is behind a surface: a trained field is a shell there, with holes of a cell
//! here and there, and the surface of its density goes in through them and lines the cavity. A ball that is rolled over the shell from outside does
//! not: what it cannot reach is filled (a closing of the dense set by the ball, cavities filled before it is undone).

use std::collections::VecDeque;

use super::lattice::Lattice;
use crate::error::{Error, Result};

/// The radius of the ball, in cells, at most.
const MOST_CELLS: f64 = 8.0;

/// Bytes of a lattice that is known as a whole, at most.
const BUDGET: u64 = 4 << 30;

/// Bytes of a point: its density, whether it is reached, and its place in a list of those at an edge.
const BYTES_A_POINT: u64 = 9;

/// Refuses a radius that is none.
pub(super) fn check(radius: f64) -> Result<()> {
    if (0.0..=MOST_CELLS).contains(&radius) {
        return Ok(());
    }
    let why = format!("{radius} must be a number of cells from 0 to {MOST_CELLS}");
    Err(Error::field("fill", why))
}

/// Refuses a lattice that is too large to be known as a whole, and says which resolution is not.
pub(super) fn check_memory(lattice: &Lattice) -> Result<()> {
    let bytes = |n: &Lattice| {
        let points = n.points().map(|n| n as u64);
        let all = points.iter().fold(1, |a: u64, b| a.saturating_mul(*b));
        all.saturating_mul(BYTES_A_POINT)
    };
    let needed = bytes(lattice);
    if needed <= BUDGET {
        return Ok(());
    }
    let [low, high] = lattice.corners();
    let asked = lattice.cells().into_iter().max().unwrap_or(2);
    let fits = |n: &usize| Lattice::new(low, high, *n).is_ok_and(|l| bytes(&l) <= BUDGET);
    // About the cube root of the share that fits, and not above it.
    let about = asked as f64 * (BUDGET as f64 / needed as f64).cbrt();
    let largest = (2..=about.ceil() as usize).rev().find(fits).unwrap_or(2);
    Err(Error::field(
        "resolution",
        format!(
            "is {asked}: what is to be filled must be known as a whole, which takes {} MiB, of at most {} MiB; {largest} fits, or take no `fill`",
            needed >> 20,
            BUDGET >> 20
        ),
    ))
}

/// Where the ball is in the lattice.
struct Reach {
    points: [usize; 3],
    /// Points of the ball but its middle.
    ball: Vec<[isize; 3]>,
}

/// Of a point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Above the threshold.
    Dense,
    /// Not reached so far.
    Empty,
    /// Too near to something dense for the ball's middle.
    Near,
    /// The ball's middle comes here.
    Reached,
    /// The ball comes here.
    Outside,
}

const SIDES: [[isize; 3]; 6] = [
    [-1, 0, 0],
    [1, 0, 0],
    [0, -1, 0],
    [0, 1, 0],
    [0, 0, -1],
    [0, 0, 1],
];

impl Reach {
    fn new(points: [usize; 3], radius: f64) -> Self {
        let most = radius.floor() as isize;
        let axis = || -most..=most;
        // Rounding of a squared radius excludes no point that it should not.
        let within =
            |[x, y, z]: [isize; 3]| ((x * x + y * y + z * z) as f64) <= radius * radius + 1e-9;
        let all = axis().flat_map(|z| axis().flat_map(move |y| axis().map(move |x| [x, y, z])));
        let ball = all.filter(|&o| o != [0; 3] && within(o)).collect();
        Self { points, ball }
    }

    /// The points at these offsets that the lattice has.
    fn around<'a>(
        &self,
        at: usize,
        offsets: &'a [[isize; 3]],
    ) -> impl Iterator<Item = usize> + use<'a> {
        let [columns, rows, layers] = self.points;
        let place = [at % columns, at / columns % rows, at / (columns * rows)];
        offsets.iter().filter_map(move |offset| {
            let x = place[0]
                .checked_add_signed(offset[0])
                .filter(|x| *x < columns)?;
            let y = place[1]
                .checked_add_signed(offset[1])
                .filter(|y| *y < rows)?;
            let z = place[2]
                .checked_add_signed(offset[2])
                .filter(|z| *z < layers)?;
            Some(x + columns * (y + rows * z))
        })
    }

    /// Those of the ball's points around each point `from` that has a neighbour of another state, where they are in one of the states `of`,
    /// change to `to`.
    fn spread(&self, states: &mut [State], from: State, of: &[State], to: State) {
        if self.ball.is_empty() {
            return;
        }
        // There are fewer than 2^32: see the budget.
        let edge: Vec<u32> = (0..states.len())
            .filter(|&i| states[i] == from && self.around(i, &SIDES).any(|n| states[n] != from))
            .map(|i| i as u32)
            .collect();
        for at in edge {
            for near in self.around(at as usize, &self.ball) {
                if of.contains(&states[near]) {
                    states[near] = to;
                }
            }
        }
    }

    /// The ball's middle goes wherever there is room, from the walls on.
    fn flood(&self, states: &mut [State]) {
        let [columns, rows, layers] = self.points;
        let wall = |i: usize| {
            let (x, y, z) = (i % columns, i / columns % rows, i / (columns * rows));
            x == 0 || y == 0 || z == 0 || x == columns - 1 || y == rows - 1 || z == layers - 1
        };
        // On the walls there is nothing, and beyond them there is room.
        let walls = (0..states.len()).filter(|&i| wall(i));
        let mut found: VecDeque<u32> = walls.map(|i| i as u32).collect();
        for &i in &found {
            states[i as usize] = State::Reached;
        }
        while let Some(at) = found.pop_front() {
            for near in self.around(at as usize, &SIDES) {
                if states[near] == State::Empty {
                    states[near] = State::Reached;
                    found.push_back(near as u32);
                }
            }
        }
    }
}

/// Makes what a ball of `radius` cells does not reach from the lattice's walls twice as dense as the threshold, where it is not dense: half-way to
/// something empty lies the surface then. The points on the walls are empty.
pub(super) fn fill(density: &mut [f32], points: [usize; 3], threshold: f32, radius: f64) {
    let reach = Reach::new(points, radius);
    let state = |d: &f32| match *d > threshold {
        true => State::Dense,
        false => State::Empty,
    };
    let mut states: Vec<State> = density.iter().map(state).collect();
    reach.spread(&mut states, State::Dense, &[State::Empty], State::Near);
    reach.flood(&mut states);
    let unreached = [State::Empty, State::Near];
    reach.spread(&mut states, State::Reached, &unreached, State::Outside);
    for (density, state) in density.iter_mut().zip(states) {
        if unreached.contains(&state) {
            *density = 2.0 * threshold;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    const SIDE: usize = 24;

    /// Distance from the middle of the lattice.
    fn radius(i: usize) -> f64 {
        let place = [i % SIDE, i / SIDE % SIDE, i / (SIDE * SIDE)];
        let squared = place.map(|n| (n as f64 - 11.5).powi(2));
        squared.iter().sum::<f64>().sqrt()
    }

    /// A hollow ball of radii 5 to 8 with a straight hole of `width` points through its wall, and how many points are dense after it is filled.
    fn shell(width: usize, ball: f64) -> (Vec<f32>, Vec<f32>) {
        let hole = |i: usize| {
            let [x, y, z] = [i % SIDE, i / SIDE % SIDE, i / (SIDE * SIDE)];
            let middle = |n: usize| (12 - width / 2..12 - width / 2 + width).contains(&n);
            x > 12 && middle(y) && middle(z)
        };
        let dense = |i: usize| match (5.0..8.0).contains(&radius(i)) && !hole(i) {
            true => 3.0,
            false => 0.25,
        };
        let before: Vec<f32> = (0..SIDE.pow(3)).map(dense).collect();
        let mut after = before.clone();
        fill(&mut after, [SIDE; 3], 1.0, ball);
        (before, after)
    }

    #[test]
    fn a_hollow_is_filled_and_all_else_left_as_it_is() {
        let (before, after) = shell(0, 0.0);
        for (i, (a, b)) in before.iter().zip(&after).enumerate() {
            let hollow = radius(i) < 5.0;
            assert_eq!(*b, if hollow { 2.0 } else { *a }, "{i}");
        }
    }

    /// A hole of n points lets a ball through whose radius is below (n + 1) / 2: its middle stays so far from either side.
    #[test]
    fn a_ball_enters_by_holes_that_are_wide_enough() {
        let middle = 12 + SIDE * (12 + SIDE * 12);
        for (width, enters, does_not) in [(1, 0.9, 1.0), (3, 1.9, 2.1), (5, 2.9, 3.1)] {
            assert_eq!(shell(width, enters).1[middle], 0.25, "{width}");
            assert_eq!(shell(width, does_not).1[middle], 2.0, "{width}");
        }
    }

    /// However large the ball: nothing convex is changed around a ball, and nothing far from all that is dense.
    #[test]
    fn outside_of_what_is_convex_nothing_is_filled() {
        for radius_of_ball in [0.0, 1.0, 1.5, 2.0, 4.0] {
            let (before, after) = shell(0, radius_of_ball);
            let outside = (0..before.len()).filter(|&i| radius(i) > 8.5);
            assert!(
                outside.into_iter().all(|i| before[i] == after[i]),
                "{radius_of_ball}"
            );
        }
    }
}
