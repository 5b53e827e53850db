//! The name of a project in addresses (server-protocol 4.3).

/// Lower-case letters and digits with single dashes between; empty if the name has none.
pub fn slug_stem(name: &str) -> String {
    let mut out = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_string()
}

/// The first of `stem`, `stem-2`, `stem-3`, … that is not taken.
pub(super) fn free_slug<E>(stem: &str, mut taken: impl FnMut(&str) -> Result<bool, E>) -> Result<String, E> {
    let mut slug = stem.to_string();
    let mut n = 1;
    while taken(&slug)? {
        n += 1;
        slug = format!("{stem}-{n}");
    }
    Ok(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_other_characters_become_one_dash() {
        for (name, slug) in [
            ("Fixture Project", "fixture-project"),
            ("  --A__b!!", "a-b"),
            ("日本語", ""),
            ("Ünïcode 7", "n-code-7"),
        ] {
            assert_eq!(slug_stem(name), slug);
        }
    }

    #[test]
    fn a_taken_slug_gets_a_number() {
        let taken = |s: &str| Ok::<_, ()>(["a", "a-2"].contains(&s));
        assert_eq!(free_slug("a", taken), Ok("a-3".into()));
    }
}
