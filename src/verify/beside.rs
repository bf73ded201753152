//! Cases beside each other: while a device compiles one and runs it, the twin of another is computed. Results come in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Threads at most: each holds a case's arrays, expected values of several words an element among them.
const MOST: usize = 4;

/// Gives `take` the results of `run` from the first on, on as many threads as the machine has, or four; `begin` is told of a case when all before it
/// were taken.
///
/// # Errors
/// The first that `take` gives; cases that were not begun then are not.
pub(super) fn each<T: Send, E>(
    count: usize,
    run: impl Fn(usize) -> T + Sync,
    mut begin: impl FnMut(usize),
    mut take: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(MOST));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..threads.min(count) {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let result = catch_unwind(AssertUnwindSafe(|| run(index)));
                    // Nobody listens any more once something failed.
                    if sender.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        for index in 0..count {
            begin(index);
            let result = loop {
                if let Some(result) = waiting.remove(&index) {
                    break Some(result);
                }
                match results.recv() {
                    Ok((other, result)) => waiting.insert(other, result),
                    Err(_) => break None,
                };
            };
            let Some(result) = result else { break };
            // A panic goes on here, and with it the results' end: no other case is begun.
            take(index, result.unwrap_or_else(|panic| resume_unwind(panic)))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whichever_is_done_first() {
        let mut told = Vec::new();
        let slow = |index: usize| {
            // Every third takes longer than those behind it.
            let pause = if index.is_multiple_of(3) { 4 } else { 0 };
            thread::sleep(std::time::Duration::from_millis(pause));
            index * index
        };
        let begun = std::cell::RefCell::new(Vec::new());
        let done = each(
            40,
            slow,
            |index| begun.borrow_mut().push(index),
            |index, square| {
                assert_eq!((begun.borrow().len(), square), (index + 1, index * index));
                told.push(index);
                Ok::<(), ()>(())
            },
        );
        assert!(done.is_ok());
        assert_eq!(told, (0..40).collect::<Vec<_>>());
        assert_eq!(each(0, slow, |_| {}, |_, _| Ok::<(), ()>(())), Ok(()));
    }

    #[test]
    fn what_fails_first_ends_it() {
        let begun = AtomicUsize::new(0);
        let run = |index: usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            thread::sleep(std::time::Duration::from_millis(1));
            index
        };
        let take = |index: usize, _| if index == 5 { Err(index) } else { Ok(()) };
        assert_eq!(each(1000, run, |_| {}, take), Err(5));
        assert!(begun.load(Ordering::Relaxed) < 100);
    }

    #[test]
    fn a_panic_is_passed_on_at_once() {
        let begun = AtomicUsize::new(0);
        let run = |index: usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            thread::sleep(std::time::Duration::from_millis(1));
            assert!(index != 7, "the seventh");
        };
        // Many, for the panic's own message takes its time.
        let all = || each(20_000, run, |_| {}, |_, ()| Ok::<(), ()>(()));
        let panic = catch_unwind(AssertUnwindSafe(all)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the seventh"));
        assert!(begun.load(Ordering::Relaxed) < 20_000);
    }
}
