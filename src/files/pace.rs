//! When something that takes time is due: every so many steps, or by time, so that it never takes more than its share of it.
//!
//! A checkpoint of a large model takes seconds, a preview of a diffusion model as long as hundreds of steps; an epoch of few examples is
//! over in a blink, one of many takes hours. What is written therefore follows the clock unless steps are asked for:
//!
//! ```
//! use std::time::Duration;
//! use wgen::files::pace::Pace;
//!
//! let seconds = Duration::from_secs;
//! // By time, not more often than every 10 s, at most a twentieth of the time.
//! let mut pace = Pace::new(0, 0.05, seconds(10));
//! assert!(!pace.due(1, seconds(5)));
//! assert!(pace.due(2, seconds(20)));
//! pace.took(seconds(20), seconds(3));
//! // Another 3 s would be too much now, and are allowed after 120 s.
//! assert!(!pace.due(3, seconds(60)));
//! assert!(pace.due(4, seconds(121)));
//! ```

use std::time::Duration;

/// What the first one is taken to cost, before one was measured.
const GUESS: Duration = Duration::from_millis(200);

/// From how long ago the last one of a long training must be, as a share of the time so far: a training of a day has some hundred.
const SPARSE: f64 = 0.04;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Pace {
    every: u64,
    share: f64,
    least: Duration,
    spent: Duration,
    cost: Duration,
    last: Duration,
}

impl Pace {
    /// Due after each `every` steps, or where that is 0 by time: at most `share` of it, and with `least` between two. Neither, never.
    pub fn new(every: u64, share: f64, least: Duration) -> Self {
        Self {
            every,
            share,
            least,
            spent: Duration::ZERO,
            cost: GUESS,
            last: Duration::ZERO,
        }
    }

    /// Whether one is due after `step` steps and `elapsed` of training.
    pub fn due(&self, step: u64, elapsed: Duration) -> bool {
        if self.every > 0 {
            return step.is_multiple_of(self.every);
        }
        let pause = self.least.max(elapsed.mul_f64(SPARSE));
        elapsed >= self.last + pause && self.allowed(elapsed) >= self.cost
    }

    /// How long one may take after `elapsed` of training; without end where steps were asked for.
    pub fn allowed(&self, elapsed: Duration) -> Duration {
        if self.every > 0 {
            return Duration::MAX;
        }
        elapsed.mul_f64(self.share).saturating_sub(self.spent)
    }

    /// Tells that one took `cost`, begun after `elapsed` of training.
    pub fn took(&mut self, elapsed: Duration, cost: Duration) {
        self.spent += cost;
        self.last = elapsed;
        self.cost = cost;
    }

    /// Tells that one was given up after `spent`, since it would have taken `cost`.
    pub fn gave_up(&mut self, spent: Duration, cost: Duration) {
        self.spent += spent;
        self.cost = cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a training of `seconds` with steps of 10 ms: how many were due, and what share of the time they took.
    fn simulated(seconds: u64, cost: Duration, least: u64) -> (usize, f64) {
        let mut pace = Pace::new(0, 0.05, Duration::from_secs(least));
        let (mut now, mut spent, mut count) = (Duration::ZERO, Duration::ZERO, 0);
        while now < Duration::from_secs(seconds) {
            now += Duration::from_millis(10);
            if pace.due(1, now) {
                pace.took(now, cost);
                now += cost;
                spent += cost;
                count += 1;
            }
        }
        (count, spent.as_secs_f64() / now.as_secs_f64())
    }

    #[test]
    fn never_more_than_the_share_but_for_the_first() {
        for cost in [1, 50, 1000, 20_000] {
            let (count, share) = simulated(3600, Duration::from_millis(cost), 10);
            assert!(count > 0 && share <= 0.05, "{cost} ms: {count}, {share}");
        }
    }

    #[test]
    fn a_long_training_has_some_hundred() {
        let (hour, _) = simulated(3600, Duration::from_millis(5), 10);
        let (day, _) = simulated(86_400, Duration::from_millis(5), 10);
        assert!((60..=150).contains(&hour), "{hour}");
        assert!((hour..=250).contains(&day), "{day}");
    }

    #[test]
    fn steps_are_kept_to_whatever_they_cost() {
        let pace = Pace::new(5, 0.05, Duration::from_secs(10));
        let due: Vec<u64> = (1..=12).filter(|&s| pace.due(s, Duration::ZERO)).collect();
        assert_eq!(due, [5, 10]);
        assert!(!Pace::new(0, 0.0, Duration::ZERO).due(1, Duration::from_secs(1000)));
    }
}
