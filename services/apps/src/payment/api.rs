//! The payments' HTTP API: look one up.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::{OpenApi, ToSchema};

use super::store::{self, Payment};
use crate::auth::BearerAuth;
use crate::problem::{Kind, Problem, ProblemBody, order_id, unreachable};

/// The OpenAPI document of the payment service.
#[derive(OpenApi)]
#[openapi(
    info(title = "Payments", description = "The payment of each order."),
    paths(read),
    components(schemas(ProblemBody)),
    modifiers(&BearerAuth)
)]
struct Document;

/// The routes of the payment service.
pub(super) fn routes(pool: PgPool) -> Router {
    Router::new()
        .route("/api/v1/payments/{orderId}", get(read))
        .route("/openapi.json", get(|| async { Json(Document::openapi()) }))
        .with_state(pool)
}

/// The payment of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaymentBody {
    /// The order.
    pub order_id: String,
    /// The payment, as the provider and the customer's statement know it.
    pub payment_id: String,
    /// How far it is: REQUESTED, CAPTURED, FAILED, REFUNDING, REFUNDED, VOIDING, VOIDED or CANCELLED.
    #[schema(example = "CAPTURED")]
    pub status: String,
    /// What is, or would be, captured, in minor units.
    pub amount_minor: i64,
    /// The currency.
    #[schema(example = "USD")]
    pub currency: String,
    /// Why it failed, where it did.
    pub detail: Option<String>,
    /// When it was asked for.
    pub created_at: String,
    /// When its status last changed.
    pub updated_at: String,
}

impl From<&Payment> for PaymentBody {
    fn from(payment: &Payment) -> Self {
        Self {
            order_id: payment.progress.order_id.to_string(),
            payment_id: payment.payment_id.to_string(),
            status: payment.progress.status.to_string(),
            amount_minor: payment.amount.amount_minor,
            currency: payment.amount.currency.to_string(),
            detail: payment.progress.detail.clone(),
            created_at: payment.progress.created_at.to_string(),
            updated_at: payment.progress.updated_at.to_string(),
        }
    }
}

/// Show the payment of an order.
#[utoipa::path(
    get, path = "/api/v1/payments/{orderId}", tag = "payments",
    params(("orderId" = String, Path)),
    responses(
        (status = 200, body = PaymentBody),
        (status = 404, description = "No payment was asked for.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn read(State(pool): State<PgPool>, Path(order): Path<String>) -> Result<Json<PaymentBody>, Problem> {
    let order = order_id(&order)?;
    let mut conn = pool.acquire().await.map_err(unreachable("payments"))?;
    let payment = store::read(&mut conn, order).await.map_err(unreachable("payments"))?;
    payment
        .as_ref()
        .map(|payment| Json(payment.into()))
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("order {order} has no payment")))
}
