//! The suite on a whole cluster: what a platform team and a customer would see. `make e2e` starts the
//! cluster and runs it; the tests share it, one pipeline `shop`, and run one after the other.

mod crashes;
mod lifecycle;
mod orders;
mod shop;
mod topics;
