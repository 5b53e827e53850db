//! What a doctor says, without any check: checks live where their facts are (`client`, `server`, `deploy`).
//!
//! Duty: one shape for findings and one runner, so that three programs speak alike (DESIGN law 18, anchors-installer
//! e17).
//! Invariant: a check only looks. A check that panics or runs out of time is a failed check, never a silent one.
