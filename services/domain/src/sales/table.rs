//! Sales of all partitions together, as they are read from `analytics.sales`.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use contract::{Currency, ProductId, SalesRow, SalesUpdated, WindowStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Orders.
    pub orders: u64,
    /// Pieces.
    pub units: u64,
    /// What they cost, in minor units of the currency.
    pub revenue_minor: i64,
}

impl Numbers {
    pub(super) const fn one_order(units: u64, revenue_minor: i64) -> Self {
        Self { orders: 1, units, revenue_minor }
    }

    pub(super) fn updated(self, row: SalesRow, status: WindowStatus) -> SalesUpdated {
        let Self { orders, units, revenue_minor } = self;
        SalesUpdated { row, status, orders, units, revenue_minor }
    }
}

impl AddAssign for Numbers {
    /// Stops at the largest number: a sum that does not fit is beyond any shop, and must not end a service.
    fn add_assign(&mut self, other: Self) {
        self.orders = self.orders.saturating_add(other.orders);
        self.units = self.units.saturating_add(other.units);
        self.revenue_minor = self.revenue_minor.saturating_add(other.revenue_minor);
    }
}

/// The sales of one hour in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourlySales {
    /// When the hour starts.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
    /// The currency of all amounts.
    pub currency: Currency,
    /// The least certain of the partitions': closed when all are closed.
    pub status: WindowStatus,
    /// All products together.
    pub all: Numbers,
    /// Each product.
    pub products: BTreeMap<ProductId, Numbers>,
}

/// The rows of one hour and currency, by product and partition.
type Rows = BTreeMap<(Option<ProductId>, u32), SalesUpdated>;

/// The latest of every row.
#[derive(Debug, Clone, Default)]
pub struct Table {
    hours: BTreeMap<(Timestamp, Currency), Rows>,
}

impl Table {
    /// Takes in a row, in the place of its last version.
    pub fn take(&mut self, updated: SalesUpdated) {
        let row = &updated.row;
        let (hour, slice) = ((row.window_start, row.currency), (row.product_id.clone(), row.partition));
        self.hours.entry(hour).or_default().insert(slice, updated);
    }

    /// Forgets the hours that start before `oldest`.
    pub fn forget_before(&mut self, oldest: Timestamp) {
        while self.hours.first_key_value().is_some_and(|((start, _), _)| *start < oldest) {
            self.hours.pop_first();
        }
    }

    /// The sales of the hours that start from `from` on and before `to`, at most `limit` of them, by hour and
    /// currency.
    #[must_use]
    pub fn between(&self, from: Timestamp, to: Timestamp, limit: usize) -> Vec<HourlySales> {
        self.hours
            .iter()
            .skip_while(|((start, _), _)| *start < from)
            .take_while(|((start, _), _)| *start < to)
            .take(limit)
            .filter_map(|((_, currency), rows)| sum(*currency, rows.values()))
            .collect()
    }
}

/// The rows of one hour and currency, added up over the partitions.
fn sum<'a>(currency: Currency, rows: impl Iterator<Item = &'a SalesUpdated>) -> Option<HourlySales> {
    let mut sum: Option<HourlySales> = None;
    for updated in rows {
        let SalesUpdated { row, status, orders, units, revenue_minor } = updated;
        let numbers = Numbers { orders: *orders, units: *units, revenue_minor: *revenue_minor };
        let sum = sum.get_or_insert_with(|| HourlySales {
            start: row.window_start,
            end: row.window_end,
            currency,
            status: *status,
            all: Numbers::default(),
            products: BTreeMap::new(),
        });
        sum.status = sum.status.min(*status);
        match &row.product_id {
            None => sum.all += numbers,
            Some(product) => *sum.products.entry(product.clone()).or_default() += numbers,
        }
    }
    sum
}
