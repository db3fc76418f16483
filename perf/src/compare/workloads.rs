//! The workloads that are compared: one row each.
//!
//! Owns the table. A row's command is perfgen's own command line; target, duration and output are added to it.

/// When the broker answers a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    Async,
    Sync,
}

impl Flush {
    /// `async`, `sync`.
    pub fn name(self) -> &'static str {
        match self {
            Flush::Async => "async",
            Flush::Sync => "sync",
        }
    }
}

/// One comparison.
#[derive(Debug)]
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    pub flush: Flush,
    /// perfgen's command line.
    pub command: &'static str,
    /// What is done once before the rounds.
    pub fill: Option<&'static str>,
    /// What runs beside it, on another topic, without being measured.
    pub beside: Option<&'static str>,
    /// Seconds that what runs beside has to get going.
    pub head_start: u64,
    /// The null broker takes part, too.
    pub null: bool,
    /// Broker and load share all CPUs.
    pub all_cpus: bool,
    /// Part of the summary.
    pub usual: bool,
}

/// What most rows are.
const PLAIN: Workload = Workload {
    name: "",
    about: "",
    flush: Flush::Async,
    command: "",
    fill: None,
    beside: None,
    head_start: 0,
    null: true,
    all_cpus: false,
    usual: true,
};

/// Messages of a backlog.
const FILL: &str = "send -c 16 -f 8 --batch 32 --count 1500000";

/// Ten thousand connections that only say that they live.
pub const IDLE: &str = "idle -c 10000 --duration 1h";

/// Every workload, in the order of the report.
#[rustfmt::skip]
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "async-16x64", about: "async topic, 1 KiB, 16 connections x 64 in flight, JSON headers", command: "send -c 16 -f 64", ..PLAIN },
    Workload { name: "async-16x64-binary", about: "the same, binary headers", command: "send -c 16 -f 64 --headers binary", ..PLAIN },
    Workload { name: "sync-16x64", about: "sync topic, 1 KiB, 16 x 64, JSON headers", flush: Flush::Sync, command: "send -c 16 -f 64", ..PLAIN },
    Workload { name: "async-batch32", about: "async topic, batches of 32 x 1 KiB, 16 x 8", command: "send -c 16 -f 8 --batch 32", ..PLAIN },
    Workload { name: "sync-batch32", about: "sync topic, batches of 32 x 1 KiB, 16 x 8", flush: Flush::Sync, command: "send -c 16 -f 8 --batch 32", ..PLAIN },
    Workload { name: "sync-1x1", about: "sync topic, one connection, one in flight", flush: Flush::Sync, command: "send -c 1 -f 1", ..PLAIN },
    Workload { name: "async-1x1", about: "async topic, one connection, one in flight", command: "send -c 1 -f 1", ..PLAIN },
    Workload { name: "e2e-1k", about: "tail consume, end to end at 1,000 msg/s, all CPUs", command: "e2e --rate 1000 -c 4", null: false, all_cpus: true, ..PLAIN },
    Workload { name: "e2e-10k", about: "tail consume, end to end at 10,000 msg/s, all CPUs", command: "e2e --rate 10000 -c 4", null: false, all_cpus: true, ..PLAIN },
    Workload { name: "backlog", about: "backlog consume, 1 KiB, 1.5 million messages", command: "consume --backlog", fill: Some(FILL), null: false, ..PLAIN },
    Workload { name: "async-4x64", about: "async topic, 1 KiB, 4 x 64", command: "send -c 4 -f 64", ..PLAIN },
    Workload { name: "async-256x4", about: "async topic, 1 KiB, 256 x 4", command: "send -c 256 -f 4", ..PLAIN },
    Workload { name: "sync-4x64", about: "sync topic, 1 KiB, 4 x 64", flush: Flush::Sync, command: "send -c 4 -f 64", usual: false, ..PLAIN },
    Workload { name: "sync-256x4", about: "sync topic, 1 KiB, 256 x 4", flush: Flush::Sync, command: "send -c 256 -f 4", usual: false, ..PLAIN },
    Workload { name: "async-128B", about: "async topic, 128 B, 16 x 64", command: "send -c 16 -f 64 -s 128", usual: false, ..PLAIN },
    Workload { name: "async-16KiB", about: "async topic, 16 KiB, 16 x 16", command: "send -c 16 -f 16 -s 16KiB", usual: false, ..PLAIN },
    Workload { name: "sync-128B", about: "sync topic, 128 B, 16 x 64", flush: Flush::Sync, command: "send -c 16 -f 64 -s 128", usual: false, ..PLAIN },
    Workload { name: "sync-16KiB", about: "sync topic, 16 KiB, 16 x 16", flush: Flush::Sync, command: "send -c 16 -f 16 -s 16KiB", usual: false, ..PLAIN },
    Workload { name: "topics-8", about: "8 topics x 8 queues, async, 16 x 64", command: "send -c 16 -f 64 --topics 8", usual: false, ..PLAIN },
    Workload { name: "topics-64", about: "64 topics x 8 queues, async, 16 x 64", command: "send -c 16 -f 64 --topics 64", usual: false, ..PLAIN },
    Workload { name: "topics-256", about: "256 topics x 8 queues, async, 16 x 64", command: "send -c 16 -f 64 --topics 256", ..PLAIN },
    Workload { name: "idle-10000", about: "async topic, 1 KiB, 16 x 64, beside 10,000 idle connections", command: "send -c 16 -f 64", beside: Some(IDLE), head_start: 3, null: false, ..PLAIN },
    Workload { name: "pop", about: "pop and acknowledge one by one, 1 KiB, for at most 5 s of a backlog", command: "pop --poll 1s --duration 5s", fill: Some(FILL), null: false, ..PLAIN },
    Workload { name: "mixed", about: "send 16 x 64 while as much is consumed from another topic's tail", command: "send -c 16 -f 64", beside: Some("e2e --rate 10000 -c 4"), null: false, usual: false, ..PLAIN },
    Workload { name: "beside-drain", about: "one in flight while another topic drains a backlog", command: "send -c 1 -f 1", fill: Some(FILL), beside: Some("consume --backlog"), null: false, usual: false, ..PLAIN },
];

/// The rows with these names; without names the usual ones, or all.
///
/// # Errors
/// A name that is not in the table.
pub fn chosen(names: &[String], all: bool) -> Result<Vec<&'static Workload>, String> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().filter(|workload| all || workload.usual).collect());
    }
    let find = |name: &String| {
        WORKLOADS.iter().find(|workload| workload.name == name).ok_or_else(|| {
            let known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
            format!("there is no workload {name}; there are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn every_command_is_one_that_perfgen_takes() {
        for workload in WORKLOADS {
            for line in [Some(workload.command), workload.fill, workload.beside].into_iter().flatten() {
                let words = ["perfgen"].into_iter().chain(line.split_whitespace()).chain(["-n", "a:1"]);
                crate::cli::Cli::try_parse_from(words).expect(line);
            }
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for (n, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..n].iter().all(|other| other.name != workload.name));
        }
        assert_eq!(chosen(&["backlog".into()], false).expect("known")[0].name, "backlog");
        assert!(chosen(&["backlogs".into()], false).expect_err("unknown").contains("backlog,"));
        assert!(chosen(&[], true).expect("all").len() > chosen(&[], false).expect("usual").len());
    }
}
