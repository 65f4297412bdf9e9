//! The shipments' HTTP API: look one up.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::{OpenApi, ToSchema};

use super::store::{self, Shipment};
use crate::auth::BearerAuth;
use crate::problem::{Kind, Problem, ProblemBody, order_id, unreachable};

/// The OpenAPI document of the shipping service.
#[derive(OpenApi)]
#[openapi(
    info(title = "Shipments", description = "The shipment of each order."),
    paths(read),
    components(schemas(ProblemBody)),
    modifiers(&BearerAuth)
)]
struct Document;

/// The routes of the shipping service.
pub(super) fn routes(pool: PgPool) -> Router {
    Router::new()
        .route("/api/v1/shipments/{orderId}", get(read))
        .route("/openapi.json", get(|| async { Json(Document::openapi()) }))
        .with_state(pool)
}

/// The shipment of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShipmentBody {
    /// The order.
    pub order_id: String,
    /// The shipment, as the carrier knows it.
    pub shipment_id: String,
    /// How far it is: REQUESTED, SCHEDULED, DISPATCHED, DELIVERED, FAILED, RECALLING, RECALLED,
    /// VOIDING, VOIDED or CANCELLED.
    #[schema(example = "DISPATCHED")]
    pub status: String,
    /// Who carries it, once that is agreed.
    pub carrier: Option<String>,
    /// By which the customer follows it, once that is agreed.
    pub tracking_number: Option<String>,
    /// Why it failed, where it did.
    pub detail: Option<String>,
    /// When it was asked for.
    pub created_at: String,
    /// When its status last changed.
    pub updated_at: String,
}

impl From<&Shipment> for ShipmentBody {
    fn from(shipment: &Shipment) -> Self {
        let booking = shipment.booking.as_ref();
        Self {
            order_id: shipment.progress.order_id.to_string(),
            shipment_id: shipment.shipment_id.to_string(),
            status: shipment.progress.status.to_string(),
            carrier: booking.map(|booking| booking.carrier.clone()),
            tracking_number: booking.map(|booking| booking.tracking_number.clone()),
            detail: shipment.progress.detail.clone(),
            created_at: shipment.progress.created_at.to_string(),
            updated_at: shipment.progress.updated_at.to_string(),
        }
    }
}

/// Show the shipment of an order.
#[utoipa::path(
    get, path = "/api/v1/shipments/{orderId}", tag = "shipments",
    params(("orderId" = String, Path)),
    responses(
        (status = 200, body = ShipmentBody),
        (status = 404, description = "No shipment was asked for.", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn read(State(pool): State<PgPool>, Path(order): Path<String>) -> Result<Json<ShipmentBody>, Problem> {
    let order = order_id(&order)?;
    let mut conn = pool.acquire().await.map_err(unreachable("shipments"))?;
    let shipment = store::read(&mut conn, order).await.map_err(unreachable("shipments"))?;
    shipment
        .as_ref()
        .map(|shipment| Json(shipment.into()))
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("order {order} has no shipment")))
}
