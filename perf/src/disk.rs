//! `perfgen disk`: how many durable writes a disk takes, and how fast it is read in order.
//!
//! Owns the calibration file and the threads that write and read it. Each write in flight is one thread with its own
//! `pwrite` on a descriptor opened O_DIRECT | O_DSYNC: a write that returned is on the medium. Threads instead of
//! io_uring, because at one to four writes in flight the disk decides and the submission path does not, and
//! `std` needs no `unsafe` for it.
//!
//! Writes go into space that was written before, so that none of them changes metadata: the steady state of a log
//! with recycled segments.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::fcntl::OFlag;
use serde_json::{Value, json};

use crate::cli::DiskArgs;
use crate::report::{duration_text, grouped};
use crate::tally::histogram;

/// What O_DIRECT is aligned to: the physical block of nearly every disk.
const BLOCK: usize = 4 << 10;

/// Block size and writes in flight of each pattern.
const WRITES: [(usize, usize); 3] = [(4 << 10, 1), (256 << 10, 1), (256 << 10, 4)];

/// The same for reads, from the file's beginning to its end and round again.
const READS: [(usize, usize); 2] = [(1 << 20, 1), (1 << 20, 4)];

/// Block size used to write the file first.
const FILL: usize = 1 << 20;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Write,
    Read,
}

/// What one pattern gave.
struct Measured {
    way: Way,
    block: usize,
    in_flight: usize,
    elapsed: Duration,
    latency: Histogram<u64>,
}

/// The file, removed when dropped.
struct Scratch {
    path: PathBuf,
    size: u64,
    direct: bool,
}

/// Measures every pattern and prints the result.
///
/// # Errors
/// One sentence.
pub fn measure(args: &DiskArgs) -> Result<(), String> {
    let scratch = Scratch::create(&args.dir, args.file_size)?;
    let mut results = Vec::new();
    let patterns =
        WRITES.map(|pattern| (Way::Write, pattern)).into_iter().chain(READS.map(|pattern| (Way::Read, pattern)));
    for (way, (block, in_flight)) in patterns {
        if !args.json {
            let doing = if way == Way::Write { "writing" } else { "reading" };
            eprintln!("{doing} {} KiB, {in_flight} in flight, for {:?}", block >> 10, args.duration);
        }
        results.push(scratch.pattern(way, block, in_flight, args.duration)?);
    }
    if args.json {
        println!("{}", json_of(args, &scratch, &results));
    } else {
        print!("{}", table(&scratch, &results));
    }
    Ok(())
}

impl Scratch {
    fn create(dir: &Path, size: u64) -> Result<Scratch, String> {
        let path = dir.join(format!("perfgen-disk-{}.tmp", std::process::id()));
        let size = size / FILL as u64 * FILL as u64;
        let direct = match open(&path, true, true) {
            Ok(_) => true,
            // What a file system without O_DIRECT answers.
            Err(error) if error.kind() == ErrorKind::InvalidInput => false,
            Err(error) => return Err(format!("cannot write in {}: {error}", dir.display())),
        };
        let scratch = Scratch { path, size, direct };
        scratch.fill().map_err(|error| format!("cannot fill {}: {error}", scratch.path.display()))?;
        Ok(scratch)
    }

    /// Writes the whole file once, so that measured writes find their blocks allocated and initialised.
    fn fill(&self) -> io::Result<()> {
        let file = open(&self.path, self.direct, true)?;
        let mut buffer = Aligned::new(FILL);
        for at in (0..self.size).step_by(FILL) {
            file.write_all_at(buffer.bytes(), at)?;
        }
        file.sync_all()
    }

