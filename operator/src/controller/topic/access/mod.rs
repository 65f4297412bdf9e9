//! Who may do what with a topic: `spec.access`, as ACLs for exactly this topic.
//!
//! ```text
//! look ──► note ──► create, delete          revoke, with the object
//! cache    status
//! ```
//! - **Whose an ACL is**: it belongs to the object once it stands in `status.access`, which is written before the ACL is
//!   created. One that is there without that is somebody else's: it is neither noted nor revoked.
//! - **Who is refused**: principals whose ACLs somebody else looks after (see [`refusal`]); two of these would undo each
//!   other's work for ever.
//! - **When Kafka is asked**: in a pass that finds anything changed, and by the look in bulk for drift. ACLs go by a
//!   topic's name, so they are looked after once the topic of this name is the object's.

mod kafka;
mod noted;
mod plan;
mod refusal;

pub(super) use kafka::filter;
pub(super) use noted::{bindings, has_any};
pub(super) use plan::Bindings;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kafka_admin::{Principal, TopicName};
use kube::ResourceExt;
use kube::runtime::events::EventType;

use self::kafka::Answer;
use self::plan::{Memory, Plan, told};
use self::refusal::{Refusal, Taken};
use super::Pass;
use super::peers::Peers;
use super::plan::Claim;
use super::registry::Rights;
use super::validate::{ValidatedTopic, effective_name};
use crate::controller::clusters::Cluster;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::events::{event, publish};
use crate::controller::outcome::Outcome;
use crate::controller::status::write;
use crate::crd::conditions::Explanation;
use crate::crd::reconcile_policy::ReconcilePolicy;
use crate::crd::{KafkaTopic, KafkaTopicStatus};

/// The object has changed during the pass; the change wakes it, should it not have yet.
const CHANGED_RETRY: Duration = Duration::from_secs(2);

/// Reason of a cluster that lets the operator change no ACLs.
const NOT_AUTHORIZED: &str = "NotAuthorized";

/// A topic that is the object's, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// What every pass has at hand.
    pub ctx: &'a Context,
    /// The object, as the pass has it.
    pub topic: &'a KafkaTopic,
    /// What its spec asks for.
    pub wanted: &'a ValidatedTopic,
    /// Where the topic is.
    pub cluster: &'a Arc<Cluster>,
    /// All objects.
    pub peers: &'a Peers,
}

/// Sees to it that principals may do what the spec says, where `pass` found that the topic is the object's.
pub(super) async fn follow(place: Place<'_>, pass: Pass) -> Pass {
    let only_plans = place.topic.spec.reconcile_policy == ReconcilePolicy::Plan;
    // Not for a topic whose creation was refused.
    let is_there = pass.observed.is_some() || only_plans;
    let is_ours = is_there && pass.claim.is_some_and(|claim| claim != Claim::Refused);
    if !is_ours || (place.wanted.access.is_empty() && !has_any(place.topic)) {
        return pass;
    }
    // As it was written last: what is noted in it must not be written over.
    let announced = pass.announced.clone();
    let place = Place { topic: announced.as_deref().unwrap_or(place.topic), ..place };
    let mut pass = pass;
    match ensure(place, &mut pass).await {
        Ok(problems) => with_problems(place, pass, &problems),
        Err(error) => Pass { result: Err(error), ..pass },
    }
}

/// What was refused, with what the pass came to besides.
fn with_problems(place: Place<'_>, pass: Pass, problems: &[Explanation]) -> Pass {
    let Some(first) = problems.first() else { return pass };
    let all: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let all = all.join("; ");
    let outcome = match &pass.result {
        Ok(Outcome::Stalled { why, .. }) => Outcome::stalled(&why.reason, format!("{}; {all}", why.message)),
        Ok(Outcome::Ready(_) | Outcome::Waiting { .. }) | Err(_) => {
            Outcome::stalled(&first.reason, format!("topic {}: {all}", place.wanted.name))
        }
    };
    Pass { result: Ok(outcome), ..pass }
}

/// What the ACLs are, and who else has a say in them.
struct Look {
    /// Of those that were asked for.
    found: Bindings,
    taken: Taken,
    /// Whether the next pass may go by it: of what Strimzi looks after nobody tells when it ends.
    settles: bool,
}

impl Look {
    fn plan(&self, place: Place<'_>, ours: &Bindings, cluster_id: &str) -> Plan {
        let theirs = noted_by_others(place.topic, place.peers, cluster_id);
        let left_alone = self.taken.keys().cloned().collect();
        plan::plan(&place.wanted.access, &Memory { ours: ours.clone(), theirs, left_alone }, &self.found)
    }

