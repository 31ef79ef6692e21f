//! Numbers as a reader wants them: few digits, a real minus sign, thousands set apart.

/// `value` with about three digits.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let size = value.abs();
    let text = if !(1e-3..1e5).contains(&size) {
        format!("{value:.1e}")
    } else {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
        trim(format!("{value:.decimals$}"))
    };
    minus(text)
}

/// A tick, with as many decimals as its neighbours `step` away.
pub(crate) fn tick(value: f64, step: f64) -> String {
    if value.abs() < step * 1e-6 {
        return "0".into();
    }
    if !(1e-4..1e6).contains(&step.abs()) {
        return scientific(value, step);
    }
    // As many decimals as the step has; 1e-9 keeps 0.1 from counting as 0.0999.
    let decimals = (-(step.abs() * (1.0 + 1e-9)).log10().floor()).clamp(0.0, 6.0) as usize;
    minus(group(format!("{value:.decimals$}")))
}

/// A tick as a power of ten with as many decimals as tell it from its neighbours `step` away.
pub(crate) fn scientific(value: f64, step: f64) -> String {
    // 1e-9 keeps 0.1 from counting as 0.0999.
    let power = |v: f64| (v.abs() * (1.0 + 1e-9)).log10().floor();
    let decimals = (power(value) - power(step)).clamp(1.0, 8.0) as usize;
    minus(format!("{value:.decimals$e}"))
}

/// `value` with up to four decimals: a published number as it was published.
pub(crate) fn exact(value: f64) -> String {
    match (1e-3..1e6).contains(&value.abs()) {
        true => minus(group(trim(format!("{value:.4}")))),
        false => short(value),
    }
}

/// `value` with about five digits: a mean to compare with another.
pub(crate) fn close(value: f64) -> String {
    match (1e-3..1e6).contains(&value.abs()) {
        true => {
            let decimals = (4 - value.abs().log10().floor() as i32).clamp(0, 4) as usize;
            minus(group(format!("{value:.decimals$}")))
        }
        false => short(value),
    }
}

/// `value` with two decimals, so that a number that changes from frame to frame keeps its width.
pub(crate) fn fixed(value: f64) -> String {
    match value.abs() < 1e5 {
        true => minus(format!("{value:.2}")),
        false => short(value),
    }
}

/// A count, thousands set apart by commas.
pub(crate) fn count(value: usize) -> String {
    group(value.to_string())
}

fn trim(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn minus(text: String) -> String {
    text.replace('-', "−")
}

/// Commas between the thousands of the integer part.
fn group(text: String) -> String {
    let digits = text.find('.').unwrap_or(text.len());
    let start = usize::from(text.starts_with('-'));
    let mut out = String::new();
    for (i, c) in text.char_indices() {
        if i > start && i < digits && (digits - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_minus() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(1.0), "1");
        assert_eq!(short(-2.3456), "−2.35");
        assert_eq!(short(1980.6), "1981");
        assert_eq!(short(0.012345), "0.0123");
        assert_eq!(short(1.5e7), "1.5e7");
        assert_eq!(close(-1187.5006), "−1,187.5");
        assert_eq!(close(1.23456), "1.2346");
    }

    #[test]
    fn ticks_and_counts() {
        assert_eq!(tick(2000.0, 500.0), "2,000");
        assert_eq!(tick(-1500.0, 500.0), "−1,500");
        assert_eq!(tick(0.25, 0.05), "0.25");
        assert_eq!(tick(-1e-17, 0.5), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
    }

    #[test]
    fn ticks_tell_neighbours_apart_whatever_their_step() {
        assert_eq!((tick(1.0899, 5e-5), tick(1.08995, 5e-5)), ("1.08990e0".into(), "1.08995e0".into()));
        assert_eq!((tick(-1.09, 5e-5), tick(0.0, 5e-5)), ("−1.09000e0".into(), "0".into()));
        assert_eq!((tick(1.7e9, 5e6), tick(1.705e9, 5e6)), ("1.700e9".into(), "1.705e9".into()));
        assert_eq!((tick(5e-5, 5e-5), tick(1e-4, 5e-5)), ("5.0e−5".into(), "1.0e−4".into()));
    }
}
