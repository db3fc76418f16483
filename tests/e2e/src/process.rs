//! A broker as a child process.
//!
//! Owns the child: it is killed when the value is dropped, so that a failed test leaves nothing running. The binary is built
//! once per test run, in the profile of the test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::ports::Ports;

/// A running broker.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pub ports: Ports,
    /// What it said until it was ready.
    pub greeting: String,
    /// Its log, if somebody listens to it.
    log: Option<Receiver<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Stopped {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Standard output and standard error.
    pub said: String,
}

/// The word in the line that says that the broker serves.
const READY: &str = " is ready";

impl Process {
    /// Starts a broker on `root` and waits until it serves.
    ///
    /// # Panics
    /// When it ends before that; with what it said.
    pub fn start(root: &Path, ports: Ports, settings: &[&str]) -> Process {
        match Self::try_start(root, ports, settings) {
            Ok(process) => process,
            Err(stopped) => panic!("the broker did not start: {stopped:?}"),
        }
    }

    /// As [`Process::start`]; a broker that ends before it serves is the error.
    ///
    /// # Errors
    /// How it ended.
    pub fn try_start(root: &Path, ports: Ports, settings: &[&str]) -> Result<Process, Stopped> {
        // Log lines go where the test's own output goes.
        Self::greeted(broker(root, ports, settings), ports, Stdio::inherit())
    }

    /// As [`Process::start`], for a test that waits for lines of the broker's log.
    ///
    /// # Panics
    /// When it ends before it serves.
    pub fn start_heard(root: &Path, ports: Ports, settings: &[&str]) -> Process {
        let mut process = match Self::greeted(broker(root, ports, settings), ports, Stdio::piped()) {
            Ok(process) => process,
            Err(stopped) => panic!("the broker did not start: {stopped:?}"),
        };
        let (said, log) = channel();
        let lines = BufReader::new(process.child.stderr.take().expect("it is piped")).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
        process.log = Some(log);
        process
    }

    /// The next line of its log with all of these words in it.
    ///
    /// # Panics
    /// When a minute passes without one, or it is nobody's to hear; with the lines there were.
    pub fn hear(&self, words: &[&str]) -> String {
        let log = self.log.as_ref().expect("started to be heard");
        let (deadline, mut others) = (Instant::now() + Duration::from_secs(60), Vec::new());
        loop {
            match log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if words.iter().all(|word| line.contains(word)) => return line,
                Ok(line) => others.push(line),
                Err(_) => panic!("no line with {words:?} among {others:#?}"),
            }
        }
    }

    /// Starts a standalone name server and waits until it serves.
    ///
    /// # Panics
    /// When it ends before that; with what it said.
    pub fn start_name_server(root: &Path, ports: Ports) -> Process {
        let mut command = Command::new(binary("mqnamesrv"));
        command.arg("-s").arg(format!("listenPort={}", ports.name_server));
        command.arg("-s").arg(format!("kvConfigPath={}", root.join("kvConfig.json").display()));
        match Self::greeted(command, ports, Stdio::inherit()) {
            Ok(process) => process,
            Err(stopped) => panic!("the name server did not start: {stopped:?}"),
        }
    }

    fn greeted(mut command: Command, ports: Ports, log: Stdio) -> Result<Process, Stopped> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child = command.spawn().expect("the binary was built");
        let mut process = Process { child, ports, greeting: String::new(), log: None };
        let mut lines = BufReader::new(process.child.stdout.take().expect("it is piped"));
        let greeting = &mut process.greeting;
        loop {
            let start = greeting.len();
            let read = lines.read_line(greeting).expect("a pipe can be read");
            if read == 0 {
                let status = process.child.wait().expect("it is our child");
                return Err(Stopped { code: status.code(), signal: status.signal(), said: process.greeting.clone() });
            }
            // The next command to try is the last line of the greeting.
            if greeting[..start].contains(READY) && greeting[start..].trim_start().starts_with("try") {
                process.child.stdout = Some(lines.into_inner());
                return Ok(process);
            }
        }
    }

    /// Ends it as a power cut would, as far as the process goes.
    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Asks it to stop and waits until it did.
    pub fn stop(mut self) -> Stopped {
        signal::kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("it is our child");
        let mut said = std::mem::take(&mut self.greeting);
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut said).expect("a pipe can be read");
        }
        let status = self.child.wait().expect("it is our child");
        Stopped { code: status.code(), signal: status.signal(), said }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn broker(root: &Path, ports: Ports, settings: &[&str]) -> Command {
    let mut command = Command::new(binary("mqbroker"));
    command.arg("-s").arg(format!("storePathRootDir={}", root.display()));
    command.arg("-s").arg("brokerName=broker-e2e");
    command.arg("-s").arg(format!("listenPort={}", ports.broker));
    command.arg("-s").arg(format!("namesrvListenPort={}", ports.name_server));
    for setting in settings {
        command.arg("-s").arg(setting);
    }
    command
}

/// Runs a binary to its end.
pub fn run<A: AsRef<OsStr>>(name: &str, args: &[A]) -> Stopped {
    let output = Command::new(binary(name)).args(args).stdin(Stdio::null()).output().expect("the binary was built");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Stopped { code: output.status.code(), signal: output.status.signal(), said }
}

/// Where the binary is; the first call builds all of them.
fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let test = std::env::current_exe().expect("the test has a path");
        // target/<profile>/deps/<test>
        let profile = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps").to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "ringmq-shards", "--bins"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(profile.parent().expect("target/<profile>"));
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        assert!(build.status().expect("cargo runs").success(), "the binaries do not build");
        profile
    });
    directory.join(name)
}
