//! Orders that wait for stock: whose turn it is.
//!
//! Each product has a line, in the order in which its orders came. An order is served when all of its items can be
//! held at once, and never in parts. What an order waits for is kept for it: those behind it, new orders included,
//! get only what is beyond. So nobody is overtaken for a unit that he could use, and nobody starves, while an
//! order whose other product is missing does not keep back more than it wants.
//!
//! Lines may be long, so they are looked along page by page ([`Look`]). All lines are looked along together: an order
//! has one turn, and so it is seen in all of its lines at once.

use std::collections::{BTreeMap, BTreeSet};

use contract::{OrderId, ProductId};

/// The place of an order in the line of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The order.
    pub order_id: OrderId,
    /// Its number in the order in which orders came, the same in all of its lines; positive.
    pub turn: i64,
    /// How many units of this product it wants.
    pub quantity: u32,
    /// In how many lines it stands.
    pub lines: usize,
}

/// A product's free units, and a part of its line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Units that nobody holds.
    pub on_hand: u64,
    /// The places behind those that the look has passed, by turn, without a gap.
    pub places: Vec<Place>,
    /// Whether `places` are the last ones.
    pub is_last: bool,
}

/// How far lines were looked along, and what is kept for those who were passed.
///
/// Between two pages stock and lines may change: places are only ever added behind, so that what was counted for
/// those in front is never less than what they wait for. A product that gets stock meanwhile is for the next look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The last turn that was passed.
    passed: i64,
    /// The products whose lines are looked along, with the units that those who were passed wait for.
    kept: BTreeMap<ProductId, u64>,
}

/// What a page came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The orders that can be served now, whichever of them first: serving one takes nothing from another.
    pub orders: BTreeSet<OrderId>,
    /// Where to look on once they are served; none: there is nobody further on who can be.
    pub next: Option<Look>,
}

impl Look {
    /// From the front of the lines of these products. Every other line counts as one without stock.
    #[must_use]
    pub fn along(products: impl IntoIterator<Item = ProductId>) -> Self {
        Self { passed: 0, kept: products.into_iter().map(|product| (product, 0)).collect() }
    }

    /// The products whose lines are looked along.
    #[must_use]
    pub fn products(&self) -> BTreeSet<ProductId> {
        self.kept.keys().cloned().collect()
    }

    /// The last turn that was passed: pages begin with the first one behind it.
    #[must_use]
    pub fn passed(&self) -> i64 {
        self.passed
    }

    /// Looks at the next page of each line, as far as all of them reach, and finds at most `limit` orders. What is
    /// not in `pages` counts as a line without stock.
    #[must_use]
    pub fn at(&self, pages: &BTreeMap<ProductId, Page>, limit: usize) -> Found {
        let horizon = horizon(pages);
        let within = |place: &&Place| horizon.is_none_or(|horizon| place.turn <= horizon);
        let mut reached: BTreeMap<OrderId, (usize, usize)> = BTreeMap::new();
        let mut open: BTreeMap<ProductId, u64> = BTreeMap::new();
        for (product, page) in pages {
            let Some(mut wanted) = self.kept.get(product).copied() else { continue };
            for place in page.places.iter().filter(within) {
                wanted = wanted.saturating_add(place.quantity.into());
                if wanted > page.on_hand {
                    break;
                }
                reached.entry(place.order_id).or_insert((0, place.lines)).0 += 1;
            }
            if wanted < page.on_hand {
                open.insert(product.clone(), wanted);
            }
        }
        let served = reached.into_iter().filter(|(_, (reached, lines))| reached >= lines);
        let mut orders: BTreeSet<OrderId> = served.map(|(order, _)| order).collect();
        if orders.len() > limit {
            orders = orders.into_iter().take(limit).collect();
            return Found { orders, next: Some(self.clone()) };
        }
        let next = horizon.and_then(|horizon| self.behind(horizon, open, pages, &orders));
        Found { orders, next }
    }

    /// The look from `horizon` on, along the lines that have both units and places left.
    fn behind(
        &self,
        horizon: i64,
        wanted: BTreeMap<ProductId, u64>,
        pages: &BTreeMap<ProductId, Page>,
        served: &BTreeSet<OrderId>,
    ) -> Option<Self> {
        let still = |(product, wanted): (ProductId, u64)| {
            let page = pages.get(&product)?;
            let goes_on = !page.is_last || page.places.last().is_some_and(|last| last.turn > horizon);
            let places = page.places.iter().filter(|place| served.contains(&place.order_id));
            // Who is served waits no more, and the units are gone from the free ones as well.
            let gone: u64 = places.map(|place| u64::from(place.quantity)).sum();
            goes_on.then_some((product, wanted - gone))
        };
        let kept: BTreeMap<ProductId, u64> = wanted.into_iter().filter_map(still).collect();
        (!kept.is_empty()).then_some(Self { passed: horizon, kept })
    }
}

/// The last turn that every page reaches; none: they all reach the end.
fn horizon(pages: &BTreeMap<ProductId, Page>) -> Option<i64> {
    let unfinished = pages.values().filter(|page| !page.is_last);
    unfinished.filter_map(|page| page.places.last()).map(|last| last.turn).min()
}
