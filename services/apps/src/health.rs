//! What a process knows about itself: its phase, whether what it depends on answers, and whether its loops
//! still move. Served by `admin`, fed by `runtime` and the services.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

/// How long a dependency has to answer. Below the kubelet's default probe timeout of one second, so that the
/// probe sees our answer instead of none.
const CHECK_TIMEOUT: Duration = Duration::from_millis(800);

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Phase {
    /// Connecting and migrating.
    Starting,
    /// Taking work.
    Serving,
    /// Finishing what it began; new work belongs to others.
    Draining,
}

/// Asks one dependency; the error says what is wrong without naming addresses or secrets.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked, such as `order.database`.
    pub name: String,
    /// What is wrong with it.
    pub result: Result<(), String>,
}

/// The health of a process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    phase: Mutex<Phase>,
    checks: Mutex<Vec<(String, Check)>>,
    pulses: Mutex<Vec<Pulse>>,
}

impl Default for Health {
    fn default() -> Self {
        let inner =
            Inner { phase: Mutex::new(Phase::Starting), checks: Mutex::default(), pulses: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }
}

impl Health {
    /// Where the process is in its life.
    pub fn phase(&self) -> Phase {
        *lock(&self.inner.phase)
    }

    /// Enters the next phase of life.
    pub fn enter(&self, phase: Phase) {
        *lock(&self.inner.phase) = phase;
    }

    /// Makes readiness depend on `check`.
    pub fn depend_on(&self, name: impl Into<String>, check: Check) {
        lock(&self.inner.checks).push((name.into(), check));
    }

    /// Makes liveness depend on a loop that beats at least every `silence`.
    pub fn watch(&self, name: impl Into<String>, silence: Duration) -> Pulse {
        let pulse = Pulse {
            name: name.into().into(),
            silence,
            born: Instant::now(),
            last_ms: Arc::new(AtomicU64::new(0)),
        };
        lock(&self.inner.pulses).push(pulse.clone());
        pulse
    }

    /// Whether the process can take work: it is serving, and everything it depends on answers.
    pub async fn readiness(&self) -> Vec<Finding> {
        let phase = self.phase();
        let serving = match phase {
            Phase::Serving => Ok(()),
            Phase::Starting | Phase::Draining => Err(<&str>::from(phase).to_owned()),
        };
        let checks = lock(&self.inner.checks).clone();
        let asked = checks.into_iter().map(|(name, check)| async move {
            let answer = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
            Finding { name, result: answer.unwrap_or_else(|_elapsed| Err("does not answer".to_owned())) }
        });
        let mut findings = vec![Finding { name: "phase".to_owned(), result: serving }];
        findings.extend(join_all(asked).await);
        findings
    }

    /// Whether every loop still moves. Dependencies do not count: a restart would not bring them back.
    pub fn liveness(&self) -> Vec<Finding> {
        lock(&self.inner.pulses).iter().map(Pulse::finding).collect()
    }
}

/// The sign of life of one loop.
#[derive(Debug, Clone)]
pub struct Pulse {
    name: Arc<str>,
    silence: Duration,
    born: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// The loop made a turn.
    pub fn beat(&self) {
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn finding(&self) -> Finding {
        let silent =
            Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)));
        let result = if silent <= self.silence {
            Ok(())
        } else {
            Err(format!("has not moved for {} s", silent.as_secs()))
        };
        Finding { name: self.name.to_string(), result }
    }
}

/// A check of the database: one trivial query on a pooled connection.
pub fn database(pool: sqlx::PgPool) -> Check {
    Arc::new(move || {
        let pool = pool.clone();
        async move {
            sqlx::query("SELECT 1").execute(&pool).await.map(drop).map_err(|error| {
                tracing::debug!(error = %error, "the database check failed");
                "does not answer queries".to_owned()
            })
        }
        .boxed()
    })
}

/// The lock's content, whatever became of the thread that held it before: these are plain values.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(result: Result<(), String>) -> Check {
        Arc::new(move || std::future::ready(result.clone()).boxed())
    }

    async fn ready(health: &Health) -> bool {
        health.readiness().await.iter().all(|finding| finding.result.is_ok())
    }

    #[tokio::test]
    async fn only_a_serving_process_is_ready() {
        let health = Health::default();
        health.depend_on("db", answering(Ok(())));

        assert!(!ready(&health).await);
        health.enter(Phase::Serving);
        assert!(ready(&health).await);
        health.enter(Phase::Draining);
        assert!(!ready(&health).await);
    }

    #[tokio::test]
    async fn a_dependency_that_is_down_or_silent_makes_unready() {
        for check in [answering(Err("down".into())), Arc::new(|| futures::future::pending().boxed()) as Check]
        {
            let health = Health::default();
            health.enter(Phase::Serving);
            health.depend_on("db", check);

            assert!(!ready(&health).await);
        }
    }

    #[test]
    fn a_loop_that_stops_beating_is_not_alive() {
        let health = Health::default();
        let pulse = health.watch("loop", Duration::ZERO);
        pulse.beat();

        while health.liveness().iter().all(|finding| finding.result.is_ok()) {
            std::thread::yield_now();
        }

        assert_eq!(health.liveness().first().map(|finding| finding.name.as_str()), Some("loop"));
    }
}
