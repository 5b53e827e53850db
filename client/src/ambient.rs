//! The two things a device takes from outside itself: the time and chance.
//!
//! Duty: let a caller decide both, so that a simulated device repeats a run exactly.
//! Invariant: no other module asks the clock or the operating system's random source.

use td_engine::time::ClientTime;

/// Where a device gets the time and random bytes from.
pub trait Ambient: Send + Sync {
    /// Now, in whatever zone; only the instant counts.
    fn now(&self) -> ClientTime;
    /// Fills `out` with bytes nobody can guess.
    fn fill(&self, out: &mut [u8]);
}

/// The machine's clock and the operating system's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Ambient for System {
    fn now(&self) -> ClientTime {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| i128::try_from(d.as_nanos()).unwrap_or(0));
        // Cannot fail before the year 9999; 1970 is the honest answer of a clock that far off.
        ClientTime::from_unix_nanos(since).or_else(|_| ClientTime::from_unix_nanos(0)).unwrap_or_else(|_| {
            unreachable!("1970 is a time");
        })
    }

    fn fill(&self, out: &mut [u8]) {
        // Without randomness two devices could choose one id; stopping is the only safe answer.
        if let Err(why) = random(out) {
            panic!("the operating system gives no random bytes: {why}");
        }
    }
}

/// The system call itself: a static program that asks through libc's symbol finds none and falls back to /dev/urandom,
/// which an empty root folder does not have.
#[cfg(target_os = "linux")]
fn random(mut out: &mut [u8]) -> Result<(), rustix::io::Errno> {
    while !out.is_empty() {
        let filled = rustix::rand::getrandom(&mut *out, rustix::rand::GetRandomFlags::empty())?;
        out = &mut out[filled..];
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn random(out: &mut [u8]) -> Result<(), getrandom::Error> {
    getrandom::fill(out)
}

/// `prefix` and `digits` random lower-case hex digits (client-engine 1.8).
pub fn fresh_id(ambient: &dyn Ambient, prefix: &str, digits: usize) -> String {
    let mut bytes = vec![0_u8; digits.div_ceil(2)];
    ambient.fill(&mut bytes);
    let mut hex = hex(&bytes);
    hex.truncate(digits);
    format!("{prefix}{hex}")
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
