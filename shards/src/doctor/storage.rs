//! The data directory's disk: kind, room, and how long it takes to make a block durable.
//!
//! Owns the trial file; it is removed whatever happens. Writes are those of the log: O_DIRECT and O_DSYNC into space that
//! was written before.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use super::Finding;
use crate::boot::direct_io::{self, BLOCK, WriteMode};

/// Bytes of a large write: what a busy log gives the disk at once.
const LARGE: usize = 256 << 10;

/// Bytes of the trial file.
const TRIAL: u64 = 16 << 20;

/// How long each pattern is tried.
const TRIAL_TIME: Duration = Duration::from_millis(500);

/// A flush above this is a spinning disk, a network volume or a consumer SSD without a protected cache, microseconds.
const SLOW_FLUSH_US: f64 = 2_000.0;

/// What the disk gave.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Median time of one durable 4 KiB write, microseconds.
    pub flush_us: f64,
    /// Durable 256 KiB writes, one after the other.
    pub megabytes_per_second: f64,
}

/// Looks at the directory, or at the nearest one above it that exists: nothing is made that a start would make.
pub fn look(root: &Path, most_percent: u32, findings: &mut Vec<Finding>) -> Option<Speed> {
    let there = root.ancestors().find(|path| path.is_dir())?.to_owned();
    let place = if there == root {
        root.display().to_string()
    } else {
        format!("{} (made at the first start)", root.display())
    };
    findings.push(Finding::good("data", format!("{place}{}", device(&there))));
    findings.extend(room(&there, most_percent));
    let mode = match direct_io::probe(&there) {
        Ok(mode) => mode,
        Err(refused) => {
            findings.push(Finding::refused("data", refused));
            return None;
        }
    };
    if mode == WriteMode::Buffered {
        findings.push(Finding::note(
            "direct",
            "this file system refuses O_DIRECT: writes go through the page cache, with fdatasync after each",
            "ext4 or xfs on a local disk is faster and takes less CPU",
        ));
    }
    match measure(&there, mode) {
        Ok((speed, text)) if speed.flush_us > SLOW_FLUSH_US => {
            findings.push(Finding::note(
                "flush",
                text,
                "sync topics wait this long for every group commit; a disk with a protected write cache needs a tenth",
            ));
            Some(speed)
        }
        Ok((speed, text)) => {
            findings.push(Finding::good("flush", text));
            Some(speed)
        }
        Err(error) => {
            findings.push(Finding::bad(
                "flush",
                format!("a trial write in {} failed: {error}", there.display()),
                "see dmesg",
            ));
            None
        }
    }
}

/// `, on vda: solid state, blocks of 512/4096, write back cache`; empty when /sys does not tell.
fn device(directory: &Path) -> String {
    let Ok(number) = fs::metadata(directory).map(|found| found.dev()) else { return String::new() };
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let Ok(link) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else { return String::new() };
    // A partition has its queue one directory up.
    let Some(queue) = [link.join("queue"), link.join("../queue")].into_iter().find(|path| path.is_dir()) else {
        return String::new();
    };
    let read = |name: &str| fs::read_to_string(queue.join(name)).unwrap_or_default().trim().to_owned();
    let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Behind a hypervisor the kernel often believes in rotation; what it says is passed on, the measured flush decides.
    let kind = if read("rotational") == "0" { "solid state" } else { "rotating, says the kernel" };
    format!(
        ", on {name}: {kind}, blocks of {} and {}, {} cache",
        read("logical_block_size"),
        read("physical_block_size"),
        read("write_cache")
    )
}

fn room(directory: &Path, most_percent: u32) -> Option<Finding> {
    let volume = statvfs(directory).ok()?;
    let (all, free) = (volume.blocks() * volume.fragment_size(), volume.blocks_available() * volume.fragment_size());
    let used = 100 - (free * 100).checked_div(all)?;
    let text = format!("{:.1} GiB free of {:.1}, {used} % used", gib(free), gib(all));
    Some(if used >= u64::from(most_percent) {
        Finding::note(
            "room",
            text,
            format!("from {most_percent} % on (diskMaxUsedSpaceRatio) old messages are deleted at any hour: make room"),
        )
    } else {
        Finding::good("room", text)
    })
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

/// A buffer at an address the disk takes.
#[repr(C, align(4096))]
struct Aligned([u8; LARGE]);

/// Removes the trial file.
struct Trial(PathBuf);

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn measure(directory: &Path, mode: WriteMode) -> io::Result<(Speed, String)> {
    let trial = Trial(directory.join(format!("doctor-{}", std::process::id())));
    let flags = match mode {
        WriteMode::Direct => libc::O_DIRECT | libc::O_DSYNC,
        WriteMode::Buffered => libc::O_DSYNC,
    };
    let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(&trial.0)?;
    let buffer = Box::new(Aligned([0; LARGE]));
    for at in (0..TRIAL).step_by(LARGE) {
        file.write_all_at(&buffer.0, at)?;
    }
    let mut small = timed(&file, &buffer.0[..BLOCK])?;
    let large = timed(&file, &buffer.0)?;
    small.sort_unstable();
    let at = |percent: usize| small[(small.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    let seconds: f64 = large.iter().map(Duration::as_secs_f64).sum();
    let speed = Speed {
        flush_us: at(50),
        megabytes_per_second: (large.len() * LARGE) as f64 / 1e6 / seconds.max(f64::MIN_POSITIVE),
    };
    let text = format!(
        "4 KiB durable in {:.3} ms (p50), {:.3} ms (p99); 256 KiB one after the other: {:.0} MB/s",
        at(50) / 1e3,
        at(99) / 1e3,
        speed.megabytes_per_second
    );
    Ok((speed, text))
}

/// Writes over the trial file for a while; the time of each write, at least one.
fn timed(file: &File, bytes: &[u8]) -> io::Result<Vec<Duration>> {
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut at = 0;
    while times.is_empty() || begun.elapsed() < TRIAL_TIME {
        let before = Instant::now();
        file.write_all_at(bytes, at)?;
        times.push(before.elapsed());
        at = (at + bytes.len() as u64) % TRIAL;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut findings = Vec::new();
        let speed = look(&dir.path().join("not/yet/there"), 75, &mut findings).unwrap();
        assert!(speed.flush_us > 0.0 && speed.megabytes_per_second > 0.0);
        assert!(findings.iter().any(|finding| finding.about == "flush"), "{findings:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
