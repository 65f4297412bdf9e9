//! Messaging of the order services: events in and out, with PostgreSQL as the one place of truth.
//!
//! # The delivery contract
//! **At least once on the wire, once in effect, in order per key.**
//!
//! What a service may rely on:
//! - *Once in effect.* A [`Handler`] gets a batch of events and one database transaction. The same transaction
//!   records the events as handled (the inbox), holds every write of the handler, and takes the events that
//!   leave (the outbox). It commits as a whole or not at all. An event that arrives again, by redelivery,
//!   by a relay that crashed between sending and deleting, or by a replay, is recognised by its `event_id`
//!   and never reaches the handler. A handler whose own rows tell as much can do without the inbox
//!   ([`Deduplication::OwnRows`]).
//! - *In order per key.* Events of one key are handled in the order in which they were published, and
//!   published in the order in which their transactions committed, through retries, crashes and rebalances.
//!   Duplicates on the wire do not break this: each copy of a sequence is in order, so the first copies are.
//!   There is no order between keys, nor between topics.
//! - *Nothing is lost.* Offsets are committed after the transaction; outbox rows are deleted after the
//!   acknowledgement of every in-sync replica; a dead letter is acknowledged before its source is passed.
//! - *Nothing is spent on an outage.* While the database, the broker or the schema registry is away, the
//!   consumer keeps its partitions and waits ([`HandleError::Unavailable`]); no event is blamed.
//! - *One bad event delays its key only.* A failing batch is halved until the guilty event stands alone. If it
//!   may succeed later ([`HandleError::Transient`]) it is parked: a row in `parked_events`, behind which the
//!   later events of its key queue, of whichever topic. The offsets move on, and any replica tries the first
//!   of each queue again, with growing waits, until it succeeds or its attempts are spent.
//! - *One bad event costs one event.* What can never succeed ([`HandleError::Permanent`], or no event at all),
//!   or has spent its attempts, is dead-lettered with its key, bytes, headers and timestamp; the next of its
//!   key gets its turn when the broker has acknowledged that. A [`replay`] brings it back.
//!
//! What a service must do in turn:
//! - Lock or version-check the row that a key stands for *before* emitting events of that key; otherwise the
//!   order of ids is not the order of commits.
//! - Call the world outside (mail, payment) idempotently by `event_id`: a transaction can be rolled back after
//!   it, and is then handled again.
//! - Run [`migrate`] on its own database, and use a direct or session-pooled connection: the relay holds
//!   session locks.
//!
//! # How it goes
//! ```text
//! Kafka ─▶ fetch thread ─▶ bounded queue ─▶ batch ─▶ decode ─┬▶ transaction: inbox, handler, outbox ─▶ done
//!             ▲                                              ├▶ parked: a row, tried again later ──▶ done
//!             │                                              └▶ dead letter, acknowledged ─────────▶ done
//!             └──────────────── commits what is done ◀──────────────────────────────────────────────┘
//! outbox rows ─▶ relay (one owner per bucket) ─▶ Kafka ─▶ acknowledged ─▶ deleted
//! ```
//! [`Messaging`] is the front door: [`Messaging::consume`] runs a handler, [`Messaging::relay`] the relay, and
//! [`Messaging::outbox`] is for code that has a transaction of its own; [`Messaging::replay`] is for operators'
//! tools. No type of the Kafka client leaves
//! this crate.

mod ahead;
mod avro;
mod backoff;
mod codec;
mod config;
mod consumer;
mod database;
mod dead_letter;
mod effects;
mod handler;
mod inbox;
mod messaging;
mod metrics;
mod migrations;
pub mod outbox;
mod pace;
mod parking;
mod producer;
mod record;
pub mod replay;
pub mod streams;
mod tls;

pub use avro::{AvroCodec, Compatibility, Registry, RegistryConfig, RegistryCredentials, RegistryError};
pub use codec::{Codec, EncodeError, JsonCodec};
pub use config::{ClientCertificate, GroupProtocol, KafkaConfig, Sasl, Security, Tls};
pub use consumer::{ConsumeError, ConsumerOptions, ConsumerState};
pub use effects::Effects;
pub use handler::{Cause, Deduplication, Delivery, HandleError, Handler};
pub use messaging::Messaging;
pub use metrics::Metrics;
pub use migrations::{migrate, migrations};
pub use outbox::{AppendError, Outbox};
pub use pace::Pace;
pub use producer::{ClientError, Producer, PublishError, SendError, SetupError};
pub use tls::install_tls_provider;
