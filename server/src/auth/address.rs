//! Mail addresses: one account, one spelling (server-protocol 2.9, W31).

/// Longest address that a mail server has to take (RFC 5321).
const LONGEST: usize = 254;

/// The bare address in lower case, also out of `Name <ana@example.org>`; `None` if it is no single address.
pub fn address(text: &str) -> Option<String> {
    let text = text.trim();
    // A name in front is shown to whoever approves a login, and stored.
    if text.len() > 2 * LONGEST {
        return None;
    }
    let bare = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>')?.trim(),
        None => text,
    };
    // First, for it may become longer: what is given back has to be an address too.
    let bare = bare.to_lowercase();
    let (local, host) = bare.rsplit_once('@')?;
    let sane = |c: char| {
        !c.is_whitespace() && !c.is_control() && !matches!(c, '<' | '>' | ',' | ';' | '"' | '@' | '\\')
    };
    let fits = !local.is_empty() && !host.is_empty() && bare.len() <= LONGEST;
    let host_fits = !host.starts_with('.') && !host.ends_with('.') && !host.contains("..");
    let is_address = fits && host_fits && local.chars().chain(host.chars()).all(sane);
    is_address.then_some(bare)
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
