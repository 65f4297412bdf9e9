use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use devcluster::mail::MailSink;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;

/// A port that nobody listens on.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// A mail server that refuses every recipient with `code`, and repeats the address as real ones do.
async fn refusing_server(code: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 refuser\r\n").await?;
                while let Some(line) = lines.next_line().await? {
                    let refused =
                        line.starts_with("RCPT").then(|| format!("{code} {line} is not welcome\r\n"));
                    write.write_all(refused.unwrap_or_else(|| "250 ok\r\n".into()).as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    port
}

/// A webhook that answers the statuses of `script` one after the other, then 200; it keeps what it was sent.
async fn webhook(script: &'static [u16]) -> (u16, Arc<Mutex<Vec<(String, Value)>>>) {
    let requests: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let (kept, count) = (requests.clone(), Arc::new(AtomicUsize::new(0)));
    let answer = move |headers: HeaderMap, Json(body): Json<Value>| async move {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        kept.lock().unwrap().push((key, body));
        let status = script.get(count.fetch_add(1, Ordering::Relaxed)).copied().unwrap_or(200);
        StatusCode::from_u16(status).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().route("/sms", post(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (port, requests)
}

async fn details(desk: &Desk) -> Vec<Option<String>> {
    let told = desk.outbox().await;
    let details = told.iter().flat_map(|envelope| match &envelope.event {
        Event::NotificationSent(sent) => sent.channels.iter().map(|result| result.detail.clone()).collect(),
        _ => Vec::new(),
    });
    details.collect()
}

async fn attempts(desk: &Desk) -> i64 {
    desk.count("SELECT max(attempts)::bigint FROM notifications").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_away_is_tried_a_few_times_and_then_recorded_as_failed() {
    let (desk, order) = (Desk::open().await, new_order());
    desk.record(&[confirmed(order, ada())]).await;

    desk.finish(&desk.sender(by_mail(closed_port().await))).await;

    let outcome = (NotificationKind::Confirmed, ChannelOutcome::Failed, ChannelOutcome::Skipped);
    assert_eq!(desk.outcomes().await, [outcome]);
    assert_eq!(attempts(&desk).await, 3);
    assert_eq!(details(&desk).await[0].as_deref(), Some("the mail server cannot be reached"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_comes_back_gets_the_mail() {
    let (desk, port) = (Desk::open().await, closed_port().await);
    desk.record(&[created(new_order(), ada())]).await;
    let sender = desk.sender(by_mail(port));
    sender.work_once().await.unwrap();
    assert_eq!(desk.open_tasks().await, 1);

    let sink = MailSink::start(("127.0.0.1", port)).unwrap();
    desk.finish(&sender).await;

    assert_eq!(sink.mails().len(), 1);
    assert_eq!(desk.outcomes().await[0].1, ChannelOutcome::Sent);
}

/// As a database that restarts between the sending and its record does. Sequences count on when a transaction is undone.
const AWAY_ONCE: &str = "
    CREATE SEQUENCE saves;
    CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF nextval('saves') = 1 THEN RAISE EXCEPTION 'shutting down' USING ERRCODE = 'admin_shutdown'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER away BEFORE UPDATE ON notifications
        FOR EACH ROW WHEN (NEW.finished_at_us IS NOT NULL) EXECUTE FUNCTION away();";

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_sent_once_though_the_database_is_away_when_it_was() {
    let (desk, sink) = (Desk::open().await, MailSink::for_tests().unwrap());
    desk.record(&[created(new_order(), ada())]).await;
    sqlx::raw_sql(AWAY_ONCE).execute(&desk.pool).await.unwrap();

    desk.sender(by_mail(sink.port())).work_once().await.unwrap();

    assert_eq!((desk.open_tasks().await, desk.count("SELECT last_value FROM saves").await), (0, 2));
    assert_eq!((sink.mails().len(), attempts(&desk).await), (1, 1));
    assert_eq!(desk.outcomes().await[0].1, ChannelOutcome::Sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_is_not_tried_again_and_not_repeated() {
    let desk = Desk::open().await;
    desk.record(&[created(new_order(), ada())]).await;

    desk.finish(&desk.sender(by_mail(refusing_server("550").await))).await;

    assert_eq!((desk.outcomes().await[0].1, attempts(&desk).await), (ChannelOutcome::Failed, 1));
    assert_eq!(details(&desk).await[0].as_deref(), Some("the mail server refused it with 550"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_put_off_is_tried_again() {
    let desk = Desk::open().await;
    desk.record(&[created(new_order(), ada())]).await;

    desk.finish(&desk.sender(by_mail(refusing_server("451").await))).await;

    assert_eq!((desk.outcomes().await[0].1, attempts(&desk).await), (ChannelOutcome::Failed, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_cannot_be_reached_does_not_hold_up_the_order() {
    let (desk, sink) = (Desk::open().await, MailSink::for_tests().unwrap());
    let silent = Contact { email: None, phone: None, ..ada() };
    let mistyped = Contact { email: Some("not an address".into()), ..ada() };
    desk.record(&[created(new_order(), silent)]).await;
    desk.record(&[created(new_order(), mistyped)]).await;

    desk.finish(&desk.sender(by_mail(sink.port()))).await;

    let outcomes: Vec<_> = desk.outcomes().await.into_iter().map(|(_, email, _)| email).collect();
    assert!(outcomes.contains(&ChannelOutcome::Skipped) && outcomes.contains(&ChannelOutcome::Failed));
    assert_eq!(sink.mails(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_message_is_posted_under_one_key_until_it_is_taken() {
    let (desk, order) = (Desk::open().await, new_order());
    let (port, requests) = webhook(&[500, 429]).await;
    desk.record(&[confirmed(order, ada())]).await;

    desk.finish(&desk.sender(by_sms(port))).await;

    let name = format!("{order}.confirmed");
    let text = format!("Your order is confirmed: 51.98 USD, {order}");
    let request = (name.clone(), json!({"to": "+15550100", "text": text, "reference": name}));
    assert_eq!(*requests.lock().unwrap(), [request.clone(), request.clone(), request]);
    let outcome = (NotificationKind::Confirmed, ChannelOutcome::Skipped, ChannelOutcome::Sent);
    assert_eq!(desk.outcomes().await, [outcome]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_settled_is_not_used_again_for_the_sake_of_another() {
    let (desk, sink) = (Desk::open().await, MailSink::for_tests().unwrap());
    let (port, requests) = webhook(&[503, 503]).await;
    desk.record(&[created(new_order(), ada())]).await;
    let channels = Channels { email: by_mail(sink.port()).email, sms: by_sms(port).sms };

    desk.finish(&desk.sender(channels)).await;

    assert_eq!((sink.mails().len(), requests.lock().unwrap().len()), (1, 3));
    let outcome = (NotificationKind::Created, ChannelOutcome::Sent, ChannelOutcome::Sent);
    assert_eq!(desk.outcomes().await, [outcome]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_overtaken_tells_nobody() {
    let (desk, sink) = (Desk::open().await, MailSink::for_tests().unwrap());
    desk.record(&[created(new_order(), ada())]).await;
    let mut conn = desk.pool.acquire().await.unwrap();
    let (now, long_ago) = (Timestamp::now(), Timestamp::UNIX_EPOCH);
    // Took the task, and its lease is over.
    let tasks = super::super::store::take(&mut conn, now, long_ago, 10).await.unwrap();
    desk.finish(&desk.sender(by_mail(sink.port()))).await;

    let late: Vec<_> = tasks
        .into_iter()
        .map(|task| super::super::store::Report { task, settled: Vec::new(), retry_at: None })
        .collect();
    let finished = super::super::store::save(&mut conn, &late, now).await.unwrap();

    assert_eq!((late.len(), finished.len()), (1, 0));
    assert_eq!(desk.outcomes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_cannot_be_read_keeps_no_other_waiting() {
    let (desk, sink) = (Desk::open().await, MailSink::for_tests().unwrap());
    let (spoilt, sound) = (created(new_order(), ada()), created(new_order(), ada()));
    desk.record(&[spoilt.clone(), sound.clone()]).await;
    sqlx::query("UPDATE notifications SET cause = '\\x00' WHERE order_id = $1")
        .bind(spoilt.order_id().unwrap().as_uuid())
        .execute(&desk.pool)
        .await
        .unwrap();

    let taken = desk.sender(by_mail(sink.address().port())).work_once().await.unwrap();

    assert_eq!((taken, desk.open_tasks().await), (1, 1));
    assert_eq!(sink.mails().len(), 1);
    assert!(sink.mails()[0].body().contains(&sound.key()));
}
