//! What a customer may ask for: both forms of an order, read and validated as a whole, so that the answer to
//! a bad one names every field at fault.

use std::collections::BTreeMap;

use contract::{Address, Contact, Currency, CustomerId, Money, OrderDetails, OrderId, OrderItem, ProductId};
use domain::catalogue::Catalogue;
use domain::pricing::{self, PriceError};
use rust_decimal::Decimal;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::body::{Faults, Object, Path, Presence};
use crate::problem::Problem;

/// Most lines in one order: its event must stay far below the broker's message limit.
const MOST_ITEMS: usize = 100;

/// Most units in one line.
const MOST_UNITS: u32 = 10_000;

/// Longest free text, in characters.
const LONGEST_TEXT: usize = 200;

/// The currency of an order that names none.
const DEFAULT_CURRENCY: Currency = Currency::USD;

/// A valid request for an order: everything in it can be stored, published and paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewOrder {
    /// The id the customer chose; only the short form has one.
    pub order_id: Option<OrderId>,
    /// Who orders what, and where it goes; nowhere in the short form.
    pub details: OrderDetails,
}

impl NewOrder {
    /// Reads either form of an order.
    ///
    /// # Errors
    /// A body that is no JSON object is malformed; otherwise every field at fault is named.
    pub fn parse(body: &[u8], catalogue: &Catalogue) -> Result<Self, Problem> {
        let body = Object::parse(body)?;
        let mut faults = Faults::default();
        let short = !body.has("customerInfo") && !body.has("orderItems");
        let order = if short && (body.has("user") || body.has("item")) {
            parse_short(&body, catalogue, &mut faults)
        } else {
            parse_full(&body, &mut faults)
        };
        faults.into_result()?;
        order.ok_or_else(|| {
            Problem::new(crate::problem::Kind::Internal, "an order without faults could not be read")
        })
    }

    /// What makes two requests the same request: their meaning, not their spelling.
    ///
    /// # Errors
    /// Never, as long as every field is a plain value.
    pub fn fingerprint(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(Sha256::digest(serde_json::to_vec(self)?).to_vec())
    }
}

fn parse_full(body: &Object<'_>, faults: &mut Faults) -> Option<NewOrder> {
    let customer = body.object("customerInfo", faults).map(|info| parse_customer(&info, faults));
    let currency = if body.has("currency") {
        body.parsed("currency", Presence::Required, faults)
    } else {
        Some(DEFAULT_CURRENCY)
    };
    let items = body.objects("orderItems", 1..=MOST_ITEMS, faults);
    let items = items.map(|items| parse_items(&items, currency, faults));
    let total = body.decimal("totalAmount", faults);
    let total = total.zip(currency).and_then(|(total, currency)| {
        minor_units(total, currency, &body.path().field("totalAmount"), faults)
    });
    let (customer, ship_to) = customer?;
    let items = items?.into_iter().collect::<Option<Vec<_>>>()?;
    let total = Money::new(total?, currency?);
    check_total(&items, total, &body.path().field("totalAmount"), faults);
    let details = OrderDetails { customer: customer?, ship_to, items, total, steps: None };
    Some(NewOrder { order_id: None, details })
}

fn parse_customer(info: &Object<'_>, faults: &mut Faults) -> (Option<Contact>, Address) {
    let customer_id: Option<CustomerId> = info.parsed("customerId", Presence::Required, faults);
    let first_name = label(info, "firstName", Presence::Required, faults);
    let last_name = label(info, "lastName", Presence::Required, faults);
    let email = email(info, faults);
    let phone = phone(info, faults);
    let address = Address {
        address: label(info, "address", Presence::Optional, faults),
        city: label(info, "city", Presence::Optional, faults),
        state: label(info, "state", Presence::Optional, faults),
        zip_code: label(info, "zipCode", Presence::Optional, faults),
    };
    let contact = customer_id.zip(first_name).zip(last_name).map(|((customer_id, first_name), last_name)| {
        Contact { customer_id, first_name, last_name, email, phone }
    });
    (contact, address)
}

