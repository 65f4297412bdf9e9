//! The carrier: what the service asks of it, and a simulated one.

use contract::{CustomerId, ShipmentId};

use super::store::Booking;
use crate::provider::NoAnswer;
use crate::provider::simulator::{Simulator, Undone};

/// What a carrier answers to a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Booked {
    /// It will take the parcel.
    Yes(Booking),
    /// It refuses for good; the reason, for people.
    No(String),
}

/// Carries parcels. A shipment's id is the idempotency key: the same call gets the same answer, however often.
pub(super) trait Carrier: Send + Sync + 'static {
    /// Books the way of a parcel to `customer`.
    ///
    /// # Errors
    /// There is no answer; it may be booked.
    fn book(
        &self,
        id: ShipmentId,
        customer: &CustomerId,
    ) -> impl Future<Output = Result<Booked, NoAnswer>> + Send;

    /// Takes back what was booked under `id`. Where nothing was, makes sure that nothing will be: a booking that
    /// is still under way, or comes later, is refused.
    ///
    /// # Errors
    /// There is no answer; it may have been done.
    fn cancel(&self, id: ShipmentId) -> impl Future<Output = Result<(), NoAnswer>> + Send;
}

/// A carrier that carries nothing. Its answer follows from the request alone (see
/// [`crate::provider::simulator::Conduct::refuses`]), so that it is the same under the same key, also after a
/// restart. Shipments that were cancelled before they were booked are remembered by the process.
#[derive(Debug)]
pub(super) struct SimulatedCarrier {
    simulator: Simulator,
    cancelled: Undone<ShipmentId>,
}

impl SimulatedCarrier {
    /// A carrier that behaves as `simulator` says.
    pub(super) fn new(simulator: Simulator) -> Self {
        Self { simulator, cancelled: Undone::default() }
    }
}

impl Carrier for SimulatedCarrier {
    async fn book(&self, id: ShipmentId, customer: &CustomerId) -> Result<Booked, NoAnswer> {
        self.simulator
            .answer(|conduct| {
                if conduct.refuses(customer) {
                    return Booked::No("the carrier does not deliver there".to_owned());
                }
                match self.cancelled.contains(id) {
                    true => Booked::No("the booking was cancelled".to_owned()),
                    false => Booked::Yes(booking_of(id)),
                }
            })
            .await
    }

    async fn cancel(&self, id: ShipmentId) -> Result<(), NoAnswer> {
        self.simulator.answer(|_conduct| self.cancelled.note(id)).await
    }
}

/// The last 48 bits of a v7 UUID are random.
fn booking_of(id: ShipmentId) -> Booking {
    let number = id.as_uuid().as_u128() & 0xffff_ffff_ffff;
    Booking { carrier: "Simulated Parcel".to_owned(), tracking_number: format!("SP{number:015}") }
}
