//! Answers to GET_ROUTEINFO_BY_TOPIC: the question every client asks for every topic every 30 seconds.
//!
//! Owns what a route consists of and the answers' bytes, kept per topic until the topic or an address changes. An answer is
//! kept in pieces: between them goes the address by which the asking client reached us, for the broker in this process.

use std::net::SocketAddr;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::route::TopicRouteData;
use ringmq_protocol::perm;

use crate::map::Map;

use super::table::{BrokerAddress, Group, MASTER, RouteTable, broker_data};

/// Stands in a kept answer where the address goes. JSON spells the character so, and no address contains it.
const HOLE: &str = "\u{1}";
const HOLE_JSON: &str = "\\u0001";

/// Bytes of kept answers; when they are reached all are forgotten, and the next answers are built again, each in about three
/// microseconds. An answer has about 300 bytes per broker: this is enough for the 30,000 topics asked for most often.
pub const KEPT_BYTES_MAX: usize = 16 << 20;

/// A zone that a client restricts its routes to (`__ZONE_MODE`, `__ZONE_NAME`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub String);

/// The bytes of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    /// Of the table's epoch and the topic's version these bytes are.
    epoch: u64,
    version: u64,
    pieces: Box<[Piece]>,
}

impl Kept {
    /// Bytes in memory, with what allocations and the map add.
    fn weight(&self, topic: &str) -> usize {
        const EACH: usize = 16;
        let pieces = self.pieces.iter().map(|piece| piece.bytes.len() + size_of::<Piece>() + EACH);
        pieces.sum::<usize>() + topic.len() + 2 * size_of::<Kept>() + 3 * EACH
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    bytes: Box<[u8]>,
    /// After the bytes: our address as the client reached it, with this port.
    then_port: Option<u16>,
}

/// Answers that can be given again.
#[derive(Debug, Default)]
pub struct RouteAnswers {
    kept: Map<Box<str>, Kept>,
    /// What they take, about.
    bytes: usize,
}

/// What the settings say about routes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteRules<'a> {
    /// The topic's order configuration, if routes are to carry it.
    pub order: Option<&'a str>,
    /// Whether slaves may be shown as masters.
    pub acting_master: bool,
}

impl RouteAnswers {
    /// Appends the body of a topic's route for a client that came in by `local`; `None` for an unknown topic. `rules` is asked
    /// only when the answer is not kept; a change of what it says must `touch` the table.
    pub fn write<'a>(
        &mut self,
        table: &RouteTable,
        topic: &str,
        local: SocketAddr,
        rules: impl FnOnce() -> RouteRules<'a>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let Some(queues) = table.topic(topic) else {
            self.forget(topic);
            return None;
        };
        let is_fresh = |kept: &&Kept| kept.epoch == table.epoch() && kept.version == queues.version;
        if let Some(kept) = self.kept.get(topic).filter(is_fresh) {
            join(&kept.pieces, local, out);
            return Some(());
        }
        let route = build(table, topic, None, &rules(), |address| match address {
            BrokerAddress::Fixed(text) => text.to_string(),
            BrokerAddress::AsReached { port } => format!("{HOLE}{port}{HOLE}"),
        })?;
        let pieces = cut(&bodies::to_vec(&route));
        join(&pieces, local, out);
        self.forget(topic);
        let kept = Kept { epoch: table.epoch(), version: queues.version, pieces };
        self.bytes += kept.weight(topic);
        if self.bytes > KEPT_BYTES_MAX {
            *self = RouteAnswers { kept: Map::default(), bytes: kept.weight(topic) };
        }
        self.kept.insert(topic.into(), kept);
        Some(())
    }

    fn forget(&mut self, topic: &str) {
        if let Some(kept) = self.kept.remove(topic) {
            self.bytes -= kept.weight(topic);
        }
    }
}

/// A topic's route, restricted to a zone if there is one.
pub fn build(
    table: &RouteTable,
    topic: &str,
    zone: Option<&Zone>,
    rules: &RouteRules<'_>,
    text: impl Fn(&BrokerAddress) -> String,
) -> Option<TopicRouteData> {
    let queues = table.topic(topic)?;
    let mut route = TopicRouteData { order_topic_conf: rules.order.map(str::to_owned), ..TopicRouteData::default() };
    for mut data in table.queue_datas(queues) {
        let name = data.broker_name.clone();
        let group = table.group(&name);
        if group.is_some_and(|group| zone.is_some_and(|zone| is_outside(group, zone))) {
            continue;
        }
        let mut broker = group.map(|group| broker_data(&name, group, &text));
        if rules.acting_master
            && group.is_some_and(Group::lacks_master)
            && let Some(broker) = &mut broker
            && let Some((_, address)) = broker.broker_addrs.pop_first()
        {
            broker.broker_addrs.insert(MASTER, address);
            data.perm &= !perm::WRITE;
        }
        route.queue_datas.push(data);
        route.broker_datas.extend(broker);
    }
    Some(route)
}

/// Brokers of another zone are left out; groups without a master are shown to all (ZoneRouteRPCHook).
fn is_outside(group: &Group, zone: &Zone) -> bool {
    let zone_of_group = group.zone.as_deref().unwrap_or_default();
    group.addresses.contains_key(&MASTER) && !zone_of_group.eq_ignore_ascii_case(&zone.0)
}

