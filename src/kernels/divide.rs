//! Divisors that the host knows, as numbers by which a kernel divides without dividing: `shaders/shared/divide.wgsl`.
//!
//! GPUs have no integer division: compilers make twenty instructions and more of one, and a CPU that pretends to be a GPU divides lane by
//! lane. A high product and two shifts are exact for every u32 (Granlund & Montgomery 1994, "Division by invariant integers using
//! multiplication", figure 4.1).

/// The words of a uniform by which a kernel divides: the divisor, its multiplier, and two shifts. Nothing can be divided by 0, and nothing
/// is: it is taken for 1, as in kernels without elements.
pub(crate) fn divisor(d: usize) -> [u32; 4] {
    let d = (d as u32).max(1);
    // The least l with 2^l >= d.
    let l = 32 - (d - 1).leading_zeros();
    let power = 1_u64 << l;
    let multiplier = ((power - u64::from(d)) << 32) / u64::from(d) + 1;
    [d, multiplier as u32, l.min(1), l.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `divided` of `shaders/shared/divide.wgsl` computes.
    fn divided(n: u32, [_, multiplier, first, second]: [u32; 4]) -> u32 {
        let high = ((u64::from(multiplier) * u64::from(n)) >> 32) as u32;
        (high + ((n - high) >> first)) >> second
    }

    #[test]
    fn quotients_are_exact_at_every_limit() {
        let near = |x: u32| (x.saturating_sub(2)..=x.saturating_add(2)).collect::<Vec<_>>();
        let mut divisors: Vec<u32> = (1..=1100).collect();
        divisors.extend((10..=31).flat_map(|bits| near(1 << bits)));
        divisors.extend([3, 5, 7, 641, 6_700_417].map(|d| u32::MAX / d));
        divisors.extend([u32::MAX - 1, u32::MAX]);
        for d in divisors.into_iter().filter(|&d| d > 0) {
            let by = divisor(d as usize);
            // Quotients change at multiples of d: the last ones, those about powers of two, and a few on the way.
            let last = u32::MAX / d * d;
            let mut numbers = vec![0, 1, u32::MAX];
            let multiples = [d, last, last / 2 / d * d, last / 3 / d * d];
            let powers = (1..32).map(|bits| (1_u32 << bits) / d * d);
            for multiple in multiples.into_iter().chain(powers) {
                numbers.extend(near(multiple));
            }
            for n in numbers {
                assert_eq!(divided(n, by), n / d, "{n} / {d}");
            }
        }
    }
}
