//! Real Redis servers for the tests, each on a free port of this machine, ended with the test or the process.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whether there are servers to be had; if not, that is said, and in CI is a failure.
pub fn is_installed() -> bool {
    let found = |program: &str| Command::new("which").arg(program).stdout(Stdio::null()).status().unwrap().success();
    let Some(missing) = ["redis-server", "redis-cli"].into_iter().find(|program| !found(program)) else { return true };
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{missing} is not installed, and in CI no test is skipped");
    crate::shared::skipped(&format!("{missing} is not installed; .ci/run installs it"));
    false
}

/// A running server.
pub struct Server {
    pub port: u16,
    settings: Vec<String>,
    is_sentinel: bool,
    folder: TempDir,
    process: Option<Running>,
}

/// A process that goes when this one does, however that ends.
struct Running {
    server: Child,
    watchdog: Child,
}

pub fn free_port() -> u16 {
    // A cluster's nodes listen on this port + 10000 too.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// Starts a server without persistence, with further settings (`["--requirepass", "x"]`).
    pub fn start(settings: &[&str]) -> Option<Self> {
        is_installed().then(|| {
            let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
            let folder = tempfile::tempdir().unwrap();
            let mut server = Self { port: free_port(), settings, is_sentinel: false, folder, process: None };
            server.restart();
            server
        })
    }

    /// Starts a sentinel that watches `mymaster` at a port, with further lines of its file, in which `PORT` is its own; so
    /// many have to agree.
    pub fn sentinel(master: u16, quorum: u32, lines: &[&str]) -> Option<Self> {
        is_installed().then(|| {
            let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {master} {quorum}\n\
                 sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 10000\n{}\n",
                lines.join("\n").replace("PORT", &port.to_string())
            );
            std::fs::write(folder.path().join("sentinel.conf"), text).unwrap();
            let mut server = Self { port, settings: Vec::new(), is_sentinel: true, folder, process: None };
            server.restart();
            server
        })
    }

    /// Starts it again on its port.
    pub fn restart(&mut self) {
        self.kill();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let port = self.port.to_string();
        let mut server = Command::new("redis-server");
        if self.is_sentinel {
            server.args(["sentinel.conf", "--sentinel"]);
        } else {
            let quiet = ["--save", "", "--daemonize", "no", "--loglevel", "warning"];
            server.args(["--port", &port, "--bind", "127.0.0.1"]).args(quiet);
        }
        server.args(&self.settings).current_dir(self.folder.path());
        let server = server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let watch = format!("read gone; kill -9 {}", server.id());
        let mut watchdog = Command::new("setsid");
        let watchdog = watchdog.args(["sh", "-c", &watch]).stdin(Stdio::piped()).stderr(Stdio::null());
        self.process = Some(Running { watchdog: watchdog.spawn().unwrap(), server });
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.listens_on())).is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(began.elapsed() < Duration::from_secs(30), "redis-server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The port without TLS is 0 where there is one with TLS.
    fn listens_on(&self) -> u16 {
        let tls = self.settings.iter().position(|setting| setting == "--tls-port");
        tls.map_or(self.port, |at| self.settings[at + 1].parse().unwrap())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(Running { mut server, mut watchdog }) = self.process.take() {
            server.kill().unwrap();
            server.wait().unwrap();
            let _ = watchdog.kill();
            watchdog.wait().unwrap();
        }
    }

    /// `kill -STOP` and the like.
    pub fn signal(&self, signal: &str) {
        let server = &self.process.as_ref().unwrap().server;
        assert!(Command::new("kill").args([signal, &server.id().to_string()]).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// What `redis-cli` says.
    pub fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    /// The names of all keys.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.retain(|key| !key.is_empty());
        keys.sort();
        keys
    }

    /// A value of `INFO`.
    pub fn info(&self, name: &str) -> String {
        let info = self.cli(&["INFO"]);
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn cli(port: u16, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A cluster of three primaries.
pub fn cluster() -> Option<[Server; 3]> {
    cluster_with([&[], &[], &[]])
}

/// A cluster of three primaries with further settings each.
pub fn cluster_with(more: [&[&str]; 3]) -> Option<[Server; 3]> {
    let node = |more: &[&str]| {
        Server::start(&[&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"], more].concat())
    };
    let nodes = [node(more[0])?, node(more[1])?, node(more[2])?];
    let ranges = [(0, 5460), (5461, 10_922), (10_923, 16_383)];
    for (node, (first, last)) in nodes.iter().zip(ranges) {
        let (first, last) = (first.to_string(), last.to_string());
        assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]), "OK");
        for other in &nodes {
            node.cli(&["CLUSTER", "MEET", "127.0.0.1", &other.listens_on().to_string()]);
        }
    }
    let began = Instant::now();
    let is_ready = |node: &Server| {
        let info = node.cli(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
    };
    while !nodes.iter().all(is_ready) {
        assert!(began.elapsed() < Duration::from_secs(60), "the cluster does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(nodes)
}
