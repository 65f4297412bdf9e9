//! The one place with `unsafe` code: the admin calls of librdkafka, which its safe wrapper lacks or strips of the
//! broker's messages.
//!
//! Three rules make it reviewable. Every native object that is ours is an [`native::Owned`], which frees it exactly
//! once; what librdkafka hands out of an event is only borrowed, while the event lives. Every call takes Rust values
//! and gives an [`Answer`] with Rust values: no pointer leaves this folder. Numbers that come from a broker are read
//! as numbers, never as Rust enums, for which an unknown value would be undefined behaviour.

#![expect(unsafe_code, reason = "bindings to librdkafka; see the rules above")]
#![warn(clippy::undocumented_unsafe_blocks, clippy::missing_safety_doc)]

mod acls;
mod client;
mod groups;
mod native;
mod scram;
mod topics;

pub(crate) use client::{Answer, Client, ClientType};
