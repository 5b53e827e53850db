//! `Accept-Encoding` (RFC 9110, 12.5.3): which packing a client wants.
//!
//! Invariant: the plain body is always allowed, also where a client forbids it: an answer that it may fail to read beats
//! a 406. zstd has to be asked for by name; `*` means gzip, which everybody knows.

use crate::packing::Encoding;
use axum::http::{HeaderMap, header::ACCEPT_ENCODING};

/// What suits the client best.
pub fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    choose(lines)
}

fn choose<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Encoding> {
    let mut weights = Weights::default();
    for item in lines.flat_map(|line| line.split(',')) {
        let (coding, rest) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight(rest);
        match coding.trim().to_ascii_lowercase().as_str() {
            "zstd" => weights.zstd = weight,
            "gzip" | "x-gzip" => weights.gzip = Some(weight),
            "identity" => weights.identity = Some(weight),
            "*" => weights.other = Some(weight),
            _ => {}
        }
    }
    weights.best()
}

/// In thousandths, as far as they are given.
#[derive(Default)]
struct Weights {
    zstd: u16,
    gzip: Option<u16>,
    identity: Option<u16>,
    other: Option<u16>,
}

impl Weights {
    fn best(&self) -> Option<Encoding> {
        let gzip = self.gzip.or(self.other).unwrap_or(0);
        // Not mentioned, the plain body is allowed and nobody's first choice.
        let plain = self.identity.unwrap_or(0);
        // Of equal ones the better packed.
        let best = [(gzip, Encoding::Gzip), (self.zstd, Encoding::Zstd)].into_iter().max_by_key(|(w, _)| *w);
        best.filter(|(weight, _)| *weight > 0 && *weight >= plain).map(|(_, encoding)| encoding)
    }
}

/// The weight among the parameters of one item. One that is not what the grammar says forbids the item: better plain
/// than wrong.
fn weight(parameters: &str) -> u16 {
    let mut weight = 1000;
    for parameter in parameters.split(';').filter(|p| !p.trim().is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().eq_ignore_ascii_case("q") {
            weight = thousandths(value.trim()).unwrap_or(0);
        }
    }
    weight
}

/// `0`, `1`, `0.5`, `1.000`: at most three digits behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, digits) {
        ("0", true) => Some(fraction),
        ("1", true) if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_packing_wins_and_nothing_beats_what_is_refused() {
        use Encoding::{Gzip, Zstd};
        for (header, want) in [
            ("", None),
            ("gzip", Some(Gzip)),
            ("GZIP", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip, deflate, br", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("zstd;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("zstd;q=0.5, gzip;q=0.5", Some(Zstd)),
            ("gzip;q=0", None),
            ("gzip;q=0.000, zstd;q=0", None),
            ("*", Some(Gzip)),
            ("*;q=0", None),
            ("gzip;q=0, *", None),
            ("*;q=0, gzip;q=0.001", Some(Gzip)),
            ("identity", None),
            ("identity, gzip;q=0.9", None),
            ("identity;q=0.5, gzip", Some(Gzip)),
            ("identity;q=0, gzip;q=0", None),
            ("br", None),
            (" gzip ; q = 0.3 ", Some(Gzip)),
            ("gzip;q=high", None),
            ("gzip;q=1.5", None),
            ("gzip;q=0.5555", None),
            ("gzip;level=3;q=1", Some(Gzip)),
            (",,gzip,,", Some(Gzip)),
        ] {
            assert_eq!(choose([header].into_iter()), want, "{header:?}");
        }
        assert_eq!(choose(["gzip;q=0.1", "zstd"].into_iter()), Some(Zstd), "two header lines are one list");
    }
}
