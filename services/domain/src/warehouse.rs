//! What the inventory does for orders: reserve, sell, release, expire.
//!
//! A [`Warehouse`] is the part of the stock that some orders touch, with what is on record about those orders.
//! The inventory service loads it, lets it react to a batch of events in their order, and saves what changed.
//!
//! Every reaction is decided by the order's own [`Reservation`], so it is idempotent, and right in whatever
//! order requests arrive: a cancellation that overtakes the order leaves a tombstone that refuses it later, once.
//!
//! Where orders may wait for stock, one that finds too little gets a place in line; [`crate::backorder`] says whose
//! turn it is.

use std::collections::{BTreeMap, BTreeSet};

use contract::{InventoryFailure, OrderId, ProductId, ReleaseReason, Shortage, StockItem};
use jiff::Timestamp;

use crate::stock::{StockError, StockLevel};

/// What is on record about one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// What became of the order here.
    pub status: ReservationStatus,
    /// What is, or was, held or waited for; empty where nothing ever was.
    pub items: Vec<StockItem>,
    /// When held units may be taken back, or waiting ends.
    pub expires_at: Timestamp,
}

/// What became of an order in the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ReservationStatus {
    /// Units are held for it.
    Held,
    /// There was not enough, and it waits until there is; nothing is held.
    Backordered,
    /// There was not enough, or it had been cancelled before it asked; nothing is held.
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
    /// Nothing is held yet; the order waits for stock.
    Waits {
        /// Until when.
        until: Timestamp,
        /// The items that stand in the way.
        shortages: Vec<Shortage>,
    },
    /// The order does not wait any more; nothing was held.
    Withdrawn,
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
    orders_wait_until: Option<Timestamp>,
    changed_levels: BTreeSet<ProductId>,
    /// With the status on record.
    changed_reservations: BTreeMap<OrderId, Option<ReservationStatus>>,
}

