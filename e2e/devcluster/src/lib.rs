//! A real Kubernetes, Kafka and PostgreSQL on one machine, for the demo and the tests.
