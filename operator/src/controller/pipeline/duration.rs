//! Durations as they are written in a spec: `7d`, `90s`, `1d12h`.

use std::time::Duration;

/// The units, largest first, in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A thousand years. Far below what brokers and databases can count in milliseconds and microseconds, and above what
/// anybody means.
const LIMIT: Duration = Duration::from_secs(365_000 * 86_400);

/// The duration that `text` spells: whole numbers with a unit each, largest unit first. None for anything
/// else, for zero, which would mean "never" to one reader and "at once" to another, and beyond a thousand years.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0_u64;
    for (unit, factor) in UNITS {
        if let Some((number, after)) = rest.split_once(unit)
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
            rest = after;
        }
    }
    let duration = Duration::from_secs(seconds);
    (rest.is_empty() && seconds > 0 && duration <= LIMIT).then_some(duration)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("7d", Some(604_800))]
    #[case("1d12h", Some(129_600))]
    #[case("90s", Some(90))]
    #[case("1h30m", Some(5_400))]
    #[case("365000d", Some(31_536_000_000))]
    #[case("365000d1s", None)]
    #[case("0s", None)]
    #[case("", None)]
    #[case("7", None)]
    #[case("7days", None)]
    #[case("12h1d", None)]
    #[case("1.5h", None)]
    #[case("-1h", None)]
    #[case("99999999999999999999d", None)]
    fn durations_are_numbers_with_units(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(parse(text), seconds.map(Duration::from_secs));
    }
}
