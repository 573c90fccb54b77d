//! The rules of the house as tests: which module may use which, what may stand where, and that no
//! test file is forgotten. The arrows are drawn and explained in ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of `src/` and the modules that it may name with `crate::`.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("task", &[]),
    ("interval", &["error"]),
    ("memory", &["error"]),
    ("runtime", &["error", "memory"]),
    ("lake", &["error"]),
    ("job", &["error", "interval", "task"]),
    ("tables", &["error", "interval", "lake"]),
    ("query", &["error", "interval", "lake", "memory", "tables"]),
    ("features", &["error", "interval", "task"]),
    ("forest", &["error", "features"]),
    ("models", &["error", "features", "forest", "task"]),
    ("metrics", &["error", "task"]),
    ("registry", &["error", "features", "interval", "lake", "models", "task"]),
    ("lookup", &["error", "lake"]),
    ("serve", &["error", "interval", "lake", "lookup"]),
    ("plan", &["error", "interval", "job", "lake", "query", "tables"]),
    (
        "engine",
        &[
            "error", "features", "forest", "interval", "job", "lake", "lookup", "memory", "metrics", "models", "plan",
            "query", "registry", "runtime", "tables", "task",
        ],
    ),
    ("demo", &["error", "interval"]),
    (
        "cli",
        &[
            "demo", "engine", "error", "interval", "job", "lake", "lookup", "memory", "metrics", "models", "plan",
            "query", "registry", "runtime", "serve", "tables",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli"]),
];

/// Libraries that may be named only in these modules.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("datafusion::", &["tables", "query"]),
    ("deltalake::", &["tables", "engine", "demo"]),
    ("use polars::", &["query"]),
    ("linfa", &["models"]),
    ("smartcore::", &["models"]),
    ("ndarray::", &["models"]),
    ("heed::", &["lookup"]),
    ("axum::", &["serve"]),
    ("hyper::", &["serve"]),
    ("hyper_util::", &["serve"]),
    ("prometheus_client::", &["serve"]),
    ("libc::", &["memory"]),
    ("clap::", &["cli"]),
    ("indicatif::", &["cli"]),
    ("ThreadPoolBuilder", &["runtime"]),
];

/// What modules that only compute may not even name.
const PURE: &[&str] = &["features", "forest", "metrics", "models"];
const IMPURE: &[&str] =
    &["async fn", "tokio::", "std::fs", "std::env", "std::net", "SystemTime", "Instant::now", "Utc::now"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The module of a source file, and its text without comments and unit tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let src = root().join("src");
    let module_of = |path: &Path| {
        let relative = path.strip_prefix(&src).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    rust_files(&src).into_iter().map(|path| (module_of(&path), path.clone(), read(&path))).collect()
}

fn named_modules(code: &str) -> BTreeSet<String> {
    let names = code.match_indices("crate::").map(|(at, found)| {
        let rest = &code[at + found.len()..];
        rest.chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect::<String>()
    });
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn modules_use_only_what_their_arrows_allow() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: the module `{module}` has no row of arrows", path.display()));
            continue;
        };
        for used in named_modules(&code) {
            if used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: `{module}` may not use `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not drawn:\n{}", wrong.join("\n"));
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        for (library, rooms) in LIBRARIES {
            if code.contains(library) && !rooms.contains(&module.as_str()) {
                wrong.push(format!("{}: `{library}` belongs to {rooms:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "libraries outside their rooms:\n{}", wrong.join("\n"));
}

#[test]
fn computing_code_has_no_clock_no_io_and_no_async() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        for word in IMPURE.iter().filter(|word| PURE.contains(&module.as_str()) && code.contains(*word)) {
            wrong.push(format!("{}: `{word}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "computing code that is not pure:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_ui_prints() {
    let prints = ["println!", "print!(", "eprint", "io::stdout", "io::stderr"];
    let mut wrong = Vec::new();
    for (_, path, code) in sources() {
        let is_ui = path.ends_with("cli/ui.rs");
        for word in prints.iter().filter(|word| !is_ui && code.contains(*word)) {
            wrong.push(format!("{}: `{word}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "printing outside cli/ui.rs:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_small() {
    let mut long = Vec::new();
    for path in rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("tests"))) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > 600 {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "files over 600 lines:\n{}", long.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let folder = root().join("tests/it");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    let mut forgotten = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_test = path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").exists();
        if is_test && name != "main" && !main.contains(&format!("mod {name};")) {
            forgotten.push(name);
        }
    }
    assert!(forgotten.is_empty(), "not in tests/it/main.rs: {forgotten:?}");
}

#[test]
fn no_source_file_is_forgotten() {
    let all: String = sources().into_iter().map(|(_, _, code)| code).collect();
    let mut forgotten = Vec::new();
    for path in rust_files(&root().join("src")) {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let name = if stem == "mod" {
            path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned()
        } else {
            stem
        };
        if !["lib", "main"].contains(&name.as_str()) && !all.contains(&format!("mod {name};")) {
            forgotten.push(path);
        }
    }
    assert!(forgotten.is_empty(), "in no `mod` line: {forgotten:?}");
}
