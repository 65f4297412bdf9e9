//! The payment of one order: what follows from an event or from a provider's answer.
//!
//! The payment service stores one [`PaymentStatus`] per order and calls [`react`] for every input. A capture
//! that nobody knows the end of is never assumed: the provider is asked again under the same key, and when the
//! order is not wanted any more, whatever was captured under the key is taken back.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// How far an order's payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentStatus {
    /// The provider is being asked to capture. It may have done so already.
    Requested,
    /// The money is ours, and everybody was told.
    Captured,
    /// The provider refused for good, or the order had been cancelled before it asked. Nothing was captured.
    Failed,
    /// The money was ours, and goes back.
    Refunding,
    /// The money went back.
    Refunded,
    /// Nobody knows whether money was captured. Whatever was goes back, and nothing may be captured any more.
    Voiding,
    /// No money is ours, and none will be.
    Voided,
    /// The order was cancelled before it asked for a payment; asking is refused (a tombstone).
    Cancelled,
}

impl PaymentStatus {
    /// Whether the provider has to be asked for something.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Requested | Self::Refunding | Self::Voiding)
    }
}

/// What a payment is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentInput {
    /// The order asks for its payment.
    Asked,
    /// The order was cancelled.
    OrderCancelled,
    /// The provider captured the amount.
    Captured,
    /// The provider refuses for good; nothing was captured.
    Declined,
    /// The provider could not be reached for as long as the order can wait. It may have captured.
    GivenUp,
    /// The provider holds nothing for us under the payment's key, and never will.
    Reversed,
}

/// What everybody is told. Either exactly one of `Captured` and `Failed` for every order that asked and was
/// heard, or nothing where it was cancelled meanwhile; `Refunded` only after `Captured`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PaymentNews {
    /// The money is ours.
    Captured,
    /// The provider refused.
    Declined,
    /// The provider could not be reached in time.
    Unavailable,
    /// The order had been cancelled before it asked.
    TooLate,
    /// The money went back.
    Refunded,
}

/// The next status and what everybody is told; nothing, where nothing changes.
///
/// Total and idempotent: whatever arrives, however often and in whatever order, is either the one thing that
/// the status waits for or changes nothing. `None` is an order that was never heard of.
#[must_use]
pub const fn react(
    status: Option<PaymentStatus>,
    input: PaymentInput,
) -> Option<(PaymentStatus, Option<PaymentNews>)> {
    use PaymentInput as In;
    use PaymentNews as News;
    use PaymentStatus::{Cancelled, Captured, Failed, Refunded, Refunding, Requested, Voided, Voiding};

    match (status, input) {
        (None, In::Asked) => Some((Requested, None)),
        (None, In::OrderCancelled) => Some((Cancelled, None)),
        (Some(Cancelled), In::Asked) => Some((Failed, Some(News::TooLate))),

        (Some(Requested), In::Captured) => Some((Captured, Some(News::Captured))),
        (Some(Requested), In::Declined) => Some((Failed, Some(News::Declined))),
        // Nobody is told of a capture from here on: the order has been told that there is none.
        (Some(Requested), In::GivenUp) => Some((Voiding, Some(News::Unavailable))),
        (Some(Requested), In::OrderCancelled) => Some((Voiding, None)),
        (Some(Captured), In::OrderCancelled) => Some((Refunding, None)),

        (Some(Refunding), In::Reversed) => Some((Refunded, Some(News::Refunded))),
        (Some(Voiding), In::Reversed) => Some((Voided, None)),

        // Duplicates, and answers that arrive after the order was cancelled: they are being reversed.
        (
            None | Some(Requested | Captured | Failed | Refunding | Refunded | Voiding | Voided | Cancelled),
            _,
        ) => None,
    }
}
