//! Asks the carrier, and says what its answers mean; notes arrivals.

use contract::{
    Envelope, Event, ShippingCancelled, ShippingDelivered, ShippingFailed, ShippingFailure, ShippingScheduled,
};
use domain::shipment::{ShipmentInput, ShipmentNews, ShipmentStatus};
use jiff::Timestamp;

use super::carrier::{Booked, Carrier};
use super::store::{Booking, Shipment};
use crate::provider::NoAnswer;
use crate::provider::desk::{Answer, Clerk};
use crate::provider::gate::Gate;
use crate::provider::record::Task;

/// Has a carrier take parcels, and takes bookings back.
#[derive(Debug)]
pub(super) struct ShippingClerk<C>(pub C);

impl<C: Carrier> Clerk for ShippingClerk<C> {
    type Record = Shipment;

    async fn ask(&self, gate: &Gate, task: &mut Task<Shipment>) -> Result<Answer<Shipment>, NoAnswer> {
        let shipment_id = task.record.shipment_id;
        match task.record.progress.status {
            ShipmentStatus::Requested => {}
            ShipmentStatus::Dispatched => return Ok((ShipmentInput::Arrived, None)),
            // Nobody waits for it: it is tried until it is done.
            _ => {
                gate.call("cancel", self.0.cancel(shipment_id)).await?;
                return Ok((ShipmentInput::Reversed, None));
            }
        }
        let Some(details) = task.cause.event.details() else {
            return Ok((ShipmentInput::Refused, Some("the order is not known".to_owned())));
        };
        let call = self.0.book(shipment_id, &details.customer.customer_id);
        Ok(match gate.call("book", call).await? {
            Booked::Yes(booking) => {
                task.record.booking = Some(booking);
                (ShipmentInput::Booked, None)
            }
            Booked::No(reason) => (ShipmentInput::Refused, Some(reason)),
        })
    }

    fn announcement(
        record: &Shipment,
        _cause: &Envelope,
        news: ShipmentNews,
        now: Timestamp,
    ) -> Option<Event> {
        let Shipment { progress, shipment_id, booking } = record;
        let (order_id, shipment_id) = (progress.order_id, *shipment_id);
        let failed = |reason| {
            let detail = progress.detail.clone().unwrap_or_default();
            ShippingFailed { order_id, reason, detail }.into()
        };
        Some(match news {
            ShipmentNews::Scheduled => {
                let Booking { carrier, tracking_number } = booking.clone()?;
                ShippingScheduled { order_id, shipment_id, carrier, tracking_number }.into()
            }
            ShipmentNews::Refused => failed(ShippingFailure::Refused),
            ShipmentNews::Unavailable => failed(ShippingFailure::CarrierUnavailable),
            ShipmentNews::TooLate => failed(ShippingFailure::OrderCancelled),
            ShipmentNews::Delivered => ShippingDelivered { order_id, shipment_id, delivered_at: now }.into(),
            ShipmentNews::Cancelled => ShippingCancelled { order_id, shipment_id }.into(),
        })
    }
}
