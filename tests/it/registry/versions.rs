//! Registering, loading and finding versions.

use super::models::{Trained, rows};
use super::{Home, block_on, register, together};
use lakemill::error::{Error, ErrorKind};
use std::sync::Arc;

#[tokio::test]
async fn a_loaded_model_is_the_one_that_was_registered() -> Result<(), Error> {
    let home = Home::new();
    for trained in [Trained::new("card_fraud", "a"), Trained::forest("card_fraud", 5)] {
        let made = register(&home.registry, &trained).await?;
        let loaded = home.registry.load("card_fraud", made.version).await?;
        assert_eq!(loaded.version, made);
        assert_eq!(loaded.predictor, trained.predictor);
        assert_eq!(loaded.artifact.encoder, trained.artifact.encoder);
        assert_eq!(loaded.artifact.params, trained.artifact.params);
        assert_eq!(loaded.artifact.seed, u64::MAX);
        assert_eq!(loaded.artifact.metrics["roc_auc"], trained.artifact.metrics["roc_auc"]);
        assert!(loaded.artifact.metrics["recall_at_precision"].high.is_nan());
        let blocks =
            [&trained.artifact, &loaded.artifact].map(|artifact| artifact.encoder.apply(&rows()).unwrap().block);
        assert_eq!(trained.predictor.predict(&blocks[0]), loaded.predictor.predict(&blocks[1]));
    }
    assert_eq!(home.registry.numbers("card_fraud").await?, [1, 2]);
    Ok(())
}

#[tokio::test]
async fn the_same_training_gives_the_same_bytes() {
    let homes = [Home::new(), Home::new()];
    let mut made = Vec::new();
    for home in &homes {
        made.push(register(&home.registry, &Trained::forest("card_fraud", 3)).await.unwrap());
    }
    assert_eq!(made[0], made[1]);
    assert_eq!(homes[0].files(), homes[1].files());
    assert_eq!(homes[0].files().len(), 3);
    let other = register(&homes[0].registry, &Trained::forest("card_fraud", 4)).await.unwrap();
    assert_eq!(other.version, 1, "the same fingerprint must give the existing version");
    let other = register(&homes[0].registry, &Trained::new("card_fraud", "other")).await.unwrap();
    assert_ne!(other.sha256, made[0].sha256);
}

#[tokio::test]
async fn a_training_is_registered_once() -> Result<(), Error> {
    let home = Home::with_versions(3).await;
    let before = home.files();
    let again = register(&home.registry, &Trained::new("card_fraud", "print 2")).await?;
    assert_eq!(again.version, 2);
    assert_eq!(home.files(), before);
    assert_eq!(home.registry.find_by_fingerprint("card_fraud", "print 3").await?.unwrap().version, 3);
    assert_eq!(home.registry.find_by_fingerprint("card_fraud", "print 4").await?, None);
    assert_eq!(home.registry.find_by_fingerprint("unheard_of", "print 4").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_registration_tells_whether_the_same_was_there() -> Result<(), Error> {
    let home = Home::new();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let registry = home.registry.clone().computing_on(pool);
    let registered =
        async |trained: &Trained| registry.register(&trained.artifact, trained.predictor.clone(), &trained.rows).await;
    let three = Trained::forest("card_fraud", 3);
    let first = registered(&three).await?;
    let again = registered(&three).await?;
    // The same inputs and another model: what `train --force` looks for.
    let other = registered(&Trained::forest("card_fraud", 4)).await?;
    assert_eq!((first.is_new, again.is_new, other.is_new), (true, false, false));
    assert_eq!((&first.version, &first.version), (&again.version, &other.version));
    for registry in [&registry, &home.registry] {
        let loaded = registry.load("card_fraud", first.version.version).await?;
        assert_eq!(loaded.predictor, three.predictor);
        assert!(loaded.is_of(&first.payload_sha256)? && loaded.is_of(&again.payload_sha256)?);
        assert!(!loaded.is_of(&other.payload_sha256)?);
    }
    Ok(())
}

#[test]
fn eight_threads_get_eight_numbers() {
    let home = Home::new();
    let made = together(async |thread| {
        let mut own = Vec::new();
        for round in 0..4 {
            let trained = Trained::new("card_fraud", &format!("print {thread} {round}"));
            own.push((register(&home.registry, &trained).await.unwrap(), trained.artifact.fingerprint));
        }
        own
    });
    let mut numbers: Vec<u64> = made.iter().flatten().map(|(made, _)| made.version).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=32).collect::<Vec<u64>>());
    for (version, fingerprint) in made.concat() {
        let stored = block_on(home.registry.load("card_fraud", version.version)).unwrap();
        assert_eq!(stored.artifact.fingerprint, fingerprint);
        assert_eq!(stored.version, version);
    }
    let card = |version: u64| format!("models/card_fraud/versions/{version:06}/card.md");
    let files = home.files();
    for version in 1..=32 {
        let text = String::from_utf8(files[&card(version)].clone()).unwrap();
        assert_eq!(text, block_on(home.registry.card("card_fraud", version)).unwrap());
    }
    assert_eq!(files.len(), 3 * 32, "a lost race left something behind: {:?}", files.keys());
}

