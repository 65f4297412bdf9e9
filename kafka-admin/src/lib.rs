//! Administration of a Kafka cluster behind one trait.
