//! From what a pass came to, to the conditions.

use super::*;
use crate::controller::pipeline::scaling::Scaling;
use crate::controller::pipeline::status::compute;
use crate::crd::OrderPipelineStatus;
use crate::crd::conditions::{self, ConditionType, Explanation};
use crate::crd::order_pipeline::AccessStatus;

fn report(topics: Progress, database: Progress, services: Progress) -> Report {
    scaled(topics, database, services, Scaling { progress: Progress::Done, lacking_keda: Vec::new() })
}

fn scaled(topics: Progress, database: Progress, services: Progress, scaling: Scaling) -> Report {
    let prepared_by = (database == Progress::Done).then(|| "job".to_owned());
    Report::Applied(Box::new(Applied {
        topics: Tally::of([topics]),
        access: Progress::Done,
        users: AccessStatus::default(),
        database,
        prepared_by,
        services: Tally::of([services]),
        scaling,
        routes: Progress::Done,
    }))
}

fn pending(reason: &str) -> Progress {
    Progress::Pending(Explanation::new(reason, "wait"))
}

fn failed(reason: &str) -> Progress {
    Progress::Failed(Explanation::new(reason, "help"))
}

fn ready_reason(status: &OrderPipelineStatus) -> (&str, &str) {
    let ready = conditions::find(&status.conditions, ConditionType::Ready).unwrap();
    (ready.status.as_str(), ready.reason.as_str())
}

#[rstest]
#[case::topics_first(
    report(pending("TopicsPending"), pending("DatabasePending"), pending("ServicesStarting")),
    "False",
    "TopicsPending",
    Some(ConditionType::Reconciling)
)]
#[case::then_databases(
    report(Progress::Done, pending("DatabasePending"), pending("ServicesStarting")),
    "False",
    "DatabasePending",
    Some(ConditionType::Reconciling)
)]
#[case::then_services(
    report(Progress::Done, Progress::Done, pending("ServicesStarting")),
    "False",
    "ServicesStarting",
    Some(ConditionType::Reconciling)
)]
#[case::a_failure_before_all(
    report(pending("TopicsPending"), failed("DatabaseFailed"), pending("x")),
    "False",
    "DatabaseFailed",
    Some(ConditionType::Stalled)
)]
#[case::ready(report(Progress::Done, Progress::Done, Progress::Done), "True", "AllReady", None)]
#[case::suspended(Report::Suspended, "Unknown", "Suspended", None)]
#[case::invalid(Report::Blocked(invalid(&[])), "False", "InvalidSpec", Some(ConditionType::Stalled))]
fn one_condition_explains_why_a_pipeline_is_not_ready(
    #[case] report: Report,
    #[case] state: &str,
    #[case] reason: &str,
    #[case] explained_by: Option<ConditionType>,
) {
    let status = compute(None, &report, 1, jiff::Timestamp::UNIX_EPOCH);

    assert_eq!(ready_reason(&status), (state, reason));
    for kind in [ConditionType::Reconciling, ConditionType::Stalled] {
        assert_eq!(conditions::is_true(&status.conditions, kind), Some(kind) == explained_by, "{kind:?}");
    }
    for kind in [
        ConditionType::TopicsReady,
        ConditionType::AccessReady,
        ConditionType::DatabaseReady,
        ConditionType::WorkloadsReady,
    ] {
        assert!(conditions::find(&status.conditions, kind).is_some(), "{kind:?} is always there");
    }
}

#[test]
fn the_columns_keep_what_was_seen_last() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let before = compute(None, &report(Progress::Done, Progress::Done, pending("x")), 1, now);

    let after = compute(Some(&before), &Report::Blocked(invalid(&[])), 2, now);

    assert_eq!(after.summary, before.summary);
    assert_eq!(after.summary.unwrap().services, "0/1");
    assert_eq!(after.database.unwrap().prepared_by, "job");
}

#[test]
fn services_that_lack_keda_are_ready_and_named() {
    let scaling = Scaling { progress: Progress::Done, lacking_keda: vec!["shop-order".to_owned()] };
    let report = scaled(Progress::Done, Progress::Done, Progress::Done, scaling);

    let status = compute(None, &report, 1, jiff::Timestamp::UNIX_EPOCH);

    let ready = conditions::find(&status.conditions, ConditionType::Ready).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "AllReady"));
    assert!(
        ready.message.contains("by CPU alone") && ready.message.ends_with(": shop-order"),
        "{}",
        ready.message
    );
}

#[test]
fn a_service_whose_autoscaler_is_to_be_made_is_not_ready() {
    let scaling = Scaling { progress: pending("AutoscalerChanging"), lacking_keda: Vec::new() };
    let report = scaled(Progress::Done, Progress::Done, Progress::Done, scaling);

    let status = compute(None, &report, 1, jiff::Timestamp::UNIX_EPOCH);

    assert_eq!(ready_reason(&status), ("False", "AutoscalerChanging"));
    let workloads = conditions::find(&status.conditions, ConditionType::WorkloadsReady).unwrap();
    assert_eq!((workloads.status.as_str(), workloads.reason.as_str()), ("False", "AutoscalerChanging"));
}
