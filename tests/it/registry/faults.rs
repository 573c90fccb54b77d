//! A store that fails its n-th call, before or after doing what it was asked: whatever n is, the same
//! command run again ends in the same state.

use super::models::Trained;
use super::{change, register};
use crate::faulty::{Fails, Faulty};
use futures::StreamExt;
use lakemill::error::{Error, ErrorKind};
use lakemill::lake::Location;
use lakemill::registry::Registry;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use std::sync::Arc;
use url::Url;

/// Registers two versions, makes the second the champion, and reads the model back.
async fn job(registry: &Registry) -> Result<(), Error> {
    for version in [1, 2] {
        let made = register(registry, &Trained::new("card_fraud", &format!("print {version}"))).await?;
        registry.promote("card_fraud", "champion", made.version, &change("job"), Some(made.version - 1)).await?;
    }
    let champion = registry.resolve("card_fraud", "champion").await?;
    registry.load("card_fraud", champion).await.map(drop)
}

async fn names(store: &InMemory) -> Vec<String> {
    let mut names: Vec<String> =
        store.list(None).map(|object| object.unwrap().location.to_string()).collect::<Vec<_>>().await;
    names.sort_unstable();
    names
}

#[tokio::test]
async fn whichever_call_fails_the_next_try_ends_in_the_same_state() {
    let mut undisturbed: Option<Vec<String>> = None;
    let mut failed = 0;
    for fails in [Fails::Before, Fails::After] {
        for failing in 0.. {
            let store = Arc::new(Faulty::new(InMemory::new(), fails, failing));
            let url = Url::parse("memory://test/home").unwrap();
            let registry = Registry::new(&Location::with_store(url, Arc::clone(&store) as _, Path::from("home")));
            let first = job(&registry).await;
            let calls = store.calls();
            if failing > 0 && calls < failing {
                assert!(failing > 20, "too few calls to say anything");
                break;
            }
            if let Err(error) = first {
                assert_eq!(error.kind(), ErrorKind::Transient, "call {failing}");
                failed += 1;
                // A champion of before the failure is not taken for a conflict when the job starts over.
                for version in registry.numbers("card_fraud").await.unwrap() {
                    registry.load("card_fraud", version).await.unwrap();
                }
                again(&registry).await;
            } else {
                // The end of a listing that was lost after all that counts had come.
                assert!(failing == 0 || matches!(fails, Fails::After), "call {failing}");
            }
            let history = registry.history("card_fraud", "champion").await.unwrap();
            assert_eq!(history.iter().map(|record| record.version).collect::<Vec<_>>(), [1, 2], "call {failing}");
            let names = names(&store.inner).await;
            assert_eq!(*undisturbed.get_or_insert_with(|| names.clone()), names, "{fails:?} call {failing}");
        }
    }
    assert!(failed > 20, "only {failed} calls matter");
}

/// The same job, which goes on from where it stands.
async fn again(registry: &Registry) {
    for version in [1, 2] {
        let made = register(registry, &Trained::new("card_fraud", &format!("print {version}"))).await.unwrap();
        assert_eq!(made.version, version);
        let seen = registry.alias("card_fraud", "champion").await.unwrap().map_or(0, |record| record.sequence);
        if seen < version {
            registry.promote("card_fraud", "champion", version, &change("job"), Some(seen)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_that_keeps_other_bytes_is_found_when_a_version_is_registered() {
    let mut found = Vec::new();
    for failing in 1..=8 {
        let store = Arc::new(Faulty::new(InMemory::new(), Fails::Silently, failing));
        let url = Url::parse("memory://test/home").unwrap();
        let registry = Registry::new(&Location::with_store(url, store, Path::from("home")));
        if let Err(error) = register(&registry, &Trained::new("card_fraud", "print")).await {
            assert_eq!(error.kind(), ErrorKind::Verification, "{error}");
            found.push(error.message().to_owned());
        }
    }
    // Of three files that are written the payload and the artifact count; the card is rendered anew by who reads it.
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("another payload than was written"), "{found:?}");
}