/// Cuts a body at its holes: every second part is the port that goes into one.
fn cut(body: &[u8]) -> Box<[Piece]> {
    let text = std::str::from_utf8(body).expect("JSON was just written from strings");
    let mut pieces = Vec::new();
    let mut parts = text.split(HOLE_JSON);
    while let Some(part) = parts.next() {
        let then_port = parts.next().and_then(|port| port.parse().ok());
        pieces.push(Piece { bytes: part.as_bytes().into(), then_port });
    }
    pieces.into()
}

fn join(pieces: &[Piece], local: SocketAddr, out: &mut Vec<u8>) {
    use std::io::Write;
    for Piece { bytes, then_port } in pieces {
        out.extend_from_slice(bytes);
        if let Some(port) = then_port {
            let address = SocketAddr::new(local.ip().to_canonical(), *port);
            write!(out, "{address}").expect("writing to memory cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Registering;
    use super::*;
    use crate::event::Now;
    use ringmq_protocol::bodies::topic::{DataVersion, TopicConfig};

    const NOW: Now = Now { wall_ms: 0, mono_us: 0 };

    fn registering(name: &str, address: BrokerAddress) -> Registering {
        let topic = |name: &str| TopicConfig { topic_name: name.to_owned(), ..TopicConfig::default() };
        Registering {
            cluster: "C".into(),
            name: name.into(),
            id: 0,
            address,
            ha_address: "".into(),
            zone: None,
            expires_ms: None,
            acting_master: None,
            version: DataVersion::default(),
            conn: None,
            complete: false,
            topics: vec![topic("t"), topic("u")],
        }
    }

    fn ask(answers: &mut RouteAnswers, table: &RouteTable, local: &str) -> Option<String> {
        let mut out = Vec::new();
        answers.write(table, "t", local.parse().unwrap(), RouteRules::default, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_client_is_told_the_address_it_came_by() {
        let mut table = RouteTable::default();
        table.register(NOW, registering("b", BrokerAddress::AsReached { port: 10911 })).unwrap();
        let mut answers = RouteAnswers::default();
        for _ in 0..2 {
            let inside = ask(&mut answers, &table, "[::ffff:172.17.0.2]:9876").unwrap();
            assert!(inside.contains(r#"{"brokerAddrs":{"0":"172.17.0.2:10911"},"brokerName":"b","cluster":"C""#));
            let outside = ask(&mut answers, &table, "[fd00::1]:9876").unwrap();
            assert!(outside.contains(r#""0":"[fd00::1]:10911""#), "{outside}");
        }
    }

    #[test]
    fn a_kept_answer_is_dropped_when_anything_changes() {
        let mut table = RouteTable::default();
        let mut answers = RouteAnswers::default();
        assert_eq!(ask(&mut answers, &table, "1.1.1.1:1"), None);
        table.register(NOW, registering("a", BrokerAddress::Fixed("10.0.0.1:1".into()))).unwrap();
        let one = ask(&mut answers, &table, "1.1.1.1:1").unwrap();
        table.register(NOW, registering("b", BrokerAddress::Fixed("10.0.0.2:1".into()))).unwrap();
        let two = ask(&mut answers, &table, "1.1.1.1:1").unwrap();
        assert!(one.contains("10.0.0.1:1") && !one.contains("10.0.0.2:1") && two.contains("10.0.0.2:1"));
        table.set_perm("a", |_| 4);
        assert!(ask(&mut answers, &table, "1.1.1.1:1").unwrap().contains(r#""brokerName":"a","perm":4"#));
        table.remove_topic("t", None);
        assert_eq!(ask(&mut answers, &table, "1.1.1.1:1"), None);
    }

    #[test]
    fn a_slave_stands_in_read_only() {
        let mut table = RouteTable::default();
        let mut master = registering("b", BrokerAddress::Fixed("10.0.0.1:1".into()));
        master.acting_master = Some(true);
        table.register(NOW, master.clone()).unwrap();
        let slave = Registering { id: 2, address: BrokerAddress::Fixed("10.0.0.2:1".into()), ..master.clone() };
        table.register(NOW, slave).unwrap();
        table.unregister("C", "b", &master.address);
        let rules = RouteRules { order: None, acting_master: true };
        let route = build(&table, "t", None, &rules, |address| address.text("1.1.1.1:1".parse().unwrap())).unwrap();
        assert_eq!(route.broker_datas[0].broker_addrs.get(&0).map(String::as_str), Some("10.0.0.2:1"));
        assert_eq!(route.queue_datas[0].perm, 4);
    }

    #[test]
    fn zones_hide_other_brokers() {
        let mut table = RouteTable::default();
        for (name, zone) in [("a", Some("East".into())), ("b", None)] {
            let address = BrokerAddress::Fixed(format!("{name}:1").into());
            table.register(NOW, Registering { zone, ..registering(name, address) }).unwrap();
        }
        let zone = Zone("east".to_owned());
        let local = "1.1.1.1:1".parse().unwrap();
        let route = build(&table, "t", Some(&zone), &RouteRules::default(), |address| address.text(local)).unwrap();
        assert_eq!(route.queue_datas.len(), 1);
        assert_eq!(route.broker_datas[0].broker_name, "a");
    }
}
