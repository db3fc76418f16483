//! One segment's file: made, opened, written and read.
//!
//! Owns the handle of either [`WriteMode`] and the zero-filling that makes later writes cheap: a write into blocks
//! that were written before changes no metadata (84-115 us here), one into blocks that were only allocated makes the file
//! system commit its journal (180-240 us). Never knows what is written, nor which segments there are.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use glommio::GlommioError;
use glommio::io::{DmaFile, ReadResult};
use ringmq_core::event::DiskError;

use crate::boot::direct_io::{BLOCK, WriteMode};
use crate::{clock, limits};

/// Bytes that were read.
#[derive(Debug)]
pub enum ReadBytes {
    /// From a direct read.
    Direct(ReadResult),
    /// From a buffered read.
    Buffered(Vec<u8>),
}

impl AsRef<[u8]> for ReadBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            ReadBytes::Direct(result) => result,
            ReadBytes::Buffered(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
enum Handle {
    Direct(Rc<DmaFile>),
    Buffered(Arc<File>),
}

/// An open segment.
#[derive(Debug)]
pub struct SegmentFile {
    handle: Handle,
    size: u64,
    fill: Fill,
}

/// How far the zero-filling is, and what it must keep away from.
#[derive(Debug, Default)]
struct Fill {
    /// Everything below was written at least once, with data or zeros.
    frontier: Cell<u64>,
    /// End of the data writes that were started.
    data_end: Cell<u64>,
    /// The zeros being written right now.
    busy: Cell<Option<(u64, u64)>>,
    /// Data writes that must not overtake those zeros.
    waiting: RefCell<Vec<Waker>>,
}

impl AsFd for SegmentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.handle {
            // SAFETY: glommio's file is open as long as this one is there.
            Handle::Direct(file) => unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) },
            Handle::Buffered(file) => file.as_fd(),
        }
    }
}

impl SegmentFile {
    /// Makes a segment of `size` bytes: allocated, not yet zeroed. The name is durable when the directory was synced.
    ///
    /// # Errors
    /// No space, no right, no descriptor.
    pub async fn make(path: &Path, size: u64, mode: WriteMode) -> Result<Self, DiskError> {
        let at = path.to_owned();
        let made = glommio::executor().spawn_blocking(move || allocate(&at, size)).await;
        made.map_err(disk_error)?;
        Self::open(path, mode).await
    }

    /// Opens a segment; what it holds is taken as written.
    ///
    /// # Errors
    /// It is not there or may not be opened.
    pub async fn open(path: &Path, mode: WriteMode) -> Result<Self, DiskError> {
        let handle = match mode {
            WriteMode::Direct => Handle::Direct(Rc::new(open_direct(path, libc::O_DSYNC).await?)),
            WriteMode::Buffered => {
                Handle::Buffered(Arc::new(OpenOptions::new().read(true).write(true).open(path).map_err(disk_error)?))
            }
        };
        let fd = match &handle {
            Handle::Direct(file) => file.as_raw_fd(),
            Handle::Buffered(file) => file.as_raw_fd(),
        };
        keep_locked(fd)?;
        let size = end_of(fd)?;
        Ok(SegmentFile { handle, size, fill: Fill::default() })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Says that a write of `len` bytes at `offset` will follow: from here on no zeros go there.
    pub fn claim(&self, offset: u64, len: usize) {
        let end = offset + len as u64;
        assert!(end <= self.size, "a write stays within its segment");
        self.fill.data_end.set(self.fill.data_end.get().max(end));
    }

    /// Whether zeros are being written where data is to go.
    pub fn is_being_zeroed(&self, offset: u64, len: usize) -> bool {
        self.fill.is_within(offset, offset + len as u64)
    }

    /// Waits for that to end.
    pub async fn not_being_zeroed(&self, offset: u64, len: usize) {
        self.fill.not_within(offset, offset + len as u64).await;
    }

    /// Writes durably through the page cache; the range was claimed. Direct writes are [`super::ring::DiskRing`]'s.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn write_buffered(&self, offset: u64, bytes: Vec<u8>) -> Result<(), DiskError> {
        let Handle::Buffered(file) = &self.handle else { panic!("the file was opened for direct writes") };
        let file = file.clone();
        let write = move || file.write_all_at(&bytes, offset).and_then(|()| file.sync_data());
        glommio::executor().spawn_blocking(write).await.map_err(disk_error)
    }

