//! Text for a terminal of some width.
//!
//! Duty: words are wrapped under a head, commands are continued with `\` so that they can be pasted as they stand.
//! Invariant: no line is wider than the page, but for a single word (a path) that is wider itself.

use console::{Term, measure_text_width};

/// Narrower pages are not worth the trouble.
const NARROWEST: usize = 40;
/// Longer lines are hard to read.
const WIDEST: usize = 100;
/// Where there is no terminal.
const USUAL: usize = 80;

/// So many columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(usize);

impl Width {
    /// Of the terminal behind the standard output, else behind the standard error, else 80.
    pub fn here() -> Self {
        let size = |term: Term| term.size_checked().map(|(_, columns)| usize::from(columns));
        let columns = size(Term::stdout()).or_else(|| size(Term::stderr())).filter(|columns| *columns > 0);
        Self::of(columns.unwrap_or(USUAL))
    }

    /// The nearest that is usable.
    pub fn of(columns: usize) -> Self {
        Self(columns.clamp(NARROWEST, WIDEST))
    }

    /// Columns.
    pub fn columns(self) -> usize {
        self.0
    }
}

/// Lines, one under the other.
#[derive(Clone, Debug)]
pub struct Page {
    width: usize,
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new(width: Width) -> Self {
        Self { width: width.0, text: String::new() }
    }

    /// All its lines.
    pub fn text(self) -> String {
        self.text
    }

    /// An empty line.
    pub fn gap(&mut self) -> &mut Self {
        self.text.push('\n');
        self
    }

    /// A line that must not be changed.
    pub fn line(&mut self, line: &str) -> &mut Self {
        self.text.push_str(line.trim_end());
        self.gap()
    }

    /// Words from the margin on.
    pub fn words(&mut self, words: &str) -> &mut Self {
        self.under("", words)
    }

    /// Words behind a head, wrapped under themselves; under the head where that leaves too little room. A line break in
    /// the words stays one.
    pub fn under(&mut self, head: &str, words: &str) -> &mut Self {
        let wide = measure_text_width(head);
        let longest = words.split_whitespace().map(measure_text_width).max().unwrap_or(0);
        // Under the head, two columns further in than the head itself if there is room for that.
        let indent = head.len() - head.trim_start().len();
        let margin = indent + self.width.saturating_sub(indent + longest).min(2).min(wide - indent);
        let below = wide > 0 && !words.is_empty() && (wide * 2 > self.width || wide + longest > self.width);
        let hang = if below { margin } else { wide };
        // A head of blanks is an indent: the words move to the left, there is nothing to put above them.
        let mut line = if below && head.trim().is_empty() { " ".repeat(hang) } else { head.to_owned() };
        if below && !head.trim().is_empty() {
            self.line(head);
            line = " ".repeat(hang);
        }
        for (number, paragraph) in words.split('\n').enumerate() {
            if number > 0 {
                self.line(&std::mem::replace(&mut line, " ".repeat(hang)));
            }
            let mut empty = true;
            for word in paragraph.split_whitespace() {
                let gap = usize::from(!empty);
                if !empty && measure_text_width(&line) + gap + measure_text_width(word) > self.width {
                    self.line(&std::mem::replace(&mut line, " ".repeat(hang)));
                    empty = true;
                }
                if !empty {
                    line.push(' ');
                }
                line.push_str(word);
                empty = false;
            }
        }
        self.line(&line)
    }

    /// A command on lines of its own.
    pub fn command(&mut self, command: &str) -> &mut Self {
        let (indent, further) = ("    ", "      ");
        let mut line = indent.to_owned();
        for word in shell_words(command) {
            // Two columns are for the backslash.
            let more = measure_text_width(&line) + 1 + measure_text_width(word) + 2 > self.width;
            if line.trim().is_empty() {
                line.push_str(word);
            } else if more && indent.len() + measure_text_width(command) > self.width {
                self.line(&format!("{line} \\"));
                line = format!("{further}{word}");
            } else {
                line.push(' ');
                line.push_str(word);
            }
        }
        self.line(&line)
    }
}

/// The words of a command line; what is in quotes stays together.
fn shell_words(command: &str) -> Vec<&str> {
    let (mut words, mut from, mut quote) = (Vec::new(), 0, None);
    for (at, letter) in command.char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ' ') => {
                words.push(&command[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    words.push(&command[from..]);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(columns: usize, write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::new(Width::of(columns));
        write(&mut page);
        page.text()
    }

    #[test]
    fn words_are_wrapped_under_themselves_and_under_the_head_where_that_is_narrow() {
        let words = "one two three four five six seven eight nine ten eleven twelve";
        let text = page(40, |page| _ = page.under("head:  ", words));
        assert_eq!(text, "head:  one two three four five six seven\n       eight nine ten eleven twelve\n");
        let text = page(40, |page| _ = page.under("a head of half the page: ", words));
        assert!(text.starts_with("a head of half the page:\n  one two"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
    }

    #[test]
    fn a_path_that_does_not_fit_behind_its_head_goes_below_it() {
        let text = page(40, |page| _ = page.under("  data       ", "/home/ana/.local/share/td-sync/data"));
        assert_eq!(text, "  data\n    /home/ana/.local/share/td-sync/data\n");
    }

    #[test]
    fn a_long_command_can_be_pasted_as_it_stands() {
        let command = "td-sync admin enroll create --email ana@example.org --db '/home/ana o/server.db'";
        let text = page(40, |page| _ = page.command(command));
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
        let joined = text.replace("\\\n", " ");
        assert_eq!(joined.split_whitespace().collect::<Vec<_>>().join(" "), command);
        assert!(text.contains("'/home/ana o/server.db'"), "what is quoted stays on one line: {text}");
        assert_eq!(page(100, |page| _ = page.command(command)), format!("    {command}\n"));
    }
}
