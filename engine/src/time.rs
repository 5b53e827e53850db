//! Times as the reference reads, stores and prints them (server-protocol 4.6, 6.3; client-engine 1.2, 1.10).
//!
//! Duty: one parser for what clients may push, one for what a row may hold, and the text forms both sides write.
//! Invariant: a time is an instant *and* the offset it was written with; equality of state looks at the instant.
//! Danger: SQLite compares these columns as text, so a form is as much a contract as a value.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

const YEAR_0: i128 = -62_167_219_200_000_000_000;
const YEAR_9999_END: i128 = 253_402_300_799_999_999_999;

/// A time with the zone offset it was written in, to the nanosecond.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientTime(OffsetDateTime);

/// A text that is no time in the form that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: {0:?}")]
pub struct BadTime(pub String);

impl ClientTime {
    /// RFC 3339 as the reference accepts it on the wire: upper-case `T` and a mandatory zone, but a one-digit hour, a
    /// comma before the fraction and offsets up to 24:59 pass. Digits beyond nine are cut. Unlike there, `24:60` does not:
    /// it is written as `25:00`, which nobody reads.
    pub fn parse(text: &str) -> Result<Self, BadTime> {
        parse(text, Form::Wire).map(Self).ok_or_else(|| BadTime(text.into()))
    }

    /// Any form a row may hold: `T` or a blank, fraction or not, offset, `Z` or nothing (UTC), no seconds, date only,
    /// and Go's default print (`2026-01-02 15:04:05.1 +0200 CEST m=+0.1`).
    pub fn parse_stored(text: &str) -> Result<Self, BadTime> {
        parse(text, Form::Row).map(Self).ok_or_else(|| BadTime(text.into()))
    }

    /// From a moment, in UTC.
    pub fn from_unix_nanos(nanos: i128) -> Result<Self, BadTime> {
        OffsetDateTime::from_unix_timestamp_nanos(nanos).map(Self).map_err(|_| BadTime(nanos.to_string()))
    }

    /// Nanoseconds since 1970 in UTC: what two spellings of one moment share.
    pub fn unix_nanos(self) -> i128 {
        self.0.unix_timestamp_nanos()
    }

    /// `2026-11-21T09:53:18.7+02:00`: original offset (`Z` when zero), fraction without trailing zeros, none when zero.
    pub fn rfc3339n(self) -> String {
        self.text('T', true)
    }

    /// `2026-11-21 09:53:18.7+02:00`: the form of DATETIME columns; the offset is always spelt.
    pub fn canonical(self) -> String {
        self.text(' ', false)
    }

    /// `2026-11-21T09:53:18.700000000Z`: UTC with all nine digits, so that text order is time order. The form our own
    /// events use (client-engine 11.11).
    pub fn fixed_utc(self) -> String {
        let t = self.in_utc();
        format!("{}.{:09}Z", stem(t, 'T'), t.nanosecond())
    }

    /// `2026-11-21T09:53:18Z`: UTC, whole seconds.
    pub fn rfc3339s_utc(self) -> String {
        format!("{}Z", stem(self.in_utc(), 'T'))
    }

    /// `2026-11-21 09:53:18`: UTC, whole seconds, as SQLite's CURRENT_TIMESTAMP.
    pub fn sql_utc(self) -> String {
        stem(self.in_utc(), ' ')
    }

    /// The same moment in UTC.
    pub fn utc(self) -> Self {
        Self(self.in_utc())
    }

    /// Years have four digits in every form, and a client may push the last minute of 9999 an hour west of Greenwich:
    /// what UTC would put outside the years 0 to 9999 is the nearest moment inside. A library that panicked there once
    /// stopped a project's applier for good.
    fn in_utc(self) -> OffsetDateTime {
        let nanos = self.unix_nanos().clamp(YEAR_0, YEAR_9999_END);
        // Both bounds are within what the type holds.
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(self.0)
    }