    /// Reads `len` bytes at `offset`, neither of which need be aligned; fewer at the end of the file.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn read(&self, offset: u64, len: usize) -> Result<ReadBytes, DiskError> {
        match &self.handle {
            Handle::Direct(file) => Ok(ReadBytes::Direct(file.read_at(offset, len).await.map_err(glommio_error)?)),
            Handle::Buffered(file) => {
                let file = file.clone();
                let read = move || {
                    let mut bytes = vec![0; len];
                    file.read_exact_at(&mut bytes, offset).map(|()| bytes)
                };
                let bytes = glommio::executor().spawn_blocking(read).await.map_err(disk_error)?;
                Ok(ReadBytes::Buffered(bytes))
            }
        }
    }

    /// Writes zeros over everything that was never written, ahead of the data and whenever `pace` says so, then makes that
    /// durable.
    ///
    /// # Errors
    /// What the disk said. Nothing is lost: later writes are only slower.
    pub async fn zero_fill(&self, path: &Path, pace: &Pace) -> Result<(), DiskError> {
        // Through the page cache nothing is gained: fdatasync commits the size anyway.
        let Handle::Direct(file) = &self.handle else { return Ok(()) };
        let hole = first_hole(file.as_raw_fd(), self.size);
        self.fill.frontier.set(hole);
        if hole >= self.size {
            return Ok(());
        }
        // A handle without O_DSYNC: one commit of the journal at the end instead of one per chunk.
        let plain = open_direct(path, 0).await?;
        keep_locked(plain.as_raw_fd())?;
        let mut zeros = plain.alloc_dma_buffer(limits::FILL_CHUNK);
        zeros.as_bytes_mut().fill(0);
        let mut zeros = Rc::new(zeros);
        loop {
            pace.lull().await;
            let Some((start, end)) = self.fill.next(self.size) else { break };
            if zeros.len() as u64 > end - start {
                // Only the last chunk is shorter.
                let last = Rc::get_mut(&mut zeros).expect("no write is under way");
                last.trim_to_size((end - start) as usize);
            }
            let written = plain.write_rc_at(zeros.clone(), start).await.map_err(glommio_error);
            self.fill.finished(end);
            written?;
        }
        plain.fdatasync().await.map_err(glommio_error)?;
        let _ = plain.close().await;
        Ok(())
    }
}

/// How fast a log grows.
#[derive(Debug, Default)]
pub struct Pace {
    written: Cell<u64>,
    /// When and at how many bytes that was looked at, and what came of it.
    looked_us: Cell<u64>,
    looked_at: Cell<u64>,
    is_quick: Cell<bool>,
}

impl Pace {
    /// So much more was written.
    pub fn add(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
    }

    /// Waits until the log is not written to at a rate at which zeroing ahead does more harm than good.
    async fn lull(&self) {
        while self.is_quick(clock::mono_us()) {
            glommio::timer::sleep(limits::FILL_REST).await;
        }
    }

    fn is_quick(&self, now_us: u64) -> bool {
        let past_us = now_us.saturating_sub(self.looked_us.get());
        if past_us >= limits::FILL_REST.as_micros() as u64 {
            let bytes = self.written.get() - self.looked_at.get();
            self.is_quick.set(u128::from(bytes) * 1_000_000 > u128::from(limits::FILL_BELOW) * u128::from(past_us));
            self.looked_us.set(now_us);
            self.looked_at.set(self.written.get());
        }
        self.is_quick.get()
    }
}

impl Fill {
    /// Claims the next chunk to zero; `None` when there is nothing left.
    fn next(&self, size: u64) -> Option<(u64, u64)> {
        let start = self.frontier.get().max(self.data_end.get());
        let end = (start + limits::FILL_CHUNK as u64).min(size);
        assert!(start.is_multiple_of(BLOCK as u64), "data is written in whole blocks");
        let chunk = (start < end).then_some((start, end));
        self.busy.set(chunk);
        chunk
    }

