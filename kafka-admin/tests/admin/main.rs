//! What every `Admin` does: each claim of the contract is made of the in-memory cluster, of a real broker, and of a
//! real broker behind the coalescing layer, so that none can drift from the others. `login`, `tls`, `faults`, `lag`
//! and `scale` are what only a real broker can show.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends there, with the cause"
)]

mod access;
mod configs;
mod faults;
mod groups;
mod lag;
mod login;
mod records;
mod scale;
mod tls;
mod topics;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devcluster::testing;
use kafka_admin::{
    Admin, CoalesceOptions, Coalescing, ConnectOptions, Error, KafkaAdmin, MemoryAdmin, TopicName,
};

/// Long enough for a loaded machine; only a test that fails takes it.
const DEADLINE: Duration = Duration::from_secs(120);

fn real() -> KafkaAdmin {
    let options = ConnectOptions {
        request_timeout: Duration::from_secs(20),
        ..ConnectOptions::plaintext(testing::kafka().bootstrap())
    };
    KafkaAdmin::connect(&options).unwrap()
}

macro_rules! claims {
    ($($file:ident: $($claim:ident),+;)+) => {
        mod memory {
            $($(#[tokio::test]
            async fn $claim() {
                super::$file::$claim(&super::MemoryAdmin::with_brokers(1)).await;
            })+)+
        }

        mod real {
            $($(#[tokio::test]
            async fn $claim() {
                super::$file::$claim(&super::real()).await;
            })+)+
        }

        mod coalesced {
            $($(#[tokio::test]
            async fn $claim() {
                let real = super::Arc::new(super::real());
                let admin = super::Coalescing::new(real, super::CoalesceOptions::default());
                super::$file::$claim(&admin).await;
            })+)+
        }
    };
}

claims! {
    topics:
        a_cluster_has_an_id,
        a_created_topic_is_described_as_asked,
        what_is_left_out_follows_the_broker,
        a_topic_is_created_once,
        validation_tells_the_same_and_changes_nothing,
        impossible_topics_are_refused_by_kind,
        a_topic_that_is_not_there_is_not_found_and_not_created,
        partitions_only_grow,
        a_topic_created_anew_has_another_id,
        answers_come_in_the_order_of_the_items,
        an_object_twice_in_one_batch_is_answered_twice,
        an_empty_batch_makes_no_request;
    configs:
        every_setting_has_a_value_and_a_source,
        kafkas_defaults_are_the_same_everywhere,
        altering_one_setting_leaves_the_others,
        deleting_a_setting_gives_the_default_back,
        wrong_settings_are_refused_by_name,
        validated_settings_are_not_stored;
    access:
        acls_are_stored_as_asked,
        acls_are_found_by_what_they_apply_to,
        acls_of_one_principal_are_deleted_alone,
        creating_an_acl_twice_stores_one,
        an_acl_on_the_cluster_needs_its_name,
        credentials_are_created_replaced_and_deleted,
        impossible_credentials_are_refused,
        bad_items_do_not_fail_their_neighbours;
    groups:
        a_group_that_is_not_there_is_not_found,
        a_group_that_is_not_there_has_no_offsets,
        a_new_topic_ends_at_zero,
        the_end_of_what_is_not_there_is_not_found;
}

fn topic(name: &str) -> TopicName {
    TopicName::new(testing::unique(name)).unwrap()
}

/// The only answer of a batch of one.
fn only<T>(batch: Vec<Result<T, Error>>) -> Result<T, Error> {
    let [answer] = <[_; 1]>::try_from(batch).ok().expect("one answer for one item");
    answer
}

/// Asks until the answer is as wanted: what was changed is seen a little later, because metadata is eventually
/// consistent.
async fn eventually<T, F: Future<Output = T>>(
    what: &str,
    ask: impl Fn() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T
where
    T: std::fmt::Debug,
{
    let started = Instant::now();
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{what}: still {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Creates the topic and waits until it is seen.
async fn create(admin: &dyn Admin, new: kafka_admin::NewTopic) -> kafka_admin::TopicDescription {
    let name = new.name.clone();
    only(admin.create_topics(&[new], kafka_admin::Mode::Apply).await).unwrap();
    described(admin, &name).await
}

/// The topic, once it is seen.
async fn described(admin: &dyn Admin, name: &TopicName) -> kafka_admin::TopicDescription {
    let ask = || async { only(admin.describe_topics(std::slice::from_ref(name)).await) };
    eventually("the topic exists", ask, Result::is_ok).await.unwrap()
}
