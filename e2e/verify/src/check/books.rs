//! What has to add up over all orders: units and money.

use std::collections::BTreeMap;

use contract::{Currency, Money, OrderId, ProductId, Step, Topic};

use crate::Violation;
use crate::facts::{About, Expected, Facts};

pub(super) fn stock_is_conserved(facts: &Facts, expected: &Expected, found: &mut Vec<Violation>) {
    let confirmed = confirmed_units(facts);
    for (product, stock) in &facts.stock {
        let product = || product.clone();
        let units = stock.on_hand + stock.reserved + stock.sold;
        match expected.stocked.get(&product()) {
            Some(&stocked) if stocked != units => {
                found.push(Violation::StockLeaks { product: product(), found: units, stocked });
            }
            _ => {}
        }
        if stock.reserved > 0 {
            found.push(Violation::StockHeld { product: product(), reserved: stock.reserved });
        }
        let confirmed = confirmed.get(&product()).copied().unwrap_or_default();
        if stock.sold != confirmed {
            found.push(Violation::SalesDisagree { product: product(), sold: stock.sold, confirmed });
        }
    }
}

fn confirmed_units(facts: &Facts) -> BTreeMap<ProductId, u64> {
    let mut units: BTreeMap<ProductId, u64> = BTreeMap::new();
    for order in facts.said.keys().filter(|order| facts.takes(**order, Step::Inventory)) {
        // The first only: that there is no second is another invariant, and would be reported twice.
        if let Some(About::Order(_, items)) =
            facts.said(*order, Topic::OrdersConfirmed).next().map(|said| &said.about)
        {
            for (product, quantity) in items {
                *units.entry(product.clone()).or_default() += quantity;
            }
        }
    }
    units
}

/// Sums of minor units by currency; wide enough that no sum of amounts overflows.
type Sums = BTreeMap<Currency, i128>;

fn add(sums: &mut Sums, money: Money) {
    *sums.entry(money.currency).or_default() += i128::from(money.amount_minor);
}

pub(super) fn money_adds_up(facts: &Facts, found: &mut Vec<Violation>) {
    let all = |topic: Topic| said(facts, topic, |_| true);
    let (captured, refunded) = (all(Topic::PaymentsCaptured), all(Topic::PaymentsRefunded));
    // Nobody pays for an order whose saga has no such step.
    let confirmed = said(facts, Topic::OrdersConfirmed, |order| facts.takes(order, Step::Payment));
    let recorded = recorded(facts);
    let currencies = [&captured, &refunded, &confirmed, &recorded];
    let mut currencies: Vec<Currency> = currencies.iter().flat_map(|sums| sums.keys().copied()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    for currency in currencies {
        let of = |sums: &Sums| sums.get(&currency).copied().unwrap_or_default();
        let (captured, refunded, confirmed) = (of(&captured), of(&refunded), of(&confirmed));
        if captured - refunded != confirmed {
            found.push(Violation::MoneyDisagrees { currency, captured, refunded, confirmed });
        }
        let (recorded, said) = (of(&recorded), captured - refunded);
        if recorded != said {
            found.push(Violation::LedgerDisagrees { currency, recorded, said });
        }
    }
}

fn said(facts: &Facts, topic: Topic, counts: impl Fn(OrderId) -> bool) -> Sums {
    let mut sums = Sums::new();
    let orders = facts.said.iter().filter(|(order, _)| counts(**order));
    for said in orders.flat_map(|(_, said)| said).filter(|said| said.topic == topic) {
        if let About::Amount(money) | About::Order(money, _) = said.about {
            add(&mut sums, money);
        }
    }
    sums
}

/// What the payment service's own records say that it kept.
fn recorded(facts: &Facts) -> Sums {
    let mut sums = Sums::new();
    let kept = facts.payments.values().filter(|payment| payment.status == "CAPTURED");
    kept.for_each(|payment| add(&mut sums, payment.amount));
    sums
}
