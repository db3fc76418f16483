//! The life of the segments' files: made, or taken from the spares; spared or removed when the log has let go of them.
//!
//! Owns the spares (files of released segments whose blocks are used again, so that in the steady state the file system
//! allocates and frees nothing), the report of the volume, and the patience with a full one: a segment that cannot be made
//! for want of space is tried again several times a second, because nothing is lost by it. Decides nothing: which segments
//! go and how many spares are kept is core's to say.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;

use nix::sys::statvfs::statvfs;
use ringmq_core::event::{DiskError, Input};
use ringmq_core::retain;
use ringmq_core::shard::Shard;
use ringmq_core::store::SegmentBase;
use ringmq_core::store::retention::Volume;

use super::Disk;
use super::replace::sync_directory;
use super::segment_file::{SegmentFile, disk_error};
use crate::clock;
use crate::limits;

/// The state of the files' life.
#[derive(Debug, Default)]
pub struct Life {
    /// Files named `<base>.spare`, each of a segment's size.
    spares: RefCell<Vec<SegmentBase>>,
    /// Files of a segment are being removed.
    removing: Cell<bool>,
    /// The segment that the log waits for cannot be made: why.
    no_segment: Cell<Option<i32>>,
}

impl Disk {
    /// Finds what an earlier life has left besides segments that are read: spares, and indexes whose segment is gone.
    pub(super) fn adopt_spares(&self, start: SegmentBase) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            match name.to_str().and_then(SegmentBase::parse_name) {
                Some((base, "spare")) => self.life.spares.borrow_mut().push(base),
                Some((base, "index" | "partial")) if base < start && !self.directory.join(base.log_name()).exists() => {
                    std::fs::remove_file(self.directory.join(&name))?;
                }
                _ => {}
            }
        }
        self.life.spares.borrow_mut().sort_unstable();
        Ok(())
    }

    /// Starts what is due: the files of a released segment go, one segment after the other; spares beyond need go, too.
    pub(super) fn pull_life(self: &Rc<Self>, shard: &mut Shard) {
        if self.life.removing.get() {
            return;
        }
        let wanted = retain::spares(shard);
        let spares = self.life.spares.borrow().len();
        if let Some(base) = shard.log.take_removable(shard.reads.oldest()) {
            self.open.borrow_mut().remove(&base);
            self.open_indexes.borrow_mut().remove(&base);
            self.life.removing.set(true);
            let task = self.clone().remove(base, spares < wanted);
            glommio::spawn_local_into(task, self.queues.preparing).expect("the queue was made").detach();
        } else if spares > wanted && shard.log.retention.volume.is_some() {
            let Some(base) = self.life.spares.borrow_mut().pop() else { return };
            self.life.removing.set(true);
            let task = self.clone().remove_spare(base);
            glommio::spawn_local_into(task, self.queues.preparing).expect("the queue was made").detach();
        }
    }

    /// Removes the index of a released segment, then its log file, or keeps that as a spare.
    async fn remove(self: Rc<Self>, base: SegmentBase, keep: bool) {
        let directory = self.directory.clone();
        let gone = move || {
            for name in [base.index_name(), base.partial_name()] {
                absent_is_fine(std::fs::remove_file(directory.join(name)))?;
            }
            let log = directory.join(base.log_name());
            if keep {
                std::fs::rename(log, directory.join(base.spare_name()))?;
            } else {
                std::fs::remove_file(log)?;
            }
            sync_directory(&directory)
        };
        match glommio::executor().spawn_blocking(gone).await {
            Ok(()) if keep => self.life.spares.borrow_mut().push(base),
            Ok(()) => {}
            Err(error) => {
                crate::warn!(
                    "shard {}: {} has expired and cannot be removed ({error}); the next start tries again",
                    self.id.0,
                    base.log_name()
                );
            }
        }
        self.life.removing.set(false);
        if let Some((driver, hosted)) = self.owner() {
            hosted.shard.apply(|shard| shard.log.removed());
            driver.turn.nudge();
        }
    }

    async fn remove_spare(self: Rc<Self>, base: SegmentBase) {
        let path = self.directory.join(base.spare_name());
        // One that cannot be removed is found again at the next start.
        let _ = glommio::executor().spawn_blocking(move || std::fs::remove_file(path)).await;
        self.life.removing.set(false);
        if let Some((driver, _)) = self.owner() {
            driver.turn.nudge();
        }
    }

    /// Makes the file of a segment, of a spare if there is one. As long as the volume is full it goes on trying.
    pub(super) async fn make(&self, base: SegmentBase) -> Result<SegmentFile, DiskError> {
        loop {
            let made = self.try_make(base).await;
            let errno = match &made {
                Err(DiskError { errno }) if [libc::ENOSPC, libc::EDQUOT].contains(errno) => Some(*errno),
                Ok(_) | Err(_) => None,
            };
            if self.life.no_segment.replace(errno) != errno {
                self.report_volume().await;
            }
            if errno.is_none() || self.owner().is_none() {
                return made;
            }
            glommio::timer::sleep(limits::NO_SPACE_RETRY).await;
        }
    }

    async fn try_make(&self, base: SegmentBase) -> Result<SegmentFile, DiskError> {
        let path = self.directory.join(base.log_name());
        let is_new = !path.exists();
        let spare = self.life.spares.borrow_mut().pop();
        if let Some(spare) = spare {
            let (from, to) = (self.directory.join(spare.spare_name()), path.clone());
            let renamed = glommio::executor().spawn_blocking(move || std::fs::rename(from, to)).await;
            renamed.map_err(disk_error)?;
        }
        let made = SegmentFile::make(&path, self.layout.segment_size(), self.mode).await;
        if made.is_err() && is_new {
            // What was allocated of it is somebody else's until there is enough.
            let _ = glommio::executor().spawn_blocking(move || std::fs::remove_file(path)).await;
        }
        made
    }

    /// Tells the shard how full the volume is.
    pub(super) async fn report_volume(&self) {
        let directory = self.directory.clone();
        let looked = glommio::executor().spawn_blocking(move || sample(&directory)).await;
        let Some((driver, hosted)) = self.owner() else { return };
        // A volume that cannot be asked is not known to be full.
        let volume = looked.unwrap_or_default();
        let spares = self.life.spares.borrow().len() as u32;
        let volume = Volume { spares, no_segment: self.life.no_segment.get(), ..volume };
        driver.happened(&hosted, Input::Volume(volume));
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The volume of a directory, and how far local time is ahead of UTC.
fn sample(directory: &Path) -> io::Result<Volume> {
    let found = statvfs(directory)?;
    let bytes = |blocks: libc::fsblkcnt_t| blocks.saturating_mul(found.fragment_size());
    Ok(Volume {
        total: bytes(found.blocks()),
        used: bytes(found.blocks().saturating_sub(found.blocks_free())),
        free: bytes(found.blocks_available()),
        utc_offset_s: clock::utc_offset_s(),
        ..Volume::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_sampled() {
        let volume = sample(Path::new("/")).unwrap();
        assert!(volume.total > 0 && volume.used <= volume.total);
        assert!(volume.used_percent().is_some_and(|percent| percent <= 100));
        assert!(clock::utc_offset_s().abs() <= 14 * 3_600);
        assert!(sample(Path::new("/no such directory")).is_err());
    }
}
