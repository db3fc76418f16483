//! What the broker puts on every message that it stores and on every answer to a send.
//!
//! Owns these properties and fields, spelled out once: they only change with the settings, and spelling them out again for each
//! message took more than its checksum. Never decides whether they are put anywhere.

use ringmq_protocol::encode::Prepared;
use ringmq_protocol::header::FieldSink;
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::text::Text;

use crate::settings::BrokerSettings;

/// The broker's own properties and fields as the settings have them.
#[derive(Clone, Debug)]
pub struct Imprint {
    /// MSG_REGION, TRACE_ON and CLUSTER of a stored message (SendMessageProcessor).
    pub properties: String,
    /// MSG_REGION and TRACE_ON of an answer.
    pub answer: Prepared,
}

impl Imprint {
    /// What goes with these settings.
    pub fn of(settings: &BrokerSettings) -> Self {
        let properties = properties::build(pairs(settings));
        let answer = Prepared::of(|fields| {
            fields.text(names::MSG_REGION, Text::plain(&settings.identity.region_id));
            fields.text(names::TRACE_ON, Text::plain(trace_on(settings)));
        });
        Imprint { properties, answer }
    }
}

/// The properties that every stored message carries.
pub fn pairs(settings: &BrokerSettings) -> [(&'static str, &str); 3] {
    let identity = &settings.identity;
    [
        (names::MSG_REGION, &identity.region_id),
        (names::TRACE_ON, trace_on(settings)),
        (names::CLUSTER, &identity.broker_cluster_name),
    ]
}

/// The value of TRACE_ON.
pub fn trace_on(settings: &BrokerSettings) -> &'static str {
    if settings.topics.trace_on { "true" } else { "false" }
}
