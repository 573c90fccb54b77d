//! What object_store asks of Google's store (its XML interface), played in memory: objects with generations, conditional
//! puts, uploads in parts, listings in pages, and who may ask. The emulators that there are know no conditions on puts.

use super::http::{Answer, Request, serve};
use super::signature::from_base64;
use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The service account whose key the server knows.
pub const ACCOUNT: &str = "nightly@acme.iam.gserviceaccount.com";
/// The token of the tests' own way in.
pub const TESTER: &str = "TESTERTOKEN";
/// Stands in every token that the metadata server hands out.
pub const HANDED_OUT: &str = "HANDEDOUT";
/// Names in a page of a listing.
const PAGE: usize = 7;
const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

struct Object {
    bytes: Vec<u8>,
    generation: u64,
}

/// The parts of an upload, by their numbers.
type Parts = BTreeMap<u64, Vec<u8>>;

pub struct Google {
    buckets: Mutex<BTreeMap<String, BTreeMap<String, Object>>>,
    uploads: Mutex<BTreeMap<String, Parts>>,
    numbers: AtomicU64,
    /// Tokens whose signature was found to be right.
    known: Mutex<HashSet<String>>,
    /// The metadata server refuses with this status, unless it is 0.
    pub refuse: AtomicU16,
    pub asked: Mutex<Vec<Request>>,
    /// Holds `public.pem`, and `key.pem` beside it.
    pub folder: TempDir,
}

