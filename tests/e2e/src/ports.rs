//! Free ports for a broker under test.
//!
//! Owns the choice. Tests of several processes run at once, so each gets its own three.

use std::net::TcpListener;

/// The ports one broker listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub broker: u16,
    pub name_server: u16,
}

impl Ports {
    /// Ports that are free now. The VIP port (two below the broker's) is free too.
    pub fn free() -> Ports {
        loop {
            let broker = TcpListener::bind("0.0.0.0:0").expect("a free port");
            let names = TcpListener::bind("0.0.0.0:0").expect("a free port");
            let ports = Ports { broker: port(&broker), name_server: port(&names) };
            let vip = TcpListener::bind(("0.0.0.0", ports.broker - 2));
            if vip.is_ok() && ports.name_server != ports.broker - 2 {
                return ports;
            }
        }
    }
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("it is bound").port()
}
