//! TLS: whom we trust, and whom the broker trusts.

use std::fs;
use std::time::Instant;

use devcluster::pki::{Authority, Identity, Subject};
use devcluster::tempdir::TempDir;
use devcluster::testing::{self, unique};
use kafka_admin::{
    AclBinding, AclOperation, Admin, ClientIdentity, Error, NewTopic, Principal, ResourceKind, Security,
    TlsOptions, UnavailableCause,
};

use super::login::{REQUEST_TIMEOUT, connect, scram};
use super::{create, eventually, only, real, topic};

/// The broker is trusted; `identity` is shown to it.
fn showing(identity: Option<Identity>) -> TlsOptions {
    let identity = identity.map(|Identity { certificate_pem, key_pem }| ClientIdentity {
        certificate_pem,
        key_pem: key_pem.into(),
    });
    TlsOptions { ca_pem: Some(testing::kafka().ca_pem()), identity }
}

/// An authority that nobody knows, and a certificate of it.
fn stranger() -> (String, Identity) {
    let dir = TempDir::new().unwrap();
    let authority = Authority::open(dir.path()).unwrap();
    let identity = authority.issue_client(Subject { common_name: "admin", organization: "" }).unwrap();
    (fs::read_to_string(authority.file("ca.crt")).unwrap(), identity)
}

/// What a cluster says to somebody whom TLS keeps out, which must not take as long as a timeout.
async fn refusal(address: &str, security: Security) -> String {
    let started = Instant::now();

    let refused: Result<String, Error> = connect(address, security).cluster_id().await;

    let Err(Error::Unavailable { cause: UnavailableCause::Tls, message }) = refused else {
        panic!("{refused:?}")
    };
    assert!(started.elapsed() < REQUEST_TIMEOUT / 2, "after {:?}", started.elapsed());
    message
}

#[tokio::test]
async fn a_password_logs_in_over_tls() {
    let kafka = testing::kafka();
    let security = |password| Security::SaslSsl(showing(None), scram(kafka.admin_user(), password));

    let cluster = connect(kafka.sasl_tls_bootstrap(), security(kafka.admin_password())).cluster_id().await;
    let refused = connect(kafka.sasl_tls_bootstrap(), security("wrong")).cluster_id().await;

    assert_eq!(cluster.unwrap().len(), 22);
    assert!(matches!(refused, Err(Error::NotAuthenticated { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_broker_of_an_authority_that_is_not_trusted_is_told_as_such_and_soon() {
    let kafka = testing::kafka();
    // Without an authority it is the system's that are trusted.
    for ca_pem in [Some(stranger().0), None] {
        let tls = TlsOptions { ca_pem, identity: None };
        let security = Security::SaslSsl(tls, scram(kafka.admin_user(), kafka.admin_password()));

        let message = refusal(kafka.sasl_tls_bootstrap(), security).await;

        assert!(message.contains("broker certificate could not be verified"), "{message}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_the_user_of_its_subject() {
    let (kafka, name, theirs) = (testing::kafka(), unique("client"), topic("theirs"));
    let user = connect(kafka.mtls_bootstrap(), Security::Ssl(showing(Some(kafka.issue_client(&name)))));
    create(&real(), NewTopic::named(theirs.clone()).partitions(1)).await;
    let describe = || async { only(user.describe_topics(std::slice::from_ref(&theirs)).await).map(|_| ()) };

    let before = describe().await;
    let principal = Principal::user(format!("CN={name}"));
    let grant = AclBinding::allow(principal, AclOperation::Describe, ResourceKind::Topic, theirs.as_str());
    only(real().create_acls(&[grant]).await).unwrap();

    assert!(matches!(before, Err(Error::NotAuthorized { .. })), "{before:?}");
    eventually("the ACL of the certificate's subject holds", describe, Result::is_ok).await.unwrap();
}

#[tokio::test]
async fn a_client_without_a_certificate_that_is_trusted_is_told_so_and_soon() {
    for identity in [None, Some(stranger().1)] {
        let message = refusal(testing::kafka().mtls_bootstrap(), Security::Ssl(showing(identity))).await;

        // Required or unknown: a client may keep to itself a certificate of an authority that the broker did not name.
        assert!(message.contains("alert certificate"), "{message}");
    }
}
