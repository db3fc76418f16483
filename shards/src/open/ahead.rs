//! Reading the log at a start: pieces of it are read by threads of their own while the ones before are verified and replayed.
//!
//! Owns the threads and which pieces are under way. Pieces come in the order of the log, one file after the other, for that is
//! how a start reads; whoever jumps waits for what he asked for. Never decides what is believed, never writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ringmq_core::store::{Layout, SegmentBase};

use crate::boot::direct_io::BLOCK;
use crate::limits;

/// A part of a segment to be read, and the memory for it.
struct Job {
    file: File,
    offset: u64,
    len: usize,
    memory: Aligned,
}

/// What came of it: how many bytes there were.
type Done = (Aligned, io::Result<usize>);

/// Memory for direct reads.
#[derive(Default)]
struct Aligned(Vec<u8>);

impl Aligned {
    fn bytes(&self) -> &[u8] {
        &self.0[self.0.as_ptr().align_offset(BLOCK)..]
    }

    fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        // Never shorter: it does not move while it is used.
        if self.0.len() < len + BLOCK {
            self.0.resize(len + BLOCK, 0);
        }
        let start = self.0.as_ptr().align_offset(BLOCK);
        &mut self.0[start..start + len]
    }
}

/// One thread that reads.
struct Hand {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

/// A piece that is being read, or was.
struct Piece {
    base: SegmentBase,
    offset: u64,
    hand: usize,
    read: Option<Done>,
}

/// The log from where it was last asked for.
pub(super) struct LogAhead {
    layout: Layout,
    hands: Vec<Hand>,
    pieces: VecDeque<Piece>,
    /// The piece to be asked for next.
    next: (SegmentBase, u64),
    asked: usize,
    spare: Vec<Aligned>,
    /// The range asked for, in one.
    joined: Vec<u8>,
}

impl LogAhead {
    /// For logs cut like this. Threads begin when something is read.
    pub(super) fn new(layout: Layout) -> Self {
        let (hands, pieces, spare, joined) = (Vec::new(), VecDeque::new(), Vec::new(), Vec::new());
        LogAhead { layout, hands, pieces, next: (SegmentBase(0), 0), asked: 0, spare, joined }
    }

    /// Bytes of a segment, fewer at the end of its file; `open` opens segments, `None` if there is none of that base.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn read(
        &mut self,
        base: SegmentBase,
        offset: u64,
        len: usize,
        open: &mut dyn FnMut(SegmentBase) -> io::Result<Option<File>>,
    ) -> io::Result<&[u8]> {
        self.joined.clear();
        let end = offset + len as u64;
        let mut at = offset;
        while at < end {
            self.come_to(base, at, open)?;
            let Some(piece) = self.pieces.front_mut() else { return Err(io::ErrorKind::NotFound.into()) };
            let (memory, got) = piece
                .read
                .get_or_insert_with(|| self.hands[piece.hand].done.recv().expect("it reads until it is dropped"));
            let got = match got {
                Ok(got) => *got as u64,
                Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
            };
            let to = end.min(piece.offset + got);
            if to <= at {
                break;
            }
            self.joined.extend_from_slice(&memory.bytes()[(at - piece.offset) as usize..(to - piece.offset) as usize]);
            at = to;
            if got < PIECE {
                break;
            }
        }
        Ok(&self.joined)
    }

    /// Brings the piece of a place to the front, and asks for those behind it.
    fn come_to(
        &mut self,
        base: SegmentBase,
        at: u64,
        open: &mut dyn FnMut(SegmentBase) -> io::Result<Option<File>>,
    ) -> io::Result<()> {
        let begin = at - at % PIECE;
        while self.pieces.front().is_some_and(|piece| (piece.base, piece.offset) != (base, begin)) {
            self.drop_front();
        }
        if self.pieces.is_empty() {
            self.next = (base, begin);
        }
        while self.pieces.len() < limits::START_READS_AHEAD {
            let (base, offset) = self.next;
            let Some(file) = open(base)? else { break };
            let size = file.metadata()?.len();
            let memory = self.spare.pop().unwrap_or_default();
            let hand = self.asked % limits::START_READERS;
            if self.hands.len() <= hand {
                self.hands.push(start()?);
            }
            let len = PIECE.min(size.saturating_sub(offset)) as usize;
            let job = Job { file, offset, len, memory };
            self.hands[hand].jobs.send(job).expect("it reads until it is dropped");
            self.pieces.push_back(Piece { base, offset, hand, read: None });
            self.asked += 1;
            let goes_on = offset + PIECE < size;
            self.next = if goes_on { (base, offset + PIECE) } else { (SegmentBase(self.layout.end_of(base)), 0) };
        }
        Ok(())
    }

    fn drop_front(&mut self) {
        let Some(Piece { hand, read, .. }) = self.pieces.pop_front() else { return };
        let read = read.unwrap_or_else(|| self.hands[hand].done.recv().expect("it reads until it is dropped"));
        self.spare.push(read.0);
    }
}

const PIECE: u64 = limits::READ_CHUNK as u64;

fn start() -> io::Result<Hand> {
    let (jobs, wanted) = channel::<Job>();
    let (ready, done) = channel();
    let work = move || {
        for Job { file, offset, len, mut memory } in wanted {
            let read = fill(&file, offset, memory.bytes_mut(len.next_multiple_of(BLOCK)));
            let read = read.map(|got| got.min(len));
            if ready.send((memory, read)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("start-read".to_owned()).spawn(work)?;
    Ok(Hand { jobs, done })
}

/// Reads until the memory is full or the file ends.
pub(crate) fn fill(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read_at(&mut into[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_core::event::ShardId;

    #[test]
    fn pieces_come_in_order_over_files_and_after_jumps() {
        let directory = tempfile::tempdir().unwrap();
        let size = 5 * PIECE / 2;
        let layout = Layout::new(ShardId(0), size).unwrap();
        let bytes = |base: u64, at: u64| ((base / size * 7 + at / 1000) % 251) as u8;
        for base in [0, size, 2 * size] {
            let all: Vec<u8> = (0..size).map(|at| bytes(base, at)).collect();
            // The last file was cut off.
            let len = if base == 2 * size { size as usize / 2 + 100 } else { size as usize };
            std::fs::write(directory.path().join(base.to_string()), &all[..len]).unwrap();
        }
        let mut open = |base: SegmentBase| match File::open(directory.path().join(base.0.to_string())) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let mut ahead = LogAhead::new(layout);
        let reads =
            [(0, 0, 100), (0, 50, PIECE), (0, size - 10, 10), (1, 0, size), (2, 0, size), (0, 7, 9), (2, PIECE, 10)];
        for (n, offset, len) in reads {
            let base = n * size;
            let file_len = if n == 2 { size / 2 + 100 } else { size };
            let read = ahead.read(SegmentBase(base), offset, len as usize, &mut open).unwrap();
            assert_eq!(read.len() as u64, len.min(file_len.saturating_sub(offset)), "{n} {offset}");
            assert!(read.iter().zip(offset..).all(|(byte, at)| *byte == bytes(base, at)), "{n} {offset}");
        }
    }
}
