//! The report of a comparison: a Markdown page, plots, and every figure behind them.
//!
//! Owns how results are written. Figures are medians over the rounds, with the smallest and the largest beside them.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::cli::Args;
use super::contestant::Kind;
use super::figures::ProcessFigures;
use super::machine::Machine;
use super::plots;
use super::sample::Sample;
use super::workloads::Workload;
use crate::report::grouped;

/// All there is to say.
pub struct Comparison<'a> {
    pub machine: Machine,
    pub args: &'a Args,
    /// The disk's calibration before the first workload and after the last.
    pub before: Value,
    pub after: Value,
    pub rows: Vec<Row>,
    pub figures: Vec<ProcessFigures>,
    /// Workload or topic, contestant, command line.
    pub commands: Vec<(String, &'static str, String)>,
}

/// One workload's samples.
pub struct Row {
    pub workload: &'static Workload,
    pub samples: Vec<(Kind, Vec<Sample>)>,
}

impl Row {
    /// The samples of RingMQ, of an Apache broker, or of the null broker.
    fn of(&self, name: &str) -> Option<&[Sample]> {
        self.samples.iter().find(|(kind, _)| kind.name() == name).map(|(_, samples)| samples.as_slice())
    }

    /// The sample with the median rate: its latencies belong to that rate.
    pub fn median(&self, name: &str) -> Option<&Sample> {
        let mut sorted: Vec<&Sample> = self.of(name)?.iter().collect();
        sorted.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        sorted.get(sorted.len() / 2).copied()
    }
}

/// Writes `report.md`, the plots, and `raw/`.
///
/// # Errors
/// Something cannot be written.
pub fn write(comparison: &Comparison<'_>, out: &Path) -> Result<(), String> {
    let raw = out.join("raw");
    std::fs::create_dir_all(&raw).map_err(|error| format!("{} cannot be made: {error}", raw.display()))?;
    let put = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    };
    for row in &comparison.rows {
        for (kind, samples) in &row.samples {
            let all: Vec<&Value> = samples.iter().map(|sample| &sample.raw).collect();
            let name = format!("{}-{}.json", row.workload.name, kind.name().replace(' ', "-").to_lowercase());
            put(&raw.join(name), &format!("{}\n", json!(all)))?;
        }
    }
    let drawn = plots::draw(&comparison.rows, out)?;
    put(&out.join("report.md"), &page(comparison, &drawn))
}

fn page(comparison: &Comparison<'_>, drawn: &[String]) -> String {
    let Comparison { machine, args, .. } = comparison;
    let mut text = format!(
        "# RingMQ beside the Apache broker, {}\n\nCommit {}. {} rounds of {} s after 1 s of warm-up, the contestants in \
         turns; figures are medians, smallest and largest in brackets.\n\n",
        machine.date, machine.commit, args.rounds, args.seconds
    );
    let _ = write!(
        text,
        "| | |\n|---|---|\n| kernel | {} |\n| CPU | {}, {} usable; brokers on {:?}, load on {:?} |\n\
         | memory | {:.1} GiB |\n| file system | {} |\n| Apache | {} on {}, heap {} |\n\n",
        machine.kernel,
        machine.cpu,
        machine.cpus,
        args.broker_cpus,
        args.load_cpus,
        machine.memory_gib,
        machine.file_system,
        if args.without_apache { "left out" } else { &args.apache_version },
        machine.java,
        args.heap,
    );
    text.push_str("## Throughput\n\n");
    rates(&mut text, &comparison.rows);
    text.push_str("\n## Latency\n\nOf the round with the median rate, ms.\n\n");
    latencies(&mut text, &comparison.rows);
    processes(&mut text, &comparison.figures);
    text.push_str("\n## The disk\n\n");
    disk(&mut text, &comparison.before, &comparison.after);
    if !drawn.is_empty() {
        text.push_str("\n## Plots\n\n");
        for name in drawn {
            let _ = writeln!(text, "![{}]({name})\n", name.trim_end_matches(".svg"));
        }
    }
    text.push_str("\n## Commands\n\n```\n");
    for (_, kind, line) in &comparison.commands {
        let _ = writeln!(text, "{kind:<12} {line}");
    }
    text.push_str("```\n\nEvery round's whole result, percentiles included, is in `raw/`.\n");
    text
}

