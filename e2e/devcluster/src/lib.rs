//! A real Kubernetes, Kafka, PostgreSQL and schema registry on one machine, for the demo and the tests.
//!
//! Building blocks: [`process`] (children that never outlive their purpose), [`tools`] (what has to be built or
//! fetched, once per user), [`kafka`], [`postgres`], [`apiserver`], [`registry`], [`mail`], [`strimzi`], [`keda`],
//! [`gateway_api`]. On top of them stand [`testing`] (what a test asks for) and [`with`] (start the components around a
//! command), and whole clusters: [`provider`] with its kinds [`bare`] and [`kind`], kept in a [`home`] and driven by the
//! command line in [`cli`]. Everything is synchronous: the crate has to be a light dependency of every test.

pub mod apiserver;
pub mod bare;
pub mod cli;
pub mod forward;
pub mod gateway_api;
pub mod home;
pub mod images;
pub mod java;
pub mod kafka;
pub mod keda;
pub mod kind;
pub mod mail;
pub mod packages;
pub mod pki;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod progress;
pub mod provider;
pub mod registry;
pub mod state;
pub mod strimzi;
pub mod tempdir;
pub mod testing;
pub mod tools;
pub mod with;
