//! From what a pass found to the pipeline's status. No I/O.

use jiff::Timestamp;

use super::progress::{Progress, Tally};
use super::scaling::{HANDOVER_RETRY, Scaling};
use crate::controller::error::Error;
use crate::controller::outcome::{self, Outcome};
use crate::controller::status::HasConditions;
use crate::crd::OrderPipeline;
use crate::crd::conditions::{self, ConditionType, Explanation, Fact, State};
use crate::crd::order_pipeline::{AccessStatus, DatabaseStatus, OrderPipelineStatus, PipelineSummary};

/// What a pass came to.
#[derive(Debug)]
pub(super) enum Report {
    /// `spec.suspend`: nothing was looked at.
    Suspended,
    /// It got no further than this.
    Blocked(Outcome),
    /// Nothing was changed; this would be.
    Planned(Vec<String>),
    /// Objects were applied.
    Applied(Box<Applied>),
    /// It could not be finished.
    Failed(Error),
}

/// What is known once the objects are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// The topics.
    pub topics: Tally,
    /// The services' users in Kafka.
    pub access: Progress,
    /// The users that belong to the pipeline at the end of the pass.
    pub users: AccessStatus,
    /// The databases.
    pub database: Progress,
    /// The Job that prepared them, once they are.
    pub prepared_by: Option<String>,
    /// The services.
    pub services: Tally,
    /// What decides on their pods.
    pub scaling: Scaling,
    /// What leads callers from outside the cluster to them.
    pub routes: Progress,
}

impl HasConditions for OrderPipelineStatus {
    fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
        &self.conditions
    }
}

/// How long nothing may happen before a waiting pipeline is looked at again, although every object it waits for
/// wakes it.
const WAITING_RETRY: std::time::Duration = std::time::Duration::from_secs(60);
const SUSPENDED: &str = "Suspended";
const SUSPENDED_MESSAGE: &str =
    "nothing is changed or looked at while spec.suspend is true, topics neither; what runs goes on running";

