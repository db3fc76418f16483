//! Whether the shard's directory is still the one it was opened in, and still takes writes.
//!
//! Owns the look, once a second. A broker whose volume was unmounted or whose directory was removed could otherwise go on
//! writing into files that nobody will find again, and acknowledge that. Never writes anything to find out.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use nix::sys::statvfs::{FsFlags, statvfs};
use ringmq_core::event::Input;
use ringmq_core::fault::{Fault, Loss};
use ringmq_core::store::SegmentBase;

use super::Disk;
use super::segment_file::disk_error;
use crate::limits;

/// What a name led to: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Disk {
    /// Looks after the directory until it is lost or the shard is gone.
    pub async fn keep_watch(self: Rc<Self>) {
        let directory = self.directory.clone();
        let Ok(made) = identity(&directory) else {
            return self.lost(Loss::Gone);
        };
        self.report_volume().await;
        loop {
            glommio::timer::sleep(limits::WATCH_EVERY).await;
            if self.owner().is_none() {
                return;
            }
            let newest = self.open.borrow().last_key_value().map(|(base, _)| *base);
            let directory = directory.clone();
            // A dead network file system answers late or never: that must hold up nobody else.
            let looked = glommio::executor().spawn_blocking(move || look(&directory, made, newest)).await;
            if let Err(loss) = looked {
                return self.lost(loss);
            }
            self.report_volume().await;
        }
    }

    fn lost(&self, loss: Loss) {
        if let Some((driver, hosted)) = self.owner() {
            driver.happened(&hosted, Input::Lost { fault: Fault::Directory { loss } });
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|found| Identity(found.dev(), found.ino()))
}

/// What is wrong with `directory`, which was `made` when the shard was opened and holds the segment `newest`.
fn look(directory: &Path, made: Identity, newest: Option<SegmentBase>) -> Result<(), Loss> {
    match identity(directory) {
        Ok(now) if now == made => {}
        Ok(_) => return Err(Loss::Gone),
        Err(error) if is_absent(&error) => return Err(Loss::Gone),
        Err(error) => return Err(Loss::Unreadable { error: disk_error(error) }),
    }
    if let Some(base) = newest
        && let Err(error) = identity(&directory.join(base.log_name()))
        && is_absent(&error)
    {
        return Err(Loss::SegmentGone { base });
    }
    match statvfs(directory) {
        Ok(volume) if volume.flags().contains(FsFlags::ST_RDONLY) => Err(Loss::ReadOnly),
        Ok(_) => Ok(()),
        Err(errno) => Err(Loss::Unreadable { error: disk_error(errno.into()) }),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_replaced_or_emptied_is_lost() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("shard-000");
        let base = SegmentBase(0);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(base.log_name()), b"").unwrap();
        let made = identity(&directory).unwrap();
        assert_eq!(look(&directory, made, Some(base)), Ok(()));
        fs::remove_file(directory.join(base.log_name())).unwrap();
        assert_eq!(look(&directory, made, None), Ok(()), "without a segment there is nothing to miss");
        assert_eq!(look(&directory, made, Some(base)), Err(Loss::SegmentGone { base }));
        fs::rename(&directory, root.path().join("elsewhere")).unwrap();
        assert_eq!(look(&directory, made, Some(base)), Err(Loss::Gone));
        fs::create_dir(&directory).unwrap();
        assert_eq!(look(&directory, made, None), Err(Loss::Gone), "the same name is not the same directory");
    }
}
