use std::num::NonZeroU32;
use std::time::Duration;

use contract::{Envelope, Topic, headers};
use jiff::{SignedDuration, Timestamp};
use messaging::replay::{Filter, Mode, Refusal, ReplayError, Report, Request, Verdict};
use messaging::{Delivery, HandleError};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use uuid::Uuid;

use crate::handlers::Recorder;
use crate::harness::{DEAD_LETTERS, INPUT, Shop, assert_in_order, event, events, eventually, within};

const COUNT: &str = "orderpipeline_replay-count";

fn request(mode: Mode) -> Request {
    let fast = NonZeroU32::new(100_000).unwrap();
    Request { mode, records_per_second: fast, ..Request::new("ada", "the product exists now") }
}

/// Refuses what `is_bad`.
fn refusing(is_bad: impl Fn(&Delivery) -> bool + Send + Sync + 'static) -> Recorder {
    Recorder::failing(move |delivery| match is_bad(delivery) {
        true => Err(HandleError::permanent("no such product")),
        false => Ok(()),
    })
}

/// What `record` would be as a dead letter that came from `original_topic`.
fn letter_headers(envelope: &Envelope, original_topic: &str) -> OwnedHeaders {
    let all = [
        (headers::CE_ID, envelope.event_id.to_string()),
        (headers::DLT_ORIGINAL_TOPIC, original_topic.to_owned()),
        (headers::DLT_EXCEPTION_CAUSE_FQCN, "orderpipeline.messaging.Rejected.rejected".to_owned()),
    ];
    all.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_str()) })
    })
}

