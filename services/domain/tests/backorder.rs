//! Orders that wait for stock: who is served, who goes on waiting, and what is kept for whom.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should fail"
)]

use std::collections::{BTreeMap, BTreeSet};

use contract::{InventoryFailure, OrderId, ProductId, Shortage, StockItem};
use domain::backorder::{Look, Page, Place};
use domain::stock::StockLevel;
use domain::warehouse::{Outcome, Reservation, ReservationStatus, Warehouse};
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

const PRODUCTS: [&str; 3] = ["burger", "pizza", "soda"];

fn order(number: usize) -> OrderId {
    OrderId::new(Uuid::from_u128(number as u128))
}

fn product(name: &str) -> ProductId {
    name.parse().unwrap()
}

fn items(list: &[(&str, u32)]) -> Vec<StockItem> {
    list.iter().map(|(name, quantity)| StockItem { product_id: product(name), quantity: *quantity }).collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// An inventory whose orders wait for stock.
#[derive(Default)]
struct Shop {
    levels: BTreeMap<ProductId, StockLevel>,
    reservations: BTreeMap<OrderId, Reservation>,
    /// In the order in which they came.
    orders: Vec<OrderId>,
    /// How far a look has come that others' doings interrupt.
    look: Option<Look>,
}

/// How those who wait are served.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// Places of a line that are looked at together.
    page: usize,
    /// Orders that are served together.
    limit: usize,
    last_first: bool,
}

/// Whole lines at once.
const WHOLE: Manner = Manner { page: usize::MAX, limit: usize::MAX, last_first: false };

impl Shop {
    fn with(stock: &[(&str, u64)]) -> Self {
        let level = |on_hand| StockLevel { on_hand, ..StockLevel::default() };
        let levels = stock.iter().map(|(name, on_hand)| (product(name), level(*on_hand))).collect();
        Self { levels, ..Self::default() }
    }

    fn act(&mut self, react: impl FnOnce(&mut Warehouse) -> Outcome) -> Outcome {
        let mut warehouse =
            Warehouse::new(self.levels.clone(), self.reservations.clone()).letting_orders_wait(Some(at(60)));
        let outcome = react(&mut warehouse);
        self.levels.extend(warehouse.changed_levels().map(|(id, level)| (id.clone(), *level)));
        self.reservations
            .extend(warehouse.changed_reservations().map(|it| (it.order_id, it.reservation.clone())));
        outcome
    }

    fn order(&mut self, list: &[(&str, u32)]) -> Outcome {
        let id = order(self.orders.len());
        self.orders.push(id);
        self.act(|warehouse| warehouse.on_created(id, &items(list), at(900)).unwrap())
    }

    fn restock(&mut self, name: &str, quantity: u32) {
        let level = self.levels.get_mut(&product(name)).unwrap();
        *level = level.restock(quantity).unwrap();
    }

    fn is(&self, id: OrderId, status: ReservationStatus) -> bool {
        self.reservations[&id].status == status
    }

    fn waiting(&self) -> Vec<OrderId> {
        self.orders.iter().copied().filter(|id| self.is(*id, ReservationStatus::Backordered)).collect()
    }

    /// The line of a product behind a turn.
    fn line(&self, name: &ProductId, passed: i64) -> Vec<Place> {
        let place = |id: OrderId| {
            let items = &self.reservations[&id].items;
            let item = items.iter().find(|item| item.product_id == *name)?;
            let came = self.orders.iter().position(|other| *other == id)?;
            let turn = i64::try_from(came).unwrap() + 1;
            Some(Place { order_id: id, turn, quantity: item.quantity, lines: items.len() })
        };
        self.waiting().into_iter().filter_map(place).filter(|place| place.turn > passed).collect()
    }

    fn pages(&self, look: &Look, size: usize) -> BTreeMap<ProductId, Page> {
        let page = |name: ProductId| {
            let on_hand = self.levels[&name].on_hand;
            let mut places = self.line(&name, look.passed());
            let is_last = places.len() <= size;
            places.truncate(size);
            (name, Page { on_hand, places, is_last })
        };
        look.products().into_iter().map(page).collect()
    }

