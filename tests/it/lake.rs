//! Locations and logs on a real file system: what is atomic, what is hidden, what is refused.

use bytes::Bytes;
use lakemill::error::{Error, ErrorKind};
use lakemill::lake::{Location, Put, log};
use std::path::Path;
use std::sync::Barrier;
use tempfile::TempDir;

fn home() -> (TempDir, Location) {
    let folder = TempDir::new().unwrap();
    let location = Location::parse(folder.path().to_str().unwrap(), Path::new("/")).unwrap();
    (folder, location)
}

/// Runs `work` on `count` threads that begin together, each with a runtime of its own.
fn together<T: Send>(count: usize, work: impl AsyncFn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    std::thread::scope(|scope| {
        let run = |thread| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                barrier.wait();
                runtime.block_on(work(thread))
            })
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn paths_and_file_urls_name_the_same_place() {
    let base = Path::new("/data/my lake");
    let from_path = Location::parse("tables/100%", base).unwrap();
    let from_url = Location::parse("file:///data/my%20lake/tables/100%25/", base).unwrap();
    assert_eq!(from_path, from_url);
    assert_eq!(from_path.local_path().unwrap(), Path::new("/data/my lake/tables/100%"));
    assert_eq!(from_path.to_string(), "/data/my lake/tables/100%");
    assert_eq!(from_path.url().as_str(), "file:///data/my%20lake/tables/100%25");
    assert_eq!(from_path.path().as_ref(), "data/my lake/tables/100%");
    assert_eq!(Location::parse("/x/./y/../z/", base).unwrap().to_string(), "/x/z");
    assert_eq!(Location::parse("../z", base).unwrap().to_string(), "/data/z");
}

#[test]
fn a_joined_name_never_leads_out() {
    let (folder, home) = home();
    for name in ["../../etc/passwd", "/../x", "a/../../b", "./../x", "..", "a\0b"] {
        let inside = home.join(name).local_path().unwrap();
        assert!(inside.starts_with(folder.path()), "{name} leads to {}", inside.display());
        assert!(inside.components().all(|part| part != std::path::Component::ParentDir), "{name}");
    }
    assert_eq!(home.join("a/b").join("c"), home.join("a//b/c/"));
    assert_eq!(home.join("a/b.json").name(), "b.json");
}

#[test]
fn credentials_in_a_bucket_s_location_are_refused_and_not_told() {
    for text in ["s3://AKID:HIDDEN@bucket/lake", "s3://bucket/lake?x=HIDDEN", "s3://bucket/lake#HIDDEN"] {
        let error = Location::parse(text, Path::new("/")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("s3://bucket/lake"), "{error}");
        assert!(!format!("{error:?}").contains("HIDDEN"));
    }
}

#[tokio::test]
async fn objects_are_put_listed_and_removed() -> Result<(), Error> {
    let (_folder, home) = home();
    let file = home.join("models/a b/100%/x=1.json");
    assert_eq!(file.get().await?, None);
    assert_eq!(file.head().await?, None);
    assert!(home.join("nothing").list().await?.is_empty());
    assert!(home.join("nothing").children().await?.is_empty());
    // Such a name would be hidden like a staged file.
    home.join("x#2").put(Bytes::new()).await.unwrap_err();

    file.put(Bytes::from_static(b"one")).await?;
    assert_eq!(file.put_if_absent(Bytes::from_static(b"two")).await?, Put::AlreadyThere);
    assert_eq!(file.get().await?.unwrap(), "one");
    file.put(Bytes::from_static(b"three")).await?;
    assert_eq!(file.get().await?.unwrap(), "three");
    assert_eq!(home.join("models/z").put_if_absent(Bytes::new()).await?, Put::Created);

    let listed = home.list().await?;
    let paths: Vec<&str> = listed.iter().filter_map(|object| object.location.filename()).collect();
    assert_eq!(paths, ["x=1.json", "z"]);
    assert_eq!(listed[0].location, *file.path());
    assert_eq!(home.join("models").children().await?, ["a b", "z"]);
    file.delete().await?;
    file.delete().await?;
    assert_eq!(file.get().await?, None);
    Ok(())
}

#[tokio::test]
async fn staged_files_of_a_crash_are_hidden() {
    let (folder, home) = home();
    home.join("log/000001.json").put(Bytes::from_static(b"1")).await.unwrap();
    std::fs::write(folder.path().join("log/000002.json#420000000001"), "half").unwrap();
    assert_eq!(home.join("log").children().await.unwrap(), ["000001.json"]);
    assert_eq!(home.list().await.unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(folder.path().join("log")).unwrap().count(), 2, "a put left its staged file");
}

#[tokio::test]
async fn a_file_where_a_folder_should_be_is_told_with_its_place() {
    let (_folder, home) = home();
    home.join("models").put(Bytes::new()).await.unwrap();
    let error = home.join("models/card.md").put(Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(error.context()[0].0, "location");
    assert!(error.hint_text().unwrap().contains("not a folder"), "{error:?}");
    let below = home.join("models/x/y");
    assert_eq!(below.get().await.unwrap(), None);
    assert!(below.list().await.unwrap().is_empty() && below.children().await.unwrap().is_empty());
    let error = home.join("models/x").put_if_absent(Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_followed_and_a_broken_one_is_no_object() {
    let (folder, home) = home();
    home.join("real/deep/a").put(Bytes::new()).await.unwrap();
    std::os::unix::fs::symlink(folder.path().join("real/deep"), folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("gone"), folder.path().join("broken")).unwrap();
    let beside = Location::parse("link/../deep/a", folder.path()).unwrap();
    assert!(beside.get().await.unwrap().is_some(), "{beside} is not what the system calls link/..");
    let error = home.join("broken/x").put_if_absent(Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read() {
    let (folder, home) = home();
    // Sparse: reading it would take all memory.
    std::fs::File::create(folder.path().join("big")).unwrap().set_len(1 << 40).unwrap();
    let error = home.join("big").get_at_most(1 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
}

#[test]
fn one_of_eight_writers_creates_an_object() {
    let (_folder, home) = home();
    for round in 0..20 {
        let file = home.join(&format!("round/{round}/commit.json"));
        let content = |thread: usize| Bytes::from(format!("{thread}").repeat(10_000));
        let puts = together(8, async |thread| file.put_if_absent(content(thread)).await.unwrap());
        let winners: Vec<usize> = (0..8).filter(|thread| puts[*thread] == Put::Created).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        let stored = together(1, async |_| file.get().await.unwrap().unwrap());
        assert_eq!(stored[0], content(winners[0]));
    }
}

#[test]
fn no_entry_of_a_log_is_lost_or_doubled_under_eight_writers() {
    let (_folder, home) = home();
    let log = home.join("log");
    let numbers = together(8, async |thread| {
        let mut own = Vec::new();
        for entry in 0..10 {
            let build = |number, _: Option<&Bytes>| Ok(Some(Bytes::from(format!("{number} {thread} {entry}"))));
            own.push(log::append(&log, build).await.unwrap().unwrap());
        }
        own
    });
    assert!(numbers.iter().all(|own| own.is_sorted()));
    let mut all = numbers.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=80).collect::<Vec<u64>>());
    let entries = together(1, async |_| log::all(&log).await.unwrap()).remove(0);
    for (number, bytes) in &entries {
        assert!(bytes.starts_with(format!("{number} ").as_bytes()));
    }
    assert_eq!(entries.len(), 80);
}

#[tokio::test]
async fn a_log_leaves_foreign_files_alone_and_goes_on_past_six_digits() -> Result<(), Error> {
    let (_folder, home) = home();
    let log = home.join("log");
    assert_eq!(log::latest(&log).await?, None);
    for name in ["README", "7.json", "0000008.json", "+00009.json", "000010.json.tmp", "latest.json"] {
        log.join(name).put(Bytes::new()).await?;
    }
    assert!(log::numbers(&log).await?.is_empty());
    log::entry(&log, 999_999).put(Bytes::from_static(b"a")).await?;
    let next = log::append(&log, |number, latest| {
        assert_eq!((number, latest.unwrap().as_ref()), (1_000_000, &b"a"[..]));
        Ok(Some(Bytes::from_static(b"b")))
    });
    assert_eq!(next.await?, Some(1_000_000));
    assert!(log.children().await?.contains(&"1000000.json".to_owned()));
    assert_eq!(log::latest(&log).await?, Some((1_000_000, Bytes::from_static(b"b"))));
    assert_eq!(log::append(&log, |_, _| Ok(None)).await?, None);
    assert_eq!(log::append(&log, |_, _| Err(Error::conflict("no"))).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(log::numbers(&log).await?, [999_999, 1_000_000]);
    Ok(())
}