impl Report {
    /// What the runner is told.
    pub(super) fn into_outcome(self) -> Result<Outcome, Error> {
        match self {
            Self::Suspended => Ok(Outcome::ready(SUSPENDED, SUSPENDED_MESSAGE)),
            Self::Blocked(outcome) => Ok(outcome),
            Self::Planned(changes) => Ok(planned(&changes)),
            Self::Applied(applied) => Ok(applied.outcome()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl Applied {
    /// The first thing that is missing, in the order in which things depend on each other.
    fn outcome(&self) -> Outcome {
        let foundations = [&self.topics.progress, &self.access, &self.database];
        let parts = foundations.map(|part| (part, WAITING_RETRY)).into_iter();
        let parts = parts.chain([self.workloads(), (&self.routes, WAITING_RETRY)]);
        let failed = parts.clone().find_map(|(part, _)| match part {
            Progress::Failed(why) => Some(Outcome::stalled(&why.reason, why.message.clone())),
            Progress::Done | Progress::Pending(_) => None,
        });
        let pending = parts.clone().find_map(|(part, retry)| match part {
            Progress::Pending(why) => Some(Outcome::waiting(&why.reason, why.message.clone(), retry)),
            Progress::Done | Progress::Failed(_) => None,
        });
        failed.or(pending).unwrap_or_else(|| {
            let Self { topics, services, scaling, .. } = self;
            let (services, topics, remark) = (services.total, topics.total, scaling.remark());
            Outcome::ready("AllReady", format!("{services} services run on {topics} topics{remark}"))
        })
    }

    /// The services with what decides on their pods, and when to look again.
    fn workloads(&self) -> (&Progress, std::time::Duration) {
        match &self.scaling.progress {
            Progress::Done => (&self.services.progress, WAITING_RETRY),
            // Nothing wakes the pipeline when an autoscaler is gone.
            handover @ (Progress::Pending(_) | Progress::Failed(_)) => (handover, HANDOVER_RETRY),
        }
    }
}

/// The status that says what `report` says. What a pass did not get to look at is Unknown; the columns keep
/// what was seen last.
pub(super) fn compute(
    old: Option<&OrderPipelineStatus>,
    report: &Report,
    generation: i64,
    now: Timestamp,
) -> OrderPipelineStatus {
    let before = old.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut status = OrderPipelineStatus {
        observed_generation: generation,
        conditions: conditions::merge(before, facts(report), generation, now),
        summary: old.and_then(|status| status.summary.clone()),
        database: old.and_then(|status| status.database.clone()),
        access: old.and_then(|status| status.access.clone()),
        plan: Vec::new(),
    };
    if let Report::Planned(changes) = report {
        status.plan.clone_from(changes);
    }
    if let Report::Applied(applied) = report {
        status.summary =
            Some(PipelineSummary { topics: applied.topics.ratio(), services: applied.services.ratio() });
        status.access = Some(applied.users.clone()).filter(|access| !access.users.is_empty());
        if let Some(prepared_by) = applied.prepared_by.clone() {
            status.database = Some(DatabaseStatus { prepared_by });
        }
    }
    status
}

fn planned(changes: &[String]) -> Outcome {
    let message = format!(
        "{} changes stand in status.plan; set spec.reconcilePolicy to Apply to have them made",
        changes.len()
    );
    Outcome::stalled("ChangesPending", message)
}

/// The status of a pipeline that is about to create the users of `access`: should the process die meanwhile, the
/// next one knows whose they are.
pub(super) fn claiming(pipeline: &OrderPipeline, access: AccessStatus) -> OrderPipelineStatus {
    let message = "creating the services' users in Kafka";
    let report = Report::Blocked(Outcome::waiting("AccessPending", message, WAITING_RETRY));
    let generation = pipeline.metadata.generation.unwrap_or_default();
    let status = compute(pipeline.status.as_ref(), &report, generation, Timestamp::now());
    OrderPipelineStatus { access: Some(access), ..status }
}

fn facts(report: &Report) -> Vec<Fact> {
    match report {
        Report::Suspended => {
            let why = Explanation::new(SUSPENDED, SUSPENDED_MESSAGE);
            let ready = Fact::new(ConditionType::Ready, State::Unknown, &why.reason, &why.message);
            [ready].into_iter().chain(unknown(&why)).collect()
        }
        Report::Blocked(outcome) => explained(&Ok(outcome.clone())),
        Report::Planned(changes) => explained(&Ok(planned(changes))),
        Report::Applied(applied) => {
            let mut facts = outcome::summary(&Ok(applied.outcome())).facts();
            facts.push(fact(ConditionType::TopicsReady, &applied.topics.progress, "every topic is ready"));
            facts.push(fact(
                ConditionType::AccessReady,
                &applied.access,
                "every service may do what it needs in Kafka",
            ));
            facts.push(fact(ConditionType::DatabaseReady, &applied.database, "every database is prepared"));
            facts.push(fact(ConditionType::WorkloadsReady, applied.workloads().0, "every service runs"));
            facts
        }
        Report::Failed(error) => {
            let why = Explanation::new(error.reason(), error.chain());
            let waiting = Outcome::waiting(&why.reason, why.message, WAITING_RETRY);
            explained(&Ok(waiting))
        }
    }
}

/// The facts about a pass that looked at nothing.
fn explained(result: &Result<Outcome, Error>) -> Vec<Fact> {
    let facts = outcome::summary(result).facts();
    let why = facts.first().map(|ready| Explanation::new(&ready.reason, &ready.message));
    let rest: Vec<Fact> = why.iter().flat_map(unknown).collect();
    facts.into_iter().chain(rest).collect()
}

fn unknown(why: &Explanation) -> impl Iterator<Item = Fact> + use<> {
    let why = why.clone();
    [
        ConditionType::TopicsReady,
        ConditionType::AccessReady,
        ConditionType::DatabaseReady,
        ConditionType::WorkloadsReady,
    ]
    .into_iter()
    .map(move |kind| Fact::new(kind, State::Unknown, &why.reason, "not looked at: see Ready"))
}

fn fact(kind: ConditionType, progress: &Progress, done: &str) -> Fact {
    match progress {
        Progress::Done => Fact::new(kind, State::True, kind.name(), done),
        Progress::Pending(why) | Progress::Failed(why) => {
            Fact::new(kind, State::False, &why.reason, &why.message)
        }
    }
}
