//! The gauge of what a service is still to ask its provider for: refunds that are not done among it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use contract::Service;
use prometheus::{IntGaugeVec, Opts};
use strum::VariantArray;

use super::record::Record;
use crate::service::Context;

/// Derives `<service>_pending{status}` from the database, before a scrape.
///
/// # Errors
/// The registry has it already.
pub fn derive<R>(context: &Context, service: Service) -> Result<()>
where
    R: Record<Status: VariantArray>,
{
    let gauge = IntGaugeVec::new(
        Opts::new(
            format!("{service}_pending"),
            "Orders about which something is still to be done, of all replicas together.",
        ),
        &["status"],
    )?;
    context.exposition.registry().register(Box::new(gauge.clone()))?;
    let pool = context.pool.clone();
    context.exposition.refresh_with(Arc::new(move || {
        let (pool, gauge) = (pool.clone(), gauge.clone());
        Box::pin(async move {
            let counted = async { R::count_open(&mut *pool.acquire().await?).await };
            match counted.await {
                Ok(counts) => show::<R>(&gauge, &counts),
                Err(error) => tracing::warn!(error = %error, "what is pending could not be counted"),
            }
        })
    }));
    Ok(())
}

fn show<R: Record<Status: VariantArray>>(gauge: &IntGaugeVec, counts: &BTreeMap<String, i64>) {
    for status in R::Status::VARIANTS.iter().copied().filter(|status| R::is_open(*status)) {
        let name = status.to_string();
        gauge.with_label_values(&[name.as_str()]).set(counts.get(&name).copied().unwrap_or(0));
    }
}
