//! What was measured on: kernel, CPU, memory, disk, commit.
//!
//! Owns the reading of /proc and of git; every fact that cannot be had is said to be unknown.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// The facts in a report's head.
#[derive(Debug)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub memory_gib: f64,
    pub file_system: String,
    pub commit: String,
    pub date: String,
    pub java: String,
}

impl Machine {
    /// Looks; `data` is on the disk that counts.
    ///
    /// # Errors
    /// The directory does not exist.
    pub fn look(data: &Path) -> Result<Machine, String> {
        let data = data.canonicalize().map_err(|error| format!("{}: {error}", data.display()))?;
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kib =
            after(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        Ok(Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib.unwrap_or(0.0) / f64::from(1 << 20),
            file_system: file_system(&read("/proc/self/mounts"), &data.to_string_lossy()),
            commit: commit(),
            date: today(),
            java: output("java", &["--version"]).lines().next().unwrap_or("none").to_owned(),
        })
    }
}

/// Device, type and options of the mount a path lies on: the longest mount point that it begins with.
fn file_system(mounts: &str, path: &str) -> String {
    let below = |point: &str| {
        point == "/" || path == point || path.strip_prefix(point).is_some_and(|rest| rest.starts_with('/'))
    };
    let rows = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let best = rows.filter(|row| row.len() >= 4 && below(row[1])).max_by_key(|row| row[1].len());
    best.map_or_else(|| "unknown".into(), |row| format!("{} ({})", row[2], row[3]))
}

/// The commit that is checked out, with a star if something in the tree differs.
pub fn commit() -> String {
    let name = output("git", &["rev-parse", "--short=8", "HEAD"]);
    let changed = !output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    let name = if name.is_empty() { "unknown" } else { &name };
    format!("{name}{}", if changed { "-changed" } else { "" })
}

/// `2026-01-31`, UTC.
pub fn today() -> String {
    let days = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() / 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The date of a day since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }

    #[test]
    fn the_longest_mount_point_counts() {
        let mounts = "a / ext4 rw 0 0\nb /data xfs rw,noatime 0 0\nc /database tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, "/data/x"), "xfs (rw,noatime)");
        assert_eq!(file_system(mounts, "/var"), "ext4 (rw)");
        assert_eq!(file_system("", "/var"), "unknown");
    }
}
