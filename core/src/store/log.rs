//! The commit log of one shard: where records are appended, what of it the disk is asked to write, what is durable.
//!
//! Owns the three positions (`durable <= written <= appended`), the open frame, the writes in flight and the tail.
//! Never writes itself: the driver pulls [`WritePlan`]s and reports how they ended. What is promised and why it holds is
//! section 7 of `docs/storage-format.md`.

#[cfg(test)]
mod elastic;
mod segments;
#[cfg(test)]
mod tests;
mod write;

use std::collections::VecDeque;

use super::files::superblock::Superblock;
use super::frame::{FrameHeader, FrameKind, HEADER};
use super::limits::{
    BLOCK, FRAME_TARGET, POSITION_END, RECORD_MAX, TAIL_DEFAULT, WINDOW_DEFAULT, WRITE_MAX, WRITES_MAX,
};
use super::retention::Retention;
use super::segment::{Active, Layout, Sealed, SegmentBase};
use super::tail::{Pieces, Tail};
use crate::effects::Fault;
use crate::event::ShardId;
use ringmq_protocol::offset::Position;

use self::segments::Segments;
pub use self::segments::{FoundSegments, FullSegment};
use self::write::{InFlight, Roll};
pub use self::write::{Urge, WritePlan};

const HEADER_LEN: u64 = HEADER as u64;

/// What a log needs to know beyond where it starts.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    pub layout: Layout,
    /// Number of this start, durable in the superblock before the first append.
    pub epoch: u32,
    /// Memory for the resident end, bytes.
    pub tail: u64,
    /// Bound of appended bytes that are not durable, bytes.
    pub window: u64,
    /// Where frame checksums begin, see [`Superblock::checksum_seed`].
    pub seed: u32,
    /// Tests with small segments make these small, too.
    pub(crate) write_max: u64,
    pub(crate) frame_target: u64,
}

impl LogOptions {
    /// The default bounds, for a directory without an identity.
    pub fn new(layout: Layout, epoch: u32) -> Self {
        let (tail, window) = (TAIL_DEFAULT, WINDOW_DEFAULT);
        LogOptions { layout, epoch, tail, window, seed: 0, write_max: WRITE_MAX, frame_target: FRAME_TARGET }
    }

    /// The default bounds, for a shard of this directory. `None` if the directory's segment size is impossible.
    pub fn of(superblock: &Superblock, shard: ShardId) -> Option<Self> {
        let layout = Layout::new(shard, superblock.segment_size)?;
        Some(LogOptions { seed: superblock.checksum_seed(), ..LogOptions::new(layout, superblock.epoch) })
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendRefused {
    /// It does not fit into a segment, or is beyond what any record may have.
    TooLarge { limit: u64 },
    /// So many bytes are appended and not durable that the disk must catch up first.
    Full { limit: u64 },
    /// A write failed earlier; this log takes nothing any more.
    Stopped(Fault),
}

/// What would be lost if the machine stopped now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undurable {
    pub bytes: u64,
    /// Mono time of the oldest append among them.
    pub oldest_us: Option<u64>,
}

/// The frame that records go into; its header's place is kept free.
#[derive(Debug, Clone, Copy)]
struct OpenFrame {
    start: u64,
    records: u32,
    since_us: u64,
}

/// A frame that is finished and not durable. `end` is where the stream goes on after it.
#[derive(Debug, Clone, Copy)]
struct SealedFrame {
    end: u64,
    since_us: u64,
}

/// The log of one shard.
#[derive(Debug)]
pub struct CommitLog {
    layout: Layout,
    epoch: u32,
    seed: u32,
    window: u64,
    write_max: u64,
    frame_target: u64,
    tail: Tail,
    /// What recovery put into the tail below this is there to be written again, and was not verified.
    believed_from: u64,
    /// End of the last record (or of the last frame, if none is open).
    appended: u64,
    /// End of what was given to the disk.
    written: u64,
    /// End of the last frame that is on the disk with all before it.
    durable: u64,
    open: Option<OpenFrame>,
    sealed: VecDeque<SealedFrame>,
    rolls: VecDeque<Roll>,
    in_flight: VecDeque<InFlight>,
    next_seq: u64,
    active: Active,
    /// Sealed segments that are not durable in full yet.
    closing: VecDeque<Sealed>,
    segments: Segments,
    /// What of it may go, and whether there is room for more.
    pub retention: Retention,
    /// Segments below this have a file.
    ready_to: u64,
    wanted_to: u64,
    fault: Option<Fault>,
    /// A record that would cross a chunk is encoded here first.
    scratch: Vec<u8>,
    #[cfg(test)]
    pub(crate) planted: super::planted::Planted,
}

impl CommitLog {
    /// The log of a new directory.
    pub fn new(options: LogOptions) -> Self {
        CommitLog::resume(options, Position(0), &[], Position(0), Vec::new(), FoundSegments::default())
    }

