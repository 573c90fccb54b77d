//! The registry on a real file system: versions, aliases, races, crashes and altered files.

mod aliases;
mod altered;
mod faults;
mod models;
mod versions;

use lakemill::error::Error;
use lakemill::lake::Location;
use lakemill::registry::{Change, ModelVersion, Registry};
use models::Trained;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;
use tempfile::TempDir;

struct Home {
    folder: TempDir,
    registry: Registry,
}

impl Home {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let home = Location::parse(folder.path().to_str().unwrap(), Path::new("/")).unwrap();
        Self { registry: Registry::new(&home), folder }
    }

    /// A home with `count` versions of `card_fraud`.
    async fn with_versions(count: u64) -> Self {
        let home = Self::new();
        for version in 1..=count {
            let made =
                register(&home.registry, &Trained::new("card_fraud", &format!("print {version}"))).await.unwrap();
            assert_eq!(made.version, version);
        }
        home
    }

    /// Every file with its content, by its path below the home.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        fn walk(folder: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, files);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(self.folder.path(), self.folder.path(), &mut files);
        files
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

async fn register(registry: &Registry, trained: &Trained) -> Result<ModelVersion, Error> {
    registry.register(&trained.artifact, trained.predictor.clone(), &trained.rows).await.map(|made| made.version)
}

fn change(by: &str) -> Change {
    Change {
        at: "2018-06-20T03:00:00Z".to_owned(),
        by: by.to_owned(),
        why: "it is better".to_owned(),
        run_id: Some("run-1".to_owned()),
        evidence: serde_json::json!({ "roc_auc": 0.1 + 0.2 }),
    }
}

/// Runs `work` on eight threads that begin together, each with a runtime of its own.
fn together<T: Send>(work: impl AsyncFn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        let run = |thread| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                barrier.wait();
                runtime.block_on(work(thread))
            })
        };
        let threads: Vec<_> = (0..8).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}
