//! Amounts of money as the public APIs show them.

use contract::Money;
use rust_decimal::Decimal;
use serde_json::value::RawValue;

/// The amount as a JSON number with the decimals of its currency, such as `51.98`. No float takes part.
pub fn amount(money: Money) -> Box<RawValue> {
    let decimal = Decimal::new(money.amount_minor, u32::from(money.currency.exponent()));
    RawValue::from_string(decimal.to_string()).expect("the text of a decimal is a JSON number")
}
