//! The query strings of the order API.

use std::time::Duration;

use contract::{CustomerId, OrderId};
use jiff::SignedDuration;

use super::store::{Filter, Order, micros};
use super::view::Status;
use crate::http::LONGEST_WAIT;
use crate::problem::{Fault, Problem};

/// Orders per page where the request does not say.
const DEFAULT_LIMIT: i64 = 50;

/// Most orders per page.
const MOST_LIMIT: i64 = 200;

/// Which page of which orders.
#[derive(Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Which orders.
    pub filter: Filter,
    /// How many.
    pub limit: i64,
}

impl ListQuery {
    /// Reads the query string of the list.
    ///
    /// # Errors
    /// All parameters at fault.
    pub fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut read = Self { filter: Filter::default(), limit: DEFAULT_LIMIT };
        let mut faults = Vec::new();
        for (name, value) in pairs(query) {
            match name.as_str() {
                "customerId" => match value.parse::<CustomerId>() {
                    Ok(customer_id) => read.filter.customer_id = Some(customer_id.into()),
                    Err(error) => faults.push(Fault::query("customerId", error.to_string())),
                },
                "status" => match value.parse::<Status>() {
                    Ok(status) => read.filter.status = Some(status.into()),
                    Err(_unknown) => {
                        faults.push(Fault::query(
                            "status",
                            "must be PENDING, CONFIRMED, COMPLETED or CANCELLED",
                        ));
                    }
                },
                "limit" => match value.parse().ok().filter(|limit| (1..=MOST_LIMIT).contains(limit)) {
                    Some(limit) => read.limit = limit,
                    None => faults.push(Fault::query("limit", format!("must be from 1 to {MOST_LIMIT}"))),
                },
                "cursor" => match parse_cursor(&value) {
                    Some(after) => read.filter.after = Some(after),
                    None => faults.push(Fault::query("cursor", "must be the nextCursor of another page")),
                },
                // Silently ignoring a misspelt filter would show other people's orders.
                unknown => faults.push(Fault::query(unknown, "is not a parameter of this list")),
            }
        }
        if faults.is_empty() { Ok(read) } else { Err(Problem::invalid(faults)) }
    }
}

/// How long to wait: `10s`, `500ms`, `1m`, or a number of seconds. Longer than possible is cut, as the caller
/// has to ask again in either case.
pub fn read_wait(query: Option<&str>, faults: &mut Vec<Fault>) -> Duration {
    let Some((_, value)) = pairs(query).into_iter().find(|(name, _)| name == "wait") else {
        return Duration::ZERO;
    };
    let parsed = match value.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_no_number) => {
            value.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok())
        }
    };
    let Some(wait) = parsed else {
        faults.push(Fault::query("wait", "must be a duration such as 10s or 500ms"));
        return Duration::ZERO;
    };
    wait.min(LONGEST_WAIT)
}

/// Where the page after `order` begins. Opaque to clients; a place in the list rather than a number of
/// orders, so that new orders do not shift the pages.
pub fn cursor_after(order: &Order) -> String {
    format!("{:x}-{}", micros(order.created_at), order.id.as_uuid().simple())
}

fn parse_cursor(cursor: &str) -> Option<(i64, OrderId)> {
    let (micros, id) = cursor.split_once('-')?;
    Some((i64::from_str_radix(micros, 16).ok()?, id.parse().ok()?))
}

fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let query = query.unwrap_or_default().as_bytes();
    url::form_urlencoded::parse(query).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_fields(query: &str) -> Vec<String> {
        ListQuery::parse(Some(query)).unwrap_err().faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn all_parameters_are_read() {
        let id = OrderId::new(uuid::Uuid::from_u128(7));
        let query = format!("customerId=a%20b&status=PENDING&limit=2&cursor=ff-{}", id.as_uuid().simple());

        let read = ListQuery::parse(Some(&query)).unwrap();

        let filter =
            Filter { customer_id: Some("a b".into()), status: Some("PENDING"), after: Some((255, id)) };
        assert_eq!(read, ListQuery { filter, limit: 2 });
    }

    #[test]
    fn every_parameter_at_fault_is_named() {
        assert_eq!(
            fault_fields("customerId=&status=open&limit=0&cursor=x&sort=up"),
            ["customerId", "status", "limit", "cursor", "sort"]
        );
        assert_eq!(fault_fields("limit=201"), ["limit"]);
    }

    #[test]
    fn waits_are_durations_within_bounds() {
        let mut faults = Vec::new();

        let read =
            ["wait=10s", "wait=500ms", "wait=3", "wait=1h", ""].map(|q| read_wait(Some(q), &mut faults));

        let seconds = [10.0, 0.5, 3.0, 30.0, 0.0].map(Duration::from_secs_f64);
        assert_eq!((read, faults.len()), (seconds, 0));
        for bad in ["wait=soon", "wait=-1s", "wait="] {
            faults.clear();
            read_wait(Some(bad), &mut faults);
            assert_eq!(faults.len(), 1, "{bad}");
        }
    }
}
