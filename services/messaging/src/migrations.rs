//! The tables that messaging needs in each service's own database.
//!
//! They are versioned apart from the service's tables, in `_messaging_migrations` instead of sqlx's default
//! table, so that the two histories never have to agree on numbers, and neither needs `ignore_missing`,
//! which would also hide a migration that really is missing.

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

const TABLE: &str = "_messaging_migrations";

/// The migrator of the tables of messaging. It takes sqlx's per-database lock, so that replicas that
/// start at once wait for each other.
#[must_use]
pub fn migrations() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Brings the messaging tables of the pool's database up to date. Safe to run again, and at once by many.
///
/// # Errors
/// The database cannot be reached, or its history is not a prefix of this build's.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrations().run(pool).await
}
