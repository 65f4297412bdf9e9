//! The order services: one binary `orders`, one folder per service, the role is a subcommand.
//!
//! A service is `messaging` (what comes and goes over Kafka), `domain` (what is decided) and a folder here
//! (what is stored and served); [`service`] lists them, [`runtime`] boots any of them the same way.
//!
//! | module | |
//! |---|---|
//! | [`order`] | takes orders over HTTP and leads each to its end |
//! | [`inventory`] | holds the stock |
//! | [`payment`] | captures customers' money and gives it back |
//! | [`shipping`] | has parcels carried to customers |
//! | [`notification`] | tells customers about their orders |
//! | [`order_analytics`] | counts the sales of each hour |
//! | [`config`], [`events`], [`telemetry`], [`runtime`] | from environment to running process and back |
//! | [`admin`], [`health`] | probes, metrics, log level |
//! | [`auth`] | who may use the public APIs |
//! | [`http`], [`problem`], [`body`], [`amount`] | what every public API shares |
//! | [`provider`] | how payment and shipping ask somebody outside |
//! | [`prepare_database`] | one database and one role per service |

pub mod admin;
pub mod amount;
pub mod auth;
pub mod body;
pub mod config;
pub mod database;
pub mod events;
pub mod health;
mod hold;
pub mod http;
pub mod inventory;
pub mod notification;
pub mod order;
pub mod order_analytics;
pub mod payment;
pub mod prepare_database;
pub mod problem;
pub mod provider;
mod rows;
pub mod runtime;
pub mod service;
pub mod shipping;
mod stage;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod turns;
