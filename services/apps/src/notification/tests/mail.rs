use devcluster::mail::MailSink;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_reads_what_happened_and_everybody_is_told() {
    let (desk, sink, order) = (Desk::open().await, MailSink::for_tests().unwrap(), new_order());
    desk.record(&[cancelled(order, ada())]).await;

    desk.finish(&desk.sender(by_mail(sink.port()))).await;

    let mails = sink.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("orders@shop.test", &["ada@example.com".to_owned()][..])
    );
    assert_eq!(mail.header("From").as_deref(), Some("Orders <orders@shop.test>"));
    assert_eq!(mail.header("Message-ID"), Some(format!("<{order}.cancelled@shop.test>")));
    assert_eq!(mail.header("Subject"), Some(format!("Your order was cancelled ({order})")));
    for part in ["Hello Ada,", "2 burger ordered, 1 available", "51.98 USD", "text/html", "req-7"] {
        assert!(mail.content.contains(part), "{part} is missing:\n{}", mail.content);
    }

    let told = desk.outbox().await;
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(told.correlation_id.as_str(), "req-7");
    assert!(told.causation_id.is_some());
    let outcome = (NotificationKind::Cancelled, ChannelOutcome::Sent, ChannelOutcome::Skipped);
    assert_eq!(desk.outcomes().await, [outcome]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_twice_however_often_an_event_arrives() {
    let (desk, sink, order) = (Desk::open().await, MailSink::for_tests().unwrap(), new_order());
    let sender = desk.sender(by_mail(sink.port()));

    desk.record(&[created(order, ada()), created(order, ada())]).await;
    desk.finish(&sender).await;
    desk.record(&[created(order, ada())]).await;
    desk.finish(&sender).await;

    assert_eq!(sink.mails().len(), 1);
    assert_eq!(desk.outcomes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_hears_things_in_the_order_in_which_they_happened() {
    let (desk, sink) = (Desk::open().await, MailSink::for_tests().unwrap());
    let orders: Vec<OrderId> = (0..20).map(|_| new_order()).collect();
    let events: Vec<Event> =
        orders.iter().flat_map(|order| [created(*order, ada()), confirmed(*order, ada())]).collect();
    desk.record(&events).await;
    let (one, other) = (desk.sender(by_mail(sink.port())), desk.sender(by_mail(sink.port())));

    tokio::join!(desk.finish(&one), desk.finish(&other));

    let ids: Vec<String> = sink.mails().iter().filter_map(|mail| mail.header("Message-ID")).collect();
    assert_eq!(ids.len(), 40, "each once, by whichever replica");
    for order in orders {
        let place =
            |kind: &str| ids.iter().position(|id| id == &format!("<{order}.{kind}@shop.test>")).unwrap();
        assert!(place("created") < place("confirmed"), "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_forgotten_when_the_work_is_done() {
    let (desk, sink) = (Desk::open().await, MailSink::for_tests().unwrap());
    desk.record(&[created(new_order(), ada())]).await;

    desk.finish(&desk.sender(by_mail(sink.port()))).await;

    assert_eq!(desk.count("SELECT count(*) FROM notifications WHERE cause IS NOT NULL").await, 0);
    let kept: String = sqlx::query_scalar("SELECT notifications::text FROM notifications")
        .fetch_one(&desk.pool)
        .await
        .unwrap();
    assert!(
        !kept.contains("ada@example.com") && !format!("{:?}", desk.outbox().await).contains("example.com")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_while_the_sender_runs_is_sent_at_once() {
    let (desk, sink, order) = (Desk::open().await, MailSink::for_tests().unwrap(), new_order());
    let (stop, health) = (tokio_util::sync::CancellationToken::new(), crate::health::Health::default());
    let sender = desk.sender(by_mail(sink.port()));
    let running = tokio::spawn(sender.run(health.watch("sender", DEADLINE), stop.clone()));

    desk.record(&[created(order, ada())]).await;

    let arrived =
        tokio::task::block_in_place(|| sink.wait_for(DEADLINE, |mail| mail.to == ["ada@example.com"]));
    assert!(arrived.is_some());
    stop.cancel();
    running.await.unwrap();
}
