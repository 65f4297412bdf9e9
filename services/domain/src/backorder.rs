//! Orders that wait for stock: whose turn it is.
//!
//! Each product has a line, in the order in which its orders came. An order is served when all of its items can be
//! held at once, and never in parts. What an order waits for is kept for it: those behind it, new orders included,
//! get only what is beyond. So nobody is overtaken for a unit that he could use, and nobody starves, while an
//! order whose other product is missing does not keep back more than it wants.

use std::collections::{BTreeMap, BTreeSet};

use contract::{OrderId, ProductId};

/// The place of an order in the line of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The order.
    pub order_id: OrderId,
    /// How many units of this product it wants.
    pub quantity: u32,
    /// In how many lines it stands.
    pub lines: usize,
}

/// A product's free units, and the beginning of its line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// Units that nobody holds.
    pub on_hand: u64,
    /// Those who wait, the first first. It may end where `on_hand` is used up: nobody behind that can be served.
    pub places: Vec<Place>,
}

/// The orders that can be served now, whichever of them first: serving one takes nothing from another. A line that
/// is not in `lines` counts as one without stock.
#[must_use]
pub fn servable(lines: &BTreeMap<ProductId, Line>) -> BTreeSet<OrderId> {
    let mut reached: BTreeMap<OrderId, (usize, usize)> = BTreeMap::new();
    for line in lines.values() {
        let mut wanted = 0_u64;
        for place in &line.places {
            wanted = wanted.saturating_add(place.quantity.into());
            if wanted > line.on_hand {
                break;
            }
            reached.entry(place.order_id).or_insert((0, place.lines)).0 += 1;
        }
    }
    reached.into_iter().filter(|(_, (reached, lines))| reached >= lines).map(|(order, _)| order).collect()
}
