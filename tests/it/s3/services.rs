//! Who gives credentials to machines, pods and web identities, and a bucket that takes theirs alone: small servers on
//! this machine that speak as Amazon's do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Stands in every key, secret and token that is handed out.
pub const HANDED_OUT: &str = "HANDEDOUT";
pub const METADATA_TOKEN: &str = "METADATATOKEN";
/// The one object of the bucket `lake`.
pub const CSV: &str = "a,b\n1,x\n2,y\n39,z\n";

/// A request, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /path?query`.
    pub line: String,
    /// The head in lower case.
    head: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::trim))
    }

    fn path(&self) -> &str {
        self.line.split([' ', '?']).nth(1).unwrap_or_default()
    }
}

/// What the services know and do.
#[derive(Default)]
pub struct Services {
    asked: Mutex<Vec<Asked>>,
    /// How many credentials were handed out; each has its number in its key.
    given: AtomicU64,
    /// How long each lasts, in seconds.
    pub lifetime: AtomicI64,
    /// Credentials are refused with this status, unless it is 0.
    pub refuse: AtomicI64,
    /// How long an answer of the bucket takes, in milliseconds.
    pub bucket_delay: AtomicU64,
    /// The bucket takes this machine's clock for wrong.
    pub skewed: AtomicBool,
}

/// The services behind a port of this machine.
pub struct Running {
    pub port: u16,
    pub services: Arc<Services>,
}

