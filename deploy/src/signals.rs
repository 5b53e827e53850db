//! Ctrl-C and SIGTERM.
//!
//! Duty: the first asks to stop at the next safe point, the second ends the program at once; both with exit 8, both
//! resumable.

use crate::exit::Exit;
use crate::view::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// From now on signals mean this. Call it once.
pub fn watch(cancel: &Cancel) -> std::io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag down and raises it, the second finds it up and ends.
        flag::register_conditional_shutdown(signal, i32::from(Exit::Stopped.code()), cancel.flag())?;
        flag::register(signal, cancel.flag())?;
    }
    Ok(())
}
