//! How far a project's numbers are used up.
//!
//! Duty: no number is ever given out twice (law 2), also not one that the reference gave out and lost: without a full
//! sync it can lose its newest commits in a power cut and give their numbers to other events, which a device that has
//! seen the first ones then never asks for (server-protocol W16).
//! Danger: cursors are what a client claims (W14). One absurd claim must not use the numbers up, so nothing counts that
//! is further away than [`PLAUSIBLE`].

/// How far beyond the log's own end a trace is believed: as far as a restore moves ahead.
pub(super) const PLAUSIBLE: i64 = 1_000_000;

/// A trace of a number outside the log.
pub(super) struct Trace {
    pub number: i64,
    pub whose: &'static str,
}

/// Where numbering goes on, with what moved it and what was not believed.
pub(super) struct Numbering {
    pub from: i64,
    pub moved_by: Option<&'static str>,
    pub unbelieved: Vec<String>,
}

/// Decides from the log's own high-water mark and the traces.
pub(super) fn numbering(high_water: i64, traces: &[Trace]) -> Numbering {
    let mut out = Numbering { from: high_water, moved_by: None, unbelieved: Vec::new() };
    for trace in traces {
        if trace.number > high_water + PLAUSIBLE {
            out.unbelieved.push(format!("{} says {}", trace.whose, trace.number));
        } else if trace.number > out.from {
            (out.from, out.moved_by) = (trace.number, Some(trace.whose));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_plausible_trace_decides_and_an_absurd_one_is_only_named() {
        let trace = |number, whose| Trace { number, whose };
        let n = numbering(40, &[trace(44, "project.db"), trace(42, "a cursor"), trace(i64::MAX, "a cursor")]);
        assert_eq!((n.from, n.moved_by), (44, Some("project.db")));
        assert_eq!(n.unbelieved, [format!("a cursor says {}", i64::MAX)]);
        let n = numbering(40, &[trace(40, "project.db"), trace(0, "a cursor")]);
        assert_eq!((n.from, n.moved_by, n.unbelieved.len()), (40, None, 0));
    }
}
