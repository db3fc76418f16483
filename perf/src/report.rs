//! The summary of a run, as columns for people and as one JSON object for programs; and the histogram log.
//!
//! Owns how figures are written. It computes nothing but rates and percentiles.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde_json::{Value, json};

use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::run::Outcome;
use crate::tally::code_name;

/// The percentiles of the summary, with their column heads and their JSON names.
const PERCENTILES: [(f64, &str, &str); 5] = [
    (0.5, "p50", "p50"),
    (0.9, "p90", "p90"),
    (0.99, "p99", "p99"),
    (0.999, "p99.9", "p99_9"),
    (0.9999, "p99.99", "p99_99"),
];

/// Points per halving of the distance to 100 %, in the JSON's raw percentiles.
const RAW_TICKS: u32 = 5;

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as milliseconds or, from one second on, as seconds; three decimals either way.
pub fn duration_text(nanos: Nanos) -> String {
    if nanos < SECOND {
        format!("{:.3} ms", nanos as f64 / MILLISECOND as f64)
    } else {
        format!("{:.3} s ", nanos as f64 / SECOND as f64)
    }
}

/// What the summary says besides figures.
pub struct Titles<'a> {
    /// `send`, `consume`, `e2e`.
    pub command: &'a str,
    /// What the main latency is.
    pub latency: &'a str,
    /// The load in words.
    pub load: String,
    pub notes: &'a [String],
}

/// The summary for people.
pub fn summary(titles: &Titles<'_>, outcome: &Outcome) -> String {
    let total = &outcome.total;
    let seconds = outcome.elapsed.as_secs_f64();
    let mut text = format!("\nperfgen {}  {}\n\n", titles.command, titles.load);
    let mut head = format!("{:<18}{:>14}{:>11}", "", "msg/s", "MB/s");
    for (_, name, _) in PERCENTILES {
        let _ = write!(head, "{name:>12}");
    }
    let _ = writeln!(text, "{head}{:>12}", "max");
    let mut row = |name: &str, messages: u64, bytes: Option<u64>, latency: &Histogram<u64>| {
        let bytes = bytes.map_or(String::new(), |bytes| format!("{:.1}", per_second(bytes, seconds) / 1e6));
        let _ = write!(text, "{name:<18}{:>14}{bytes:>11}", grouped(per_second(messages, seconds).round() as u64));
        for value in PERCENTILES.map(|(at, _, _)| latency.value_at_quantile(at)).into_iter().chain([latency.max()]) {
            let shown = if latency.is_empty() { "-".into() } else { duration_text(value) };
            let _ = write!(text, "{shown:>12}");
        }
        text.push('\n');
    };
    row(titles.latency, total.messages, Some(total.bytes), &total.latency);
    if let Some(acks) = &total.ack_latency {
        row("acknowledged", total.acknowledged, None, acks);
    }
    let _ = writeln!(
        text,
        "\n{} messages, {:.1} MB of bodies in {seconds:.3} s; {} errors",
        grouped(total.messages),
        total.bytes as f64 / 1e6,
        grouped(total.failures())
    );
    for (code, error) in &total.errors {
        let code_text = if *code <= -900_000 { String::new() } else { format!("{code} ") };
        let name = format!("{code_text}{}", code_name(*code));
        let _ = writeln!(text, "  {:>12}  {name:<28}  {}", grouped(error.count), error.sample);
    }
    text.push_str(&findings(outcome));
    for remark in remarks(outcome).iter().chain(titles.notes) {
        let _ = writeln!(text, "note: {remark}");
    }
    text
}

fn findings(outcome: &Outcome) -> String {
    let found = &outcome.total.findings;
    if found.checked == 0 && found.faults() == 0 {
        return String::new();
    }
    format!(
        "check: {} bodies verified; {} missing, {} duplicates, {} out of order, {} corrupt, {} misplaced, {} offset breaks\n",
        grouped(found.checked),
        grouped(found.missing),
        grouped(found.duplicates),
        grouped(found.out_of_order),
        grouped(found.corrupt),
        grouped(found.misplaced),
        grouped(found.offset_breaks),
    )
}

