//! Prices and totals, exact to the minor unit.

use contract::{Currency, Money, OrderItem};
use rust_decimal::Decimal;

/// Why a price, a total or a catalogue is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Not a decimal number.
    #[error("{0:?} is not a decimal number")]
    NotANumber(String),
    /// More decimals than the currency has: rounding would be a guess.
    #[error("{amount} has more than the {decimals} decimals of {currency}")]
    TooPrecise {
        /// The amount.
        amount: Decimal,
        /// Its currency.
        currency: Currency,
        /// How many decimals the currency has.
        decimals: u8,
    },
    /// More than can be counted in minor units.
    #[error("the amount is too large")]
    TooLarge,
    /// The stated total is not the sum of the items.
    #[error("the total is {stated}, the items add up to {sum}")]
    WrongTotal {
        /// What was stated.
        stated: Money,
        /// What the items add up to.
        sum: Money,
    },
}

/// A decimal amount such as `25.99` or `2.599e1` in minor units of `currency`, without rounding.
///
/// # Errors
/// [`PriceError`] when the text is no number, has too many decimals, or is too large.
pub fn minor_units(text: &str, currency: Currency) -> Result<i64, PriceError> {
    let number = if text.contains(['e', 'E']) {
        Decimal::from_scientific(text)
    } else {
        Decimal::from_str_exact(text)
    };
    let amount = number.map_err(|_| PriceError::NotANumber(text.chars().take(40).collect()))?.normalize();
    let decimals = currency.exponent();
    if amount.scale() > u32::from(decimals) {
        return Err(PriceError::TooPrecise { amount, currency, decimals });
    }
    let unit = Decimal::from(10_u64.pow(decimals.into()));
    amount.checked_mul(unit).and_then(|minor| i64::try_from(minor).ok()).ok_or(PriceError::TooLarge)
}

/// The sum of quantity times price over all items.
///
/// # Errors
/// [`PriceError::TooLarge`] when it overflows.
pub fn total(items: &[OrderItem], currency: Currency) -> Result<Money, PriceError> {
    items
        .iter()
        .try_fold(0_i64, |sum, item| {
            sum.checked_add(item.unit_price_minor.checked_mul(i64::from(item.quantity))?)
        })
        .map(|amount_minor| Money::new(amount_minor, currency))
        .ok_or(PriceError::TooLarge)
}

/// Checks a stated total against the items.
///
/// # Errors
/// [`PriceError::WrongTotal`] when it is not their sum, [`PriceError::TooLarge`] when that overflows.
pub fn check_total(items: &[OrderItem], stated: Money) -> Result<(), PriceError> {
    let sum = total(items, stated.currency)?;
    if sum == stated { Ok(()) } else { Err(PriceError::WrongTotal { stated, sum }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn item(quantity: u32, unit_price_minor: i64) -> OrderItem {
        OrderItem { product_id: "burger".parse().unwrap(), quantity, unit_price_minor }
    }

    #[rstest]
    #[case("25.99", "USD", 2599)]
    #[case("25.990", "USD", 2599)]
    #[case("2.599e1", "USD", 2599)]
    #[case("26", "USD", 2600)]
    #[case("0.1", "EUR", 10)]
    #[case("-0.05", "EUR", -5)]
    #[case("1200", "JPY", 1200)]
    #[case("1200.00", "JPY", 1200)]
    #[case("1.005", "KWD", 1005)]
    #[case("92233720368547758.07", "USD", i64::MAX)]
    fn amounts_are_read_exactly(#[case] text: &str, #[case] currency: &str, #[case] minor: i64) {
        assert_eq!(minor_units(text, currency.parse().unwrap()), Ok(minor));
    }

    #[rstest]
    #[case("25.999", "USD", "25.999 has more than the 2 decimals of USD")]
    #[case("0.5", "JPY", "0.5 has more than the 0 decimals of JPY")]
    #[case("92233720368547758.08", "USD", "the amount is too large")]
    #[case("NaN", "USD", "\"NaN\" is not a decimal number")]
    #[case("", "USD", "\"\" is not a decimal number")]
    #[case("1e999", "USD", "\"1e999\" is not a decimal number")]
    fn amounts_that_would_need_a_guess_are_refused(
        #[case] text: &str,
        #[case] currency: &str,
        #[case] complaint: &str,
    ) {
        assert_eq!(minor_units(text, currency.parse().unwrap()).unwrap_err().to_string(), complaint);
    }

    #[test]
    fn a_total_that_is_not_the_sum_is_refused_with_both_numbers() {
        let items = [item(2, 2599), item(1, 1)];

        assert_eq!(check_total(&items, Money::new(5199, Currency::USD)), Ok(()));
        let error = check_total(&items, Money::new(5198, Currency::USD)).unwrap_err();

        assert_eq!(error.to_string(), "the total is 51.98 USD, the items add up to 51.99 USD");
    }

    #[test]
    fn a_sum_that_overflows_is_refused() {
        assert_eq!(total(&[item(2, i64::MAX)], Currency::USD), Err(PriceError::TooLarge));
        assert_eq!(total(&[item(1, i64::MAX), item(1, 1)], Currency::USD), Err(PriceError::TooLarge));
    }

    proptest! {
        #[test]
        fn an_amount_that_is_shown_is_read_back(minor in any::<i64>(), code in "USD|JPY|KWD") {
            let currency: Currency = code.parse().unwrap();
            let shown = Money::new(minor, currency).to_string();

            let (amount, _) = shown.split_once(' ').unwrap();

            prop_assert_eq!(minor_units(amount, currency), Ok(minor));
        }
    }
}
