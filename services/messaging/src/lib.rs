//! Kafka and PostgreSQL messaging: producer, batch consumer, inbox, outbox, dead letters.