/// A reservation that is new or changed.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'w> {
    /// Whose it is.
    pub order_id: OrderId,
    /// The status on record; none, if it is new.
    pub was: Option<ReservationStatus>,
    /// What it is now.
    pub reservation: &'w Reservation,
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

    /// Lets new orders that find too little stock wait for it until then, if at all.
    #[must_use]
    pub fn letting_orders_wait(mut self, until: Option<Timestamp>) -> Self {
        self.orders_wait_until = until;
        self
    }

    /// An order was created: holds all of its items until `expires_at`, or none. What others wait for is not free.
    ///
    /// # Errors
    /// [`StockError`] when the books are wrong; nothing was changed.
    pub fn on_created(
        &mut self,
        order: OrderId,
        items: &[StockItem],
        expires_at: Timestamp,
    ) -> Result<Outcome, StockError> {
        use ReservationStatus::{Backordered, Cancelled, Expired, Held, Oversold, Refused, Released, Sold};
        match self.status(order) {
            None => self.reserve(order, items, expires_at),
            Some(Cancelled) => {
                let refused = Reservation { status: Refused, items: Vec::new(), expires_at };
                self.record(order, refused);
                Ok(Outcome::Refused { reason: InventoryFailure::OrderCancelled, shortages: Vec::new() })
            }
            Some(Held | Backordered | Refused | Sold | Released | Expired | Oversold) => Ok(Outcome::Nothing),
        }
    }

    /// An order was confirmed: sells what is held for it. Where nothing is held (the reservation expired while
    /// the confirmation was under way, or the saga does not wait for the inventory) it takes free units, those
    /// included that others wait for: they have not paid.
    ///
    /// # Errors
    /// [`StockError`] when the books are wrong; nothing was changed.
    pub fn on_confirmed(
        &mut self,
        order: OrderId,
        items: &[StockItem],
        now: Timestamp,
    ) -> Result<Outcome, StockError> {
        use ReservationStatus::{Backordered, Cancelled, Expired, Held, Oversold, Refused, Released, Sold};
        match self.status(order) {
            Some(Held) => {
                self.move_held(order, StockLevel::sell, Sold)?;
                Ok(Outcome::Sold)
            }
            Some(Backordered) => {
                self.move_held(order, StockLevel::leave_line, Refused)?;
                self.sell_free_units(order, items, now)
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
        use ReservationStatus::{Backordered, Cancelled, Expired, Held, Oversold, Refused, Released, Sold};
        match self.status(order) {
            Some(Backordered) => {
                self.move_held(order, StockLevel::leave_line, Refused)?;
                Ok(Outcome::Withdrawn)
            }
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

    /// It is the order's turn: holds what it waits for until `expires_at`. Whose turn it is, a
    /// [`crate::backorder::Look`] finds.
    ///
    /// # Errors
    /// [`StockError`] when it is not its turn, or the books are wrong; nothing was changed.
    pub fn on_turn(&mut self, order: OrderId, expires_at: Timestamp) -> Result<Outcome, StockError> {
        if self.status(order) != Some(ReservationStatus::Backordered) {
            return Ok(Outcome::Nothing);
        }
        let take = |level: StockLevel, quantity| level.leave_line(quantity)?.reserve(quantity);
        let items = self.move_held(order, take, ReservationStatus::Held)?;
        let held = Reservation { status: ReservationStatus::Held, items: items.clone(), expires_at };
        self.record(order, held);
        Ok(Outcome::Reserved { items, expires_at })
    }

    /// Frees what is held for the order if it was held too long, and lets it wait no longer than it may.
    ///
    /// # Errors
    /// [`StockError`] when the books are wrong; nothing was changed.
    pub fn expire(&mut self, order: OrderId, now: Timestamp) -> Result<Outcome, StockError> {
        match self.reservations.get(&order).filter(|on_record| on_record.expires_at <= now) {
            Some(held) if held.status == ReservationStatus::Held => {
                let items = self.move_held(order, StockLevel::release, ReservationStatus::Expired)?;
                Ok(Outcome::Released { items, reason: ReleaseReason::Expired })
            }
            Some(waiting) if waiting.status == ReservationStatus::Backordered => {
                let items = self.move_held(order, StockLevel::leave_line, ReservationStatus::Refused)?;
                let reason = InventoryFailure::OutOfStock;
                let shortages = self.shortages(&items, StockLevel::available);
                Ok(Outcome::Refused { reason, shortages })
            }
            Some(_) | None => Ok(Outcome::Nothing),
        }
    }

    /// The levels that changed since the warehouse was loaded, by product.
    pub fn changed_levels(&self) -> impl Iterator<Item = (&ProductId, &StockLevel)> {
        self.changed_levels.iter().filter_map(|product| self.levels.get_key_value(product))
    }

    /// The reservations that changed since the warehouse was loaded, by order.
    pub fn changed_reservations(&self) -> impl Iterator<Item = Changed<'_>> {
        self.changed_reservations.iter().filter_map(|(order, was)| {
            let reservation = self.reservations.get(order)?;
            Some(Changed { order_id: *order, was: *was, reservation })
        })
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
        let shortages = self.shortages(&items, StockLevel::available);
        if shortages.is_empty() {
            self.move_units(&items, StockLevel::reserve)?;
            let held = Reservation { status: ReservationStatus::Held, items: items.clone(), expires_at };
            self.record(order, held);
            return Ok(Outcome::Reserved { items, expires_at });
        }
        let is_known = items.iter().all(|item| self.levels.contains_key(&item.product_id));
        if let Some(until) = self.orders_wait_until.filter(|_| is_known) {
            self.move_units(&items, StockLevel::backorder)?;
            let status = ReservationStatus::Backordered;
            self.record(order, Reservation { status, items, expires_at: until });
            return Ok(Outcome::Waits { until, shortages });
        }
        let status = ReservationStatus::Refused;
        self.record(order, Reservation { status, items: Vec::new(), expires_at });
        let reason = if is_known { InventoryFailure::OutOfStock } else { InventoryFailure::UnknownProduct };
        Ok(Outcome::Refused { reason, shortages })
    }

    fn sell_free_units(
        &mut self,
        order: OrderId,
        items: &[StockItem],
        now: Timestamp,
    ) -> Result<Outcome, StockError> {
        let items = per_product(items)?;
        let shortages = self.shortages(&items, |level| level.on_hand);
        if !shortages.is_empty() {
            self.record(order, Reservation { status: ReservationStatus::Oversold, items, expires_at: now });
            return Ok(Outcome::Oversold { shortages });
        }
        self.move_units(&items, |level, quantity| level.reserve(quantity)?.sell(quantity))?;
        self.record(order, Reservation { status: ReservationStatus::Sold, items, expires_at: now });
        Ok(Outcome::Sold)
    }

    /// The items of which there is too little by what `free` counts, or that are not known.
    fn shortages(&self, items: &[StockItem], free: fn(StockLevel) -> u64) -> Vec<Shortage> {
        let shortage = |item: &StockItem| {
            let level = self.levels.get(&item.product_id).copied();
            let available = level.map_or(0, free);
            let is_short = level.is_none() || available < u64::from(item.quantity);
            let (product_id, requested) = (item.product_id.clone(), item.quantity);
            is_short.then_some(Shortage { product_id, requested, available })
        };
        items.iter().filter_map(shortage).collect()
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
        let before = self.reservations.insert(order, reservation).map(|before| before.status);
        // The first change is from what is on record; the others are from changes that are not.
        self.changed_reservations.entry(order).or_insert(before);
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
