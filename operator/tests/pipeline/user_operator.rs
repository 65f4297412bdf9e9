//! A double of Strimzi's User Operator, which cannot be had here. Like it, it makes of every `KafkaUser` of its
//! namespace and cluster a Secret, a password or a certificate and ACLs, says so in the status, and takes all rights
//! from users that no `KafkaUser` stands for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use devcluster::kafka::Kafka;
use k8s_openapi::api::core::v1::Secret;
use kafka_admin::{
    AclBinding, AclFilter, AclOperation, Admin, ConnectOptions, KafkaAdmin, Principal, ResourceKind,
    ScramDeletion, ScramMechanism, ScramUpsertion,
};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::strimzi_kinds::api;

/// Between two looks at everything.
const INTERVAL: Duration = Duration::from_millis(200);

/// Runs until it is dropped.
pub(crate) struct UserOperator(tokio::task::JoinHandle<()>);

impl Drop for UserOperator {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl UserOperator {
    /// Looks after the `KafkaUser`s of cluster `main` in `namespace`.
    pub(crate) fn start(client: &Client, namespace: &str, kafka: &Arc<Kafka>) -> Self {
        let double = Double {
            users: api(client, namespace, "KafkaUser"),
            secrets: Api::namespaced(client.clone(), namespace),
            admin: KafkaAdmin::connect(&ConnectOptions::plaintext(kafka.bootstrap())).unwrap(),
            kafka: Arc::clone(kafka),
        };
        Self(tokio::spawn(async move {
            loop {
                double.look().await;
                tokio::time::sleep(INTERVAL).await;
            }
        }))
    }
}

struct Double {
    users: Api<DynamicObject>,
    secrets: Api<Secret>,
    admin: KafkaAdmin,
    kafka: Arc<Kafka>,
}

impl Double {
    async fn look(&self) {
        let mine = ListParams::default().labels("strimzi.io/cluster=main");
        let users = self.users.list(&mine).await.unwrap().items;
        for user in &users {
            self.make(user).await;
        }
        self.remove_strangers(&users).await;
    }

    async fn make(&self, user: &DynamicObject) {
        let name = user.name_any();
        let by_certificate = user.data["spec"]["authentication"]["type"] == "tls";
        let username = if by_certificate { format!("CN={name}") } else { name.clone() };
        let secret = match self.secrets.get_opt(&name).await.unwrap() {
            Some(secret) => secret,
            None => self.make_secret(user, by_certificate).await,
        };
        if !by_certificate {
            let password = String::from_utf8(secret.data.unwrap()["password"].0.clone()).unwrap();
            let upsertion = ScramUpsertion::sha512(name.clone(), password.into());
            self.admin.upsert_scram(&[upsertion]).await.remove(0).unwrap();
        }
        self.grant(&username, user).await;
        let status = json!({
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "observedGeneration": user.metadata.generation, "username": username, "secret": name,
        });
        if user.data.get("status") != Some(&status) {
            let patch = Patch::Merge(json!({ "status": status }));
            // It may have been deleted meanwhile.
            self.users.patch_status(&name, &PatchParams::default(), &patch).await.ok();
        }
    }

    async fn make_secret(&self, user: &DynamicObject, by_certificate: bool) -> Secret {
        let name = user.name_any();
        let data = if by_certificate {
            let identity = self.kafka.certificates().issue_client(&name).unwrap();
            json!({"ca.crt": "the clients' authority", "user.crt": identity.certificate_pem, "user.key": identity.key_pem})
        } else {
            json!({"password": uuid::Uuid::now_v7().to_string(), "sasl.jaas.config": "for Java"})
        };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "stringData": data,
            "metadata": {
                "name": name, "labels": {"strimzi.io/kind": "KafkaUser", "strimzi.io/cluster": "main"},
                "ownerReferences": [{
                    "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaUser", "name": name, "uid": user.uid(),
                }],
            },
        });
        let params = PatchParams::apply("user-operator");
        self.secrets.patch(&name, &params, &Patch::Apply(secret)).await.unwrap()
    }

    /// Gives `username` exactly the ACLs that `user` asks for.
    async fn grant(&self, username: &str, user: &DynamicObject) {
        let principal = Principal::user(username);
        let asked = user.data.pointer("/spec/authorization/acls").and_then(Value::as_array);
        let wanted: BTreeSet<AclBinding> =
            asked.into_iter().flatten().flat_map(|acl| bindings(&principal, acl)).collect();
        let filter = AclFilter::of(principal);
        let found: BTreeSet<AclBinding> =
            self.admin.describe_acls(&[filter]).await.remove(0).unwrap().into_iter().collect();
        let missing: Vec<AclBinding> = wanted.difference(&found).cloned().collect();
        let surplus: Vec<AclFilter> = found.difference(&wanted).map(AclFilter::exactly).collect();
        self.admin.create_acls(&missing).await.into_iter().for_each(|created| created.unwrap());
        self.admin.delete_acls(&surplus).await.into_iter().for_each(|deleted| drop(deleted.unwrap()));
    }

    async fn remove_strangers(&self, users: &[DynamicObject]) {
        let known: BTreeSet<String> = users.iter().map(ResourceExt::name_any).collect();
        let all = self.admin.describe_acls(&[AclFilter::any()]).await.remove(0).unwrap();
        for principal in all.iter().map(|acl| acl.principal.clone()).collect::<BTreeSet<_>>() {
            let name = principal.as_str().trim_start_matches("User:").trim_start_matches("CN=").to_owned();
            if known.contains(&name) {
                continue;
            }
            self.admin.delete_acls(&[AclFilter::of(principal)]).await.remove(0).unwrap();
            let password = ScramDeletion { user: name.clone(), mechanism: ScramMechanism::Sha512 };
            // One that has a certificate has no password.
            self.admin.delete_scram(&[password]).await.remove(0).ok();
            // A Secret of that name, whoever made it: so does the original.
            self.secrets.delete(&name, &DeleteParams::default()).await.ok();
        }
    }
}

/// One entry of `spec.authorization.acls` as Kafka has it.
fn bindings(principal: &Principal, acl: &Value) -> Vec<AclBinding> {
    let resource = &acl["resource"];
    let (kind, name) = match resource["type"].as_str().unwrap() {
        "topic" => (ResourceKind::Topic, resource["name"].as_str().unwrap()),
        "group" => (ResourceKind::Group, resource["name"].as_str().unwrap()),
        "transactionalId" => (ResourceKind::TransactionalId, resource["name"].as_str().unwrap()),
        "cluster" => (ResourceKind::Cluster, "kafka-cluster"),
        other => panic!("no resource of type {other}"),
    };
    let binding = |operation: &Value| {
        let operation = operation_of(operation.as_str().unwrap());
        let literal = AclBinding::allow(principal.clone(), operation, kind, name);
        if resource["patternType"] == "prefix" { literal.prefixed() } else { literal }
    };
    acl["operations"].as_array().unwrap().iter().map(binding).collect()
}

fn operation_of(name: &str) -> AclOperation {
    match name {
        "Read" => AclOperation::Read,
        "Write" => AclOperation::Write,
        "Create" => AclOperation::Create,
        "Delete" => AclOperation::Delete,
        "Alter" => AclOperation::Alter,
        "Describe" => AclOperation::Describe,
        "AlterConfigs" => AclOperation::AlterConfigs,
        "DescribeConfigs" => AclOperation::DescribeConfigs,
        other => panic!("nothing here asks for {other}"),
    }
}
