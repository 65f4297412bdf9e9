//! A toy of the whole system: the real rules, and a network that may do anything but lose a message for ever.

use std::{collections::BTreeMap, time::Duration};

use contract::{CancelReason, NotificationKind, OrderId, ProductId, Step, StockItem};
use domain::{
    saga::{Announcement, Effect, Input, OrderSaga, OrderStatus, SagaConfig, Timeouts, advance},
    stock::StockLevel,
    warehouse::{Outcome, Reservation, ReservationStatus, Warehouse},
};
use jiff::Timestamp;
use proptest::sample::Index;
use uuid::Uuid;

const STEP_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSING_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUTS: Timeouts =
    Timeouts { step: STEP_TIMEOUT, notification: CLOSING_TIMEOUT, delivery: CLOSING_TIMEOUT };

/// Something that happens to the world.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Order {
        burgers: u32,
        pizzas: u32,
    },
    Deliver(Index),
    DeliverAndKeep(Index),
    /// The message's receiver answers no, as a payment provider may.
    Refuse(Index),
    Restock(u32),
    Count(u32),
    Wait(u64),
    SweepOrders,
    SweepReservations,
}

/// What is on its way, to whom it goes without saying.
#[derive(Debug, Clone)]
enum Message {
    Request(OrderId, Step),
    Answer(OrderId, Input),
    ConfirmedToInventory(OrderId),
    ConfirmedToShipping(OrderId),
    CancelledToInventory(OrderId),
    ToNotification(OrderId, NotificationKind),
}

#[derive(Debug)]
struct Order {
    items: Vec<StockItem>,
    saga: OrderSaga,
    endings: Vec<&'static str>,
}

/// The state of everything.
#[derive(Debug)]
pub(crate) struct World {
    now: Timestamp,
    config: SagaConfig,
    reservation_life: Duration,
    orders: BTreeMap<OrderId, Order>,
    levels: BTreeMap<ProductId, StockLevel>,
    reservations: BTreeMap<OrderId, Reservation>,
    network: Vec<Message>,
    units: i128,
}

impl World {
    pub(crate) fn new(steps: Vec<Step>, reservation_life_seconds: u64) -> Self {
        let level = |on_hand| StockLevel { on_hand, ..StockLevel::default() };
        Self {
            now: Timestamp::UNIX_EPOCH,
            config: SagaConfig::new(steps, TIMEOUTS).unwrap(),
            reservation_life: Duration::from_secs(reservation_life_seconds),
            orders: BTreeMap::new(),
            levels: [(product("burger"), level(8)), (product("pizza"), level(3))].into(),
            reservations: BTreeMap::new(),
            network: Vec::new(),
            units: 11,
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Order { burgers, pizzas } => self.place(burgers, pizzas),
            Action::Deliver(index) if !self.network.is_empty() => {
                let message = self.network.swap_remove(index.index(self.network.len()));
                self.receive(message);
            }
            Action::DeliverAndKeep(index) if !self.network.is_empty() => {
                let message = self.network[index.index(self.network.len())].clone();
                self.receive(message);
            }
            Action::Refuse(index) if !self.network.is_empty() => {
                let index = index.index(self.network.len());
                if let Message::Request(order, step @ (Step::Payment | Step::Shipping)) = self.network[index]
                {
                    self.network.swap_remove(index);
                    self.send_failure(order, step, CancelReason::StepRefused);
                }
            }
            // Nothing is on its way.
            Action::Deliver(_) | Action::DeliverAndKeep(_) | Action::Refuse(_) => {}
            Action::Restock(quantity) => self.change_burgers(|level| level.restock(quantity).unwrap()),
            Action::Count(quantity) => self.change_burgers(|level| level.set(quantity.into()).unwrap()),
            Action::Wait(seconds) => self.now += Duration::from_secs(seconds),
            Action::SweepOrders => self.sweep_orders(),
            Action::SweepReservations => self.sweep_reservations(),
        }
    }

