//! Mail addresses: one account, one spelling (server-protocol 2.9, W31).

/// Longest address that a mail server has to take (RFC 5321).
const LONGEST: usize = 254;

/// The bare address in lower case, also out of `Name <ana@example.org>`; `None` if it is no single address. As RFC 5322
/// has it, but for what nobody's mailbox is called today: quoted words before the `@`, comments and groups.
pub fn address(text: &str) -> Option<String> {
    let text = text.trim();
    // A name in front is shown to whoever approves a login, and stored.
    if text.len() > 2 * LONGEST {
        return None;
    }
    let bare = match text.strip_suffix('>') {
        Some(named) => named.rsplit_once('<').filter(|(name, _)| is_name(name.trim()))?.1.trim(),
        None => text,
    };
    // First, for it may become longer: what is given back has to be an address too.
    let bare = bare.to_lowercase();
    let (local, host) = bare.rsplit_once('@')?;
    let words = |text: &str| text.split('.').all(|word| !word.is_empty() && word.chars().all(is_atom));
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_host = literal.map_or_else(|| words(host), |ip| ip.parse::<std::net::IpAddr>().is_ok());
    (bare.len() <= LONGEST && words(local) && is_host).then_some(bare)
}

/// What words are made of.
fn is_atom(c: char) -> bool {
    let visible = !c.is_ascii() && !c.is_whitespace() && !c.is_control();
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || visible
}

/// What may stand in front of an address in angle brackets: nothing, words, or anything in quotes.
fn is_name(name: &str) -> bool {
    match name.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').is_some_and(|inner| {
            let mut is_escaped = false;
            let is_whole = inner.chars().all(|c| {
                let ends_early = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                !ends_early && !c.is_control()
            });
            is_whole && !is_escaped
        }),
        None => name.chars().all(|c| is_atom(c) || matches!(c, ' ' | '.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_account_however_it_is_written() {
        for (text, bare) in [
            ("Ana@Example.org", "ana@example.org"),
            ("  ana@test.local ", "ana@test.local"),
            ("Ana Liza <ANA@example.org>", "ana@example.org"),
            ("ana+td@ex-ample.org", "ana+td@ex-ample.org"),
            ("<ana@example.org>", "ana@example.org"),
            ("J. D\u{f6}e <ana@example.org>", "ana@example.org"),
            (r#""Liza, A. <\"x\">" <ana@example.org>"#, "ana@example.org"),
            ("ana@[192.0.2.1]", "ana@[192.0.2.1]"),
        ] {
            assert_eq!(address(text).as_deref(), Some(bare), "{text}");
        }
    }

    #[test]
    fn what_is_no_single_address_is_refused() {
        let long = format!("{}@x.org", "a".repeat(LONGEST));
        let bad = [
            "",
            "no-at-sign",
            "@x",
            "a@",
            "a b@x",
            "a@x,b@y",
            "a@x\nBcc: b@y",
            "<a@x",
            "a@@x",
            "a@x..y",
            "a@.x",
            ".a@x",
            "a..b@x",
            "a(b)@x",
            "mailto:a@x",
            "a@x]y",
            "a@[x]",
            "J D, X <a@x>",
            "b@x <a@x>",
            r#""b" c" <a@x>"#,
            r#""b\" <a@x>"#,
            "<a@x> b",
            "g: a@x;",
            &long,
            &format!("{}<ana@example.org>", "name ".repeat(LONGEST)),
            // Two bytes that are three in lower case.
            &format!("{}@x.org", "\u{130}".repeat(100)),
        ];
        for text in bad {
            assert_eq!(address(text), None, "{text:?}");
        }
    }
}