    fn pattern(&self, way: Way, block: usize, in_flight: usize, duration: Duration) -> Result<Measured, String> {
        let failed = |error: io::Error| format!("a {way:?} of {} failed: {error}", self.path.display());
        let began = Instant::now();
        let histograms = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..in_flight)
                .map(|number| scope.spawn(move || self.move_for(way, block, in_flight, number, duration)))
                .collect();
            let joined = writers
                .into_iter()
                .map(|writer| writer.join().unwrap_or_else(|_| Err(io::Error::other("a writer panicked"))));
            joined.collect::<io::Result<Vec<_>>>()
        });
        let mut latency = histogram();
        for part in histograms.map_err(failed)? {
            latency.add(part).expect("every histogram here has the same bounds");
        }
        Ok(Measured { way, block, in_flight, elapsed: began.elapsed(), latency })
    }

    /// Writes or reads every `in_flight`-th block from `number` on, round and round.
    fn move_for(
        &self,
        way: Way,
        block: usize,
        in_flight: usize,
        number: usize,
        duration: Duration,
    ) -> io::Result<Histogram<u64>> {
        let file = open(&self.path, self.direct, false)?;
        let mut buffer = Aligned::new(block);
        let mut latency = histogram();
        let stride = (block * in_flight) as u64;
        let last = self.size - stride;
        let mut at = 0;
        let began = Instant::now();
        let mut before = began;
        while before - began < duration {
            let place = at + (block * number) as u64;
            match way {
                Way::Write => file.write_all_at(buffer.bytes(), place)?,
                Way::Read => file.read_exact_at(buffer.bytes_mut(), place)?,
            }
            let now = Instant::now();
            latency.saturating_record((now - before).as_nanos() as u64);
            before = now;
            at = if at + stride > last { 0 } else { at + stride };
        }
        Ok(latency)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it cannot be removed, its name says what it is.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn open(path: &Path, direct: bool, create: bool) -> io::Result<File> {
    let direct = if direct { OFlag::O_DIRECT } else { OFlag::empty() };
    OpenOptions::new().read(true).write(true).create(create).custom_flags((direct | OFlag::O_DSYNC).bits()).open(path)
}

/// A buffer that begins at a block boundary in memory, as O_DIRECT demands.
struct Aligned {
    memory: Vec<u8>,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Aligned {
        // Not zeroes: some disks treat those specially.
        let memory = (0..length + BLOCK).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        Aligned { memory, length }
    }

    fn bytes(&mut self) -> &[u8] {
        let start = self.memory.as_ptr().align_offset(BLOCK);
        &self.memory[start..start + self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.memory.as_ptr().align_offset(BLOCK);
        &mut self.memory[start..start + self.length]
    }
}

fn table(scratch: &Scratch, results: &[Measured]) -> String {
    let mut text = format!(
        "\n{:<28}{:>12}{:>11}{:>12}{:>12}{:>12}\n",
        if scratch.direct { "O_DIRECT | O_DSYNC" } else { "O_DSYNC (no O_DIRECT)" },
        "per s",
        "MB/s",
        "p50",
        "p99",
        "max"
    );
    for result in results {
        let way = if result.way == Way::Write { "write" } else { "read" };
        let name = format!("{way} {} KiB, {} in flight", result.block >> 10, result.in_flight);
        text.push_str(&format!(
            "{name:<28}{:>12}{:>11.1}{:>12}{:>12}{:>12}\n",
            grouped(result.per_second() as u64),
            result.megabytes_per_second(),
            duration_text(result.latency.value_at_quantile(0.5)),
            duration_text(result.latency.value_at_quantile(0.99)),
            duration_text(result.latency.max()),
        ));
    }
    if !scratch.direct {
        text.push_str("note: this file system refuses O_DIRECT, so writes went through the page cache\n");
    }
    text
}

impl Measured {
    fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn megabytes_per_second(&self) -> f64 {
        self.per_second() * self.block as f64 / 1e6
    }
}

fn json_of(args: &DiskArgs, scratch: &Scratch, results: &[Measured]) -> Value {
    let of = |way: Way| -> Vec<Value> {
        let results = results.iter().filter(|result| result.way == way);
        let figures = results.map(|result| {
            json!({
                "block_bytes": result.block,
                "in_flight": result.in_flight,
                if way == Way::Write { "writes" } else { "reads" }: result.latency.len(),
                if way == Way::Write { "writes_per_second" } else { "reads_per_second" }: result.per_second(),
                "megabytes_per_second": result.megabytes_per_second(),
                "p50_ns": result.latency.value_at_quantile(0.5),
                "p99_ns": result.latency.value_at_quantile(0.99),
                "p99_9_ns": result.latency.value_at_quantile(0.999),
                "max_ns": result.latency.max(),
            })
        });
        figures.collect()
    };
    json!({
        "command": "disk",
        "inputs": args,
        "results": {"o_direct": scratch.direct, "writes_by": "threads with pwrite", "patterns": of(Way::Write), "reads": of(Way::Read)},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_block() {
        for length in [BLOCK, 256 << 10] {
            let mut buffer = Aligned::new(length);
            assert_eq!(buffer.bytes().len(), length);
            assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK), 0);
        }
    }

    #[test]
    fn the_file_goes_away() {
        let scratch = Scratch::create(&std::env::temp_dir(), 2 << 20).expect("writable");
        let path = scratch.path.clone();
        let measured = scratch.pattern(Way::Write, 256 << 10, 2, Duration::ZERO).expect("writable");
        assert_eq!(measured.latency.len(), 0);
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 2 << 20);
        drop(scratch);
        assert!(!path.exists());
    }
}
