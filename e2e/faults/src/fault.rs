//! What can go wrong, and how it is caused. Each fault ends with everything running again.

mod infrastructure;
mod process;
mod records;

use anyhow::Result;
use strum::VariantArray;

use crate::world::World;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Fault {
    /// Each service is killed (SIGKILL) at random moments, again and again.
    ServicesKilled,
    /// Each service is killed after the broker has an event and before its outbox row is deleted.
    RelaysKilled,
    /// Services are frozen (SIGSTOP) for longer than their group waits for them, and go on as if nothing had been.
    ServicesFrozen,
    /// All brokers are killed.
    BrokersKilled,
    /// One broker of three is killed, and orders go on.
    BrokerLost,
    /// The database server is killed.
    DatabaseKilled,
    /// The network between services and brokers, and services and database, hangs and then breaks.
    NetworkCut,
    /// Copies of events arrive, in a wild order, on other partitions than the events.
    CopiesDelivered,
    /// Records arrive that no service can read, or that stand on the wrong topic.
    PoisonInjected,
}

impl Fault {
    /// Every fault.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Makes it happen, and ends it.
    pub(crate) async fn cause(self, world: &mut World<'_>) -> Result<()> {
        match self {
            Self::ServicesKilled => process::kill_services(world).await,
            Self::RelaysKilled => process::kill_relays(world).await,
            Self::ServicesFrozen => process::freeze_services(world).await,
            Self::BrokersKilled => infrastructure::kill_brokers(world).await,
            Self::BrokerLost => infrastructure::lose_broker(world).await,
            Self::DatabaseKilled => infrastructure::kill_database(world).await,
            Self::NetworkCut => infrastructure::cut_network(world).await,
            Self::CopiesDelivered => records::deliver_copies(world).await,
            Self::PoisonInjected => records::inject_poison(world).await,
        }
    }
}
