//! Fetches the schemas that records are written with, for threads that may block.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Stop;
use crate::codec::Codec;

/// Between two attempts at a registry that is away.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Knows how to get schemas from the registry.
pub(super) struct Schemas {
    codec: Arc<dyn Codec>,
    runtime: Handle,
    stop: Stop,
}

impl Schemas {
    /// Must be called inside a tokio runtime, which then does the fetching.
    pub(super) fn new(codec: Arc<dyn Codec>, stop: Stop) -> Self {
        Self { codec, runtime: Handle::current(), stop }
    }

    /// Waits until `value` can be decoded, or is known never to be. False when it is time to stop before that.
    /// While the registry is away nothing goes on, and no record is blamed for it.
    pub(super) fn ready_for(&self, value: Option<&[u8]>) -> bool {
        let Some(id) = value.and_then(|value| self.codec.missing(value)) else { return true };
        loop {
            match self.runtime.block_on(self.codec.fetch(&BTreeSet::from([id]))) {
                Ok(()) => return true,
                Err(error) => tracing::warn!(%error, schema = id, "could not fetch a schema; asking again"),
            }
            if self.stop.asked().is_some() {
                return false;
            }
            std::thread::sleep(RETRY_WAIT);
        }
    }
}