    /// The rule, on whole lines: who gets all that he wants when those before him get, or keep, what they want.
    fn servable(&self) -> BTreeSet<OrderId> {
        let is_covered = |id: &OrderId, item: &StockItem| {
            self.wanted_up_to(*id, &item.product_id) <= self.levels[&item.product_id].on_hand
        };
        let mut waiting: BTreeSet<OrderId> = self.waiting().into_iter().collect();
        waiting.retain(|id| self.reservations[id].items.iter().all(|item| is_covered(id, item)));
        waiting
    }

    fn look(&self) -> Look {
        let stocked = self.levels.iter().filter(|(_, level)| level.on_hand > 0);
        Look::along(stocked.map(|(name, _)| name.clone()))
    }

    /// Serves whom a look finds on its next pages; where to look on.
    fn serve_page(&mut self, look: &Look, manner: Manner) -> (Vec<OrderId>, Option<Look>) {
        let found = look.at(&self.pages(look, manner.page), manner.limit);
        let mut turn: Vec<OrderId> = found.orders.into_iter().collect();
        if manner.last_first {
            turn.reverse();
        }
        for id in &turn {
            let outcome = self.act(|warehouse| warehouse.on_turn(*id, at(900)).unwrap());
            assert!(matches!(outcome, Outcome::Reserved { .. }), "{outcome:?}");
        }
        (turn, found.next)
    }

    /// Serves those whose turn it is.
    fn serve(&mut self, manner: Manner) -> Vec<OrderId> {
        let (mut served, mut look) = (Vec::new(), Some(self.look()));
        while let Some(from) = look {
            let (turn, next) = self.serve_page(&from, manner);
            let goes_on = |next: &Look| next.passed() > from.passed() || !turn.is_empty();
            assert!(next.as_ref().is_none_or(goes_on), "it looks at {from:?} for ever");
            served.extend(turn);
            look = next;
        }
        served
    }

    /// What the orders that came before `id` wait for, and `id` itself, of `name`.
    fn wanted_up_to(&self, id: OrderId, name: &ProductId) -> u64 {
        let up_to = self.waiting().into_iter().take_while(|other| *other <= id);
        let items = up_to.flat_map(|other| self.reservations[&other].items.clone());
        items.filter(|item| item.product_id == *name).map(|item| u64::from(item.quantity)).sum()
    }

    fn assert_books_are_balanced(&self) {
        for (name, level) in &self.levels {
            let sum = |status| -> u64 {
                let of_status = self.reservations.values().filter(|reservation| reservation.status == status);
                let items = of_status.flat_map(|reservation| &reservation.items);
                items.filter(|item| item.product_id == *name).map(|item| u64::from(item.quantity)).sum()
            };
            assert_eq!(level.reserved, sum(ReservationStatus::Held), "{name}");
            assert_eq!(level.backordered, sum(ReservationStatus::Backordered), "{name}");
        }
    }

    /// Whoever waits lacks something, even if he gets all that those before him leave.
    fn assert_nobody_waits_for_nothing(&self) {
        for id in self.waiting() {
            let lacks = |item: &StockItem| {
                self.wanted_up_to(id, &item.product_id) > self.levels[&item.product_id].on_hand
            };
            assert!(self.reservations[&id].items.iter().any(lacks), "{id} waits for nothing");
        }
    }
}

#[test]
fn an_order_that_finds_too_little_waits_and_holds_nothing() {
    let mut shop = Shop::with(&[("burger", 3), ("pizza", 0)]);

    let outcome = shop.order(&[("burger", 2), ("pizza", 1)]);

    let shortages = vec![Shortage { product_id: product("pizza"), requested: 1, available: 0 }];
    assert_eq!(outcome, Outcome::Waits { until: at(60), shortages });
    assert_eq!(shop.levels[&product("burger")].reserved, 0);
    assert_eq!(shop.levels[&product("burger")].available(), 1, "two are kept for it");
}