    /// Time goes on and the sweeps run, while the network is down.
    pub(crate) fn let_deadlines_pass(&mut self) {
        for _ in 0..2 {
            self.now += STEP_TIMEOUT + CLOSING_TIMEOUT;
            self.sweep_orders();
        }
    }

    /// Until nothing is on its way any more.
    pub(crate) fn deliver_everything(&mut self) {
        while !self.network.is_empty() {
            let message = self.network.remove(0);
            self.receive(message);
        }
    }

    pub(crate) fn assert_every_order_ended_once(&self) {
        for (id, order) in &self.orders {
            assert!(order.saga.status.is_terminal(), "{id} did not end: {:?}", order.saga);
            assert_eq!(order.endings, [order.saga.status.name()], "{id} ended otherwise: {:?}", order.saga);
        }
    }

    pub(crate) fn assert_stock_is_balanced(&self) {
        let units: u128 = self.levels.values().map(|level| level.total()).sum();
        assert_eq!(i128::try_from(units).unwrap(), self.units, "{:?}", self.levels);
        let held = self.units_of(ReservationStatus::Held);
        assert_eq!(self.levels.values().map(|level| level.reserved).sum::<u64>(), held);
    }

    pub(crate) fn assert_nothing_is_held(&self) {
        assert_eq!(self.units_of(ReservationStatus::Held), 0, "{:?}", self.reservations);
    }

    pub(crate) fn assert_what_was_sold_is_what_was_confirmed(&self) {
        let completed = self.orders.iter().filter(|(_, order)| order.saga.status == OrderStatus::Completed);
        let wanted: u64 =
            completed.flat_map(|(_, order)| &order.items).map(|item| u64::from(item.quantity)).sum();
        let sold: u64 = self.levels.values().map(|level| level.sold).sum();
        assert_eq!(sold + self.units_of(ReservationStatus::Oversold), wanted);
        // Only a reservation that was given back can leave a confirmed order without units.
        if self.reservation_life > STEP_TIMEOUT * 4 {
            assert_eq!(self.units_of(ReservationStatus::Oversold), 0);
        }
    }

    fn units_of(&self, status: ReservationStatus) -> u64 {
        let of_status = self.reservations.values().filter(|reservation| reservation.status == status);
        of_status.flat_map(|reservation| &reservation.items).map(|item| u64::from(item.quantity)).sum()
    }

