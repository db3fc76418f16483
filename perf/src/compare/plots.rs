//! The plots of a comparison, as SVG.
//!
//! Owns axes and colours: latency over percentiles, one picture a workload, and throughput over what is in flight.

use std::path::Path;

use plotters::prelude::*;
use serde_json::Value;

use super::contestant::Kind;
use super::report::Row;
use super::workloads::Flush;

const SIZE: (u32, u32) = (860, 460);

/// Draws what the rows hold; returns the files' names.
///
/// # Errors
/// A file cannot be written.
pub fn draw(rows: &[Row], out: &Path) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for flush in [Flush::Async, Flush::Sync] {
        let series = over_in_flight(rows, flush);
        if series.iter().any(|(_, points)| points.len() > 1) {
            let name = format!("throughput-{}.svg", flush.name());
            let title = format!("Single messages of 1 KiB, {} topics", flush.name());
            let axes = Axes { title: &title, x: "requests in flight", y: "messages per second", x_label: &whole };
            chart(&out.join(&name), &axes, &series).map_err(|error| format!("{name}: {error}"))?;
            names.push(name);
        }
    }
    for row in rows {
        let series: Vec<Series> = row.samples.iter().map(|(kind, _)| (*kind, percentiles(row, *kind))).collect();
        if series.iter().any(|(_, points)| points.len() > 1) {
            let name = format!("latency-{}.svg", row.workload.name);
            let axes =
                Axes { title: row.workload.about, x: "percentile", y: "latency, ms", x_label: &percentile_label };
            chart(&out.join(&name), &axes, &series).map_err(|error| format!("{name}: {error}"))?;
            names.push(name);
        }
    }
    Ok(names)
}

type Series = (Kind, Vec<(f64, f64)>);

struct Axes<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    x_label: &'a dyn Fn(&f64) -> String,
}

/// Single messages of 1 KiB to one topic with JSON headers: rate over connections x in flight.
fn over_in_flight(rows: &[Row], flush: Flush) -> Vec<Series> {
    [Kind::RingMq, Kind::Apache(flush), Kind::Null]
        .into_iter()
        .map(|kind| {
            let plain = rows.iter().filter(|row| row.workload.flush == flush && row.workload.beside.is_none());
            let mut points: Vec<(f64, f64)> = plain
                .filter_map(|row| {
                    let sample = row.median(kind.name())?;
                    let inputs = &sample.raw["inputs"];
                    let load = &inputs["load"];
                    let is_plain = sample.raw["command"] == "send"
                        && inputs["messages"]["size"] == 1024
                        && inputs["messages"]["batch"] == 1
                        && inputs["target"]["topics"] == 1
                        && inputs["run"]["headers"] == "json";
                    let flying = load["connections"].as_f64()? * load["in_flight"].as_f64()?;
                    is_plain.then_some((flying, sample.per_second))
                })
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            (kind, points)
        })
        .collect()
}

/// Latency in milliseconds over 1 / (1 - quantile): each further nine is as far again.
fn percentiles(row: &Row, kind: Kind) -> Vec<(f64, f64)> {
    let points = row.median(kind.name()).and_then(|sample| sample.raw["results"]["latency"]["percentiles"].as_array());
    let point = |pair: &Value| {
        let (percent, nanos) = (pair[0].as_f64()?, pair[1].as_f64()?);
        (percent < 99.9999 && nanos > 0.0).then(|| (100.0 / (100.0 - percent), nanos / 1e6))
    };
    points.into_iter().flatten().filter_map(point).collect()
}

fn percentile_label(x: &f64) -> String {
    let percent = 100.0 - 100.0 / x;
    let nines = if *x < 99.0 { 0 } else { x.log10().round() as usize - 2 };
    format!("{percent:.nines$} %")
}

fn whole(x: &f64) -> String {
    format!("{x:.0}")
}

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::RingMq => RGBColor(0, 110, 180),
        Kind::Apache(_) => RGBColor(200, 80, 20),
        Kind::Null => RGBColor(130, 130, 130),
    }
}

fn chart(file: &Path, axes: &Axes<'_>, series: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let all = || series.iter().flat_map(|(_, points)| points);
    let bounds = |value: fn(&(f64, f64)) -> f64| {
        let (least, most) = all().map(value).fold((f64::INFINITY, 0.0_f64), |(l, m), v| (l.min(v), m.max(v)));
        (least * 0.8)..(most * 1.25)
    };
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(axes.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(76)
        .build_cartesian_2d(bounds(|point| point.0).log_scale(), bounds(|point| point.1).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(axes.x_label)
        .light_line_style(WHITE.mix(0.0))
        .draw()?;
    for (kind, points) in series.iter().filter(|(_, points)| !points.is_empty()) {
        let style = ShapeStyle::from(colour(*kind)).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(kind.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::sample::Sample;
    use crate::compare::workloads::WORKLOADS;
    use serde_json::json;

    #[test]
    fn a_latency_curve_is_drawn() {
        let raw = json!({"results": {"latency": {"percentiles": [[0.0, 100], [50.0, 200_000], [99.0, 900_000], [100.0, 1_000_000]]}}});
        let sample = Sample { per_second: 1.0, megabytes: 1.0, errors: 0, p50: 1, p99: 1, p99_9: 1, raw };
        let rows = [Row { workload: &WORKLOADS[0], samples: vec![(Kind::RingMq, vec![sample])] }];
        let out = std::env::temp_dir().join(format!("ringmq-plots-{}", std::process::id()));
        std::fs::create_dir_all(&out).expect("writable");
        let names = draw(&rows, &out).expect("drawn");
        let text = std::fs::read_to_string(out.join(&names[0])).expect("written");
        std::fs::remove_dir_all(&out).expect("removable");
        assert!(text.contains("<svg") && text.contains("RingMQ"), "{text}");
        assert_eq!(percentile_label(&100.0), "99 %");
        assert_eq!(percentile_label(&1000.0), "99.9 %");
    }
}
