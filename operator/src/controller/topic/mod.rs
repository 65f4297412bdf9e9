//! The controller of `KafkaTopic`: fetch → validate → plan → apply → status.
//!
//! Reasons of `Ready`, which are API (`docs/reference/kafkatopic.md` has the remedies):
//!
//! | reason | beside it | meaning |
//! |---|---|---|
//! | `Synced` | | the topic is as the spec says |
//! | `Creating`, `Propagating` | Reconciling | under way |
//! | `SecretNotFound`, `SecretKeyNotFound` | Reconciling | something that `spec.kafka` names is missing |
//! | `KafkaNotFound`, `ListenerUnusable`, `ListenerPending` | Reconciling | Strimzi's `Kafka` is not there, or not as it must be |
//! | `KafkaNotAllowed` | Reconciling | Strimzi's `Kafka` does not let objects of this namespace use it |
//! | `BrokerUnreachable`, `KafkaError`, `KubernetesError`, `ForbiddenByKubernetes` | Reconciling | being retried |
//! | `AccessPending` | Reconciling | the object changed while rights were granted; being retried |
//! | `TopicNotFound`, `TopicAppeared` | Reconciling | the topic came or went meanwhile; being retried |
//! | `DeletionBlocked` | Reconciling | the topic cannot be deleted yet; the object is let go within a bound |
//! | `Suspended` | | `Ready` is Unknown: the object is suspended |
//! | `ChangesPending` | Stalled | `reconcilePolicy` is Plan, and there is something to change |
//! | `ConflictsWithStrimzi` | Stalled | a `KafkaTopic` of Strimzi's stands for the topic |
//! | `InvalidSpec` | Stalled | the spec cannot be carried out |
//! | `TopicNameTaken` | Stalled | an older object stands for the topic |
//! | `TopicExists`, `TopicDiffers` | Stalled | the topic was there before and may not be taken over |
//! | `PartitionDecreaseRefused`, `ReplicasChangeRefused` | Stalled | Kafka cannot do that |
//! | `InvalidConfig`, `InvalidPartitions`, `InvalidReplicas`, `InvalidRequest` | Stalled | the broker refuses |
//! | `PrincipalTaken`, `UserOperatorConflict` | Stalled | somebody else looks after the ACLs of a principal |
//! | `ClusterHasNoAuthorizer` | Stalled | access was asked for in a cluster that knows none |
//! | `RefusedByClusterPolicy`, `NotAuthorized`, `NotAuthenticated` | Stalled | the cluster refuses |
//!
//! Events besides transitions of `Ready`: `TopicCreated`, `TopicRecreated`, `TopicAdopted`, `PartitionsAdded`,
//! `ConfigChanged`, `AccessGranted`, `AccessRevoked`; at the end `TopicDeleted`, `TopicGone`, `TopicRetained`,
//! `TopicKept`, `CleanupSkipped`.

mod access;
mod announcement;
pub mod apply;
mod claimants;
pub mod cleanup;
pub mod drift;
pub mod fetch;
mod identity;
pub mod observed;
pub mod peers;
pub mod pending;
pub mod plan;
pub mod registry;
pub mod status;
pub mod validate;
mod waking;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::Controller;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use self::announcement::{Announcement, announce_creation, not_as_made};
use self::apply::Shown;
use self::fetch::Fetched;
use self::identity::TopicIdentity;
use self::observed::ObservedTopic;
use self::peers::Peers;
use self::plan::{Claim, Plan};
use self::validate::{ValidatedTopic, effective_name};
use super::context::Context;
use super::error::Error;
use super::events::{event, publish};
use super::finalizer;
use super::outcome::Outcome;
use super::runner;
use super::status::{write, write_and_keep};
use crate::crd::conditions::Explanation;
use crate::crd::kafka_topic::TopicAccessStatus;
use crate::crd::reconcile_policy::ReconcilePolicy;
use crate::crd::{KafkaTopic, KafkaTopicStatus};

/// Name of the controller in metrics and logs.
pub const NAME: &str = "kafkatopic";

/// Objects waiting to be woken; what does not fit is found again by the next look in bulk.
const WAKE_QUEUE: usize = 4096;
/// A change that brokers do not show yet.
const INVISIBLE_RETRY: Duration = Duration::from_secs(2);

