//! Orders, stock, money and parcels in a world that delivers twice, late, in any order, or not in time: whatever
//! happens, every order ends exactly once, no unit of stock is made or lost, money is kept for confirmed orders
//! only, and no other parcel leaves.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected should fail"
)]

#[path = "world/checks.rs"]
mod checks;
#[path = "world/model.rs"]
mod model;
#[path = "world/outage.rs"]
mod outage;
#[path = "world/outside.rs"]
mod outside;

use contract::Step;
use model::{Action, World};
use proptest::prelude::*;

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::sample::subsequence(Step::ALL, 1..=Step::ALL.len())
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => (1..4_u32, 0..3_u32).prop_map(|(burgers, pizzas)| Action::Order { burgers, pizzas }),
        // More deliveries than anything else, or little would ever come to an end by itself.
        8 => any::<prop::sample::Index>().prop_map(Action::Deliver),
        2 => any::<prop::sample::Index>().prop_map(Action::DeliverAndKeep),
        1 => any::<prop::sample::Index>().prop_map(Action::Refuse),
        1 => any::<prop::sample::Index>().prop_map(Action::GiveUp),
        1 => (1..20_u32).prop_map(Action::Restock),
        1 => (0..20_u32).prop_map(Action::Count),
        2 => (1..40_u64).prop_map(Action::Wait),
        1 => (1..4000_u64).prop_map(Action::Outage),
        1 => Just(Action::SweepOrders),
        1 => Just(Action::SweepReservations),
        1 => Just(Action::ServeLine),
    ]
}

fn any_story() -> impl Strategy<Value = (Vec<Step>, u64, bool, Vec<Action>)> {
    // A life of 5 seconds makes reservations expire under orders that are not decided yet.
    (
        any_steps(),
        prop::sample::select(vec![5, 900]),
        any::<bool>(),
        prop::collection::vec(any_action(), 0..120),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_ends_even_if_nobody_ever_answers((steps, life, backorders, story) in any_story()) {
        let mut world = World::new(steps, life, backorders);
        story.into_iter().for_each(|action| world.act(action));

        world.let_deadlines_pass();

        world.assert_every_order_ended_once();
        world.assert_stock_is_balanced();
    }

    #[test]
    fn whatever_arrives_after_the_end_undoes_what_was_done((steps, life, backorders, story) in any_story()) {
        let mut world = World::new(steps, life, backorders);
        story.into_iter().for_each(|action| world.act(action));
        world.let_deadlines_pass();

        world.deliver_everything();

        world.assert_every_order_ended_once();
        world.assert_stock_is_balanced();
        world.assert_nothing_is_held();
        world.assert_what_was_sold_is_what_was_confirmed();
        world.assert_money_is_taken_for_confirmed_orders_only();
        world.assert_confirmed_orders_are_delivered_and_no_others_are_booked();
    }

    #[test]
    fn when_everything_is_delivered_in_time_every_order_ends_without_deadlines((steps, _, _, story) in any_story()) {
        // Who waits for stock ends by it, or by a deadline.
        let mut world = World::new(steps, 900, false);
        let takes_time = |action: &Action| matches!(action, Action::Wait(_) | Action::Outage(_));
        story.into_iter().filter(|action| !takes_time(action)).for_each(|action| world.act(action));

        world.deliver_everything();

        world.assert_every_order_ended_once();
        world.assert_stock_is_balanced();
        world.assert_nothing_is_held();
        world.assert_what_was_sold_is_what_was_confirmed();
        world.assert_money_is_taken_for_confirmed_orders_only();
        world.assert_confirmed_orders_are_delivered_and_no_others_are_booked();
    }
}
