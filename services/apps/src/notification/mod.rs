//! The notification service: tells customers what happens to their orders, by e-mail and by text message.
//!
//! | consumes | what the customer reads |
//! |---|---|
//! | `orders.created` | we received your order |
//! | `orders.confirmed` | your order is confirmed |
//! | `orders.cancelled` | your order was cancelled, and why |
//!
//! `handler` puts each on record once, `sender` works the record off and produces `notifications.sent`. It
//! serves no API. How a message reads stands in `message`, how it is carried in `channels`.

mod channels;
mod handler;
mod message;
mod metrics;
mod sender;
mod store;

use std::sync::Arc;

use anyhow::Result;
use contract::Service;
use sqlx::migrate::Migrator;
use tokio::sync::Notify;

use self::channels::{Channels, Email, InvalidChannel, Sms};
use self::handler::RecordingHandler;
use self::metrics::Metrics;
use self::sender::{RetryPolicy, Sender};
use crate::config::NotificationConfig;
use crate::service::{Context, Parts, Role, Tasks};

/// The notification service.
pub struct Notification;

impl Role for Notification {
    const SERVICE: Service = Service::Notification;
    type Handler = RecordingHandler;

    fn migrations() -> Migrator {
        sqlx::migrate!("migrations/notification")
    }

    async fn build(context: &Context) -> Result<Parts<RecordingHandler>> {
        let Context { config, pool, messaging, shutdown, .. } = context;
        let recorded = Arc::new(Notify::new());
        let sender = Sender {
            pool: pool.clone(),
            outbox: messaging.outbox().clone(),
            channels: channels(&config.notification)?,
            retry: RetryPolicy::default(),
            recorded: recorded.clone(),
            metrics: Metrics::register(context.exposition.registry())?,
        };
        let pulse = || context.health.watch("notification.sender", sender::SILENCE);
        Ok(Parts {
            handler: RecordingHandler::new(recorded),
            routes: None,
            tasks: Tasks::of(config.parts).events("sender", || sender.run(pulse(), shutdown.clone())),
        })
    }
}

/// The channels that are configured; the others are skipped, which every `notifications.sent` says.
fn channels(config: &NotificationConfig) -> Result<Channels, InvalidChannel> {
    let email = config.smtp_url.as_ref().map(|url| Email::new(url, &config.mail_from)).transpose()?;
    let sms = config.sms_webhook_url.as_ref().map(Sms::new).transpose()?;
    if email.is_none() {
        tracing::warn!("SMTP_URL is not set: customers get no mail");
    }
    Ok(Channels { email, sms })
}

#[cfg(test)]
mod tests;
