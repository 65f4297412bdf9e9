//! `orders prepare-database`: one database and one role per service, so that no service can read another's
//! tables. Run by a Job with an administrator's credentials, which the services themselves never see.
//!
//! Safe to run again and again, and by several processes at once: every step asks first, passwords are set
//! each time (which is also how they are rotated), and nothing is ever dropped.

mod scram;

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use url::Url;

use crate::config::PrepareConfig;
use crate::database;

/// Advisory lock held while preparing; the number only has to be the same in every run.
const LOCK: i64 = 0x6f72_6465_7273;

/// The longest name PostgreSQL keeps (`NAMEDATALEN` − 1); longer ones would be cut, and two could become one.
const LONGEST_NAME: usize = 63;

/// Why the databases could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Nothing says how to reach the server.
    #[error("ADMIN_DATABASE_URL is not set")]
    NoAdminUrl,
    /// A URL that is none. Its text is a secret and not shown.
    #[error("{what} is not a PostgreSQL URL: {reason}")]
    Url {
        /// Which one.
        what: String,
        /// What is missing.
        reason: String,
    },
    /// The services' URLs cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing to prepare.
    #[error("{} holds no folder with a file DATABASE_URL", dir.display())]
    Nothing {
        /// The folder that was searched.
        dir: PathBuf,
    },
    /// The server refused.
    #[error("could not {doing}")]
    Database {
        /// What was being done.
        doing: String,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
}

/// What one service connects to and as whom.
#[derive(Debug)]
pub struct Target {
    database: String,
    role: String,
    password: SecretString,
}

impl Target {
    /// The target behind a service's database URL; `what` names the URL in errors.
    ///
    /// # Errors
    /// When the URL lacks a user, a password or a database, or a name is longer than PostgreSQL keeps.
    pub fn of(url: &str, what: &str) -> Result<Self, PrepareError> {
        let invalid = |reason: String| PrepareError::Url { what: what.to_owned(), reason };
        let parsed = Url::parse(url.trim()).map_err(|error| invalid(error.to_string()))?;
        let decode = |part: &str, name: &str| {
            percent_decoded(part)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| invalid(format!("it has no {name}")))
        };
        let target = Self {
            database: decode(parsed.path().trim_start_matches('/'), "database")?,
            role: decode(parsed.username(), "user")?,
            password: decode(parsed.password().unwrap_or_default(), "password")?.into(),
        };
        if let Some(name) =
            [&target.database, &target.role].into_iter().find(|name| name.len() > LONGEST_NAME)
        {
            return Err(invalid(format!("{name} is longer than {LONGEST_NAME} bytes")));
        }
        if !target.password.expose_secret().is_ascii() {
            return Err(invalid("its password is not ASCII".to_owned()));
        }
        Ok(target)
    }
}

/// Prepares every database that the configured folder names.
///
/// # Errors
/// The first thing that went wrong; what was done before stays, and the next run goes on from there.
pub async fn run(config: &PrepareConfig) -> Result<(), PrepareError> {
    let admin_url = config.admin_database_url.as_ref().ok_or(PrepareError::NoAdminUrl)?;
    let targets = read_targets(&config.databases_dir).await?;
    prepare(admin_url, config.database_ca_file.as_deref(), &targets).await
}

/// Creates the role and the database of each of `targets` where they are missing, on the server of `admin_url`, whose
/// certificate the authorities in `ca_file` have signed.
///
/// # Errors
/// The first thing that went wrong.
pub async fn prepare(
    admin_url: &SecretString,
    ca_file: Option<&Path>,
    targets: &[Target],
) -> Result<(), PrepareError> {
    let options = database::options(admin_url, ca_file).map_err(|_invalid| PrepareError::Url {
        what: "ADMIN_DATABASE_URL".to_owned(),
        reason: "it cannot be parsed".to_owned(),
    })?;
    let mut admin = Admin::connect(&with_a_database(options)).await?;
    for target in targets {
        admin.prepare_role(target).await?;
        admin.prepare_database(target).await?;
        tracing::info!(database = target.database, role = target.role, "the database is prepared");
    }
    step("leave the server", admin.connection.close()).await
}

/// The URL of CloudNativePG's superuser names the database `*`, which means any: as an administrator's, take the one
/// that every server has for that.
fn with_a_database(options: PgConnectOptions) -> PgConnectOptions {
    match options.get_database() {
        Some("*") => options.database("postgres"),
        Some(_) | None => options,
    }
}

/// Creates the database `name` for whoever `options` connects as, unless it exists. For development, where
/// one user owns all databases.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn create_if_missing(options: &PgConnectOptions, name: &str) -> Result<(), PrepareError> {
    let mut admin = Admin::connect(options).await?;
    if !admin.has_database(name).await? {
        admin.execute(&format!("create the database {name}"), "CREATE DATABASE %I", &[name]).await?;
    }
    step("leave the server", admin.connection.close()).await
}

