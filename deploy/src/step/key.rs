//! The names of the steps.

use std::fmt;

/// The stable name of a step, as `server.config`: in journals, receipts and `--json` for ever, so never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey(&'static str);

macro_rules! keys {
    ($($name:ident = $text:literal),* $(,)?) => {
        impl StepKey {
            $(#[doc = concat!("`", $text, "`")] pub const $name: StepKey = StepKey::new($text);)*
            /// All of them, in the order in which they run.
            pub const ALL: &'static [StepKey] = &[$(StepKey::$name),*];
        }
    };
}

keys! {
    PRE_LOCAL = "pre.local", PRE_CONNECT = "pre.connect", PRE_FACTS = "pre.facts", PRE_POLICY = "pre.policy",
    HOST_STATEDIR = "host.statedir", HOST_AGENT = "host.agent", SYS_USER = "sys.user", SYS_DIRS = "sys.dirs",
    SECRETS_WRITE = "secrets.write", SERVER_RELEASE = "server.release", SERVER_CONFIG = "server.config",
    SERVER_UNITS = "server.units", NET_PORTS = "net.ports", NET_FIREWALL = "net.firewall",
    TLS_REHEARSE = "tls.rehearse", TLS_ISSUE = "tls.issue", DATA_TARGET = "data.target",
    SERVER_REHEARSE = "server.rehearse", SERVER_CUTOVER = "server.cutover", SERVER_ADMIN = "server.admin",
    DATA_FIRST_BACKUP = "data.first_backup", DATA_DRILL = "data.drill", TIMERS_ENABLE = "timers.enable",
    CLIENT_CONFIG = "client.config", CLIENT_ROUNDTRIP = "client.roundtrip", OUTSIDE_PROBE = "outside.probe",
    RECEIPT_SEAL = "receipt.seal",
}

impl StepKey {
    /// Two parts of `[a-z_]` with one dot between; anything else does not compile in a constant.
    pub const fn new(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let (mut i, mut dots) = (0, 0);
        while i < bytes.len() {
            match bytes[i] {
                b'a'..=b'z' | b'_' => {}
                b'.' if i > 0 && i + 1 < bytes.len() => dots += 1,
                _ => panic!("a step key has two parts of a-z and _ with one dot between"),
            }
            i += 1;
        }
        assert!(dots == 1, "a step key has two parts of a-z and _ with one dot between");
        Self(text)
    }

    /// The text.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
