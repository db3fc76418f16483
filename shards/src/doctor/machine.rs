//! Kernel, processors, memory and limits.
//!
//! Owns the reading of /proc and /sys; what cannot be read is left out. Never changes anything.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use super::Finding;
use crate::boot::{cpus, ring};

/// The newest features we use are in this kernel; older ones from 5.8 on work.
const RECOMMENDED_KERNEL: (u32, u32) = (5, 15);

/// Sockets and segments of a well-used broker.
const FILES_WANTED: u64 = 65_536;

/// Connections that arrive at once when a cluster's clients all come back.
const BACKLOG_WANTED: u64 = 1_024;

/// Everything that is the machine's.
pub fn look(chosen: &[usize]) -> Vec<Finding> {
    let mut findings = vec![kernel(), ring_of(chosen)];
    findings
        .extend([frequency(chosen), steal(), clock_source(), numa(chosen), huge_pages(), swap()].into_iter().flatten());
    findings.extend([files(), backlog()]);
    findings
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    match version(&release) {
        Some(found) if found < RECOMMENDED_KERNEL => Finding::note(
            "kernel",
            format!("Linux {release}"),
            "5.15 or newer is recommended: io_uring is quicker and had more of its faults mended",
        ),
        _ => Finding::good("kernel", format!("Linux {release}")),
    }
}

/// `6.8.0-31-generic` is (6, 8).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn ring_of(chosen: &[usize]) -> Finding {
    let locked = ring::probe().and_then(|()| ring::lock_memory(chosen.len().max(1)));
    match locked {
        Ok(bytes) => Finding::good(
            "io_uring",
            format!(
                "every operation needed is there; {} KiB registered for each of {} CPUs",
                bytes >> 10,
                chosen.len()
            ),
        ),
        Err(refused) => Finding::refused("io_uring", refused),
    }
}

fn frequency(chosen: &[usize]) -> Option<Finding> {
    let governor = |cpu: &usize| read(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"));
    let slow: Vec<usize> =
        chosen.iter().copied().filter(|cpu| governor(cpu).is_some_and(|name| name != "performance")).collect();
    let spelt = cpus::spell(chosen);
    if slow.is_empty() {
        return Some(Finding::good("cpus", format!("{spelt}, none is slowed down by a frequency governor")));
    }
    let name = governor(&slow[0])?;
    Some(Finding::note(
        "cpus",
        format!("{spelt}; the governor of {} is {name}: waking from idle takes longer", cpus::spell(&slow)),
        "cpupower frequency-set -g performance",
    ))
}

/// Time that the hypervisor gave to others (proc_stat(5): the eighth figure), since the machine started.
fn steal() -> Option<Finding> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let percent = stolen(&text)?;
    (percent >= 1.0).then(|| {
        Finding::note(
            "steal",
            format!("{percent:.1} % of the CPU time since the start was taken by other guests of this host"),
            "latencies have tails of milliseconds then; ask for dedicated cores",
        )
    })
}

fn stolen(stat: &str) -> Option<f64> {
    let fields: Vec<f64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let all: f64 = fields.iter().take(8).sum();
    (all > 0.0).then(|| fields.get(7).copied().unwrap_or(0.0) / all * 100.0)
}

fn clock_source() -> Option<Finding> {
    let name = read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    Some(match name.as_str() {
        // These are read without entering the kernel.
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter" => Finding::good("clock", name),
        _ => Finding::note(
            "clock",
            format!("{name}: reading the time enters the kernel"),
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, if it is available there",
        ),
    })
}

fn numa(chosen: &[usize]) -> Option<Finding> {
    let mut nodes: Vec<(u32, Vec<usize>)> = Vec::new();
    for entry in fs::read_dir("/sys/devices/system/node").ok()?.flatten() {
        let name = entry.file_name();
        let Some(node) = name.to_str().and_then(|name| name.strip_prefix("node")?.parse().ok()) else { continue };
        let listed = cpus::of_node(node).unwrap_or_default();
        nodes.push((node, listed.into_iter().filter(|cpu| chosen.contains(cpu)).collect()));
    }
    nodes.sort();
    let used: Vec<String> = nodes
        .iter()
        .filter(|(_, cpus)| !cpus.is_empty())
        .map(|(node, cpus)| format!("node {node}: {}", cpus::spell(cpus)))
        .collect();
    let balancing = read("/proc/sys/kernel/numa_balancing").is_some_and(|value| value != "0");
    Some(match (nodes.len(), used.len(), balancing) {
        (0 | 1, ..) => Finding::good("numa", "one node"),
        (_, 0 | 1, false) => Finding::good("numa", used.join("; ")),
        (_, 0 | 1, true) => Finding::note(
            "numa",
            format!("{}; the kernel's automatic balancing is on and takes pages away to look at them", used.join("; ")),
            "sysctl -w kernel.numa_balancing=0",
        ),
        _ => Finding::note(
            "numa",
            format!("the CPUs are of several nodes ({})", used.join("; ")),
            "one broker per node is quicker: numaNode = 0 in one broker.conf, numaNode = 1 in another's",
        ),
    })
}

fn huge_pages() -> Option<Finding> {
    let modes = read("/sys/kernel/mm/transparent_hugepage/enabled")?;
    let chosen = modes.split(['[', ']']).nth(1)?;
    Some(match chosen {
        "always" | "madvise" => Finding::good("huge pages", format!("{chosen}: the log's tail lies in them")),
        _ => Finding::note(
            "huge pages",
            format!("{chosen}: the log's tail lies in pages of 4 KiB"),
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
    })
}

fn swap() -> Option<Finding> {
    let text = fs::read_to_string("/proc/swaps").ok()?;
    (text.lines().count() > 1).then(|| {
        Finding::note(
            "swap",
            "there is swap space: a broker that is swapped out stalls for seconds",
            "swapoff -a, or vm.swappiness = 1",
        )
    })
}

fn files() -> Finding {
    // A start raises the soft limit itself.
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    if hard < FILES_WANTED {
        return Finding::note(
            "files",
            format!("at most {hard} open files, each connection is one"),
            "LimitNOFILE=1048576 in the unit file, or ulimit -Hn 1048576",
        );
    }
    Finding::good("files", format!("{hard} open files allowed"))
}

fn backlog() -> Finding {
    let limit = read("/proc/sys/net/core/somaxconn").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    if limit < BACKLOG_WANTED {
        return Finding::note(
            "backlog",
            format!(
                "{limit} connections may wait to be accepted; when all clients come back at once some wait a second"
            ),
            "sysctl -w net.core.somaxconn=4096",
        );
    }
    Finding::good("backlog", format!("{limit} connections may wait to be accepted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_compare_by_number() {
        assert_eq!(version("6.8.0-31-generic"), Some((6, 8)));
        assert_eq!(version("5.4-custom"), Some((5, 4)));
        assert!(version("5.10.0").expect("a version") < RECOMMENDED_KERNEL);
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn steal_is_a_part_of_all_time() {
        assert_eq!(stolen("cpu  50 0 25 20 0 0 0 5 0 0\ncpu0 1 1\n"), Some(5.0));
        assert_eq!(stolen("cpu  0 0 0 0 0 0 0 0\n"), None);
        assert_eq!(stolen(""), None);
    }

    #[test]
    fn this_machine_is_described() {
        let findings = look(&cpus::allowed().unwrap());
        assert!(findings.iter().any(|finding| finding.about == "kernel"));
        assert!(findings.iter().all(|finding| !finding.text.is_empty()));
    }
}
