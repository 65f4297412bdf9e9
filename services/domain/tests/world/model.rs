//! A toy of the whole system: the real rules, and a network that may do anything but lose a message for ever.

use std::{collections::BTreeMap, time::Duration};

use contract::{CancelReason, NotificationKind, OrderId, ProductId, Step, StockItem};
use domain::{
    backorder::{Look, Page, Place},
    hold::Hold,
    payment::{PaymentInput, PaymentNews},
    saga::{Announcement, Effect, Input, OrderSaga, OrderStatus, SagaConfig, Timeouts, advance},
    shipment::{ShipmentInput, ShipmentNews, ShipmentStatus},
    stock::StockLevel,
    warehouse::{Outcome, Reservation, ReservationStatus, Warehouse},
};
use jiff::Timestamp;
use proptest::sample::Index;
use uuid::Uuid;

use crate::outage::NEVER_HELD;
use crate::outside::{Call, Payments, Provider, Reply, Shipments};

pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSING_TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
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
    /// The provider that is called answers no.
    Refuse(Index),
    /// Whoever waits for the provider that is called gives up; the call may still arrive.
    GiveUp(Index),
    Restock(u32),
    Count(u32),
    Wait(u64),
    /// Nothing is heard for so many seconds.
    Outage(u64),
    SweepOrders,
    SweepReservations,
    /// Those who wait for stock are looked at.
    ServeLine,
}

/// What is on its way, to whom it goes without saying.
#[derive(Debug, Clone)]
enum Message {
    Request(OrderId, Step),
    Answer(OrderId, Input),
    ConfirmedToInventory(OrderId),
    ConfirmedToShipping(OrderId),
    Cancelled(OrderId, Step),
    Call(OrderId, Step, Call),
    Reply(OrderId, Step, Reply),
    Arrived(OrderId),
    ToNotification(OrderId, NotificationKind),
}

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) items: Vec<StockItem>,
    pub(crate) saga: OrderSaga,
    pub(crate) endings: Vec<&'static str>,
}

/// The state of everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) config: SagaConfig,
    pub(crate) reservation_life: Duration,
    /// How long orders may wait for stock, if at all.
    backorders: Option<Duration>,
    /// Orders in the order in which they asked for stock.
    asked: Vec<OrderId>,
    pub(crate) orders: BTreeMap<OrderId, Order>,
    pub(crate) levels: BTreeMap<ProductId, StockLevel>,
    pub(crate) reservations: BTreeMap<OrderId, Reservation>,
    pub(crate) payments: Payments,
    pub(crate) shipments: Shipments,
    network: Vec<Message>,
    pub(crate) order_hold: Hold,
    pub(crate) reservation_hold: Hold,
    pub(crate) units: i128,
}

