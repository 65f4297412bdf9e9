use std::collections::BTreeSet;

use super::*;

#[test]
fn every_topic_is_produced_by_exactly_one_service() {
    for topic in Topic::ALL {
        let producers: Vec<_> =
            Service::ALL.iter().filter(|service| service.spec().produces.contains(topic)).collect();
        assert_eq!(producers.len(), 1, "{topic} is produced by {producers:?}");
    }
}

#[test]
fn every_service_has_its_own_dead_letters_and_never_reads_them() {
    let topics: BTreeSet<Topic> = Service::ALL.iter().map(|service| service.dead_letter_topic()).collect();
    let dead: BTreeSet<Topic> = Topic::ALL.iter().copied().filter(|topic| topic.is_dead_letter()).collect();

    assert_eq!(topics, dead);
    for service in Service::ALL {
        let spec = service.spec();
        assert!(spec.produces.contains(&service.dead_letter_topic()), "{service}");
        assert!(spec.consumes.iter().all(|topic| !topic.is_dead_letter()), "{service}");
        assert_eq!(service.dead_letter_topic().name(), format!("{service}.dlt"));
    }
}

#[test]
fn names_are_the_same_everywhere() {
    for service in Service::ALL {
        assert_eq!(service.to_string(), service.name());
        assert_eq!(service.name().parse(), Ok(*service));
        assert_eq!(serde_json::to_value(service).unwrap(), service.name());
    }
    assert_eq!(Service::Order.consumer_group("dev-"), "dev-order-service-group");
}

#[test]
fn a_step_leads_to_the_service_that_performs_it_and_back() {
    for step in Step::ALL {
        let spec = step.service().spec();
        assert_eq!(spec.saga_step, Some(*step));
        assert!(spec.produces.contains(&step.success()), "{step}");
    }
}

#[test]
fn a_step_begins_with_the_success_of_the_one_before() {
    let full = Step::ALL;

    assert_eq!(Step::Inventory.trigger(full), Some(Topic::OrdersCreated));
    assert_eq!(Step::Shipping.trigger(full), Some(Topic::PaymentsCaptured));
    assert_eq!(Step::Shipping.trigger(&[Step::Inventory, Step::Shipping]), Some(Topic::InventoryReserved));
    assert_eq!(Step::Payment.trigger(&[Step::Inventory]), None);
}

#[test]
fn a_service_reads_what_its_place_in_the_saga_asks_for() {
    use Topic::*;
    let payment = |steps: &[Step]| Service::Payment.subscriptions(steps);

    assert_eq!(payment(Step::ALL), [InventoryReserved, OrdersCancelled]);
    assert_eq!(payment(&[Step::Payment]), [OrdersCreated, OrdersCancelled]);
    assert_eq!(payment(&[Step::Inventory]), [OrdersCancelled]);
    assert_eq!(
        Service::Shipping.subscriptions(Step::ALL),
        [PaymentsCaptured, OrdersConfirmed, OrdersCancelled]
    );
    assert_eq!(
        Service::Order.subscriptions(&[Step::Inventory]),
        [InventoryReserved, InventoryFailed, InventoryReleased, NotificationsSent]
    );
    assert_eq!(Service::Notification.subscriptions(Step::ALL), Service::Notification.spec().consumes);
}

#[test]
fn a_steps_service_may_read_whatever_can_trigger_it() {
    for steps in [&[Step::Inventory][..], &[Step::Payment], &[Step::Shipping], Step::ALL] {
        for step in steps {
            let trigger = step.trigger(steps).expect("the step is among them");
            assert!(step.service().subscriptions(steps).contains(&trigger), "{step} of {steps:?}");
        }
    }
}
