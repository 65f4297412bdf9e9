//! The result, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::Violation;
use crate::facts::Facts;

/// Violations of one kind that are shown to people; programs get all.
const SHOWN: usize = 5;

/// What was looked at, and what is wrong. As text it is for people; serialized, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Orders on record.
    pub orders: usize,
    /// How many are in which state.
    pub states: BTreeMap<String, usize>,
    /// Different events about orders on the topics.
    pub events: usize,
    /// Dead letters.
    pub dead_letters: u64,
    /// Everything that is wrong; empty where the invariants hold.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The report on `facts`, of which `violations` were found.
    #[must_use]
    pub fn new(facts: &Facts, violations: Vec<Violation>) -> Self {
        let mut states = BTreeMap::new();
        for order in facts.orders.values() {
            *states.entry(order.status.clone()).or_default() += 1;
        }
        Self {
            orders: facts.orders.len(),
            states,
            events: facts.said.values().map(Vec::len).sum(),
            dead_letters: facts.dead_letters.values().sum(),
            violations,
        }
    }

    /// Whether every invariant holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<String> =
            self.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(f, "{} orders ({})", self.orders, states.join(", "))?;
        writeln!(f, "{} events, {} dead letters", self.events, self.dead_letters)?;
        if self.holds() {
            return write!(f, "every invariant holds");
        }
        write!(f, "{} violations", self.violations.len())?;
        let mut kinds: BTreeMap<String, Vec<&Violation>> = BTreeMap::new();
        for violation in &self.violations {
            kinds.entry(violation.kind()).or_default().push(violation);
        }
        for (kind, all) in kinds {
            write!(f, "\n  {kind}: {}", all.len())?;
            for violation in all.iter().take(SHOWN) {
                write!(f, "\n    {violation}")?;
            }
        }
        Ok(())
    }
}
