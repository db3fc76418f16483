//! What was said of damaged files, so that each damage is said once, and again when it changes or is gone.
//!
//! Owns the last finding per file and kind. Never says anything itself.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ringmq_core::store::SegmentBase;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// A segment.
    Segment,
    /// Its index.
    Index,
    /// Making its index again.
    Repair,
}

/// Whether a finding is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The same was said before, or there is nothing to say.
    None,
    /// It was not known.
    Found,
    /// There was damage and there is none any more.
    Healed,
}

/// The last finding of each file in which something was found: bounded by the number of segments.
#[derive(Debug, Default)]
pub(super) struct Said(RefCell<BTreeMap<(SegmentBase, Of), String>>);

impl Said {
    /// Takes what was found in a file, nothing where it is good.
    pub(super) fn note(&self, base: SegmentBase, of: Of, finding: Option<&str>) -> News {
        let mut said = self.0.borrow_mut();
        match finding {
            None => said.remove(&(base, of)).map_or(News::None, |_| News::Healed),
            Some(finding) if said.get(&(base, of)).is_some_and(|known| known == finding) => News::None,
            Some(finding) => {
                said.insert((base, of), finding.to_owned());
                News::Found
            }
        }
    }

    /// Forgets files of which the log has none below `start` any more.
    pub(super) fn forget_below(&self, start: u64) {
        self.0.borrow_mut().retain(|(base, _), _| base.0 >= start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_said_once_until_it_changes_or_is_gone() {
        let (said, base) = (Said::default(), SegmentBase(4096));
        assert_eq!(said.note(base, Of::Segment, None), News::None, "a good file is no news");
        assert_eq!(said.note(base, Of::Segment, Some("bytes 0..40")), News::Found);
        assert_eq!(said.note(base, Of::Segment, Some("bytes 0..40")), News::None);
        assert_eq!(said.note(base, Of::Index, Some("bytes 0..40")), News::Found, "another file");
        assert_eq!(said.note(base, Of::Segment, Some("bytes 0..80")), News::Found, "it grew");
        assert_eq!(said.note(base, Of::Segment, None), News::Healed);
        assert_eq!(said.note(base, Of::Segment, None), News::None);
        assert_eq!(said.note(base, Of::Segment, Some("bytes 0..80")), News::Found, "it came back");
        said.forget_below(4097);
        assert_eq!(said.note(base, Of::Segment, Some("bytes 0..80")), News::Found, "other bytes by now");
    }
}
