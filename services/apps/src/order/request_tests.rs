use serde_json::{Value, json};

use super::*;

fn catalogue() -> Catalogue {
    "burger=8.99 USD,pizza=12.50 USD".parse().unwrap()
}

/// The body of the API's documentation, with what `change` makes of it.
fn full(change: impl FnOnce(&mut Value)) -> String {
    let mut body = json!({
        "customerInfo": {
            "customerId": "CUST-1", "firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com",
            "phone": "+1-555-0100", "address": "1 Main St", "city": "Springfield", "state": "IL",
            "zipCode": "62701"
        },
        "orderItems": [{"productId": "burger", "quantity": 2, "unitPrice": 25.99}],
        "totalAmount": 51.98,
        "currency": "USD"
    });
    change(&mut body);
    body.to_string()
}

fn parse(body: &str) -> Result<NewOrder, Problem> {
    NewOrder::parse(body.as_bytes(), &catalogue())
}

fn faults(body: &str) -> Vec<String> {
    parse(body).unwrap_err().faults.into_iter().map(|fault| fault.field).collect()
}

#[test]
fn the_full_form_is_read() {
    let order = parse(&full(|_| {})).unwrap();

    assert_eq!(order.details.total, Money::new(5198, Currency::USD));
    assert_eq!(order.details.customer.email.as_deref(), Some("ada@example.com"));
    assert_eq!(order.details.ship_to.zip_code.as_deref(), Some("62701"));
    let item = OrderItem { product_id: "burger".parse().unwrap(), quantity: 2, unit_price_minor: 2599 };
    assert_eq!(order.details.items, [item]);
}

#[test]
fn the_short_form_is_priced_from_the_catalogue() {
    let id = "0195b3d2-7c00-7000-8000-000000000001";

    let order = parse(&json!({"order_id": id, "user": "john", "item": "burger", "quantity": 5}).to_string());

    let order = order.unwrap();
    assert_eq!(order.order_id, Some(id.parse().unwrap()));
    assert_eq!(order.details.customer.customer_id.as_str(), "john");
    assert_eq!(order.details.total, Money::new(4495, Currency::USD));
}

#[rstest::rstest]
#[case("/customerInfo", json!(null), &["customerInfo"])]
#[case("/customerInfo", json!([]), &["customerInfo"])]
#[case("/customerInfo/customerId", json!(""), &["customerInfo.customerId"])]
#[case("/customerInfo/customerId", json!(7), &["customerInfo.customerId"])]
#[case("/customerInfo/firstName", json!(" "), &["customerInfo.firstName"])]
#[case("/customerInfo/lastName", json!("a\nb"), &["customerInfo.lastName"])]
#[case("/customerInfo/lastName", json!("\u{0}"), &["customerInfo.lastName"])]
#[case("/customerInfo/email", json!("ada"), &["customerInfo.email"])]
#[case("/customerInfo/email", json!("a@b\r\nBcc: c@d"), &["customerInfo.email"])]
#[case("/customerInfo/email", json!("<a>@b.c"), &["customerInfo.email"])]
#[case("/customerInfo/phone", json!("call me"), &["customerInfo.phone"])]
#[case("/customerInfo/city", json!("x".repeat(201)), &["customerInfo.city"])]
#[case("/orderItems", json!([]), &["orderItems"])]
#[case("/orderItems", json!({}), &["orderItems"])]
#[case("/orderItems/0", json!("burger"), &["orderItems[0]"])]
#[case("/orderItems/0/productId", json!(null), &["orderItems[0].productId"])]
#[case("/orderItems/0/quantity", json!(0), &["orderItems[0].quantity"])]
#[case("/orderItems/0/quantity", json!(-1), &["orderItems[0].quantity"])]
#[case("/orderItems/0/quantity", json!(1.5), &["orderItems[0].quantity"])]
#[case("/orderItems/0/quantity", json!("2"), &["orderItems[0].quantity"])]
#[case("/orderItems/0/quantity", json!(4_294_967_298_u64), &["orderItems[0].quantity"])]
#[case("/orderItems/0/unitPrice", json!(-25.99), &["orderItems[0].unitPrice"])]
#[case("/orderItems/0/unitPrice", json!(25.999), &["orderItems[0].unitPrice"])]
#[case("/orderItems/0/unitPrice", json!("cheap"), &["orderItems[0].unitPrice"])]
#[case("/totalAmount", json!(51.97), &["totalAmount"])]
#[case("/totalAmount", json!(null), &["totalAmount"])]
#[case("/totalAmount", json!(1e300), &["totalAmount"])]
#[case("/currency", json!("usd"), &["currency"])]
#[case("/currency", json!(1), &["currency"])]
fn each_invalid_field_is_named(#[case] pointer: &str, #[case] value: Value, #[case] expected: &[&str]) {
    let body = full(|body| *body.pointer_mut(pointer).unwrap() = value);

    assert_eq!(faults(&body), expected);
}

#[test]
fn all_invalid_fields_are_named_at_once() {
    let body = full(|body| {
        body["customerInfo"]["email"] = json!("nobody");
        body["orderItems"] = json!([{"productId": "a", "quantity": 0, "unitPrice": "x"}, {"productId": "a"}]);
        body["totalAmount"] = json!(true);
    });

    assert_eq!(
        faults(&body),
        [
            "customerInfo.email",
            "orderItems[0].quantity",
            "orderItems[0].unitPrice",
            "orderItems[1].quantity",
            "orderItems[1].unitPrice",
            "orderItems[1].productId",
            "totalAmount",
        ]
    );
}

#[test]
fn an_unknown_item_of_the_short_form_is_told_what_there_is() {
    let problem = parse(r#"{"user": "john", "item": "sushi", "quantity": 1}"#).unwrap_err();

    assert_eq!(problem.detail, "item is not in the catalogue; there is burger, pizza");
}

#[rstest::rstest]
#[case(r#"{"user": "john", "item": "burger"}"#, &["quantity"])]
#[case(r#"{"user": "", "item": "burger", "quantity": 1}"#, &["user"])]
#[case(r#"{"order_id": "1", "user": "john", "item": "burger", "quantity": 1}"#, &["order_id"])]
#[case(r#"{}"#, &["customerInfo", "orderItems", "totalAmount"])]
fn faults_of_other_bodies_are_named(#[case] body: &str, #[case] expected: &[&str]) {
    assert_eq!(faults(body), expected);
}

#[test]
fn totals_are_compared_exactly_where_floats_would_differ() {
    let body = r#"{"customerInfo": {"customerId": "c", "firstName": "A", "lastName": "B"},
        "orderItems": [{"productId": "a", "quantity": 3, "unitPrice": 0.1}],
        "totalAmount": 0.3, "currency": "USD"}"#;

    assert_eq!(parse(body).unwrap().details.total, Money::new(30, Currency::USD));
}

#[test]
fn the_fingerprint_is_of_the_meaning_not_of_the_spelling() {
    let spelt_otherwise = full(|body| body["totalAmount"] = json!("51.980"));
    let other = full(|body| body["customerInfo"]["city"] = json!("Shelbyville"));

    let fingerprint = |body: &str| parse(body).unwrap().fingerprint().unwrap();

    assert_eq!(fingerprint(&full(|_| {})), fingerprint(&spelt_otherwise));
    assert_ne!(fingerprint(&full(|_| {})), fingerprint(&other));
}
