//! `KafkaTopic`: what is planned for a spec (golden files), the rules of the CRDs on a real apiserver, and the
//! controller against a real apiserver and a real broker.

mod crds_fresh;
mod life;
mod ownership;
mod plan_golden;
mod rules;
mod trouble;
mod world;