impl Google {
    pub fn start() -> (Arc<Self>, u16) {
        let folder = tempfile::tempdir().unwrap();
        make_key(&folder, "key.pem");
        let public = Command::new("openssl")
            .args(["rsa", "-in", "key.pem", "-pubout", "-out", "public.pem"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(public.status.success());
        let google = Arc::new(Self {
            buckets: Mutex::default(),
            uploads: Mutex::default(),
            numbers: AtomicU64::new(1),
            known: Mutex::default(),
            refuse: AtomicU16::new(0),
            asked: Mutex::default(),
            folder,
        });
        let port = serve(Arc::clone(&google), Self::answer);
        (google, port)
    }

    pub fn make(&self, bucket: &str) {
        self.buckets.lock().unwrap().insert(bucket.to_owned(), BTreeMap::new());
    }

    fn answer(&self, request: &Request) -> Answer {
        self.asked.lock().unwrap().push(Request { body: Vec::new(), ..request.clone() });
        if request.path.starts_with("/computeMetadata/") {
            return self.metadata(request);
        }
        let by = request.header("authorization").and_then(|by| by.strip_prefix("Bearer ")).unwrap_or_default();
        if !self.may_ask(by) {
            let body = format!("<Error><Code>AuthenticationRequired</Code><Details>{by}</Details></Error>");
            return Answer::new(401, body);
        }
        let path = request.path.trim_start_matches('/');
        let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
        if !self.buckets.lock().unwrap().contains_key(bucket) {
            return Answer::new(404, "<Error><Code>NoSuchBucket</Code></Error>");
        }
        match (request.method.as_str(), request.asked("uploadId")) {
            ("GET", _) if name.is_empty() => self.list(bucket, request),
            ("GET" | "HEAD", _) => self.get(bucket, name, request),
            ("PUT", Some(upload)) => self.part(upload, request),
            ("PUT", None) => self.put(bucket, name, request),
            ("POST", None) => self.begin(),
            ("POST", Some(upload)) => self.complete(bucket, name, upload, request),
            ("DELETE", Some(upload)) => {
                self.uploads.lock().unwrap().remove(upload);
                Answer::new(204, "")
            }
            ("DELETE", None) => match self.buckets.lock().unwrap().get_mut(bucket).unwrap().remove(name) {
                Some(_) => Answer::new(204, ""),
                None => Answer::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
            },
            _ => Answer::new(405, ""),
        }
    }

    fn metadata(&self, request: &Request) -> Answer {
        let refused = self.refuse.load(Ordering::SeqCst);
        if refused != 0 || request.header("metadata-flavor") != Some("Google") {
            return Answer::new(refused.max(403), format!("{HANDED_OUT} no"));
        }
        Answer::new(200, format!("{{\"access_token\":\"MACHINE-{HANDED_OUT}\",\"expires_in\":3600}}"))
    }

    /// The tester, the machine, and whoever has a token that the account's key has signed.
    fn may_ask(&self, token: &str) -> bool {
        if token == TESTER || token == format!("MACHINE-{HANDED_OUT}") {
            return true;
        }
        if self.known.lock().unwrap().contains(token) {
            return true;
        }
        let may = self.is_signed(token).unwrap_or(false);
        if may {
            self.known.lock().unwrap().insert(token.to_owned());
        }
        may
    }

    fn is_signed(&self, token: &str) -> Option<bool> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let claims: serde_json::Value = serde_json::from_slice(&from_base64(claims)?).ok()?;
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let file = |name: &str| self.folder.path().join(format!("{name}-{number}"));
        std::fs::write(file("signed"), signed).unwrap();
        std::fs::write(file("signature"), from_base64(signature)?).unwrap();
        let verified = Command::new("openssl")
            .args(["dgst", "-sha256", "-verify", "public.pem", "-signature"])
            .args([file("signature"), file("signed")])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        Some(verified.status.success() && claims["iss"] == ACCOUNT)
    }

    fn put(&self, bucket: &str, name: &str, request: &Request) -> Answer {
        let mut buckets = self.buckets.lock().unwrap();
        let objects = buckets.get_mut(bucket).unwrap();
        let there = objects.get(name).map_or(0, |object| object.generation);
        let wanted = request.header("x-goog-if-generation-match");
        if wanted.is_some_and(|wanted| wanted != there.to_string()) {
            return Answer::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
        }
        let generation = self.numbers.fetch_add(1, Ordering::SeqCst);
        objects.insert(name.to_owned(), Object { bytes: request.body.clone(), generation });
        Answer::new(200, "").with("etag", tag(generation)).with("x-goog-generation", generation)
    }

    fn get(&self, bucket: &str, name: &str, request: &Request) -> Answer {
        let buckets = self.buckets.lock().unwrap();
        let Some(object) = buckets[bucket].get(name) else {
            return Answer::new(404, "<Error><Code>NoSuchKey</Code></Error>");
        };
        if request.header("if-match").is_some_and(|wanted| wanted != tag(object.generation)) {
            return Answer::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
        }
        Answer::new(200, object.bytes.clone())
            .with("etag", tag(object.generation))
            .with("last-modified", DATE)
            .with("x-goog-generation", object.generation)
            .ranged(request)
    }

    fn begin(&self) -> Answer {
        let upload = format!("upload-{}", self.numbers.fetch_add(1, Ordering::SeqCst));
        self.uploads.lock().unwrap().insert(upload.clone(), Parts::new());
        let body =
            format!("<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>");
        Answer::new(200, body)
    }

    fn part(&self, upload: &str, request: &Request) -> Answer {
        let mut uploads = self.uploads.lock().unwrap();
        let number = request.asked("partNumber").and_then(|number| number.parse().ok());
        match (uploads.get_mut(upload), number) {
            (Some(parts), Some(number)) => {
                parts.insert(number, request.body.clone());
                Answer::new(200, "").with("etag", format!("\"part-{number}\""))
            }
            _ => Answer::new(404, "<Error><Code>NoSuchUpload</Code></Error>"),
        }
    }

    fn complete(&self, bucket: &str, name: &str, upload: &str, request: &Request) -> Answer {
        let Some(parts) = self.uploads.lock().unwrap().remove(upload) else {
            return Answer::new(404, "<Error><Code>NoSuchUpload</Code></Error>");
        };
        let told = String::from_utf8_lossy(&request.body).into_owned();
        assert_eq!(told.matches("<PartNumber>").count(), parts.len(), "{told}");
        let generation = self.numbers.fetch_add(1, Ordering::SeqCst);
        let bytes = parts.into_values().flatten().collect();
        self.buckets.lock().unwrap().get_mut(bucket).unwrap().insert(name.to_owned(), Object { bytes, generation });
        let body =
            format!("<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>", generation);
        Answer::new(200, body).with("x-goog-generation", generation)
    }

    fn list(&self, bucket: &str, request: &Request) -> Answer {
        let buckets = self.buckets.lock().unwrap();
        let prefix = request.asked("prefix").unwrap_or_default();
        let after = request.asked("continuation-token").or(request.asked("start-after")).unwrap_or_default();
        let delimiter = request.asked("delimiter").filter(|delimiter| !delimiter.is_empty());
        let (mut found, mut folders, mut last) = (String::new(), Vec::<String>::new(), None);
        let mut count = 0;
        for (name, object) in
            buckets[bucket].iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after)
        {
            let folder = delimiter.and_then(|delimiter| Some(prefix.len() + name[prefix.len()..].find(delimiter)? + 1));
            if let Some(folder) = folder.map(|end| &name[..end]) {
                // A page that ended within a folder has told of it.
                if folders.last().is_some_and(|last| last == folder) || after.starts_with(folder) {
                    last = Some(name.clone());
                    continue;
                }
            }
            if count == PAGE {
                break;
            }
            count += 1;
            last = Some(name.clone());
            match folder {
                Some(end) => folders.push(name[..end].to_owned()),
                None => found.push_str(&format!(
                    "<Contents><Key>{name}</Key><Size>{}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     <ETag>{}</ETag></Contents>",
                    object.bytes.len(),
                    tag(object.generation)
                )),
            }
        }
        let more = buckets[bucket].keys().rfind(|name| name.starts_with(prefix)) != last.as_ref() && last.is_some();
        let token = last.filter(|_| more).map(|last| format!("<NextContinuationToken>{last}</NextContinuationToken>"));
        let folders: String =
            folders.iter().map(|name| format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")).collect();
        let token = token.unwrap_or_default();
        Answer::new(200, format!("<ListBucketResult>{found}{folders}{token}</ListBucketResult>"))
    }
}

fn tag(generation: u64) -> String {
    format!("\"tag-{generation}\"")
}

/// A new RSA key in the folder.
pub fn make_key(folder: &TempDir, name: &str) {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", name])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
