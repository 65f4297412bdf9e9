//! Whose tokens the public APIs ask for.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use super::InvalidConfig;
use crate::auth::Trust;

/// Whose tokens the public APIs ask for.
#[derive(Debug, Clone, Default, Args)]
pub struct JwtConfig {
    /// The issuer of the tokens (JWT) that the public APIs ask for, as their claim `iss` spells it: a URL. Without it
    /// they ask for none.
    #[arg(long, env = "JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// For whom tokens must be, comma-separated: their claim `aud` has one of these. Without it `aud` is not looked at.
    #[arg(long, env = "JWT_AUDIENCES", value_delimiter = ',', value_parser = audience)]
    pub jwt_audiences: Vec<String>,
    /// Where the issuer's keys (JWKS) are; by default where the issuer says they are, by OpenID Connect discovery.
    #[arg(long, env = "JWT_JWKS_URL")]
    pub jwt_jwks_url: Option<Url>,
    /// PEM file of the authorities that sign the issuer's certificate, beside the system's.
    #[arg(long, env = "JWT_CA_FILE")]
    pub jwt_ca_file: Option<PathBuf>,
}

/// An empty one would be that of no token, and keep everybody out.
fn audience(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("an audience is empty; leave the variable out to take tokens for anybody"),
        audience => Ok(audience.to_owned()),
    }
}

impl JwtConfig {
    /// Whom to trust, if tokens are asked for.
    ///
    /// # Errors
    /// A setting that would be without effect, or an address that is none.
    pub fn trust(&self) -> Result<Option<Trust>, InvalidConfig> {
        let Some(issuer) = &self.jwt_issuer else { return self.nothing().map(|()| None) };
        // As it stands, not as it would be written by us: tokens are compared with it to the letter.
        let url = issuer.parse().map_err(|error| InvalidConfig::Invalid {
            name: "JWT_ISSUER",
            reason: format!("must be a URL: {error}"),
        })?;
        check("JWT_ISSUER", &url)?;
        if url.query().is_some() || url.fragment().is_some() {
            return invalid("JWT_ISSUER", "must end with its path: issuers have no query and no fragment");
        }
        if let Some(url) = &self.jwt_jwks_url {
            check("JWT_JWKS_URL", url)?;
        }
        Ok(Some(Trust {
            issuer: issuer.clone(),
            audiences: self.jwt_audiences.clone(),
            jwks_url: self.jwt_jwks_url.clone(),
            ca_file: self.jwt_ca_file.clone(),
        }))
    }

    /// What is said about tokens that nobody asks for is a mistake: the APIs would be open, and seem not to be.
    fn nothing(&self) -> Result<(), InvalidConfig> {
        let stray = [
            ("JWT_AUDIENCES", !self.jwt_audiences.is_empty()),
            ("JWT_JWKS_URL", self.jwt_jwks_url.is_some()),
            ("JWT_CA_FILE", self.jwt_ca_file.is_some()),
        ];
        match stray.into_iter().find(|(_name, is_set)| *is_set) {
            Some((name, _)) => invalid(name, "is without effect: set JWT_ISSUER, or no token is asked for"),
            None => Ok(()),
        }
    }
}

fn check(name: &'static str, url: &Url) -> Result<(), InvalidConfig> {
    if !matches!(url.scheme(), "http" | "https") {
        return invalid(name, "must begin with http:// or https://");
    }
    // It is logged and shown; the error must not repeat what is in it.
    if url.password().is_some() || !url.username().is_empty() {
        return invalid(name, "must not hold a user or a password");
    }
    Ok(())
}

fn invalid<T>(name: &'static str, reason: &str) -> Result<T, InvalidConfig> {
    Err(InvalidConfig::Invalid { name, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn jwt(arguments: &[&str]) -> Result<JwtConfig, clap::Error> {
        #[derive(clap::Parser)]
        struct Process {
            #[command(flatten)]
            jwt: JwtConfig,
        }
        <Process as clap::Parser>::try_parse_from(["orders"].iter().chain(arguments))
            .map(|process| process.jwt)
    }

    fn refusal(arguments: &[&str]) -> String {
        jwt(arguments).unwrap().trust().unwrap_err().to_string()
    }

    #[test]
    fn without_an_issuer_no_token_is_asked_for() {
        assert_eq!(jwt(&[]).unwrap().trust().unwrap(), None);
    }

    #[test]
    fn everything_said_about_an_issuer_is_passed_on_to_the_letter() {
        let arguments =
            ["--jwt-issuer=https://Id.example", "--jwt-audiences=shop, till", "--jwt-ca-file=/ca.crt"];

        let trust = jwt(&arguments).unwrap().trust().unwrap().unwrap();

        let audiences = vec!["shop".to_owned(), "till".to_owned()];
        let ca_file = Some("/ca.crt".into());
        assert_eq!(
            trust,
            Trust { issuer: "https://Id.example".to_owned(), audiences, jwks_url: None, ca_file }
        );
    }

    #[rstest]
    #[case(&["--jwt-audiences=shop"], "JWT_AUDIENCES")]
    #[case(&["--jwt-jwks-url=https://id.example/keys"], "JWT_JWKS_URL")]
    #[case(&["--jwt-ca-file=/ca.crt"], "JWT_CA_FILE")]
    fn what_is_said_about_no_issuer_is_refused_by_its_name(#[case] arguments: &[&str], #[case] name: &str) {
        let refused = refusal(arguments);

        assert!(refused.starts_with(name) && refused.contains("set JWT_ISSUER"), "{refused}");
    }

    #[rstest]
    #[case(&["--jwt-issuer=id.example"], "JWT_ISSUER must be a URL")]
    #[case(&["--jwt-issuer="], "JWT_ISSUER must be a URL")]
    #[case(&["--jwt-issuer=ftp://id.example"], "JWT_ISSUER must begin with http")]
    #[case(&["--jwt-issuer=https://ada:hunter2@id.example"], "JWT_ISSUER must not hold")]
    #[case(&["--jwt-issuer=https://id.example?realm=shop"], "JWT_ISSUER must end with its path")]
    #[case(&["--jwt-issuer=https://id.example", "--jwt-jwks-url=file:///keys"], "JWT_JWKS_URL must begin with http")]
    fn an_address_is_one_of_http_and_holds_no_secret(#[case] arguments: &[&str], #[case] expected: &str) {
        let refused = refusal(arguments);

        assert!(refused.starts_with(expected) && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn an_empty_audience_is_refused() {
        assert!(jwt(&["--jwt-issuer=https://id.example", "--jwt-audiences=shop,"]).is_err());
    }
}
