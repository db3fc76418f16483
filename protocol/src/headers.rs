//! The typed headers, one file per family of requests.
//!
//! Owns nothing but the field tables: names and types exactly as in protocol.md section 2. A request
//! header is `...Header`, the header of its answer `...Reply`. No rules about values live here.

pub mod pull;
pub mod send;
