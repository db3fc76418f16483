//! One connection to a broker or name server: numbered requests out, answers and pushes in.
//!
//! Owns the socket and its receive buffer. Never retries and never reconnects: whoever holds the link
//! drops it after an error and makes another.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, FRAME_LIMIT, Spelling};
use ringmq_protocol::header::Header;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;

/// How long a connection attempt may take; the Java client's connectTimeoutMillis.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long an answer may take unless the call says otherwise; the Java client's default for admin calls.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Bytes read from the socket at a time.
const READ_BYTES: usize = 64 * 1024;

/// Why a call did not succeed.
#[derive(Debug)]
pub enum CallError {
    /// The connection could not be made, broke, or stayed silent.
    Lost { server: String, error: io::Error },
    /// What came back is not the protocol.
    Garbled { server: String, problem: String },
    /// The server said no.
    Refused { code: i32, remark: String },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Lost { server, error } => write!(f, "{server}: {error}"),
            CallError::Garbled { server, problem } => {
                write!(f, "{server} does not speak the remoting protocol: {problem}")
            }
            CallError::Refused { code, remark } => {
                let name = ResponseCode::from_i32(*code).map_or("unknown code", ResponseCode::name);
                write!(f, "{name} ({code}): {remark}")
            }
        }
    }
}

impl std::error::Error for CallError {}

/// One frame received, owned.
#[derive(Debug)]
pub struct Received {
    bytes: Vec<u8>,
}

impl Received {
    /// The command inside; it was parsed once when it was received.
    pub fn command(&self) -> Command<'_> {
        let frame = frame::split(&self.bytes).ok().flatten().expect("a whole frame was cut");
        Command::parse(frame).expect("the command was parsed when it was received")
    }

    /// The typed header of a successful answer.
    ///
    /// # Errors
    /// The server's refusal, or a header that lacks a field.
    pub fn header<'a, H: Header<'a>>(&'a self, server: &str) -> Result<H, CallError> {
        H::decode(&self.command().ext)
            .map_err(|e| CallError::Garbled { server: server.to_owned(), problem: e.to_string() })
    }
}

/// One connection.
pub struct Link {
    server: String,
    stream: TcpStream,
    received: Vec<u8>,
    /// Frames cut while waiting for another one's answer.
    waiting: VecDeque<Received>,
    next_opaque: i32,
    out: Vec<u8>,
}

impl Link {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// The name does not resolve or nobody answers there within three seconds.
    pub fn connect(server: &str) -> Result<Link, CallError> {
        let lost = |error| CallError::Lost { server: server.to_owned(), error };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in server.to_socket_addrs().map_err(lost)? {
            match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(lost)?;
                    return Ok(Link {
                        server: server.to_owned(),
                        stream,
                        received: Vec::new(),
                        waiting: VecDeque::new(),
                        next_opaque: 1,
                        out: Vec::new(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(lost(last))
    }

    /// Our end of the connection.
    pub fn local_ip(&self) -> Option<std::net::IpAddr> {
        self.stream.local_addr().ok().map(|address| address.ip().to_canonical())
    }

    /// The `host:port` this link leads to.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends a request and returns its number.
    ///
    /// # Errors
    /// The connection broke, or the request is larger than a frame may be.
    pub fn send<'h>(&mut self, code: RequestCode, header: &impl Header<'h>, body: &[u8]) -> Result<i32, CallError> {
        let opaque = self.next_opaque;
        self.next_opaque = self.next_opaque.wrapping_add(1);
        self.write(&Head::request(Spelling::Json, code.to_i32(), opaque), header, body)?;
        Ok(opaque)
    }

    /// Sends a request that nobody answers.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub fn send_oneway<'h>(
        &mut self,
        code: RequestCode,
        header: &impl Header<'h>,
        body: &[u8],
    ) -> Result<(), CallError> {
        self.write(&Head::oneway(Spelling::Json, code.to_i32(), 0), header, body)
    }

    fn write<'h>(&mut self, head: &Head<'_>, header: &impl Header<'h>, body: &[u8]) -> Result<(), CallError> {
        self.out.clear();
        encode::begin(&mut self.out, head)
            .header(header)
            .finish_with(body)
            .map_err(|e| self.lost(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        self.stream.write_all(&self.out).map_err(|e| self.lost(e))
    }

    /// Sends a request and waits for its answer; a code other than SUCCESS is an error.
    ///
    /// # Errors
    /// Connection, protocol, or the server's refusal.
    pub fn call<'h>(
        &mut self,
        code: RequestCode,
        header: &impl Header<'h>,
        body: &[u8],
    ) -> Result<Received, CallError> {
        let opaque = self.send(code, header, body)?;
        let answer = self.answer_to(opaque, ANSWER_LIMIT)?;
        let command = answer.command();
        if command.code == ResponseCode::Success.to_i32() {
            return Ok(answer);
        }
        let remark = command.remark.map(|text| text.to_cow().into_owned()).unwrap_or_default();
        Err(CallError::Refused { code: command.code, remark })
    }

    /// Waits for the answer to one request, keeping whatever else arrives for [`Link::receive`].
    ///
    /// # Errors
    /// The connection broke or the answer did not come within `limit`.
    pub fn answer_to(&mut self, opaque: i32, limit: Duration) -> Result<Received, CallError> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(received) = self.read_frame(left)? else {
                let silent =
                    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis()));
                return Err(self.lost(silent));
            };
            let command = received.command();
            if command.is_response() && command.opaque == opaque {
                return Ok(received);
            }
            self.waiting.push_back(received);
        }
    }

    /// The next frame, whatever it is; `None` when none comes within `limit`.
    ///
    /// # Errors
    /// The connection broke or the bytes are no frame.
    pub fn receive(&mut self, limit: Duration) -> Result<Option<Received>, CallError> {
        match self.waiting.pop_front() {
            Some(kept) => Ok(Some(kept)),
            None => self.read_frame(limit),
        }
    }

    fn read_frame(&mut self, limit: Duration) -> Result<Option<Received>, CallError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(received) = self.cut()? {
                return Ok(Some(received));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|e| self.lost(e))?;
            let at = self.received.len();
            self.received.resize(at + READ_BYTES, 0);
            let read = self.stream.read(&mut self.received[at..]);
            self.received.truncate(at + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => {
                    let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection");
                    return Err(self.lost(closed));
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(self.lost(e)),
            }
        }
    }

    fn cut(&mut self) -> Result<Option<Received>, CallError> {
        let garbled = |problem: String| CallError::Garbled { server: self.server.clone(), problem };
        let Some(frame) = frame::split(&self.received).map_err(|e| garbled(e.to_string()))? else {
            debug_assert!(self.received.len() < FRAME_LIMIT);
            return Ok(None);
        };
        Command::parse(frame).map_err(|e| garbled(e.to_string()))?;
        let rest = self.received.split_off(frame.total_len);
        let bytes = std::mem::replace(&mut self.received, rest);
        Ok(Some(Received { bytes }))
    }

    fn lost(&self, error: io::Error) -> CallError {
        CallError::Lost { server: self.server.clone(), error }
    }
}
