//! A certificate in DER, as an authority issues it or an operator hands it over inside PEM; the key is always the same.
//!
//! What holds: reading it, asking how long it lasts and which names it covers never fails, and a name it says is one of
//! its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use td_server::tls::Certificate;

/// PKCS #8 around an Ed25519 key of 32 zero bytes, in PEM: a secret of nobody.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
    -----END PRIVATE KEY-----\n";

pub fn run(input: &[u8]) {
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(input));
    let Ok(certificate) = Certificate::parse(pem.as_bytes(), KEY.as_bytes()) else { return };
    assert!(certificate.validity.lifetime() >= 0);
    certificate.validity.alarm(td_server::tls::now());
    assert!(!certificate.covers("") && !certificate.covers("not a name"));
    certificate.covers_all(&certificate.names);
}
