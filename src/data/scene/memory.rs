//! Whether the rays of pictures fit into memory, said before it is full: where systems give what they have not, a program that takes it is ended
//! without a word.

use crate::error::{Error, Result};

/// Bytes that a ray takes: its row, and its place in the order of an epoch.
const BYTES: u64 = super::ROW_BYTES as u64 + 4;

/// The share of what is free that rays may take.
const SHARE: f64 = 0.85;

/// The most rays: their numbers have 32 bits.
const MOST: u64 = 1 << 32;

/// Bytes that are free, as far as the system says: of the machine, and of what this process may have.
fn free() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("MemAvailable:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        kib.checked_mul(1024)
    });
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max").and_then(|most| {
        let used = number("/sys/fs/cgroup/memory.current")?;
        // Files that were read are given up before anything is refused.
        let files = read("/sys/fs/cgroup/memory.stat").map_or(0, |text| {
            let of = |line: &str| {
                let (name, bytes) = line.split_once(' ')?;
                let is_file = matches!(name, "active_file" | "inactive_file");
                is_file.then(|| bytes.trim().parse::<u64>().ok())?
            };
            text.lines().filter_map(of).sum()
        });
        Some(most.saturating_sub(used.saturating_sub(files)))
    });
    match (machine, group) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Refuses so many pixels that their rays have no room. `times` is by how much pictures are made smaller already.
///
/// # Errors
/// When they have none; the message says by how much to make them smaller.
pub(super) fn check(pixels: u64, times: u32) -> Result<()> {
    check_within(pixels, times, free())
}

fn check_within(pixels: u64, times: u32, free: Option<u64>) -> Result<()> {
    let room = free.map_or(MOST, |free| (SHARE * free as f64) as u64 / BYTES);
    let most = room.min(MOST);
    if pixels <= most {
        return Ok(());
    }
    let wanted = (pixels as f64 / most.max(1) as f64).sqrt() * f64::from(times);
    let found = if pixels > MOST {
        format!("has {pixels} pixels in all, more than the 2^32 that are numbered")
    } else {
        format!(
            "needs {} MiB for the rays of {pixels} pixels, and {} MiB of memory are free",
            pixels.saturating_mul(BYTES) >> 20,
            free.unwrap_or(0) >> 20
        )
    };
    Err(Error::field(
        "scene_downscale",
        format!(
            "{times}: the scene {found}; {} makes pictures small enough, or take fewer",
            wanted.ceil()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_factor_that_does() {
        let said = |pixels, times, free| check_within(pixels, times, free).unwrap_err().to_string();
        // Fifty pictures of twelve megapixels on a machine with 4 GiB free.
        let message = said(600_000_000, 1, Some(4 << 30));
        assert!(
            message.contains("needs 6866 MiB") && message.contains("; 2 makes"),
            "{message}"
        );
        assert!(check_within(150_000_000, 2, Some(4 << 30)).is_ok());
        let message = said(6_000_000_000, 2, None);
        assert!(
            message.contains("2^32") && message.contains("; 3 makes"),
            "{message}"
        );
        assert!(check_within(1 << 32, 1, None).is_ok());
        assert!(said(10, 1, Some(0)).contains("scene_downscale"));
    }
}
