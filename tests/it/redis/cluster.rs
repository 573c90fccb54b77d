//! Three nodes, each with a part of the keys; parts move from one to another.

use super::server::{Server, cli, cluster};
use super::*;

fn url(nodes: &[Server]) -> String {
    nodes[0].url()
}

#[test]
fn a_cluster_is_found_out_and_all_its_nodes_are_used() {
    let Some(nodes) = cluster() else { return };
    for (first, layout) in [("a", Layout::Buckets), ("b", Layout::Strings)] {
        let table = with_layout(&url(&nodes), layout);
        let mut wanted = rows(5000, 1);
        publish(&table, first, &wanted).unwrap();
        assert!(nodes.iter().all(|node| node.keys().len() > 20), "one node has nearly nothing");
        // Through any node.
        let other = with_layout(&nodes[2].url(), layout);
        assert_eq!(contents(&*reader(&other)), wanted);
        for key in ["0", "17", "4999"] {
            assert_eq!(reader(&table).get(key.as_bytes()).unwrap().unwrap(), wanted[key].as_bytes());
        }
        wanted.insert("17".into(), "{\"score\":1}".into());
        wanted.remove("18");
        let base = store().current(&table).unwrap().unwrap();
        let (_, changed) = publish_over(&table, &format!("{first}2"), &wanted, Base::Changed(base)).unwrap();
        assert_eq!(changed.removed, 1);
        if layout == Layout::Buckets {
            assert_eq!((changed.written, changed.unchanged), (1, 4998), "equal buckets are copied within their node");
        }
        assert_eq!(contents(&*reader(&table)), wanted);
        let base = store().current(&table).unwrap().unwrap();
        publish_over(&table, &format!("{first}3"), &rows(20, 7), Base::Merge(base)).unwrap();
        wanted.extend(rows(20, 7));
        assert_eq!(contents(&*reader(&table)), wanted);
        reader(&table).verify().unwrap();
        store().rollback(&table, None, base + 1, &note()).unwrap();
        store().gc(&table, 1).unwrap();
        assert_eq!(store().flips(&table).unwrap().last().unwrap().generation, base);
    }
}

#[test]
fn a_cluster_has_one_database() {
    let Some(nodes) = cluster() else { return };
    let table = table(&format!("redis://127.0.0.1:{}/2", nodes[0].port));
    refused(store().current(&table), ErrorKind::Usage, "the Redis server has no such database");
}

/// Moves the slot of a key from the node that has it to another.
struct Move<'a> {
    slot: String,
    from: &'a Server,
    to: &'a Server,
    nodes: &'a [Server],
}

impl<'a> Move<'a> {
    fn of(nodes: &'a [Server], key: &str) -> Self {
        let slot = nodes[0].cli(&["CLUSTER", "KEYSLOT", key]);
        let number: usize = slot.parse().unwrap();
        let from = [5461, 10_923, 16_384].iter().position(|end| number < *end).unwrap();
        Self { slot, from: &nodes[from], to: &nodes[(from + 1) % 3], nodes }
    }

    fn begin(&self) {
        let id = |node: &Server| node.cli(&["CLUSTER", "MYID"]);
        self.to.cli(&["CLUSTER", "SETSLOT", &self.slot, "IMPORTING", &id(self.from)]);
        self.from.cli(&["CLUSTER", "SETSLOT", &self.slot, "MIGRATING", &id(self.to)]);
    }

    fn keys(&self) {
        let keys = self.from.cli(&["CLUSTER", "GETKEYSINSLOT", &self.slot, "1000"]);
        for key in keys.lines().filter(|key| !key.is_empty()) {
            let port = self.to.port.to_string();
            assert_eq!(cli(self.from.port, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]), "OK");
        }
    }

    fn end(&self) {
        let id = self.to.cli(&["CLUSTER", "MYID"]);
        for node in [self.to, self.from].into_iter().chain(self.nodes) {
            node.cli(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]);
        }
    }
}

