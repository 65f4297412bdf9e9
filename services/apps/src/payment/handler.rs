//! Puts on record what orders ask of the payment service. The provider is asked when that is committed.

use contract::{Event, OrderId, PaymentFailed, PaymentFailure, Step, Topic};
use domain::payment::PaymentInput;
use messaging::{Deduplication, Delivery, Effects, HandleError, Handler};

use super::store::Payment;
use crate::provider::book::{Book, Request};
use crate::provider::desk::NewsCounter;
use crate::provider::record::Task;
use crate::provider::worker::Handover;

/// Records payments to be asked for, and payments to be taken back.
#[derive(Debug, Clone)]
pub struct PaymentHandler {
    handover: Handover<Task<Payment>>,
    news: NewsCounter,
}

impl PaymentHandler {
    /// A handler that hands over what it has recorded.
    pub(super) fn new(handover: Handover<Task<Payment>>, news: NewsCounter) -> Self {
        Self { handover, news }
    }
}

impl Handler for PaymentHandler {
    // The row of an order tells what came: each status that an event leads to is left by others only.
    const DEDUPLICATION: Deduplication = Deduplication::OwnRows;

    async fn handle(&self, fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        let requests = batch
            .iter()
            .filter(|delivery| delivery.envelope.event.concerns(Step::Payment))
            .map(|delivery| Request::of(delivery, input_of(delivery)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut book = Book::<Payment>::open(fx, &requests, &self.handover).await?;
        for request in &requests {
            if let Some(news) = book.enter(request, request.input, fx.now()) {
                self.news.count(news);
                fx.emit(too_late(request.order_id), request.delivery);
            }
        }
        book.close(fx, |_status| None).await
    }
}

fn input_of(delivery: &Delivery) -> PaymentInput {
    match delivery.topic {
        Topic::OrdersCancelled => PaymentInput::OrderCancelled,
        _ => PaymentInput::Asked,
    }
}

fn too_late(order_id: OrderId) -> Event {
    let (reason, detail) = (PaymentFailure::OrderCancelled, "the order had been cancelled".to_owned());
    PaymentFailed { order_id, reason, detail }.into()
}
