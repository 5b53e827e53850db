//! Certificates of a test's own, and a client that looks at what a handshake shows.

use super::wire::{Answer, Ask, read_answer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};

/// An authority that signs what a test asks for.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("root").der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Writes `NAME.pem` and `NAME.key` for the DNS names, ending so many days from now.
    pub fn write(&self, dir: &Path, file: &str, names: &[&str], days: i64) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = OffsetDateTime::now_utc() + time::Duration::days(days);
        params.not_before = params.not_after - time::Duration::days(90);
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let (chain_file, key_file) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
        std::fs::write(&chain_file, certificate.pem()).expect("chain");
        std::fs::write(&key_file, key.serialize_pem()).expect("key");
        (chain_file, key_file)
    }

    /// A connection whose other end showed a good certificate for the name, or why not.
    pub fn connect(&self, address: SocketAddr, name: &str) -> Result<Secure, String> {
        self.connect_as(address, name, &[&version::TLS13, &version::TLS12])
    }

    pub fn connect_as(
        &self,
        address: SocketAddr,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Secure, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("root");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_string()).expect("name");
        let session = ClientConnection::new(Arc::new(config), name).expect("client");
        let socket = TcpStream::connect(address).map_err(|e| e.to_string())?;
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|e| e.to_string())?;
        }
        Ok(Secure(BufReader::new(stream)))
    }
}

/// A connection over TLS that is kept.
pub struct Secure(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Secure {
    pub fn ask(&mut self, ask: &Ask) -> Answer {
        self.0.get_mut().write_all(&ask.bytes()).expect("write");
        read_answer(&mut self.0, ask.method == "HEAD").expect("an answer")
    }

    /// Serial number and names tell too little: the certificate itself.
    pub fn shown(&self) -> Vec<u8> {
        self.0.get_ref().conn.peer_certificates().expect("certificates")[0].to_vec()
    }
}
