//! Values as people write them, for clap.

use std::time::Duration;

use contract::Step;
use jiff::SignedDuration;

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    crate::telemetry::parse_filter(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

pub(super) fn step(text: &str) -> Result<Step, String> {
    let known = || Step::ALL.iter().map(Step::to_string).collect::<Vec<_>>().join(", ");
    text.trim().parse().map_err(|_unknown| format!("{text:?} is not a step; there are {}", known()))
}

/// A positive duration as people write it: `500ms`, `30s`, `2m 30s`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|error| format!("{error}; write it like 30s"))?;
    Duration::try_from(parsed).map_err(|_negative| "must not be negative".to_owned())
}

/// A list of the domain, with the whole chain of what is wrong with it: clap shows one line only.
pub(super) fn listed<T>(text: &str) -> Result<T, String>
where
    T: std::str::FromStr<Err: std::error::Error>,
{
    text.parse().map_err(|error: T::Err| {
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    })
}
