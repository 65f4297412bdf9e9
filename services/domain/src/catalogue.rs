//! Lists of products in configuration: what they cost, and how many there are to begin with.

use std::{collections::BTreeMap, str::FromStr};

use contract::{Currency, InvalidId, Money, ProductId, UnknownCurrency};

use crate::pricing::{PriceError, minor_units};

/// Why a list such as `burger=8.99 USD, pizza=12.50 USD` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidList {
    /// An entry is not of the form `product=value`.
    #[error("{entry:?} is not of the form {form}")]
    Form {
        /// The entry.
        entry: String,
        /// What it should look like.
        form: &'static str,
    },
    /// An entry's product is not a product id.
    #[error("{entry:?} does not begin with a product")]
    Product {
        /// The entry.
        entry: String,
        /// Why.
        #[source]
        source: InvalidId,
    },
    /// An entry's price is not acceptable.
    #[error("{entry:?} has no valid price")]
    Price {
        /// The entry.
        entry: String,
        /// Why.
        #[source]
        source: PriceError,
    },
    /// An entry's currency is unknown.
    #[error("{entry:?} has no valid currency")]
    Currency {
        /// The entry.
        entry: String,
        /// Why.
        #[source]
        source: UnknownCurrency,
    },
    /// A price of zero or less.
    #[error("{entry:?} costs nothing")]
    Free {
        /// The entry.
        entry: String,
    },
    /// A product stands there twice.
    #[error("{0} is listed twice")]
    Repeated(ProductId),
}

/// Prices by product, for orders that name only a product: `burger=8.99 USD, pizza=12.50 USD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue(BTreeMap<ProductId, Money>);

impl Catalogue {
    /// The price of a product, if it is in the catalogue.
    #[must_use]
    pub fn price(&self, product: &ProductId) -> Option<Money> {
        self.0.get(product).copied()
    }

    /// The products and their prices, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ProductId, Money)> {
        self.0.iter().map(|(product, price)| (product, *price))
    }
}

impl FromStr for Catalogue {
    type Err = InvalidList;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "product=price currency, such as burger=8.99 USD";
        product_list(text, FORM, |entry, value| {
            let (amount, code) = value
                .split_once(' ')
                .ok_or_else(|| InvalidList::Form { entry: entry.to_owned(), form: FORM })?;
            let currency: Currency = code
                .trim()
                .parse()
                .map_err(|source| InvalidList::Currency { entry: entry.to_owned(), source })?;
            let amount_minor = minor_units(amount.trim(), currency)
                .map_err(|source| InvalidList::Price { entry: entry.to_owned(), source })?;
            if amount_minor <= 0 {
                return Err(InvalidList::Free { entry: entry.to_owned() });
            }
            Ok(Money::new(amount_minor, currency))
        })
        .map(Self)
    }
}

/// Units by product, to begin with: `burger=100, pizza=50`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InitialStock(BTreeMap<ProductId, u32>);

impl InitialStock {
    /// The products and their units, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ProductId, u32)> {
        self.0.iter().map(|(product, units)| (product, *units))
    }
}

impl FromStr for InitialStock {
    type Err = InvalidList;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "product=units, such as burger=100";
        product_list(text, FORM, |entry, value| {
            value.parse().map_err(|_| InvalidList::Form { entry: entry.to_owned(), form: FORM })
        })
        .map(Self)
    }
}

/// Reads `product=value` entries between commas; an empty text is an empty list.
fn product_list<T>(
    text: &str,
    form: &'static str,
    value_of: impl Fn(&str, &str) -> Result<T, InvalidList>,
) -> Result<BTreeMap<ProductId, T>, InvalidList> {
    let mut list = BTreeMap::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (product, value) =
            entry.rsplit_once('=').ok_or_else(|| InvalidList::Form { entry: entry.to_owned(), form })?;
        let product: ProductId = product
            .trim()
            .parse()
            .map_err(|source| InvalidList::Product { entry: entry.to_owned(), source })?;
        if list.insert(product.clone(), value_of(entry, value.trim())?).is_some() {
            return Err(InvalidList::Repeated(product));
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_catalogue_is_read_with_its_currencies() {
        let catalogue: Catalogue = " burger=8.99 USD, käse=fondue=20 CHF,ramen=1200 JPY, ".parse().unwrap();

        let prices: Vec<_> = catalogue.iter().map(|(product, price)| format!("{product}: {price}")).collect();
        assert_eq!(prices, ["burger: 8.99 USD", "käse=fondue: 20.00 CHF", "ramen: 1200 JPY"]);
        assert_eq!(catalogue.price(&"pizza".parse().unwrap()), None);
    }

    #[rstest]
    #[case("burger", r#""burger" is not of the form product=price currency, such as burger=8.99 USD"#)]
    #[case(
        "burger=8.99",
        r#""burger=8.99" is not of the form product=price currency, such as burger=8.99 USD"#
    )]
    #[case("=8.99 USD", r#""=8.99 USD" does not begin with a product"#)]
    #[case("burger=x USD", r#""burger=x USD" has no valid price"#)]
    #[case("burger=0 USD", r#""burger=0 USD" costs nothing"#)]
    #[case("burger=8.99 ZZZ", r#""burger=8.99 ZZZ" has no valid currency"#)]
    #[case("burger=1 USD,burger=2 USD", "burger is listed twice")]
    fn a_catalogue_that_cannot_be_read_names_the_entry(#[case] text: &str, #[case] complaint: &str) {
        assert_eq!(text.parse::<Catalogue>().unwrap_err().to_string(), complaint);
    }

    #[test]
    fn an_initial_stock_is_read() {
        let stock: InitialStock = "burger=100,pizza=50".parse().unwrap();

        let units: Vec<_> = stock.iter().map(|(product, units)| (product.as_str(), units)).collect();
        assert_eq!(units, [("burger", 100), ("pizza", 50)]);
        assert!("burger=-1".parse::<InitialStock>().is_err());
        assert_eq!("".parse(), Ok(InitialStock::default()));
    }
}
