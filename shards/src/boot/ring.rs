//! Whether io_uring can be used, and how much memory may be locked for it.
//!
//! Owns the real `io_uring_setup` that is tried before glommio is (glommio ends the process with a joke when it fails), the
//! raising of RLIMIT_MEMLOCK, and the size of each executor's registered memory.

use io_uring::{IoUring, Probe, opcode};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Refused;

/// glommio refuses to start below this limit of locked memory, bytes.
const MEMLOCK_FLOOR: u64 = 512 * 1024;

/// What we ask for per executor when we may: three rings that register the same memory, and their own pages.
const MEMLOCK_WANTED: u64 = 64 * 1024 * 1024;

/// Registered memory per executor, bytes: holds the write buffers of a few group commits; more is taken from the heap.
const IO_MEMORY_MAX: u64 = 4 * 1024 * 1024;

/// The least glommio works with.
const IO_MEMORY_MIN: u64 = 64 * 1024;

/// glommio registers the memory with each of its rings.
const RINGS_PER_EXECUTOR: u64 = 3;

/// The sysctl that forbids io_uring: 0 allowed, 1 for the privileged only, 2 for nobody (Linux 6.6).
const DISABLED_SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// Checks that a ring can be made and knows the operations glommio needs.
///
/// # Errors
/// Says whether the kernel is too old, a sysctl or a seccomp profile forbids it, or locked memory ran out.
pub fn probe() -> Result<(), Refused> {
    let ring = IoUring::new(8).map_err(|error| refused(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known).map_err(|_| too_old("a probe of its operations"))?;
    let needed = [
        ("openat", opcode::OpenAt::CODE),
        ("close", opcode::Close::CODE),
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("write_fixed", opcode::WriteFixed::CODE),
        ("read_fixed", opcode::ReadFixed::CODE),
        ("poll_add", opcode::PollAdd::CODE),
        ("accept", opcode::Accept::CODE),
        ("connect", opcode::Connect::CODE),
        ("send", opcode::Send::CODE),
        ("recv", opcode::Recv::CODE),
        ("fallocate", opcode::Fallocate::CODE),
        ("statx", opcode::Statx::CODE),
        ("timeout", opcode::Timeout::CODE),
        ("timeout_remove", opcode::TimeoutRemove::CODE),
        ("link_timeout", opcode::LinkTimeout::CODE),
    ];
    match needed.iter().find(|(_, code)| !known.is_supported(*code)) {
        Some((name, _)) => Err(too_old(name)),
        None => Ok(()),
    }
}

fn too_old(missing: &str) -> Refused {
    Refused::new(
        format!("this kernel's io_uring lacks {missing}"),
        "RingMQ needs Linux 5.8 or newer, 5.15 or newer is recommended".to_owned(),
    )
}

/// The line for each way `io_uring_setup` fails.
fn refused(errno: Errno) -> Refused {
    let sysctl = std::fs::read_to_string(DISABLED_SYSCTL).unwrap_or_default();
    match (errno, sysctl.trim()) {
        (Errno::ENOSYS, _) => Refused::new(
            "this kernel has no io_uring (io_uring_setup: ENOSYS)",
            "run on Linux 5.8 or newer built with CONFIG_IO_URING, or outside a sandbox that hides it (gVisor, WSL 1)",
        ),
        (Errno::EPERM | Errno::EACCES, level @ ("1" | "2")) => Refused::new(
            format!("io_uring is switched off on this machine (kernel.io_uring_disabled = {level})"),
            "run: sysctl -w kernel.io_uring_disabled=0",
        ),
        (Errno::EPERM | Errno::EACCES, _) => Refused::new(
            "io_uring is forbidden here, most likely by the container's seccomp profile",
            "start the container with --security-opt seccomp=unconfined or a profile that allows io_uring_setup, \
             io_uring_enter and io_uring_register",
        ),
        (Errno::ENOMEM, _) => Refused::new(
            format!("io_uring found no lockable memory (limit {})", readable(memlock())),
            "raise it: ulimit -l unlimited, LimitMEMLOCK=infinity in the unit file, --ulimit memlock=-1 for a container",
        ),
        (other, _) => Refused::new(format!("io_uring_setup failed: {other}"), "see io_uring_setup(2)"),
    }
}

/// Raises the limit of locked memory as far as this process may, and returns how many bytes each executor registers.
///
/// # Errors
/// The limit stays below what glommio needs at all.
pub fn lock_memory(executors: usize) -> Result<usize, Refused> {
    let wanted = MEMLOCK_WANTED * executors as u64;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        && soft < wanted
    {
        // Root may raise the hard limit; everybody may raise the soft one up to it. Either may fail: what counts is read below.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, wanted, hard.max(wanted))
            .or_else(|_| setrlimit(Resource::RLIMIT_MEMLOCK, wanted.min(hard), hard));
    }
    let limit = memlock();
    if limit < MEMLOCK_FLOOR {
        return Err(Refused::new(
            format!("only {} of memory may be locked, io_uring needs {}", readable(limit), readable(MEMLOCK_FLOOR)),
            "raise it: ulimit -l 8192, LimitMEMLOCK=infinity in the unit file, --ulimit memlock=-1 for a container",
        ));
    }
    Ok(io_memory(limit, executors as u64))
}

/// Half of the limit is left to whatever else of this user locks memory.
fn io_memory(limit: u64, executors: u64) -> usize {
    let share = limit / 2 / (executors * RINGS_PER_EXECUTOR);
    let bytes = share.clamp(IO_MEMORY_MIN, IO_MEMORY_MAX);
    // glommio's buddy allocator wastes what is no power of two.
    if bytes.is_power_of_two() { bytes as usize } else { (bytes.next_power_of_two() / 2) as usize }
}

fn memlock() -> u64 {
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft)
}

fn readable(bytes: u64) -> String {
    match bytes {
        u64::MAX => "unlimited".to_owned(),
        bytes if bytes >= 1024 * 1024 => format!("{} MiB", bytes / 1024 / 1024),
        bytes => format!("{} KiB", bytes / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_memory_fits_the_limit() {
        for (limit, executors) in [(512 << 10, 1), (8 << 20, 2), (8 << 20, 1), (64 << 20, 64), (u64::MAX, 2)] {
            let bytes = io_memory(limit, executors) as u64;
            assert!(bytes.is_power_of_two() && (IO_MEMORY_MIN..=IO_MEMORY_MAX).contains(&bytes));
            assert!(bytes == IO_MEMORY_MIN || bytes * executors * RINGS_PER_EXECUTOR <= limit / 2);
        }
    }

    #[test]
    fn each_refusal_is_one_line_with_a_mend() {
        for errno in [Errno::ENOSYS, Errno::EPERM, Errno::ENOMEM, Errno::EMFILE] {
            let line = refused(errno).to_string();
            assert!(!line.contains('\n') && line.contains("; "), "{line}");
        }
    }
}
