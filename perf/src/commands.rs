//! The commands: each plans, runs and reports.
//!
//! Owns the way from arguments to an exit code: 0 when all went well, 1 when there were errors or the run ended
//! early, 2 when it could not begin.

use serde::Serialize;

use crate::cli::{
    self, Cli, Command, ConsumeArgs, E2eArgs, IdleArgs, Output, PopArgs, Run, SendArgs, SendLoad, Target,
};
use crate::null_broker;
use crate::plan::{self, Pulling, Sending};
use crate::report::{self, Titles, grouped};
use crate::route::{self, Targets};
use crate::run::{self, Outcome, Settings};
use crate::tally::local_code;
use crate::workload::puller::Measure;
use crate::{cli::Messages, disk, topics};

/// Carries out what the command line says.
///
/// # Errors
/// One sentence when it could not begin.
pub fn execute(cli: Cli) -> Result<u8, String> {
    match cli.command {
        Command::Send(args) => send(args),
        Command::Consume(args) => consume(args),
        Command::E2e(args) => e2e(args),
        Command::Pop(args) => pop(args),
        Command::Idle(args) => idle(args),
        Command::Null(args) => null_broker::serve(&args).map(|()| 0),
        Command::Disk(args) => disk::measure(&args).map(|()| 0),
        Command::Topics(args) => topics::measure(&args).map(|went_well| u8::from(!went_well)),
    }
}

fn send(mut args: SendArgs) -> Result<u8, String> {
    cli::check_messages(&args.messages)?;
    let settings = plan::send_settings(&args.load, &args.run, args.output.quiet);
    say_defaults(&mut args.load, &mut args.run, &settings);
    let targets = route::resolve(&args.target, args.run.timeout, true)?;
    let sending = Sending {
        topic: &args.target.topic,
        queues: args.target.queues,
        load: &args.load,
        messages: &args.messages,
        run: &args.run,
        run_id: plan::run_id(),
        stamped: args.check.then_some(true),
    };
    let parts = plan::send_parts(&sending, &targets)?;
    let threads = parts.len();
    let outcome = run::run(parts, &settings)?;
    let load = format!(
        "{}, {}, {}",
        target_text(&args.target, &targets),
        messages_text(&args.messages),
        load_text(&args.load, &args.run, &settings, threads)
    );
    let titles = Titles { command: "send", latency: "sent", load, notes: &targets.notes };
    conclude(&titles, &args, &args.output, &outcome)
}

fn consume(mut args: ConsumeArgs) -> Result<u8, String> {
    let settings = plan::consume_settings(&args);
    args.run.duration = Some(settings.duration);
    args.run.warmup = settings.warmup;
    let targets = route::resolve(&args.target, args.run.timeout, false)?;
    let pulling = Pulling {
        pull: &args.pull,
        run: &args.run,
        start: args.from,
        backlog: args.backlog,
        check: args.check,
        measure: Measure::Pull,
    };
    let parts = plan::pull_parts(&pulling, &targets)?;
    let outcome = run::run(parts, &settings)?;
    let what = if args.backlog { "backlog" } else { "following" };
    let load = format!("{}, {what}, {} messages per pull", target_text(&args.target, &targets), args.pull.pull_batch);
    let titles = Titles { command: "consume", latency: "received (pull)", load, notes: &targets.notes };
    conclude(&titles, &args, &args.output, &outcome)
}

fn e2e(mut args: E2eArgs) -> Result<u8, String> {
    cli::check_messages(&args.messages)?;
    args.load.rate.get_or_insert(plan::E2E_RATE);
    let settings = Settings { with_acks: true, ..plan::send_settings(&args.load, &args.run, args.output.quiet) };
    say_defaults(&mut args.load, &mut args.run, &settings);
    let targets = route::resolve(&args.target, args.run.timeout, false)?;
    let parts = plan::both_parts(&args, &targets)?;
    let threads = parts.len();
    let mut outcome = run::run(parts, &settings)?;
    count_lost(&mut outcome);
    let load = format!(
        "{}, {}, {}",
        target_text(&args.target, &targets),
        messages_text(&args.messages),
        load_text(&args.load, &args.run, &settings, threads)
    );
    let titles = Titles { command: "e2e", latency: "end to end", load, notes: &targets.notes };
    conclude(&titles, &args, &args.output, &outcome)
}

