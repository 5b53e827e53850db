//! A real ACME server on this machine: Debian's `pebble` with its name server, and a front before it that can refuse.
//!
//! Danger: two authorities. The one of `Authority` is what an ACME client trusts at the directory; what pebble issues is
//! verified by its own root, which is new at each start.

use crate::tls::Authority;
use crate::{skip, wait_until};
use serde_json::json;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whether pebble is on this machine; else the test is recorded as skipped under the name.
pub fn is_here(test: &str) -> bool {
    let here = ["pebble", "pebble-challtestsrv"].iter().all(|p| Path::new("/usr/bin").join(p).exists());
    if !here {
        skip(test, "pebble is not installed (apt-get install pebble)");
    }
    here
}

/// Free at this moment only; a program that cannot bind says so and the test fails with its words. Asked for one after the
/// other they can be the same.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.each_ref().map(|listener| listener.local_addr().expect("an address"))
}

/// A process that ends with its value.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it and waits until it listens.
    fn start(mut command: Command, log: PathBuf, listens: &[SocketAddr]) -> Self {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&log).expect("log");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("log")).stderr(file);
        let mut process = Self { child: command.spawn().expect("it starts"), log };
        let up = wait_until(Duration::from_secs(20), || {
            let gone = process.child.try_wait().expect("asked");
            assert!(gone.is_none(), "it ended:\n{}", process.text());
            listens.iter().all(|a| TcpStream::connect(a).is_ok())
        });
        assert!(up, "it does not listen:\n{}", process.text());
        process
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("it ends");
    }
}

/// A name server that says 127.0.0.1 for everything, unless it is told to fail.
pub struct Names {
    dns: SocketAddr,
    management: SocketAddr,
    _process: Process,
}

impl Names {
    /// On a port of its own.
    pub fn start(dir: &Path) -> Self {
        let [dns, management] = free_addresses();
        Self::at(dir, dns, management)
    }

    /// On that address.
    pub fn at(dir: &Path, dns: SocketAddr, management: SocketAddr) -> Self {
        let mut command = Command::new("/usr/bin/pebble-challtestsrv");
        command.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", ""]);
        command.args(["-tlsalpn01", "", "-dns01", &dns.to_string(), "-management", &management.to_string()]);
        let process = Process::start(command, dir.join("names.log"), &[dns, management]);
        Self { dns, management, _process: process }
    }

    /// Look-ups of the name fail from now on.
    pub fn fail(&self, name: &str) {
        self.tell("set-servfail", name);
    }

    /// Look-ups of the name work again.
    pub fn heal(&self, name: &str) {
        self.tell("clear-servfail", name);
    }

    fn tell(&self, verb: &str, name: &str) {
        let url = format!("http://{}/{verb}", self.management);
        ureq::post(url).send_json(json!({"host": format!("{name}.")})).expect("the name server is told");
    }
}

/// An ACME server that looks for answers on the given ports.
pub struct Pebble {
    listen: SocketAddr,
    management: SocketAddr,
    dir: PathBuf,
    ca_file: PathBuf,
    names: SocketAddr,
    process: Option<Process>,
}

/// Where pebble looks for the answers, and how long its certificates live.
#[derive(Clone, Copy)]
pub struct Looks {
    /// For HTTP-01.
    pub http: SocketAddr,
    /// For TLS-ALPN-01.
    pub https: SocketAddr,
    /// Life of a certificate in seconds.
    pub lifetime: u32,
}

impl Pebble {
    /// In a folder of its own below `dir`.
    pub fn start(dir: &Path, name: &str, authority: &Authority, names: &Names, looks: Looks) -> Self {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).expect("folder");
        authority.sign(&["localhost", "acme.test"]).write(&dir, "api");
        let ca_file = dir.join("ca.pem");
        std::fs::write(&ca_file, authority.root_pem()).expect("root");
        let [listen, management] = free_addresses();
        let config = json!({"pebble": {
            "listenAddress": listen, "managementListenAddress": management,
            "certificate": dir.join("api.pem"), "privateKey": dir.join("api.key"),
            "httpPort": looks.http.port(), "tlsPort": looks.https.port(),
            "certificateValidityPeriod": looks.lifetime, "ocspResponderURL": "",
            "externalAccountBindingRequired": false}});
        std::fs::write(dir.join("config.json"), config.to_string()).expect("config");
        let mut pebble = Self { listen, management, dir, ca_file, names: names.dns, process: None };
        pebble.restart();
        pebble
    }

    /// Starts it (again). It forgets accounts, and has another root.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new("/usr/bin/pebble");
        command.arg("-config").arg(self.dir.join("config.json")).args(["-strict=false", "-dnsserver"]);
        command.arg(self.names.to_string()).env("PEBBLE_VA_NOSLEEP", "1");
        command.env("PEBBLE_WFE_NONCEREJECT", "0").env("PEBBLE_AUTHZREUSE", "0");
        let listens = [self.listen, self.management];
        self.process = Some(Process::start(command, self.dir.join("pebble.log"), &listens));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Its directory under a host of the caller's choice (`127.0.0.1`, `acme.test`).
    pub fn directory(&self, host: &str) -> String {
        format!("https://{host}:{}/dir", self.listen.port())
    }

    /// PEM file with who signs the directory's own certificate.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Who signs what it issues.
    pub fn root_pem(&self) -> String {
        let ca = std::fs::read(&self.ca_file).expect("root");
        let ca = ureq::tls::Certificate::from_pem(&ca).expect("root");
        let roots = ureq::tls::RootCerts::new_with_certs(&[ca]);
        let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().tls_config(tls).build());
        let answer = agent.get(format!("https://{}/roots/0", self.management)).call();
        answer.expect("a root").body_mut().read_to_string().expect("text")
    }
}
