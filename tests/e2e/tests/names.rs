//! Finding the broker: through the name server inside, and through standalone ones.

use std::io;

use ringmq_e2e::{Client, Ports, Process, Refused};

/// Asks until the name server's answer is as wanted: registering and unregistering take their time, and no message tells a
/// client of them.
fn route_until(port: u16, topic: &str, wanted: impl Fn(&Result<String, Refused>) -> bool) -> Result<String, Refused> {
    let begun = std::time::Instant::now();
    let mut client = Client::connect(port).unwrap();
    loop {
        let route = client.route(topic).unwrap();
        if wanted(&route) {
            return route;
        }
        assert!(begun.elapsed().as_secs() < 20, "the route of {topic} stays {route:?}");
        std::thread::yield_now();
    }
}

#[test]
fn the_name_server_inside_knows_a_new_topic_before_its_creation_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let _broker = Process::start(dir.path(), ports, &[]);
    let mut broker = Client::connect(ports.broker).unwrap();
    let mut names = Client::connect(ports.name_server).unwrap();
    assert_eq!(names.route("fresh").unwrap().unwrap_err().code, 17);
    broker.create_topic("fresh", 3, "").unwrap().unwrap();
    let route = names.route("fresh").unwrap().unwrap();
    // The address is the one this client reached the name server by.
    assert!(route.contains(&format!("127.0.0.1:{}", ports.broker)), "{route}");
    assert!(route.contains("broker-e2e") && route.contains("\"writeQueueNums\":3"), "{route}");
}

#[test]
fn a_topic_is_created_by_the_first_send_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let _broker = Process::start(dir.path(), ports, &[]);
    let mut broker = Client::connect(ports.broker).unwrap();
    assert_eq!(broker.send("by-sending", 0, b"first").unwrap().unwrap().offset, 0);
    let mut names = Client::connect(ports.name_server).unwrap();
    assert!(names.route("by-sending").unwrap().unwrap().contains("\"writeQueueNums\":4"));
}

#[test]
fn every_standalone_name_server_is_told_and_told_again() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let (first, second) = (Ports::free(), Ports::free());
    let one = Process::start_name_server(&dir.path().join("one"), first);
    let _two = Process::start_name_server(&dir.path().join("two"), second);
    let ports = Ports::free();
    let both = format!("namesrvAddr=127.0.0.1:{};127.0.0.1:{}", first.name_server, second.name_server);
    let broker = Process::start(&dir.path().join("data"), ports, &[&both]);
    let mut client = Client::connect(ports.broker)?;
    client.create_topic("everywhere", 2, "")?.unwrap();
    for names in [first.name_server, second.name_server] {
        let route = route_until(names, "everywhere", Result::is_ok).unwrap();
        assert!(route.contains(&format!("127.0.0.1:{}", ports.broker)), "{route}");
    }
    // A name server that lost everything hears of it again by itself.
    one.kill();
    let _one = Process::start_name_server(&dir.path().join("one"), first);
    route_until(first.name_server, "everywhere", Result::is_ok).unwrap();
    assert_eq!(broker.stop().code, Some(0));
    for names in [first.name_server, second.name_server] {
        route_until(names, "everywhere", Result::is_err).unwrap_err();
    }
    Ok(())
}