    fn place(&mut self, burgers: u32, pizzas: u32) {
        let id = OrderId::new(Uuid::from_u128(self.orders.len() as u128));
        let items = [("burger", burgers), ("pizza", pizzas)]
            .into_iter()
            .filter(|(_, quantity)| *quantity > 0)
            .map(|(name, quantity)| StockItem { product_id: product(name), quantity });
        let saga = OrderSaga::begin(&self.config, self.now);
        self.orders.insert(id, Order { items: items.collect(), saga, endings: Vec::new() });
        self.network.push(Message::ToNotification(id, NotificationKind::Created));
        self.network.push(Message::Request(id, self.config.steps[0]));
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Request(id, Step::Inventory) => self.request_stock(id),
            Message::Request(id, step @ (Step::Payment | Step::Shipping)) => self.answer_yes(id, step),
            Message::Answer(id, input) => self.tell(id, input),
            Message::ConfirmedToInventory(id) => {
                let (items, now) = (self.orders[&id].items.clone(), self.now);
                self.in_warehouse(|warehouse| warehouse.on_confirmed(id, &items, now).unwrap());
            }
            Message::ConfirmedToShipping(id) => self.network.push(Message::Answer(id, Input::Delivered)),
            Message::CancelledToInventory(id) => {
                let now = self.now;
                self.in_warehouse(|warehouse| warehouse.on_cancelled(id, now).unwrap());
            }
            Message::ToNotification(id, kind) => {
                self.network.push(Message::Answer(id, Input::Notified(kind)));
            }
        }
    }

    fn request_stock(&mut self, id: OrderId) {
        let (items, expires_at) = (self.orders[&id].items.clone(), self.now + self.reservation_life);
        match self.in_warehouse(|warehouse| warehouse.on_created(id, &items, expires_at).unwrap()) {
            Outcome::Reserved { .. } => self.answer_yes(id, Step::Inventory),
            Outcome::Refused { .. } => self.send_failure(id, Step::Inventory, CancelReason::OutOfStock),
            Outcome::Nothing => {}
            outcome @ (Outcome::Sold | Outcome::Released { .. } | Outcome::Oversold { .. }) => {
                panic!("a request led to {outcome:?}")
            }
        }
    }

    /// The step's event goes to the order service and, being an event, to the next step's service.
    fn answer_yes(&mut self, id: OrderId, step: Step) {
        self.network.push(Message::Answer(id, Input::StepSucceeded(step)));
        let following = self.config.steps.iter().skip_while(|other| **other != step).nth(1);
        self.network.extend(following.map(|next| Message::Request(id, *next)));
    }

    fn send_failure(&mut self, id: OrderId, step: Step, reason: CancelReason) {
        let input = Input::StepFailed { step, reason, detail: String::new() };
        self.network.push(Message::Answer(id, input));
    }

    fn tell(&mut self, id: OrderId, input: Input) {
        let order = self.orders.get_mut(&id).unwrap();
        let before = order.saga.clone();
        let transition = advance(&before, input, self.now);
        order.saga = transition.next;
        let pivoted = matches!(before.status, OrderStatus::Confirmed | OrderStatus::Completed);
        let cancelled = matches!(order.saga.status, OrderStatus::Cancelled { .. });
        assert!(!(pivoted && cancelled), "{id} was cancelled after it was confirmed");
        for Effect::Publish(announcement) in transition.effects {
            match announcement {
                Announcement::Confirmed => {
                    self.network.push(Message::ConfirmedToInventory(id));
                    if self.config.steps.contains(&Step::Shipping) {
                        self.network.push(Message::ConfirmedToShipping(id));
                    }
                    self.network.push(Message::ToNotification(id, NotificationKind::Confirmed));
                }
                Announcement::Completed => order.endings.push("COMPLETED"),
                Announcement::Cancelled { .. } => {
                    order.endings.push("CANCELLED");
                    self.network.push(Message::CancelledToInventory(id));
                    self.network.push(Message::ToNotification(id, NotificationKind::Cancelled));
                }
            }
        }
    }

    fn sweep_orders(&mut self) {
        let ids: Vec<OrderId> = self.orders.keys().copied().collect();
        ids.into_iter().for_each(|id| self.tell(id, Input::DeadlinePassed));
    }

    fn sweep_reservations(&mut self) {
        let (ids, now): (Vec<OrderId>, _) = (self.reservations.keys().copied().collect(), self.now);
        for id in ids {
            self.in_warehouse(|warehouse| warehouse.expire(id, now).unwrap());
        }
    }

    /// As the service does it: load, react, save what changed.
    fn in_warehouse(&mut self, react: impl FnOnce(&mut Warehouse) -> Outcome) -> Outcome {
        let mut warehouse = Warehouse::new(self.levels.clone(), self.reservations.clone());
        let outcome = react(&mut warehouse);
        self.levels.extend(warehouse.changed_levels().map(|(id, level)| (id.clone(), *level)));
        self.reservations.extend(warehouse.changed_reservations().map(|(id, state)| (*id, state.clone())));
        outcome
    }

    fn change_burgers(&mut self, change: impl FnOnce(StockLevel) -> StockLevel) {
        let level = self.levels.get_mut(&product("burger")).unwrap();
        let changed = change(*level);
        self.units += i128::try_from(changed.total()).unwrap() - i128::try_from(level.total()).unwrap();
        *level = changed;
    }
}

fn product(name: &str) -> ProductId {
    name.parse().unwrap()
}
