//! Ctrl-C and SIGTERM: noted instead of deadly, so that a child process can save before both end.
//!
//! SIGHUP stays as it was, so that what was started under `nohup` outlives its terminal.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell reports for a program that Ctrl-C ended.
pub const EXIT_CODE: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C (and a polite kill) only sets a flag that [`requested`] reads.
pub fn install() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, &REQUESTED).context("cannot listen for Ctrl-C")?;
    }
    Ok(())
}

pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// The person asked to stop; carries what to tell them.
#[derive(Debug)]
pub struct Stopped(pub String);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}
