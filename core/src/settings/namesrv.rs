//! The settings of a name server, one row each.
//!
//! Owns the rows and their defaults. Keys and units are those of the Java name server (NamesrvConfig, NettyServerConfig).

use super::{BrokerSettings, Form, Unit, java_keys, settings};

fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

fn is_any(_: &str) -> bool {
    true
}

settings! {
    /// Settings of a name server.
    pub struct NamesrvSettings(host);
    java java_keys::is_namesrv_key;
    check check;

    section network: NamesrvNetworkSettings "Addresses and connections" {
        "listenPort" listen_port: u16 = 9876, Form::Number { min: 1, max: 65535, unit: Unit::Count }, AtStart,
            "TCP port of the name server.";
        "bindAddress" bind_address: String = "*".to_owned(), Form::Text { what: "an IP address, or * for all", fits: |text| text == "*" || text.parse::<std::net::IpAddr>().is_ok() }, AtStart,
            "Local address to listen on; `*` is every address, IPv4 and IPv6.";
        "serverChannelMaxIdleTimeSeconds" server_channel_max_idle_time: u64 = 120, Form::Number { min: 1, max: 86_400, unit: Unit::Seconds }, AtStart,
            "A connection that sent nothing for this long is closed.";
    }

    section routes: RouteSettings "Routes" {
        "kvConfigPath" kv_config_path: String = format!("{}/ringmq/namesrv/kvConfig.json", host.home), Form::Text { what: "a path", fits: is_path }, AtStart,
            "File that keeps the key-value configuration (topic order) over restarts.";
        "scanNotActiveBrokerInterval" scan_not_active_broker_interval: u64 = 5_000, Form::Number { min: 100, max: 600_000, unit: Unit::Millis }, AnyTime,
            "How often brokers that stopped registering are looked for.";
        "orderMessageEnable" order_message_enable: bool = false, Form::Flag, AnyTime,
            "Answer routes with the topic's order configuration.";
        "returnOrderTopicConfigToBroker" return_order_topic_config_to_broker: bool = true, Form::Flag, AnyTime,
            "Answer registrations with the order configuration of all topics.";
        "supportActingMaster" support_acting_master: bool = false, Form::Flag, AnyTime,
            "Show the smallest broker id as 0, read only, in groups that lost their master and allow it.";
        "enableAllTopicList" enable_all_topic_list: bool = true, Form::Flag, AnyTime,
            "Answer the list of all topics.";
        "enableTopicList" enable_topic_list: bool = true, Form::Flag, AnyTime,
            "Answer the lists of topics by cluster, of system topics and of unit topics.";
        "deleteTopicWithBrokerRegistration" delete_topic_with_broker_registration: bool = false, Form::Flag, AnyTime,
            "A topic missing from a broker's full registration loses that broker's queues.";
        "needWaitForService" need_wait_for_service: bool = false, Form::Flag, AtStart,
            "Refuse routes for waitSecondsForService after the start, so that clients keep what they know until all brokers registered.";
        "waitSecondsForService" wait_seconds_for_service: u64 = 45, Form::Number { min: 0, max: 3_600, unit: Unit::Seconds }, AtStart,
            "See needWaitForService.";
        "enableControllerInNamesrv" enable_controller_in_namesrv: bool = false, Form::Only { only: "false", why: "the controller is not served by this version" }, AtStart,
            "Run a controller inside the name server.";
        "configBlackList" config_black_list: String = "configBlackList;configStorePath;kvConfigPath".to_owned(), Form::Text { what: "keys separated by ;", fits: is_any }, AtStart,
            "Keys that cannot be changed while the name server runs, besides those marked `start`.";
    }
}

/// Every combination of these rows is possible.
fn check(_: &NamesrvSettings) -> Result<(), (&'static str, String)> {
    Ok(())
}

impl NamesrvSettings {
    /// The settings of the name server inside a broker's process; its key-value configuration lies in the broker's directory.
    #[must_use]
    pub fn embedded_in(broker: &BrokerSettings, host: &super::Host) -> Self {
        let mut settings = <Self as super::Settings>::defaults(host);
        settings.network.listen_port = broker.network.namesrv_listen_port;
        settings.network.bind_address.clone_from(&broker.network.bind_address);
        settings.network.server_channel_max_idle_time = broker.network.server_channel_max_idle_time;
        settings.routes.kv_config_path = format!("{}/kvConfig.json", broker.store.store_path_root_dir);
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Given, Host, Settings, load};
    use super::*;

    fn host() -> Host {
        Host { name: "ns".to_owned(), home: "/home/mq".to_owned() }
    }

    #[test]
    fn defaults_read_back_as_themselves() {
        let defaults = NamesrvSettings::defaults(&host());
        let mut again = defaults.clone();
        for row in NamesrvSettings::ROWS {
            assert_eq!(again.set(row.key, &defaults.get(row.key).unwrap()), Some(true), "{}", row.key);
        }
        assert_eq!(again, defaults);
    }

    #[test]
    fn java_keys_of_the_name_server_are_known_and_those_of_the_broker_are_not() {
        let given = Given { file: Some(("n.conf", "rocketmqHome=/opt\nbrokerRole=SLAVE\n")), flags: &[] };
        let loaded = load::<NamesrvSettings>(&host(), given).unwrap();
        let notices: Vec<String> = loaded.notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            notices,
            [
                "n.conf:2: unknown setting brokerRole is ignored",
                "1 setting(s) of the Java broker have no meaning here and are ignored: rocketmqHome"
            ]
        );
    }

    #[test]
    fn the_embedded_name_server_follows_its_broker() {
        let mut broker = BrokerSettings::defaults(&host());
        broker.network.namesrv_listen_port = 19876;
        let settings = NamesrvSettings::embedded_in(&broker, &host());
        assert_eq!(settings.network.listen_port, 19876);
        assert_eq!(settings.routes.kv_config_path, "/home/mq/ringmq/store/kvConfig.json");
    }
}
