//! The sales analytics: what was sold in each hour, per currency and product.
//!
//! | consumes | and then |
//! |---|---|
//! | `orders.confirmed` | counts the order in the hour in which it was confirmed (`analytics.sales`) |
//!
//! A stream: offsets, state (`order-analytics.changelog`) and rows become visible in one Kafka transaction, so each
//! order counts exactly once. What counts when stands in `domain::sales`, and how state is written in `counting`.
//! It serves `/api/v1/analytics/sales` (`api`).
//!
//! # Why a row belongs to a partition
//! Each partition of `orders.confirmed` is counted on its own, and `analytics.sales` has its rows apart: the sales
//! of an hour are the sum over the partitions. The other way, to send every item to a repartition topic keyed by
//! hour and product, costs every record a second trip and the result its meaning: how records of different
//! partitions meet there is chance, stream time with it, and so a replay would call other records late. A sum over
//! partitions is right whoever has which, and the same after every replay. The readers' price is to add a few rows
//! up; [`domain::sales::Table`] does, from all rows, in every instance.

mod api;
mod counting;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use contract::{Event, Service, Topic};
use domain::sales::Table;
use domain::windows::Tumbling;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use messaging::streams::Streams;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::api::Api;
pub use self::counting::SalesCounting;
use crate::health::Check;
use crate::service::{Parts, StreamContext, StreamRole, Tasks};

/// The sales analytics.
pub struct OrderAnalytics;

impl StreamRole for OrderAnalytics {
    const SERVICE: Service = Service::OrderAnalytics;
    type Application = SalesCounting;

    fn build(context: &StreamContext) -> Result<Parts<SalesCounting>> {
        let StreamContext { config, streams, health, shutdown } = context;
        let grace = SignedDuration::try_from(config.order_analytics.order_analytics_grace)?;
        let hours = Tumbling::new(SignedDuration::from_hours(1), grace)?;
        let table = Arc::new(Mutex::new(Table::default()));
        let caught_up = watch::Sender::new(false);
        let read = caught_up.subscribe();
        let is_read: Check = Arc::new(move || {
            let read = *read.borrow();
            let known = if read { Ok(()) } else { Err("has not read the sales yet".to_owned()) };
            std::future::ready(known).boxed()
        });
        let tasks = Tasks::of(config.parts).api("sales table", || {
            health.depend_on("order-analytics.table", is_read);
            read_sales(streams.clone(), table.clone(), caught_up, shutdown.clone())
        });
        Ok(Parts { handler: SalesCounting::new(hours), routes: Some(api::routes(Api { table })), tasks })
    }
}

/// Keeps `table` as `analytics.sales` has it.
async fn read_sales(
    streams: Streams,
    table: Arc<Mutex<Table>>,
    caught_up: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let kept = Topic::AnalyticsSales.spec().retention_override;
    let take = move |envelope: contract::Envelope| {
        let Event::SalesUpdated(updated) = envelope.event else { return };
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        table.take(updated);
        // What the topic does not keep would be gone after a restart anyway.
        if let Some(oldest) = kept.and_then(|kept| Timestamp::now().checked_sub(kept).ok()) {
            table.forget_before(oldest);
        }
    };
    // A task that ends by itself takes the process down, and that is told.
    if let Err(error) = streams.read_table(Topic::AnalyticsSales, take, caught_up, shutdown).await {
        tracing::error!(%error, "the sales cannot be read");
    }
}
