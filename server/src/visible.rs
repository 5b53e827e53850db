//! Characters that are not seen and yet change what is seen.
//!
//! Duty: keep what strangers chose (names, ids, paths) from acting on an operator's terminal or reading as another line.

/// Moves a cursor, ends a line, or turns the direction of writing. Not only ASCII's: U+009B begins a terminal's command
/// as ESC does, U+2028 ends a line in many viewers.
pub fn is_hidden(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A text of several lines with nothing hidden in them: the last sieve before a terminal. What ends up in an answer comes
/// from many hands (an address in a database that was taken over, a name in an error).
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) && c != '\n' { '\u{fffd}' } else { c }).collect()
}