fn rates(text: &mut String, rows: &[Row]) {
    text.push_str(
        "| workload | RingMQ msg/s | Apache msg/s | null broker msg/s | RingMQ : Apache | of the null broker |\n",
    );
    text.push_str("|---|---|---|---|---|---|\n");
    for row in rows {
        let cell = |name: &str| {
            let (Some(median), Some(all)) = (row.median(name), row.of(name)) else { return "-".to_owned() };
            let least = all.iter().map(|sample| sample.per_second).fold(f64::INFINITY, f64::min);
            let most = all.iter().map(|sample| sample.per_second).fold(0.0, f64::max);
            let errors: u64 = all.iter().map(|sample| sample.errors).sum();
            let refused = if errors > 0 { format!(", {} errors", grouped(errors)) } else { String::new() };
            format!("{} [{} .. {}{refused}]", whole(median.per_second), whole(least), whole(most))
        };
        let ratio = |name: &str| Some(row.median("RingMQ")?.per_second / row.median(name)?.per_second);
        let _ = writeln!(
            text,
            "| `{}`: {} | {} | {} | {} | {} | {} |",
            row.workload.name,
            row.workload.about,
            cell("RingMQ"),
            cell("Apache"),
            cell("null broker"),
            ratio("Apache").map_or("-".into(), |ratio| format!("{ratio:.1}")),
            ratio("null broker").map_or("-".into(), |ratio| format!("{:.0} %", ratio * 100.0)),
        );
    }
}

fn latencies(text: &mut String, rows: &[Row]) {
    text.push_str("| workload | contestant | p50 | p99 | p99.9 |\n|---|---|---|---|---|\n");
    for row in rows {
        for (kind, _) in &row.samples {
            let Some(sample) = row.median(kind.name()) else { continue };
            let ms = |nanos: u64| format!("{:.3}", nanos as f64 / 1e6);
            let figures = [sample.p50, sample.p99, sample.p99_9].map(ms).join(" | ");
            let _ = writeln!(text, "| `{}` | {} | {figures} |", row.workload.name, kind.name());
        }
    }
}

fn processes(text: &mut String, figures: &[ProcessFigures]) {
    if figures.is_empty() {
        return;
    }
    text.push_str(
        "\n## The process\n\n| | start to first acknowledged send | idle | idle CPU | per idle connection | first 10 s under load | after them |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for figure in figures {
        let _ = writeln!(
            text,
            "| {} | {:.3} s | {:.0} MiB | {:.2} % | {:.1} KiB | {} msg/s, {} errors | {:.0} MiB |",
            figure.kind.name(),
            figure.first_ack.as_secs_f64(),
            figure.idle_mib,
            figure.idle_cpu,
            figure.connection_kib,
            whole(figure.cold_per_second),
            grouped(figure.cold_errors),
            figure.loaded_mib
        );
    }
}

fn disk(text: &mut String, before: &Value, after: &Value) {
    text.push_str("| pattern | before: per second, MB/s, p50 | after |\n|---|---|---|\n");
    let patterns = |value: &Value| value["results"]["patterns"].as_array().cloned().unwrap_or_default();
    for (first, last) in patterns(before).iter().zip(&patterns(after)) {
        let cell = |value: &Value| {
            let number = |key: &str| value[key].as_f64().unwrap_or(0.0);
            // Older calibrations wrote only; a pattern says itself what it counts.
            let per_second = value.get("writes_per_second").or(value.get("per_second"));
            let per_second = per_second.and_then(Value::as_f64).unwrap_or(0.0);
            format!("{}, {:.0}, {:.3} ms", whole(per_second), number("megabytes_per_second"), number("p50_ns") / 1e6)
        };
        let kind = first["kind"].as_str().unwrap_or("O_DSYNC write");
        let block = first["block_bytes"].as_u64().unwrap_or(0) >> 10;
        let _ = writeln!(text, "| {kind} {block} KiB x {} | {} | {} |", first["in_flight"], cell(first), cell(last));
    }
}

fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::workloads::{Flush, WORKLOADS};

    fn sample(per_second: f64) -> Sample {
        Sample { per_second, megabytes: 1.0, errors: 0, p50: 250_000, p99: 1, p99_9: 1, raw: Value::Null }
    }

    #[test]
    fn the_median_round_is_shown_with_its_ratio() {
        let samples = |rates: [f64; 3]| rates.map(sample).into();
        let row = Row {
            workload: &WORKLOADS[0],
            samples: vec![
                (Kind::RingMq, samples([300.0, 100.0, 200.0])),
                (Kind::Apache(Flush::Async), samples([10.0, 30.0, 20.0])),
            ],
        };
        let mut text = String::new();
        rates(&mut text, std::slice::from_ref(&row));
        assert!(text.contains("| 200 [100 .. 300] | 20 [10 .. 30] | - | 10.0 | - |"), "{text}");
        latencies(&mut text, &[row]);
        assert!(text.contains("| Apache | 0.250 |"), "{text}");
    }
}