impl Services {
    pub fn start() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let services = Arc::new(Self::default());
        services.lifetime.store(3600, Ordering::SeqCst);
        let shared = Arc::clone(&services);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let services = Arc::clone(&shared);
                thread::spawn(move || drop(serve(client, &services)));
            }
        });
        Running { port, services }
    }

    /// The requests whose first line holds `what`.
    pub fn asked(&self, what: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.line.contains(what)).cloned().collect()
    }

    /// The numbers of the credentials with which the bucket was asked, in order.
    pub fn used(&self) -> Vec<u64> {
        let number = |asked: Asked| {
            let (_, tail) = asked.header("authorization")?.split_once("credential=key-")?;
            let number: u64 = tail.split('-').next()?.parse().ok()?;
            // Key and token are of one credential.
            assert_eq!(asked.header("x-amz-security-token")?, format!("token-{number}-{HANDED_OUT}").to_lowercase());
            Some(number)
        };
        self.asked("/lake").into_iter().filter_map(number).collect()
    }

    fn answer(&self, asked: &Asked) -> (u16, String) {
        self.asked.lock().unwrap().push(asked.clone());
        let credentials = "/latest/meta-data/iam/security-credentials/";
        match asked.path() {
            path if path.starts_with("/lake") => self.bucket(asked),
            "/latest/api/token" => match self.refuse.load(Ordering::SeqCst) {
                0 => (200, METADATA_TOKEN.to_owned()),
                status => (status as u16, String::new()),
            },
            path if path == credentials => (200, "the-role".to_owned()),
            path if path.starts_with(credentials) || path == "/pod" => self.credentials(|number, expiration| {
                format!(
                    "{{\"Code\":\"Success\",\"AccessKeyId\":\"KEY-{number}-{HANDED_OUT}\",\
                     \"SecretAccessKey\":\"SECRET-{number}-{HANDED_OUT}\",\
                     \"Token\":\"TOKEN-{number}-{HANDED_OUT}\",\"Expiration\":\"{expiration}\"}}"
                )
            }),
            "/sts" | "/" => self.credentials(|number, expiration| {
                format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                     <AccessKeyId>KEY-{number}-{HANDED_OUT}</AccessKeyId>\
                     <SecretAccessKey>SECRET-{number}-{HANDED_OUT}</SecretAccessKey>\
                     <SessionToken>TOKEN-{number}-{HANDED_OUT}</SessionToken>\
                     <Expiration>{expiration}</Expiration></Credentials>\
                     </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                )
            }),
            _ => (404, String::new()),
        }
    }

    fn credentials(&self, form: impl Fn(u64, String) -> String) -> (u16, String) {
        match self.refuse.load(Ordering::SeqCst) {
            0 => {
                let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
                let lifetime = chrono::TimeDelta::seconds(self.lifetime.load(Ordering::SeqCst));
                (200, form(number, (chrono::Utc::now() + lifetime).to_rfc3339()))
            }
            status => {
                let body = format!("<Error><Code>AccessDenied</Code><Message>{HANDED_OUT}</Message></Error>");
                (status as u16, body)
            }
        }
    }

    fn bucket(&self, asked: &Asked) -> (u16, String) {
        thread::sleep(Duration::from_millis(self.bucket_delay.load(Ordering::SeqCst)));
        if self.skewed.load(Ordering::SeqCst) {
            let body = "<Error><Code>RequestTimeTooSkewed</Code><RequestTime>20261121T120000Z</RequestTime>\
                        <ServerTime>2026-11-21T11:38:30Z</ServerTime></Error>";
            return (403, body.to_owned());
        }
        if asked.line.contains("list-type=2") {
            let object = format!(
                "<Contents><Key>t.csv</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>\"e\"</ETag><Size>{}</Size></Contents>",
                CSV.len()
            );
            let prefix = asked.line.split(['?', '&', ' ']).find_map(|part| part.strip_prefix("prefix="));
            let found = if "t.csv".starts_with(prefix.unwrap_or_default()) { object } else { String::new() };
            return (200, format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"));
        }
        match asked.path() {
            "/lake/t.csv" => (200, CSV.to_owned()),
            _ => (404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
        }
    }
}

/// The whole answer to a request.
fn respond(services: &Services, asked: &Asked) -> Vec<u8> {
    let (mut status, mut body) = services.answer(asked);
    let mut more = String::new();
    let whole = body.len();
    let range = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    if let (200, Some((from, to))) = (status, range) {
        let from: usize = from.parse().unwrap_or_default();
        let to = to.parse().map_or(whole, |to: usize| (to + 1).min(whole));
        (status, body) = (206, body[from..to].to_owned());
        more = format!("content-range: bytes {from}-{}/{whole}\r\n", to - 1);
    }
    let length = body.len();
    if asked.line.starts_with("HEAD") {
        body.clear();
    }
    format!(
        "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\netag: \"e\"\r\n\
         last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nconnection: close\r\n{more}\r\n{body}"
    )
    .into_bytes()
}

/// Reads the head of a request and passes over its body.
fn read_request(from: &mut impl Read) -> std::io::Result<Asked> {
    let (mut bytes, mut next) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut next)?;
        bytes.push(next[0]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let asked = Asked { line, head: text.to_lowercase() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    from.read_exact(&mut vec![0; length])?;
    Ok(asked)
}

fn serve(mut client: TcpStream, services: &Services) -> std::io::Result<()> {
    let asked = read_request(&mut client)?;
    client.write_all(&respond(services, &asked))
}

/// The same services behind TLS, which whoever asks for a web identity's credentials insists on.
pub struct Tls {
    pub port: u16,
    folder: TempDir,
    /// The one that waits for a connection.
    waiting: Arc<Mutex<Option<Child>>>,
    stopped: Arc<AtomicBool>,
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(mut waiting) = self.waiting.lock().unwrap().take() {
            let _ = waiting.kill();
            let _ = waiting.wait();
        }
    }
}

fn openssl(folder: &Path, args: &str) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Tls {
    /// The certificate that a client must trust.
    pub fn trusted(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn before(services: &Arc<Services>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let of = folder.path();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(of, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=tests"));
        openssl(of, &format!("req {key} -keyout key.pem -out request.pem -subj /CN=localhost"));
        std::fs::write(of.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        let sign = "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2";
        openssl(of, &format!("{sign} -extfile names"));
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let tls = Self { port, folder, waiting: Arc::default(), stopped: Arc::default() };
        let (waiting, stopped) = (Arc::clone(&tls.waiting), Arc::clone(&tls.stopped));
        let (services, place) = (Arc::clone(services), tls.folder.path().to_owned());
        thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                drop(one_connection(port, &place, &waiting, &services));
            }
        });
        tls
    }
}

/// `openssl` undoes the encryption of one connection, and ends with it.
fn one_connection(
    port: u16,
    folder: &Path,
    waiting: &Mutex<Option<Child>>,
    services: &Services,
) -> std::io::Result<()> {
    let accept = format!("127.0.0.1:{port}");
    let args = ["s_server", "-quiet", "-naccept", "1", "-cert", "cert.pem", "-key", "key.pem", "-accept", &accept];
    let mut child = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    *waiting.lock().unwrap() = Some(child);
    let asked = read_request(&mut from);
    if let Ok(asked) = &asked {
        to.write_all(&respond(services, asked))?;
        to.flush()?;
        // Its end is that of the connection, which is the client's to close.
        let _ = from.read_to_end(&mut Vec::new());
    }
    if let Some(mut child) = waiting.lock().unwrap().take() {
        let _ = child.kill();
        child.wait()?;
    }
    asked.map(drop)
}
