//! Rebalances: how long events wait when a member of a group joins, leaves or is killed under load, with each of
//! Kafka's group protocols. Members are processes of their own, so that one can really be killed.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use contract::{Envelope, Service, Topic};
use jiff::Timestamp;
use messaging::{Delivery, Effects, GroupProtocol, HandleError, Handler, KafkaConfig, Messaging, Metrics};
use prometheus::Registry;
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::events;
use crate::report::{Better, Figure};
use crate::system::Backends;

const TOPIC: Topic = Topic::OrdersCompleted;
/// Events per tick: 400 per second, so that every partition always has some.
const TICK: (Duration, usize) = (Duration::from_millis(50), 20);
/// How long the waits are watched after something happened to a member.
const PHASE: Duration = Duration::from_secs(20);
/// The same after a kill: longer than the broker misses a silent member by either protocol.
const MOURNING: Duration = Duration::from_secs(75);

/// A member of the group.
#[derive(Debug, Args)]
pub(crate) struct Member {
    bootstrap: String,
    database: String,
    protocol: GroupProtocol,
}

impl Member {
    /// Consumes until its standard input ends, which it does with the parent, however that ends.
    pub(crate) async fn run(self) -> Result<()> {
        let kafka = KafkaConfig {
            group_protocol: self.protocol,
            ..KafkaConfig::plaintext(self.bootstrap, "member", "")
        };
        let pool = PgPool::connect(&self.database).await?;
        let messaging = Messaging::new(kafka, Service::Order, pool, &Metrics::register(&Registry::new())?)?;
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        std::thread::spawn(move || {
            // An end and an error say the same: nobody holds the other end any more.
            let _ = std::io::stdin().read(&mut [0]);
            stop.cancel();
        });
        Ok(messaging.consume(&[TOPIC], Clock, shutdown).await?)
    }
}

/// Writes down when events were published, and when they were handled.
struct Clock;

impl Handler for Clock {
    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let published = batch.iter().map(|delivery| delivery.envelope.timestamp.as_microsecond());
        sqlx::query(
            "INSERT INTO handled (published_us, handled_us) SELECT p, $2 FROM unnest($1::bigint[]) AS p",
        )
        .bind(published.collect::<Vec<_>>())
        .bind(Timestamp::now().as_microsecond())
        .execute(fx.conn())
        .await?;
        Ok(())
    }
}

/// Measures both protocols, each on a fresh broker.
pub(crate) async fn measure() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        eprintln!("rebalances, {} protocol: starting a broker and a database", protocol);
        figures.extend(Group::start(protocol).await?.measure().await?);
    }
    Ok(figures)
}

/// A group under load.
struct Group {
    protocol: GroupProtocol,
    database: String,
    pool: PgPool,
    load: tokio::task::JoinHandle<Result<()>>,
    backends: Backends,
}

impl Group {
    async fn start(protocol: GroupProtocol) -> Result<Self> {
        let backends = Backends::start()?;
        backends.create_topics(&[TOPIC]).await?;
        let (database, pool) = backends.database("rebalances").await?;
        messaging::migrate(&pool).await?;
        sqlx::query("CREATE TABLE handled (published_us bigint, handled_us bigint)").execute(&pool).await?;
        let kafka = KafkaConfig::plaintext(backends.kafka.bootstrap(), "bench", "");
        let metrics = Metrics::register(&Registry::new())?;
        let publisher = Messaging::new(kafka, Service::Order, pool.clone(), &metrics)?;
        let load = tokio::spawn(async move { load(&publisher).await });
        Ok(Self { protocol, database, pool, load, backends })
    }

    async fn measure(self) -> Result<Vec<Figure>> {
        let (mut first, second) = (self.join()?, self.join()?);
        tokio::time::sleep(PHASE).await;
        let mut figures = vec![self.watch("nothing happens", PHASE).await?];
        let mut third = self.join()?;
        figures.push(self.watch("a member joins", PHASE).await?);
        drop(third.0.stdin.take());
        figures.push(self.watch("a member leaves", PHASE).await?);
        first.0.kill()?;
        figures.push(self.watch("a member is killed", MOURNING).await?);
        drop(second);
        if self.load.is_finished() {
            // It never ends well: without a load nothing was measured.
            self.load.await??;
        } else {
            self.load.abort();
        }
        Ok(figures)
    }

    fn join(&self) -> Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        let (bootstrap, protocol) = (self.backends.kafka.bootstrap(), self.protocol.to_string());
        let arguments = ["member", &bootstrap, &self.database, &protocol];
        Ok(Running(
            command.args(arguments).stdin(Stdio::piped()).spawn().context("could not start a member")?,
        ))
    }

    /// The longest time that an event had to wait that was published from now on.
    async fn watch(&self, what: &str, phase: Duration) -> Result<Figure> {
        let began = Timestamp::now().as_microsecond();
        tokio::time::sleep(phase).await;
        let (events, longest): (i64, f64) = sqlx::query_as(
            "SELECT count(*), coalesce(max(handled_us - published_us), 0) / 1000.0::float8 FROM handled
             WHERE published_us >= $1",
        )
        .bind(began)
        .fetch_one(&self.pool)
        .await?;
        let name = format!("{} protocol, {what}, longest wait", self.protocol);
        eprintln!("  {name}: {longest:.0} ms");
        Ok(Figure::new(name, "ms", longest, Better::Lower).with(json!({ "events": events })))
    }
}

/// A member's process; killed, if it has not ended by itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn load(publisher: &Messaging) -> Result<()> {
    let (every, count) = TICK;
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        let events = (0..count).map(|_| events::completed()).collect::<Result<Vec<Envelope>>>()?;
        publisher.producer().publish(&events).await?;
    }
}
