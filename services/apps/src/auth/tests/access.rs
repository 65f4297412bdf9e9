//! Who is let in, and what everybody else is told.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rstest::rstest;

use super::*;

/// Makes a token that is not good, or only almost.
type Forge = fn(&Signer, &Published) -> String;

/// Says what a closure is.
fn by(forge: Forge) -> Forge {
    forge
}

#[rstest]
#[case::no_token(by(|_, _| "nonsense".to_owned()), "malformed: it is not three parts")]
#[case::nothing(by(|_, _| String::new()), "malformed: it is not three parts")]
#[case::header_is_no_base64(by(|_, _| "!.e30.e30".to_owned()), "malformed: its header")]
#[case::header_is_no_json(by(|_, _| "e30x.e30.e30".to_owned()), "malformed: its header")]
#[case::header_lacks_algorithm(by(|_, _| unsigned(&json!({}), &json!({}))), "malformed: its header")]
#[case::encrypted(by(|_, _| "e30.e30.e30.e30.e30".to_owned()), "malformed: it is not three parts")]
#[case::too_long(by(|s, i| s.token(&claims(i, json!({"groups": "x".repeat(8192)})))), "malformed: it is longer than 8 KiB")]
#[case::critical_extension(
    by(|_, i| unsigned(&json!({"alg": "ES256", "kid": "one", "crit": ["b64"], "b64": false}), &good(i))),
    "malformed: its header asks for extensions"
)]
#[case::never_expires(by(|s, i| s.token(&claims(i, json!({"exp": null})))), "malformed: it never expires")]
#[case::wrong_type(by(|s, i| s.token(&claims(i, json!({"nbf": "99999999999"})))), "malformed: its claims")]
#[case::claims_are_no_object(by(|s, _| s.token(&json!("let me in"))), "malformed: its claims")]
#[case::not_signed(by(|_, i| unsigned(&json!({"alg": "none", "kid": "one"}), &good(i))), "algorithm is not accepted")]
#[case::shared_secret(by_the_public_key, "algorithm is not accepted")]
#[case::unfit_algorithm(by(|_, i| unsigned(&json!({"alg": "ES384", "kid": "one"}), &good(i))), "algorithm is not accepted")]
#[case::other_family(by(|_, i| unsigned(&json!({"alg": "RS256", "kid": "one"}), &good(i))), "algorithm is not accepted")]
#[case::unknown_key(by(|_, i| Signer::named("nobody").token(&good(i))), "signed with an unknown key")]
#[case::no_key_of_several(by(|s, i| s.token_under(&Header::new(Algorithm::ES256), &good(i))), "signed with an unknown key")]
#[case::bad_signature(by(|_, i| Signer::named("one").token(&good(i))), "bad signature")]
#[case::changed(changed, "bad signature")]
#[case::expired(by(|s, i| s.token(&claims(i, json!({"exp": now() - 120})))), "has expired")]
#[case::not_yet_valid(by(|s, i| s.token(&claims(i, json!({"nbf": now() + 120})))), "not yet valid")]
#[case::wrong_issuer(by(|s, i| s.token(&claims(i, json!({"iss": "https://somebody.else"})))), "wrong issuer")]
#[case::almost_the_issuer(by(|s, i| s.token(&claims(i, json!({"iss": format!("{}/", i.url)})))), "wrong issuer")]
#[case::no_issuer(by(|s, i| s.token(&claims(i, json!({"iss": null})))), "wrong issuer")]
#[case::wrong_audience(by(|s, i| s.token(&claims(i, json!({"aud": "bank"})))), "wrong audience")]
#[case::wrong_audiences(by(|s, i| s.token(&claims(i, json!({"aud": ["bank", "shops"]})))), "wrong audience")]
#[case::no_audience(by(|s, i| s.token(&claims(i, json!({"aud": null})))), "wrong audience")]
#[tokio::test]
async fn a_bad_token_is_refused_and_its_bearer_told_why(#[case] forge: Forge, #[case] expected: &str) {
    let (signer, other) = (Signer::named("one"), Signer::named("two"));
    let issuer = Published::by(&[&signer, &other]).await;
    let api = Api::trusting(&issuer.trust());
    let token = forge(&signer, &issuer);

    let answer = api.show(&token).await;

    assert_eq!((answer.status, answer.content_type.as_str()), (StatusCode::UNAUTHORIZED, PROBLEM_JSON));
    let body = answer.body();
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains(expected), "{detail}");
    assert_eq!(
        answer.challenge,
        format!(r#"Bearer error="invalid_token", error_description="{detail}""#),
        "the header says the same"
    );
    assert_eq!(body["type"], "urn:orderpipeline:problem:unauthorized");
    assert_eq!(body["correlationId"], answer.correlation_id.as_str());
    assert!(token.len() < 3 || !answer.text.contains(&token), "a token is not repeated");
}

