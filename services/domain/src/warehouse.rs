//! What the inventory does for orders: reserve, sell, release, expire.
//!
//! A [`Warehouse`] is the part of the stock that some orders touch, with what is on record about those orders.
//! The inventory service loads it, lets it react to a batch of events in their order, and saves what changed.
//!
//! Every reaction is decided by the order's own [`Reservation`], so it is idempotent, and right in whatever
//! order requests arrive: a cancellation that overtakes the order leaves a tombstone that refuses it later.

use std::collections::{BTreeMap, BTreeSet};

use contract::{InventoryFailure, OrderId, ProductId, ReleaseReason, Shortage, StockItem};
use jiff::Timestamp;

use crate::stock::{StockError, StockLevel};

/// What is on record about one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// What became of the order here.
    pub status: ReservationStatus,
    /// What is, or was, held for it; empty where nothing ever was.
    pub items: Vec<StockItem>,
    /// When held units may be taken back.
    pub expires_at: Timestamp,
}

/// What became of an order in the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ReservationStatus {
    /// Units are held for it.
    Held,
    /// There was not enough; nothing is held.
    Refused,
    /// Its units are sold.
    Sold,
    /// Its units were freed because it was cancelled.
    Released,
    /// Its units were freed because nobody decided in time.
    Expired,
    /// It was cancelled before it was asked for; asking is refused (a tombstone).
    Cancelled,
    /// It was confirmed, yet its units had been freed and are gone. A human has to find some.
    Oversold,
}

/// What a reaction came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All items are held.
    Reserved {
        /// What is held.
        items: Vec<StockItem>,
        /// Until when.
        expires_at: Timestamp,
    },
    /// Nothing is held.
    Refused {
        /// Why.
        reason: InventoryFailure,
        /// The items that stood in the way.
        shortages: Vec<Shortage>,
    },
    /// Held units are sold.
    Sold,
    /// Held units are free again.
    Released {
        /// What was held.
        items: Vec<StockItem>,
        /// Why.
        reason: ReleaseReason,
    },
    /// A confirmed order cannot be served any more.
    Oversold {
        /// What is missing.
        shortages: Vec<Shortage>,
    },
    /// It had been done before, or cannot follow from what was done.
    Nothing,
}

/// Stock levels and reservations, as far as they were loaded.
#[derive(Debug, Clone, Default)]
pub struct Warehouse {
    levels: BTreeMap<ProductId, StockLevel>,
    reservations: BTreeMap<OrderId, Reservation>,
    changed_levels: BTreeSet<ProductId>,
    changed_reservations: BTreeSet<OrderId>,
}

impl Warehouse {
    /// The products and reservations that some orders touch. A product that is not among `levels` counts as
    /// unknown, an order that is not among `reservations` as never seen.
    #[must_use]
    pub fn new(
        levels: BTreeMap<ProductId, StockLevel>,
        reservations: BTreeMap<OrderId, Reservation>,
    ) -> Self {
        Self { levels, reservations, ..Self::default() }
    }

    /// An order was created: holds all of its items until `expires_at`, or none.
    ///
    /// # Errors
    /// [`StockError`] when the books are wrong; nothing was changed.
    pub fn on_created(
        &mut self,
        order: OrderId,
        items: &[StockItem],
        expires_at: Timestamp,
    ) -> Result<Outcome, StockError> {
        use ReservationStatus::{Cancelled, Expired, Held, Oversold, Refused, Released, Sold};
        match self.status(order) {
            None => self.reserve(order, items, expires_at),
            Some(Cancelled) => {
                Ok(Outcome::Refused { reason: InventoryFailure::OrderCancelled, shortages: Vec::new() })
            }
            Some(Held | Refused | Sold | Released | Expired | Oversold) => Ok(Outcome::Nothing),
        }
    }

    /// An order was confirmed: sells what is held for it. Where nothing is held (the reservation expired while
    /// the confirmation was under way, or the saga does not wait for the inventory) it takes free units.
    ///
    /// # Errors
    /// [`StockError`] when the books are wrong; nothing was changed.
    pub fn on_confirmed(
        &mut self,
        order: OrderId,
        items: &[StockItem],
        now: Timestamp,
    ) -> Result<Outcome, StockError> {
        use ReservationStatus::{Cancelled, Expired, Held, Oversold, Refused, Released, Sold};
        match self.status(order) {
            Some(Held) => {
                self.move_held(order, StockLevel::sell, Sold)?;
                Ok(Outcome::Sold)
            }
            None | Some(Expired | Refused) => self.sell_free_units(order, items, now),
            Some(Sold | Released | Cancelled | Oversold) => Ok(Outcome::Nothing),
        }
    }

    /// An order was cancelled: frees what is held for it, and refuses it from now on.
    ///
    /// # Errors
    /// [`StockError`] when the books are wrong; nothing was changed.
    pub fn on_cancelled(&mut self, order: OrderId, now: Timestamp) -> Result<Outcome, StockError> {
        use ReservationStatus::{Cancelled, Expired, Held, Oversold, Refused, Released, Sold};
        match self.status(order) {
            Some(Held) => {
                let items = self.move_held(order, StockLevel::release, Released)?;
                Ok(Outcome::Released { items, reason: ReleaseReason::OrderCancelled })
            }
            None => {
                self.record(order, Reservation { status: Cancelled, items: Vec::new(), expires_at: now });
                Ok(Outcome::Nothing)
            }
            Some(Refused | Released | Expired | Cancelled | Sold | Oversold) => Ok(Outcome::Nothing),
        }
    }

