//! A time, as it is pushed and as it is stored.
//!
//! What holds: every form that we write of it reads back as the same moment, in UTC as the nearest one of the years 0 to
//! 9999, and what is good on the wire is good in a row.

use td_engine::time::ClientTime;

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(time) = ClientTime::parse(&text) {
        assert_eq!(
            ClientTime::parse_stored(&text),
            Ok(time),
            "{text:?} is good on the wire and bad in a row"
        );
        forms(time);
    }
    if let Ok(time) = ClientTime::parse_stored(&text) {
        forms(time);
    }
}

fn forms(time: ClientTime) {
    let wire = time.rfc3339n();
    assert_eq!(ClientTime::parse(&wire).map(ClientTime::rfc3339n), Ok(wire.clone()), "{wire}");
    let nanos = |text: &str| ClientTime::parse_stored(text).unwrap_or_else(|e| panic!("{e}")).unix_nanos();
    for exact in [wire, time.canonical()] {
        assert_eq!(nanos(&exact), time.unix_nanos(), "{exact}");
    }
    let in_utc = time.utc().unix_nanos();
    assert_eq!(in_utc, time.unix_nanos().clamp(nanos("0000-01-01"), nanos("9999-12-31T23:59:59.999999999Z")));
    for exact in [time.fixed_utc(), time.utc().canonical()] {
        assert_eq!(nanos(&exact), in_utc, "{exact}");
    }
    for whole in [time.rfc3339s_utc(), time.sql_utc()] {
        assert_eq!(nanos(&whole), in_utc.div_euclid(1_000_000_000) * 1_000_000_000, "{whole}");
    }
}
