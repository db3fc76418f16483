//! Bugs that can be put into a run, to show that the checkers find them.
//!
//! Each is planted in what surrounds the production code, or through its public parts, so that the broker carries no
//! switch for them: a driver that reports a write too soon, a disk that forgets, a shard whose answers are let go early.
//! Does nothing unless a test asks for it.

/// One bug, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Planted {
    #[default]
    Nothing,
    /// Recovery takes frames without comparing their checksum.
    SkipChecksum,
    /// Answers that wait for durability are let go as soon as the message is appended.
    AcknowledgeEarly,
    /// A completed write makes durable what lies before it, though older writes are still under way.
    DurableOverGap,
    /// A checkpoint is written before the log it covers is durable.
    EarlyCheckpoint,
    /// Consumers of a synchronous topic are shown messages that are not durable.
    ShowEarly,
    /// A failed write is reported as done.
    SwallowedError,
    /// A completed write is still in the disk's cache: the sync was left out.
    NoSync,
    /// Messages between two shards overtake one another.
    MeshReorders,
    /// A stop in order writes neither the consumers' offsets nor a checkpoint.
    StopForgetsOffsets,
    /// A checkpoint leaves out how far delayed messages were delivered.
    NoDelaySection,
    /// A checkpoint leaves out the undecided half messages.
    NoHalfSection,
    /// A checkpoint leaves out what groups hold by POP.
    NoPopSection,
    /// A start leaves out the last frame of the log.
    LastFrameDropped,
    /// Retention lets go of segments whose time has not come, on a disk that has room.
    ReleasesTooMuch,
    /// The files of released segments go before checkpoints say that they may.
    RemovesEarly,
    /// The consumers' offsets are left behind when the directory is rewritten.
    ReshardForgetsOffsets,
    /// A topic that is made again has the number of the one before.
    SameMaking,
}

impl Planted {
    /// Seeds within which each must be found.
    pub const SEEDS: u64 = 100;

    /// All bugs.
    pub const ALL: [Planted; 17] = [
        Planted::SkipChecksum,
        Planted::AcknowledgeEarly,
        Planted::DurableOverGap,
        Planted::EarlyCheckpoint,
        Planted::ShowEarly,
        Planted::SwallowedError,
        Planted::NoSync,
        Planted::MeshReorders,
        Planted::StopForgetsOffsets,
        Planted::NoDelaySection,
        Planted::NoHalfSection,
        Planted::NoPopSection,
        Planted::LastFrameDropped,
        Planted::ReleasesTooMuch,
        Planted::RemovesEarly,
        Planted::ReshardForgetsOffsets,
        Planted::SameMaking,
    ];

    /// The checkpoint section that is left out.
    pub fn missing_section(self) -> Option<u16> {
        match self {
            Planted::NoDelaySection => Some(18),
            Planted::NoHalfSection => Some(19),
            Planted::NoPopSection => Some(20),
            _ => None,
        }
    }
}
