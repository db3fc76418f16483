//! `mqbroker doctor`: what this machine gives a broker, what stands in its way, and what to do about it. One screen.
//!
//! Owns the findings and how they are shown. It needs no running broker and disturbs none: it writes one file of its own
//! into the data directory for a second and removes it. Nothing here is needed to run; most machines are fine as they are.

mod machine;
mod network;
mod storage;

use std::path::Path;

use ringmq_core::settings::{BrokerSettings, Loaded};

use crate::args::{self, BrokerArgs};
use crate::boot::{Refused, configuration, cpus};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing; the mend would make it faster or steadier.
    Note,
    /// The broker does not start, or not safely.
    Bad,
}

/// One line of the screen, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// One word: what it is about.
    pub about: &'static str,
    pub text: String,
    pub mend: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn good(about: &'static str, text: impl Into<String>) -> Self {
        Finding { level: Level::Good, about, text: text.into(), mend: None }
    }

    /// It could be better.
    pub fn note(about: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { level: Level::Note, about, text: text.into(), mend: Some(mend.into()) }
    }

    /// It must be mended.
    pub fn bad(about: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { level: Level::Bad, about, text: text.into(), mend: Some(mend.into()) }
    }

    /// What a start would say.
    pub fn refused(about: &'static str, refused: Refused) -> Self {
        Finding::bad(about, refused.reason, refused.mend)
    }
}

/// Looks at everything and prints it. Returns whether a broker would start.
///
/// # Errors
/// The configuration cannot be read: then nothing is known of what to look at.
pub fn examine(args: &BrokerArgs) -> Result<bool, Refused> {
    let mut flags = args::pairs(&args.set)?;
    if let Some(namesrv) = &args.namesrv {
        flags.push(("namesrvAddr", namesrv));
    }
    let loaded: Loaded<BrokerSettings> = configuration::load(args.config.as_deref(), &flags)?;
    let settings = &loaded.settings;
    let mut findings: Vec<Finding> = loaded
        .notices
        .iter()
        .map(|notice| Finding::note("settings", notice.to_string(), "see docs/settings.md"))
        .collect();
    let chosen = match cpus::choose(settings.cores.cpus.as_deref(), cpus::numa_node(settings.cores.numa_node)) {
        Ok(chosen) => chosen,
        Err(refused) => {
            findings.push(Finding::refused("cpus", refused));
            cpus::allowed()?
        }
    };
    findings.extend(machine::look(&chosen));
    let disk = storage::look(
        Path::new(&settings.store.store_path_root_dir),
        settings.store.disk_max_used_space_ratio,
        &mut findings,
    );
    findings.extend(network::look(settings));
    if let Some(disk) = disk {
        findings.push(limiting(&disk, chosen.len(), network::megabytes_per_second()));
    }
    print!("{}", screen(&findings));
    Ok(findings.iter().all(|finding| finding.level < Level::Bad))
}

/// What a message of 1 KiB and its share of everything else cost one core: about 2.6 us of the broker's time, measured with
/// `perfgen send -c 16 -f 64` on a core of 2020.
const MESSAGES_PER_CORE: f64 = 380_000.0;

/// Bytes of such a message on the wire and on the disk.
const MESSAGE_BYTES: f64 = 1_250.0;

/// Which of CPU, disk and network ends first with messages of 1 KiB.
fn limiting(disk: &storage::Speed, cores: usize, network_mb: Option<f64>) -> Finding {
    let cpu = MESSAGES_PER_CORE * cores as f64;
    let by_disk = disk.megabytes_per_second * 1e6 / MESSAGE_BYTES;
    let by_network = network_mb.map(|mb| mb * 1e6 / MESSAGE_BYTES);
    let mut limits = vec![("CPU", cpu), ("disk", by_disk)];
    limits.extend(by_network.map(|limit| ("network", limit)));
    limits.sort_by(|a, b| a.1.total_cmp(&b.1));
    let words: Vec<String> = limits.iter().map(|(name, limit)| format!("{name} {:.0}k", limit / 1e3)).collect();
    Finding::good(
        "limit",
        format!(
            "{} ends first: messages of 1 KiB a second at most, roughly: {}; one producer with one in flight on a sync \
             topic: about {:.0}",
            limits[0].0,
            words.join(", "),
            1e6 / (disk.flush_us + 150.0)
        ),
    )
}

/// The findings in columns: sign, subject, text; mends below their finding.
fn screen(findings: &[Finding]) -> String {
    use std::fmt::Write;
    let mut text = format!("RingMQ {} doctor\n", env!("CARGO_PKG_VERSION"));
    for finding in findings {
        let sign = match finding.level {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Bad => "BAD",
        };
        let _ = writeln!(text, "  {sign:<5} {:<9} {}", finding.about, finding.text);
        if let Some(mend) = &finding.mend {
            let _ = writeln!(text, "  {:<5} {:<9}   -> {mend}", "", "");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let verdict = match (count(Level::Bad), count(Level::Note)) {
        (0, 0) => "a broker starts here, and nothing could be better".to_owned(),
        (0, notes) => {
            format!("a broker starts here; {notes} thing{} could be better", if notes == 1 { "" } else { "s" })
        }
        (bad, _) => {
            format!("a broker does not start here before {bad} thing{} mended", if bad == 1 { " is" } else { "s are" })
        }
    };
    let _ = writeln!(text, "{verdict}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_shows_signs_and_mends() {
        let findings = [
            Finding::good("kernel", "Linux 6.6"),
            Finding::note("clock", "hpet", "boot with clocksource=tsc"),
            Finding::bad("memlock", "8 KiB", "ulimit -l unlimited"),
        ];
        let text = screen(&findings);
        assert!(text.contains("  ok    kernel    Linux 6.6\n"), "{text}");
        assert!(text.contains("-> boot with clocksource=tsc"), "{text}");
        assert!(text.ends_with("before 1 thing is mended\n"), "{text}");
        assert!(screen(&findings[..2]).ends_with("1 thing could be better\n"));
    }

    #[test]
    fn the_smallest_limit_is_named() {
        let disk = storage::Speed { flush_us: 100.0, megabytes_per_second: 250.0 };
        assert!(limiting(&disk, 4, Some(1_250.0)).text.starts_with("disk ends first"));
        assert!(limiting(&disk, 4, Some(12.5)).text.starts_with("network ends first"));
        let fast = storage::Speed { megabytes_per_second: 5_000.0, ..disk };
        assert!(limiting(&fast, 1, None).text.starts_with("CPU ends first"));
    }
}
