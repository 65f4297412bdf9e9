//! What has to be true of the toy world.

use contract::Step;
use domain::{
    payment::PaymentStatus, saga::OrderStatus, shipment::ShipmentStatus, warehouse::ReservationStatus,
};

use crate::model::{STEP_TIMEOUT, World};

impl World {
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
        let awaited = self.units_of(ReservationStatus::Backordered);
        assert_eq!(self.levels.values().map(|level| level.backordered).sum::<u64>(), awaited);
    }

    pub(crate) fn assert_nothing_is_held(&self) {
        assert_eq!(self.units_of(ReservationStatus::Held), 0, "{:?}", self.reservations);
        assert_eq!(self.units_of(ReservationStatus::Backordered), 0, "{:?}", self.reservations);
    }

    pub(crate) fn assert_what_was_sold_is_what_was_confirmed(&self) {
        let completed = self.orders.iter().filter(|(_, order)| order.saga.status == OrderStatus::Completed);
        let wanted: u64 =
            completed.flat_map(|(_, order)| &order.items).map(|item| u64::from(item.quantity)).sum();
        let sold: u64 = self.levels.values().map(|level| level.sold).sum();
        assert_eq!(sold + self.units_of(ReservationStatus::Oversold), wanted);
        // Only a reservation that was given back can leave a confirmed order without units, or that none was asked for.
        if self.reservation_life > STEP_TIMEOUT * 4 && self.config.steps.contains(&Step::Inventory) {
            assert_eq!(self.units_of(ReservationStatus::Oversold), 0);
        }
    }

    /// By the provider's own books: captured − refunded is what confirmed orders cost, to the order.
    pub(crate) fn assert_money_is_taken_for_confirmed_orders_only(&self) {
        for (id, order) in &self.orders {
            let is_paid = self.config.steps.contains(&Step::Payment);
            let wanted = is_paid && order.saga.status == OrderStatus::Completed;
            let status = self.payments.statuses.get(id);
            assert_eq!(
                self.payments.provider.done.contains(id),
                wanted,
                "{id}: {status:?}, {:?}",
                order.saga
            );
            assert_eq!(
                status == Some(&PaymentStatus::Captured),
                wanted,
                "{id}: {status:?}, {:?}",
                order.saga
            );
        }
    }

    /// By the carrier's own books, and by ours: confirmed orders are delivered, and no other is booked.
    pub(crate) fn assert_confirmed_orders_are_delivered_and_no_others_are_booked(&self) {
        for (id, order) in &self.orders {
            let is_shipped = self.config.steps.contains(&Step::Shipping);
            let wanted = is_shipped && order.saga.status == OrderStatus::Completed;
            let status = self.shipments.statuses.get(id);
            assert_eq!(
                self.shipments.carrier.done.contains(id),
                wanted,
                "{id}: {status:?}, {:?}",
                order.saga
            );
            assert_eq!(
                status == Some(&ShipmentStatus::Delivered),
                wanted,
                "{id}: {status:?}, {:?}",
                order.saga
            );
        }
    }

    fn units_of(&self, status: ReservationStatus) -> u64 {
        let of_status = self.reservations.values().filter(|reservation| reservation.status == status);
        of_status.flat_map(|reservation| &reservation.items).map(|item| u64::from(item.quantity)).sum()
    }
}
