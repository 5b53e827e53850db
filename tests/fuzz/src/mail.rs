//! A mail address, as it names an account and as it may stand in a mail's header.
//!
//! What holds: the spelling that comes out is the one that comes out of it again, and has nothing in it that begins
//! another address or another header.

use td_server::auth::address;
use td_server::mail::{Mail, escaped};

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let shown = escaped(&text);
    assert!(!shown.contains(['<', '>', '"', '\'']), "{shown}");
    let Some(bare) = address(&text) else { return };
    assert_eq!(address(&bare).as_deref(), Some(&*bare), "{text:?}");
    assert!(!bare.chars().any(|c| c.is_control() || c.is_whitespace() || "<>,;\"\\".contains(c)), "{bare:?}");
    assert_eq!(bare.matches('@').count(), 1, "{bare:?}");
    let mail = Mail::device_login(&bare, "https://sync.test/x?token=a.b&c=<d>", "id");
    assert!(!mail.html.contains("<d>"));
}