    /// [`ClientTime::rfc3339n`] of a time in exactly the form of [`ClientTime::canonical`], without reading it; `None` for
    /// any other text. Pages of a log are made of these.
    pub fn wire_form(canonical: &str) -> Option<String> {
        let mut s = Scan(canonical.as_bytes());
        let mut within = |digits: usize, from: u32, to: u32, then: &[u8]| {
            let value = s.digits(digits, digits)?;
            (then.is_empty() || s.take(then).is_some()).then_some(())?;
            (from..=to).contains(&value).then_some(())
        };
        within(4, 0, 9999, b"-")?;
        within(2, 1, 12, b"-")?;
        within(2, 1, 31, b" ")?;
        within(2, 0, 23, b":")?;
        within(2, 0, 59, b":")?;
        within(2, 0, 59, b"")?;
        let (date, rest) = canonical.split_at(10);
        let (clock, zone) = rest[1..].split_at_checked(rest.len().checked_sub(7)?)?;
        if let Some(fraction) = clock.get(8..).filter(|fraction| !fraction.is_empty()) {
            let digits = fraction.strip_prefix('.')?;
            let plain = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            (plain && !digits.ends_with('0')).then_some(())?;
        }
        let mut s = Scan(zone.as_bytes());
        s.take(b"+-")?;
        (s.digits(2, 2)? < 24).then_some(())?;
        s.take(b":")?;
        (s.digits(2, 2)? < 60 && s.0.is_empty() && zone != "-00:00").then_some(())?;
        let zone = if zone == "+00:00" { "Z" } else { zone };
        let mut out = String::with_capacity(36);
        for part in [date, "T", clock, zone] {
            out.push_str(part);
        }
        Some(out)
    }

    fn text(self, separator: char, short_utc: bool) -> String {
        let mut out = stem(self.0, separator);
        if self.0.nanosecond() != 0 {
            out.push('.');
            digits(&mut out, self.0.nanosecond(), 9);
            out.truncate(out.trim_end_matches('0').len());
        }
        let seconds = self.0.offset().whole_seconds();
        if seconds == 0 && short_utc {
            out.push('Z');
        } else {
            out.push(if seconds < 0 { '-' } else { '+' });
            let minutes = seconds.unsigned_abs() / 60;
            digits(&mut out, minutes / 60, 2);
            out.push(':');
            digits(&mut out, minutes % 60, 2);
        }
        out
    }
}

impl fmt::Debug for ClientTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339n())
    }
}

impl Serialize for ClientTime {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.rfc3339n())
    }
}

impl<'de> Deserialize<'de> for ClientTime {
    /// Reads any stored form: a pull answer, a fixture and a log row spell times differently.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse_stored(&text).map_err(serde::de::Error::custom)
    }
}

/// By hand: a log formats one of these per event, and `format!` took more time than storing the row's index.
fn stem(t: OffsetDateTime, separator: char) -> String {
    let mut out = String::with_capacity(36);
    match u32::try_from(t.year()) {
        Ok(year) => digits(&mut out, year, 4),
        Err(_) => out.push_str(&format!("{:04}", t.year())),
    }
    let parts = [
        ('-', u8::from(t.month())),
        ('-', t.day()),
        (separator, t.hour()),
        (':', t.minute()),
        (':', t.second()),
    ];
    for (before, part) in parts {
        out.push(before);
        digits(&mut out, u32::from(part), 2);
    }
    out
}

fn digits(out: &mut String, n: u32, width: u32) {
    for place in (0..width).rev() {
        let digit = n / 10u32.pow(place) % 10;
        out.push(char::from(b'0' + u8::try_from(digit).unwrap_or_default()));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Wire,
    Row,
}

/// A cursor over ASCII; every step is `None` at the first thing that does not fit.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn digits(&mut self, min: usize, max: usize) -> Option<u32> {
        let n = self.0.iter().take(max).take_while(|b| b.is_ascii_digit()).count();
        let (head, tail) = (n >= min).then(|| self.0.split_at(n))?;
        self.0 = tail;
        Some(head.iter().fold(0, |v, b| v * 10 + u32::from(b - b'0')))
    }

    fn take(&mut self, any_of: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(b, _)| any_of.contains(b))?;
        self.0 = rest;
        Some(*first)
    }
}

