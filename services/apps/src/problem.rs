//! Problem details (RFC 9457): the one shape in which the HTTP APIs say no.
//!
//! A problem names every fault it found, not the first one, and never carries what the server knows about
//! itself: causes go to the log under the same correlation id.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::OrderId;
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Where in a request a fault was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// In the JSON body; `pointer` says where.
    Body,
    /// In the query string.
    Query,
    /// In the path.
    Path,
    /// In a header.
    Header,
}

/// One field at fault, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The part of the request that holds the field.
    #[serde(rename = "in")]
    pub location: Location,
    /// The field as a person writes it, such as `orderItems[0].quantity`.
    #[schema(example = "orderItems[0].quantity")]
    pub field: String,
    /// The field as a JSON pointer in URI form; only for the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "#/orderItems/0/quantity")]
    pub pointer: Option<String>,
    /// What is wrong and what would be right.
    #[schema(example = "must be between 1 and 10000")]
    pub detail: String,
}

impl Fault {
    /// A fault of a query parameter.
    pub fn query(field: &str, detail: impl Into<String>) -> Self {
        Self { location: Location::Query, field: field.into(), pointer: None, detail: detail.into() }
    }

    /// A fault of a path parameter.
    pub fn path(field: &str, detail: impl Into<String>) -> Self {
        Self { location: Location::Path, field: field.into(), pointer: None, detail: detail.into() }
    }

    /// A fault of a header.
    pub fn header(field: &str, detail: impl Into<String>) -> Self {
        Self { location: Location::Header, field: field.into(), pointer: None, detail: detail.into() }
    }
}

/// The kinds of problem the APIs answer; each has one status, one title and one stable `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read at all.
    Malformed,
    /// The request was read, and some of its fields are at fault.
    Invalid,
    /// The caller must show a token, and did not show a good one.
    Unauthorized,
    /// Nothing lives at this address.
    NotFound,
    /// The address exists, but not with this method.
    MethodNotAllowed,
    /// The request contradicts what was accepted before.
    Conflict,
    /// An `Idempotency-Key` was used before with another body.
    IdempotencyKeyReused,
    /// The body is larger than any valid request.
    TooLarge,
    /// The body is not JSON by its own account.
    UnsupportedMediaType,
    /// The service cannot answer now; the same request may work later.
    Unavailable,
    /// The request took longer than the service is willing to work on it.
    TimedOut,
    /// A bug.
    Internal,
}

impl Kind {
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed-request", "The request cannot be read"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields", "Some fields are invalid"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid token is needed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This method is not allowed here")
            }
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "This contradicts an earlier request"),
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "This Idempotency-Key belongs to another request",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON")
            }
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service cannot answer now")
            }
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "The request took too long"),
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "The service failed to answer")
            }
        }
    }

    /// The status a problem of this kind is answered with.
    pub fn status(self) -> StatusCode {
        self.row().0
    }
}

/// One refused or failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: Kind,
    /// What happened this time, for a person.
    pub detail: String,
    /// Every field at fault, in the order of the request.
    pub faults: Vec<Fault>,
}

impl Problem {
    /// A problem without fields.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), faults: Vec::new() }
    }

    /// A request whose fields are at fault; `faults` is not empty.
    pub fn invalid(faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [only] => format!("{} {}", only.field, only.detail),
            many => format!("{} fields are invalid", many.len()),
        };
        Self { kind: Kind::Invalid, detail, faults }
    }

    /// The answer to a failure that the caller cannot mend and may retry.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, detail)
    }

    /// The body as it goes over the wire; `instance` and `correlation_id` belong to the request.
    pub fn body(&self, instance: Option<&str>, correlation_id: Option<&str>) -> ProblemBody {
        let (status, slug, title) = self.kind.row();
        ProblemBody {
            kind: format!("urn:orderpipeline:problem:{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            instance: instance.map(str::to_owned),
            correlation_id: correlation_id.map(str::to_owned),
            errors: self.faults.clone(),
        }
    }
}

/// The JSON of a problem (RFC 9457) with the extension members `correlationId` and `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A stable name of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:orderpipeline:problem:invalid-fields")]
    pub kind: String,
    /// The kind of problem for a person; the same for every problem of one type.
    pub title: String,
    /// The HTTP status, repeated for bodies that travel without it.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The id under which the logs tell more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Every field at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

impl ProblemBody {
    /// The complete response: status, media type, and `Retry-After` where a retry can help.
    pub fn into_response_of(self, kind: Kind) -> Response {
        let json = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (kind.status(), [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))], json)
                .into_response();
        if kind.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Carries the problem to the middleware in `http`, which knows the path and the correlation id and writes
/// the body. A router without that middleware still answers the bare problem.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.body(None, None).into_response_of(self.kind);
        response.extensions_mut().insert(self);
        response
    }
}

/// The id of an order in a path.
///
/// # Errors
/// It is no such id.
pub fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(vec![Fault::path("orderId", format!("is invalid: {error}"))]))
}

/// The answer where `what` cannot be read or changed: the database is away. The caller may retry.
pub fn unreachable<E: std::error::Error + 'static>(what: &'static str) -> impl Fn(E) -> Problem + Copy {
    move |error| {
        tracing::error!(error = &error as &dyn std::error::Error, what, "a request failed");
        Problem::unavailable(format!("the {what} cannot be reached; try again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_fault_is_told_in_the_detail() {
        let problem = Problem::invalid(vec![Fault::query("limit", "must be between 1 and 200")]);

        assert_eq!(problem.detail, "limit must be between 1 and 200");
    }

    #[test]
    fn the_body_has_the_members_of_rfc_9457() {
        let problem = Problem::invalid(vec![Fault::header("Idempotency-Key", "must not be empty")]);

        let json = serde_json::to_value(problem.body(Some("/api/v1/orders"), Some("c-1"))).unwrap();

        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:orderpipeline:problem:invalid-fields",
                "title": "Some fields are invalid",
                "status": 422,
                "detail": "Idempotency-Key must not be empty",
                "instance": "/api/v1/orders",
                "correlationId": "c-1",
                "errors": [{"in": "header", "field": "Idempotency-Key", "detail": "must not be empty"}],
            })
        );
    }

    #[test]
    fn unavailable_answers_when_to_come_back() {
        let response = Problem::unavailable("the database is down").into_response();

        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
