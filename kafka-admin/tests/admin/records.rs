//! The records themselves.

use std::collections::BTreeSet;

use devcluster::testing;
use kafka_admin::{ConnectOptions, Error, NewRecord, NewTopic, Record, append_records, read_topics};

use super::{create, real, topic};

fn options() -> ConnectOptions {
    ConnectOptions::plaintext(testing::kafka().bootstrap())
}

#[tokio::test]
async fn a_topic_is_read_from_its_first_record_to_its_last_as_it_was_written() {
    let (full, empty) = (topic("full"), topic("empty"));
    let admin = real();
    create(&admin, NewTopic::named(full.clone()).partitions(3)).await;
    create(&admin, NewTopic::named(empty.clone()).partitions(2)).await;
    let written: Vec<NewRecord> = (0..200_u8)
        .map(|number| NewRecord {
            topic: full.clone(),
            partition: (number < 50).then_some(2),
            key: Some(vec![number % 7]),
            value: (number != 13).then(|| vec![number]),
            headers: vec![("n".to_owned(), Some(vec![number])), ("none".to_owned(), None)],
        })
        .collect();
    append_records(&options(), &written).await.unwrap();

    let keep = |all: &mut Vec<Record>, record| all.push(record);
    let read = read_topics(&options(), &[empty, full], Vec::new(), keep).await.unwrap();

    assert_eq!(read.len(), written.len());
    let mut places = BTreeSet::new();
    for record in &read {
        let origin = &written[usize::from(record.headers[0].1.as_ref().unwrap()[0])];
        assert_eq!(
            (&record.key, &record.value, &record.headers),
            (&origin.key, &origin.value, &origin.headers)
        );
        assert!(origin.partition.is_none_or(|partition| partition == record.partition));
        assert!(places.insert((record.partition, record.offset)), "{record:?} was read twice");
    }
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_not_taken_for_an_empty_one() {
    let read = read_topics(&options(), &[topic("missing")], (), |(), _| ()).await;

    assert!(matches!(read, Err(Error::NotFound { .. })), "{read:?}");
}
