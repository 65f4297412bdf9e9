//! Carries out a plan in Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_admin::{Batch, ConfigAlteration, ConfigChange, Mode, NewTopic, PartitionGrowth, Retry};

use super::observed::{ObservedTopic, look_at};
use super::plan::{Change, Plan, plan};
use super::validate::ValidatedTopic;
use crate::controller::clusters::Cluster;
use crate::controller::error::{Error, kafka_reason};
use crate::crd::conditions::Explanation;

/// How long a change may take to show: brokers learn of it one after the other, usually within milliseconds.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
/// First wait for it; doubled each time.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// A sentence for each change, with the reason of its event.
    pub done: Vec<Explanation>,
    /// The cluster's refusal of a change, which ended the rest.
    pub refused: Option<Explanation>,
}

/// Carries out the changes of `plan` in order, up to the first that the cluster refuses.
///
/// # Errors
/// [`Error::Kafka`] for what may succeed later by itself. What was done before stays done.
pub async fn apply(cluster: &Cluster, wanted: &ValidatedTopic, plan: &Plan) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    for change in &plan.changes {
        let (doing, result) = carry_out(cluster, wanted, change).await;
        match result {
            Ok(done) => {
                tracing::info!(kafka.topic = %wanted.name, "{}", done.message);
                applied.done.push(done);
            }
            Err(error) if permanent(&error) => {
                let message = format!("could not {doing}: {error}");
                applied.refused = Some(Explanation::new(kafka_reason(&error), message));
                return Ok(applied);
            }
            Err(source) => {
                cluster.note(&source);
                return Err(Error::kafka(doing)(source));
            }
        }
    }
    Ok(applied)
}

/// Whether the cluster would answer the same again. Not so when the topic came or went under our hands:
/// then the next pass sees it as it is and plans anew.
fn permanent(error: &kafka_admin::Error) -> bool {
    let moved =
        matches!(error, kafka_admin::Error::AlreadyExists { .. } | kafka_admin::Error::NotFound { .. });
    error.retry() == Retry::Permanent && !moved
}

async fn carry_out(
    cluster: &Cluster,
    wanted: &ValidatedTopic,
    change: &Change,
) -> (String, Result<Explanation, kafka_admin::Error>) {
    let admin = cluster.admin();
    let name = &wanted.name;
    match change {
        Change::Create(new) => {
            let result = first(admin.create_topics(std::slice::from_ref(new), Mode::Apply).await);
            (format!("create topic {name}"), result.map(|()| Explanation::new("TopicCreated", created(new))))
        }
        Change::AddPartitions { from, to } => {
            let growth = PartitionGrowth { topic: name.clone(), total: *to };
            let result = first(admin.create_partitions(&[growth], Mode::Apply).await);
            let message = format!("gave topic {name} {to} partitions, it had {from}");
            (
                format!("add partitions to topic {name}"),
                result.map(|()| Explanation::new("PartitionsAdded", message)),
            )
        }
        Change::AlterConfig(changes) => {
            let alteration = ConfigAlteration { topic: name.clone(), changes: changes.clone() };
            let result = first(admin.alter_configs(&[alteration], Mode::Apply).await);
            let message = format!("configured topic {name}: {}", settings(changes));
            (format!("configure topic {name}"), result.map(|()| Explanation::new("ConfigChanged", message)))
        }
    }
}

/// The answer to a batch of one.
fn first(answers: Batch<()>) -> Result<(), kafka_admin::Error> {
    answers.into_iter().next().unwrap_or(Ok(()))
}

fn created(new: &NewTopic) -> String {
    format!("created topic {} with {}", new.name, shape(new))
}

/// Partitions and replicas of a new topic, for people.
pub(super) fn shape(new: &NewTopic) -> String {
    let count = |count: Option<String>| count.unwrap_or_else(|| "the broker's default of".to_owned());
    let partitions = count(new.partitions.map(|count| count.to_string()));
    let replicas = count(new.replicas.map(|count| count.to_string()));
    format!("{partitions} partitions and {replicas} replicas")
}

fn settings(changes: &BTreeMap<String, ConfigChange>) -> String {
    let told = changes.iter().map(|(key, change)| match change {
        ConfigChange::Set(value) => format!("{key}={value}"),
        ConfigChange::Delete => format!("{key} back to the broker's default"),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// What the brokers show after a change.
#[derive(Debug)]
pub enum Shown {
    /// The topic as it is wanted.
    Whole(ObservedTopic),
    /// Not that in time; the topic, if they show one.
    Partly(Option<ObservedTopic>),
}

/// Waits until the brokers show what was done.
///
/// # Errors
/// [`Error::Kafka`] when the cluster cannot be asked.
pub async fn until_visible(cluster: &Cluster, wanted: &ValidatedTopic) -> Result<Shown, Error> {
    let deadline = tokio::time::Instant::now() + VISIBLE_WITHIN;
    let mut wait = FIRST_LOOK;
    loop {
        tokio::time::sleep(wait).await;
        wait *= 2;
        let sighting = look_at(cluster, &wanted.name).await;
        let observed = sighting.map_err(Error::kafka(format!("read topic {}", wanted.name)))?;
        match observed {
            Some(topic) if shows(wanted, &topic) => return Ok(Shown::Whole(topic)),
            partly if tokio::time::Instant::now() + wait > deadline => return Ok(Shown::Partly(partly)),
            Some(_) | None => {}
        }
    }
}

/// Whether nothing is left to change.
fn shows(wanted: &ValidatedTopic, topic: &ObservedTopic) -> bool {
    let memory = super::plan::Memory { topic_id: Some(topic.id.to_string()), creating: None };
    plan(wanted, &memory, Some(topic)).changes.is_empty()
}
