//! What a process says when it is ready: where it listens, where its data lies, what to try next.
//!
//! Owns the words. The last line starts with `try`; tests wait for it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use ringmq_core::settings::{BrokerSettings, FlushDiskType};
use ringmq_core::store::Superblock;

use crate::boot::cpus;
use crate::boot::direct_io::WriteMode;

/// A process that can say what it is.
pub trait Greeting {
    /// The text, given how long the start took.
    fn text(&self, took: Duration) -> String;
}

/// A broker's greeting.
#[derive(Debug)]
pub struct BrokerGreeting {
    lines: Vec<(&'static str, String)>,
    names: String,
}

impl BrokerGreeting {
    /// Collects the facts.
    pub fn new(
        settings: &BrokerSettings,
        superblock: &Superblock,
        cpus: &[usize],
        mode: WriteMode,
        address: SocketAddr,
    ) -> Self {
        let (identity, network, store) = (&settings.identity, &settings.network, &settings.store);
        let mut lines = Vec::new();
        let (name, cluster) = (&identity.broker_name, &identity.broker_cluster_name);
        let (port, vip) = (network.listen_port, settings.vip_port());
        lines.push(("broker", format!("{name} of {cluster}, port {port} and {vip} (VIP), {}", reach(address))));
        let standalone: Vec<&str> = settings.namesrv_addresses().collect();
        let names = if settings.runs_embedded_namesrv() {
            lines.push(("names", format!("name server inside, port {}", network.namesrv_listen_port)));
            format!("127.0.0.1:{}", network.namesrv_listen_port)
        } else {
            lines.push(("names", format!("registers at {}", standalone.join(" and "))));
            standalone.join(";")
        };
        let writes = match mode {
            WriteMode::Direct => "direct writes",
            WriteMode::Buffered => "buffered writes and fdatasync: this file system refuses O_DIRECT",
        };
        lines.push(("data", format!("{}, {writes}", store.store_path_root_dir)));
        let shards = superblock.shards;
        lines.push((
            "shards",
            format!("{shards} on CPU{} {}", if cpus.len() == 1 { "" } else { "s" }, cpus::spell(cpus)),
        ));
        lines.push((
            "flush",
            match store.flush_disk_type {
                FlushDiskType::SyncFlush => "SYNC_FLUSH, a send is answered when the message is on the disk".to_owned(),
                FlushDiskType::AsyncFlush => {
                    format!(
                        "ASYNC_FLUSH, a message is on the disk within about {} ms of its answer",
                        store.flush_interval
                    )
                }
            },
        ));
        BrokerGreeting { lines, names }
    }
}

impl Greeting for BrokerGreeting {
    fn text(&self, took: Duration) -> String {
        let mut text = format!("RingMQ {} broker is ready after {} ms\n", env!("CARGO_PKG_VERSION"), took.as_millis());
        for (word, line) in &self.lines {
            let _ = writeln!(text, "  {word:<7} {line}");
        }
        let _ = write!(text, "  {:<7} cargo run --release -p ringmq-tools --bin producer -- -n {}", "try", self.names);
        text
    }
}

/// A name server's greeting.
#[derive(Debug)]
pub struct NamesrvGreeting {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Greeting for NamesrvGreeting {
    fn text(&self, took: Duration) -> String {
        let (version, port) = (env!("CARGO_PKG_VERSION"), self.address.port());
        format!(
            "RingMQ {version} name server is ready after {} ms\n  {:<7} port {port}, {}\n  {:<7} mqbroker -n 127.0.0.1:{port}",
            took.as_millis(),
            "listens",
            reach(self.address),
            "try"
        )
    }
}

fn reach(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(address) if address.ip().is_unspecified() => "IPv4 and IPv6".to_owned(),
        SocketAddr::V4(address) if address.ip().is_unspecified() => "IPv4".to_owned(),
        other => other.ip().to_string(),
    }
}
