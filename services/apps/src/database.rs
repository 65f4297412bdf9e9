//! How a service's database is connected to.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// A URL that is none. Its text is a secret and not shown; the parser's own error would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no PostgreSQL URL")]
pub struct InvalidUrl;

/// What `url` says. With `ca_file`, the authorities in it and the system's are the only ones trusted, and the server
/// has to be the one that the URL names: anything less in the URL's `sslmode` is made `verify-full`. `verify-ca`
/// stays, which somebody has to want.
///
/// # Errors
/// When it is no URL of PostgreSQL.
pub fn options(url: &SecretString, ca_file: Option<&Path>) -> Result<PgConnectOptions, InvalidUrl> {
    let options: PgConnectOptions = url.expose_secret().trim().parse().map_err(|_secret| InvalidUrl)?;
    let Some(ca_file) = ca_file else { return Ok(options) };
    let mode = match options.get_ssl_mode() {
        PgSslMode::VerifyCa => PgSslMode::VerifyCa,
        PgSslMode::Disable
        | PgSslMode::Allow
        | PgSslMode::Prefer
        | PgSslMode::Require
        | PgSslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    Ok(options.ssl_mode(mode).ssl_root_cert(ca_file))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", PgSslMode::VerifyFull)]
    #[case("?sslmode=disable", PgSslMode::VerifyFull)]
    #[case("?sslmode=require", PgSslMode::VerifyFull)]
    #[case("?sslmode=verify-ca", PgSslMode::VerifyCa)]
    #[case("?sslmode=verify-full", PgSslMode::VerifyFull)]
    fn an_authority_is_there_to_verify(#[case] said: &str, #[case] mode: PgSslMode) {
        let url = format!("postgres://user:hunter2@db/shop{said}").into();

        let found = options(&url, Some(Path::new("/run/ca.crt"))).unwrap().get_ssl_mode();

        assert_eq!(format!("{found:?}"), format!("{mode:?}"));
    }

    #[test]
    fn without_one_the_url_decides() {
        let url = "postgres://user:hunter2@db/shop?sslmode=require".to_owned().into();

        assert!(matches!(options(&url, None).unwrap().get_ssl_mode(), PgSslMode::Require));
    }

    #[test]
    fn a_url_that_is_none_is_not_shown() {
        let error = options(&"hunter2".to_owned().into(), None).unwrap_err();

        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