    /// A log whose durable stream ends at `end`. `block` is that stream's part in the block of `end`; segments below
    /// `ready_to` have a file; those in `unindexed` are full and durable and have no index yet; `found` lists all.
    pub(crate) fn resume(
        options: LogOptions,
        end: Position,
        block: &[u8],
        ready_to: Position,
        unindexed: Vec<Sealed>,
        found: FoundSegments,
    ) -> Self {
        let LogOptions { layout, epoch, tail, window, seed, write_max, frame_target } = options;
        assert!(
            write_max.is_multiple_of(BLOCK) && (BLOCK..=WRITE_MAX).contains(&write_max) && frame_target <= FRAME_TARGET
        );
        let end = end.0;
        let block_start = end - end % BLOCK;
        assert_eq!(block.len() as u64, end - block_start, "the last block is needed to write it again");
        let mut tail = Tail::new(block_start, tail);
        if !block.is_empty() {
            tail.reserve(block_start, end, 0);
            tail.write(block_start, block);
        }
        let active = Active::new(&layout, layout.segment_of(Position(end)));
        let ready_to = ready_to.0;
        CommitLog {
            layout,
            epoch,
            seed,
            window,
            write_max,
            frame_target,
            tail,
            believed_from: end,
            appended: end,
            written: end,
            durable: end,
            open: None,
            sealed: VecDeque::new(),
            rolls: VecDeque::new(),
            in_flight: VecDeque::with_capacity(WRITES_MAX),
            next_seq: 0,
            active,
            closing: unindexed.into(),
            segments: Segments::found(found),
            retention: Retention::default(),
            ready_to,
            wanted_to: ready_to,
            fault: None,
            scratch: Vec::new(),
            #[cfg(test)]
            planted: super::planted::Planted::Nothing,
        }
    }

    /// How the stream is cut.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where frame checksums begin.
    pub fn seed(&self) -> u32 {
        self.seed
    }

    /// Epoch of the frames this log writes.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Where the next record would end up or a little before: the end of what was appended.
    #[inline]
    pub fn appended(&self) -> Position {
        Position(self.appended)
    }

    /// End of the last finished frame: recovery can begin there.
    pub fn boundary(&self) -> Position {
        Position(self.open.map_or(self.appended, |frame| frame.start))
    }

    /// End of what was given to the disk.
    #[inline]
    pub fn written(&self) -> Position {
        Position(self.written)
    }

    /// What survives: a record is durable when this has reached its end.
    #[inline]
    pub fn durable(&self) -> Position {
        Position(self.durable)
    }

    /// First resident position; what lies below must be read from disk (and is durable).
    #[inline]
    pub fn resident_from(&self) -> Position {
        Position(self.tail.start().max(self.believed_from))
    }

    /// Memory the tail holds, bytes.
    pub fn tail_memory(&self) -> u64 {
        self.tail.memory()
    }

    /// Why it takes nothing any more.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// What would be lost if the machine stopped now.
    pub fn undurable(&self) -> Undurable {
        let open = self.open.map(|frame| frame.since_us);
        let oldest_us = self.sealed.front().map(|frame| frame.since_us).or(open);
        Undurable { bytes: self.appended - self.durable, oldest_us }
    }

    /// Whether anything was appended that no write has taken.
    #[inline]
    pub fn has_unwritten(&self) -> bool {
        self.appended > self.written
    }

    /// Writes given out and not completed.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes a record of `len` bytes at mono time `now_us`. `fill` encodes all of it, given its position.
    ///
    /// # Errors
    /// See [`AppendRefused`]; then `fill` was not called and nothing changed.
    #[inline]
    pub fn append(
        &mut self,
        now_us: u64,
        len: usize,
        fill: impl FnOnce(Position, &mut [u8]),
    ) -> Result<Position, AppendRefused> {
        self.admit(len as u64)?;
        let start = self.frame_for(len as u64, now_us);
        let end = start + len as u64;
        self.tail.reserve(start, end, self.durable.min(self.written));
        let position = Position(start);
        if let Some(bytes) = self.tail.slice_mut(start, len) {
            fill(position, bytes);
            assert_eq!(bytes[..4], (len as u32).to_be_bytes(), "a record opens with its size");
        } else {
            self.append_across(position, len, fill);
        }
        self.appended = end;
        Ok(position)
    }

