//! When an issuer is asked for its keys, and what becomes of requests while it does not answer.

use std::error::Error as _;

use rstest::rstest;

use super::*;

/// A little longer than the pauses and the age that are in the code.
const RETRY: Duration = Duration::from_millis(1001);
const UNKNOWN: Duration = Duration::from_millis(10_001);
const OLD: Duration = Duration::from_secs(601);

/// An issuer that publishes the keys of `signers`, and an API that trusts it.
async fn trusting(signers: &[&Signer]) -> (Arc<Published>, Api) {
    let issuer = Published::by(signers).await;
    let api = Api::trusting(&issuer.trust());
    (issuer, api)
}

#[tokio::test]
async fn the_first_requests_share_one_fetch() {
    let signer = Signer::named("one");
    let (issuer, api) = trusting(&[&signer]).await;
    let token = signer.token(&good(&issuer));

    let statuses = futures::future::join_all((0..20).map(|_| api.status(&token))).await;

    assert_eq!(statuses, [StatusCode::OK; 20]);
    assert_eq!(issuer.times_asked(), 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_takes_no_fetch_with_it() {
    let signer = Signer::named("one");
    let (issuer, api) = trusting(&[&signer]).await;
    let token = signer.token(&good(&issuer));
    issuer.open.send_replace(false);

    tokio::select! {
        _ = api.show(&token) => panic!("an answer without keys"),
        () = issuer.asked(1) => {}
    }
    issuer.open.send_replace(true);

    assert_eq!((api.status(&token).await, issuer.times_asked()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_new_key_is_picked_up_at_its_first_token() {
    let (old, new) = (Signer::named("old"), Signer::named("new"));
    let (issuer, api) = trusting(&[&old]).await;
    assert_eq!(api.status(&old.token(&good(&issuer))).await, StatusCode::OK);

    issuer.publish(&[&new]);
    api.pass(UNKNOWN);

    assert_eq!(api.status(&new.token(&good(&issuer))).await, StatusCode::OK);
    assert_eq!(api.status(&old.token(&good(&issuer))).await, StatusCode::UNAUTHORIZED, "it was taken back");
}

#[tokio::test]
async fn strangers_do_not_make_us_ask_at_their_pace() {
    let signer = Signer::named("one");
    let (issuer, api) = trusting(&[&signer]).await;
    let strangers: Vec<String> =
        ["a", "b", "c", "d", "e"].map(|kid| Signer::named(kid).token(&good(&issuer))).into();

    for fetches in 1..4 {
        for _again in 0..3 {
            let statuses = futures::future::join_all(strangers.iter().map(|token| api.status(token))).await;
            assert_eq!(statuses, [StatusCode::UNAUTHORIZED; 5]);
        }
        assert_eq!(issuer.times_asked(), fetches);
        api.pass(UNKNOWN);
    }
}

#[tokio::test]
async fn old_keys_are_fetched_again_and_no_request_waits_for_it() {
    let (old, new) = (Signer::named("old"), Signer::named("new"));
    let (issuer, api) = trusting(&[&old]).await;
    let token = old.token(&good(&issuer));
    assert_eq!(api.status(&token).await, StatusCode::OK);

    issuer.publish(&[&new]);
    issuer.open.send_replace(false);
    api.pass(OLD);
    for _ in 0..3 {
        assert_eq!(api.status(&token).await, StatusCode::OK, "the issuer does not answer yet");
    }
    issuer.open.send_replace(true);
    api.settled().await;

    assert_eq!(issuer.times_asked(), 2);
    assert_eq!(api.status(&new.token(&good(&issuer))).await, StatusCode::OK);
    assert_eq!(api.status(&token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(issuer.times_asked(), 2);
}

#[tokio::test]
async fn after_a_night_without_requests_the_first_one_waits_for_the_keys_of_today() {
    let (old, new) = (Signer::named("old"), Signer::named("new"));
    let (issuer, api) = trusting(&[&old]).await;
    let token = old.token(&good(&issuer));
    assert_eq!(api.status(&token).await, StatusCode::OK);

    issuer.publish(&[&new]);
    api.pass(OLD * 2);

    assert_eq!(api.status(&token).await, StatusCode::UNAUTHORIZED, "its key was taken back");
    assert_eq!(issuer.times_asked(), 2);
}

#[tokio::test]
async fn an_issuer_that_fails_leaves_us_the_keys_we_have() {
    let signer = Signer::named("one");
    let (issuer, api) = trusting(&[&signer]).await;
    let token = signer.token(&good(&issuer));
    assert_eq!(api.status(&token).await, StatusCode::OK);

    issuer.answer_with(StatusCode::INTERNAL_SERVER_ERROR);
    api.pass(OLD);
    for fetches in 2..5 {
        for _again in 0..3 {
            assert_eq!(api.status(&token).await, StatusCode::OK);
            api.settled().await;
        }
        assert_eq!(issuer.times_asked(), fetches, "a failed attempt is repeated after a pause only");
        api.pass(RETRY);
    }
    let stranger = Signer::named("nobody").token(&good(&issuer));
    assert_eq!(api.status(&stranger).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_or_called_a_stranger() {
    let signer = Signer::named("one");
    let issuer = Published::by(&[&signer]).await;
    issuer.answer_with(StatusCode::BAD_GATEWAY);
    let api = Api::trusting(&issuer.trust());
    let token = signer.token(&good(&issuer));

    for _again in 0..3 {
        let answer = api.show(&token).await;
        assert_eq!((answer.status, answer.retry_after.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "1"));
        assert_eq!((answer.challenge.as_str(), answer.content_type.as_str()), ("", PROBLEM_JSON));
    }
    assert_eq!(issuer.times_asked(), 1, "the issuer is not asked by every request");
    issuer.answer_with(StatusCode::OK);
    api.pass(RETRY);

    assert_eq!((api.status(&token).await, issuer.times_asked()), (StatusCode::OK, 2));
}

#[tokio::test]
async fn keys_can_be_where_the_configuration_says() {
    let signer = Signer::named("one");
    let issuer = Published::by(&[&signer]).await;
    let trust = Trust {
        issuer: "https://id.example".to_owned(),
        jwks_url: Some(format!("{}/keys", issuer.url).parse().unwrap()),
        ..issuer.trust()
    };
    let api = Api::trusting(&trust);

    let token = signer.token(&claims(&issuer, json!({"iss": "https://id.example"})));

    assert_eq!(api.status(&token).await, StatusCode::OK);
}

#[tokio::test]
async fn a_trailing_slash_of_the_issuer_is_its_own() {
    let issuer = Published::by(&[]).await;
    let trust = Trust { issuer: format!("{}/", issuer.url), ..issuer.trust() };

    let refused = Issuer::new(&trust).unwrap().keys().await.err().unwrap().to_string();

    let told =
        format!("{}/.well-known/openid-configuration describes the issuer {}, and", issuer.url, issuer.url);
    assert!(refused.starts_with(&told), "{refused}");
}

#[tokio::test]
async fn who_describes_another_issuer_is_not_believed() {
    let signer = Signer::named("one");
    let issuer = Published::by(&[&signer]).await;
    let trust = Trust { issuer: format!("{}/foreign", issuer.url), ..issuer.trust() };

    let refused = Issuer::new(&trust).unwrap().keys().await.err().unwrap().to_string();
    let token = signer.token(&claims(&issuer, json!({"iss": trust.issuer})));

    let told = format!("describes the issuer https://somebody.else, and JWT_ISSUER is {}", trust.issuer);
    assert!(refused.ends_with(&told), "{refused}");
    assert_eq!(Api::trusting(&trust).status(&token).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(issuer.times_asked(), 0);
}

#[rstest]
#[case::too_large("/large", "answered more than 1048576 bytes")]
#[case::elsewhere("/moved", "answered 308 Permanent Redirect")]
#[case::nowhere("/nothing", "answered 404 Not Found")]
#[case::something_else("/.well-known/openid-configuration", "answered something else than a set of keys")]
#[tokio::test]
async fn an_answer_that_is_no_set_of_keys_is_named(#[case] path: &str, #[case] expected: &str) {
    let issuer = Published::by(&[]).await;
    let url = format!("{}{path}", issuer.url);
    let trust = Trust { jwks_url: Some(url.parse().unwrap()), ..issuer.trust() };

    let refused = Issuer::new(&trust).unwrap().keys().await.err().unwrap();

    assert_eq!(refused.to_string(), format!("{url} {expected}"));
}

#[tokio::test]
async fn an_issuer_that_is_not_there_is_named_with_the_cause() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let trust =
        Trust { issuer: format!("http://{free}"), audiences: Vec::new(), jwks_url: None, ca_file: None };

    let refused = Issuer::new(&trust).unwrap().keys().await.err().unwrap();

    assert_eq!(
        refused.to_string(),
        format!("http://{free}/.well-known/openid-configuration does not answer")
    );
    assert!(refused.source().is_some());
}
