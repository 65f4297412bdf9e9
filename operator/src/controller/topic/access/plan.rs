//! What has to change so that principals may do with a topic what its object says. Pure and infallible.

use std::collections::BTreeSet;

use kafka_admin::{AclBinding, Principal};

/// ACLs for one topic.
pub(in crate::controller::topic) type Bindings = BTreeSet<AclBinding>;

/// What is remembered of the topic's ACLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Those that belong to the object: noted in its status before they were created.
    pub ours: Bindings,
    /// Those that other objects for the same topic have noted.
    pub theirs: Bindings,
    /// Principals that somebody else looks after: whatever they may do is not ours to change.
    pub left_alone: BTreeSet<Principal>,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// What has to be noted as the object's before anything is created.
    pub claim: Bindings,
    /// What has to be created.
    pub grant: Bindings,
    /// What has to be deleted.
    pub revoke: Bindings,
    /// What belongs to the object afterwards.
    pub ours: Bindings,
}

impl Plan {
    /// Whether Kafka is as it should be.
    pub(super) fn is_nothing(&self) -> bool {
        self.grant.is_empty() && self.revoke.is_empty()
    }

    /// A sentence for each change, for people to read before they allow it.
    pub(super) fn sentences(&self) -> impl Iterator<Item = String> {
        let grant = told(&self.grant).into_iter().map(|what| format!("allow {what}"));
        let revoke = told(&self.revoke).into_iter().map(|what| format!("no longer allow {what}"));
        grant.chain(revoke)
    }
}

/// What has to change in Kafka, where the ACLs `found` are, so that the ACLs `wanted` are and no others of the
/// object's.
///
/// An ACL that is there without being noted was made by somebody else, and stays that one's: it serves the object,
/// but is not revoked with it.
pub(super) fn plan(wanted: &Bindings, memory: &Memory, found: &Bindings) -> Plan {
    let is_left_alone = |binding: &AclBinding| memory.left_alone.contains(&binding.principal);
    let wanted: Bindings = wanted.iter().filter(|binding| !is_left_alone(binding)).cloned().collect();
    let ours: Bindings = wanted
        .iter()
        .filter(|one| memory.ours.contains(one) || memory.theirs.contains(one) || !found.contains(one))
        .cloned()
        .collect();
    let leaving = memory.ours.difference(&wanted);
    let revoke = leaving
        .filter(|one| found.contains(one) && !memory.theirs.contains(one) && !is_left_alone(one))
        .cloned()
        .collect();
    Plan { claim: &memory.ours | &ours, grant: &wanted - found, revoke, ours }
}

/// What `bindings` allow, each for people.
pub(super) fn told(bindings: &Bindings) -> Vec<String> {
    let tell = |binding: &AclBinding| {
        let host = if binding.host == "*" { String::new() } else { format!(" from {}", binding.host) };
        format!("{} to {:?}{host}", binding.principal, binding.operation)
    };
    bindings.iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use kafka_admin::{AclOperation, ResourceKind};

    use super::*;

    /// ACLs such as `a:Read`.
    fn acls(all: &[&str]) -> Bindings {
        let acl = |text: &&str| {
            let (user, operation) = text.split_once(':').unwrap();
            let operation = match operation {
                "Read" => AclOperation::Read,
                "Write" => AclOperation::Write,
                other => panic!("{other}"),
            };
            AclBinding::allow(Principal::user(user), operation, ResourceKind::Topic, "orders")
        };
        all.iter().map(acl).collect()
    }

    fn memory(ours: &[&str]) -> Memory {
        Memory { ours: acls(ours), ..Memory::default() }
    }

    #[test]
    fn what_is_missing_is_noted_and_then_created() {
        let plan = plan(&acls(&["a:Read", "a:Write"]), &Memory::default(), &acls(&[]));

        let both = acls(&["a:Read", "a:Write"]);
        assert_eq!(plan, Plan { claim: both.clone(), grant: both.clone(), revoke: acls(&[]), ours: both });
    }

    #[test]
    fn what_is_as_it_should_be_is_nothing_to_do() {
        let plan = plan(&acls(&["a:Read"]), &memory(&["a:Read"]), &acls(&["a:Read"]));

        assert!(plan.is_nothing());
        assert_eq!((plan.claim, plan.ours), (acls(&["a:Read"]), acls(&["a:Read"])));
    }

    #[test]
    fn what_somebody_removed_comes_back() {
        let plan = plan(&acls(&["a:Read"]), &memory(&["a:Read"]), &acls(&[]));

        assert_eq!((plan.grant, plan.ours), (acls(&["a:Read"]), acls(&["a:Read"])));
    }

    #[test]
    fn what_left_the_spec_is_revoked_and_then_forgotten() {
        let found = acls(&["a:Read", "b:Read", "stranger:Write"]);

        let plan = plan(&acls(&["b:Read"]), &memory(&["a:Read", "b:Read"]), &found);

        assert_eq!((plan.revoke, plan.ours), (acls(&["a:Read"]), acls(&["b:Read"])));
        // Until it is revoked it is not forgotten.
        assert_eq!(plan.claim, acls(&["a:Read", "b:Read"]));
    }

    #[test]
    fn what_was_there_before_is_used_but_never_ours() {
        let found = acls(&["a:Read"]);

        let granted = plan(&acls(&["a:Read"]), &Memory::default(), &found);
        let removed = plan(&acls(&[]), &Memory { ours: granted.ours.clone(), ..Memory::default() }, &found);

        assert!(granted.is_nothing() && granted.claim.is_empty());
        assert!(removed.is_nothing());
    }

    #[test]
    fn what_another_object_has_noted_is_shared_and_not_revoked() {
        let theirs = Memory { theirs: acls(&["a:Read"]), ..Memory::default() };
        let both = Memory { ours: acls(&["a:Read"]), ..theirs.clone() };

        assert_eq!(plan(&acls(&["a:Read"]), &theirs, &acls(&["a:Read"])).ours, acls(&["a:Read"]));
        assert!(plan(&acls(&[]), &both, &acls(&["a:Read"])).is_nothing());
    }

    #[test]
    fn a_principal_that_somebody_looks_after_is_left_alone_and_forgotten() {
        let left_alone = BTreeSet::from([Principal::user("a")]);
        let memory = Memory { left_alone, ..memory(&["a:Read"]) };

        let granted = plan(&acls(&["a:Read", "a:Write"]), &memory, &acls(&["a:Read"]));
        let removed = plan(&acls(&[]), &memory, &acls(&["a:Read"]));

        assert!(granted.is_nothing() && granted.ours.is_empty());
        assert!(removed.is_nothing() && removed.ours.is_empty());
    }

    #[test]
    fn a_plan_is_told_in_sentences() {
        let mut wanted = acls(&["a:Read"]);
        let from = AclBinding { host: "10.0.0.1".to_owned(), ..acls(&["a:Write"]).pop_first().unwrap() };
        wanted.insert(from);

        let plan = plan(&wanted, &memory(&["b:Read"]), &acls(&["b:Read"]));

        let told: Vec<String> = plan.sentences().collect();
        assert_eq!(
            told,
            ["allow User:a to Read", "allow User:a to Write from 10.0.0.1", "no longer allow User:b to Read",]
        );
    }
}
