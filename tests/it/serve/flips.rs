//! Generations come and go under readers who never stop asking.

use super::server::{Server, config, publish, store, table};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::tempdir;

/// Flips, 50 ms apart.
const FLIPS: u64 = 60;

#[test]
fn every_answer_belongs_to_one_generation_while_they_flip() {
    let home = tempdir().unwrap();
    let keys: Vec<String> = (0..200).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // Generation g holds the mark g, and half of the time also keys of its own.
    let generation =
        |mark: u64| publish(home.path(), "fraud", if mark.is_multiple_of(2) { &keys } else { &keys[..100] }, 0.5, mark);
    assert_eq!(generation(1).generation, 1);
    let file = config(home.path(), "");
    let server = Server::start(home.path(), &["--config", &file]);
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let body = serde_json::json!({ "keys": keys }).to_string();
    let seen: Vec<BTreeMap<u64, u64>> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let (server, done, asked, keys, body) = (&server, &done, &asked, &keys, &body);
                scope.spawn(move || {
                    let mut connection = server.connect();
                    let mut seen = BTreeMap::new();
                    let mut last = 0;
                    for turn in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let generation = if reader % 2 == 0 {
                            let key = keys[turn % keys.len()];
                            let answer = connection.get(&format!("/v1/fraud/{key}"));
                            let generation: u64 = answer.header("lakemill-generation").unwrap().parse().unwrap();
                            let is_there = generation.is_multiple_of(2) || turn % keys.len() < 100;
                            let answer = answer.expect(if is_there { 200 } else { 404 });
                            if is_there {
                                assert_eq!(answer.json()["mark"], generation, "{answer:?}");
                            }
                            generation
                        } else {
                            let answer = connection.post("/v1/fraud:mget", body).expect(200);
                            let json = answer.json();
                            let generation = json["generation"].as_u64().unwrap();
                            assert_eq!(answer.header("lakemill-generation"), Some(generation.to_string().as_str()));
                            let results = json["results"].as_array().unwrap();
                            assert_eq!(results.len(), keys.len());
                            for (index, result) in results.iter().enumerate() {
                                match generation.is_multiple_of(2) || index < 100 {
                                    true => assert_eq!(result["value"]["mark"], generation, "{result}"),
                                    false => assert!(result["value"].is_null(), "{result} of {generation}"),
                                }
                            }
                            generation
                        };
                        assert!(generation >= last, "back from {last} to {generation}");
                        last = generation;
                        *seen.entry(generation).or_insert(0) += 1;
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    seen
                })
            })
            .collect();
        for mark in 2..=FLIPS {
            let flip = generation(mark);
            assert_eq!(flip.generation, mark);
            std::thread::sleep(Duration::from_millis(50));
        }
        // The last one is picked up, too.
        server.wait("/v1/fraud/1", |answer| answer.header("lakemill-generation") == Some(FLIPS.to_string().as_str()));
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(store().generations(&table(home.path(), "fraud")).unwrap().len() <= 3, "old ones are removed");
    let generations = seen.iter().flat_map(BTreeMap::keys).collect::<std::collections::BTreeSet<_>>();
    assert!(generations.len() as u64 > FLIPS / 4, "few flips were seen: {generations:?}");
    assert!(asked.load(Ordering::Relaxed) > FLIPS, "{asked:?}");
    server.signal("-TERM");
    let (code, told) = server.end();
    assert_eq!((code, told.as_str()), (Some(0), ""), "nothing went wrong, so nothing is told");
}
