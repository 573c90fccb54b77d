//! Azurite, Microsoft's emulator of Azure's blob storage, one for all tests of the binary.

use super::Bucket;
use super::signature::{base64, hmac};
use object_store::azure::MicrosoftAzureBuilder;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const ACCOUNT: &str = "lakemilltest";
const VERSION: &str = "2023-11-03";

/// The account's key, which is base64. The tests look for it in everything that is said.
pub fn key() -> String {
    base64(SECRET)
}

const SECRET: &[u8] = b"the key of the tests' own account, and of no other";

pub struct Server {
    pub port: u16,
    /// Stops the server once its standard input closes, which it does however this process ends.
    _watchdog: Child,
    _folder: TempDir,
}

static SERVER: LazyLock<Option<Server>> = LazyLock::new(start);

/// The server; `None` where it can't be had, which is said, and in CI is a failure.
pub fn server() -> Option<&'static Server> {
    SERVER.as_ref()
}

fn program() -> Option<PathBuf> {
    let folders = [
        std::env::var_os("LAKEMILL_AZURITE").map(PathBuf::from),
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/lakemill/azurite")),
    ];
    let script = |folder: PathBuf| folder.join("node_modules/azurite/dist/src/blob/main.js");
    folders.into_iter().flatten().map(script).find(|script| script.exists())
}

fn start() -> Option<Server> {
    let Some(program) = program() else {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "azurite is not installed, and in CI no test is skipped");
        crate::shared::skipped("azurite is not installed; .ci/run installs it");
        return None;
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    let script = "node \"$0\" --inMemoryPersistence --blobHost 127.0.0.1 --blobPort \"$1\" --skipApiVersionCheck \
                  --silent --disableTelemetry & server=$!; read gone; kill $server; wait";
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let watchdog = Command::new("setsid")
        .args(["sh", "-c", script, program.to_str().unwrap(), &port.to_string()])
        .current_dir(folder.path())
        .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", key()))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(began.elapsed() < Duration::from_secs(120), "azurite did not start: {}", log());
        sleep(Duration::from_millis(100));
    }
    Some(Server { port, _watchdog: watchdog, _folder: folder })
}

impl Server {
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// A new container, to which the command has the account's key.
    pub fn container(&self, name: &str) -> Bucket {
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        // What a shared key signs: the verb, empty headers, those of `x-ms-`, and what is asked for.
        let signed = format!(
            "PUT{}x-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container",
            "\n".repeat(12)
        );
        let signature = base64(&hmac(SECRET, &signed));
        let made = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-X", "PUT", "-H", "content-length: 0"])
            .args(["-H", &format!("x-ms-date: {date}"), "-H", &format!("x-ms-version: {VERSION}")])
            .args(["-H", &format!("authorization: SharedKey {ACCOUNT}:{signature}")])
            .arg(format!("{}/{name}?restype=container", self.endpoint()))
            .output()
            .unwrap();
        assert!(made.status.success(), "no container: {}", String::from_utf8_lossy(&made.stdout));
        let store = MicrosoftAzureBuilder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_account(ACCOUNT)
            .with_access_key(key())
            .with_container_name(name)
            .build()
            .unwrap();
        let endpoint = self.endpoint();
        let environment = [
            ("AZURE_STORAGE_ENDPOINT", endpoint.as_str()),
            ("AZURE_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", &key()),
        ];
        Bucket {
            store: Arc::new(store),
            root: format!("az://{name}"),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            endpoint: "AZURE_STORAGE_ENDPOINT",
            attempts: "AZURE_MAX_ATTEMPTS",
            port: self.port,
            cache: tempfile::tempdir().unwrap(),
            secrets: vec![key()],
        }
    }
}

/// A SAS token of the account with these permissions, and the signature in it as URLs write it.
pub fn sas(permissions: &str, ends: &str) -> (String, String) {
    // Account, permissions, services, kinds of resources, start, end, addresses, protocols, version, encryption.
    let signed = format!("{ACCOUNT}\n{permissions}\nb\nsco\n\n{ends}\n\nhttps,http\n{VERSION}\n\n");
    let signature = base64(&hmac(SECRET, &signed));
    let encoded = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let token = format!("sv={VERSION}&ss=b&srt=sco&sp={permissions}&se={ends}&spr=https,http&sig={encoded}");
    (token, encoded)
}
