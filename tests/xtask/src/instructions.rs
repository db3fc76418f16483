//! `cargo xtask instructions`: how many instructions a message takes, compared with what it may take.
//!
//! Owns the committed numbers (`perf/instructions.toml`), the counting and the verdict. Counts are of `core/benches/instructions.rs`
//! below valgrind's callgrind: it counts what the program executes, so other work on the machine, its clock and its caches do not
//! matter. Each path runs with N and with 2N messages; the difference is free of what starting costs.
//!
//! Called by hand instead of through a crate for that (iai-callgrind): that one wants a runner of its very version installed
//! beside cargo, and compares with the last run on the same machine instead of with a committed number.

use std::fmt::Write as _;
use std::process::Command;

use crate::steps::root;

const TABLE: &str = "perf/instructions.toml";

/// Messages of the shorter run; whole writes, runs of the key index and batches, so that both runs end alike.
const MESSAGES: u64 = 8_192;

/// How far a count may be off, percent, either way. A change elsewhere moves a function's inlining by one or two; another
/// processor's choice of memcpy by about as much.
const TOLERANCE: f64 = 5.0;

const HEAD: &str = "\
# Instructions per message in user space: frame cut and parsed, placed, applied, the log's frames sealed; no sockets, no disk.
# Counted by `cargo xtask instructions` (callgrind) and compared in CI, 5 % either way. `--write` accepts what is counted:
# commit it together with the reason.
";

/// Counts every path and compares it with the table, or writes the table.
///
/// # Errors
/// Valgrind is missing; a path takes more or less than it may.
pub fn check(write: bool) -> Result<(), String> {
    if cfg!(not(target_arch = "x86_64")) {
        println!("the committed numbers are for x86-64; nothing to compare here");
        return Ok(());
    }
    let text = std::fs::read_to_string(root().join(TABLE)).map_err(|error| format!("{TABLE}: {error}"))?;
    let mut counted = Vec::new();
    for (path, may) in rows(&text)? {
        let is = per_message(path)?;
        println!("{path:<16} {is:>7.0} instructions per message, {may} committed ({:+.1} %)", percent(is, may));
        counted.push((path, may, is));
    }
    if write {
        return std::fs::write(root().join(TABLE), table(&counted)).map_err(|error| format!("{TABLE}: {error}"));
    }
    verdict(&counted)
}

/// The paths and their committed numbers.
fn rows(text: &str) -> Result<Vec<(&str, u64)>, String> {
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|line| {
        let (path, count) = line.split_once(" = ").ok_or_else(|| format!("{TABLE}: '{line}' is not 'path = count'"))?;
        let count = count.parse().map_err(|_| format!("{TABLE}: '{count}' is not a number of instructions"))?;
        Ok((path, count))
    })
    .collect()
}

fn table(counted: &[(&str, u64, f64)]) -> String {
    let mut text = HEAD.to_owned();
    for (path, _, is) in counted {
        writeln!(text, "{path} = {is:.0}").expect("a String takes everything");
    }
    text
}

fn percent(is: f64, may: u64) -> f64 {
    (is / may as f64 - 1.0) * 100.0
}

/// One sentence for each path that is off.
fn verdict(counted: &[(&str, u64, f64)]) -> Result<(), String> {
    let off = counted.iter().filter(|(_, may, is)| percent(*is, *may).abs() > TOLERANCE);
    let sentences: Vec<String> = off
        .map(|(path, may, is)| {
            let by = percent(*is, *may);
            let change = if by > 0.0 { "more" } else { "less" };
            format!("{path} took {may} instructions per message and takes {is:.0} now, {:.1} % {change}", by.abs())
        })
        .collect();
    if sentences.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}. Where they are: `valgrind --tool=callgrind` on the bench, then callgrind_annotate. To accept: \
         `cargo xtask instructions --write`, and commit {TABLE} with the reason",
        sentences.join("; ")
    ))
}

fn per_message(path: &str) -> Result<f64, String> {
    let (short, long) = (count(path, MESSAGES)?, count(path, 2 * MESSAGES)?);
    Ok(long.saturating_sub(short) as f64 / MESSAGES as f64)
}

/// Instructions of one whole run.
fn count(path: &str, messages: u64) -> Result<u64, String> {
    let runner = r#"target."cfg(all())".runner = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]"#;
    let mut cargo = Command::new("cargo");
    cargo.args([
        "bench",
        "--profile",
        "release",
        "--quiet",
        "--package",
        "ringmq-core",
        "--bench",
        "instructions",
        "--config",
        runner,
        "--",
    ]);
    let output = cargo.args([path, &messages.to_string()]).current_dir(root()).output();
    let output = output.map_err(|error| format!("cargo did not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).filter(|_| output.status.success());
    let number = collected.and_then(|(_, number)| number.trim().parse().ok());
    number.ok_or_else(|| {
        format!("the instructions of {path} could not be counted (is valgrind installed?); cargo said:\n{said}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_back() {
        let text = table(&[("send-json", 0, 4000.4), ("pull-32", 0, 99.6)]);
        assert_eq!(rows(&text), Ok(vec![("send-json", 4000), ("pull-32", 100)]));
        assert!(rows("send-json: 3").is_err());
        assert!(rows("send-json = many").is_err());
    }

    #[test]
    fn more_and_less_than_the_tolerance_are_told() {
        assert_eq!(verdict(&[("a", 1000, 1049.0), ("b", 1000, 951.0)]), Ok(()));
        let why = verdict(&[("a", 1000, 1060.0), ("b", 1000, 940.0), ("c", 1000, 1000.0)]).unwrap_err();
        assert!(why.contains("a took 1000 instructions per message and takes 1060 now, 6.0 % more"), "{why}");
        assert!(why.contains("b took 1000 instructions per message and takes 940 now, 6.0 % less"), "{why}");
        assert!(!why.contains("c took") && why.contains("--write"), "{why}");
    }
}