    /// A record that a chunk's end would cut: encoded aside, then copied.
    #[cold]
    fn append_across(&mut self, position: Position, len: usize, fill: impl FnOnce(Position, &mut [u8])) {
        self.scratch.clear();
        self.scratch.resize(len, 0);
        fill(position, &mut self.scratch);
        assert_eq!(self.scratch[..4], (len as u32).to_be_bytes(), "a record opens with its size");
        self.tail.write(position.0, &self.scratch);
    }

    #[inline]
    fn admit(&self, len: u64) -> Result<(), AppendRefused> {
        assert!(len >= 8, "a record has at least a size and a magic");
        let pending = self.appended - self.durable;
        if self.fault.is_none()
            && pending + len <= self.window
            && len <= RECORD_MAX.min(self.layout.record_max())
            && self.active.end() < POSITION_END
        {
            return Ok(());
        }
        self.refuse(len, pending)
    }

    #[cold]
    fn refuse(&self, len: u64, pending: u64) -> Result<(), AppendRefused> {
        if let Some(fault) = &self.fault {
            return Err(AppendRefused::Stopped(fault.clone()));
        }
        let limit = RECORD_MAX.min(self.layout.record_max());
        if len > limit {
            return Err(AppendRefused::TooLarge { limit });
        }
        if self.active.end() >= POSITION_END {
            return Err(AppendRefused::Full { limit: POSITION_END });
        }
        // A window smaller than the record still lets it pass alone.
        if pending > 0 { Err(AppendRefused::Full { limit: self.window }) } else { Ok(()) }
    }

    /// The position of the next record of `len` bytes, in the open frame or a new one, perhaps in a new segment.
    #[inline]
    fn frame_for(&mut self, len: u64, now_us: u64) -> u64 {
        if let Some(open) = &mut self.open
            && self.appended + len - open.start <= self.frame_target + HEADER_LEN
            && self.active.fits(self.appended, len)
        {
            open.records += 1;
            return self.appended;
        }
        self.open_frame(len, now_us)
    }

    fn open_frame(&mut self, len: u64, now_us: u64) -> u64 {
        self.seal();
        if !self.active.fits(self.appended, HEADER_LEN + len) {
            self.roll(now_us);
        }
        let start = self.appended;
        self.open = Some(OpenFrame { start, records: 1, since_us: now_us });
        self.tail.reserve(start, start + HEADER_LEN, self.durable.min(self.written));
        self.appended = start + HEADER_LEN;
        self.appended
    }

    /// Finishes the open frame: after this its bytes never change.
    fn seal(&mut self) {
        let Some(OpenFrame { start, records, since_us }) = self.open.take() else { return };
        let payload = start + HEADER_LEN;
        assert!(payload < self.appended && records > 0, "a frame is opened by its first record");
        let header = FrameHeader {
            length: u32::try_from(self.appended - payload).expect("a frame is smaller than a segment"),
            shard: self.layout.shard().0,
            kind: FrameKind::Records,
            position: start,
            durable: self.durable,
            epoch: self.epoch,
            records,
        };
        let bytes =
            header.seal(self.seed, self.tail.pieces(payload, self.appended).expect("an open frame is resident"));
        self.tail.write(start, &bytes);
        self.sealed.push_back(SealedFrame { end: self.appended, since_us });
    }

    /// Ends the segment and goes on in the next one.
    fn roll(&mut self, now_us: u64) {
        assert!(self.open.is_none());
        let position = self.appended;
        let (shard, epoch, durable) = (self.layout.shard().0, self.epoch, self.durable);
        let kind = FrameKind::SegmentEnd;
        let header = FrameHeader { length: 0, shard, kind, position, durable, epoch, records: 0 };
        let data_end = position + HEADER_LEN;
        self.tail.reserve(position, data_end, self.durable.min(self.written));
        self.tail.write(position, &header.seal(self.seed, std::iter::empty()));
        let next = self.active.end();
        let sealed = self.active.seal(position, self.epoch);
        self.segments.sealed(&sealed);
        self.closing.push_back(sealed);
        self.sealed.push_back(SealedFrame { end: next, since_us: now_us });
        self.rolls.push_back(Roll { data_end, next });
        self.active = Active::new(&self.layout, SegmentBase(next));
        self.appended = next;
    }

    /// The bytes of a record (or any range below `appended`), if they are all resident.
    #[inline]
    pub fn resident(&self, position: Position, len: u32) -> Option<Pieces<'_>> {
        let from = position.0;
        let to = from + u64::from(len);
        assert!(to <= self.appended, "nothing lies beyond the end of the log");
        if from < self.believed_from {
            return None;
        }
        self.tail.pieces(from, to)
    }
}
