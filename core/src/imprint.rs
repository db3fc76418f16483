//! What the broker puts on every message that it stores and on every answer to a send.
//!
//! Owns these properties and fields, spelled out once: they only change with the settings, and spelling them out again for each
//! message took more than its checksum. Never decides whether they are put anywhere.

use ringmq_protocol::encode::Prepared;
use ringmq_protocol::header::FieldSink;
use ringmq_protocol::properties::names;
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
        let identity = &settings.identity;
        let trace_on = trace_on(settings);
        let pairs = [
            (names::MSG_REGION, identity.region_id.as_str()),
            (names::TRACE_ON, trace_on),
            (names::CLUSTER, identity.broker_cluster_name.as_str()),
        ];
        let properties = pairs.iter().map(|(key, value)| format!("{key}\u{1}{value}\u{2}")).collect();
        let answer = Prepared::of(|fields| {
            fields.text(names::MSG_REGION, Text::plain(&identity.region_id));
            fields.text(names::TRACE_ON, Text::plain(trace_on));
        });
        Imprint { properties, answer }
    }
}

/// The value of TRACE_ON.
pub fn trace_on(settings: &BrokerSettings) -> &'static str {
    if settings.topics.trace_on { "true" } else { "false" }
}
