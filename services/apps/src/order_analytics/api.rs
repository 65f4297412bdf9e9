//! The analytics' HTTP API: the sales of each hour.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use contract::{Money, WindowStatus};
use domain::sales::{HourlySales, Numbers, Table};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{OpenApi, ToSchema};

use crate::amount::amount;
use crate::auth::BearerAuth;
use crate::problem::{Fault, Problem, ProblemBody};

/// What is shown when the request does not say.
const DEFAULT_SPAN: SignedDuration = SignedDuration::from_hours(24);
/// Most hours (per currency) in one answer: a month.
const MOST_HOURS: usize = 31 * 24;

/// What the routes need.
#[derive(Clone)]
pub(super) struct Api {
    /// The sales of all partitions.
    pub table: Arc<Mutex<Table>>,
}

/// The OpenAPI document of the analytics.
#[derive(OpenApi)]
#[openapi(
    info(title = "Analytics", description = "What was sold in each hour."),
    paths(sales),
    components(schemas(ProblemBody)),
    modifiers(&BearerAuth)
)]
struct Document;

/// The routes of the analytics.
pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route("/api/v1/analytics/sales", get(sales))
        .route("/openapi.json", get(|| async { Json(Document::openapi()) }))
        .with_state(api)
}

/// Sales, hour by hour.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SalesBody {
    /// The hours in which anything was sold, the oldest first; one entry per currency.
    hours: Vec<HourBody>,
    /// From where to ask for the rest, where there were more hours than one answer has.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_from: Option<Timestamp>,
}

/// The sales of one hour in one currency. An order counts in the hour in which it was confirmed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HourBody {
    /// When the hour starts.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// The first moment after it.
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    /// `OPEN`: may still grow. `IDLE`: seems to be over. `CLOSED`: will never change.
    #[schema(value_type = String, example = "OPEN")]
    status: WindowStatus,
    /// The currency of all amounts.
    #[schema(example = "USD")]
    currency: String,
    /// Confirmed orders.
    orders: u64,
    /// Pieces sold.
    units: u64,
    /// What they cost, exact.
    #[schema(value_type = f64, example = 51.98)]
    revenue: Box<RawValue>,
    /// The same for each product, by name. Orders with several products count for each.
    products: Vec<ProductBody>,
}

/// The sales of one product.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductBody {
    /// The product.
    #[schema(example = "burger")]
    product_id: String,
    /// Confirmed orders that had it.
    orders: u64,
    /// Pieces sold.
    units: u64,
    /// What they cost, exact.
    #[schema(value_type = f64, example = 51.98)]
    revenue: Box<RawValue>,
}

impl From<HourlySales> for HourBody {
    fn from(sales: HourlySales) -> Self {
        let HourlySales { start, end, currency, status, all, products } = sales;
        let revenue = |numbers: Numbers| amount(Money::new(numbers.revenue_minor, currency));
        let products = products.into_iter().map(|(product, numbers)| ProductBody {
            product_id: product.into(),
            orders: numbers.orders,
            units: numbers.units,
            revenue: revenue(numbers),
        });
        Self {
            start,
            end,
            status,
            currency: currency.to_string(),
            orders: all.orders,
            units: all.units,
            revenue: revenue(all),
            products: products.collect(),
        }
    }
}

/// Show what was sold in each hour.
#[utoipa::path(
    get, path = "/api/v1/analytics/sales", tag = "analytics",
    params(
        ("from" = Option<String>, Query, description = "Hours that start at this time or later; if absent, 24 hours before `to`."),
        ("to" = Option<String>, Query, description = "Hours that start before this time; if absent, now.")
    ),
    responses(
        (status = 200, body = SalesBody),
        (status = 422, description = "The query is at fault.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn sales(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<SalesBody>, Problem> {
    let Span { from, to } = Span::parse(query.as_deref(), Timestamp::now())?;
    let table = api.table.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hours = table.between(from, to, MOST_HOURS + 1);
    drop(table);
    // An hour is not cut in two between its currencies.
    let next_from = hours.get(MOST_HOURS).map(|next| next.start);
    hours.retain(|hour| next_from.is_none_or(|next| hour.start < next));
    Ok(Json(SalesBody { hours: hours.into_iter().map(HourBody::from).collect(), next_from }))
}

/// The hours that are asked for.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    from: Timestamp,
    to: Timestamp,
}

impl Span {
    fn parse(query: Option<&str>, now: Timestamp) -> Result<Self, Problem> {
        let (mut from, mut to, mut faults) = (None, None, Vec::new());
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "from" => &mut from,
                "to" => &mut to,
                unknown => {
                    faults.push(Fault::query(unknown, "is not a parameter of the sales"));
                    continue;
                }
            };
            match value.parse::<Timestamp>() {
                Ok(time) => *place = Some(time),
                Err(_no_time) => {
                    faults.push(Fault::query(&name, "must be a time such as 2026-03-20T09:00:00Z"))
                }
            }
        }
        let to = to.unwrap_or(now);
        let from = from.unwrap_or_else(|| to.checked_sub(DEFAULT_SPAN).unwrap_or(Timestamp::MIN));
        if faults.is_empty() && from > to {
            faults.push(Fault::query("from", "must not be after `to`"));
        }
        if faults.is_empty() { Ok(Self { from, to }) } else { Err(Problem::invalid(faults)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Span, Vec<String>> {
        let now = "2026-03-20T09:30:00Z".parse().unwrap();
        Span::parse(Some(query), now)
            .map_err(|problem| problem.faults.into_iter().map(|fault| fault.field).collect())
    }

    #[test]
    fn the_last_day_is_shown_unless_the_request_says_otherwise() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();

        assert_eq!(
            parse("").unwrap(),
            Span { from: time("2026-03-19T09:30:00Z"), to: time("2026-03-20T09:30:00Z") }
        );
        assert_eq!(
            parse("from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00%2B01:00").unwrap(),
            Span { from: time("2026-01-01T00:00:00Z"), to: time("2026-01-01T00:00:00Z") }
        );
    }

    #[test]
    fn every_parameter_at_fault_is_named() {
        assert_eq!(parse("from=yesterday&to=&hour=9"), Err(vec!["from".into(), "to".into(), "hour".into()]));
        assert_eq!(parse("from=2026-03-21T00:00:00Z"), Err(vec!["from".into()]));
    }
}