    fn problems(&self, wanted: &ValidatedTopic) -> Vec<Explanation> {
        let asked_for = principals(&wanted.access);
        let refused = self.taken.iter().filter(|(principal, _)| asked_for.contains(*principal));
        refused.map(|(_, refusal)| refusal.explanation()).collect()
    }
}

/// Makes Kafka what the spec says, and answers with what was refused. Asks nobody while all of it is as a pass or a
/// look in bulk left it.
async fn ensure(place: Place<'_>, pass: &mut Pass) -> Result<Vec<Explanation>, Error> {
    let Place { ctx, topic, wanted, cluster, .. } = place;
    // Known since the topic was looked at.
    let id = cluster.id().unwrap_or_default();
    let ours = noted::in_cluster(topic, &id);
    let keeper = ctx.strimzi.with_user_operator(cluster);
    if wanted.access.is_empty() && (ours.is_empty() || keeper.is_some()) {
        // Nothing is wanted, and what is noted is in another cluster, or the User Operator has removed it.
        pass.access = Some(noted::note(&Bindings::new(), &id));
        return Ok(Vec::new());
    }
    if let Some(kafka) = keeper {
        return Ok(vec![Refusal::UserOperator { kafka }.explanation()]);
    }
    let asked = &wanted.access | &ours;
    let (look, plan) = match planned(place, &asked, &ours, &id).await? {
        Ok(planned) => planned,
        Err(refused) => return Ok(vec![refused]),
    };
    let mut problems = look.problems(wanted);
    if topic.spec.reconcile_policy == ReconcilePolicy::Plan {
        pass.pending.extend(plan.sentences());
        settle(place, asked, &look.found, look.settles);
        return Ok(problems);
    }
    if plan.claim != ours && !claim(place, pass, &plan.claim, &id).await? {
        let message = "the object has changed meanwhile, and who may use its topic is looked at again";
        pass.result = Ok(Outcome::waiting("AccessPending", message, CHANGED_RETRY));
        return Ok(Vec::new());
    }
    problems.extend(carry_out(place, pass, &ours, &id, &look, &plan).await?);
    Ok(problems)
}

/// What has to be done: by what a pass or a look in bulk left where that is nothing, else by what Kafka says now.
async fn planned(
    place: Place<'_>,
    asked: &Bindings,
    ours: &Bindings,
    cluster_id: &str,
) -> Answer<(Look, Plan)> {
    let only_plans = place.topic.spec.reconcile_policy == ReconcilePolicy::Plan;
    if let Some(look) = cached(place, asked, cluster_id).await? {
        let plan = look.plan(place, ours, cluster_id);
        if only_plans || plan.is_nothing() {
            return Ok(Ok((look, plan)));
        }
    }
    let look = look(place, asked, cluster_id).await?;
    Ok(look.map(|look| {
        let plan = look.plan(place, ours, cluster_id);
        (look, plan)
    }))
}

/// Keeps what was found of `asked`, so that the next pass asks nobody and the look in bulk sees drift.
fn settle(place: Place<'_>, asked: Bindings, found: &Bindings, settles: bool) {
    if settles {
        let found = &asked & found;
        let uid = place.topic.uid().unwrap_or_default();
        place.ctx.topics.settle_rights(&uid, Rights { asked, found });
    }
}

/// What is known of `asked` without asking anybody.
async fn cached(place: Place<'_>, asked: &Bindings, cluster_id: &str) -> Result<Option<Look>, Error> {
    let rights = place.ctx.topics.rights(&place.topic.uid().unwrap_or_default());
    let Some(rights) = rights.filter(|rights| rights.asked == *asked) else { return Ok(None) };
    let taken = refusal::taken_by_pipelines(place.ctx, cluster_id, &principals(asked)).await?;
    Ok(Some(Look { found: rights.found.clone(), taken, settles: true }))
}

/// Looks at `asked` itself.
async fn look(place: Place<'_>, asked: &Bindings, cluster_id: &str) -> Answer<Look> {
    let Place { ctx, wanted, cluster, .. } = place;
    let principals = principals(asked);
    let mut taken = refusal::taken_by_strimzi(ctx, cluster, &principals).await?;
    let settles = taken.is_empty();
    taken.extend(refusal::taken_by_pipelines(ctx, cluster_id, &principals).await?);
    let found = kafka::read(cluster, &wanted.name).await?;
    Ok(found.map(|found| Look { found: &found & asked, taken, settles }))
}

fn principals(bindings: &Bindings) -> BTreeSet<Principal> {
    bindings.iter().map(|binding| binding.principal.clone()).collect()
}

