//! Twins of `shaders/occupancy.wgsl`.

use super::{random_state, twin};
use crate::kernels::occupancy::{ATTEMPTS, EARLY, Occupancy, Stage};
use crate::kernels::philox::{RandomState, philox4x32};
use crate::real::Real;
use crate::tensor::Data;

/// Four random words of a block.
fn words(kernel: &Occupancy, state: RandomState, block: u32) -> [u32; 4] {
    let (step, seed) = (state.step, state.seed);
    let counter = [block, step as u32, (step >> 32) as u32, kernel.stream];
    philox4x32(counter, [seed as u32, (seed >> 32) as u32])
}

/// The next cells of a permutation, then, but in the first steps, as many that are each the first of ten random ones whose value is above the
/// threshold.
pub(crate) fn pick<T: Real>(
    kernel: &Occupancy,
    values: &[T],
    threshold: T,
    state: RandomState,
) -> Vec<u32> {
    let count = kernel.count as u32;
    let n = if state.step < EARLY { count } else { count / 2 };
    let (cells, cascades) = (kernel.cells() as u32, kernel.cascades as u32);
    let of_cascade = cells / cascades;
    let step = state.step as u32;
    let permuted = (0..n).map(|i| {
        let number = i.wrapping_add(step.wrapping_mul(n));
        let turned = (number / cascades)
            .wrapping_mul(56_924_617)
            .wrapping_add(96_925_573);
        turned % of_cascade + of_cascade * (number % cascades)
    });
    let occupied = (0..count - n).map(|i| {
        let mut tried = (0..ATTEMPTS)
            .map(|attempt| words(kernel, state, 3 * i + attempt / 4)[attempt as usize % 4] % cells);
        let above = |cell: &u32| values[*cell as usize].to_f64() > threshold.to_f64();
        let last = tried.clone().next_back().unwrap_or(0);
        tried.find(above).unwrap_or(last)
    });
    permuted.chain(occupied).collect()
}

/// A random point in each cell, a multiple of 2^-15 of its side from its corner.
pub(crate) fn points<T: Real>(kernel: &Occupancy, cells: &[u32], state: RandomState) -> Vec<T> {
    let side = kernel.side as u32;
    let of_cell = |(i, &cell): (usize, &u32)| {
        let corner = [cell % side, cell / side % side, cell / side / side % side];
        let outwards = kernel.cascades as i32 - 1 - (cell / side.pow(3)) as i32;
        let random = words(kernel, state, i as u32);
        [0, 1, 2].map(|axis| {
            let u = f64::from(random[axis] >> 17) / 32_768.0;
            let place = T::from_f64((f64::from(corner[axis]) + u) / f64::from(side));
            if kernel.cascades == 1 {
                return place;
            }
            let half = T::from_f64(0.5);
            (place - half).scaled(-outwards.max(0)) + half
        })
    };
    cells.iter().enumerate().flat_map(of_cell).collect()
}

/// The bits of the largest positive thickness found in each cell.
fn largest<T: Real>(fresh: &mut [u32], cells: &[u32], thickness: &[T]) {
    for (&cell, found) in cells.iter().zip(thickness) {
        let found = found.to_f64() as f32;
        if let Some(most) = fresh.get_mut(cell as usize)
            && found > f32::from_bits(*most)
        {
            *most = found.to_bits();
        }
    }
}

/// `max(decay value, fresh)`, a value below 0 as it is.
fn merge<T: Real>(kernel: &Occupancy, values: &[T], fresh: &[T]) -> Vec<T> {
    let decay = T::from_f64(f64::from(kernel.decay));
    let one = |(&value, &fresh): (&T, &T)| {
        if value.to_f64() < 0.0 {
            value
        } else {
            (decay * value).max(fresh)
        }
    };
    values.iter().zip(fresh).map(one).collect()
}

/// The values after cells were looked at.
pub(crate) fn merged<T: Real>(
    kernel: &Occupancy,
    values: &[T],
    cells: &[u32],
    thickness: &[T],
) -> Vec<T> {
    let mut fresh = vec![T::from_f64(0.0); kernel.cells()];
    for (&cell, &found) in cells.iter().zip(thickness) {
        if let Some(most) = fresh.get_mut(cell as usize)
            && found.to_f64() > most.to_f64()
        {
            *most = found;
        }
    }
    merge(kernel, values, &fresh)
}

/// A bit a cell: whether its value is above the threshold.
pub(crate) fn bits<T: Real>(values: &[T], threshold: T) -> Vec<u32> {
    let word = |cells: &[T]| {
        let above = cells.iter().map(|v| v.to_f64() > threshold.to_f64());
        above.rev().fold(0, |word, bit| word << 1 | u32::from(bit))
    };
    values.chunks(32).map(word).collect()
}

twin!(Occupancy, run);

fn run<T: Real>(kernel: &Occupancy, buffers: &mut [Data]) {
    let state = |buffer: &Data| random_state(buffer.as_u32());
    let out = match kernel.stage {
        Stage::All => Data::U32((0..kernel.count as u32).collect()),
        Stage::Pick => {
            let (values, threshold) = (T::of(&buffers[0]), T::of(&buffers[1])[0]);
            Data::U32(pick(kernel, values, threshold, state(&buffers[2])))
        }
        Stage::Points => {
            let points = points(kernel, buffers[0].as_u32(), state(&buffers[1]));
            T::into_data(points)
        }
        Stage::Clear => Data::U32(vec![0; kernel.cells()]),
        Stage::Largest => {
            let mut fresh = buffers[2].as_u32().to_vec();
            largest(&mut fresh, buffers[0].as_u32(), T::of(&buffers[1]));
            Data::U32(fresh)
        }
        Stage::Merge => {
            let fresh = buffers[1].as_u32().iter();
            let fresh: Vec<T> = fresh
                .map(|&b| T::from_f64(f64::from(f32::from_bits(b))))
                .collect();
            T::into_data(merge(kernel, T::of(&buffers[0]), &fresh))
        }
        Stage::Bits => Data::U32(bits(T::of(&buffers[0]), T::of(&buffers[1])[0])),
    };
    if let Some(last) = buffers.last_mut() {
        *last = out;
    }
}