#[test]
fn slots_may_move_under_readers_and_loads() {
    let Some(nodes) = cluster() else { return };
    let table = table(&url(&nodes));
    let wanted = rows(5000, 1);
    publish(&table, "a", &wanted).unwrap();
    let reader = reader(&table);
    let partitions = reader.metadata().partitions;
    let bucket = |key: &str| format!("lakemill:{{fraud:{}}}:1", crc32fast::hash(key.as_bytes()) % partitions);
    let get = |key: &str| reader.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap());
    assert_eq!(get("17").as_ref(), wanted.get("17"));
    let moving = Move::of(&nodes, &bucket("17"));
    moving.begin();
    assert_eq!(get("17").as_ref(), wanted.get("17"), "not moved yet");
    moving.keys();
    assert_eq!(get("17").as_ref(), wanted.get("17"), "moved, and asked for at the other node");
    // A load meets a slot that is on its way: what is new there is written to the other node.
    let newer = rows(5000, 2);
    publish(&table, "b", &newer).unwrap();
    moving.end();
    assert_eq!(get("17").as_ref(), wanted.get("17"), "moved for good");
    assert_eq!(contents(&*super::reader(&table)), newer);
    // The slot of the pointer and the books moves in the middle of a load.
    let moving = Move::of(&nodes, "lakemill:fraud:current");
    let mut between = |put: usize| match put {
        1000 => moving.begin(),
        2000 => moving.keys(),
        3000 => moving.end(),
        _ => {}
    };
    let (sealed, _) = seal_slowly(&table, "c", &rows(5000, 3), Base::Nothing, &mut between).unwrap();
    sealed.flip(Some(2), 2, &note()).unwrap();
    assert_eq!(contents(&*super::reader(&table)), rows(5000, 3));
    super::reader(&table).verify().unwrap();
}

#[test]
fn a_node_that_dies_ends_a_load_without_a_flip() {
    let Some(mut nodes) = cluster() else { return };
    let table = table(&format!("{}?timeout_secs=2", url(&nodes)));
    publish(&table, "a", &rows(1000, 1)).unwrap();
    let holder = Move::of(&nodes, "lakemill:fraud:current").from.port;
    let dies = nodes.iter().position(|node| node.port != holder && node.port != nodes[0].port).unwrap();
    let mut between = |put: usize| {
        if put == 5000 {
            nodes[dies].kill();
        }
    };
    let failed = seal_slowly(&table, "b", &rows(50_000, 2), Base::Nothing, &mut between);
    assert_eq!(failed.map(drop).unwrap_err().kind(), ErrorKind::Transient);
    // The rest of the cluster may not serve until the node is back.
    nodes[dies].restart();
    let patient = super::table(&url(&nodes));
    assert_eq!(store().current(&patient).unwrap(), Some(1));
    publish(&patient, "c", &rows(1000, 3)).unwrap();
    assert_eq!(contents(&*reader(&patient)), rows(1000, 3));
}

#[test]
fn many_threads_share_a_reader() {
    let Some(nodes) = cluster() else { return };
    let table = table(&url(&nodes));
    let wanted = rows(2000, 1);
    publish(&table, "a", &wanted).unwrap();
    let reader = reader(&table);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (reader, wanted) = (&reader, &wanted);
            scope.spawn(move || {
                for key in (thread..2000).step_by(8) {
                    let key = key.to_string();
                    assert_eq!(reader.get(key.as_bytes()).unwrap().unwrap(), wanted[&key].as_bytes());
                }
            });
        }
    });
}

#[test]
fn a_failover_ends_a_load() {
    let Some(mut nodes) = cluster() else { return };
    let Some(replica) = Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]) else { return };
    let table = table(&url(&nodes));
    publish(&table, "a", &rows(1000, 1)).unwrap();
    let fails = nodes.iter().position(|node| node.port != nodes[0].port).unwrap();
    let id = nodes[fails].cli(&["CLUSTER", "MYID"]);
    replica.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]);
    let wait = |what: &str, is_so: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !is_so() {
            assert!(began.elapsed() < std::time::Duration::from_secs(60), "{what}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait("the replica does not know its primary", &|| replica.cli(&["CLUSTER", "REPLICATE", &id]) == "OK");
    wait("the replica does not follow", &|| replica.info("master_link_status") == "up");
    let mut between = |put: usize| {
        if put == 20_000 {
            nodes[fails].kill();
        }
    };
    let failed = seal_slowly(&table, "b", &rows(60_000, 2), Base::Nothing, &mut between);
    let message = "the nodes of the Redis cluster changed during the load";
    refused(failed.map(drop), ErrorKind::Transient, message);
    assert_eq!(contents(&*reader(&table)), rows(1000, 1), "the replica has what was published");
    publish(&table, "c", &rows(1000, 3)).unwrap();
    assert_eq!(contents(&*reader(&table)), rows(1000, 3));
}
