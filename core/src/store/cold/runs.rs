//! Which stretches of the log were verified, byte for byte as they lie in the cache.
//!
//! Owns the bookkeeping only: no bytes, no checksums.

use std::collections::BTreeMap;

/// A verified stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    to: u64,
    /// Whether it ends where a frame ends: the next frame begins there.
    whole: bool,
}

/// Verified stretches by their first position; they neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Runs(BTreeMap<u64, Run>);

impl Runs {
    /// Whether all of `from..to` was verified.
    pub(super) fn cover(&self, from: u64, to: u64) -> bool {
        self.0.range(..=from).next_back().is_some_and(|(_, run)| to <= run.to)
    }

    /// The end of the last run that begins below `at`, if it is one of a frame and at most `at`.
    pub(super) fn frame_end_before(&self, at: u64) -> Option<u64> {
        let (_, run) = self.0.range(..=at).next_back()?;
        (run.whole && run.to <= at).then_some(run.to)
    }

    /// A frame was verified.
    pub(super) fn add(&mut self, from: u64, to: u64) {
        let (mut first, mut last) = (from, Run { to, whole: true });
        while let Some((&start, &run)) = self.0.range(..=to).next_back().filter(|(_, run)| run.to >= from) {
            first = first.min(start);
            if run.to > last.to {
                last = run;
            }
            self.0.remove(&start);
        }
        self.0.insert(first, last);
    }

    /// The bytes of `from..to` are gone, or others came in their place.
    pub(super) fn cut(&mut self, from: u64, to: u64) {
        while let Some((&start, &run)) = self.0.range(..to).next_back().filter(|(_, run)| run.to > from) {
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, Run { to: from, whole: false });
            }
            if run.to > to {
                self.0.insert(to, run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_cuts_part() {
        let mut runs = Runs::default();
        runs.add(0, 100);
        runs.add(200, 300);
        assert_eq!((runs.frame_end_before(150), runs.frame_end_before(99)), (Some(100), None));
        runs.add(100, 200);
        assert!(runs.cover(0, 300) && !runs.cover(0, 301));
        runs.cut(150, 250);
        assert!(runs.cover(0, 150) && runs.cover(250, 300) && !runs.cover(149, 151));
        assert_eq!(runs.frame_end_before(200), None, "a frame goes on there");
        assert_eq!(runs.frame_end_before(300), Some(300));
        // The frame that was cut is verified again.
        runs.add(140, 260);
        assert!(runs.cover(0, 300));
        assert_eq!(runs.frame_end_before(400), Some(300));
        runs.cut(0, 1000);
        assert!(!runs.cover(0, 1));
    }
}
