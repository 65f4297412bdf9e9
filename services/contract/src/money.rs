//! Money: whole minor units and a currency, so that sums are exact and replays agree to the cent.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An amount in the currency's smallest unit: `{"amount_minor": 2599, "currency": "USD"}` is 25.99 dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// The amount in minor units (cents, yen, fils).
    pub amount_minor: i64,
    /// The currency, which says how many minor units make a major one.
    pub currency: Currency,
}

impl Money {
    /// An amount of minor units.
    #[must_use]
    pub const fn new(amount_minor: i64, currency: Currency) -> Self {
        Self { amount_minor, currency }
    }
}

impl fmt::Display for Money {
    /// `25.99 USD`, `1200 JPY`, `-0.05 EUR`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = u32::from(self.currency.exponent());
        let unit = 10_u64.pow(exponent);
        let magnitude = self.amount_minor.unsigned_abs();
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / unit)?;
        if exponent > 0 {
            write!(f, ".{:0width$}", magnitude % unit, width = exponent as usize)?;
        }
        write!(f, " {}", self.currency)
    }
}

/// A currency of ISO 4217, named by its three letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// US dollar, the currency of the built-in catalogue.
    pub const USD: Self = Self(*b"USD");
    /// Euro.
    pub const EUR: Self = Self(*b"EUR");
    /// Japanese yen, which has no minor unit.
    pub const JPY: Self = Self(*b"JPY");

    /// How many decimals an amount in this currency has (ISO 4217 "minor unit").
    #[must_use]
    pub fn exponent(self) -> u8 {
        let code = self.as_str();
        if NO_DECIMALS.contains(&code) {
            0
        } else if THREE_DECIMALS.contains(&code) {
            3
        } else {
            2
        }
    }

    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is made of ASCII letters only")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no currency of ISO 4217.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a currency code of ISO 4217")]
pub struct UnknownCurrency(String);

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let known = [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS].iter().any(|group| group.contains(&code));
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(letters) if known => Ok(Self(letters)),
            _ => Err(UnknownCurrency(code.chars().take(16).collect())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

// Circulating currencies of ISO 4217, by number of decimals. Funds, metals and test codes are left out: nobody
// pays for a burger with them. MRU and MGA divide by five, yet ISO gives them two decimals.
const NO_DECIMALS: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF",
    "XPF",
];
const THREE_DECIMALS: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
const TWO_DECIMALS: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BMD", "BND", "BOB",
    "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CNY", "COP", "CRC", "CUP", "CVE", "CZK",
    "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GTQ",
    "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW", "KYD",
    "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR",
    "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP",
    "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS",
    "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH",
    "USD", "UYU", "UZS", "VES", "WST", "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_with_the_decimals_of_their_currency() {
        let shown = |amount, code: &str| Money::new(amount, code.parse().unwrap()).to_string();

        assert_eq!(shown(2599, "USD"), "25.99 USD");
        assert_eq!(shown(-5, "EUR"), "-0.05 EUR");
        assert_eq!(shown(1200, "JPY"), "1200 JPY");
        assert_eq!(shown(1005, "KWD"), "1.005 KWD");
        assert_eq!(shown(i64::MIN, "USD"), "-92233720368547758.08 USD");
    }

    #[test]
    fn only_currencies_of_iso_4217_are_accepted() {
        for bad in ["", "usd", "USDX", "ZZZ", "€", "XAU"] {
            assert!(bad.parse::<Currency>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn each_currency_stands_in_one_group_only() {
        let mut all: Vec<&str> =
            [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS].into_iter().flatten().copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();

        assert_eq!(all.len(), count);
    }
}
