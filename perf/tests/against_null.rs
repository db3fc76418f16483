//! Whole runs against the null broker, on loopback: planning, connecting, the loop, counting, the end.
//!
//! What is asserted does not depend on how fast the machine is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use clap::Parser;
use ringmq_perf::cli::{Cli, Command, NullArgs};
use ringmq_perf::null_broker::Null;
use ringmq_perf::plan::{self, Pulling, Sending};
use ringmq_perf::route;
use ringmq_perf::run::{self, Outcome};
use ringmq_perf::workload::puller::Measure;

/// A null broker on its own thread, stopped when dropped.
struct Background {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    fn start(backlog: u32) -> Background {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut null = Null::bind(&NullArgs { listen, queues: 3, backlog, size: 128, cpus: None }).expect("free port");
        let (address, stop) = (null.address(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                null.turn().expect("the poll works");
            }
        });
        Background { address, stop, thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the null broker panicked");
        }
    }
}

fn send(line: &str) -> Outcome {
    let null = Background::start(0);
    let line = format!("perfgen send -n {} --quiet {line}", null.address);
    let Command::Send(args) = Cli::parse_from(line.split_whitespace()).command else { unreachable!("send was asked") };
    let targets = route::resolve(&args.target, args.run.timeout, true).expect("the null broker has every topic");
    assert_eq!(targets.brokers[0].write.len(), 3 * args.target.topics);
    let sending = Sending {
        topic: &args.target.topic,
        queues: args.target.queues,
        load: &args.load,
        messages: &args.messages,
        run: &args.run,
        run_id: plan::run_id(),
        stamped: args.check.then_some(true),
    };
    let parts = plan::send_parts(&sending, &targets).expect("plannable");
    run::run(parts, &plan::send_settings(&args.load, &args.run, true)).expect("begins")
}

fn assert_clean(outcome: &Outcome, messages: u64, requests: u64) {
    let total = &outcome.total;
    assert_eq!((total.failures(), total.stray, outcome.shared.halted()), (0, 0, None), "{:?}", total.errors);
    assert_eq!((total.messages, total.latency.len()), (messages, requests));
}

#[test]
fn a_closed_loop_gets_every_answer() {
    for line in ["", "--headers binary", "--check --topics 12 --tags A,B,C", "-c 3 -f 1 --threads 2"] {
        let outcome = send(&format!("--count 5000 {line}"));
        assert_clean(&outcome, 5_000, 5_000);
        assert_eq!(outcome.total.bytes, 5_000 * 1_024);
    }
}

#[test]
fn batches_count_their_messages() {
    assert_clean(&send("--count 3200 --batch 32 --size 200"), 3_200, 100);
    assert_clean(&send("--count 3201 --batch 32 --size 200"), 3_232, 101);
}

#[test]
fn large_messages_pass() {
    assert_clean(&send("--count 9 --size 4MiB -c 2 -f 2"), 9, 9);
}

#[test]
fn an_open_loop_sends_everything() {
    for threads in [1, 2] {
        assert_clean(&send(&format!("--count 200 --rate 20000 --threads {threads}")), 200, 200);
    }
}

#[test]
fn an_open_loop_accounts_for_what_was_due() {
    let outcome = send("--rate 2000 --warmup 0 --duration 100ms");
    // 100 ms at 2,000 per second, whatever the machine is busy with.
    assert_eq!(outcome.total.messages + outcome.total.unsent, 200);
}

#[test]
fn a_backlog_is_read_to_its_end_exactly() {
    let null = Background::start(1_000);
    for options in ["", "--headers binary --consumers 1", "--threads 2 --pull-batch 7"] {
        let line = format!("perfgen consume -n {} --backlog --quiet {options}", null.address);
        let parsed = Cli::parse_from(line.split_whitespace());
        let Command::Consume(args) = parsed.command else { unreachable!("consume was asked") };
        let targets = route::resolve(&args.target, args.run.timeout, false).expect("every topic exists");
        let pulling = Pulling {
            pull: &args.pull,
            run: &args.run,
            start: args.from,
            backlog: args.backlog,
            check: false,
            measure: Measure::Pull,
        };
        let parts = plan::pull_parts(&pulling, &targets).expect("plannable");
        let outcome = run::run(parts, &plan::consume_settings(&args)).expect("begins");
        assert_eq!((outcome.total.messages, outcome.total.bytes), (3_000, 3_000 * 128), "{options}");
        assert_eq!((outcome.total.failures(), outcome.total.findings.faults()), (0, 0));
    }
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let line = "perfgen send --broker 127.0.0.1:1 --quiet";
    let Command::Send(args) = Cli::parse_from(line.split_whitespace()).command else { unreachable!("send was asked") };
    let targets = route::resolve(&args.target, args.run.timeout, true).expect("nothing to look up");
    let sending = Sending {
        topic: &args.target.topic,
        queues: args.target.queues,
        load: &args.load,
        messages: &args.messages,
        run: &args.run,
        run_id: 1,
        stamped: None,
    };
    let parts = plan::send_parts(&sending, &targets).expect("plannable");
    let Err(problem) = run::run(parts, &plan::send_settings(&args.load, &args.run, true)) else {
        panic!("nobody listens there")
    };
    assert!(problem.contains("127.0.0.1:1"), "{problem}");
}

#[test]
fn everything_popped_is_acknowledged_once() {
    let null = Background::start(1_000);
    for (group, threads) in [("one", 1), ("nothing-is-left", 2)] {
        let line = format!(
            "perfgen pop -n {} --quiet --group {group} --threads {threads} --poll 10ms --duration {}",
            null.address,
            if threads == 1 { "60s" } else { "200ms" }
        );
        let Command::Pop(args) = Cli::parse_from(line.split_whitespace()).command else {
            unreachable!("pop was asked")
        };
        let targets = route::resolve(&args.target, args.run.timeout, false).expect("the null broker has every topic");
        let parts = plan::pop_parts(&args, &targets).expect("plannable");
        let outcome = run::run(parts, &plan::pop_settings(&args)).expect("begins");
        let (total, halted) = (&outcome.total, outcome.shared.halted());
        assert_eq!((total.failures(), total.stray, halted), (0, 0, None), "{:?}", total.errors);
        let all = if threads == 1 { 3_000 } else { 0 };
        assert_eq!((total.messages, total.acknowledged), (all, all));
    }
}

#[test]
fn idle_connections_say_that_they_live() {
    let null = Background::start(0);
    let line = format!("perfgen idle -n {} -c 50 --every 100ms --warmup 0s --duration 400ms --quiet", null.address);
    let Command::Idle(args) = Cli::parse_from(line.split_whitespace()).command else { unreachable!("idle was asked") };
    let targets = route::resolve(&args.target, args.run.timeout, true).expect("the null broker has every topic");
    let parts = plan::idle_parts(&args, &targets).expect("plannable");
    let outcome = run::run(parts, &plan::load_settings(&args.run, true)).expect("begins");
    assert_eq!(outcome.shared.halted(), None);
    // On a machine that stands still for a while some may not be answered within the period; all are sent.
    let total = &outcome.total;
    assert!(total.messages + total.failures() >= 50, "{} heartbeats, {:?}", total.messages, total.errors);
}
