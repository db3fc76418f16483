//! Bugs that tests plant into the log and recovery, to show that the crash test would find them.
//!
//! Exists in test builds only. Does nothing unless a test asks for it.

/// One bug, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Planted {
    #[default]
    Nothing,
    /// A write's completion makes durable whatever it ends with, whether or not the writes before it completed.
    EarlyDurable,
    /// Recovery takes a frame without comparing its checksum.
    SkipChecksum,
    /// A start uses the epoch of the one before.
    KeepEpoch,
    /// A checkpoint is written before what it covers is durable.
    EarlyCheckpoint,
    /// Recovery trusts the index of a segment's beginning although it says more than the checkpoint.
    PartialAhead,
}

impl Planted {
    /// The end of write `seq`, though others before it are still in flight.
    pub(crate) fn early_durable(
        self,
        reached: &mut Option<u64>,
        seq: u64,
        mut in_flight: impl Iterator<Item = (u64, u64)>,
    ) {
        if self == Planted::EarlyDurable {
            let completed = in_flight.find(|write| write.0 == seq).map(|write| write.1);
            *reached = (*reached).max(completed);
        }
    }
}
