//! Some elements of what a kernel writes, computed without the rest: what a device's result can be held against where computing all of it on the CPU
//! would take too long.

use crate::real::{Real, Tracked};
use crate::tensor::Data;

/// One element of a binding that a kernel writes.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Which binding.
    pub binding: usize,
    /// Which of its elements.
    pub element: usize,
    /// What it has to be, with its tolerance.
    pub value: Tracked,
}

impl Sample {
    /// Whether a device may give this number.
    pub fn admits(&self, got: f32) -> bool {
        // Below the smallest normal f32 a device may flush to zero.
        let tolerance = self.value.tolerance() + f64::from(f32::MIN_POSITIVE);
        (f64::from(got) - self.value.to_f64()).abs() <= tolerance
    }
}

/// About `most` elements of `count` in rows of `row`: both ends of the first row and of the last, and others at random over all, so that none of their
/// rows and columns is likelier than another whatever the length of a row.
pub(crate) fn places(count: usize, row: usize, most: usize) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let row = row.clamp(1, count);
    let mut places = vec![0, row - 1, count - row, count - 1];
    let others = (1..=most.saturating_sub(places.len()) as u64).map(|i| {
        // SplitMix64 (Steele, Lea & Flood 2014).
        let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * count as u128) >> 64) as usize
    });
    places.extend(others);
    places.sort_unstable();
    places.dedup();
    places
}

/// An element of a host array as a number of any type.
///
/// # Panics
/// When there is none, or the array holds no reals.
pub(crate) fn element<T: Real>(data: &Data, index: usize) -> T {
    match data {
        Data::F32(values) => T::from_f64(f64::from(values[index])),
        Data::F64(values) => T::from_f64(values[index]),
        Data::Tracked(values) => T::from_f64(values[index].to_f64()),
        Data::U32(_) | Data::U8(_) => panic!("integers where reals were expected"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kernels::conv2d::{Body, Conv2d, Direction, Geometry};
    use crate::kernels::expression::{Expression, Indexing, Term};
    use crate::kernels::functions::Function;
    use crate::kernels::matmul::{Layout, Matmul};
    use crate::kernels::{Access, Caps};
    use crate::real::Precision;
    use crate::reference::{Half, Twin};

    #[test]
    fn places_are_spread_over_rows_and_columns() {
        let (rows, columns) = (640, 64);
        let places = places(rows * columns, columns, 64);
        assert!((60..=64).contains(&places.len()), "{}", places.len());
        for corner in [0, columns - 1, (rows - 1) * columns, rows * columns - 1] {
            assert!(places.contains(&corner), "{corner}");
        }
        let distinct = |of: fn(usize) -> usize| {
            let mut all: Vec<usize> = places.iter().map(|&p| of(p)).collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        // Of 64 columns 60 random ones meet 39 on average.
        assert!(distinct(|p| p % 64) > 30);
        assert!(distinct(|p| p / 64 / 10) > 30);
        assert_eq!(super::places(1, 7, 64), [0]);
        assert!(super::places(0, 7, 64).is_empty());
    }

    /// Each sample is what the whole twin says, with the same tolerance; and there are some of each result.
    fn agree_with_the_whole(kernel: &dyn Twin) {
        let bindings = kernel.bindings();
        let given: Vec<Data> = bindings
            .iter()
            .enumerate()
            .map(|(i, b)| {
                let number = |e: usize| ((e * 7 + i * 3) % 11) as f32 * 0.25 - 1.0;
                Data::F32((0..b.count).map(number).collect())
            })
            .collect();
        let samples = kernel.samples(&given, 16);
        let mut whole: Vec<Data> = given
            .into_iter()
            .map(|d| d.in_precision(Precision::Tracked))
            .collect();
        kernel.reference(&mut whole);
        for (i, binding) in bindings.iter().enumerate() {
            let of = samples.iter().filter(|s| s.binding == i).count();
            let wanted = if binding.access == Access::Read {
                0
            } else {
                binding.count.min(4)
            };
            assert!(of >= wanted && (wanted > 0 || of == 0), "{kernel:?}: {of}");
        }
        for sample in samples {
            let Data::Tracked(values) = &whole[sample.binding] else {
                panic!("{kernel:?}")
            };
            let value = values[sample.element];
            let same =
                |a: Tracked, b: Tracked| a.to_f64() == b.to_f64() && a.tolerance() == b.tolerance();
            assert!(
                same(value, sample.value),
                "{kernel:?}: {sample:?}, {value:?}"
            );
            assert!(sample.admits(value.to_f64() as f32), "{sample:?}");
            let wrong = value.to_f64() + 3.0 * value.tolerance() + 0.01;
            assert!(!sample.admits(wrong as f32) && !sample.admits(f32::NAN));
        }
    }

    /// (sum + bias) and relu of it.
    fn epilogue(count: usize, columns: usize) -> Expression {
        Expression {
            terms: vec![
                Term::Accumulator,
                Term::Operand(0),
                Term::Call(Function::Add, vec![0, 1]),
                Term::Call(Function::Relu, vec![2]),
            ],
            operands: vec![Indexing::broadcast(
                &[count / columns, columns].into(),
                &[columns].into(),
            )],
            results: vec![2, 3],
        }
    }

    #[test]
    fn products_say_what_some_of_their_elements_are() {
        for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
            let plain = Matmul::new(&Caps::portable(), layout, 3, 9, 7, 13).expect("a product");
            agree_with_the_whole(&plain);
            let all = Matmul {
                b_batched: false,
                accumulate: true,
                row_sums: layout == Layout::Tn,
                epilogue: epilogue(3 * 9 * 7, 7),
                ..plain
            };
            agree_with_the_whole(&all);
            let bindings = 2 + 1 + 2 + usize::from(all.row_sums);
            let half = (0..bindings).map(|i| i < 2).collect();
            agree_with_the_whole(&Half::new(Arc::new(all), half));
        }
    }

    #[test]
    fn convolutions_say_what_some_of_their_elements_are() {
        let geometry = Geometry {
            groups: 2,
            ..Geometry::square(2, 5, 4, 6, [3, 2, 1])
        };
        for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
            let plain = Conv2d::new(&Caps::portable(), geometry, direction).expect("one");
            agree_with_the_whole(&plain);
            let weight = direction == Direction::Weight;
            let parts = Conv2d {
                splits: if weight { 3 } else { 1 },
                row_sums: weight,
                ..plain.clone()
            };
            agree_with_the_whole(&parts);
            let fused = Conv2d {
                epilogue: epilogue(plain.counts().2, 2),
                ..plain
            };
            agree_with_the_whole(&fused);
        }
        let geometry = Geometry::square(2, 5, 8, 3, [3, 1, 1]);
        let plain = Conv2d::new(&Caps::portable(), geometry, Direction::Forward).expect("one");
        agree_with_the_whole(&Conv2d {
            body: Body::Fold,
            ..plain
        });
    }
}