    /// Frees what is held for the order if it was held too long.
    ///
    /// # Errors
    /// [`StockError`] when the books are wrong; nothing was changed.
    pub fn expire(&mut self, order: OrderId, now: Timestamp) -> Result<Outcome, StockError> {
        match self.reservations.get(&order) {
            Some(held) if held.status == ReservationStatus::Held && held.expires_at <= now => {
                let items = self.move_held(order, StockLevel::release, ReservationStatus::Expired)?;
                Ok(Outcome::Released { items, reason: ReleaseReason::Expired })
            }
            Some(_) | None => Ok(Outcome::Nothing),
        }
    }

    /// The levels that changed since the warehouse was loaded, by product.
    pub fn changed_levels(&self) -> impl Iterator<Item = (&ProductId, &StockLevel)> {
        self.changed_levels.iter().filter_map(|product| self.levels.get_key_value(product))
    }

    /// The reservations that changed since the warehouse was loaded, by order.
    pub fn changed_reservations(&self) -> impl Iterator<Item = (&OrderId, &Reservation)> {
        self.changed_reservations.iter().filter_map(|order| self.reservations.get_key_value(order))
    }

    fn status(&self, order: OrderId) -> Option<ReservationStatus> {
        self.reservations.get(&order).map(|reservation| reservation.status)
    }

    fn reserve(
        &mut self,
        order: OrderId,
        items: &[StockItem],
        expires_at: Timestamp,
    ) -> Result<Outcome, StockError> {
        let items = per_product(items)?;
        if let Some((reason, shortages)) = self.obstacles(&items) {
            let status = ReservationStatus::Refused;
            self.record(order, Reservation { status, items: Vec::new(), expires_at });
            return Ok(Outcome::Refused { reason, shortages });
        }
        self.move_units(&items, StockLevel::reserve)?;
        let held = Reservation { status: ReservationStatus::Held, items: items.clone(), expires_at };
        self.record(order, held);
        Ok(Outcome::Reserved { items, expires_at })
    }

    fn sell_free_units(
        &mut self,
        order: OrderId,
        items: &[StockItem],
        now: Timestamp,
    ) -> Result<Outcome, StockError> {
        let items = per_product(items)?;
        if let Some((_, shortages)) = self.obstacles(&items) {
            self.record(order, Reservation { status: ReservationStatus::Oversold, items, expires_at: now });
            return Ok(Outcome::Oversold { shortages });
        }
        self.move_units(&items, |level, quantity| level.reserve(quantity)?.sell(quantity))?;
        self.record(order, Reservation { status: ReservationStatus::Sold, items, expires_at: now });
        Ok(Outcome::Sold)
    }

    fn obstacles(&self, items: &[StockItem]) -> Option<(InventoryFailure, Vec<Shortage>)> {
        let mut reason = InventoryFailure::OutOfStock;
        let mut shortages = Vec::new();
        for item in items {
            let level = self.levels.get(&item.product_id);
            let available = level.map_or(0, |level| level.on_hand);
            if level.is_none() {
                reason = InventoryFailure::UnknownProduct;
            }
            if level.is_none() || available < u64::from(item.quantity) {
                let product_id = item.product_id.clone();
                shortages.push(Shortage { product_id, requested: item.quantity, available });
            }
        }
        (!shortages.is_empty()).then_some((reason, shortages))
    }

    fn move_held(
        &mut self,
        order: OrderId,
        movement: impl Fn(StockLevel, u32) -> Result<StockLevel, StockError>,
        status: ReservationStatus,
    ) -> Result<Vec<StockItem>, StockError> {
        let Some(held) = self.reservations.get(&order).cloned() else { return Ok(Vec::new()) };
        self.move_units(&held.items, movement)?;
        self.record(order, Reservation { status, ..held.clone() });
        Ok(held.items)
    }

    /// Moves all or nothing: levels are worked out first and stored when none failed.
    fn move_units(
        &mut self,
        items: &[StockItem],
        movement: impl Fn(StockLevel, u32) -> Result<StockLevel, StockError>,
    ) -> Result<(), StockError> {
        let moved = items
            .iter()
            .map(|item| {
                let level = self.levels.get(&item.product_id).copied().unwrap_or_default();
                Ok((item.product_id.clone(), movement(level, item.quantity)?))
            })
            .collect::<Result<Vec<_>, StockError>>()?;
        self.changed_levels.extend(moved.iter().map(|(product, _)| product.clone()));
        self.levels.extend(moved);
        Ok(())
    }

    fn record(&mut self, order: OrderId, reservation: Reservation) {
        self.reservations.insert(order, reservation);
        self.changed_reservations.insert(order);
    }
}

/// One item per product, in product order, so that a product listed twice is checked against its sum.
fn per_product(items: &[StockItem]) -> Result<Vec<StockItem>, StockError> {
    let mut sums: BTreeMap<&ProductId, u32> = BTreeMap::new();
    for item in items {
        let sum = sums.entry(&item.product_id).or_default();
        *sum = sum.checked_add(item.quantity).ok_or(StockError::TooMany)?;
    }
    Ok(sums
        .into_iter()
        .map(|(product_id, quantity)| StockItem { product_id: product_id.clone(), quantity })
        .collect())
}
