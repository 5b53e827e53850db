//! libFuzzer's driver for one of [`td_fuzz::TARGETS`], chosen by `TD_FUZZ_TARGET` (`tests/fuzz/run` sets it).

#![no_main]

use std::sync::LazyLock;
use td_fuzz::{Target, target};

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TD_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("TD_FUZZ_TARGET: no target is called {name:?}"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (CHOSEN.run)(input));