fn parse(text: &str, form: Form) -> Option<OffsetDateTime> {
    let mut s = Scan(text.as_bytes());
    let year = s.digits(4, 4)?;
    s.take(b"-")?;
    let month = s.digits(2, 2)?;
    s.take(b"-")?;
    let day = s.digits(2, 2)?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    if s.0.is_empty() && form == Form::Row {
        return Some(PrimitiveDateTime::new(date, Time::MIDNIGHT).assume_utc());
    }
    s.take(if form == Form::Row { b"T " } else { b"T" })?;
    let hour = s.digits(1, 2)?;
    s.take(b":")?;
    let minute = s.digits(2, 2)?;
    let (mut second, mut nanos) = (0, 0);
    if s.take(b":").is_some() {
        second = s.digits(2, 2)?;
        if s.take(b".,").is_some() {
            nanos = fraction(&mut s)?;
        }
    } else if form == Form::Wire {
        return None;
    }
    let narrow = |v: u32| u8::try_from(v).ok();
    let clock = Time::from_hms_nano(narrow(hour)?, narrow(minute)?, narrow(second)?, nanos).ok()?;
    let offset = zone(&mut s, form)?;
    Some(PrimitiveDateTime::new(date, clock).assume_offset(offset))
}

fn fraction(s: &mut Scan<'_>) -> Option<u32> {
    let n = s.0.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = (n > 0).then(|| s.0.split_at(n))?;
    s.0 = rest;
    Some((0..9).fold(0, |v, i| v * 10 + u32::from(digits.get(i).map_or(0, |b| b - b'0'))))
}

