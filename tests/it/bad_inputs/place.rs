//! The folder in which a case runs: a lake, a job, its SQL, and a home with one of everything.

use super::call;
use crate::risk;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One for all cases that run at the same time, copied for each; gone when the last of them is, which a plain static
/// never would be.
pub fn template() -> Arc<Place> {
    static TEMPLATE: Mutex<Weak<Place>> = Mutex::new(Weak::new());
    // A test that failed while it made the template must not fail all others.
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = template.upgrade() {
        return made;
    }
    let made = Arc::new(made());
    *template = Arc::downgrade(&made);
    made
}

fn made() -> Place {
    let place = Place::empty();
    risk::make(&place.path, "job.toml", "risk.sql");
    call(&place, &["run", "job.toml", "--interval", "2018-06-10"]).expect(0);
    place
}

/// A case's folder.
pub struct Place {
    _kept: tempfile::TempDir,
    /// What it is a copy of; kept, so that the next copy need not make it again.
    _template: Option<Arc<Place>>,
    path: PathBuf,
}

impl Place {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        Self { _kept: folder, _template: None, path }
    }

    /// A copy of the template.
    pub fn new() -> Self {
        let template = template();
        let place = Self::empty();
        copy(&template.path, &place.path);
        Self { _template: Some(template), ..place }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.path.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path.join(file)).unwrap()
    }

    /// Replaces a text that must be there.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        self.write(file, text.replacen(from, to, 1));
    }

    /// Removes a file or a folder.
    pub fn remove(&self, path: &str) {
        let path = self.path.join(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// Keeps the first half of a file.
    pub fn halve(&self, file: &str) {
        let bytes = self.read(file);
        self.write(file, &bytes[..bytes.len() / 2]);
    }

    /// The one file of a folder that begins and ends so.
    pub fn one(&self, folder: &str, start: &str, end: &str) -> String {
        let names = fs::read_dir(self.path.join(folder)).unwrap();
        let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with(start) && name.ends_with(end));
        assert_eq!(names.len(), 1, "{names:?}");
        format!("{folder}/{}", names[0])
    }

    /// Every folder (with a slash at the end) and every file with its bytes, by relative path.
    pub fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.path, &self.path, &mut found);
        found
    }

    /// A message without what differs from run to run: this folder, hashes, random names, instants of now.
    pub fn masked(&self, text: &str) -> String {
        let folder = self.path.to_string_lossy();
        let text = text.replace(&*folder, "TMP").replace(folder.trim_start_matches('/'), "TMP");
        let mut masked = String::new();
        let mut rest = text.as_str();
        while let Some(next) = rest.chars().next() {
            let (length, mask) = variable(rest, masked.chars().last());
            if length > 0 {
                masked.push_str(mask);
                rest = &rest[length..];
            } else {
                masked.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        masked
    }
}

/// How long a part that differs from run to run stands at the start of `text`, and what to write instead.
fn variable(text: &str, before: Option<char>) -> (usize, &'static str) {
    if before.is_some_and(|before| before.is_ascii_alphanumeric()) {
        return (0, "");
    }
    let fits = |pattern: &str| {
        let mut bytes = text.bytes();
        pattern.bytes().all(|wanted| {
            bytes.next().is_some_and(|found| match wanted {
                b'x' => found.is_ascii_digit() || (b'a'..=b'f').contains(&found),
                b'9' => found.is_ascii_digit(),
                _ => found == wanted,
            })
        })
    };
    if fits("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
        return (36, "UUID");
    }
    // Instants of the clock have a fraction; those of the job and of the demo lake have none.
    if fits("9999-99-99T99:99:99.") {
        return (text.find('Z').map_or(0, |end| end + 1), "INSTANT");
    }
    let hexadecimal = text.bytes().take_while(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte)).count();
    if hexadecimal == 16 || hexadecimal == 64 { (hexadecimal, "HASH") } else { (0, "") }
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.insert(format!("{name}/"), Vec::new());
            collect(root, &path, found);
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn what_differs_from_run_to_run_is_masked_and_nothing_else() {
    let place = Place::empty();
    let folder = place.path.display();
    let text = format!(
        "{folder}/a payload-0123456789abcdef.arrow part-0-09458647-72e1-4c34-9281-8352d41b3cef-c 2026-11-21T09:43:03.5Z 2018-06-11T00:00:00Z 1051"
    );
    assert_eq!(place.masked(&text), "TMP/a payload-HASH.arrow part-0-UUID-c INSTANT 2018-06-11T00:00:00Z 1051");
}
