//! Whole files replaced atomically: checkpoints, indexes, the superblock.
//!
//! Owns the order that makes it atomic: write a new file, sync it, rename it over the old one, sync the directory. After a
//! crash at any point the old file or the new one is there, whole. Blocking; executors call it on a helper thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Replaces `name` in `directory` by a file with these bytes.
///
/// # Errors
/// What the file system said; the old file is still there.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, directory.join(name))?;
    sync_directory(directory)
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
