//! Work that is looked for: turn after turn while there is some, and after a pause when there is none.

use tokio_util::sync::CancellationToken;

use crate::health::Pulse;

/// Takes turns until `shutdown`. A turn tells whether the next one follows at once; after one that failed, which is
/// logged as `failure`, or that found the rest, `pause` is waited for.
pub(crate) async fn take<T, E, P>(
    pulse: &Pulse,
    shutdown: &CancellationToken,
    turn: impl Fn() -> T,
    pause: impl Fn() -> P,
    failure: &'static str,
) where
    T: Future<Output = Result<bool, E>>,
    E: std::error::Error + 'static,
    P: Future<Output = ()>,
{
    while !shutdown.is_cancelled() {
        pulse.beat();
        match turn().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "{failure}"),
        }
        tokio::select! {
            () = pause() => {}
            () = shutdown.cancelled() => {}
        }
    }
}
