//! The stock of one product: units on hand, reserved and sold.
//!
//! Orders move units between the three and never make or lose one; only [`StockLevel::set`] and
//! [`StockLevel::restock`] change their sum.

use serde::{Deserialize, Serialize};

/// The stock of one product. A unit is in exactly one of the three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StockLevel {
    /// Units that nobody holds.
    pub on_hand: u64,
    /// Units held for orders that are not decided yet.
    pub reserved: u64,
    /// Units sold since the product is known.
    pub sold: u64,
    /// Units that orders wait for: so many of the free ones are not for others.
    pub backordered: u64,
}

/// Why stock could not be moved. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// Fewer units are free than wanted.
    #[error("{wanted} wanted, {available} available")]
    NotEnough {
        /// How many were wanted.
        wanted: u32,
        /// How many are free.
        available: u64,
    },
    /// Fewer units are held than should be released or sold: the books are wrong.
    #[error("{wanted} should be held, {reserved} are")]
    NotHeld {
        /// How many should be held.
        wanted: u32,
        /// How many are.
        reserved: u64,
    },
    /// Fewer units are waited for than should be: the books are wrong.
    #[error("{wanted} should be waited for, {backordered} are")]
    NotAwaited {
        /// For how many should be waited.
        wanted: u32,
        /// For how many is.
        backordered: u64,
    },
    /// More units than can be counted.
    #[error("more than {} units", StockLevel::MAX)]
    TooMany,
}

impl StockLevel {
    /// Most units of one product, sold ones included: what a signed 64-bit number counts, in PostgreSQL and
    /// in most schemas.
    pub const MAX: u64 = i64::MAX.unsigned_abs();

    /// Units that a new order can get: free ones that no order waits for.
    #[must_use]
    pub const fn available(self) -> u64 {
        self.on_hand.saturating_sub(self.backordered)
    }

    /// Holds free units. Who may have them is decided before.
    ///
    /// # Errors
    /// [`StockError::NotEnough`].
    pub const fn reserve(self, quantity: u32) -> Result<Self, StockError> {
        let wanted = quantity as u64;
        match self.on_hand.checked_sub(wanted) {
            Some(on_hand) => Ok(Self { on_hand, reserved: self.reserved + wanted, ..self }),
            None => Err(StockError::NotEnough { wanted: quantity, available: self.on_hand }),
        }
    }

    /// Lets an order wait for units.
    ///
    /// # Errors
    /// [`StockError::TooMany`].
    pub fn backorder(self, quantity: u32) -> Result<Self, StockError> {
        let backordered = self.backordered.saturating_add(quantity.into());
        if backordered > Self::MAX { Err(StockError::TooMany) } else { Ok(Self { backordered, ..self }) }
    }

    /// Ends an order's waiting for units, whether it gets them or not.
    ///
    /// # Errors
    /// [`StockError::NotAwaited`].
    pub const fn leave_line(self, quantity: u32) -> Result<Self, StockError> {
        match self.backordered.checked_sub(quantity as u64) {
            Some(backordered) => Ok(Self { backordered, ..self }),
            None => Err(StockError::NotAwaited { wanted: quantity, backordered: self.backordered }),
        }
    }

    /// Frees held units.
    ///
    /// # Errors
    /// [`StockError::NotHeld`].
    pub const fn release(self, quantity: u32) -> Result<Self, StockError> {
        let wanted = quantity as u64;
        match self.reserved.checked_sub(wanted) {
            Some(reserved) => Ok(Self { reserved, on_hand: self.on_hand + wanted, ..self }),
            None => Err(StockError::NotHeld { wanted: quantity, reserved: self.reserved }),
        }
    }

    /// Sells held units.
    ///
    /// # Errors
    /// [`StockError::NotHeld`].
    pub const fn sell(self, quantity: u32) -> Result<Self, StockError> {
        let wanted = quantity as u64;
        match self.reserved.checked_sub(wanted) {
            Some(reserved) => Ok(Self { reserved, sold: self.sold + wanted, ..self }),
            None => Err(StockError::NotHeld { wanted: quantity, reserved: self.reserved }),
        }
    }

    /// Declares how many units are free, as after a count. Held and sold units stay, and so do claims.
    ///
    /// # Errors
    /// [`StockError::TooMany`].
    pub fn set(self, on_hand: u64) -> Result<Self, StockError> {
        Self { on_hand, ..self }.checked()
    }

    /// Adds delivered units.
    ///
    /// # Errors
    /// [`StockError::TooMany`].
    pub fn restock(self, quantity: u32) -> Result<Self, StockError> {
        Self { on_hand: self.on_hand.saturating_add(quantity.into()), ..self }.checked()
    }

    /// All units, wherever they are.
    #[must_use]
    pub fn total(self) -> u128 {
        u128::from(self.on_hand) + u128::from(self.reserved) + u128::from(self.sold)
    }

    /// Bounding the sum bounds every number that moving units can ever lead to: no move can overflow.
    fn checked(self) -> Result<Self, StockError> {
        if self.total() > u128::from(Self::MAX) { Err(StockError::TooMany) } else { Ok(self) }
    }
}
