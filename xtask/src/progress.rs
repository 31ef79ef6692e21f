//! How far a transfer is: a bar on a terminal, a few plain lines in a log.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::text;

/// Follows one file of `total` bytes, if the length is known.
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    done: u64,
    /// In quarters of the total: what has been said last.
    quarter: u64,
}

impl Progress {
    pub fn start(name: &str, from: &str, total: Option<u64>) -> Self {
        let length = total.map_or("of unknown length".to_owned(), text::size);
        let bar = std::io::stderr().is_terminal().then(|| bar(name, total));
        match &bar {
            Some(bar) => bar.println(format!("{name}: {length} from {from}")),
            None => say!("{name}: {length} from {from}"),
        }
        Self { name: name.to_owned(), bar, total, done: 0, quarter: 0 }
    }

    pub fn advance(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            return;
        }
        // Small files are there before a line about them could be read.
        let Some(total) = self.total.filter(|&total| total > 1_000_000) else { return };
        let quarter = (self.done * 4 / total).min(4);
        if quarter > self.quarter {
            self.quarter = quarter;
            say!("{}: {} % ({})", self.name, quarter * 25, text::size(self.done));
        }
    }
}

impl Drop for Progress {
    /// A bar that stays behind would be torn by the next message.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{prefix} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{prefix} {spinner} {bytes}, {bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}
