//! What the shipping service counts.

use domain::shipment::ShipmentNews;
use prometheus::{IntCounterVec, Opts, Registry};

/// Counters of the shipping service. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    shipments: IntCounterVec,
}

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let shipments = IntCounterVec::new(
            Opts::new("shipping_shipments_total", "What became of shipments, as it was announced."),
            &["outcome"],
        )?;
        registry.register(Box::new(shipments.clone()))?;
        Ok(Self { shipments })
    }

    /// Counts what was announced.
    pub(super) fn count(&self, news: ShipmentNews) {
        let outcome = match news {
            ShipmentNews::Scheduled => "scheduled",
            ShipmentNews::Refused => "refused",
            ShipmentNews::Unavailable => "unavailable",
            ShipmentNews::TooLate => "too_late",
            ShipmentNews::Delivered => "delivered",
            ShipmentNews::Cancelled => "cancelled",
        };
        self.shipments.with_label_values(&[outcome]).inc();
    }
}
