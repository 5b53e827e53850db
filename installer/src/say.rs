//! Words to the person: standard output for what was asked for, standard error for what goes with it.
//!
//! Invariant: a reader that has seen enough (`| head`) is its own choice and ends no verb; everything else that keeps the
//! words from arriving is a failure with a name.
//! Danger: `println!` and `eprintln!` panic instead, so the lints of this program forbid them.

use crate::Failure;
use std::io::{self, ErrorKind, Write as _};
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;

/// What was asked for.
pub fn out(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            let happened = format!("the answer could not be written: {error}");
            let remedy = Remedy::say("let the output go somewhere else");
            let means = "only the words are lost; whatever was done is done";
            Err(Failure::new(Exit::Failed, StepError::new("E-OUTPUT", happened, means, remedy)))
        }
    }
}

/// What goes with it. Nobody could be told that this did not arrive, and the exit code says what matters.
pub fn aside(text: impl AsRef<str>) {
    let _ = io::stderr().write_all(text.as_ref().as_bytes());
}
