//! One request and its answer, blocking: for what happens before a run begins.
//!
//! Owns one connection used for one call at a time. Nothing measured goes through here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::header::Header;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;

use crate::tally::code_name;

/// A blocking connection to a broker or name server.
pub struct Caller {
    stream: TcpStream,
    peer: SocketAddr,
    opaque: i32,
    inbox: Vec<u8>,
}

/// An answer: what a caller needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: i32,
    pub remark: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn is_success(&self) -> bool {
        self.code == ResponseCode::Success.to_i32()
    }

    /// The answer as an error: code, name and remark.
    pub fn refusal(&self) -> String {
        format!("code {} {}: {}", self.code, code_name(self.code), self.remark)
    }
}

/// The first address of `host:port`.
///
/// # Errors
/// One sentence.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("{text} is no address: {error}"))?;
    found.into_iter().next().ok_or_else(|| format!("{text} has no address"))
}

impl Caller {
    /// Connects within `timeout`, which then also bounds each answer.
    ///
    /// # Errors
    /// One sentence that names the peer.
    pub fn connect(peer: SocketAddr, timeout: Duration) -> Result<Caller, String> {
        let failed = |error: std::io::Error| format!("cannot connect to {peer}: {error}");
        let stream = TcpStream::connect_timeout(&peer, timeout).map_err(failed)?;
        stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        stream.set_write_timeout(Some(timeout)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Caller { stream, peer, opaque: 0, inbox: Vec::new() })
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends request `code` with `header` and waits for its answer. JSON: every server reads it.
    ///
    /// # Errors
    /// One sentence when there is no answer; an answer that says no is not an error here.
    pub fn call<'h>(&mut self, code: RequestCode, header: &impl Header<'h>) -> Result<Reply, String> {
        self.opaque += 1;
        let mut request = Vec::new();
        let head = Head::request(Spelling::Json, code.to_i32(), self.opaque);
        encode::begin(&mut request, &head).header(header).finish(0).map_err(|error| error.to_string())?;
        self.stream.write_all(&request).map_err(|error| self.failed(code, &error))?;
        loop {
            let reply = self.receive(code)?;
            // A request of the server's own may come in between; it needs no answer from us.
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    /// The next frame; `None` when it does not answer our call.
    fn receive(&mut self, code: RequestCode) -> Result<Option<Reply>, String> {
        let bad = |peer: SocketAddr, error: &dyn std::fmt::Display| format!("{peer} sent no remoting frame: {error}");
        loop {
            if let Some(found) = frame::split(&self.inbox).map_err(|error| bad(self.peer, &error))? {
                let command = Command::parse(found).map_err(|error| bad(self.peer, &error))?;
                let ours = command.is_response() && command.opaque == self.opaque;
                let reply = Reply {
                    code: command.code,
                    remark: command.remark.map(|text| text.to_string()).unwrap_or_default(),
                    fields: command.ext.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
                    body: command.body.to_vec(),
                };
                let used = found.total_len;
                self.inbox.drain(..used);
                return Ok(ours.then_some(reply));
            }
            let mut chunk = [0; 16 << 10];
            let got = self.stream.read(&mut chunk).map_err(|error| self.failed(code, &error))?;
            if got == 0 {
                return Err(format!("{} closed the connection instead of answering {}", self.peer, code.name()));
            }
            self.inbox.extend_from_slice(&chunk[..got]);
        }
    }

    fn failed(&self, code: RequestCode, error: &std::io::Error) -> String {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        if matches!(error.kind(), TimedOut | WouldBlock) {
            format!("{} does not answer {}", self.peer, code.name())
        } else {
            format!("{} cannot be asked {}: {error}", self.peer, code.name())
        }
    }
}