fn texts(record: &OwnedMessage, name: &str) -> Vec<String> {
    let all = record.headers().unwrap().iter();
    let texts = all.filter(|header| header.key == name).filter_map(|header| header.value);
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn verdicts(report: Report) -> Vec<Verdict> {
    report.selected.into_iter().map(|(_, verdict)| verdict).collect()
}

impl Shop {
    /// Publishes `events` and lets a consumer give up those that are bad.
    async fn give_up(&self, events: &[Envelope], handler: Recorder, letters: usize) {
        self.publish(events).await;
        let running = self.consume(handler);
        self.records(DEAD_LETTERS, letters).await;
        let all = i64::try_from(events.len()).unwrap();
        eventually("all events to be settled", async || self.committed().await >= all).await;
        running.stop().await;
    }

    async fn replay(&self, request: &Request) -> Result<Report, ReplayError> {
        within("the replay", self.messaging().replay(request)).await
    }

    /// Operator and reason of each run, and whether it ended.
    async fn runs(&self) -> Vec<(String, String, bool)> {
        let sql = "SELECT operator, reason, ended_at IS NOT NULL FROM replay_runs ORDER BY run_id";
        sqlx::query_as(sql).fetch_all(&self.pool).await.unwrap()
    }

    /// Event, number of its replay, and outcome of each audit record.
    async fn audit(&self) -> Vec<(Option<Uuid>, i32, Option<String>)> {
        let sql =
            "SELECT event_id, replays, outcome FROM replayed_events ORDER BY intended_at, record_offset";
        sqlx::query_as(sql).fetch_all(&self.pool).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_would_be_done_and_does_nothing() {
    let shop = Shop::open("dry-run").await;
    shop.give_up(&events(4, 2), refusing(|delivery| delivery.key == "key-2"), 2).await;

    let report = shop.replay(&request(Mode::DryRun)).await.unwrap();

    assert_eq!((report.run_id, report.read, report.replayed(), report.more), (None, 2, 2, false));
    for (letter, verdict) in &report.selected {
        assert_eq!(*verdict, Verdict::WouldReplay(INPUT));
        assert_eq!(letter.key.as_deref(), Some("key-2"));
        assert_eq!(letter.event_type.as_deref(), Some("InventoryUpdated"));
        assert_eq!(letter.reason.as_deref(), Some("rejected"));
        assert_eq!(letter.message.as_deref(), Some("no such product"));
        assert_eq!(letter.original_topic.as_deref(), Some(shop.topic(INPUT).as_str()));
    }
    assert_eq!(shop.records(INPUT, 8).await.len(), 8);
    assert_eq!((shop.runs().await, shop.audit().await), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_event_is_handled_once_as_it_was_published() {
    let shop = Shop::open("replay").await;
    let all = events(2, 3);
    shop.give_up(&all, refusing(|delivery| delivery.key == "key-1"), 3).await;

    let report = shop.replay(&request(Mode::Replay)).await.unwrap();
    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(6).await;
    let again = shop.replay(&request(Mode::Replay)).await.unwrap();
    running.stop().await;

    let run_id = report.run_id.unwrap();
    assert_eq!(verdicts(report), vec![Verdict::Replayed(INPUT); 3]);
    assert_eq!(verdicts(again), vec![Verdict::Refused(Refusal::AlreadyReplayed(run_id)); 3]);
    assert_in_order(&shop.effects().await);
    let records = shop.records(INPUT, 9).await;
    assert_eq!(records.len(), 9);
    for replayed in records.iter().filter(|record| !texts(record, COUNT).is_empty()) {
        let same = |record: &&OwnedMessage| {
            texts(record, COUNT).is_empty() && record.payload() == replayed.payload()
        };
        let source = records.iter().find(same).unwrap();
        assert_eq!(replayed.key(), source.key());
        assert!(replayed.timestamp() > source.timestamp(), "the broker must not take it for outdated");
        assert_eq!(texts(replayed, headers::CE_ID), texts(source, headers::CE_ID));
        assert_eq!(texts(replayed, COUNT), ["1"]);
    }
    let given_up: Vec<_> = all.iter().filter(|event| event.event.key() == "key-1").collect();
    let expected: Vec<_> =
        given_up.iter().map(|event| (Some(event.event_id), 1, Some("SENT".to_owned()))).collect();
    assert_eq!(shop.audit().await, expected);
    let run = ("ada".to_owned(), "the product exists now".to_owned(), true);
    assert_eq!(shop.runs().await, [run.clone(), run]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_again_and_again_is_refused_in_the_end() {
    let shop = Shop::open("loop").await;
    shop.give_up(&[event("bad", 0)], refusing(|_| true), 1).await;
    let running = shop.consume(refusing(|_| true));
    let request = Request { replays_max: 2, again: true, ..request(Mode::Replay) };

    // The first letter again, and each time what became of it.
    assert_eq!(verdicts(shop.replay(&request).await.unwrap()), [Verdict::Replayed(INPUT)]);
    shop.records(DEAD_LETTERS, 2).await;
    let newest = Filter { offsets: Some(1..2), ..Filter::default() };
    let second = Request { filter: newest, ..request.clone() };
    assert_eq!(verdicts(shop.replay(&second).await.unwrap()), [Verdict::Replayed(INPUT)]);
    let letters = shop.records(DEAD_LETTERS, 3).await;
    let newest = Filter { offsets: Some(2..3), ..Filter::default() };
    let third = shop.replay(&Request { filter: newest, ..request }).await.unwrap();
    running.stop().await;

    assert_eq!(verdicts(third), [Verdict::Refused(Refusal::TooOften(2))]);
    assert_eq!(texts(&letters[2], COUNT), ["2"]);
    // Where it came from at first, not from which replay.
    let origin = |letter: &OwnedMessage| texts(letter, headers::DLT_ORIGINAL_OFFSET);
    assert!(letters.iter().all(|letter| origin(letter) == origin(&letters[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_filter_selects_is_replayed() {
    let shop = Shop::open("filter").await;
    // Not so long ago that the broker might remove it meanwhile.
    let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
    let long_ago = now - hour * 3..now - hour;
    shop.send_raw(INPUT, "key-0", b"\xffnot an event", (now - hour * 2).as_millisecond());
    shop.give_up(&events(3, 2), refusing(|delivery| delivery.key != "key-2"), 5).await;

    for (filter, expected) in [
        (Filter { key: Some("key-1".into()), ..Filter::default() }, 2),
        (Filter { event_type: Some("InventoryUpdated".into()), ..Filter::default() }, 4),
        (Filter { reason: Some("malformed".into()), ..Filter::default() }, 1),
        (Filter { topic: Some(Topic::OrdersCreated), ..Filter::default() }, 0),
        (Filter { published: Some(long_ago), ..Filter::default() }, 1),
        (Filter { key: Some("key-1".into()), reason: Some("malformed".into()), ..Filter::default() }, 0),
    ] {
        let report = shop.replay(&Request { filter: filter.clone(), ..request(Mode::DryRun) }).await.unwrap();
        assert_eq!((report.read, report.replayed()), (5, expected), "{filter:?}");
    }
    let filter = Filter { key: Some("key-1".into()), ..Filter::default() };
    shop.replay(&Request { filter, ..request(Mode::Replay) }).await.unwrap();
    let running = shop.consume(Recorder::new());

    shop.wait_for_effects(4).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);
    let few = Request { records_max: 2, ..request(Mode::DryRun) };
    let report = shop.replay(&few).await.unwrap();
    assert_eq!((report.selected.len(), report.more), (2, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_outside_the_catalogue_is_refused_with_the_reason() {
    let shop = Shop::open("allow-list").await;
    let envelope = event("key", 0);
    let origins = [format!("{}secrets", shop.kafka.topic_prefix), shop.topic(DEAD_LETTERS)];
    let value = contract::codec::encode_json(&envelope);
    for origin in &origins {
        shop.send_record(DEAD_LETTERS, "key", &value, letter_headers(&envelope, origin));
    }

    let report = shop.replay(&request(Mode::Replay)).await.unwrap();

    let [secrets, _] = origins.clone();
    assert_eq!(verdicts(report), origins.map(|origin| Verdict::Refused(Refusal::UnknownTopic(origin))));
    assert_eq!(shop.audit().await, []);
    assert!(Refusal::UnknownTopic(secrets).to_string().ends_with("is not in the catalogue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_had_been_handled_is_recognised() {
    let shop = Shop::open("recognised").await;
    let handled = event("key", 0);
    shop.publish(std::slice::from_ref(&handled)).await;
    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(1).await;
    let value = contract::codec::encode_json(&handled);
    shop.send_record(DEAD_LETTERS, "key", &value, letter_headers(&handled, &shop.topic(INPUT)));

    let report = shop.replay(&request(Mode::Replay)).await.unwrap();

    assert_eq!(verdicts(report), [Verdict::Replayed(INPUT)]);
    eventually("it to be recognised", async || {
        shop.metric("kafka_messages_handled_total", &[("outcome", "duplicate")]) == 1.0
    })
    .await;
    running.stop().await;
    assert_eq!(shop.effects().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_broke_off_is_on_record_and_is_resumed() {
    let shop = Shop::open("resumed").await;
    // One partition, so that the run's order is known.
    let all: Vec<Envelope> = (0..4).map(|number| event("bad", number)).collect();
    shop.give_up(&all, refusing(|_| true), 4).await;
    let slow = Request { records_per_second: NonZeroU32::MIN, ..request(Mode::Replay) };
    let messaging = shop.messaging();
    let run = tokio::spawn(async move { messaging.replay(&slow).await.map(drop) });
    eventually("one to be sent", async || {
        shop.audit().await.iter().any(|(_, _, outcome)| outcome.as_deref() == Some("SENT"))
    })
    .await;
    assert!(matches!(shop.replay(&request(Mode::Replay)).await, Err(ReplayError::Busy { .. })));

    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    // What a crash between sending and its outcome leaves: an intent.
    sqlx::query("UPDATE replayed_events SET outcome = NULL, settled_at = NULL")
        .execute(&shop.pool)
        .await
        .unwrap();
    let mut report = None;
    eventually("the lock to be free", async || {
        report = shop.replay(&request(Mode::Replay)).await.ok();
        report.is_some()
    })
    .await;
    let running = shop.consume(Recorder::new());

    shop.wait_for_effects(4).await;
    assert_in_order(&shop.effects().await);
    running.stop().await;
    assert_eq!(verdicts(report.unwrap()), vec![Verdict::Replayed(INPUT); 4]);
    let (open, sent): (Vec<_>, Vec<_>) =
        shop.audit().await.into_iter().partition(|(_, _, outcome)| outcome.is_none());
    assert!(!open.is_empty(), "the run that broke off stays on record");
    assert_eq!(sent.len(), 4);
    assert_eq!(shop.runs().await.iter().map(|(_, _, ended)| *ended).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_to_its_rate() {
    let shop = Shop::open("rate").await;
    let all: Vec<Envelope> = (0..6).map(|number| event("bad", number)).collect();
    shop.give_up(&all, refusing(|_| true), 6).await;
    let started = std::time::Instant::now();

    let rate = NonZeroU32::new(5).unwrap();
    shop.replay(&Request { records_per_second: rate, ..request(Mode::Replay) }).await.unwrap();

    // Five intervals of 200 ms between six records.
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_replays_without_saying_who_and_why() {
    let shop = Shop::open("unsigned").await;

    for request in [Request::new(" ", "why"), Request::new("who", "")] {
        assert!(matches!(shop.replay(&request).await, Err(ReplayError::Unsigned)));
    }
}
