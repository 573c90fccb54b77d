//! Servers and networks that fail in the middle: a load goes on where it can, and otherwise ends without a flip.

use super::proxy::Proxy;
use super::server::{Server, free_port};
use super::*;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The URL with a short patience, so that a test need not wait long for the end of it.
fn impatient(server: &Server) -> LookupTable {
    table(&format!("{}?timeout_secs=1", server.url()))
}

/// Readers still see `wanted`; what failed left nothing behind once garbage was collected, and can be done again.
#[track_caller]
fn mended(server: &Server, table: &LookupTable, wanted: &Rows) {
    assert_eq!(contents(&*reader(table)), *wanted);
    store().gc(table, 1).unwrap();
    let current = store().current(table).unwrap().unwrap();
    let data = |key: &&String| key.starts_with("lakemill:{fraud:") || key.starts_with("lakemill:fraud:generation:");
    let keys = server.keys();
    let foreign: Vec<&String> = keys.iter().filter(data).filter(|key| !key.ends_with(&format!(":{current}"))).collect();
    assert!(foreign.is_empty(), "left behind: {} such as {:?}", foreign.len(), foreign.first());
    let again = rows(wanted.len() + 1, 77);
    publish(table, "again", &again).unwrap();
    assert_eq!(contents(&*reader(table)), again);
}

#[test]
fn lost_connections_are_made_anew_and_nothing_is_lost_or_doubled() {
    let Some(server) = Server::start(&[]) else { return };
    for layout in [Layout::Buckets, Layout::Strings] {
        let proxy = Proxy::before(server.port, 40_000, 60);
        let table = with_layout(&format!("redis://127.0.0.1:{}/0", proxy.port), layout);
        let wanted = rows(20_000, 1);
        publish(&table, "a", &wanted).unwrap();
        let base = store().current(&table).unwrap().unwrap();
        let changed = rows(20_100, 1);
        publish_over(&table, "b", &changed, Base::Changed(base)).unwrap();
        assert_eq!(contents(&*reader(&table)), changed);
        let cuts = 60 - proxy.cuts.load(Ordering::SeqCst);
        assert!(cuts > 20, "only {cuts} connections were cut");
        assert_eq!(store().flips(&table).unwrap().len(), 2, "a flip is logged once");
        server.cli(&["FLUSHALL"]);
    }
}

#[test]
fn nobody_there_is_transient_and_soon_told() {
    let Some(_) = Server::start(&[]) else { return };
    let nobody = table(&format!("redis://127.0.0.1:{}", free_port()));
    let began = Instant::now();
    refused(store().current(&nobody), ErrorKind::Transient, "the Redis server does not answer");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_server_that_dies_during_a_load_ends_it() {
    let Some(mut server) = Server::start(&[]) else { return };
    let table = impatient(&server);
    publish(&table, "a", &rows(100, 1)).unwrap();
    let mut between = |put: usize| {
        if put == 20_000 {
            server.kill();
        }
    };
    let failed = seal_slowly(&table, "b", &rows(50_000, 2), Base::Nothing, &mut between);
    refused(failed.map(drop), ErrorKind::Transient, "the Redis server does not answer any more");
    server.restart();
    assert_eq!(store().current(&table).unwrap(), None, "it keeps nothing over a restart");
    publish(&table, "c", &rows(100, 3)).unwrap();
    assert_eq!(contents(&*reader(&table)), rows(100, 3));
}

#[test]
fn a_server_that_restarts_during_a_load_ends_it_even_where_it_keeps_its_data() {
    for settings in [&["--appendonly", "no"], &["--appendonly", "yes"]] {
        let Some(mut server) = Server::start(settings) else { return };
        let table = table(&server.url());
        publish(&table, "a", &rows(100, 1)).unwrap();
        let mut between = |put: usize| {
            if put == 20_000 {
                server.restart();
            }
        };
        let failed = seal_slowly(&table, "b", &rows(50_000, 2), Base::Nothing, &mut between);
        refused(failed.map(drop), ErrorKind::Transient, "the Redis server was restarted during the load");
        if settings[1] == "yes" {
            mended(&server, &table, &rows(100, 1));
        } else {
            publish(&table, "c", &rows(100, 3)).unwrap();
            assert_eq!(contents(&*reader(&table)), rows(100, 3));
        }
    }
}

#[test]
fn a_restart_between_seal_and_flip_leaves_readers_where_they_are() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let table = table(&server.url());
    publish(&table, "a", &rows(100, 1)).unwrap();
    let (sealed, _) = seal(&table, "b", &rows(100, 2), Base::Nothing).unwrap();
    server.restart();
    let flipped = sealed.flip(Some(1), 2, &note());
    refused(flipped, ErrorKind::Transient, "the Redis server was restarted during the load");
    mended(&server, &table, &rows(100, 1));
}

