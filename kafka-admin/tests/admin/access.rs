use devcluster::testing::unique;
use kafka_admin::{
    AclBinding, AclFilter, AclOperation, Admin, Error, PatternFilter, PatternType, Permission, Principal,
    ResourceKind, ScramDeletion, ScramInfo, ScramMechanism, ScramUpsertion,
};

use super::{eventually, only};

/// The ACLs of `principal`, once there are `count` of them.
async fn acls(admin: &dyn Admin, principal: &Principal, count: usize) -> Vec<AclBinding> {
    let filter = [AclFilter::of(principal.clone())];
    let ask = || async { only(admin.describe_acls(&filter).await).unwrap() };
    let mut found = eventually("the principal's ACLs", ask, |found: &Vec<_>| found.len() == count).await;
    found.sort();
    found
}

async fn create(admin: &dyn Admin, bindings: &[AclBinding]) {
    let created = admin.create_acls(bindings).await;
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

pub(super) async fn acls_are_stored_as_asked(admin: &dyn Admin) {
    let principal = Principal::user(unique("service"));
    let name = unique("orders");
    let allow = |operation, kind| AclBinding::allow(principal.clone(), operation, kind, name.clone());
    let mut asked = vec![
        allow(AclOperation::Read, ResourceKind::Topic),
        allow(AclOperation::Read, ResourceKind::Topic).prefixed(),
        allow(AclOperation::All, ResourceKind::Group).prefixed(),
        allow(AclOperation::Write, ResourceKind::TransactionalId),
        AclBinding { permission: Permission::Deny, ..allow(AclOperation::Delete, ResourceKind::Topic) },
        AclBinding { host: "127.0.0.1".to_owned(), ..allow(AclOperation::Describe, ResourceKind::Topic) },
        AclBinding {
            name: "kafka-cluster".to_owned(),
            ..allow(AclOperation::IdempotentWrite, ResourceKind::Cluster)
        },
        AclBinding { name: "*".to_owned(), ..allow(AclOperation::DescribeConfigs, ResourceKind::Topic) },
    ];

    create(admin, &asked).await;

    asked.sort();
    assert_eq!(acls(admin, &principal, asked.len()).await, asked);
}

pub(super) async fn acls_are_found_by_what_they_apply_to(admin: &dyn Admin) {
    let principal = Principal::user(unique("reader"));
    let prefix = unique("shop");
    let allow =
        |name: String| AclBinding::allow(principal.clone(), AclOperation::Read, ResourceKind::Topic, name);
    let literal = allow(format!("{prefix}.orders"));
    let prefixed = allow(prefix.clone()).prefixed();
    create(admin, &[literal.clone(), prefixed.clone(), allow(format!("{prefix}.other"))]).await;
    acls(admin, &principal, 3).await;
    let filter = |pattern, name: &str| AclFilter {
        name: Some(name.to_owned()),
        pattern,
        resource: Some(ResourceKind::Topic),
        ..AclFilter::of(principal.clone())
    };

    let found = admin
        .describe_acls(&[
            filter(PatternFilter::Match, &literal.name),
            filter(PatternFilter::Literal, &literal.name),
            filter(PatternFilter::Prefixed, &prefix),
            filter(PatternFilter::Any, &prefix),
            filter(PatternFilter::Literal, &prefix),
        ])
        .await;

    let found: Vec<Vec<AclBinding>> = found
        .into_iter()
        .map(|found| {
            let mut found = found.unwrap();
            found.sort_by_key(|binding| binding.pattern == PatternType::Prefixed);
            found
        })
        .collect();
    let only_prefixed = vec![prefixed.clone()];
    let expected =
        [vec![literal.clone(), prefixed], vec![literal], only_prefixed.clone(), only_prefixed, vec![]];
    assert_eq!(found, expected);
}

pub(super) async fn acls_of_one_principal_are_deleted_alone(admin: &dyn Admin) {
    let (ours, theirs) = (Principal::user(unique("ours")), Principal::user(unique("theirs")));
    let read = |principal: &Principal, name: &str| {
        AclBinding::allow(principal.clone(), AclOperation::Read, ResourceKind::Topic, name)
    };
    create(admin, &[read(&ours, "a"), read(&ours, "b"), read(&theirs, "a")]).await;
    acls(admin, &ours, 2).await;
    acls(admin, &theirs, 1).await;

    let one = only(admin.delete_acls(&[AclFilter::exactly(&read(&ours, "a"))]).await).unwrap();
    acls(admin, &ours, 1).await;
    let rest = only(admin.delete_acls(&[AclFilter::of(ours.clone())]).await).unwrap();
    let none = only(admin.delete_acls(&[AclFilter::of(ours.clone())]).await);

    assert_eq!(one, [read(&ours, "a")]);
    assert_eq!(rest, [read(&ours, "b")]);
    assert!(
        none.is_ok_and(|deleted| deleted.len() <= 1),
        "a broker that is behind may name the last one again"
    );
    acls(admin, &ours, 0).await;
    assert_eq!(acls(admin, &theirs, 1).await, [read(&theirs, "a")]);
}

pub(super) async fn creating_an_acl_twice_stores_one(admin: &dyn Admin) {
    let principal = Principal::user(unique("twice"));
    let binding = AclBinding::allow(principal.clone(), AclOperation::Read, ResourceKind::Group, "g");

    create(admin, &[binding.clone(), binding.clone()]).await;
    create(admin, std::slice::from_ref(&binding)).await;

    assert_eq!(acls(admin, &principal, 1).await, [binding]);
}

pub(super) async fn an_acl_on_the_cluster_needs_its_name(admin: &dyn Admin) {
    let principal = Principal::user(unique("cluster"));
    let binding = AclBinding::allow(principal, AclOperation::Describe, ResourceKind::Cluster, "my-cluster");

    let created = only(admin.create_acls(&[binding]).await);

    assert!(matches!(created, Err(Error::InvalidRequest { .. })), "{created:?}");
}

fn info(mechanism: ScramMechanism, iterations: u32) -> ScramInfo {
    ScramInfo { mechanism, iterations }
}

pub(super) async fn credentials_are_created_replaced_and_deleted(admin: &dyn Admin) {
    let user = unique("alice");
    let names = [user.clone()];
    let (sha256, sha512) = (ScramMechanism::Sha256, ScramMechanism::Sha512);
    let upsertion = |mechanism, iterations| ScramUpsertion {
        credential: info(mechanism, iterations),
        ..ScramUpsertion::sha512(user.clone(), "first".into())
    };
    let has = async |expected: &[ScramInfo]| {
        let ask = || async { only(admin.describe_scram(&names).await) };
        eventually("the user's credentials", ask, |found| found.as_deref() == Ok(expected)).await.unwrap();
    };
    let gone = async || {
        let ask = || async { only(admin.describe_scram(&names).await) };
        let missing = |found: &Result<_, Error>| matches!(found, Err(Error::NotFound { .. }));
        eventually("the user has no credentials", ask, missing).await.unwrap_err();
    };
    let delete =
        async |mechanism| only(admin.delete_scram(&[ScramDeletion { user: user.clone(), mechanism }]).await);

    gone().await;
    let both = admin.upsert_scram(&[upsertion(sha256, 4096), upsertion(sha512, 4096)]).await;
    assert_eq!(both[0], Ok(()));
    assert!(matches!(both[1], Err(Error::InvalidRequest { .. })), "one user twice: {both:?}");
    only(admin.upsert_scram(&[upsertion(sha512, 4096)]).await).unwrap();
    has(&[info(sha256, 4096), info(sha512, 4096)]).await;
    only(admin.upsert_scram(&[upsertion(sha512, 8192)]).await).unwrap();
    has(&[info(sha256, 4096), info(sha512, 8192)]).await;
    delete(sha256).await.unwrap();
    has(&[info(sha512, 8192)]).await;
    delete(sha512).await.unwrap();
    gone().await;
    let again = delete(sha512).await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
}

pub(super) async fn impossible_credentials_are_refused(admin: &dyn Admin) {
    let with = |iterations, password: &str| ScramUpsertion {
        credential: info(ScramMechanism::Sha512, iterations),
        ..ScramUpsertion::sha512(unique("bob"), password.into())
    };

    let answers =
        admin.upsert_scram(&[with(1, "p"), with(16_385, "p"), with(4096, ""), with(4096, "p")]).await;

    for answer in &answers[..3] {
        assert!(matches!(answer, Err(Error::InvalidRequest { .. })), "{answer:?}");
    }
    assert_eq!(answers[3], Ok(()));
}

pub(super) async fn bad_items_do_not_fail_their_neighbours(admin: &dyn Admin) {
    let good = AclBinding::allow(Principal::user("x"), AclOperation::Read, ResourceKind::Topic, unique("t"));
    let bad = AclBinding { name: String::new(), ..good.clone() };
    let nul = AclFilter { name: Some("a\0b".to_owned()), ..AclFilter::any() };

    let created = admin.create_acls(&[bad, good.clone()]).await;
    let deleted = admin.delete_acls(&[nul.clone(), AclFilter::exactly(&good)]).await;
    let described = admin.describe_scram(&[String::new(), unique("nobody")]).await;

    assert!(matches!(created[0], Err(Error::InvalidRequest { .. })), "{created:?}");
    assert_eq!(created[1], Ok(()));
    assert!(matches!(deleted[0], Err(Error::InvalidRequest { .. })), "{deleted:?}");
    assert!(deleted[1].is_ok(), "{deleted:?}");
    assert!(matches!(described[0], Err(Error::InvalidRequest { .. })), "{described:?}");
    assert!(matches!(described[1], Err(Error::NotFound { .. })), "{described:?}");
}