/// What a reader of the figures should know.
fn remarks(outcome: &Outcome) -> Vec<String> {
    let total = &outcome.total;
    let mut remarks = Vec::new();
    if let Some(reason) = outcome.shared.halted() {
        remarks.push(format!("the run ended early: {reason}"));
    }
    if outcome.interrupted {
        remarks.push("interrupted; these are the figures so far".into());
    }
    if total.warmup_errors > 0 {
        remarks.push(format!("{} errors during the warm-up are not counted above", grouped(total.warmup_errors)));
    }
    if total.unsent > 0 {
        remarks.push(format!(
            "{} messages were due and could not be sent in time: the broker is slower than the rate, and the \
             latencies above leave those messages out",
            grouped(total.unsent)
        ));
    }
    if total.stray > 0 {
        remarks.push(format!("{} answers came that nobody waited for (any more)", grouped(total.stray)));
    }
    if total.findings.missing > 0 && total.failures() + total.warmup_errors > 0 {
        remarks.push("a refused send has used up its sequence, so it is among the missing".into());
    }
    if total.findings.foreign > 0 {
        remarks.push(format!("{} messages were not written by this kind of run", grouped(total.findings.foreign)));
    }
    remarks
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// One JSON object: all inputs, all results.
pub fn json(command: &str, inputs: Value, notes: &[String], outcome: &Outcome) -> Value {
    let total = &outcome.total;
    let seconds = outcome.elapsed.as_secs_f64();
    let errors: Vec<Value> = total
        .errors
        .iter()
        .map(|(code, error)| {
            json!({"code": code, "name": code_name(*code), "count": error.count, "sample": error.sample})
        })
        .collect();
    json!({
        "command": command,
        "version": env!("CARGO_PKG_VERSION"),
        "host": host(),
        "inputs": inputs,
        "results": {
            "began_unix_seconds": outcome.began_unix,
            "elapsed_seconds": seconds,
            "messages": total.messages,
            "bytes": total.bytes,
            "messages_per_second": per_second(total.messages, seconds),
            "megabytes_per_second": per_second(total.bytes, seconds) / 1e6,
            "latency": latency(&total.latency),
            "acknowledged": total.acknowledged,
            "ack_latency": total.ack_latency.as_ref().map(latency),
            "errors": total.failures(),
            "errors_by_code": errors,
            "check": total.findings,
            "warmup_messages": total.warmup_messages,
            "warmup_errors": total.warmup_errors,
            "unsent": total.unsent,
            "stray_answers": total.stray,
            "interrupted": outcome.interrupted,
            "ended_early": outcome.shared.halted(),
            "notes": notes,
        }
    })
}

fn latency(histogram: &Histogram<u64>) -> Value {
    let mut object = json!({
        "unit": "ns",
        "count": histogram.len(),
        "min": if histogram.is_empty() { 0 } else { histogram.min() },
        "mean": histogram.mean(),
        "max": histogram.max(),
    });
    for (at, _, name) in PERCENTILES {
        object[name] = histogram.value_at_quantile(at).into();
    }
    let raw: Vec<Value> = histogram
        .iter_quantiles(RAW_TICKS)
        .map(|point| json!([point.quantile_iterated_to() * 100.0, point.value_iterated_to()]))
        .collect();
    object["percentiles"] = raw.into();
    object
}

fn host() -> Value {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    match nix::sys::utsname::uname() {
        Ok(name) => json!({
            "kernel": format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
            "machine": name.machine().to_string_lossy(),
            "cpus_allowed": cpus,
        }),
        Err(_) => json!({"cpus_allowed": cpus}),
    }
}

/// Writes the interval log that HdrHistogram's tools read: one histogram of nanoseconds per second.
///
/// # Errors
/// One sentence.
pub fn write_histogram_log(file: &Path, outcome: &Outcome) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} cannot be written: {error}", file.display());
    let mut out = BufWriter::new(File::create(file).map_err(|error| failed(&error))?);
    let mut serializer = V2Serializer::new();
    let began = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(outcome.began_unix);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("perfgen, latencies in nanoseconds")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut out, &mut serializer)
        .map_err(|error| failed(&error))?;
    for interval in &outcome.intervals {
        let (start, length) = (Duration::from_nanos(interval.start), Duration::from_nanos(interval.length));
        log.write_histogram(&interval.latency, start, length, None).map_err(|error| failed(&format!("{error:?}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::Shared;
    use crate::progress::Interval;
    use crate::tally::Tally;

    fn outcome() -> Outcome {
        let mut total = Tally::new(false);
        for latency in 1..=1_000 {
            total.done(1, 1_024, latency * 1_000, 1);
        }
        total.failed(2, 7, || "[REJECTREQUEST] busy".into());
        let latency = total.latency.clone();
        Outcome {
            total,
            intervals: vec![Interval { start: 0, length: SECOND, latency }],
            elapsed: Duration::from_millis(500),
            shared: Arc::new(Shared::default()),
            interrupted: false,
            began_unix: 1_700_000_000.0,
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration_text(250_000), "0.250 ms");
        assert_eq!(duration_text(1_250 * MILLISECOND), "1.250 s ");
    }

    #[test]
    fn the_summary_has_rates_percentiles_and_errors() {
        let titles = Titles { command: "send", latency: "send", load: "one".into(), notes: &["a note".into()] };
        let text = summary(&titles, &outcome());
        for part in ["2,000", "p99.99", "1.000 ms", "2 SYSTEM_BUSY", "[REJECTREQUEST] busy", "7 errors", "note: a note"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3].len(), lines[4].len(), "columns line up:\n{text}");
    }

    #[test]
    fn json_has_the_same_figures() {
        let value = json("send", json!({"size": 1024}), &[], &outcome());
        assert_eq!(value["results"]["messages_per_second"], 2_000.0);
        assert_eq!(value["results"]["errors_by_code"][0]["name"], "SYSTEM_BUSY");
        assert_eq!(value["inputs"]["size"], 1_024);
        assert!(value["results"]["latency"]["percentiles"].as_array().is_some_and(|points| points.len() > 10));
    }

    #[test]
    fn the_histogram_log_is_written() {
        let file = std::env::temp_dir().join(format!("perfgen-report-{}.hlog", std::process::id()));
        write_histogram_log(&file, &outcome()).expect("writable");
        let text = std::fs::read_to_string(&file).expect("readable");
        std::fs::remove_file(&file).expect("removable");
        assert!(text.contains("HIST"), "{text}");
    }
}