/// What a pass came to, and the object's topic where it saw it.
#[derive(Debug)]
pub struct Pass {
    /// What it came to.
    pub result: Result<Outcome, Error>,
    /// The topic that the object stands for.
    pub observed: Option<ObservedTopic>,
    /// Id of the cluster that it was looked for in.
    pub cluster_id: Option<String>,
    /// How the object comes to its topic, where that is decided and carried out.
    pub claim: Option<Claim>,
    /// The ACLs that belong to the object, where they are not those that its status names.
    pub access: Option<TopicAccessStatus>,
    /// What was not done because it is only to be planned.
    pub pending: Vec<String>,
    /// The object after its status was written in the middle of the pass.
    pub announced: Option<Box<KafkaTopic>>,
}

impl Pass {
    /// One that did not come to see the topic.
    pub fn unseen(result: Result<Outcome, Error>) -> Self {
        Self {
            result,
            observed: None,
            cluster_id: None,
            claim: None,
            access: None,
            pending: Vec::new(),
            announced: None,
        }
    }

    /// The topic that the object stands for, where it was seen.
    fn identity(&self) -> Option<TopicIdentity> {
        let topic_id = self.observed.as_ref()?.id.to_string();
        Some(TopicIdentity { topic_id, cluster_id: self.cluster_id.clone() })
    }
}

/// Runs the controller until shutdown; [`strimzi::watch`](super::strimzi::watch) has to run beside it.
pub fn run(ctx: Arc<Context>) -> impl Future<Output = ()> + Send {
    ctx.watches.expect(NAME);
    let (store, events) = runner::watch::<KafkaTopic>(&ctx);
    let (wake, mut woken) = mpsc::channel(WAKE_QUEUE);
    let peers = Peers::of(store.clone());
    let trigger = waking::heirs_of_the_deleted(events, &ctx, &peers, wake.clone()).applied_objects();
    let woken =
        futures::stream::poll_fn(move |cx| -> Poll<Option<ObjectRef<KafkaTopic>>> { woken.poll_recv(cx) });
    let controller = Controller::for_stream(trigger, store.clone()).reconcile_on(woken);
    let strimzi = waking::those_that_strimzi_concerns(&ctx, &peers, wake.clone());
    let reading = waking::those_that_read(&ctx, &peers, wake.clone());
    let pass = move |topic, ctx| reconcile(topic, ctx, peers.clone());
    async move {
        tokio::select! {
            () = runner::run(NAME, controller, store, Arc::clone(&ctx), pass) => {}
            // At shutdown passes under way still have to end: only the runner ends this.
            never = drift::watch(Arc::clone(&ctx), wake) => match never {},
            () = strimzi => {}
            () = reading => {}
        }
    }
    .boxed()
}

/// One pass over one object.
///
/// # Errors
/// When the apiserver or the cluster could not be read or written; the status says so too.
pub async fn reconcile(topic: Arc<KafkaTopic>, ctx: Arc<Context>, peers: Peers) -> Result<Outcome, Error> {
    if topic.metadata.deletion_timestamp.is_some() {
        return cleanup::cleanup(&topic, &ctx, &peers).await;
    }
    // From here on the object as it is now: a status is only written over the version that it was made from.
    let topic = match finalizer::set(&ctx, &*topic, cleanup::needed(&topic)).await? {
        finalizer::Set::Already => topic,
        finalizer::Set::Written(topic) => Arc::from(topic),
        finalizer::Set::Gone => return Ok(Outcome::ready("Deleted", "")),
    };
    if topic.spec.suspend {
        return suspend(&topic, &ctx).await;
    }
    if status::is_asked_for(&topic) {
        ctx.topics.unsettle(&topic.uid().unwrap_or_default());
    }
    let pass = advance(&topic, &ctx, &peers).await;
    let topic = pass.announced.as_deref().unwrap_or(&topic);
    let status = status::compute(topic, &pass, Timestamp::now());
    let written = write_down(&ctx, topic, &pass, &status).await;
    // The first error wins; a status that was not written is retried with the rest.
    let outcome = pass.result?;
    written.map(|()| outcome)
}

