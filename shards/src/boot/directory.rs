//! The data directory: made if absent, ours alone while we run, and left untouched when it holds something else.
//!
//! Owns the lock file and the judgement of what lies in the directory. The order matters: nothing is created in a directory
//! before its contents were judged. Never reads segments; the superblock's layout is core's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{Refused, owner};
use crate::disk::replace;

/// Says what the directory is; written once, when it is made.
pub const SUPERBLOCK: &str = ringmq_core::store::superblock::FILE_NAME;

/// Held with flock while a broker runs on the directory; its text is that broker's process id.
const LOCK: &str = "lock";

/// Names of files that a crash while the directory was being made may leave behind.
const UNFINISHED: [&str; 2] = ["ringmq.format.new", LOCK];

/// A data directory that is ours until this value is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    /// Where it is.
    pub root: PathBuf,
    /// The superblock's bytes; `None` in a directory that was just made.
    pub superblock: Option<Vec<u8>>,
    /// Released by the system when the process ends, however it ends.
    _lock: Flock<File>,
}

/// Opens or makes the directory.
///
/// # Errors
/// It holds something else, another process uses it, or the file system says no.
pub fn open(root: &Path) -> Result<DataDirectory, Refused> {
    let fails = |what: &str, error: io::Error| {
        Refused::new(
            format!("cannot {what} the data directory {}: {error}", root.display()),
            "give this user the right to it or set storePathRootDir to another directory",
        )
    };
    replace::make_directory(root).map_err(|error| fails("make", error))?;
    refuse_strangers(root, &fails)?;
    let lock = lock(root, &fails)?;
    let superblock = match fs::read(root.join(SUPERBLOCK)) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(fails("read", error)),
    };
    Ok(DataDirectory { root: root.to_owned(), superblock, _lock: lock })
}

/// Refuses a directory that holds files but no superblock of ours.
fn refuse_strangers(root: &Path, fails: &dyn Fn(&str, io::Error) -> Refused) -> Result<(), Refused> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(|error| fails("read", error))? {
        let name = entry.map_err(|error| fails("read", error))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    // A crash between making the lock and the superblock leaves nothing else; `lost+found` is a fresh file system's own.
    let ours =
        |name: &String| UNFINISHED.contains(&name.as_str()) || name == "lost+found" || name.starts_with("probe-");
    if names.iter().any(|name| name == SUPERBLOCK) || names.iter().all(ours) {
        return Ok(());
    }
    names.retain(|name| !ours(name));
    names.sort();
    let apache = ["commitlog", "consumequeue", "checkpoint"].iter().any(|name| names.iter().any(|found| found == name));
    let what =
        if apache { "a store of the Apache broker".to_owned() } else { format!("something else ({})", names[0]) };
    Err(Refused::new(
        format!("{} holds {what} and was left untouched", root.display()),
        "set storePathRootDir to an empty or new directory",
    ))
}

/// Takes the lock and leaves our process id in it.
fn lock(root: &Path, fails: &dyn Fn(&str, io::Error) -> Refused) -> Result<Flock<File>, Refused> {
    let path = root.join(LOCK);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| fails("lock", error))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let pid = format!("{}\n", std::process::id());
            lock.set_len(0).and_then(|()| lock.write_all(pid.as_bytes())).map_err(|error| fails("lock", error))?;
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let by = text.trim().parse().map_or_else(|_| "another process".to_owned(), owner::describe);
            Err(Refused::new(
                format!("the data directory {} is in use by {by}", root.display()),
                "stop it or set storePathRootDir to another directory",
            ))
        }
        Err((_, errno)) => Err(fails("lock", errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_made_and_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let first = open(&root).unwrap();
        assert_eq!(first.superblock, None);
        let refused = open(&root).unwrap_err();
        assert!(refused.reason.contains(&format!("in use by process {}", std::process::id())), "{refused}");
        drop(first);
        open(&root).unwrap();
    }

    #[test]
    fn a_directory_with_something_else_is_left_untouched() {
        for (name, says) in [("commitlog", "Apache"), ("holiday.jpg", "holiday.jpg")] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), b"").unwrap();
            let refused = open(dir.path()).unwrap_err();
            assert!(refused.reason.contains(says), "{refused}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn the_superblock_is_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SUPERBLOCK), b"bytes").unwrap();
        fs::write(dir.path().join("anything"), b"").unwrap();
        assert_eq!(open(dir.path()).unwrap().superblock.as_deref(), Some(&b"bytes"[..]));
    }
}
