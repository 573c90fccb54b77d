//! Servers whose primary sentinels name: found, followed when another becomes it, and errors told.

use super::server::{Server, free_port};
use super::*;
use crate::command::lakemill;
use std::process::Command;
use std::time::{Duration, Instant};

/// A primary, its replica, and three sentinels that watch them.
struct Watched {
    primary: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(90), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a server says it is; nothing where it has just ended the connection, as sentinels have it do in a failover.
fn role(server: &Server) -> String {
    let output = Command::new("redis-cli").args(["-p", &server.port.to_string(), "ROLE"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap_or_default().to_owned()
}

impl Watched {
    fn start() -> Option<Self> {
        let primary = Server::start(&[])?;
        let of = primary.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &of])?;
        wait("the replica does not follow", || replica.info("master_link_status") == "up");
        let sentinels = (0..3).map(|_| Server::sentinel(primary.port, 2, &[])).collect::<Option<Vec<Server>>>()?;
        let is_complete = |sentinel: &Server| {
            let told = sentinel.cli(&["SENTINEL", "MASTER", "mymaster"]);
            let lines: Vec<&str> = told.lines().collect();
            let number = |name: &str| lines.iter().position(|line| *line == name).map(|at| lines[at + 1].to_owned());
            number("num-other-sentinels").as_deref() == Some("2") && number("num-slaves").as_deref() == Some("1")
        };
        wait("the sentinels do not find each other", || sentinels.iter().all(is_complete));
        Some(Self { primary, replica, sentinels })
    }

    fn table(&self) -> LookupTable {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        super::table(&format!("redis+sentinel://{}/mymaster/0?timeout_secs=60", hosts.join(",")))
    }
}

#[test]
fn another_server_becomes_the_primary_between_loads() {
    let Some(mut watched) = Watched::start() else { return };
    // One sentinel less is one that is not asked, though it stands first.
    watched.sentinels[0].kill();
    let table = watched.table();
    let wanted = rows(2000, 1);
    publish(&table, "a", &wanted).unwrap();
    let before = reader(&table);
    assert_eq!(contents(&*before), wanted);
    assert!(store().examine(&table).unwrap().iter().any(|(_, fact)| fact.contains(&watched.primary.port.to_string())));
    assert_eq!(watched.primary.cli(&["WAIT", "1", "10000"]), "1");

    watched.primary.kill();
    // Nobody waits for the failover but the load itself.
    let newer = rows(2500, 2);
    publish(&table, "b", &newer).unwrap();
    assert_eq!(contents(&*reader(&table)), newer);
    assert_eq!(role(&watched.replica), "master");
    assert_eq!(contents(&*before), wanted, "who reads goes on reading");
    let facts = store().examine(&table).unwrap();
    let kind = format!("127.0.0.1:{}, the primary of `mymaster`", watched.replica.port);
    assert!(facts.contains(&("kind", kind)), "{facts:?}");
    assert_eq!(store().flips(&table).unwrap().len(), 2);
}

#[test]
fn another_server_becomes_the_primary_during_a_load() {
    let Some(watched) = Watched::start() else { return };
    let table = watched.table();
    publish(&table, "a", &rows(1000, 1)).unwrap();
    assert_eq!(watched.primary.cli(&["WAIT", "1", "10000"]), "1");
    let mut between = |put: usize| {
        if put == 20_000 {
            assert_eq!(watched.sentinels[0].cli(&["SENTINEL", "FAILOVER", "mymaster"]), "OK");
            wait("no failover", || role(&watched.replica) == "master");
            wait("the old primary stays", || role(&watched.primary) == "slave");
        }
    };
    let failed = seal_slowly(&table, "b", &rows(60_000, 2), Base::Nothing, &mut between);
    let message = "another Redis server became the primary during the load";
    refused(failed.map(drop), ErrorKind::Transient, message);
    assert_eq!(contents(&*reader(&table)), rows(1000, 1), "the replica has what was published");
    publish(&table, "c", &rows(1000, 3)).unwrap();
    assert_eq!(contents(&*reader(&table)), rows(1000, 3));
    store().gc(&table, 1).unwrap();
    assert!(watched.replica.keys().iter().filter(|key| key.contains("{fraud:")).all(|key| key.ends_with(":3")));
}

#[test]
fn what_sentinels_do_not_know_is_told() {
    let Some(primary) = Server::start(&["--requirepass", "hunter2"]) else { return };
    let watches = |lines: &[&str]| Server::sentinel(primary.port, 1, lines).unwrap();
    let open = watches(&["sentinel auth-pass mymaster hunter2"]);
    let closed = watches(&["sentinel auth-pass mymaster hunter2", "requirepass hunter3"]);
    let url = |host: String, master: &str| format!("redis+sentinel://:hunter2@{host}/{master}?timeout_secs=1");
    let of = |server: &Server| format!("127.0.0.1:{}", server.port);
    let at = |host: String, master: &str| table(&url(host, master));
    assert_eq!(store().current(&at(of(&open), "mymaster")).unwrap(), None);
    let nobody = format!("127.0.0.1:{}", free_port());
    // One that answers is enough.
    assert_eq!(store().current(&at(format!("{nobody},{}", of(&open)), "mymaster")).unwrap(), None);

    let unknown = "the Redis sentinel knows no such primary";
    refused(store().current(&at(of(&open), "other")), ErrorKind::Usage, unknown);
    let message = "what answers is no Redis sentinel";
    let server = Server::start(&[]).unwrap();
    refused(store().current(&at(of(&server), "mymaster")), ErrorKind::Failed, message);
    refused(store().current(&at(nobody, "mymaster")), ErrorKind::Transient, "the Redis server does not answer");
    let message = "the Redis sentinel refuses the user or password";
    let error = refused(store().current(&at(of(&closed), "mymaster")), ErrorKind::Failed, message);
    assert!(error.hint_text().unwrap().contains("LAKEMILL_REDIS_SENTINEL_PASSWORD"), "{error:?}");
    let wrong = table(&format!("redis+sentinel://:hunter4@{}/mymaster?timeout_secs=1", of(&open)));
    let message = "the Redis server refuses the user or password";
    let error = refused(store().current(&wrong), ErrorKind::Failed, message);
    assert!(!format!("{error:?}").contains("hunter"), "{error:?}");

    publish(&at(of(&open), "mymaster"), "a", &rows(10, 1)).unwrap();
    let stats = |password: &str| {
        let mut command = lakemill(&["lookup", "verify", "fraud", "--store", &url(of(&closed), "mymaster")]);
        let output = command.env("LAKEMILL_REDIS_SENTINEL_PASSWORD", password).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains("hunter"), "{said}");
        (output.status.code(), said)
    };
    assert_eq!(stats("hunter3").0, Some(0), "{}", stats("hunter3").1);
    let (code, said) = stats("hunter5");
    assert!(code == Some(1) && said.contains("sentinel refuses the user or password"), "{said}");
}
