//! Whole files replaced atomically: checkpoints, indexes, the superblock.
//!
//! Owns the order that makes it atomic: write a new file, sync it, rename it over the old one, sync the directory. After a
//! crash at any point the old file or the new one is there, whole. Directories are made durably, too. Blocking; executors
//! call it on a helper thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::limits;

/// Replaces `name` in `directory` by a file with these bytes.
///
/// # Errors
/// What the file system said; the old file is still there.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    // In pieces: a commit of the file system's journal, which writes to the log may wait for, first writes out what is dirty here.
    for piece in bytes.chunks(limits::REPLACE_PIECE) {
        file.write_all(piece)?;
        file.sync_data()?;
    }
    file.sync_all()?;
    drop(file);
    fs::rename(&new, directory.join(name))?;
    sync_directory(directory)
}

/// Makes a directory and those it lies in, as far as they are missing, and their names durable: a file that is synced is lost
/// all the same if its directory's name is.
///
/// # Errors
/// What the file system said.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    // A relative path of one name lies in the working directory.
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_directory(parent)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the file system said.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_bytes_take_the_place_of_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b"first, and longer"[..], b"second"] {
            replace(dir.path(), "checkpoint-0", bytes).unwrap();
            assert_eq!(fs::read(dir.path().join("checkpoint-0")).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
