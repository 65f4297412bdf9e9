//! Asks the payment provider, and says what its answers mean.

use contract::{Envelope, Event, PaymentCaptured, PaymentFailed, PaymentFailure, PaymentRefunded};
use domain::payment::{PaymentInput, PaymentNews, PaymentStatus};
use jiff::Timestamp;

use super::provider::{Captured, PaymentProvider};
use super::store::Payment;
use crate::provider::NoAnswer;
use crate::provider::desk::{Answer, Clerk};
use crate::provider::gate::Gate;
use crate::provider::record::Task;

/// Has a provider capture payments, and give them back.
#[derive(Debug)]
pub(super) struct PaymentClerk<P>(pub P);

impl<P: PaymentProvider> Clerk for PaymentClerk<P> {
    type Record = Payment;

    async fn ask(&self, gate: &Gate, task: &mut Task<Payment>) -> Result<Answer<Payment>, NoAnswer> {
        let Payment { ref progress, payment_id, amount } = task.record;
        if progress.status != PaymentStatus::Requested {
            // A refund cannot be refused, and nobody waits for it: it is tried until it is done.
            gate.call("reverse", self.0.reverse(payment_id)).await?;
            return Ok((PaymentInput::Reversed, None));
        }
        let Some(details) = task.cause.event.details() else {
            return Ok((PaymentInput::Declined, Some("the order is not known".to_owned())));
        };
        let call = self.0.capture(payment_id, amount, &details.customer.customer_id);
        Ok(match gate.call("capture", call).await? {
            Captured::Yes => (PaymentInput::Captured, None),
            Captured::No(reason) => (PaymentInput::Declined, Some(reason)),
        })
    }

    fn announcement(record: &Payment, cause: &Envelope, news: PaymentNews, _now: Timestamp) -> Option<Event> {
        let Payment { ref progress, payment_id, amount } = *record;
        let order_id = progress.order_id;
        let failed = |reason| {
            let detail = progress.detail.clone().unwrap_or_default();
            PaymentFailed { order_id, reason, detail }.into()
        };
        Some(match news {
            PaymentNews::Captured => {
                let details = cause.event.details()?.clone();
                PaymentCaptured { order_id, payment_id, amount, details }.into()
            }
            PaymentNews::Declined => failed(PaymentFailure::Declined),
            PaymentNews::Unavailable => failed(PaymentFailure::ProviderUnavailable),
            PaymentNews::TooLate => failed(PaymentFailure::OrderCancelled),
            PaymentNews::Refunded => PaymentRefunded { order_id, payment_id, amount }.into(),
        })
    }
}
