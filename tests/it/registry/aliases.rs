//! Promotion, rollback and history, alone and in races.

use super::{Home, block_on, change, together};
use lakemill::error::{Error, ErrorKind};
use lakemill::registry::{Action, Registry};

async fn means(registry: &Registry) -> Option<u64> {
    registry.alias("card_fraud", "champion").await.unwrap().map(|record| record.version)
}

#[tokio::test]
async fn history_tells_who_when_and_why() -> Result<(), Error> {
    let home = Home::with_versions(2).await;
    let registry = &home.registry;
    assert_eq!(means(registry).await, None);
    assert_eq!(registry.promote("card_fraud", "champion", 1, &change("ann"), None).await?, 1);
    assert_eq!(registry.promote("card_fraud", "champion", 2, &change("bob"), Some(1)).await?, 2);
    registry.promote("card_fraud", "challenger", 1, &change("ann"), Some(0)).await?;
    let history = registry.history("card_fraud", "champion").await?;
    let told: Vec<_> = history.iter().map(|record| (record.sequence, record.version, record.by.as_str())).collect();
    assert_eq!(told, [(1, 1, "ann"), (2, 2, "bob")]);
    let last = &history[1];
    assert_eq!(
        (last.action, last.at.as_str(), last.why.as_str()),
        (Action::Promote, "2018-06-20T03:00:00Z", "it is better")
    );
    assert_eq!((last.run_id.as_deref(), &last.evidence), (Some("run-1"), &change("bob").evidence));
    let aliases = registry.aliases("card_fraud").await?;
    assert_eq!(
        aliases.iter().map(|(name, record)| (name.as_str(), record.version)).collect::<Vec<_>>(),
        [("challenger", 1), ("champion", 2)]
    );
    assert!(home.files().contains_key("models/card_fraud/aliases/champion/000002.json"));
    Ok(())
}

#[tokio::test]
async fn promoting_the_champion_adds_nothing() -> Result<(), Error> {
    let home = Home::with_versions(2).await;
    home.registry.promote("card_fraud", "champion", 2, &change("ann"), None).await?;
    let before = home.files();
    assert_eq!(home.registry.promote("card_fraud", "champion", 2, &change("bob"), None).await?, 1);
    assert_eq!(home.registry.promote("card_fraud", "champion", 2, &change("bob"), Some(0)).await?, 1);
    assert_eq!(home.files(), before);
    Ok(())
}

#[tokio::test]
async fn rollbacks_go_back_promotion_by_promotion() -> Result<(), Error> {
    let home = Home::with_versions(4).await;
    let registry = &home.registry;
    let promote = async |version| registry.promote("card_fraud", "champion", version, &change("ann"), None).await;
    let rollback = async || registry.rollback("card_fraud", "champion", &change("bob"), None).await;
    for version in [1, 2, 3] {
        promote(version).await?;
    }
    assert_eq!(rollback().await?.version, 2);
    assert_eq!(rollback().await?.version, 1);
    let error = rollback().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(means(registry).await, Some(1));

    promote(4).await?;
    promote(4).await?;
    assert_eq!(rollback().await?.version, 1);

    // A version may be promoted again: 1, 3, 1 is a history of three steps.
    promote(3).await?;
    promote(1).await?;
    assert_eq!(rollback().await?.version, 3);
    assert_eq!(rollback().await?.version, 1);
    assert_eq!(rollback().await.unwrap_err().kind(), ErrorKind::Usage);
    let last = registry.history("card_fraud", "champion").await?.pop().unwrap();
    assert_eq!((last.sequence, last.action, last.by.as_str()), (11, Action::Rollback, "bob"));
    Ok(())
}