fn parse_items(
    items: &[Option<Object<'_>>],
    currency: Option<Currency>,
    faults: &mut Faults,
) -> Vec<Option<OrderItem>> {
    let mut seen: BTreeMap<ProductId, Path> = BTreeMap::new();
    items.iter().map(|item| parse_item(item.as_ref()?, currency, &mut seen, faults)).collect()
}

fn parse_item(
    item: &Object<'_>,
    currency: Option<Currency>,
    seen: &mut BTreeMap<ProductId, Path>,
    faults: &mut Faults,
) -> Option<OrderItem> {
    let product_id: Option<ProductId> = item.parsed("productId", Presence::Required, faults);
    let quantity = item.integer("quantity", 1..=MOST_UNITS, faults);
    let path = item.path().field("unitPrice");
    let unit_price = item.decimal("unitPrice", faults);
    let unit_price_minor =
        unit_price.zip(currency).and_then(|(price, currency)| minor_units(price, currency, &path, faults));
    let product_id = product_id?;
    let path = item.path().field("productId");
    if seen.insert(product_id.clone(), path.clone()).is_some() {
        faults.add(&path, "is in the order already; put the whole quantity in one line");
    }
    Some(OrderItem { product_id, quantity: quantity?, unit_price_minor: unit_price_minor? })
}

fn parse_short(body: &Object<'_>, catalogue: &Catalogue, faults: &mut Faults) -> Option<NewOrder> {
    let order_id = body.parsed("order_id", Presence::Optional, faults);
    let customer_id: Option<CustomerId> = body.parsed("user", Presence::Required, faults);
    let product_id: Option<ProductId> = body.parsed("item", Presence::Required, faults);
    let quantity = body.integer("quantity", 1..=MOST_UNITS, faults);
    let price = product_id.as_ref().and_then(|product| {
        let price = catalogue.price(product);
        if price.is_none() {
            let sold =
                catalogue.iter().map(|(product, _price)| product.as_str()).collect::<Vec<_>>().join(", ");
            faults.add(&body.path().field("item"), format!("is not in the catalogue; there is {sold}"));
        }
        price
    });
    let (customer_id, product_id, quantity, price) = (customer_id?, product_id?, quantity?, price?);
    let Some(amount_minor) = price.amount_minor.checked_mul(i64::from(quantity)) else {
        faults.add(&body.path().field("quantity"), "makes the order too expensive");
        return None;
    };
    let first_name = customer_id.as_str().to_owned();
    let details = OrderDetails {
        customer: Contact { customer_id, first_name, last_name: String::new(), email: None, phone: None },
        ship_to: Address::default(),
        steps: None,
        items: vec![OrderItem { product_id, quantity, unit_price_minor: price.amount_minor }],
        total: Money::new(amount_minor, price.currency),
    };
    Some(NewOrder { order_id, details })
}

fn minor_units(amount: Decimal, currency: Currency, path: &Path, faults: &mut Faults) -> Option<i64> {
    match pricing::minor_units(&amount.to_string(), currency) {
        Ok(minor) if minor < 0 => {
            faults.add(path, "must not be negative");
            None
        }
        Ok(minor) => Some(minor),
        Err(error) => {
            faults.add(path, format!("is no amount of {currency}: {error}"));
            None
        }
    }
}

fn check_total(items: &[OrderItem], stated: Money, path: &Path, faults: &mut Faults) {
    match pricing::check_total(items, stated) {
        Ok(()) => {}
        Err(PriceError::WrongTotal { sum, .. }) => {
            faults.add(path, format!("must be the sum of the items, {sum}"));
        }
        Err(error) => faults.add(path, format!("cannot be the sum of the items: {error}")),
    }
}

/// A one-line text. Control characters would end up in mails and terminals, NUL not even in PostgreSQL.
fn label(object: &Object<'_>, name: &'static str, presence: Presence, faults: &mut Faults) -> Option<String> {
    let text = object.text(name, presence, faults)?;
    let length = text.trim().chars().count();
    if length > LONGEST_TEXT || text.chars().any(char::is_control) {
        faults.add(
            &object.path().field(name),
            format!("must be one line of at most {LONGEST_TEXT} characters"),
        );
        return None;
    }
    if length == 0 {
        if presence == Presence::Required {
            faults.add(&object.path().field(name), "must not be empty");
        }
        return None;
    }
    Some(text.trim().to_owned())
}

/// The shape of an address only: whether it exists, only a mail can tell. ASCII, as SMTP without extensions.
fn email(info: &Object<'_>, faults: &mut Faults) -> Option<String> {
    let text = label(info, "email", Presence::Optional, faults)?;
    let well_formed = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local.len() <= 64
            && domain.split('.').all(|part| !part.is_empty())
            && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
            && local.bytes().all(|byte| {
                byte.is_ascii_graphic()
                    && !matches!(byte, b'<' | b'>' | b',' | b';' | b'"' | b'(' | b')' | b'@')
            })
    });
    if !well_formed {
        faults.add(&info.path().field("email"), "must be an e-mail address like ada@example.com");
        return None;
    }
    Some(text)
}

fn phone(info: &Object<'_>, faults: &mut Faults) -> Option<String> {
    let text = label(info, "phone", Presence::Optional, faults)?;
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let well_formed = (4..=15).contains(&digits)
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ' | '(' | ')' | '.' | '/'));
    if !well_formed {
        faults.add(&info.path().field("phone"), "must be a phone number like +1 555 0100, of 4 to 15 digits");
        return None;
    }
    Some(text)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