impl World {
    pub(crate) fn new(steps: Vec<Step>, reservation_life_seconds: u64, backorders: bool) -> Self {
        let level = |on_hand| StockLevel { on_hand, ..StockLevel::default() };
        Self {
            now: Timestamp::UNIX_EPOCH,
            config: SagaConfig::new(steps, TIMEOUTS).unwrap(),
            reservation_life: Duration::from_secs(reservation_life_seconds),
            backorders: backorders.then_some(LONGEST_WAIT),
            asked: Vec::new(),
            orders: BTreeMap::new(),
            levels: [(product("burger"), level(8)), (product("pizza"), level(3))].into(),
            reservations: BTreeMap::new(),
            payments: Payments::default(),
            shipments: Shipments::default(),
            network: Vec::new(),
            order_hold: NEVER_HELD,
            reservation_hold: NEVER_HELD,
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
                if let Message::Call(id, step, Call::Do) = self.network[index] {
                    self.network.swap_remove(index);
                    let reply = self.provider_of(step).refuse(id);
                    self.network.push(Message::Reply(id, step, reply));
                }
            }
            Action::GiveUp(index) if !self.network.is_empty() => {
                let index = index.index(self.network.len());
                match self.network[index] {
                    Message::Call(id, Step::Payment, Call::Do) => self.pay(id, PaymentInput::GivenUp),
                    Message::Call(id, Step::Shipping, Call::Do) => self.ship(id, ShipmentInput::GivenUp),
                    _ => {}
                }
            }
            // Nothing is on its way.
            Action::Deliver(_) | Action::DeliverAndKeep(_) | Action::Refuse(_) | Action::GiveUp(_) => {}
            Action::Restock(quantity) => self.change_burgers(|level| level.restock(quantity).unwrap()),
            Action::Count(quantity) => self.change_burgers(|level| level.set(quantity.into()).unwrap()),
            Action::Wait(seconds) => self.now += Duration::from_secs(seconds),
            Action::Outage(seconds) => self.hear_nothing_for(Duration::from_secs(seconds)),
            Action::SweepOrders => self.sweep_orders(),
            Action::SweepReservations => self.sweep_reservations(),
            Action::ServeLine => self.serve_line(),
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
            Message::Request(id, Step::Payment) => self.pay(id, PaymentInput::Asked),
            Message::Request(id, Step::Shipping) => self.ship(id, ShipmentInput::Asked),
            Message::Answer(id, input) => self.tell(id, input),
            Message::ConfirmedToInventory(id) => {
                let (items, now) = (self.orders[&id].items.clone(), self.now);
                self.in_warehouse(|warehouse| warehouse.on_confirmed(id, &items, now).unwrap());
            }
            Message::ConfirmedToShipping(id) => self.ship(id, ShipmentInput::OrderConfirmed),
            Message::Cancelled(id, Step::Inventory) => {
                let now = self.now;
                self.in_warehouse(|warehouse| warehouse.on_cancelled(id, now).unwrap());
            }
            Message::Cancelled(id, Step::Payment) => self.pay(id, PaymentInput::OrderCancelled),
            Message::Cancelled(id, Step::Shipping) => self.ship(id, ShipmentInput::OrderCancelled),
            Message::Call(id, step, call) => {
                let reply = self.provider_of(step).call(id, call);
                self.network.push(Message::Reply(id, step, reply));
            }
            Message::Reply(id, Step::Payment, reply) => self.pay(
                id,
                match reply {
                    Reply::Done => PaymentInput::Captured,
                    Reply::Refused => PaymentInput::Declined,
                    Reply::Undone => PaymentInput::Reversed,
                },
            ),
            Message::Reply(id, _, reply) => self.ship(
                id,
                match reply {
                    Reply::Done => ShipmentInput::Booked,
                    Reply::Refused => ShipmentInput::Refused,
                    Reply::Undone => ShipmentInput::Reversed,
                },
            ),
            Message::Arrived(id) => self.ship(id, ShipmentInput::Arrived),
            Message::ToNotification(id, kind) => {
                self.network.push(Message::Answer(id, Input::Notified(kind)));
            }
        }
    }

    fn request_stock(&mut self, id: OrderId) {
        let (items, expires_at) = (self.orders[&id].items.clone(), self.now + self.reservation_life);
        if !self.asked.contains(&id) {
            self.asked.push(id);
        }
        match self.in_warehouse(|warehouse| warehouse.on_created(id, &items, expires_at).unwrap()) {
            Outcome::Waits { until, .. } => {
                self.network.push(Message::Answer(id, Input::StepWaits { step: Step::Inventory, until }));
            }
            Outcome::Reserved { .. } => self.answer_yes(id, Step::Inventory),
            Outcome::Refused { .. } => self.send_failure(id, Step::Inventory, CancelReason::OutOfStock),
            Outcome::Nothing => {}
            outcome @ (Outcome::Sold
            | Outcome::Released { .. }
            | Outcome::Withdrawn
            | Outcome::Oversold { .. }) => panic!("a request led to {outcome:?}"),
        }
    }

    fn serve_line(&mut self) {
        let is_waiting = |id: &&OrderId| {
            self.reservations.get(*id).is_some_and(|it| it.status == ReservationStatus::Backordered)
        };
        let mut lines: BTreeMap<ProductId, Page> = BTreeMap::new();
        for (id, turn) in self.asked.iter().filter(is_waiting).zip(1..) {
            let items = &self.reservations[id].items;
            for item in items {
                let on_hand = self.levels[&item.product_id].on_hand;
                let page = lines.entry(item.product_id.clone()).or_default();
                (page.on_hand, page.is_last) = (on_hand, true);
                let (order_id, quantity, lines) = (*id, item.quantity, items.len());
                page.places.push(Place { order_id, turn, quantity, lines });
            }
        }
        let expires_at = self.now + self.reservation_life;
        for id in Look::along(lines.keys().cloned()).at(&lines, usize::MAX).orders {
            let outcome = self.in_warehouse(|warehouse| warehouse.on_turn(id, expires_at).unwrap());
            assert!(matches!(outcome, Outcome::Reserved { .. }), "{id}: {outcome:?}");
            self.answer_yes(id, Step::Inventory);
        }
    }

    fn provider_of(&mut self, step: Step) -> &mut Provider {
        if step == Step::Payment { &mut self.payments.provider } else { &mut self.shipments.carrier }
    }

    fn pay(&mut self, id: OrderId, input: PaymentInput) {
        let (news, call) = self.payments.hear(id, input);
        self.network.extend(call.map(|call| Message::Call(id, Step::Payment, call)));
        match news {
            Some(PaymentNews::Captured) => self.answer_yes(id, Step::Payment),
            Some(PaymentNews::Declined) => {
                self.send_failure(id, Step::Payment, CancelReason::PaymentDeclined)
            }
            Some(PaymentNews::Unavailable | PaymentNews::TooLate) => {
                self.send_failure(id, Step::Payment, CancelReason::StepRefused);
            }
            Some(PaymentNews::Refunded) | None => {}
        }
    }

    fn ship(&mut self, id: OrderId, input: ShipmentInput) {
        let (news, call) = self.shipments.hear(id, input);
        self.network.extend(call.map(|call| Message::Call(id, Step::Shipping, call)));
        if self.shipments.statuses.get(&id) == Some(&ShipmentStatus::Dispatched) {
            let order = &self.orders[&id].saga.status;
            assert!(!matches!(order, OrderStatus::Cancelled { .. }), "{id} left although it is {order:?}");
            self.network.push(Message::Arrived(id));
        }
        match news {
            Some(ShipmentNews::Scheduled) => self.answer_yes(id, Step::Shipping),
            Some(ShipmentNews::Refused) => self.send_failure(id, Step::Shipping, CancelReason::NotShippable),
            Some(ShipmentNews::Unavailable | ShipmentNews::TooLate) => {
                self.send_failure(id, Step::Shipping, CancelReason::StepRefused);
            }
            Some(ShipmentNews::Delivered) => self.network.push(Message::Answer(id, Input::Delivered)),
            Some(ShipmentNews::Cancelled) | None => {}
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
                    let steps = self.config.steps.iter();
                    self.network.extend(steps.map(|step| Message::Cancelled(id, *step)));
                    self.network.push(Message::ToNotification(id, NotificationKind::Cancelled));
                }
            }
        }
    }

    fn sweep_orders(&mut self) {
        if !self.may_cancel() {
            return;
        }
        let ids: Vec<OrderId> = self.orders.keys().copied().collect();
        ids.into_iter().for_each(|id| self.tell(id, Input::DeadlinePassed));
    }

    fn sweep_reservations(&mut self) {
        let now = self.now;
        let may_free_units = self.may_free_units();
        let may_end = |held: &Reservation| may_free_units || held.status == ReservationStatus::Backordered;
        let ids: Vec<OrderId> =
            self.reservations.iter().filter(|(_, held)| may_end(held)).map(|(id, _)| *id).collect();
        for id in ids {
            match self.in_warehouse(|warehouse| warehouse.expire(id, now).unwrap()) {
                Outcome::Refused { .. } => self.send_failure(id, Step::Inventory, CancelReason::OutOfStock),
                Outcome::Released { .. } => {
                    self.send_failure(id, Step::Inventory, CancelReason::StepTimedOut);
                }
                _ => {}
            }
        }
    }

    /// As the service does it: load, react, save what changed.
    fn in_warehouse(&mut self, react: impl FnOnce(&mut Warehouse) -> Outcome) -> Outcome {
        let mut warehouse = Warehouse::new(self.levels.clone(), self.reservations.clone())
            .letting_orders_wait(self.backorders.map(|longest| self.now + longest));
        let outcome = react(&mut warehouse);
        self.levels.extend(warehouse.changed_levels().map(|(id, level)| (id.clone(), *level)));
        self.reservations
            .extend(warehouse.changed_reservations().map(|it| (it.order_id, it.reservation.clone())));
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
