//! Descriptors: how many this process may have open, and what they are for.
//!
//! Duty: raise the limit as far as it goes, and share it out between files and connections before either needs it.
//! Invariant: connections, which any stranger opens, never take a descriptor that a log, a view or a snapshot needs.
//! Danger: the soft limit. It is 1,024 nearly everywhere, for the sake of programs that use `select`, which this one is
//! not. Under it 126 projects in use were all there could be, and 1,000 silent connections made pushes fail.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As far as the limit is raised: several times what is [`NEEDED`], and no invitation to fill the kernel's tables.
const HIGHEST: u64 = 65_536;
/// Most logs open at once.
const LOGS: usize = 256;
/// Descriptors of a project in use. From 5 to 8 were counted: its log, the log's WAL and index, the view's, two readers.
const EACH: usize = 8;
/// Descriptors for files. Two thirds are for [`LOGS`]; the rest for the account database, for pages and snapshots that are
/// being sent, and for sockets to mail servers and authorities.
const FILES: usize = LOGS * EACH * 3 / 2;
/// Most connections: the live streams there may be, and as many for everything else.
const CONNECTIONS: usize = 10_000;
/// What a server uses that is full in every way.
pub const NEEDED: usize = FILES + CONNECTIONS;

/// Who may have how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Connections at once.
    pub connections: usize,
    /// Logs open at once.
    pub logs: usize,
}

impl Share {
    /// Of what this process may have.
    pub fn of_process() -> Self {
        Self::of(allowed())
    }

    /// Where there are not enough descriptors, files get half of them.
    fn of(limit: usize) -> Self {
        let files = FILES.min(limit / 2);
        let logs = (files * 2 / 3 / EACH).clamp(2, LOGS);
        Self { connections: (limit - files).min(CONNECTIONS), logs }
    }

    /// Projects kept in use: fewer than logs, so that a log can always be opened.
    pub fn projects(self) -> usize {
        self.logs * 25 / 32
    }
}

/// Raises the soft limit to the hard one, within reason. Returns what it is then.
pub fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(HIGHEST, |hard| hard.min(HIGHEST));
    if limit.current.is_some_and(|soft| soft < most) {
        let raised = Rlimit { current: Some(most), ..limit };
        if let Err(e) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(cause = %e, "the limit of open files could not be raised");
        }
    }
    allowed()
}

fn allowed() -> usize {
    let soft = getrlimit(Resource::Nofile).current;
    soft.and_then(|soft| usize::try_from(soft).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_names_what_is_needed() {
        let guide = include_str!("../../docs/guides/operating.md");
        assert_eq!((NEEDED, guide.contains("13,072:")), (13_072, true));
    }

    #[test]
    fn connections_leave_what_files_need() {
        let shares = [65_536, NEEDED, 4_096, 1_024, 300, 16].map(|limit| (limit, Share::of(limit)));
        for (limit, share) in shares {
            assert!(share.connections + share.logs * EACH <= limit.max(24), "{limit}: {share:?}");
            assert!(share.projects() >= 1 && share.projects() < share.logs, "{limit}: {share:?}");
        }
        assert_eq!(shares[0].1, Share { connections: 10_000, logs: 256 });
        assert_eq!(shares[1].1, shares[0].1, "what is needed is enough");
        assert_eq!((shares[0].1.projects(), shares[3].1), (200, Share { connections: 512, logs: 42 }));
        assert_eq!(Share::of(usize::MAX), shares[0].1, "no limit at all");
    }
}