#[test]
fn eight_threads_with_one_training_make_one_version() {
    for _ in 0..5 {
        let home = Home::new();
        let made = together(async |_| register(&home.registry, &Trained::new("card_fraud", "one")).await.unwrap());
        assert!(made.iter().all(|version| *version == made[0]));
        assert_eq!(home.files().len(), 3);
    }
}

#[tokio::test]
async fn what_a_crash_left_is_no_version() -> Result<(), Error> {
    let home = Home::with_versions(1).await;
    home.write("models/card_fraud/versions/000002/payload-0123456789abcdef.arrow", b"half");
    home.write("models/card_fraud/versions/000002/artifact.json#420000000001", b"{");
    home.write("models/card_fraud/versions/7/artifact.json", b"{}");
    home.write("models/card_fraud/versions/notes/artifact.json", b"{}");
    home.write("models/half/versions/000001/card.md", b"");
    home.write("models/.DS_Store", b"");
    home.write("models/README", b"");
    assert_eq!(home.registry.numbers("card_fraud").await?, [1]);
    assert_eq!(home.registry.models().await?, ["card_fraud"]);
    assert_eq!(home.registry.versions("card_fraud").await?.len(), 1);
    assert_eq!(home.registry.resolve("card_fraud", "latest").await?, 1);
    assert!(home.registry.load("card_fraud", 2).await.is_err());
    assert_eq!(register(&home.registry, &Trained::new("card_fraud", "new")).await?.version, 2);
    home.registry.load("card_fraud", 2).await.map(drop)
}

#[tokio::test]
async fn a_missing_card_is_written_again() -> Result<(), Error> {
    let home = Home::with_versions(1).await;
    let files = home.files();
    std::fs::remove_file(home.folder.path().join("models/card_fraud/versions/000001/card.md")).unwrap();
    register(&home.registry, &Trained::new("card_fraud", "print 1")).await?;
    assert_eq!(home.files(), files);
    Ok(())
}

#[tokio::test]
async fn references_mean_versions() -> Result<(), Error> {
    let home = Home::with_versions(3).await;
    let registry = &home.registry;
    registry.promote("card_fraud", "champion", 2, &super::change("a"), None).await?;
    for (reference, version) in [("champion", 2), ("latest", 3), ("1", 1), ("000003", 3)] {
        assert_eq!(registry.resolve("card_fraud", reference).await?, version, "{reference}");
    }
    for (model, reference, message, hint) in [
        ("card_frod", "champion", "there is no such model", "did you mean `card_fraud`?"),
        ("zebra", "latest", "there is no such model", "models are card_fraud"),
        ("card_fraud", "challenger", "the alias is not set yet", "`lakemill train` sets it"),
        ("card_fraud", "champoin", "the alias is not set yet", "did you mean `champion`?"),
        ("card_fraud", "zz", "the alias is not set yet", "challenger, champion, latest, or a version: 1 to 3"),
        ("card_fraud", "4", "the model has no such version", "versions are 1 to 3"),
        ("card_fraud", "99999999999999999999999999", "the model has no such version", "1 to 3"),
        ("card_fraud", "../x", "not a name", ""),
        ("card_fraud", "", "not a name", ""),
        ("../x", "latest", "not a name", ""),
    ] {
        let error = registry.resolve(model, reference).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
        assert!(error.message().starts_with(message), "{model} {reference}: {error:?}");
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{model} {reference}: {error:?}");
    }
    let empty = Home::new().registry.resolve("card_fraud", "latest").await.unwrap_err();
    assert!(empty.hint_text().unwrap().contains("lakemill train"), "{empty:?}");
    Ok(())
}

