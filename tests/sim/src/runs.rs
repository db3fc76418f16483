//! Whole runs: one seed, a power cut at every step of a seed, and what they came to. A panic is a finding like any other.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::planted::Planted;
use crate::world::{Outcome, World};

thread_local! {
    /// Words and place of the last panic of this thread.
    static PANICKED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lives through a seed.
///
/// # Errors
/// What was found, a panic of a shard included.
pub fn run(seed: u64, steps: u32, planted: Planted) -> Result<Outcome, String> {
    caught(|| World::with_bug(seed, planted)?.run(steps))
}

/// Lives through the beginning of a seed as often as it has steps, and cuts the power after each.
///
/// # Errors
/// What was found.
pub fn cut_at_every_step(seed: u64, steps: u32) -> Result<(), String> {
    for step in 0..=steps {
        run(seed, step, Planted::Nothing).map_err(|why| format!("cut after {step} steps: {why}"))?;
    }
    Ok(())
}

/// Does something in which a panic is a finding.
///
/// # Errors
/// Its error, or the panic's words.
pub fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        panic::set_hook(Box::new(|info| PANICKED.with_borrow_mut(|words| *words = info.to_string())));
    });
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(PANICKED.with_borrow(Clone::clone)))
}
