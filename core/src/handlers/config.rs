//! The broker's settings as administrators see and change them: GET_BROKER_CONFIG (26), UPDATE_BROKER_CONFIG (25).
//!
//! Owns the way from a text to changes that every shard takes over. Which setting may change, and to what, is the settings
//! table's.

use ringmq_protocol::bodies;
use ringmq_protocol::encode::Encoder;
use ringmq_protocol::header::FieldSink;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use super::control::{commit, control, finish, later};
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::settings::first_listed;
use crate::shard::Shard;
use crate::topic::Change;

/// GET_BROKER_CONFIG: every effective setting as `key=value`.
pub fn get(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let control = control(shard)?;
    let version = bodies::to_vec(&control.topic_version);
    let version = std::str::from_utf8(&version).expect("JSON is UTF-8");
    let fields = |fields: &mut Encoder<'_>| fields.text("version", Text::plain(version));
    let lines = control.loaded.lines();
    let body = |bytes: &mut Vec<u8>| bytes.extend_from_slice(lines.as_bytes());
    Ok(out.reply(&ask.to(), ResponseCode::Success, None, fields, body))
}

/// UPDATE_BROKER_CONFIG: all of the text or nothing.
pub fn update(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let text = std::str::from_utf8(ask.command.body)
        .map_err(|_| Refusal::new(ResponseCode::SystemError, "the configuration is not UTF-8"))?;
    if let Some(key) = first_listed(text, &shard.metadata.settings.refusals.config_black_list) {
        return Err(Refusal::new(ResponseCode::NoPermission, format!("{key} cannot be changed (configBlackList)")));
    }
    let control = control(shard)?;
    let before = control.loaded.clone();
    let changed = control
        .loaded
        .change(text)
        .map_err(|refused| Refusal::new(ResponseCode::InvalidParameter, refused.to_string()))?;
    let mut ticket = None;
    for (key, value) in changed.values {
        let replaced = before.configured(key).unwrap_or_default();
        let change = Change::Setting { key: key.into(), value: value.into(), replaced: replaced.into() };
        match commit(shard, ask.now, change, out) {
            Ok(due) => ticket = later(ticket, Some(due)),
            Err(refusal) => {
                super::control::control(shard)?.loaded = before;
                return Err(refusal);
            }
        }
    }
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}