fn pop(mut args: PopArgs) -> Result<u8, String> {
    if args.run.headers == cli::Headers::Binary {
        return Err("POP's request codes do not fit binary headers; leave --headers out".into());
    }
    let settings = plan::pop_settings(&args);
    args.run.duration = Some(settings.duration);
    args.run.warmup = settings.warmup;
    let targets = route::resolve(&args.target, args.run.timeout, false)?;
    let parts = plan::pop_parts(&args, &targets)?;
    let outcome = run::run(parts, &settings)?;
    let load = format!("{}, {} messages per pop", target_text(&args.target, &targets), args.pop.pop_batch);
    let titles = Titles { command: "pop", latency: "received (pop)", load, notes: &targets.notes };
    conclude(&titles, &args, &args.output, &outcome)
}

fn idle(mut args: IdleArgs) -> Result<u8, String> {
    let settings = plan::load_settings(&args.run, args.output.quiet);
    args.run.duration = Some(settings.duration);
    let targets = route::resolve(&args.target, args.run.timeout, true)?;
    let parts = plan::idle_parts(&args, &targets)?;
    let outcome = run::run(parts, &settings)?;
    let load = format!("{} connections, a heartbeat each {:?}", grouped(args.connections as u64), args.every);
    let titles = Titles { command: "idle", latency: "heartbeats", load, notes: &targets.notes };
    conclude(&titles, &args, &args.output, &outcome)
}

/// Puts the values that apply where none was given, so that the inputs in the result are all inputs.
fn say_defaults(load: &mut SendLoad, run: &mut Run, settings: &Settings) {
    load.in_flight = Some(load.in_flight());
    run.duration = Some(settings.duration);
    run.warmup = settings.warmup;
}

/// Messages that were acknowledged and never came are errors, unless nobody waited for them.
fn count_lost(outcome: &mut Outcome) {
    use std::sync::atomic::Ordering::Relaxed;
    let acknowledged = outcome.shared.acknowledged.load(Relaxed);
    let lost = acknowledged.saturating_sub(outcome.shared.received.load(Relaxed));
    if lost > 0 {
        outcome.total.failed(local_code::NOT_RECEIVED, lost, || {
            format!("of {} acknowledged, warm-up included", grouped(acknowledged))
        });
    }
}

/// Prints the result and says how it went.
fn conclude(titles: &Titles<'_>, args: &impl Serialize, output: &Output, outcome: &Outcome) -> Result<u8, String> {
    if output.json {
        let inputs = serde_json::to_value(args).map_err(|error| format!("inputs cannot be written: {error}"))?;
        println!("{}", report::json(titles.command, inputs, titles.notes, outcome));
    } else {
        print!("{}", report::summary(titles, outcome));
    }
    if let Some(file) = &output.hdr {
        report::write_histogram_log(file, outcome)?;
    }
    let total = &outcome.total;
    let bad = total.failures() > 0 || total.findings.faults() > 0 || outcome.shared.halted().is_some();
    Ok(u8::from(bad))
}

fn target_text(target: &Target, targets: &Targets) -> String {
    let queues: usize = targets.brokers.iter().map(|broker| broker.write.len().max(broker.read.len())).sum();
    let brokers: Vec<String> = targets.brokers.iter().map(|broker| broker.address.to_string()).collect();
    let topics = if target.topics == 1 { target.topic.clone() } else { format!("{} topics", target.topics) };
    format!("{} on {}, {queues} queues", topics, brokers.join(" "))
}

fn messages_text(messages: &Messages) -> String {
    let size = grouped(messages.size as u64);
    if messages.batch > 1 { format!("batches of {} x {size} B", messages.batch) } else { format!("{size} B") }
}

fn load_text(load: &SendLoad, run: &Run, settings: &Settings, threads: usize) -> String {
    let pace = match load.rate {
        Some(rate) => format!("open loop, {rate} msg/s over {} connections", load.connections),
        None => format!("{} connections x {} in flight", load.connections, load.in_flight()),
    };
    let headers = format!("{:?}", run.headers).to_lowercase();
    let plural = if threads == 1 { "" } else { "s" };
    let length = match load.count {
        Some(count) => format!("{} messages", grouped(count)),
        None => format!("{:?} after {:?}", settings.duration, settings.warmup),
    };
    format!("{pace}, {headers} headers, {threads} thread{plural}, {length}")
}
