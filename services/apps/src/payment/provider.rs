//! The payment provider: what the service asks of it, and a simulated one.

use contract::{CustomerId, Money, PaymentId};

use crate::provider::NoAnswer;
use crate::provider::simulator::{Simulator, Undone};

/// What a provider answers to a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Captured {
    /// The amount is ours.
    Yes,
    /// It refuses for good; the reason, for people.
    No(String),
}

/// Moves money. A payment's id is the idempotency key: the same call gets the same answer, however often.
pub(super) trait PaymentProvider: Send + Sync + 'static {
    /// Captures `amount` from `customer`.
    ///
    /// # Errors
    /// There is no answer; the amount may be captured.
    fn capture(
        &self,
        id: PaymentId,
        amount: Money,
        customer: &CustomerId,
    ) -> impl Future<Output = Result<Captured, NoAnswer>> + Send;

    /// Gives back what was captured under `id`. Where nothing was, makes sure that nothing will be: a capture
    /// that is still under way, or comes later, is refused.
    ///
    /// # Errors
    /// There is no answer; it may have been done.
    fn reverse(&self, id: PaymentId) -> impl Future<Output = Result<(), NoAnswer>> + Send;
}

/// A provider that moves no money. Its answer follows from the request alone (see
/// [`crate::provider::simulator::Conduct::refuses`]), so that it is the same under the same key, also after a
/// restart. Payments that were reversed before they were captured are remembered by the process.
#[derive(Debug)]
pub(super) struct SimulatedProvider {
    simulator: Simulator,
    reversed: Undone<PaymentId>,
}

impl SimulatedProvider {
    /// A provider that behaves as `simulator` says.
    pub(super) fn new(simulator: Simulator) -> Self {
        Self { simulator, reversed: Undone::default() }
    }
}

impl PaymentProvider for SimulatedProvider {
    async fn capture(
        &self,
        id: PaymentId,
        amount: Money,
        customer: &CustomerId,
    ) -> Result<Captured, NoAnswer> {
        self.simulator
            .answer(|conduct| {
                if conduct.refuses(customer) {
                    return Captured::No(format!("{amount} was declined"));
                }
                match self.reversed.contains(id) {
                    true => Captured::No("the payment was reversed".to_owned()),
                    false => Captured::Yes,
                }
            })
            .await
    }

    async fn reverse(&self, id: PaymentId) -> Result<(), NoAnswer> {
        self.simulator.answer(|_conduct| self.reversed.note(id)).await
    }
}