#[test]
fn an_unknown_product_is_not_waited_for() {
    let mut shop = Shop::with(&[("burger", 0)]);

    let outcome = shop.order(&[("burger", 2), ("soup", 1)]);

    let refused = matches!(&outcome, Outcome::Refused { reason: InventoryFailure::UnknownProduct, .. });
    assert!(refused, "{outcome:?}");
}

#[test]
fn a_new_order_does_not_overtake_those_who_wait() {
    let mut shop = Shop::with(&[("burger", 1)]);
    shop.order(&[("burger", 3)]);

    assert!(matches!(shop.order(&[("burger", 1)]), Outcome::Waits { .. }));
    shop.restock("burger", 2);

    assert_eq!(shop.serve(WHOLE), [order(0)]);
    assert_eq!(shop.waiting(), [order(1)]);
}

#[test]
fn an_order_whose_other_product_is_missing_keeps_back_no_more_than_it_wants() {
    let mut shop = Shop::with(&[("burger", 5), ("pizza", 0)]);
    shop.order(&[("burger", 2), ("pizza", 1)]);

    assert!(matches!(shop.order(&[("burger", 3)]), Outcome::Reserved { .. }));
    assert!(matches!(shop.order(&[("burger", 1)]), Outcome::Waits { .. }));
    assert_eq!(shop.serve(WHOLE), []);
}

#[test]
fn who_is_cancelled_or_has_waited_too_long_makes_room_for_those_behind() {
    let mut shop = Shop::with(&[("burger", 2)]);
    for quantity in [3, 4, 2] {
        shop.order(&[("burger", quantity)]);
    }

    let withdrawn = shop.act(|warehouse| warehouse.on_cancelled(order(0), at(1)).unwrap());
    let again = shop.act(|warehouse| warehouse.on_cancelled(order(0), at(1)).unwrap());
    let early = shop.act(|warehouse| warehouse.expire(order(1), at(59)).unwrap());
    let late = shop.act(|warehouse| warehouse.expire(order(1), at(60)).unwrap());

    assert_eq!((withdrawn, again, early), (Outcome::Withdrawn, Outcome::Nothing, Outcome::Nothing));
    assert!(matches!(late, Outcome::Refused { reason: InventoryFailure::OutOfStock, .. }), "{late:?}");
    assert_eq!(shop.serve(WHOLE), [order(2)]);
    let too_late = shop.act(|warehouse| warehouse.on_turn(order(0), at(900)).unwrap());
    assert_eq!(too_late, Outcome::Nothing);
}

#[test]
fn pages_of_several_lines_are_looked_at_as_far_as_all_of_them_reach() {
    let mut shop = Shop::with(&[("burger", 4), ("pizza", 4), ("soda", 0)]);
    // They wait for soda, and the last one stands on different pages of the two other lines.
    for list in [&["burger", "soda"][..], &["burger", "soda"], &["burger", "soda"], &["pizza", "soda"]] {
        shop.order(&list.iter().map(|name| (*name, 1)).collect::<Vec<_>>());
    }
    shop.order(&[("burger", 2), ("pizza", 2)]);
    shop.restock("burger", 1);

    let by_twos = Manner { page: 2, ..WHOLE };
    assert_eq!(shop.serve(by_twos), [order(4)]);
    assert_eq!(shop.levels[&product("burger")].on_hand, 3, "those in front keep theirs");
}

/// Something that happens to the shop; indices are of orders and products.
#[derive(Debug, Clone)]
enum Action {
    Order(Vec<(usize, u32)>),
    Restock(usize, u32),
    Cancel(prop::sample::Index),
    Confirm(prop::sample::Index),
    Expire(prop::sample::Index),
    Serve(Manner),
    /// One page, of a look that other actions interrupt.
    LookOn(Manner),
}

fn any_manner() -> impl Strategy<Value = Manner> {
    (1..4_usize, 1..4_usize, any::<bool>()).prop_map(|(page, limit, last_first)| Manner {
        page,
        limit,
        last_first,
    })
}

