//! How the simulated providers behave, and the switch for it: `GET` and `PUT /simulator/<service>` on the
//! admin port, so that demonstrations and tests can cause an outage and end it.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::Hash;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use contract::CustomerId;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::NoAnswer;

/// How a simulated provider behaves. What is not said is as in [`Conduct::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conduct {
    /// How long it takes to answer, in milliseconds.
    pub latency_ms: u64,
    /// Of all calls, the share that gets no answer, 0 to 1. Half of these have their effect nevertheless.
    pub failure_rate: f64,
    /// Whether no call gets an answer, nor has an effect.
    pub outage: bool,
    /// The beginning of the ids of customers who are refused for good; empty: nobody is.
    pub refused_customers: String,
}

impl Default for Conduct {
    /// Answers at once, refuses customers whose id begins with `refused-`.
    fn default() -> Self {
        Self { latency_ms: 0, failure_rate: 0.0, outage: false, refused_customers: "refused-".to_owned() }
    }
}

impl FromStr for Conduct {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conduct: Self = serde_json::from_str(text).map_err(|error| format!("is no conduct: {error}"))?;
        conduct.checked()
    }
}

impl Conduct {
    fn checked(self) -> Result<Self, String> {
        match self.failure_rate {
            rate if (0.0..=1.0).contains(&rate) => Ok(self),
            rate => Err(format!("failureRate must be from 0 to 1, not {rate}")),
        }
    }

    /// Whether the customer is refused for good. The same customer always gets the same answer.
    #[must_use]
    pub fn refuses(&self, customer: &CustomerId) -> bool {
        !self.refused_customers.is_empty() && customer.as_str().starts_with(&self.refused_customers)
    }
}

/// A simulated provider's behaviour, which can be changed while it is asked. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Simulator {
    conduct: Arc<RwLock<Conduct>>,
}

impl Simulator {
    /// A provider that behaves like this for now.
    #[must_use]
    pub fn new(conduct: Conduct) -> Self {
        Self { conduct: Arc::new(RwLock::new(conduct)) }
    }

    /// How it behaves now.
    #[must_use]
    pub fn conduct(&self) -> Conduct {
        self.conduct.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes how it behaves.
    pub fn behave(&self, conduct: Conduct) {
        *self.conduct.write().unwrap_or_else(PoisonError::into_inner) = conduct;
    }

    /// Answers a call with the result of `effect`, or lets it down as its conduct says.
    ///
    /// # Errors
    /// When the call is let down, before or after its effect.
    pub async fn answer<T>(&self, effect: impl FnOnce(&Conduct) -> T) -> Result<T, NoAnswer> {
        let conduct = self.conduct();
        if conduct.latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(conduct.latency_ms)).await;
        }
        if conduct.outage {
            return Err(NoAnswer::Failed("the provider is down".to_owned()));
        }
        let chance = rand::rng().random::<f64>();
        if chance < conduct.failure_rate / 2.0 {
            return Err(NoAnswer::Failed("the call did not arrive".to_owned()));
        }
        let result = effect(&conduct);
        if chance < conduct.failure_rate {
            return Err(NoAnswer::Failed("the answer got lost".to_owned()));
        }
        Ok(result)
    }
}

/// Most ids that a simulated provider remembers. A call that was given up arrives within seconds, if at all: at a
/// thousand cancelled orders a second this is more than a minute.
const REMEMBERED: usize = 100_000;

/// The latest ids of what was undone.
#[derive(Debug)]
pub struct Undone<T> {
    most: usize,
    known: Mutex<(HashSet<T>, VecDeque<T>)>,
}

impl<T: Copy + Eq + Hash> Default for Undone<T> {
    fn default() -> Self {
        Self::of_latest(REMEMBERED)
    }
}

impl<T: Copy + Eq + Hash> Undone<T> {
    fn of_latest(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    /// Remembers `id`, for as long as it is among the latest.
    pub fn note(&self, id: T) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (ids, by_age) = &mut *known;
        if ids.insert(id) {
            by_age.push_back(id);
        }
        if by_age.len() > self.most
            && let Some(oldest) = by_age.pop_front()
        {
            ids.remove(&oldest);
        }
    }

    /// Whether `id` is among them.
    pub fn contains(&self, id: T) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).0.contains(&id)
    }
}

/// The simulators of a process, by service.
#[derive(Debug, Clone, Default)]
pub struct Simulators {
    by_service: Arc<Mutex<BTreeMap<&'static str, Simulator>>>,
}

impl Simulators {
    /// Makes `simulator` known as that of `service`.
    pub fn add(&self, service: &'static str, simulator: Simulator) {
        self.by_service.lock().unwrap_or_else(PoisonError::into_inner).insert(service, simulator);
    }

    fn of(&self, service: &str) -> Option<Simulator> {
        self.by_service.lock().unwrap_or_else(PoisonError::into_inner).get(service).cloned()
    }
}

/// The routes that show and change how the simulators of a process behave.
pub fn routes(simulators: Simulators) -> Router {
    Router::new().route("/simulator/{service}", get(show).put(change)).with_state(simulators)
}

async fn show(State(simulators): State<Simulators>, Path(service): Path<String>) -> Response {
    match simulators.of(&service) {
        Some(simulator) => Json(simulator.conduct()).into_response(),
        None => unknown(&service),
    }
}

async fn change(State(simulators): State<Simulators>, Path(service): Path<String>, body: String) -> Response {
    let Some(simulator) = simulators.of(&service) else { return unknown(&service) };
    match body.parse::<Conduct>() {
        Ok(conduct) => {
            tracing::warn!(service, ?conduct, "the simulated provider behaves otherwise");
            simulator.behave(conduct.clone());
            Json(conduct).into_response()
        }
        Err(reason) => (StatusCode::UNPROCESSABLE_ENTITY, reason).into_response(),
    }
}

fn unknown(service: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("{service} has no simulator in this process")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conduct_is_read_with_defaults_and_refused_when_it_makes_no_sense() {
        assert_eq!("{}".parse::<Conduct>(), Ok(Conduct::default()));
        let outage = Conduct { outage: true, ..Conduct::default() };
        assert_eq!(r#"{"outage": true}"#.parse::<Conduct>(), Ok(outage));

        for bad in ["", "7", r#"{"outrage": true}"#, r#"{"failureRate": 1.5}"#, r#"{"failureRate": -1}"#] {
            assert!(bad.parse::<Conduct>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let undone = Undone::of_latest(3);

        for id in [1, 2, 2, 3, 4] {
            undone.note(id);
        }

        assert_eq!([1, 2, 3, 4].map(|id| undone.contains(id)), [false, true, true, true]);
        assert_eq!(undone.known.into_inner().unwrap().0.len(), 3);
    }

    #[tokio::test]
    async fn lost_calls_are_lost_before_or_after_their_effect() {
        let simulator = Simulator::new(Conduct { failure_rate: 1.0, ..Conduct::default() });
        let mut effects = 0;

        for _ in 0..200 {
            assert!(simulator.answer(|_| effects += 1).await.is_err());
        }

        assert!(effects > 0 && effects < 200, "{effects}");
    }
}
