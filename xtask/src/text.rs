//! What people read: lines on the screen, and numbers in them: sizes, durations, dates, digits in groups.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A line on standard error, written as for `format!`.
macro_rules! say {
    ($($line:tt)*) => {
        $crate::text::say(format_args!($($line)*))
    };
}

/// Says a line on standard error. Its reader may be gone (`2>&1 | tee`, then Ctrl-C), at which `eprintln!` would panic:
/// the work goes on all the same.
pub fn say(line: fmt::Arguments) {
    if cfg!(test) {
        // The test's own, which is shown where it fails.
        eprintln!("{line}");
    } else {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Writes a line of a chore's result to standard output, whether or not anybody reads it.
pub fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// `9.6 MB`, `4.5 kB`, `12 bytes`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// `4 min 05 s`, `12.3 s`, `1 h 02 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `5,952,184`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Today in UTC, `2026-11-23`.
pub fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    date(since.as_secs() / 86_400)
}

/// The date that lies `days` after 1970-01-01, by counting years and months off.
fn date(mut days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
}

/// Arguments as one line that can be pasted into a shell.
pub fn command_line<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,+@%".contains(c);
    let quoted = arguments.into_iter().map(|argument| {
        let argument = argument.as_ref();
        if !argument.is_empty() && argument.chars().all(plain) {
            argument.to_owned()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(size(12), "12 bytes");
        assert_eq!(size(4_517), "4.5 kB");
        assert_eq!(size(9_630_610), "9.6 MB");
        assert_eq!(duration(12.34), "12.3 s");
        assert_eq!(duration(59.99), "1 min 00 s");
        assert_eq!(duration(245.2), "4 min 05 s");
        assert_eq!(duration(3_725.0), "1 h 02 min");
        assert_eq!(grouped(987), "987");
        assert_eq!(grouped(1_320_967), "1,320,967");
    }

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(11_017), "2000-03-01");
        assert_eq!(date(20_780), "2026-11-23");
    }

    #[test]
    fn a_command_line_can_be_pasted() {
        let line = command_line(["flow", "curve", "--reference=-1.0896:the floor", "it's"]);
        assert_eq!(line, r"flow curve '--reference=-1.0896:the floor' 'it'\''s'");
    }
}
