//! Whether the file system of the data directory takes direct, durable writes.
//!
//! Owns the trial write with O_DIRECT and O_DSYNC, aligned as every later write is. A file system that refuses O_DIRECT is
//! still served, with buffered writes and fdatasync; whoever starts the process says so in one line.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::Refused;

/// Blocks are the physical 4096 bytes of today's disks, whatever smaller size the device also takes.
pub const BLOCK: usize = 4096;

/// How segments are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// O_DIRECT and O_DSYNC: a completed write is on the disk, and the page cache is not involved.
    Direct,
    /// Through the page cache, fdatasync after each write.
    Buffered,
}

/// One block at an address the disk takes.
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

/// Finds out how files in `directory` can be written, leaving nothing behind.
///
/// # Errors
/// The directory takes no file at all: read-only, full, or not ours.
pub fn probe(directory: &Path) -> Result<WriteMode, Refused> {
    let path = directory.join(format!("probe-{}", std::process::id()));
    let tried = trial(&path, libc::O_DIRECT | libc::O_DSYNC).map(|()| WriteMode::Direct).or_else(|refusal| {
        match refusal.raw_os_error() {
            // EINVAL: no O_DIRECT, or alignment beyond 4096; EOPNOTSUPP: some network and union file systems.
            Some(libc::EINVAL | libc::EOPNOTSUPP) => trial(&path, 0).map(|()| WriteMode::Buffered),
            _ => Err(refusal),
        }
    });
    let _ = fs::remove_file(&path);
    tried.map_err(|error| {
        Refused::new(
            format!("cannot write in {}: {error}", directory.display()),
            "make room or give this user the right to write there, or set storePathRootDir to another directory",
        )
    })
}

fn trial(path: &Path, flags: i32) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path)?;
    file.write_all_at(&Block([0; BLOCK]).0, 0)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_takes_files_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_takes_none_is_refused() {
        let refused = probe(Path::new("/proc")).unwrap_err();
        assert!(refused.reason.contains("/proc"), "{refused}");
    }
}
