//! An authority of a test's own, and a client that looks at what a handshake shows.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

/// Signs for names and for 127.0.0.1.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

/// Chain and key in PEM.
pub struct Pair {
    /// Own certificate first.
    pub chain: String,
    /// PKCS#8.
    pub key: String,
}

impl Authority {
    /// A new one.
    #[allow(clippy::new_without_default, reason = "each is another; a default would hide that")]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("root").pem();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Its certificate, for a `--ca-file`.
    pub fn root_pem(&self) -> &str {
        &self.root
    }

    /// A certificate for the names and 127.0.0.1.
    pub fn sign(&self, names: &[&str]) -> Pair {
        let mut params =
            CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).expect("names");
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let key = KeyPair::generate().expect("key");
        let chain = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Pair { chain, key: key.serialize_pem() }
    }
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key` in the folder.
    pub fn write(&self, dir: &Path, name: &str) {
        std::fs::write(dir.join(format!("{name}.pem")), &self.chain).expect("chain");
        std::fs::write(dir.join(format!("{name}.key")), &self.key).expect("key");
    }

    /// For a server of the test's.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).map(|c| c.expect("pem")).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        Arc::new(config.with_single_cert(chain, key).expect("pair"))
    }
}

/// A connection whose other end showed a good certificate for the name, or why not.
pub fn connect(
    root_pem: &str,
    address: SocketAddr,
    name: &str,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root_pem.as_bytes()) {
        roots.add(root.expect("pem")).expect("root");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_string()).expect("name");
    let session = ClientConnection::new(Arc::new(config), name).expect("client");
    let socket = TcpStream::connect(address).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|e| e.to_string())?;
    }
    Ok(stream)
}

/// The certificate that is shown for the name, if it is good.
pub fn shown(root_pem: &str, address: SocketAddr, name: &str) -> Result<Vec<u8>, String> {
    let stream = connect(root_pem, address, name)?;
    Ok(stream.conn.peer_certificates().expect("a certificate")[0].to_vec())
}
