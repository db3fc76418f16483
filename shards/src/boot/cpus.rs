//! Which CPUs the executors run on.
//!
//! Owns the reading of `cpus=`, `numaNode=` and the process's allowed set (`sched_getaffinity`: cgroup cpusets, taskset).
//! Pinning outside the allowed set fails with EINVAL, so it never happens.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::Refused;

/// The CPUs this process may run on, in order.
///
/// # Errors
/// The kernel does not tell.
pub fn allowed() -> Result<Vec<usize>, Refused> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|errno| Refused::new(format!("sched_getaffinity failed: {errno}"), "name the CPUs with cpus="))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// The CPUs to run on: those of `wanted` (a list such as `0,2-5`), else those of the NUMA node, else all allowed ones.
///
/// # Errors
/// A list that cannot be read, a CPU that this process may not use, a NUMA node that does not exist.
pub fn choose(wanted: Option<&str>, numa_node: Option<u32>) -> Result<Vec<usize>, Refused> {
    let allowed = allowed()?;
    if let Some(text) = wanted.map(str::trim).filter(|text| !text.is_empty()) {
        let list = parse(text).ok_or_else(|| {
            Refused::new(format!("cpus = {text} is no list of CPUs"), "write for example cpus = 0,2-5")
        })?;
        return match list.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => Err(Refused::new(
                format!("cpus = {text} names CPU {cpu}, which this process may not use"),
                format!("choose from {}", spell(&allowed)),
            )),
            None => Ok(list),
        };
    }
    let Some(node) = numa_node else { return Ok(allowed) };
    let of_node = of_node(node).ok_or_else(|| {
        Refused::new(format!("NUMA node {node} does not exist on this machine"), "see lscpu for the nodes there are")
    })?;
    let chosen: Vec<usize> = of_node.into_iter().filter(|cpu| allowed.contains(cpu)).collect();
    if chosen.is_empty() {
        return Err(Refused::new(
            format!("this process may use no CPU of NUMA node {node}"),
            format!("allowed are {}", spell(&allowed)),
        ));
    }
    Ok(chosen)
}

/// The NUMA node to stay on: the setting's, else that of RMQ_NUMA_NODE.
pub fn numa_node(setting: Option<u16>) -> Option<u32> {
    setting.map(u32::from).or_else(|| std::env::var("RMQ_NUMA_NODE").ok()?.trim().parse().ok())
}

/// The CPUs of a NUMA node; `None` if there is no such node.
pub fn of_node(node: u32) -> Option<Vec<usize>> {
    parse(std::fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist")).ok()?.trim())
}

/// Reads a list in the kernel's own spelling: `0,2-5`. `None` when it is no such list or is empty.
fn parse(text: &str) -> Option<Vec<usize>> {
    let mut list = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => {
                let cpu: usize = part.parse().ok()?;
                (cpu, cpu)
            }
        };
        if first > last || last >= CpuSet::count() {
            return None;
        }
        list.extend(first..=last);
    }
    list.sort_unstable();
    list.dedup();
    (!list.is_empty()).then_some(list)
}

/// The list in the kernel's own spelling, runs shortened.
pub fn spell(cpus: &[usize]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = cpus;
    while let Some(&first) = rest.first() {
        let run = rest.iter().enumerate().take_while(|&(step, &cpu)| cpu == first + step).count();
        parts.push(if run == 1 { first.to_string() } else { format!("{first}-{}", first + run - 1) });
        rest = &rest[run..];
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_as_they_are_spelt() {
        for text in ["0", "0-1", "0,2-5", "1,3,5"] {
            assert_eq!(spell(&parse(text).unwrap()), text);
        }
        assert_eq!(parse("5, 2-3,3"), Some(vec![2, 3, 5]));
        for wrong in ["", "a", "3-1", "1,,2", "-1", "0-99999999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cpu_outside_the_allowed_set_is_refused() {
        let refused = choose(Some("1000"), None).unwrap_err();
        assert!(refused.reason.contains("CPU 1000"), "{refused}");
        assert_eq!(choose(None, None).unwrap(), allowed().unwrap());
    }
}
