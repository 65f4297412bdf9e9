//! The one way to a provider: within a time limit, through the breaker, and counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{HistogramOpts, HistogramVec, IntGaugeVec, Opts, Registry};
use strum::VariantArray;

use super::NoAnswer;
use super::breaker::{Breaker, State};

/// How long a call may take. Several fit into the time that an order waits for a step.
pub const CALL_LIMIT: Duration = Duration::from_secs(2);

/// Guards the calls to one provider. Clones are one.
#[derive(Debug, Clone)]
pub struct Gate {
    breaker: Arc<Mutex<Breaker>>,
    calls: HistogramVec,
    state: IntGaugeVec,
}

impl Gate {
    /// The gate to the provider of `service`, and its metrics.
    ///
    /// # Errors
    /// The registry has them already.
    pub fn register(service: &str, registry: &Registry) -> Result<Self, prometheus::Error> {
        let calls = HistogramVec::new(
            HistogramOpts::new(
                format!("{service}_provider_call_seconds"),
                "Calls to the provider by what was asked and how it ended: answered, failed, timed_out; \
                 not_asked while the breaker is open.",
            )
            .buckets(vec![0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0]),
            &["call", "end"],
        )?;
        let state = IntGaugeVec::new(
            Opts::new(
                format!("{service}_provider_breaker"),
                "1 for the state of the breaker: closed (calls go through), open (none), half_open (one tries).",
            ),
            &["state"],
        )?;
        registry.register(Box::new(calls.clone()))?;
        registry.register(Box::new(state.clone()))?;
        let gate = Self { breaker: Arc::default(), calls, state };
        gate.show(State::Closed);
        Ok(gate)
    }

    /// Makes a call, unless the provider is known not to answer.
    ///
    /// # Errors
    /// There is no answer; see [`NoAnswer`].
    pub async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, NoAnswer>>,
    ) -> Result<T, NoAnswer> {
        let began = Instant::now();
        let admitted = self.with_breaker(|breaker| breaker.admits(began));
        let result = match admitted {
            true => tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or(Err(NoAnswer::TimedOut)),
            false => Err(NoAnswer::NotAsked),
        };
        let end = match &result {
            Ok(_) => "answered",
            Err(NoAnswer::NotAsked) => "not_asked",
            Err(NoAnswer::TimedOut) => "timed_out",
            Err(NoAnswer::Failed(_)) => "failed",
        };
        self.calls.with_label_values(&[name, end]).observe(began.elapsed().as_secs_f64());
        match &result {
            Ok(_) => self.with_breaker(Breaker::answered),
            Err(NoAnswer::NotAsked) => {}
            Err(_) => self.with_breaker(|breaker| breaker.failed(Instant::now())),
        }
        result
    }

    /// Whether the provider is asked.
    #[must_use]
    pub fn state(&self) -> State {
        self.with_breaker(|breaker| breaker.state())
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        let result = act(&mut breaker);
        let now = breaker.state();
        if before != now {
            tracing::warn!(from = <&str>::from(before), to = <&str>::from(now), "the breaker changed");
            self.show(now);
        }
        result
    }

    fn show(&self, state: State) {
        for other in State::VARIANTS {
            self.state.with_label_values(&[<&str>::from(other)]).set(i64::from(*other == state));
        }
    }
}