/// The ACLs that other objects for the same topic have noted. Those that go as well are not waited for.
fn noted_by_others(topic: &KafkaTopic, peers: &Peers, cluster_id: &str) -> Bindings {
    let all = peers.naming(&effective_name(topic));
    let others = all.iter().filter(|peer| peer.uid() != topic.uid());
    let stay = others.filter(|peer| peer.metadata.deletion_timestamp.is_none());
    stay.flat_map(|peer| noted::in_cluster(peer, cluster_id)).collect()
}

/// Notes in the status what is to be the object's, before any of it is created; false, when the object is not the
/// newest version of itself and nothing was noted.
async fn claim(place: Place<'_>, pass: &mut Pass, claim: &Bindings, cluster_id: &str) -> Result<bool, Error> {
    let access = Some(noted::note(claim, cluster_id));
    let status = KafkaTopicStatus { access, ..place.topic.status.clone().unwrap_or_default() };
    let written = write(place.ctx, place.topic, &status).await?;
    Ok(written.map(|written| pass.announced = Some(Box::new(written))).is_some())
}

/// Makes Kafka so; answers with what was refused.
async fn carry_out(
    place: Place<'_>,
    pass: &mut Pass,
    ours: &Bindings,
    cluster_id: &str,
    look: &Look,
    plan: &Plan,
) -> Result<Option<Explanation>, Error> {
    let Place { ctx, topic, wanted, cluster, .. } = place;
    ctx.topics.unsettle_rights(&topic.uid().unwrap_or_default());
    if let Err(refused) = kafka::grant(cluster, &wanted.name, &plan.grant).await? {
        if refused.reason == NOT_AUTHORIZED {
            // Nothing was created: who makes it now by hand shall keep it.
            pass.access = Some(noted::note(ours, cluster_id));
        }
        return Ok(Some(refused));
    }
    tell(ctx, topic, "AccessGranted", &plan.grant).await;
    match kafka::revoke(cluster, &wanted.name, &plan.revoke).await? {
        Ok(deleted) => tell(ctx, topic, "AccessRevoked", &deleted).await,
        Err(refused) => return Ok(Some(refused)),
    }
    pass.access = Some(noted::note(&plan.ours, cluster_id));
    let found = &(&look.found | &plan.grant) - &plan.revoke;
    settle(place, wanted.access.clone(), &found, look.settles);
    Ok(None)
}

/// Tells by an event what was done, if anything was.
async fn tell(ctx: &Context, topic: &KafkaTopic, reason: &str, what: &Bindings) {
    if what.is_empty() {
        return;
    }
    let note = format!("topic {}: {}", effective_name(topic), told(what).join(", "));
    tracing::info!(kafka.topic = effective_name(topic), reason, "{note}");
    publish(ctx, topic, event(EventType::Normal, reason, "Apply", &note)).await;
}

/// Revokes all that belongs to `topic`, which goes. What is in another cluster than `cluster` stays there.
///
/// # Errors
/// [`Error::Kafka`] when Kafka cannot be asked, [`Error::Kubernetes`] when the apiserver cannot; the inner one when
/// Kafka refuses.
pub(super) async fn withdraw(
    ctx: &Context,
    topic: &KafkaTopic,
    peers: &Peers,
    cluster: &Cluster,
) -> Answer<()> {
    cluster.reachable().await?;
    // After the cluster has answered: its id tells it from others.
    ctx.strimzi.until_known().await;
    let id = cluster.id().unwrap_or_default();
    let ours = noted::in_cluster(topic, &id);
    let Ok(name) = TopicName::new(effective_name(topic)) else { return Ok(Ok(())) };
    // What is not a KafkaUser's its User Operator removes.
    if ours.is_empty() || ctx.strimzi.with_user_operator(cluster).is_some() {
        return Ok(Ok(()));
    }
    let principals = principals(&ours);
    let mut taken = refusal::taken_by_strimzi(ctx, cluster, &principals).await?;
    taken.extend(refusal::taken_by_pipelines(ctx, &id, &principals).await?);
    // All of it, seen or not: brokers show what was granted a little later, and nobody would come back for it.
    let found = ours.clone();
    let (theirs, left_alone) = (noted_by_others(topic, peers, &id), taken.into_keys().collect());
    let plan = plan::plan(&Bindings::new(), &Memory { ours, theirs, left_alone }, &found);
    match kafka::revoke(cluster, &name, &plan.revoke).await? {
        Ok(deleted) => tell(ctx, topic, "AccessRevoked", &deleted).await,
        Err(refused) => return Ok(Err(refused)),
    }
    Ok(Ok(()))
}