    fn finished(&self, end: u64) {
        self.busy.set(None);
        self.frontier.set(end);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Whether zeros are being written in `start..end`.
    fn is_within(&self, start: u64, end: u64) -> bool {
        self.busy.get().is_some_and(|(busy_start, busy_end)| start < busy_end && busy_start < end)
    }

    /// Waits for that to end.
    async fn not_within(&self, start: u64, end: u64) {
        std::future::poll_fn(|cx| {
            if self.is_within(start, end) {
                self.waiting.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Keeps glommio from polling the device of `directory` for completions, for this executor; call before opening anything.
///
/// While polled I/O is in flight glommio never sleeps, and a broker with one message a second would burn a CPU. It also
/// tries polling with a read of the first file it opens, and a read of blocks that were never written succeeds without
/// the device, whose writes then all fail with EOPNOTSUPP. A file that cannot be read settles the matter: no polling.
///
/// # Errors
/// The directory takes no file.
pub async fn never_poll(directory: &Path) -> Result<(), DiskError> {
    let name = format!("probe-{}-{}", std::process::id(), glommio::executor().id());
    let path = directory.join(name);
    let mut options = glommio::io::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).dma_open(&path).await.map_err(glommio_error);
    let _ = std::fs::remove_file(&path);
    let _ = opened?.close().await;
    Ok(())
}

/// Opens a file for direct I/O, with further flags of open(2).
///
/// Having opened a file, glommio asks for its file system by its name once more, and panics when that fails. A segment may have got
/// another name by then, or none. So glommio is given the name of a descriptor, which means the same file for as long as that is
/// open; and a device that is gone is noticed here.
async fn open_direct(path: &Path, flags: i32) -> Result<DmaFile, DiskError> {
    let at = path.to_owned();
    let hold = move || {
        let file = OpenOptions::new().read(true).write(true).open(at)?;
        nix::sys::statfs::fstatfs(&file)?;
        Ok(file)
    };
    let held = glommio::executor().spawn_blocking(hold).await.map_err(disk_error)?;
    let descriptor = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    // Where /proc is not mounted, the name has to do.
    let path = if descriptor.exists() { &descriptor } else { path };
    let mut options = glommio::io::OpenOptions::new();
    options.read(true).write(true).custom_flags(flags);
    options.dma_open(path).await.map_err(glommio_error)
}

fn allocate(path: &Path, size: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // SAFETY: the descriptor is open; the call takes numbers only.
    let outcome = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size as libc::off_t) };
    if outcome != 0 {
        return Err(io::Error::from_raw_os_error(outcome));
    }
    file.sync_all()
}

/// Locks an open segment for as long as a write to it may be under way, even one that outlives this process: the recovery
/// of the next one waits for it. Shared, because this process may open a segment more than once.
fn keep_locked(fd: i32) -> Result<(), DiskError> {
    // SAFETY: the descriptor is open; the call takes numbers only.
    match unsafe { libc::flock(fd, libc::LOCK_SH | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(disk_error(io::Error::last_os_error())),
    }
}

fn end_of(fd: i32) -> Result<u64, DiskError> {
    // SAFETY: the descriptor is open; positions of the descriptor are not used elsewhere.
    let end = unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
    u64::try_from(end).map_err(|_| disk_error(io::Error::last_os_error()))
}

/// Where the first blocks lie that were allocated but never written, rounded up to whole blocks.
fn first_hole(fd: i32, size: u64) -> u64 {
    // SAFETY: as above. An error means that the file system cannot tell; then nothing is zeroed.
    let hole = unsafe { libc::lseek(fd, 0, libc::SEEK_HOLE) };
    u64::try_from(hole).map_or(size, |hole| hole.next_multiple_of(BLOCK as u64).min(size))
}

/// The error number of an I/O error.
pub fn disk_error(error: io::Error) -> DiskError {
    DiskError { errno: error.raw_os_error().unwrap_or(0) }
}

/// The error number inside one of glommio's errors (its own conversion to an I/O error loses it).
fn glommio_error(error: GlommioError<()>) -> DiskError {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => disk_error(source),
        _ => DiskError { errno: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::{Block, DiskRing};
    use super::*;
    use std::future::poll_fn;

    const MIB: u64 = 1 << 20;

    #[test]
    fn zeros_keep_ahead_of_the_data_and_cover_the_rest() {
        let fill = Fill::default();
        assert_eq!(fill.next(3 * MIB), Some((0, MIB)));
        fill.finished(MIB);
        fill.data_end.set(MIB + 8192);
        assert_eq!(fill.next(3 * MIB), Some((MIB + 8192, 2 * MIB + 8192)));
        fill.finished(2 * MIB + 8192);
        assert_eq!(fill.next(3 * MIB), Some((2 * MIB + 8192, 3 * MIB)));
        fill.finished(3 * MIB);
        assert_eq!(fill.next(3 * MIB), None);
    }

    #[test]
    fn zeroing_rests_while_much_is_written() {
        let pace = Pace::default();
        let rest = limits::FILL_REST.as_micros() as u64;
        assert!(!pace.is_quick(rest));
        let much = limits::FILL_BELOW as usize / 25;
        pace.add(much);
        assert!(!pace.is_quick(rest + 1), "looked at a moment ago");
        assert!(pace.is_quick(2 * rest));
        pace.add(much / 4);
        assert!(!pace.is_quick(3 * rest));
    }

    #[test]
    fn a_segment_that_is_renamed_while_it_is_opened_is_there_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let mode = crate::boot::direct_io::probe(dir.path()).unwrap();
        let names = ["one", "other"].map(|name| dir.path().join(name));
        let renamed = names.clone();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        allocate(&names[0], MIB).unwrap();
        let renaming = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::rename(&renamed[0], &renamed[1]).unwrap();
                std::fs::rename(&renamed[1], &renamed[0]).unwrap();
            }
        });
        glommio::LocalExecutor::default().run(async move {
            never_poll(dir.path()).await.unwrap();
            for turn in 0..1_000 {
                match SegmentFile::open(&names[turn % 2], mode).await {
                    Ok(file) => assert_eq!(file.size(), MIB),
                    Err(error) => assert_eq!(error, DiskError { errno: libc::ENOENT }),
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            renaming.join().unwrap();
        });
    }

    #[test]
    fn data_survives_the_filling_of_its_segment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let mode = crate::boot::direct_io::probe(dir.path()).unwrap();
        glommio::LocalExecutor::default().run(async move {
            never_poll(dir.path()).await.unwrap();
            let file = Rc::new(SegmentFile::make(&path, 4 * MIB, mode).await.unwrap());
            let filling = glommio::spawn_local({
                let (file, path) = (file.clone(), path.clone());
                async move { file.zero_fill(&path, &Pace::default()).await }
            });
            let ring: Rc<DiskRing<u64>> = DiskRing::new(1).unwrap();
            let bytes: Vec<Block> = (0..=255u8).map(|byte| Block([byte | 1; BLOCK])).collect();
            for block in 0..512u64 {
                let offset = block * BLOCK as u64;
                file.claim(offset, BLOCK);
                file.not_being_zeroed(offset, BLOCK).await;
                let piece = &bytes[block as usize % 256].0[..];
                // SAFETY: file and bytes outlive the ring.
                unsafe { ring.write(file.as_fd(), (offset, BLOCK), [piece].into_iter(), block) };
                assert!(ring.submit());
                let done = poll_fn(|cx| {
                    let done = ring.next_done();
                    cx.waker().wake_by_ref();
                    done.map_or(Poll::Pending, Poll::Ready)
                });
                assert_eq!(done.await, (block, Ok(())));
            }
            filling.await.unwrap();
            let read = file.read(0, 4 * MIB as usize).await.unwrap();
            for (block, bytes) in read.as_ref().chunks(BLOCK).enumerate() {
                let expected = if block < 512 { block as u8 | 1 } else { 0 };
                assert!(bytes.iter().all(|&byte| byte == expected), "block {block}");
            }
            let part = file.read(BLOCK as u64 - 2, 4).await.unwrap();
            assert_eq!(part.as_ref(), [1, 1, 1, 1]);
        });
    }
}
