//! Who gets in, and what they may do there.

use std::time::{Duration, Instant};

use devcluster::testing::{self, unique};
use kafka_admin::{
    AclBinding, AclOperation, Admin, ConnectOptions, Error, KafkaAdmin, Mode, NewTopic, Principal,
    ResourceKind, SaslCredentials, SaslMechanism, ScramUpsertion, Security, TlsOptions, TopicName,
};

use super::{create, eventually, only, real, topic};

/// Longer than any answer takes that is not a timeout.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn scram(username: &str, password: &str) -> SaslCredentials {
    SaslCredentials {
        mechanism: SaslMechanism::ScramSha512,
        username: username.to_owned(),
        password: password.into(),
    }
}

fn as_user(username: &str, password: &str) -> KafkaAdmin {
    connect(testing::kafka().sasl_bootstrap(), Security::SaslPlaintext(scram(username, password)))
}

pub(super) fn connect(address: &str, security: Security) -> KafkaAdmin {
    let options =
        ConnectOptions { security, request_timeout: REQUEST_TIMEOUT, ..ConnectOptions::plaintext(address) };
    KafkaAdmin::connect(&options).unwrap()
}

/// A user with a credential, once the broker that answers knows it.
async fn new_user() -> (KafkaAdmin, Principal) {
    let name = unique("user");
    only(real().upsert_scram(&[ScramUpsertion::sha512(name.clone(), "secret".into())]).await).unwrap();
    let ask = || async {
        let user = as_user(&name, "secret");
        user.cluster_id().await.map(|_| user)
    };
    (eventually("the new user logs in", ask, Result::is_ok).await.unwrap(), Principal::user(name))
}

#[tokio::test]
async fn the_right_password_logs_in() {
    let kafka = testing::kafka();

    let cluster = as_user(kafka.admin_user(), kafka.admin_password()).cluster_id().await;

    assert_eq!(cluster.unwrap().len(), 22);
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such_and_soon() {
    for (user, password) in [(testing::kafka().admin_user(), "wrong"), ("nobody", "secret")] {
        let started = Instant::now();

        let refused = as_user(user, password).cluster_id().await;

        assert!(matches!(refused, Err(Error::NotAuthenticated { .. })), "{refused:?}");
        assert!(started.elapsed() < REQUEST_TIMEOUT / 2, "after {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_listener_that_wants_something_else_is_unavailable_within_the_bound() {
    let kafka = testing::kafka();
    let short = |address: &str, security| {
        let request_timeout = Duration::from_secs(3);
        let options = ConnectOptions { security, request_timeout, ..ConnectOptions::plaintext(address) };
        KafkaAdmin::connect(&options).unwrap()
    };
    let plain_at_sasl = short(kafka.sasl_bootstrap(), Security::Plaintext);
    let tls_at_plain = short(kafka.bootstrap(), Security::Ssl(TlsOptions::default()));
    let started = Instant::now();

    let (plain_at_sasl, tls_at_plain) = tokio::join!(plain_at_sasl.cluster_id(), tls_at_plain.cluster_id());

    for refused in [plain_at_sasl, tls_at_plain] {
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "after {:?}", started.elapsed());
}

#[test]
fn a_certificate_that_is_none_is_refused_without_being_shown() {
    let tls = TlsOptions { ca_pem: Some("no certificate".to_owned()), identity: None };
    let options = ConnectOptions { security: Security::Ssl(tls), ..ConnectOptions::plaintext("127.0.0.1:1") };

    let refused = KafkaAdmin::connect(&options).unwrap_err();

    assert!(matches!(&refused, Error::InvalidRequest { message } if !message.contains("no certificate")));
}

#[tokio::test]
async fn a_new_user_may_do_nothing() {
    let (user, principal) = new_user().await;
    let existing = topic("theirs");
    create(&real(), NewTopic::named(existing.clone()).partitions(1)).await;

    let created = only(user.create_topics(&[NewTopic::named(topic("mine"))], Mode::Apply).await);
    let described = only(user.describe_topics(std::slice::from_ref(&existing)).await).map(|_| ());
    let deleted = only(user.delete_topics(&[existing]).await);
    let acls = only(user.describe_acls(&[kafka_admin::AclFilter::any()]).await).map(|_| ());

    let scram = only(user.describe_scram(&["admin".to_owned()]).await).map(|_| ());
    let upsertion = ScramUpsertion::sha512("intruder", "secret".into());
    let upserted = only(user.upsert_scram(&[upsertion]).await);
    let grant = AclBinding::allow(principal, AclOperation::All, ResourceKind::Topic, "*");
    let granted = only(user.create_acls(&[grant]).await);
    let refusals = [
        ("create", created),
        ("describe", described),
        ("delete", deleted),
        ("describe ACLs", acls),
        ("describe credentials", scram),
        ("upsert a credential", upserted),
        ("create an ACL", granted),
    ];

    for (what, refused) in refusals {
        assert!(matches!(refused, Err(Error::NotAuthorized { .. })), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn literal_and_prefixed_acls_are_enforced_as_asked() {
    let (user, principal) = new_user().await;
    let prefix = unique("shop");
    let name = |suffix: &str| TopicName::new(format!("{prefix}{suffix}")).unwrap();
    for suffix in ["", "-orders"] {
        create(&real(), NewTopic::named(name(suffix)).partitions(1)).await;
    }
    let allow =
        |operation| AclBinding::allow(principal.clone(), operation, ResourceKind::Topic, prefix.clone());
    let describe = async |suffix: &str| only(user.describe_topics(&[name(suffix)]).await).map(|_| ());
    let refused = |outcome: &Result<(), Error>| matches!(outcome, Err(Error::NotAuthorized { .. }));

    // Literal: the topic of that name, and no other that begins so.
    only(real().create_acls(&[allow(AclOperation::Describe)]).await).unwrap();
    eventually("the literal ACL holds", || describe(""), Result::is_ok).await.unwrap();
    let other = describe("-orders").await;
    assert!(refused(&other), "{other:?}");

    // Prefixed: every topic that begins so.
    only(real().create_acls(&[allow(AclOperation::Create).prefixed()]).await).unwrap();
    let create_own =
        || async { only(user.create_topics(&[NewTopic::named(name("-mine"))], Mode::ValidateOnly).await) };
    eventually("the prefixed ACL holds", create_own, Result::is_ok).await.unwrap();
    let foreign = only(user.create_topics(&[NewTopic::named(topic("foreign"))], Mode::ValidateOnly).await);
    assert!(refused(&foreign), "{foreign:?}");
}
