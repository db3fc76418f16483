//! On which NUMA node the process's memory lies.
//!
//! Owns one call: set_mempolicy(2), of which the C library has no function of its own. Threads have the policy of the one that
//! started them, so it is made before there are any.

use std::io;

/// Nodes that a mask has room for: the kernel's MAX_NUMNODES where it is largest.
const NODES_MAX: u32 = 1024;

/// Memory comes from the node and from nowhere else (linux/mempolicy.h).
const MPOL_BIND: libc::c_int = 2;

/// Binds the memory of this thread, and of all that it starts from now on, to one node, as `numactl --membind` does.
///
/// # Errors
/// The node has no memory (EINVAL), the kernel knows no nodes (ENOSYS), or a container may not choose (EPERM).
pub fn stay_on(node: u32) -> io::Result<()> {
    const BITS: u32 = libc::c_ulong::BITS;
    if node >= NODES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut mask = [0 as libc::c_ulong; (NODES_MAX / BITS) as usize];
    mask[(node / BITS) as usize] |= 1 << (node % BITS);
    // The kernel reads one bit less than it is told (mempolicy.c, get_nodes).
    // SAFETY: the mask has as many bits as is said, and the call reads it only.
    let done =
        unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_BIND, mask.as_ptr(), libc::c_ulong::from(NODES_MAX)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_stay_on_the_node_that_was_chosen() {
        let policies = std::thread::spawn(|| {
            stay_on(0)?;
            std::thread::spawn(|| std::fs::read_to_string("/proc/thread-self/numa_maps")).join().unwrap()
        });
        match policies.join().unwrap() {
            Ok(policies) => assert!(policies.lines().any(|line| line.contains(" bind:0 ")), "{policies}"),
            // A kernel without nodes, or a container that may not choose.
            Err(error) => {
                assert!(matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::ENOENT)), "{error}")
            }
        }
        assert_eq!(stay_on(NODES_MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
