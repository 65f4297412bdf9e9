//! The invariants, one function each. Pure: the same facts, the same violations, in the same order.

mod books;
mod orders;

use crate::Violation;
use crate::facts::{Expected, Facts};

/// Everything in `facts` that contradicts itself or what is `expected`. Meant for a system at rest: what is under
/// way is a violation too.
#[must_use]
pub fn check(facts: &Facts, expected: &Expected) -> Vec<Violation> {
    let mut found = Vec::new();
    orders::every_accepted_order_is_known(facts, expected, &mut found);
    orders::events_speak_of_known_orders(facts, &mut found);
    for (id, order) in &facts.orders {
        orders::has_one_end(facts, *id, &order.status, &mut found);
        orders::each_effect_is_once(facts, *id, &mut found);
        orders::story_is_whole(facts, *id, order, &mut found);
        orders::participants_agree(facts, *id, order, &mut found);
    }
    books::stock_is_conserved(facts, expected, &mut found);
    books::money_adds_up(facts, &mut found);
    nothing_waits(facts, &mut found);
    dead_letters_were_injected(facts, expected, &mut found);
    found
}

fn nothing_waits(facts: &Facts, found: &mut Vec<Violation>) {
    for (&service, waiting) in &facts.waiting {
        if waiting.outbox > 0 {
            found.push(Violation::OutboxNotEmpty { service, rows: waiting.outbox });
        }
        if waiting.parked > 0 {
            found.push(Violation::ParkedNotEmpty { service, rows: waiting.parked });
        }
        if waiting.lag > 0 {
            found.push(Violation::Behind { service, records: waiting.lag });
        }
    }
}

fn dead_letters_were_injected(facts: &Facts, expected: &Expected, found: &mut Vec<Violation>) {
    let letters = facts.dead_letters.values().sum();
    if letters > expected.dead_letters {
        found.push(Violation::DeadLetters { found: letters, injected: expected.dead_letters });
    }
}
