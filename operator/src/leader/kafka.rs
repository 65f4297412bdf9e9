//! The fence before a Kafka cluster: administration that changes nothing unless this operator may write.
//!
//! It stands below the layer that gathers calls, at the point where a request leaves.

use std::sync::Arc;
use std::time::Instant;

use kafka_admin::{Batch, Error, Guard, UnavailableCause};

use super::fence::Fence;

/// The fence, as administration meets it.
#[derive(Debug)]
pub struct KafkaFence(pub Arc<Fence>);

impl Guard for KafkaFence {
    async fn change<T: Send>(&self, items: usize, change: impl Future<Output = Batch<T>> + Send) -> Batch<T> {
        let Err(refusal) = self.0.check(Instant::now()) else { return change.await };
        // Of one broker, as it were: it says nothing about the cluster.
        let error = Error::Unavailable { cause: UnavailableCause::Broker, message: refusal.to_string() };
        (0..items).map(|_| Err(error.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use kafka_admin::{Admin, Guarded, MemoryAdmin, Mode, NewTopic, TopicName};

    use super::*;

    #[tokio::test]
    async fn behind_a_closed_fence_kafka_is_read_and_not_changed() {
        let (memory, fence) = (Arc::new(MemoryAdmin::new()), Arc::new(Fence::closed()));
        let admin = Guarded::new(Arc::clone(&memory) as Arc<dyn Admin>, KafkaFence(Arc::clone(&fence)));
        let name = TopicName::new("orders").unwrap();
        let new = [NewTopic::named(name.clone())];

        let refused = admin.create_topics(&new, Mode::Apply).await.remove(0);
        let seen = admin.describe_topics(std::slice::from_ref(&name)).await.remove(0);
        fence.open(Instant::now() + std::time::Duration::from_secs(60));
        let created = admin.create_topics(&new, Mode::Apply).await.remove(0);

        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
        assert!(matches!(seen, Err(Error::NotFound { .. })), "{seen:?}");
        assert_eq!(created, Ok(()));
    }
}
