//! A disk whose power can be cut, that can be slow, fail, or write less than it was asked to: a FUSE file system in this process.
//!
//! Owns the mount and the answers to the kernel; what a power cut leaves is `medium.rs`'s. Everything lies in memory, nothing
//! in the kernel's cache. A write with O_DSYNC is under way until its delay is over: cut then, it is torn. Needs /dev/fuse and
//! the right to mount.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::medium::{Bytes, Dice, Directory, Medium, Node, ROOT};

/// How the disk behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Temper {
    /// A synchronous write takes this long, and up to as much again.
    pub delay: Duration,
    /// What synchronous writes fail with.
    pub writes_fail: Option<i32>,
    /// What reads of segments fail with.
    pub reads_fail: Option<i32>,
    /// A synchronous write of more than this stops there and says so, bytes.
    pub writes_at_most: Option<usize>,
}

#[derive(Debug)]
struct State {
    medium: Medium,
    temper: Temper,
    dice: Dice,
    /// Synchronous writes so far.
    writes: u64,
}

/// The mounted disk.
#[derive(Debug)]
pub struct CutDisk {
    state: Arc<Mutex<State>>,
    dir: tempfile::TempDir,
    session: Option<BackgroundSession>,
}

/// Bytes the disk has.
const SIZE: u64 = 1 << 30;
const BLOCK: u32 = 4096;

/// Nothing the kernel is told may be remembered: after a cut it would not be true.
const FORGET: Duration = Duration::ZERO;

/// No page cache, and writes to one file side by side.
const OPENED: FopenFlags = FopenFlags::FOPEN_DIRECT_IO.union(FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES);

impl CutDisk {
    /// An empty disk; `None` where it cannot be mounted, which is said. The seed decides what cuts leave.
    pub fn mount(seed: u64) -> Option<CutDisk> {
        let dir = tempfile::tempdir().expect("there is room for temporary files");
        let state = State { medium: Medium::default(), temper: Temper::default(), dice: Dice(seed), writes: 0 };
        let state = Arc::new(Mutex::new(state));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("cut-disk".to_owned())];
        match fuser::spawn_mount(Files(state.clone()), dir.path(), &config) {
            Ok(session) => Some(CutDisk { state, dir, session: Some(session) }),
            Err(error) => {
                println!("no FUSE here ({error}): nothing was tried");
                None
            }
        }
    }

    /// The data directory of a broker that has the disk for itself.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Behaves like this from now on.
    pub fn be(&self, temper: Temper) {
        lock(&self.state).temper = temper;
    }

    /// Cuts the power: from here on nothing is written or read.
    pub fn cut(&self) {
        let State { medium, dice, .. } = &mut *lock(&self.state);
        medium.cut(dice);
    }

    /// Power is back; what lies on the disk is what the cut left.
    pub fn restore(&self) {
        lock(&self.state).medium.restore();
    }

    /// Synchronous writes that were begun so far.
    pub fn writes(&self) -> u64 {
        lock(&self.state).writes
    }
}