/// The zone and everything after it.
fn zone(s: &mut Scan<'_>, form: Form) -> Option<UtcOffset> {
    let row = form == Form::Row;
    if row && s.0.is_empty() {
        return Some(UtcOffset::UTC);
    }
    if s.take(b"Z").is_some() {
        return s.0.is_empty().then_some(UtcOffset::UTC);
    }
    let go_print = row && s.take(b" ").is_some();
    let sign = s.take(b"+-")?;
    let hours = s.digits(2, 2)?;
    let colon = s.take(b":").is_some();
    let minutes = if colon || row { s.digits(2, 2)? } else { return None };
    // Go's default print ends in a zone name and perhaps a monotonic clock reading; both repeat what is known.
    let rest_is_known = s.0.is_empty() || go_print && s.0.first() == Some(&b' ');
    if !rest_is_known || hours > 24 || minutes > 60 {
        return None;
    }
    // An offset that is written as 25:00 once came into a log, and no page behind it could be read again.
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok().filter(|s| *s < 25 * 3600)?;
    UtcOffset::from_whole_seconds(if sign == b'-' { -seconds } else { seconds }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_as_strict_and_as_lax_as_the_reference() {
        for (text, back) in [
            ("2026-11-21T09:53:18Z", "2026-11-21T09:53:18Z"),
            ("2026-11-21T09:53:18.700+02:00", "2026-11-21T09:53:18.7+02:00"),
            ("2026-11-21T9:53:18,5Z", "2026-11-21T09:53:18.5Z"),
            ("2026-11-21T09:53:18.12345678999Z", "2026-11-21T09:53:18.123456789Z"),
            ("2026-11-21T09:53:18+24:00", "2026-11-21T09:53:18+24:00"),
            ("2026-11-21T09:53:18+00:00", "2026-11-21T09:53:18Z"),
            ("2026-11-21T09:53:18-23:60", "2026-11-21T09:53:18-24:00"),
            ("2026-11-21T09:53:18+24:59", "2026-11-21T09:53:18+24:59"),
        ] {
            assert_eq!(ClientTime::parse(text).map(ClientTime::rfc3339n), Ok(back.to_string()), "{text}");
        }
        for bad in [
            "",
            "2026-11-21t09:53:18Z",
            "2026-11-21T09:53:18z",
            "2026-11-21 09:53:18Z",
            "2026-11-21T09:53Z",
            "2026-11-21T09:53:18+0200",
            "2026-11-21T09:53:60Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T09:53:18",
            "2026-02-30T09:53:18Z",
            "2026-11-21T09:53:18.Z",
            "2026-11-21T09:53:18ZZ",
            "2026-11-21T09:53:18+24:60",
            "not a time",
        ] {
            assert!(ClientTime::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_in_a_row_reads_the_same_on_the_wire_without_being_parsed() {
        for wire in [
            "2026-11-21T09:53:18Z",
            "2026-11-21T09:53:18.7+02:00",
            "2026-11-21T23:59:59.000000001-03:30",
            "0001-01-01T00:00:00Z",
        ] {
            let time = ClientTime::parse(wire).expect(wire);
            assert_eq!(ClientTime::wire_form(&time.canonical()), Some(time.rfc3339n()), "{wire}");
        }
        for other in [
            "",
            "2026-11-21",
            "2026-11-21 09:53:18",
            "2026-11-21 09:53:18Z",
            "2026-11-21T09:53:18+00:00",
            "2026-11-21 09:53:18.70+00:00",
            "2026-11-21 09:53:18.+00:00",
            "2026-11-21 09:53:18.0123456789+00:00",
            "2026-11-21 09:53:18-00:00",
            "2026-11-21 09:53:18+24:00",
            "2026-13-21 09:53:18+00:00",
            "2026-11-21 24:53:18+00:00",
            "2026-11-21 09:53:18 +0200 CEST",
            "2026-11-21 09:53:18+02:00 x",
            "2026-11-2109:53:18+02:00",
            "2026-11-21 9:53:18+02:00 ",
        ] {
            assert_eq!(ClientTime::wire_form(other), None, "{other}");
        }
    }

    #[test]
    fn every_spelling_in_a_row_is_the_same_instant() {
        let same = [
            "2026-11-21T09:53:25.7Z",
            "2026-11-21 09:53:25.7+00:00",
            "2026-11-21 11:53:25.700 +0200 CEST m=+0.01",
            "2026-11-21T04:53:25.7-05:00",
            "2026-11-21 09:53:25.7",
        ];
        for text in same {
            let nanos = ClientTime::parse_stored(text).expect(text).unix_nanos();
            assert_eq!(nanos, 1_795_254_805_700_000_000, "{text}");
        }
        assert_eq!(ClientTime::parse_stored("2026-11-21").expect("date").sql_utc(), "2026-11-21 00:00:00");
    }

    #[test]
    fn the_ends_of_the_calendar_stay_in_it_in_every_form() {
        for (text, utc) in [
            ("9999-12-31T23:59:59.5-00:01", "9999-12-31T23:59:59.999999999Z"),
            ("9999-12-31T23:59:59-24:00", "9999-12-31T23:59:59.999999999Z"),
            ("0000-01-01T00:00:00+24:00", "0000-01-01T00:00:00.000000000Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000000Z"),
        ] {
            let t = ClientTime::parse(text).expect(text);
            assert_eq!((t.fixed_utc().as_str(), t.rfc3339n().as_str()), (utc, text));
            assert!(utc.starts_with(t.rfc3339s_utc().trim_end_matches('Z')) && t == t);
            assert_eq!(ClientTime::parse_stored(&t.utc().canonical()).map(|back| back == t.utc()), Ok(true));
        }
    }

    #[test]
    fn our_own_form_sorts_as_text() {
        let t = ClientTime::parse("2026-11-21T09:53:18.7+02:00").expect("time");
        assert_eq!(t.fixed_utc(), "2026-11-21T07:53:18.700000000Z");
        assert_eq!(t.canonical(), "2026-11-21 09:53:18.7+02:00");
    }
}