#[test]
fn a_full_server_is_waited_for_and_then_refused_before_the_flip() {
    let Some(server) = Server::start(&[]) else { return };
    let table = impatient(&server);
    publish(&table, "a", &rows(100, 1)).unwrap();
    let used: u64 = server.info("used_memory").parse().unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", &(used + 3_000_000).to_string()]);
    let failed = publish(&table, "b", &rows(200_000, 2));
    refused(failed, ErrorKind::Budget, "the Redis server has no memory left for this lookup table");
    assert_eq!(contents(&*reader(&table)), rows(100, 1));
    // With room again, the same load goes on.
    let patient = super::table(&server.url());
    let port = server.port;
    let relief = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        super::server::cli(port, &["CONFIG", "SET", "maxmemory", "0"]);
    });
    publish(&patient, "c", &rows(200_000, 3)).unwrap();
    relief.join().unwrap();
    mended(&server, &table, &rows(200_000, 3));
}

#[test]
fn a_server_that_would_evict_is_refused_before_the_flip() {
    let Some(server) = Server::start(&["--maxmemory-policy", "allkeys-lru"]) else { return };
    let table = impatient(&server);
    publish(&table, "a", &rows(100, 1)).unwrap();
    let used: u64 = server.info("used_memory").parse().unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", &(used + 10_000_000).to_string()]);
    let failed = publish(&table, "b", &rows(300_000, 2));
    refused(failed, ErrorKind::Budget, "the Redis server would evict keys to make room for this lookup table");
    assert_eq!(server.info("evicted_keys"), "0");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    mended(&server, &table, &rows(100, 1));
}

#[test]
fn a_server_that_has_evicted_is_refused_before_the_flip() {
    let Some(server) = Server::start(&["--maxmemory-policy", "allkeys-random"]) else { return };
    let table = table(&server.url());
    server.cli(&["SET", "of another application", &"x".repeat(100)]);
    let (sealed, _) = seal(&table, "b", &rows(10_000, 2), Base::Nothing).unwrap();
    let used: u64 = server.info("used_memory").parse().unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", &(used - 50_000).to_string()]);
    server.cli(&["SET", "one more", "x"]);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_ne!(server.info("evicted_keys"), "0");
    let flipped = sealed.flip(None, 2, &note());
    refused(flipped, ErrorKind::Budget, "the Redis server has evicted keys during the load");
    assert_eq!(store().current(&table).unwrap(), None);
}

#[test]
fn a_replica_is_waited_for_and_then_refused() {
    let Some(server) = Server::start(&[]) else { return };
    let nobody = free_port().to_string();
    let table = impatient(&server);
    publish(&table, "a", &rows(100, 1)).unwrap();
    let mut between = |put: usize| {
        if put == 20_000 {
            server.cli(&["REPLICAOF", "127.0.0.1", &nobody]);
        }
    };
    let failed = seal_slowly(&table, "b", &rows(50_000, 2), Base::Nothing, &mut between);
    refused(failed.map(drop), ErrorKind::Transient, "the Redis server is a replica: nothing can be written there");
    // A failover that ends in time is not even noticed.
    let patient = super::table(&server.url());
    let port = server.port;
    let failover = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        super::server::cli(port, &["REPLICAOF", "NO", "ONE"]);
    });
    publish(&patient, "c", &rows(100, 3)).unwrap();
    failover.join().unwrap();
    mended(&server, &table, &rows(100, 3));
}

#[test]
fn of_several_loads_at_once_one_wins_and_the_others_leave_nothing() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&server.url());
    for round in 0..3 {
        let expected = store().current(&table).unwrap();
        let barrier = std::sync::Barrier::new(6);
        let load = |version: u32| {
            let attempt = format!("{round}-{version}");
            let (sealed, _) = seal(&table, &attempt, &rows(2000, version), Base::Nothing).unwrap();
            barrier.wait();
            sealed.flip(expected, 2, &note()).map(|flip| flip.generation)
        };
        let ended: Vec<Result<u64>> = std::thread::scope(|scope| {
            let loads: Vec<_> = (0..6).map(|version| scope.spawn(move || load(version))).collect();
            loads.into_iter().map(|load| load.join().unwrap()).collect()
        });
        let won: Vec<usize> = (0..6).filter(|&version| ended[version].is_ok()).collect();
        assert_eq!(won.len(), 1, "{ended:?}");
        let conflict = |error: &Error| error.kind() == ErrorKind::Conflict;
        assert_eq!(ended.iter().filter(|end| end.as_ref().err().is_some_and(conflict)).count(), 5, "{ended:?}");
        assert_eq!(contents(&*reader(&table)), rows(2000, won[0] as u32));
    }
    mended(&server, &table, &contents(&*reader(&table)));
}

