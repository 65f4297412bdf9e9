//! The saga, case by case: given a state, when an input arrives, then this follows.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail")]

use std::time::Duration;

use contract::{CancelReason, NotificationKind, Step};
use domain::saga::{
    Announcement, Effect, Input, InvalidSaga, OrderSaga, OrderStatus, SagaConfig, StepStatus, Timeouts,
    advance,
};
use jiff::Timestamp;
use rstest::rstest;

const STEP_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUTS: Timeouts = Timeouts {
    step: STEP_TIMEOUT,
    notification: Duration::from_secs(60),
    delivery: Duration::from_secs(600),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn begin(steps: &[Step]) -> OrderSaga {
    let config = SagaConfig::new(steps.to_vec(), TIMEOUTS).unwrap();
    OrderSaga::begin(&config, at(0))
}

/// A saga of stock and payment that was told `inputs`, one per second.
fn told(inputs: &[Input]) -> OrderSaga {
    let begun = begin(&[Step::Inventory, Step::Payment]);
    inputs.iter().zip(1..).fold(begun, |saga, (input, second)| advance(&saga, input.clone(), at(second)).next)
}

fn succeeded(step: Step) -> Input {
    Input::StepSucceeded(step)
}

fn failed(step: Step) -> Input {
    Input::StepFailed { step, reason: CancelReason::OutOfStock, detail: "no burgers".into() }
}

fn waits_until(second: i64) -> Input {
    Input::StepWaits { step: Step::Inventory, until: at(second) }
}

fn pending() -> OrderSaga {
    told(&[])
}

fn confirmed() -> OrderSaga {
    told(&[succeeded(Step::Inventory), succeeded(Step::Payment)])
}

/// Confirmed, and on its way to the customer.
fn shipped() -> OrderSaga {
    Step::ALL.iter().fold(begin(Step::ALL), |saga, step| advance(&saga, succeeded(*step), at(1)).next)
}

fn completed() -> OrderSaga {
    advance(&confirmed(), Input::Notified(NotificationKind::Confirmed), at(9)).next
}

fn cancelled() -> OrderSaga {
    told(&[failed(Step::Inventory)])
}

fn statuses(saga: &OrderSaga) -> Vec<(Step, StepStatus)> {
    saga.steps.iter().map(|state| (state.step, state.status)).collect()
}

#[test]
fn a_new_order_is_pending_with_its_first_step_running() {
    let saga = pending();

    assert_eq!(saga.status, OrderStatus::Pending);
    assert_eq!(
        statuses(&saga),
        [(Step::Inventory, StepStatus::Running), (Step::Payment, StepStatus::Waiting)]
    );
    assert_eq!(saga.deadline, Some(at(30)));
}

#[test]
fn a_success_starts_the_next_step_and_its_time() {
    let transition = advance(&pending(), succeeded(Step::Inventory), at(10));

    assert_eq!(transition.effects, []);
    assert_eq!(
        statuses(&transition.next),
        [(Step::Inventory, StepStatus::Succeeded), (Step::Payment, StepStatus::Running)]
    );
    assert_eq!(transition.next.deadline, Some(at(40)));
    assert_eq!(transition.next.version, 2);
}

#[test]
fn a_step_that_waits_is_shown_and_has_time_to_answer_when_its_wait_is_over() {
    let waiting = told(&[waits_until(600)]);

    assert_eq!(
        statuses(&waiting),
        [(Step::Inventory, StepStatus::Backordered), (Step::Payment, StepStatus::Waiting)]
    );
    assert_eq!(waiting.deadline, Some(at(630)));
    let served = advance(&waiting, succeeded(Step::Inventory), at(400)).next;
    assert_eq!(
        statuses(&served),
        [(Step::Inventory, StepStatus::Succeeded), (Step::Payment, StepStatus::Running)]
    );
    assert_eq!(served.deadline, Some(at(430)));
    let late = advance(&waiting, Input::DeadlinePassed, at(630)).next;
    assert!(matches!(late.status, OrderStatus::Cancelled { reason: CancelReason::StepTimedOut, .. }));
}

#[test]
fn the_last_success_confirms_the_order() {
    let given = told(&[succeeded(Step::Inventory)]);

    let transition = advance(&given, succeeded(Step::Payment), at(20));

    assert_eq!(transition.effects, [Effect::Publish(Announcement::Confirmed)]);
    assert_eq!(transition.next.status, OrderStatus::Confirmed);
    assert_eq!(transition.next.deadline, Some(at(80)));
}

#[test]
fn answers_may_overtake_each_other() {
    let given = told(&[succeeded(Step::Payment)]);
    assert_eq!(given.status, OrderStatus::Pending);

    let transition = advance(&given, succeeded(Step::Inventory), at(2));

    assert_eq!(transition.effects, [Effect::Publish(Announcement::Confirmed)]);
}

#[rstest]
#[case::running(pending(), Step::Inventory)]
#[case::not_started(pending(), Step::Payment)]
#[case::after_another_success(told(&[succeeded(Step::Inventory)]), Step::Payment)]
#[case::taking_back_a_success(told(&[succeeded(Step::Inventory)]), Step::Inventory)]
fn a_failed_step_cancels_the_order_with_its_reason(#[case] given: OrderSaga, #[case] step: Step) {
    let transition = advance(&given, failed(step), at(5));

    let (reason, detail) = (CancelReason::OutOfStock, "no burgers".to_owned());
    assert_eq!(
        transition.effects,
        [Effect::Publish(Announcement::Cancelled { reason, detail: detail.clone() })]
    );
    assert_eq!(transition.next.status, OrderStatus::Cancelled { reason, detail });
    assert_eq!(transition.next.deadline, None);
    assert!(statuses(&transition.next).contains(&(step, StepStatus::Failed)));
}

#[test]
fn a_late_step_cancels_the_order_and_is_named() {
    let given = told(&[succeeded(Step::Inventory)]);

    let transition = advance(&given, Input::DeadlinePassed, given.deadline.unwrap());

    let detail = "step payment did not answer within 30s".to_owned();
    let reason = CancelReason::StepTimedOut;
    assert_eq!(transition.effects, [Effect::Publish(Announcement::Cancelled { reason, detail })]);
    assert_eq!(
        statuses(&transition.next),
        [(Step::Inventory, StepStatus::Succeeded), (Step::Payment, StepStatus::TimedOut)]
    );
}

#[rstest]
#[case::notified(Input::Notified(NotificationKind::Confirmed), 10)]
#[case::nobody_was_told_in_time(Input::DeadlinePassed, 62)]
fn a_confirmed_order_completes(#[case] input: Input, #[case] second: i64) {
    let transition = advance(&confirmed(), input, at(second));

    assert_eq!(transition.effects, [Effect::Publish(Announcement::Completed)]);
    assert_eq!(transition.next.status, OrderStatus::Completed);
    assert_eq!(transition.next.deadline, None);
}

#[rstest]
#[case::delivered(Input::Delivered, 10)]
#[case::no_news_of_the_parcel(Input::DeadlinePassed, 601)]
fn a_shipped_order_completes_with_its_delivery(#[case] input: Input, #[case] second: i64) {
    let transition = advance(&shipped(), input, at(second));

    assert_eq!(transition.effects, [Effect::Publish(Announcement::Completed)]);
    assert_eq!(transition.next.status, OrderStatus::Completed);
    assert_eq!(transition.next.deadline, None);
}

#[rstest]
#[case::told_while_the_parcel_travels(shipped(), Input::Notified(NotificationKind::Confirmed))]
#[case::delivery_without_shipping(confirmed(), Input::Delivered)]
#[case::delivery_before_the_confirmation(pending(), Input::Delivered)]
#[case::delivered_after_the_end(cancelled(), Input::Delivered)]
#[case::too_early(pending(), Input::DeadlinePassed)]
#[case::of_another_saga(pending(), succeeded(Step::Shipping))]
#[case::failure_of_another_saga(pending(), failed(Step::Shipping))]
#[case::told_of_the_creation(pending(), Input::Notified(NotificationKind::Created))]
#[case::duplicate(told(&[succeeded(Step::Inventory)]), succeeded(Step::Inventory))]
#[case::duplicate_of_the_last(confirmed(), succeeded(Step::Payment))]
#[case::failure_after_the_pivot(confirmed(), failed(Step::Inventory))]
#[case::late_news_of_the_creation(confirmed(), Input::Notified(NotificationKind::Created))]
#[case::deadline_that_was_moved(confirmed(), Input::DeadlinePassed)]
#[case::success_after_the_end(cancelled(), succeeded(Step::Inventory))]
#[case::waiting_again(told(&[waits_until(600)]), waits_until(700))]
#[case::waiting_after_the_success(told(&[succeeded(Step::Inventory)]), waits_until(600))]
#[case::failure_after_the_end(completed(), failed(Step::Payment))]
#[case::deadline_after_the_end(cancelled(), Input::DeadlinePassed)]
#[case::notified_after_the_end(completed(), Input::Notified(NotificationKind::Confirmed))]
fn what_the_state_does_not_wait_for_changes_nothing(#[case] given: OrderSaga, #[case] input: Input) {
    let transition = advance(&given, input, at(29));

    assert_eq!(transition.next, given);
    assert_eq!(transition.effects, []);
}

#[test]
fn a_saga_needs_steps_each_once_and_in_order() {
    let config = |steps: &[Step]| SagaConfig::new(steps.to_vec(), TIMEOUTS);

    assert_eq!(config(&[]), Err(InvalidSaga::NoSteps));
    assert_eq!(config(&[Step::Inventory, Step::Inventory]), Err(InvalidSaga::Repeated(Step::Inventory)));
    let reversed = [Step::Inventory, Step::Shipping, Step::Payment];
    assert_eq!(config(&reversed), Err(InvalidSaga::OutOfOrder(Step::Payment, Step::Shipping)));
}

#[rstest]
#[case(pending(), "PENDING")]
#[case(cancelled(), "CANCELLED")]
fn a_stored_saga_is_read_back(#[case] saga: OrderSaga, #[case] status: &str) {
    let stored = serde_json::to_value(&saga).unwrap();

    assert_eq!(stored.get("status").unwrap(), status);
    assert_eq!(serde_json::from_value::<OrderSaga>(stored).unwrap(), saga);
}

/// Tries every history of `left` more inputs after those that brought `saga` where it is; `effective` are those
/// of them that had an effect.
fn explore(saga: &OrderSaga, inputs: &[Input], effective: &[Input], left: i64) {
    // Before any deadline: the clock does not come again, events do.
    let now = at(10 - left);
    for input in effective {
        assert_eq!(advance(saga, input.clone(), now).next, *saga, "{input:?} again after {effective:?}");
    }
    for input in inputs.iter().filter(|_| left > 0) {
        let next = advance(saga, input.clone(), now).next;
        let news = (next != *saga).then(|| input.clone());
        explore(&next, inputs, &[effective, news.as_slice()].concat(), left - 1);
    }
}

#[test]
fn an_event_that_had_its_effect_never_has_another_whatever_came_after_it() {
    let steps = [Step::Inventory, Step::Payment, Step::Shipping];
    let told = [NotificationKind::Created, NotificationKind::Confirmed].map(Input::Notified);
    let answers = steps.iter().flat_map(|step| [succeeded(*step), failed(*step)]);
    let inputs: Vec<Input> = answers.chain(told).chain([Input::Delivered, waits_until(7)]).collect();

    for count in 1..=steps.len() {
        explore(&begin(&steps[..count]), &inputs, &[], 5);
    }
}