fn any_action() -> impl Strategy<Value = Action> {
    let list = prop::collection::btree_map(0..PRODUCTS.len(), 1..5_u32, 1..=3);
    prop_oneof![
        4 => list.prop_map(|list| Action::Order(list.into_iter().collect())),
        3 => (0..PRODUCTS.len(), 1..6_u32).prop_map(|(product, units)| Action::Restock(product, units)),
        1 => any::<prop::sample::Index>().prop_map(Action::Cancel),
        1 => any::<prop::sample::Index>().prop_map(Action::Confirm),
        1 => any::<prop::sample::Index>().prop_map(Action::Expire),
        1 => any_manner().prop_map(Action::Serve),
        4 => any_manner().prop_map(Action::LookOn),
    ]
}

fn apply(shop: &mut Shop, action: &Action) {
    let pick = |index: &prop::sample::Index| shop.orders.get(index.index(shop.orders.len().max(1))).copied();
    match action {
        Action::Order(list) => {
            let list: Vec<_> = list.iter().map(|(index, quantity)| (PRODUCTS[*index], *quantity)).collect();
            shop.order(&list);
        }
        Action::Restock(index, units) => shop.restock(PRODUCTS[*index], *units),
        Action::Cancel(index) => {
            let Some(id) = pick(index) else { return };
            shop.act(|warehouse| warehouse.on_cancelled(id, at(1)).unwrap());
        }
        Action::Confirm(index) => {
            // Who waits is not confirmed: the saga hears of a reservation first.
            let Some(id) = pick(index).filter(|id| shop.is(*id, ReservationStatus::Held)) else { return };
            shop.act(|warehouse| warehouse.on_confirmed(id, &[], at(1)).unwrap());
        }
        Action::Expire(index) => {
            let Some(id) = pick(index) else { return };
            shop.act(|warehouse| warehouse.expire(id, at(1_000)).unwrap());
        }
        Action::Serve(manner) => drop(shop.serve(*manner)),
        Action::LookOn(manner) => {
            let look = shop.look.take().unwrap_or_else(|| shop.look());
            shop.look = shop.serve_page(&look, *manner).1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stock_stays_balanced_and_nobody_waits_for_what_is_there(
        actions in prop::collection::vec(any_action(), 0..80),
        manner in any_manner(),
    ) {
        let mut shop = Shop::with(&PRODUCTS.map(|name| (name, 2)));
        for action in &actions {
            apply(&mut shop, action);
            shop.assert_books_are_balanced();
        }
        let expected = shop.servable();

        let served = shop.serve(manner);

        prop_assert_eq!(served.into_iter().collect::<BTreeSet<_>>(), expected, "page by page as in one");
        shop.assert_books_are_balanced();
        shop.assert_nobody_waits_for_nothing();
        prop_assert!(shop.servable().is_empty(), "one look is enough");
    }

    #[test]
    fn nobody_is_overtaken_for_a_unit_that_he_could_use(
        actions in prop::collection::vec(any_action(), 0..80),
    ) {
        let mut shop = Shop::with(&PRODUCTS.map(|name| (name, 2)));
        for action in &actions {
            let before: Vec<(OrderId, Vec<u64>)> = covered(&shop);

            apply(&mut shop, action);

            for (id, had) in before.into_iter().filter(|(id, _)| shop.waiting().contains(id)) {
                let has = coverage(&shop, id);
                prop_assert!(had.iter().zip(&has).all(|(had, has)| has >= had), "{id} had {had:?}, has {has:?}");
            }
        }
    }
}

/// How much of what each waiting order wants is kept for it.
fn covered(shop: &Shop) -> Vec<(OrderId, Vec<u64>)> {
    shop.waiting().into_iter().map(|id| (id, coverage(shop, id))).collect()
}

/// Per item: the units on hand that neither anybody before `id` wants nor it has no use for.
fn coverage(shop: &Shop, id: OrderId) -> Vec<u64> {
    let kept = |item: &StockItem| {
        let before = shop.wanted_up_to(id, &item.product_id) - u64::from(item.quantity);
        let left = shop.levels[&item.product_id].on_hand.saturating_sub(before);
        left.min(item.quantity.into())
    };
    shop.reservations[&id].items.iter().map(kept).collect()
}
