//! The typed headers, one file per family of requests.
//!
//! Owns nothing but the field tables: names and types exactly as in protocol.md section 2. A request
//! header is `...Header`, the header of its answer `...Reply`; a request or answer that is not here has
//! no fields. No rules about values live here.

pub mod admin;
pub mod auth;
pub mod client;
pub mod group;
pub mod namesrv;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod send;
pub mod topic;
pub mod transaction;

use crate::header;
use crate::text::Text;

header! {
    /// The fields that any request may carry (RocketMQ: `RpcRequestHeader`). A broker without static
    /// topics ignores them; authentication signs over them like over all others.
    pub struct CommonHeader<'a> {
        namespace: Option<Text<'a>> => "ns" optional,
        namespaced: Option<bool> => "nsd" optional,
        broker_name: Option<Text<'a>> => "bname" optional,
        oneway: Option<bool> => "oway" optional,
        /// Of a logical queue: static topics.
        logical: Option<bool> => "lo" optional,
    }
}
