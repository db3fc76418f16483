//! Ports, the address clients are told, the network cards.
//!
//! Owns the look at what a start would bind. Connects to the name servers of the settings and to nothing else.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use ringmq_core::settings::BrokerSettings;

use super::Finding;
use crate::boot::ports;

/// How long a name server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything that is the network's.
pub fn look(settings: &BrokerSettings) -> Vec<Finding> {
    let network = &settings.network;
    let bind: Option<IpAddr> = network.bind_address.parse().ok();
    let mut wanted = vec![(network.listen_port, "listenPort"), (settings.vip_port(), "listenPort")];
    if settings.runs_embedded_namesrv() {
        wanted.push((network.namesrv_listen_port, "namesrvListenPort"));
    }
    let taken: Vec<Finding> = wanted
        .iter()
        .filter_map(|(port, key)| ports::free(bind, *port, key).err())
        .map(|refused| Finding::note("ports", refused.reason, refused.mend))
        .collect();
    let mut findings = if taken.is_empty() {
        let listed: Vec<String> = wanted.iter().map(|(port, _)| port.to_string()).collect();
        vec![Finding::good("ports", format!("{} are free", listed.join(", ")))]
    } else {
        taken
    };
    findings.extend(settings.namesrv_addresses().map(name_server));
    findings.push(announced(settings));
    findings.extend(cards());
    findings
}

/// A name server answers, and from which address of ours it is reached.
fn name_server(address: &str) -> Finding {
    let tried = address.to_socket_addrs().map_err(|error| error.to_string()).and_then(|mut found| {
        let first = found.next().ok_or_else(|| "no address".to_owned())?;
        TcpStream::connect_timeout(&first, PATIENCE).map_err(|error| error.to_string())
    });
    match tried {
        Ok(stream) => {
            let from = stream.local_addr().map_or_else(|_| "?".to_owned(), |local| local.ip().to_string());
            Finding::good("namesrv", format!("{address} takes connections; reached from {from}"))
        }
        Err(error) => Finding::note(
            "namesrv",
            format!("{address} cannot be reached: {error}"),
            "the broker starts and keeps trying; clients find its topics when it is there",
        ),
    }
}

fn announced(settings: &BrokerSettings) -> Finding {
    let Some(host) = settings.network.broker_ip1.as_ref().map(ToString::to_string) else {
        let how = if settings.runs_embedded_namesrv() {
            "each client is told the address it came in by"
        } else {
            "clients are told the address the name server is reached from"
        };
        return Finding::good("address", how);
    };
    let resolved = (host.as_str(), 0).to_socket_addrs().ok().and_then(|mut found| found.next());
    match resolved.map(|address| (address.ip(), is_ours(address.ip()))) {
        Some((_, true)) => Finding::good("address", format!("brokerIP1 {host} is an address of this machine")),
        Some((ip, false)) => Finding::note(
            "address",
            format!("brokerIP1 {host} ({ip}) is no address of this machine"),
            "right behind a port mapping or a load balancer; otherwise leave brokerIP1 out",
        ),
        None => Finding::bad(
            "address",
            format!("brokerIP1 {host} has no address: clients could not connect"),
            "correct it or leave it out",
        ),
    }
}

/// Whether a socket can be bound to it. UDP: nothing is sent and no port is taken from anybody.
fn is_ours(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// Speed of the fastest card that is up, megabytes per second; `None` where no card tells (virtual machines).
pub fn megabytes_per_second() -> Option<f64> {
    let cards = fs::read_dir("/sys/class/net").ok()?.flatten();
    let megabits = cards.filter_map(|card| {
        let speed = fs::read_to_string(card.path().join("speed")).ok()?;
        speed.trim().parse::<f64>().ok().filter(|speed| *speed > 0.0)
    });
    megabits
        .fold(None, |fastest: Option<f64>, speed| Some(fastest.map_or(speed, |found| found.max(speed))))
        .map(|m| m / 8.0)
}

/// How a card's interrupts are spread: all on one CPU is what limits small messages on fast networks.
fn cards() -> Option<Finding> {
    let text = fs::read_to_string("/proc/interrupts").ok()?;
    let names: Vec<String> = fs::read_dir("/sys/class/net")
        .ok()?
        .flatten()
        .filter(|card| card.path().join("device").exists())
        .filter_map(|card| card.file_name().into_string().ok())
        .collect();
    let (name, queues) = names.iter().map(|name| (name, queues_of(&text, name))).max_by_key(|(_, queues)| *queues)?;
    (queues == 1).then(|| {
        Finding::note(
            "irq",
            format!("all packets of {name} interrupt one CPU"),
            format!("spread them: ethtool -L {name} combined 4, and keep cpus= off the CPUs in /proc/irq/*/smp_affinity_list"),
        )
    })
}

/// Lines of /proc/interrupts that are a card's.
fn queues_of(interrupts: &str, card: &str) -> usize {
    let belongs = |word: &str| word == card || word.strip_prefix(card).is_some_and(|rest| rest.starts_with('-'));
    interrupts.lines().filter(|line| line.split_whitespace().any(belongs)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_counted_by_card() {
        let text =
            "  24:  1  2  PCI-MSI  eth0-TxRx-0\n  25:  1  2  PCI-MSI  eth0-TxRx-1\n  26:  9  9  PCI-MSI  eth01\n";
        assert_eq!(queues_of(text, "eth0"), 2);
        assert_eq!(queues_of(text, "eth01"), 1);
        assert_eq!(queues_of(text, "lo"), 0);
    }

    #[test]
    fn loopback_is_ours_and_a_test_network_is_not() {
        assert!(is_ours("127.0.0.1".parse().unwrap()));
        assert!(!is_ours("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_name_server_that_is_not_there_is_a_note() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(name_server(&free.to_string()).level, super::super::Level::Note);
    }
}