/// Signed with what everybody can read, as if it were a secret.
fn by_the_public_key(signer: &Signer, issuer: &Published) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(signer.kid.to_owned());
    encode(&header, &good(issuer), &EncodingKey::from_secret(signer.key.public_key_raw())).unwrap()
}

/// Signed for ada, and shown as bob's.
fn changed(signer: &Signer, issuer: &Published) -> String {
    let token = signer.token(&good(issuer));
    let parts: Vec<&str> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.encode(claims(issuer, json!({"sub": "bob"})).to_string());
    format!("{}.{claims}.{}", parts[0], parts[2])
}

#[rstest]
#[case::as_issued(json!({}))]
#[case::for_us_among_others(json!({"aud": ["bank", "shop"]}))]
#[case::just_expired(json!({"exp": now() - 10}))]
#[case::just_begun(json!({"nbf": now() + 30}))]
#[case::to_the_millisecond(json!({"exp": now() as f64 + 300.5}))]
#[tokio::test]
async fn a_good_token_is_let_in(#[case] changes: Value) {
    let signer = Signer::named("one");
    let issuer = Published::by(&[&signer]).await;
    let api = Api::trusting(&issuer.trust());

    let answer = api.show(&signer.token(&claims(&issuer, changes))).await;

    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "come in"), "{}", answer.text);
    assert_eq!(answer.challenge, "");
}

#[rstest]
#[case::none(&[])]
#[case::another_scheme(&["Basic YWRhOmh1bnRlcjI="])]
#[case::scheme_only(&["Bearer"])]
#[case::two(&["Bearer e30.e30.e30", "Bearer e30.e30.e30"])]
#[tokio::test]
async fn whoever_shows_no_token_is_asked_for_one(#[case] authorization: &[&str]) {
    let issuer = Published::by(&[]).await;
    let api = Api::trusting(&issuer.trust());

    for path in ["/api/v1/orders", "/api/v1/nothing", "/api/"] {
        let answer = api.ask(path, authorization).await;

        assert_eq!(
            (answer.status, answer.challenge.as_str()),
            (StatusCode::UNAUTHORIZED, "Bearer"),
            "{path}"
        );
        assert_eq!(answer.body()["instance"], path);
        assert!(!answer.text.contains("YWRhOmh1bnRlcjI"), "credentials are not repeated");
    }
    assert_eq!(issuer.times_asked(), 0, "nobody's token is checked");
}

#[tokio::test]
async fn what_describes_the_api_needs_no_token() {
    let issuer = Published::by(&[]).await;
    let api = Api::trusting(&issuer.trust());

    assert_eq!(api.ask("/openapi.json", &[]).await.text, "a description");
    assert_eq!(api.ask("/nothing", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_opens_what_there_is_and_the_scheme_may_be_in_lower_case() {
    let signer = Signer::named("one");
    let issuer = Published::by(&[&signer]).await;
    let api = Api::trusting(&issuer.trust());
    let authorization = format!("bearer {}", signer.token(&good(&issuer)));

    assert_eq!(api.ask("/api/v1/orders", &[&authorization]).await.status, StatusCode::OK);
    assert_eq!(api.ask("/api/v1/nothing", &[&authorization]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_audiences_a_token_may_be_for_anybody() {
    let signer = Signer::named("one");
    let issuer = Published::by(&[&signer]).await;
    let api = Api::trusting(&Trust { audiences: Vec::new(), ..issuer.trust() });

    for audience in [json!("bank"), json!(["bank"]), Value::Null] {
        let token = signer.token(&claims(&issuer, json!({"aud": audience})));
        assert_eq!(api.status(&token).await, StatusCode::OK, "{audience}");
    }
}

#[tokio::test]
async fn a_token_that_names_no_key_means_the_only_one() {
    let signer = Signer::named("one");
    let issuer = Published::by(&[&signer]).await;
    let api = Api::trusting(&issuer.trust());

    let nameless = signer.token_under(&Header::new(Algorithm::ES256), &good(&issuer));

    assert_eq!(api.status(&nameless).await, StatusCode::OK);
}
