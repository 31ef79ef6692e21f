//! Ctrl-C and SIGTERM: the first asks for an end after saving, the second ends at once.
//!
//! SIGHUP stays as it was, so that a training under `nohup` outlives its terminal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What a shell says of a program that Ctrl-C ended.
pub const CODE: u8 = 130;

/// Listens from here on, however often it is called.
pub fn listen() -> anyhow::Result<()> {
    static LISTENING: AtomicBool = AtomicBool::new(false);
    if LISTENING.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag still down, and puts it up.
        flag::register_conditional_shutdown(signal, i32::from(CODE), Arc::clone(&ASKED))?;
        flag::register(signal, Arc::clone(&ASKED))?;
    }
    Ok(())
}

/// Whether an end was asked for.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