#[test]
fn what_lives_is_not_collected_and_what_is_dead_is() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&format!("{}?lease_secs=1", server.url()));
    publish(&table, "a", &rows(100, 1)).unwrap();
    let (sealed, _) = seal(&table, "b", &rows(3000, 2), Base::Nothing).unwrap();
    // Longer than the lease: signs of life are given all the time.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(store().gc(&table, 1).unwrap().attempts, 0);
    refused(
        seal(&table, "b", &rows(10, 2), Base::Nothing).map(drop),
        ErrorKind::Conflict,
        "this attempt is already loading",
    );
    sealed.flip(Some(1), 2, &note()).unwrap();
    // An attempt of another machine, whose process nobody here can look for, has written this and then died.
    let books = "lakemill:{lakemill:fraud:current}";
    let entry = r#"{"attempt":"x","partitions":4,"layout":"strings","process":"elsewhere/pid:[1]/1/1"}"#;
    server.cli(&["HSET", &format!("{books}:attempts"), "90", entry]);
    server.cli(&["SET", &format!("{books}:alive:x"), "1", "PX", "5000"]);
    server.cli(&["SET", "lakemill:fraud:90:42", "{}"]);
    server.cli(&["EVAL", "return redis.call('SET', KEYS[1], '\\2\\0\\0\\00042')", "1", "lakemill:{fraud:3}:90"]);
    assert_eq!(store().gc(&table, 1).unwrap().attempts, 0, "it may still live");
    assert!(server.keys().contains(&"lakemill:fraud:90:42".to_owned()));
    std::thread::sleep(Duration::from_millis(5000));
    assert_eq!(store().gc(&table, 1).unwrap().attempts, 1);
    assert!(!server.keys().iter().any(|key| key.contains(":90")), "{:?}", server.keys());
    assert_eq!(contents(&*reader(&table)), rows(3000, 2));
}

#[test]
fn what_is_no_redis_server_is_told() {
    let Some(_) = Server::start(&[]) else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut client, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let web = table(&format!("redis://127.0.0.1:{port}"));
    refused(store().current(&web), ErrorKind::Failed, "what answers is no Redis server");
}

/// A server that says the same to everything.
fn says(line: &'static str) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while std::io::Read::read(&mut client, &mut buffer).is_ok_and(|read| read > 0) {
                    if std::io::Write::write_all(&mut client, format!("-{line}\r\n").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn every_refusal_has_its_exit_code() {
    use ErrorKind::{Budget, Failed, Transient};
    let cases = [
        ("LOADING Redis is loading the dataset in memory", Transient, "the Redis server is still loading its data"),
        ("CLUSTERDOWN The cluster is down", Transient, "the Redis cluster does not serve all of its slots"),
        ("MASTERDOWN Link with MASTER is down", Transient, "the Redis cluster does not serve all of its slots"),
        ("TRYAGAIN Multiple keys request", Transient, "the Redis cluster does not serve all of its slots"),
        ("MOVED 1 127.0.0.1:1", Transient, "the Redis cluster is moving its slots"),
        ("BUSY Redis is busy running a script", Transient, "the Redis server is busy with a script"),
        ("NOREPLICAS Not enough", Transient, "the Redis server wants more replicas before it takes writes"),
        ("ERR max number of clients reached", Transient, "the Redis server takes no more connections"),
        ("OOM command not allowed", Budget, "the Redis server has no memory left for this lookup table"),
        ("MISCONF Redis is configured", Failed, "the Redis server takes no writes, for it cannot save its data"),
        ("WRONGTYPE Operation", Failed, "a key of this lookup table holds something else"),
        ("NOAUTH Authentication required.", Failed, "the Redis server refuses the user or password"),
        ("NOPERM this user", Failed, "the Redis user lacks a right"),
        ("ERR unknown command", Failed, "the Redis server refuses a command"),
    ];
    std::thread::scope(|scope| {
        for (line, kind, message) in cases {
            scope.spawn(move || {
                let table = table(&format!("redis://:hunter2@127.0.0.1:{}?timeout_secs=1", says(line)));
                let error = match (line.split(' ').next(), kind) {
                    // What is said while a connection introduces itself is about the password.
                    (Some("ERR"), Failed) => {
                        let what = "the Redis server refuses the user or password";
                        refused(store().current(&table), kind, what);
                        let open = super::table(&format!("redis://127.0.0.1:{}?timeout_secs=1", says(line)));
                        refused(store().current(&open), kind, message)
                    }
                    _ => refused(store().current(&table), kind, message),
                };
                assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            });
        }
    });
}
