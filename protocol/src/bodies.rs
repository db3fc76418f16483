//! The JSON (and few other) bodies, one file per family.
//!
//! Owns their exact shapes and the reading of both JSON dialects that peers write: standard JSON and
//! fastjson's (see `dialect`). Unknown members are ignored, null members count as absent, absent
//! members take their default; nothing is ever written as null. None of this is on the path of a send
//! or pull, so bodies are owned values.
//!
//! Reading: [`decode`]. Writing: [`encode`] for a body that serde can spell, or the body's own
//! `encode` where RocketMQ's shape is no JSON (maps with objects as keys).

pub mod admin;
pub mod assignment;
pub mod auth;
pub mod cluster;
pub mod connection;
mod dialect;
pub mod group;
pub mod heartbeat;
pub mod lock;
mod named;
pub mod offset;
pub mod pop;
pub mod queue;
pub mod register;
pub mod route;
pub mod stats;
pub mod topic;

pub use named::LenientInt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// A body that is not what the request needs.
#[derive(Debug)]
pub enum BodyError {
    /// There is none.
    Empty,
    /// It is not the JSON expected; the text of the parser says where.
    Json(serde_json::Error),
    /// A compressed or binary body that is malformed.
    Malformed(&'static str),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Empty => f.write_str("the request has no body"),
            BodyError::Json(error) => write!(f, "the body is not as expected: {error}"),
            BodyError::Malformed(problem) => write!(f, "the body is not as expected: {problem}"),
        }
    }
}

impl std::error::Error for BodyError {}

/// Reads a JSON body in either dialect.
///
/// # Errors
/// No body, or not the JSON expected.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    if body.is_empty() {
        return Err(BodyError::Empty);
    }
    // Nearly every body is standard JSON without nulls. If that fails, what fastjson adds to JSON may
    // be the reason; if it is not, the parser's own words are the better error.
    serde_json::from_slice(body).or_else(|error| {
        let standard = dialect::standardize(body).ok_or(BodyError::Json(error))?;
        serde_json::from_slice(&standard).map_err(BodyError::Json)
    })
}

/// Appends a body as compact JSON.
pub fn encode<T: Serialize>(body: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, body).expect("writing plain data to memory cannot fail");
}

/// A body as compact JSON in its own buffer.
pub fn to_vec<T: Serialize>(body: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(body, &mut out);
    out
}
