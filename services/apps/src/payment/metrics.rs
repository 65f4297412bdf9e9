//! What the payment service counts.

use domain::payment::PaymentNews;
use prometheus::{IntCounterVec, Opts, Registry};

/// Counters of the payment service. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    payments: IntCounterVec,
}

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let payments = IntCounterVec::new(
            Opts::new("payment_payments_total", "What became of payments, as it was announced."),
            &["outcome"],
        )?;
        registry.register(Box::new(payments.clone()))?;
        Ok(Self { payments })
    }

    /// Counts what was announced.
    pub(super) fn count(&self, news: PaymentNews) {
        let outcome = match news {
            PaymentNews::Captured => "captured",
            PaymentNews::Declined => "declined",
            PaymentNews::Unavailable => "unavailable",
            PaymentNews::TooLate => "too_late",
            PaymentNews::Refunded => "refunded",
        };
        self.payments.with_label_values(&[outcome]).inc();
    }
}
