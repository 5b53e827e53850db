//! Words of a command line that a person can paste.

use std::path::Path;

/// The word as a shell reads it: quoted only if it has to be.
#[must_use]
pub fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A path as one word.
#[must_use]
pub fn path(path: &Path) -> String {
    word(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_would_split_or_expand_it() {
        assert_eq!(word("/home/ana/td-sync@1:2"), "/home/ana/td-sync@1:2");
        assert_eq!(word("/home/ana o'dell/$x"), r"'/home/ana o'\''dell/$x'");
        assert_eq!(word("~/a"), "'~/a'");
        assert_eq!(word(""), "''");
    }
}