#[tokio::test]
async fn a_model_that_does_not_fit_itself_is_never_written() {
    let home = Home::new();
    let mut wrong_task = Trained::new("card_fraud", "a");
    wrong_task.artifact.task = lakemill::task::Task::Regression;
    let mut wrong_classes = Trained::new("card_fraud", "a");
    wrong_classes.artifact.classes.pop();
    let mut wrong_name = Trained::new("card_fraud", "a");
    wrong_name.artifact.model = "../card_fraud".to_owned();
    let mut too_large = Trained::new("card_fraud", "a");
    too_large.artifact.job = serde_json::Value::String("x".repeat(65 << 20));
    let mut rejected_rows = Trained::new("card_fraud", "a");
    rejected_rows.rows = rejected_rows.rows.slice(0, 1);
    let mut other_rows = Trained::new("card_fraud", "a");
    other_rows.rows = other_rows.rows.project(&[0, 1, 2]).unwrap();
    for trained in [wrong_task, wrong_classes, wrong_name, too_large, rejected_rows, other_rows] {
        assert!(register(&home.registry, &trained).await.is_err());
    }
    assert!(home.files().is_empty());
}

#[tokio::test]
async fn the_card_tells_what_the_model_is() {
    let home = Home::with_versions(1).await;
    let card = home.registry.card("card_fraud", 1).await.unwrap();
    let sha256 = home.registry.describe("card_fraud", 1).await.unwrap().version.sha256;
    for told in [
        "# card_fraud 1\n",
        "the probability that `tx_fraud` is true",
        "| transactions | 812 | 0a1b-2c3d |",
        "| trained on | 2018-05-30_2018-06-06 | 39 |",
        "| roc_auc | 0.9 [0.89, 0.91] | 0.5 [0.49, 0.51] |",
        "| metric | model | baseline (prior) |",
        "5-fold cross-validation",
        "| recall_at_precision | undefined | undefined |",
        "| empty | category (Utf8) | none: it has no value in the training rows |",
        "B\\|6",
        "loss of the training rows; no split was made by 1.",
        "| feature | gain |\n|---|---|\n| amount | 0.75 |\n| country | 0.25 |\n",
        "the mean logarithmic loss of test rows rises",
        "| amount | 0.25 [0.24, 0.26] |",
        "| l2 | 0.1 |",
        "| $delay_days | 7 |",
        "```sql\nSELECT id, amount -- in euros\nFROM transactions\n```",
        "| left out: in the gap between the two |  | 5 |",
        "| actual | predicted 0 | predicted 1 |\n|---|---|---|\n| 0 | 9 | 1 |\n| 1 | 0.5 | 1.5 |\n",
        "transactions = { path = \"WHERE transactions LIES\", version = 812 }\n",
        "airlines = { path = \"WHERE airlines LIES\" }\n",
        "[features]\nsql = \"card_fraud.sql\"\nkey = [\"id\"]\n",
        "params = { l2 = 0.1 }\n",
        "[score]\npassthrough = [\"customer_id\"]\n",
        "lakemill train card_fraud.toml --interval 2018-06-26\n",
        sha256.as_str(),
    ] {
        assert!(card.contains(told), "not in the card: {told}\n{card}");
    }
}
