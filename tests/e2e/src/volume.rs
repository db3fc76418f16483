//! A small file system of its own for a broker under test: ext4 in a file, mounted by a loop device.
//!
//! Owns the image and the mount; both are gone when the value is dropped, whatever happened. Needs the right to mount: where
//! that is missing there is no volume, and the test says that it tried nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// An ext4 file system in a file.
#[derive(Debug)]
pub struct Volume {
    dir: tempfile::TempDir,
    /// Where it is mounted.
    pub mounted: PathBuf,
}

impl Volume {
    /// A new one of so many MiB; `None` where mounting is not allowed, which is said.
    pub fn make(mib: u64) -> Option<Volume> {
        let dir = tempfile::tempdir().expect("there is room for temporary files");
        let (image, mounted) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::File::create(&image).and_then(|file| file.set_len(mib << 20)).expect("a sparse file takes no room");
        std::fs::create_dir(&mounted).expect("the directory is new");
        let volume = Volume { dir, mounted };
        let made = ran("mkfs.ext4", &["-q", "-F", &image.display().to_string()]) && volume.mount();
        if !made {
            println!("no right to mount here: nothing was tried");
        }
        made.then_some(volume)
    }

    /// The file it lies in.
    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Mounts it again.
    pub fn mount(&self) -> bool {
        ran("mount", &["-o", "loop", &self.image().display().to_string(), &self.mounted.display().to_string()])
    }

    /// As the kernel does when it finds the file system's metadata damaged.
    pub fn abort(&self) {
        assert!(ran("mount", &["-o", "remount,abort", &self.mounted.display().to_string()]));
    }

    /// Unmounts it, with umount's options.
    pub fn unmount(&self, how: &[&str]) {
        let place = self.mounted.display().to_string();
        assert!(ran("umount", &[how, &[place.as_str()]].concat()));
    }

    /// The loop device behind it.
    pub fn device(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/mounts").expect("it is always there");
        let place = self.mounted.display().to_string();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(place.as_str())).expect("it is mounted");
        line.split(' ').next().expect("a line has words").to_owned()
    }

    /// The data directory of a broker that has the volume for itself.
    pub fn root(&self) -> PathBuf {
        self.mounted.join("store")
    }

    /// Bytes that are free until so many percent are used.
    pub fn until(&self, percent: u64) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.mounted).expect("it is mounted");
        let used = found.blocks() - found.blocks_free();
        ((used + found.blocks_available()) * percent / 100 - used) * found.fragment_size()
    }

    /// Of all segments and spares of the first shard: inode and allocated blocks.
    pub fn blocks(&self) -> BTreeSet<(u64, u64)> {
        let entries = std::fs::read_dir(self.root().join("shard-000")).expect("a broker made it");
        let paths = entries.map(|entry| entry.expect("a directory can be read").path());
        let segments = paths.filter(|path| path.extension().is_some_and(|kind| kind == "log" || kind == "spare"));
        segments.filter_map(|path| std::fs::metadata(path).ok()).map(|found| (found.ino(), found.blocks())).collect()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mounted).output();
    }
}

/// Runs a command of the system; whether it was there and went well.
pub fn ran(command: &str, args: &[&str]) -> bool {
    Command::new(command).args(args).output().is_ok_and(|output| output.status.success())
}