impl Drop for CutDisk {
    fn drop(&mut self) {
        // A process that was not stopped may still be there: it loses its disk, and the session ends.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.dir.path()).output();
        drop(self.session.take());
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

/// The file system as the kernel sees it.
struct Files(Arc<Mutex<State>>);

impl Files {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_i32(error as i32)
}

fn attributes(number: u64, node: &Node) -> FileAttr {
    let (kind, size) = match node {
        Node::File(bytes) => (FileType::RegularFile, bytes.seen.len() as u64),
        Node::Directory(_) => (FileType::Directory, u64::from(BLOCK)),
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// Answers with nothing but whether it went well.
fn done(result: Result<(), nix::errno::Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn entry(medium: &Medium, node: Result<u64, nix::errno::Errno>, reply: ReplyEntry) {
    match node.and_then(|number| Ok(attributes(number, medium.node(number)?))) {
        Ok(found) => reply.entry(&FORGET, &found, Generation(0)),
        Err(error) => reply.error(errno(error)),
    }
}

impl Filesystem for Files {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Where it is missing, writes to one file come one after the other.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let medium = &mut self.state().medium;
        let found = medium.find(parent.0, name);
        entry(medium, found, reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().medium.node(ino.0) {
            Ok(node) => reply.attr(&FORGET, &attributes(ino.0, node)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let medium = &mut self.state().medium;
        let resized = size.map_or(Ok(()), |size| medium.resize(ino.0, size as usize));
        match resized.and_then(|()| Ok(attributes(ino.0, medium.node(ino.0)?))) {
            Ok(found) => reply.attr(&FORGET, &found),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mkdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let medium = &mut self.state().medium;
        let made = medium.make(parent.0, name, Node::Directory(Directory::default()));
        entry(medium, made, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.state().medium.unlink(parent.0, name), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.state().medium.unlink(parent.0, name), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if parent != newparent {
            return reply.error(Errno::EXDEV);
        }
        done(self.state().medium.rename(parent.0, name, newname), reply);
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), OPENED);
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let medium = &mut self.state().medium;
        let made = medium.make(parent.0, name, Node::File(Bytes::default()));
        match made.and_then(|number| Ok(attributes(number, medium.node(number)?))) {
            Ok(made) => reply.created(&FORGET, &made, Generation(0), FileHandle(0), OPENED),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = &mut *self.state();
        if let Some(error) = state.temper.reads_fail {
            return reply.error(Errno::from_i32(error));
        }
        match state.medium.file(ino.0) {
            Ok(file) => {
                let len = file.seen.len();
                let from = (offset as usize).min(len);
                reply.data(&file.seen[from..(from + size as usize).min(len)]);
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let state = &mut *self.state();
        if flags.0 & libc::O_DSYNC == 0 {
            return match state.medium.write(ino.0, offset as usize, data) {
                Ok(()) => reply.written(data.len() as u32),
                Err(error) => reply.error(errno(error)),
            };
        }
        state.writes += 1;
        let Temper { delay, writes_fail, writes_at_most, reads_fail: _ } = state.temper;
        let data = &data[..data.len().min(writes_at_most.unwrap_or(usize::MAX))];
        let begun = match writes_fail {
            Some(error) => Err(nix::errno::Errno::from_raw(error)),
            None => state.medium.fly(ino.0, offset as usize, data),
        };
        let number = match begun {
            Ok(number) => number,
            Err(error) => return reply.error(errno(error)),
        };
        let len = data.len() as u32;
        let land = move |state: &Mutex<State>| match lock(state).medium.land(number) {
            Ok(()) => reply.written(len),
            Err(error) => reply.error(errno(error)),
        };
        let delay = delay + delay.mul_f64(state.dice.below(1_000) as f64 / 1e3);
        let shared = self.0.clone();
        // Those begun later may land earlier.
        thread::spawn(move || {
            if !delay.is_zero() {
                thread::sleep(delay);
            }
            land(&shared);
        });
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(self.state().medium.sync(ino.0), reply);
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(self.state().medium.sync(ino.0), reply);
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let medium = &mut self.state().medium;
        let size = medium.file(ino.0).map(|file| file.seen.len());
        done(size.and_then(|size| medium.resize(ino.0, size.max((offset + length) as usize))), reply);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let medium = &mut self.state().medium;
        let names = match medium.directory(ino.0) {
            Ok(directory) => directory.seen.clone(),
            Err(error) => return reply.error(errno(error)),
        };
        let parents = [(".".into(), ROOT), ("..".into(), ROOT)];
        for (number, (name, node)) in parents.into_iter().chain(names).enumerate().skip(offset as usize) {
            let kind = match medium.node(node) {
                Ok(Node::File(_)) => FileType::RegularFile,
                Ok(Node::Directory(_)) | Err(_) => FileType::Directory,
            };
            if reply.add(INodeNo(node), number as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let blocks = SIZE / u64::from(BLOCK);
        let free = blocks.saturating_sub(self.state().medium.used().div_ceil(u64::from(BLOCK)));
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }
}