#[tokio::test]
async fn a_decision_on_an_old_state_is_a_conflict() -> Result<(), Error> {
    let home = Home::with_versions(3).await;
    let registry = &home.registry;
    registry.promote("card_fraud", "champion", 1, &change("ann"), Some(0)).await?;
    registry.promote("card_fraud", "champion", 2, &change("bob"), Some(1)).await?;
    let before = home.files();
    for error in [
        registry.promote("card_fraud", "champion", 3, &change("eve"), Some(1)).await.unwrap_err(),
        registry.promote("card_fraud", "champion", 3, &change("eve"), Some(0)).await.unwrap_err(),
        registry.rollback("card_fraud", "champion", &change("eve"), Some(1)).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("by = bob"), "{error}");
    }
    assert_eq!(home.files(), before);
    Ok(())
}

#[tokio::test]
async fn only_a_model_that_loads_can_be_promoted() -> Result<(), Error> {
    let home = Home::with_versions(2).await;
    let registry = &home.registry;
    assert_eq!(
        registry.promote("card_fraud", "champion", 3, &change("a"), None).await.unwrap_err().kind(),
        ErrorKind::Usage
    );
    assert_eq!(
        registry.promote("card_frod", "champion", 1, &change("a"), None).await.unwrap_err().kind(),
        ErrorKind::Usage
    );
    for alias in ["latest", "7", "../x", ""] {
        let error = registry.promote("card_fraud", alias, 1, &change("a"), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{alias}");
    }
    assert_eq!(
        registry.rollback("card_fraud", "champion", &change("a"), None).await.unwrap_err().kind(),
        ErrorKind::Usage
    );
    registry.promote("card_fraud", "champion", 1, &change("a"), None).await?;
    registry.promote("card_fraud", "champion", 2, &change("a"), None).await?;
    home.write("models/card_fraud/versions/000001/artifact.json", b"{}");
    assert_eq!(
        registry.promote("card_fraud", "champion", 1, &change("a"), None).await.unwrap_err().kind(),
        ErrorKind::Verification
    );
    assert_eq!(
        registry.rollback("card_fraud", "champion", &change("a"), None).await.unwrap_err().kind(),
        ErrorKind::Verification
    );
    assert_eq!(means(registry).await, Some(2));
    Ok(())
}

#[test]
fn no_promotion_is_lost_in_a_race() {
    let home = block_on(Home::with_versions(8));
    together(async |thread| {
        let own = thread as u64 + 1;
        home.registry.promote("card_fraud", "champion", own, &change(&format!("thread {own}")), None).await.unwrap()
    });
    let history = block_on(home.registry.history("card_fraud", "champion")).unwrap();
    assert_eq!(history.iter().map(|record| record.sequence).collect::<Vec<_>>(), (1..=8).collect::<Vec<u64>>());
    let mut versions: Vec<u64> = history.iter().map(|record| record.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<u64>>());
}

#[test]
fn of_eight_decisions_on_one_state_one_counts() {
    let home = block_on(Home::with_versions(8));
    let promoted = together(async |thread| {
        home.registry.promote("card_fraud", "champion", thread as u64 + 1, &change("x"), Some(0)).await
    });
    assert_eq!(promoted.iter().filter(|done| done.is_ok()).count(), 1);
    let lost = promoted.into_iter().filter_map(Result::err);
    assert!(lost.into_iter().all(|error| error.kind() == ErrorKind::Conflict));

    for version in [1, 2, 3, 4] {
        block_on(home.registry.promote("card_fraud", "champion", version, &change("x"), None)).unwrap();
    }
    let seen = block_on(home.registry.alias("card_fraud", "champion")).unwrap().unwrap().sequence;
    let rolled = together(async |thread| {
        home.registry.rollback("card_fraud", "champion", &change(&format!("thread {thread}")), Some(seen)).await
    });
    assert_eq!(rolled.iter().filter(|done| done.is_ok()).count(), 1);
    assert!(rolled.into_iter().filter_map(Result::err).all(|error| error.kind() == ErrorKind::Conflict));
    assert_eq!(block_on(means(&home.registry)), Some(3));
}
