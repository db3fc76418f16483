//! Whole files replaced atomically: checkpoints, indexes, the superblock.
//!
//! Owns the order that makes it atomic: write a new file, sync it, rename it over the old one, sync the directory. After a
//! crash at any point the old file or the new one is there, whole. Directories are made durably, too. Blocking; executors
//! call it on a helper thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::limits;

/// Replaces `name` in `directory` by a file with these bytes.
///
/// # Errors
/// What the file system said; the old file is still there.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = Replacing::begin(directory, name)?;
    new.put(0, bytes)?;
    new.finish()
}

/// A new file that is being written, piece by piece, to take the place of one with this name.
#[derive(Debug)]
pub struct Replacing {
    file: File,
    directory: PathBuf,
    name: String,
}

impl Replacing {
    /// Makes the new file, empty.
    ///
    /// # Errors
    /// What the file system said; the old file is still there, whatever happens before [`Replacing::finish`].
    pub fn begin(directory: &Path, name: &str) -> io::Result<Self> {
        let (directory, name) = (directory.to_owned(), name.to_owned());
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(new_path(&directory, &name))?;
        Ok(Replacing { file, directory, name })
    }

    /// Writes bytes where they belong.
    ///
    /// # Errors
    /// What the file system said.
    pub fn put(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = at;
        // In pieces: a commit of the file system's journal, which writes to the log may wait for, first writes out what is dirty here.
        for piece in bytes.chunks(limits::REPLACE_PIECE) {
            self.file.write_all_at(piece, at)?;
            self.file.sync_data()?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Puts it in the place of the old one.
    ///
    /// # Errors
    /// What the file system said; the old file is still there.
    pub fn finish(self) -> io::Result<()> {
        let Replacing { file, directory, name } = self;
        file.sync_all()?;
        drop(file);
        fs::rename(new_path(&directory, &name), directory.join(&name))?;
        sync_directory(&directory)
    }

    /// Removes it again.
    ///
    /// # Errors
    /// What the file system said.
    pub fn give_up(self) -> io::Result<()> {
        fs::remove_file(new_path(&self.directory, &self.name))
    }
}

fn new_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.new"))
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
    fn pieces_count_when_all_are_there() {
        let dir = tempfile::tempdir().unwrap();
        replace(dir.path(), "a.index", b"old").unwrap();
        let new = Replacing::begin(dir.path(), "a.index").unwrap();
        new.put(4, b"tail").unwrap();
        new.put(0, b"head").unwrap();
        assert_eq!(fs::read(dir.path().join("a.index")).unwrap(), b"old");
        new.finish().unwrap();
        assert_eq!(fs::read(dir.path().join("a.index")).unwrap(), b"headtail");
        Replacing::begin(dir.path(), "a.index").unwrap().give_up().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

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
