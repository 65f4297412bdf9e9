//! What is asked of Kafka about the ACLs of one topic; calls of many topics become one request.

use kafka_admin::{AclBinding, AclFilter, PatternFilter, ResourceKind, Retry, TopicName};

use super::plan::Bindings;
use crate::controller::clusters::Cluster;
use crate::controller::error::{Error, kafka_reason};
use crate::crd::conditions::Explanation;

/// The cluster's refusal, with its remedy, or what may succeed later by itself.
pub(super) type Answer<T> = Result<Result<T, Explanation>, Error>;

/// The ACLs for exactly this topic, whoever made them.
pub(in crate::controller::topic) fn filter(topic: &TopicName) -> AclFilter {
    AclFilter {
        resource: Some(ResourceKind::Topic),
        name: Some(topic.as_str().to_owned()),
        pattern: PatternFilter::Literal,
        ..AclFilter::any()
    }
}

/// The ACLs for exactly this topic; none in a cluster without an authorizer.
///
/// # Errors
/// [`Error::Kafka`] for what may succeed later by itself.
pub(super) async fn read(cluster: &Cluster, topic: &TopicName) -> Answer<Bindings> {
    let mut answers = cluster.admin().describe_acls(&[filter(topic)]).await;
    none_without_authorizer(&mut answers);
    let found = all(cluster, format!("read the ACLs of topic {topic}"), answers)?;
    Ok(found.map(|found| found.into_iter().flatten().collect()))
}

/// Creates ACLs; those that are there stay.
///
/// # Errors
/// [`Error::Kafka`] for what may succeed later by itself.
pub(super) async fn grant(cluster: &Cluster, topic: &TopicName, acls: &Bindings) -> Answer<()> {
    let acls: Vec<AclBinding> = acls.iter().cloned().collect();
    let answers = cluster.admin().create_acls(&acls).await;
    Ok(all(cluster, format!("create ACLs of topic {topic}"), answers)?.map(drop))
}

/// Deletes exactly these ACLs, and says which of them were there.
///
/// # Errors
/// [`Error::Kafka`] for what may succeed later by itself.
pub(super) async fn revoke(cluster: &Cluster, topic: &TopicName, acls: &Bindings) -> Answer<Bindings> {
    let filters: Vec<AclFilter> = acls.iter().map(AclFilter::exactly).collect();
    let mut answers = cluster.admin().delete_acls(&filters).await;
    none_without_authorizer(&mut answers);
    let deleted = all(cluster, format!("delete ACLs of topic {topic}"), answers)?;
    Ok(deleted.map(|deleted| deleted.into_iter().flatten().collect()))
}

/// Without an authorizer there are no ACLs.
fn none_without_authorizer(answers: &mut kafka_admin::Batch<Vec<AclBinding>>) {
    for answer in answers {
        if matches!(answer, Err(kafka_admin::Error::SecurityDisabled { .. })) {
            *answer = Ok(Vec::new());
        }
    }
}

/// All answers of a batch, or its first error.
fn all<T>(cluster: &Cluster, doing: String, answers: kafka_admin::Batch<T>) -> Answer<Vec<T>> {
    let error = match answers.into_iter().collect::<Result<Vec<T>, _>>() {
        Ok(all) => return Ok(Ok(all)),
        Err(error) => error,
    };
    cluster.note(&error);
    if error.retry() == Retry::Transient {
        return Err(Error::kafka(doing)(error));
    }
    let remedy = match &error {
        kafka_admin::Error::NotAuthorized { .. } => {
            "; grant the operator's user Alter and Describe on the cluster, or remove spec.access"
        }
        kafka_admin::Error::SecurityDisabled { .. } => {
            "; configure an authorizer on the brokers, or remove spec.access"
        }
        kafka_admin::Error::NotAuthenticated { .. } => "; correct the Secret that spec.kafka names",
        _ => "",
    };
    Ok(Err(Explanation::new(kafka_reason(&error), format!("could not {doing}: {error}{remedy}"))))
}