struct Admin {
    connection: PgConnection,
}

impl Admin {
    async fn connect(options: &PgConnectOptions) -> Result<Self, PrepareError> {
        // Statements carry password verifiers; sqlx would log slow ones.
        let options = options.clone().disable_statement_logging();
        let mut admin = Self { connection: step("connect to the server", options.connect()).await? };
        // Two at once would both find a database missing, and one would fail to create it.
        let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK);
        step("wait for other preparations", lock.execute(&mut admin.connection)).await?;
        Ok(admin)
    }

    async fn has_database(&mut self, name: &str) -> Result<bool, PrepareError> {
        let exists = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)");
        step("look for a database", exists.bind(name).fetch_one(&mut self.connection)).await
    }

    async fn prepare_role(&mut self, target: &Target) -> Result<(), PrepareError> {
        let doing = format!("prepare the role {}", target.role);
        let exists = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)");
        let exists: bool = step(&doing, exists.bind(&target.role).fetch_one(&mut self.connection)).await?;
        let verb = if exists { "ALTER" } else { "CREATE" };
        // The verifier, never the password: statements end up in server logs, and a verifier opens nothing.
        let verifier = scram::verifier(&target.password);
        let template = format!("{verb} ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %L");
        self.execute(&doing, &template, &[&target.role, &verifier]).await
    }

    async fn prepare_database(&mut self, target: &Target) -> Result<(), PrepareError> {
        let doing = format!("prepare the database {}", target.database);
        // Only a member of a role may give it a database; a superuser is one of all.
        let member = sqlx::query_scalar("SELECT pg_has_role(current_user, $1, 'MEMBER')");
        let member: bool = step(&doing, member.bind(&target.role).fetch_one(&mut self.connection)).await?;
        if !member {
            self.execute(&doing, "GRANT %I TO CURRENT_USER", &[&target.role]).await?;
        }
        let exists = self.has_database(&target.database).await?;
        let verb = if exists { "ALTER DATABASE %I OWNER TO %I" } else { "CREATE DATABASE %I OWNER %I" };
        self.execute(&doing, verb, &[&target.database, &target.role]).await?;
        // By default every role of the server may connect to every database.
        self.execute(&doing, "REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC", &[&target.database])
            .await
    }

    /// Runs a statement that cannot have parameters, quoted by the server itself.
    async fn execute(&mut self, doing: &str, template: &str, names: &[&str]) -> Result<(), PrepareError> {
        let quote = sqlx::query_scalar("SELECT format($1, VARIADIC $2::text[])");
        let statement: String =
            step(doing, quote.bind(template).bind(names).fetch_one(&mut self.connection)).await?;
        // Safe: every name went through the server's `format` as %I or %L.
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        step(doing, statement.execute(&mut self.connection)).await.map(drop)
    }
}

async fn step<T>(doing: &str, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, PrepareError> {
    work.await.map_err(|source| PrepareError::Database { doing: doing.to_owned(), source })
}

async fn read_targets(dir: &Path) -> Result<Vec<Target>, PrepareError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| PrepareError::Read { path, source }
    };
    let mut entries = tokio::fs::read_dir(dir).await.map_err(unreadable(dir))?;
    let mut files = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(unreadable(dir))? {
        let file = entry.path().join("DATABASE_URL");
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    let mut targets = Vec::new();
    for file in &files {
        let url = tokio::fs::read_to_string(file).await.map_err(unreadable(file))?;
        targets.push(Target::of(&url, &file.display().to_string())?);
    }
    if targets.is_empty() { Err(PrepareError::Nothing { dir: dir.to_owned() }) } else { Ok(targets) }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [char::from(rest.next()?), char::from(rest.next()?)];
            let high = digits.first()?.to_digit(16)?;
            let low = digits.last()?.to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_url_names_role_password_and_database() {
        let target =
            Target::of("postgres://shop%5Forder:p%40ss@db:5432/shop_order?sslmode=require\n", "x").unwrap();

        assert_eq!((target.role.as_str(), target.database.as_str()), ("shop_order", "shop_order"));
        assert_eq!(target.password.expose_secret(), "p@ss");
    }

    #[test]
    fn what_a_url_lacks_is_said_without_showing_it() {
        let long = format!("postgres://u:secret@h/{}", "d".repeat(64));
        for (url, reason) in [
            ("postgres://h/db", "no user"),
            ("postgres://u@h/db", "no password"),
            ("postgres://u:secret@h", "no database"),
            (long.as_str(), "longer than 63"),
            ("secret", "relative URL"),
        ] {
            let error = Target::of(url, "order/DATABASE_URL").unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
