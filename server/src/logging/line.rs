//! How a line is spelled: `time`, `level`, `msg`, the request's ids, then what the event adds.

use super::Trail;
use crate::config::LogFormat;
use crate::visible::is_hidden;
use serde_json::Value;
use std::fmt::{self, Debug, Display, Write};
use std::ops::Range;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Name of what a line says; its place is kept.
const MESSAGE: &str = "msg";

/// Spells lines in this format.
pub(super) struct Lines(pub(super) LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::new(self.0);
        line.text("time", &crate::clock::system()().fixed_utc());
        line.text("level", event.metadata().level().as_str());
        line.text(MESSAGE, "");
        Trail::each(|name, id| line.text(name, id));
        event.record(&mut line);
        line.write(&mut to)
    }
}

/// A line being put together. Every request has one, so its values are spelled where they will stand, into one buffer.
struct Line {
    format: LogFormat,
    spelled: String,
    /// Names, identifiers of the program, and where their values are.
    fields: Vec<(&'static str, Range<usize>)>,
}

impl Line {
    fn new(format: LogFormat) -> Self {
        Self { format, spelled: String::with_capacity(512), fields: Vec::with_capacity(12) }
    }

    fn put(&mut self, name: &'static str, spell: impl FnOnce(&mut String, LogFormat)) {
        let begin = self.spelled.len();
        spell(&mut self.spelled, self.format);
        let value = begin..self.spelled.len();
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some((MESSAGE, place)) => *place = value,
            // What the event says itself is nearer to what happened than the ids of its request.
            Some(_) => {
                self.fields.retain(|(known, _)| *known != name);
                self.fields.push((name, value));
            }
            None => self.fields.push((name, value)),
        }
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.put(name, |to, format| match format {
            // A text without blanks and quotes stands for itself, any other as JSON has it.
            LogFormat::Text
                if !text.is_empty()
                    && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=') =>
            {
                to.push_str(text);
            }
            _ => spell(to, text),
        });
    }

    fn plain(&mut self, name: &'static str, value: impl Display) {
        self.put(name, |to, _| {
            // Writing into a text does not fail.
            let _ = write!(to, "{value}");
        });
    }

    fn write(self, to: &mut Writer<'_>) -> fmt::Result {
        for (n, (name, value)) in self.fields.into_iter().enumerate() {
            let value = &self.spelled[value];
            match self.format {
                LogFormat::Json => write!(to, "{}\"{name}\":{value}", if n == 0 { '{' } else { ',' })?,
                LogFormat::Text => write!(to, "{}{name}={value}", if n == 0 { "" } else { " " })?,
            }
        }
        to.write_str(if self.format == LogFormat::Json { "}\n" } else { "\n" })
    }
}

/// As a JSON string, with an escape for every character that is not seen: JSON itself asks that only of those below
/// U+0020.
fn spell(to: &mut String, text: &str) {
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
        to.extend(["\"", text, "\""]);
        return;
    }
    for c in Value::from(text).to_string().chars() {
        if is_hidden(c) {
            // All of them have four digits.
            let _ = write!(to, "\\u{:04x}", u32::from(c));
        } else {
            to.push(c);
        }
    }
}

impl Visit for Line {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field_name(field), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field_name(field), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field_name(field), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field_name(field), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field_name(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing into a text does not fail unless the value's own Debug does.
        let _ = write!(text, "{value:?}");
        self.text(field_name(field), &text);
    }
}

fn field_name(field: &Field) -> &'static str {
    if field.name() == "message" { MESSAGE } else { field.name() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("page").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn lines(format: LogFormat, speak: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(page.clone()).event_format(Lines(format));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), speak);
        let bytes = page.0.lock().expect("page").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_string).collect()
    }

    #[test]
    fn a_line_is_one_object_with_the_ids_of_its_request() {
        let trail = Trail::begin();
        let lines = lines(LogFormat::Json, || {
            tracing::info!("before");
            trail.within(|| {
                tracing::warn!(n = 7, name = "a \"b\"\n", dur = ?std::time::Duration::from_millis(3), "first");
                Trail::user("u_1");
                Trail::project("p_1");
                Trail::user("u_2");
                tracing::info!(pid = %"p_2", yes = true, "second");
            });
        });
        let of = |n: usize| serde_json::from_str::<Value>(&lines[n]).expect("json");
        assert_eq!(lines.len(), 3);
        assert!(of(0).get("rid").is_none());
        let first = of(1);
        assert_eq!(
            (&first["msg"], &first["level"], &first["rid"]),
            (&"first".into(), &"WARN".into(), &trail.request().into())
        );
        assert_eq!(
            (&first["n"], &first["name"], &first["dur"]),
            (&7.into(), &"a \"b\"\n".into(), &"3ms".into())
        );
        assert!(first.get("uid").is_none());
        let second = of(2);
        assert_eq!(
            (&second["uid"], &second["pid"], &second["yes"]),
            (&"u_1".into(), &"p_2".into(), &true.into())
        );
        assert_eq!(lines[2].matches("\"pid\"").count(), 1, "{}", lines[2]);
        assert!(first["time"].as_str().is_some_and(|t| t.ends_with('Z')));
    }

    #[test]
    fn a_text_line_cannot_be_broken_by_what_it_says() {
        let lines =
            lines(LogFormat::Text, || tracing::info!(name = "a b\nlevel=ERROR", path = "/x", "hello"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].ends_with(r#" level=INFO msg=hello name="a b\nlevel=ERROR" path=/x"#), "{lines:?}");
    }

    #[test]
    fn what_is_not_seen_is_spelled_out() {
        let name = "a\u{9b}2J\u{85}\u{202e}\u{2028}\u{7f}é";
        let json = lines(LogFormat::Json, || tracing::info!(name, "hello"));
        assert!(json[0].ends_with(r#""name":"a\u009b2J\u0085\u202e\u2028\u007fé"}"#), "{json:?}");
        assert_eq!(serde_json::from_str::<Value>(&json[0]).expect("json")["name"], name);
        let text = lines(LogFormat::Text, || tracing::info!(name, "hello"));
        assert!(text[0].ends_with(r#" name="a\u009b2J\u0085\u202e\u2028\u007fé""#), "{text:?}");
    }
}
