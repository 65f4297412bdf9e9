//! Each fault once, at a size that every run of the tests can afford. Two at a time, each with brokers and a database
//! server of its own to break: a fault is mostly waiting, for sessions to end and for processes to come back.

#![expect(
    clippy::panic,
    reason = "a test that meets the unexpected fails, and clippy knows tests by their functions only"
)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use devcluster::testing;
use faults::{Fault, Format, Machine, STEPS, scenario};
use tokio::sync::Semaphore;

/// More than the longest scenario may take; then something hangs.
const LIMIT: Duration = Duration::from_secs(400);

/// What is broken at the same time.
const MACHINES: usize = 2;

async fn orders_survive(fault: Fault, format: Format) {
    static FREE: Semaphore = Semaphore::const_new(MACHINES);
    static IDLE: Mutex<Vec<Machine>> = Mutex::new(Vec::new());
    let _permit = FREE.acquire().await.expect("is never closed");
    let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let started = || tokio::task::block_in_place(Machine::start).expect("brokers and database start");
    let mut machine = idle.unwrap_or_else(started);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("SEED={seed}");
    match tokio::time::timeout(LIMIT, scenario(&mut machine, STEPS, &format, fault, seed)).await {
        Ok(Ok(report)) => println!("{report}"),
        Ok(Err(error)) => panic!("SEED={seed}: {error:#}"),
        Err(_late) => panic!("SEED={seed}: {fault} took more than {LIMIT:?}"),
    }
    IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(machine);
}

fn json() -> Format {
    Format::Json
}

fn avro() -> Format {
    Format::Avro { registry: tokio::task::block_in_place(|| testing::registry().url().to_owned()) }
}

macro_rules! orders_survive {
    ($($name:ident: $fault:ident in $format:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                orders_survive(Fault::$fault, $format()).await;
            }
        )+

        #[test]
        fn every_fault_is_among_these() {
            assert_eq!(Fault::ALL, [$(Fault::$fault),+]);
        }
    };
}

// Tests begin in the order of their names, and so the longest with the first: nothing waits for it in the end.
orders_survive! {
    orders_as_avro_end_once_though_every_service_is_killed_again_and_again: ServicesKilled in avro,
    orders_end_once_though_relays_die_between_publishing_and_deleting: RelaysKilled in json,
    orders_end_once_though_services_freeze_for_longer_than_their_session: ServicesFrozen in json,
    orders_end_once_though_all_brokers_are_killed: BrokersKilled in json,
    orders_end_once_though_one_broker_of_three_is_lost: BrokerLost in json,
    orders_end_once_though_the_database_is_killed: DatabaseKilled in json,
    orders_end_once_though_the_network_hangs_and_breaks: NetworkCut in json,
    orders_end_once_though_copies_arrive_out_of_order: CopiesDelivered in json,
    orders_end_once_though_poison_is_injected: PoisonInjected in json,
}