/// Writes what the pass came to. Which topic the object has got is remembered whatever others write to the object
/// meanwhile: by the next pass a topic that nobody remembers is somebody else's.
async fn write_down(
    ctx: &Context,
    topic: &KafkaTopic,
    pass: &Pass,
    status: &KafkaTopicStatus,
) -> Result<(), Error> {
    let Some(identity) = pass.identity() else { return write(ctx, topic, status).await.map(drop) };
    ctx.topics.stands_for(&topic.uid().unwrap_or_default(), identity.clone());
    if topic.status.as_ref().and_then(TopicIdentity::told_by).as_ref() == Some(&identity) {
        return write(ctx, topic, status).await.map(drop);
    }
    write_and_keep(ctx, topic, status, |newest| identity.write_to(newest)).await
}

/// Leaves the topic alone, drift included.
async fn suspend(topic: &KafkaTopic, ctx: &Context) -> Result<Outcome, Error> {
    ctx.topics.unenrol(&topic.uid().unwrap_or_default());
    let status = status::suspended(topic, Timestamp::now());
    write(ctx, topic, &status).await?;
    Ok(Outcome::ready(status::SUSPENDED, ""))
}

/// fetch → validate → plan → apply, first for the topic and then for who may use it.
async fn advance(topic: &KafkaTopic, ctx: &Context, peers: &Peers) -> Pass {
    let wanted = match validate::validate(topic) {
        Ok(wanted) => wanted,
        Err(invalid) => return Pass::unseen(Ok(Outcome::stalled("InvalidSpec", invalid.to_string()))),
    };
    let fetched = match fetch::fetch(ctx, topic, &wanted, peers).await {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(absent)) => {
            return Pass { claim: absent.claim(), ..Pass::unseen(Ok(absent.outcome(&wanted))) };
        }
        Err(error) => return Pass::unseen(or_stalled(error)),
    };
    let cluster = Arc::clone(&fetched.cluster);
    let mut announced = None;
    let pass = match carry_out(topic, ctx, &wanted, fetched, &mut announced).await {
        Ok(pass) => pass,
        Err(error) => Pass::unseen(or_stalled(error)),
    };
    let pass = Pass { announced, cluster_id: cluster.id(), ..pass };
    let place = access::Place { ctx, topic, wanted: &wanted, cluster: &cluster, peers };
    or_pending(&wanted, access::follow(place, pass).await)
}

/// Plans by what was fetched, and acts by nothing but a fresh look.
async fn carry_out(
    topic: &KafkaTopic,
    ctx: &Context,
    wanted: &ValidatedTopic,
    fetched: Fetched,
    announced: &mut Option<Box<KafkaTopic>>,
) -> Result<Pass, Error> {
    let Fetched { cluster, mut observed, from_cache } = fetched;
    let memory = fetch::memory(ctx, topic, &cluster);
    let mut plan = plan::plan(wanted, &memory, observed.as_ref());
    if from_cache && !plan.changes.is_empty() {
        observed = fetch::look(ctx, topic, wanted, &cluster).await?;
        plan = plan::plan(wanted, &memory, observed.as_ref());
    }
    let uid = topic.uid().unwrap_or_default();
    if topic.spec.reconcile_policy == ReconcilePolicy::Plan {
        ctx.topics.settle(&uid, Ok(observed.clone()));
        return Ok(only_planned(wanted, &plan, observed));
    }
    if plan.claim == Claim::Refused && memory.creating.is_some() {
        // Probably our own, which not every broker shows whole yet: what is seen now is not to be gone by.
        ctx.topics.unsettle(&uid);
        return Ok(Pass::unseen(Ok(not_as_made(topic, wanted, Timestamp::now()))));
    }
    if plan.changes.is_empty() {
        ctx.topics.settle(&uid, Ok(observed.clone()));
        tell_adoption(topic, ctx, &plan).await;
        return Ok(conclude(wanted, &plan, None, observed));
    }
    match announce_creation(topic, ctx, wanted, &cluster, &memory, &plan).await? {
        Announcement::NotNeeded => {}
        Announcement::Made(topic) => *announced = Some(topic),
        Announcement::Outdated => return Ok(Pass::unseen(Ok(outdated(wanted)))),
    }
    ctx.topics.unsettle(&uid);
    let applied = apply::apply(&cluster, wanted, &plan).await?;
    tell_adoption(topic, ctx, &plan).await;
    for done in &applied.done {
        tell(topic, ctx, &plan, done).await;
    }
    let observed = match applied.refused {
        Some(_) => fetch::look(ctx, topic, wanted, &cluster).await?,
        None => match apply::until_visible(&cluster, wanted).await? {
            Shown::Whole(observed) => Some(observed),
            Shown::Partly(observed) => {
                return Ok(Pass { observed, ..Pass::unseen(Ok(invisible(wanted))) });
            }
        },
    };
    ctx.topics.settle(&uid, Ok(observed.clone()));
    Ok(conclude(wanted, &plan, applied.refused, observed))
}

