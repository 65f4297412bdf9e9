//! The shipment of one order: what follows from an event or from a carrier's answer.
//!
//! The shipping service stores one [`ShipmentStatus`] per order and calls [`react`] for every input. A parcel
//! leaves when its order is confirmed, and never before: until then a booking can be taken back.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// How far an order's shipment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ShipmentStatus {
    /// A carrier is being asked to take the parcel. It may have agreed already.
    Requested,
    /// A carrier will take the parcel, and everybody was told. It waits for the order to be confirmed.
    Scheduled,
    /// The parcel is on its way.
    Dispatched,
    /// The parcel arrived.
    Delivered,
    /// The carrier refused for good, or the order had been cancelled before it asked. Nothing is booked.
    Failed,
    /// It was booked, and the booking is taken back.
    Recalling,
    /// The booking was taken back.
    Recalled,
    /// Nobody knows whether it was booked. Whatever was is taken back, and nothing may be booked any more.
    Voiding,
    /// Nothing is booked, and nothing will be.
    Voided,
    /// The order was cancelled before it asked for a shipment; asking is refused (a tombstone).
    Cancelled,
}

impl ShipmentStatus {
    /// Whether something has to be done about it: a carrier to be asked, an arrival to be noted.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Requested | Self::Dispatched | Self::Recalling | Self::Voiding)
    }
}

/// What a shipment is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShipmentInput {
    /// The order asks for its shipment.
    Asked,
    /// The order was confirmed.
    OrderConfirmed,
    /// The order was cancelled.
    OrderCancelled,
    /// A carrier will take the parcel.
    Booked,
    /// The carrier refuses for good; nothing is booked.
    Refused,
    /// The carrier could not be reached for as long as the order can wait. It may have booked.
    GivenUp,
    /// The parcel arrived.
    Arrived,
    /// Nothing is booked under the shipment's key, and nothing will be.
    Reversed,
}

/// What everybody is told. Either exactly one of `Scheduled` and a failure for every order that asked and was
/// heard, or nothing where it was cancelled meanwhile; then at most one of `Delivered` and `Cancelled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ShipmentNews {
    /// A carrier will take the parcel.
    Scheduled,
    /// The carrier refused.
    Refused,
    /// The carrier could not be reached in time.
    Unavailable,
    /// The order had been cancelled before it asked.
    TooLate,
    /// The parcel arrived.
    Delivered,
    /// A scheduled shipment will not leave.
    Cancelled,
}

/// The next status and what everybody is told; nothing, where nothing changes.
///
/// Total and idempotent, as [`crate::payment::react`] is. `None` is an order that was never heard of.
#[must_use]
pub const fn react(
    status: Option<ShipmentStatus>,
    input: ShipmentInput,
) -> Option<(ShipmentStatus, Option<ShipmentNews>)> {
    use ShipmentInput as In;
    use ShipmentNews as News;
    use ShipmentStatus::{
        Cancelled, Delivered, Dispatched, Failed, Recalled, Recalling, Requested, Scheduled, Voided, Voiding,
    };

    match (status, input) {
        (None, In::Asked) => Some((Requested, None)),
        (None, In::OrderCancelled) => Some((Cancelled, None)),
        (Some(Cancelled), In::Asked) => Some((Failed, Some(News::TooLate))),

        (Some(Requested), In::Booked) => Some((Scheduled, Some(News::Scheduled))),
        (Some(Requested), In::Refused) => Some((Failed, Some(News::Refused))),
        (Some(Requested), In::GivenUp) => Some((Voiding, Some(News::Unavailable))),
        (Some(Requested), In::OrderCancelled) => Some((Voiding, None)),
        (Some(Scheduled), In::OrderCancelled) => Some((Recalling, None)),

        (Some(Scheduled), In::OrderConfirmed) => Some((Dispatched, None)),
        (Some(Dispatched), In::Arrived) => Some((Delivered, Some(News::Delivered))),

        (Some(Recalling), In::Reversed) => Some((Recalled, Some(News::Cancelled))),
        (Some(Voiding), In::Reversed) => Some((Voided, None)),

        // Duplicates, answers that arrive after the order was cancelled (they are being reversed), and a
        // cancellation of what has left, which the saga never sends: to confirm is its pivot.
        (
            None
            | Some(
                Requested | Scheduled | Dispatched | Delivered | Failed | Recalling | Recalled | Voiding
                | Voided | Cancelled,
            ),
            _,
        ) => None,
    }
}
