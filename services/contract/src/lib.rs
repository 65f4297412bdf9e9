//! The wire contract of the order system: envelope, events, topics and services. Pure.