/// What a pass came to that changes nothing.
fn only_planned(wanted: &ValidatedTopic, plan: &Plan, observed: Option<ObservedTopic>) -> Pass {
    let pending = pending::pending(plan, observed.as_ref());
    // A topic that is not yet this object's must not get into the status as such.
    let known = observed.filter(|_| plan.claim == Claim::Known);
    Pass { pending, ..conclude(wanted, plan, None, known) }
}

/// Where nothing is worse, that something was only planned is what the pass came to.
fn or_pending(wanted: &ValidatedTopic, pass: Pass) -> Pass {
    if pass.pending.is_empty() || !matches!(pass.result, Ok(Outcome::Ready(_))) {
        return pass;
    }
    let message = format!(
        "topic {}: {} changes stand in status.plan; set spec.reconcilePolicy to Apply to have them made",
        wanted.name,
        pass.pending.len()
    );
    Pass { result: Ok(Outcome::stalled("ChangesPending", message)), ..pass }
}

/// What the pass came to, once everything that could be done is done.
fn conclude(
    wanted: &ValidatedTopic,
    plan: &Plan,
    refused: Option<Explanation>,
    observed: Option<ObservedTopic>,
) -> Pass {
    let mut problems: Vec<Explanation> =
        plan.refusals.iter().map(|refusal| Explanation::new(refusal.reason(), refusal.to_string())).collect();
    problems.extend(refused);
    let outcome = match problems.first() {
        None => Outcome::ready("Synced", format!("topic {} is as the spec says", wanted.name)),
        Some(first) => {
            let all: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
            Outcome::stalled(&first.reason, format!("topic {}: {}", wanted.name, all.join("; ")))
        }
    };
    // A topic that was refused is not this object's: its id must not get into the status.
    let observed = observed.filter(|_| plan.claim != Claim::Refused);
    Pass { observed, claim: Some(plan.claim), ..Pass::unseen(Ok(outcome)) }
}

fn outdated(wanted: &ValidatedTopic) -> Outcome {
    let message = format!("topic {} is created once its object was seen as it is now", wanted.name);
    Outcome::waiting("Propagating", message, INVISIBLE_RETRY)
}

fn invisible(wanted: &ValidatedTopic) -> Outcome {
    let message = format!("topic {} was changed, and the brokers do not show it yet", wanted.name);
    Outcome::waiting("Propagating", message, INVISIBLE_RETRY)
}

/// A cluster's refusal that would be the same again is not worth a hot retry; a person has to act.
fn or_stalled(error: Error) -> Result<Outcome, Error> {
    match &error {
        Error::Kafka {
            source: kafka_admin::Error::NotAuthorized { .. } | kafka_admin::Error::NotAuthenticated { .. },
            ..
        } => Ok(Outcome::stalled(error.reason(), error.chain())),
        Error::Kafka { .. } | Error::Kubernetes { .. } | Error::Foreign { .. } | Error::Encoding { .. } => {
            Err(error)
        }
    }
}

async fn tell_adoption(topic: &KafkaTopic, ctx: &Context, plan: &Plan) {
    if plan.claim == Claim::Adopted {
        let name = effective_name(topic);
        let note = format!("took over topic {name}, which existed already");
        publish(ctx, topic, event(EventType::Normal, "TopicAdopted", "Adopt", &note)).await;
    }
}

async fn tell(topic: &KafkaTopic, ctx: &Context, plan: &Plan, done: &Explanation) {
    let told = if plan.claim == Claim::Recreated {
        let note = format!("{}: it had been deleted by somebody else, and its data is lost", done.message);
        event(EventType::Warning, "TopicRecreated", "Recreate", &note)
    } else {
        event(EventType::Normal, &done.reason, "Apply", &done.message)
    };
    publish(ctx, topic, told).await;
}
