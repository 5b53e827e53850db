//! `Range` (RFC 9110, 14): the part of a file that is asked for.
//!
//! Several parts at once are not served: such a request gets the whole file, as the protocol allows.

/// What to send of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// From one byte up to, not including, another.
    Part(u64, u64),
    /// Nothing of what is asked for is there.
    Nothing,
}

/// Reads a header. What is no range in bytes counts as none.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    header.and_then(|text| parse(text, size)).unwrap_or(Wanted::Whole)
}

fn parse(text: &str, size: u64) -> Option<Wanted> {
    let (unit, spec) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    Some(match (first, last) {
        (None, None) => return None,
        (None, Some(0)) => Wanted::Nothing,
        (None, Some(count)) => part(size.saturating_sub(count), size),
        (Some(from), None) if from < size => part(from, size),
        (Some(from), Some(to)) if to < from => return None,
        (Some(from), Some(to)) if from < size => part(from, size.min(to.saturating_add(1))),
        (Some(_), _) => Wanted::Nothing,
    })
}

fn part(from: u64, to: u64) -> Wanted {
    if from < to { Wanted::Part(from, to) } else { Wanted::Nothing }
}

/// `None` is no number; `Some(None)` is nothing at all.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    let all_digits = text.bytes().all(|b| b.is_ascii_digit());
    // More digits than fit mean "behind every end".
    all_digits.then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file_and_odd_ones_ignored() {
        use Wanted::{Nothing, Part, Whole};
        for (header, want) in [
            ("bytes=0-99", Part(0, 100)),
            ("bytes=0-", Part(0, 100)),
            ("Bytes = 10-19", Part(10, 20)),
            ("bytes=90-1000", Part(90, 100)),
            ("bytes=99-", Part(99, 100)),
            ("bytes=-1", Part(99, 100)),
            ("bytes=-1000", Part(0, 100)),
            ("bytes=-0", Nothing),
            ("bytes=100-", Nothing),
            ("bytes=100-200", Nothing),
            ("bytes=5-18446744073709551616", Part(5, 100)),
            ("bytes=18446744073709551616-", Nothing),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes=0-1,5-6", Whole),
            ("bytes=+1-5", Whole),
            ("bytes=a-b", Whole),
            ("items=0-1", Whole),
            ("bytes", Whole),
            ("", Whole),
        ] {
            assert_eq!(wanted(Some(header), 100), want, "{header:?}");
        }
        assert_eq!(wanted(None, 100), Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Nothing);
        assert_eq!(wanted(Some("bytes=-5"), 0), Nothing);
    }
}
