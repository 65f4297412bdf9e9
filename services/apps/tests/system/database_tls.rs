//! A database server that speaks TLS, with a certificate that an authority of its own has signed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use contract::Service;
use devcluster::pki::Authority;
use devcluster::postgres::{Postgres, PostgresOptions};
use devcluster::tempdir::TempDir;
use devcluster::testing;
use orders::database;
use sqlx::{ConnectOptions, PgConnection};

use crate::support::{Realm, System};

/// A server whose certificate is for 127.0.0.1, the authority that signed it, and one that did not.
struct Server {
    postgres: Postgres,
    authority: PathBuf,
    stranger: PathBuf,
    dir: TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let authority = Authority::named(&dir.path().join("pki"), "authority").unwrap();
        let stranger = Authority::named(&dir.path().join("stranger"), "stranger").unwrap();
        let mut options = PostgresOptions::for_tests(dir.path().join("postgres")).unwrap();
        options.tls = Some(authority.issue_server("postgres", &["127.0.0.1"]).unwrap());
        let postgres = Postgres::start(options).unwrap();
        let (authority, stranger) = (authority.file("ca.crt"), stranger.file("ca.crt"));
        Self { postgres, authority, stranger, dir }
    }

    fn prepare_database(&self, admin_url: &str, ca_file: &Path) -> Output {
        let databases = self.dir.path().join("databases");
        std::fs::create_dir_all(databases.join("order")).unwrap();
        let url = format!("postgres://shop:secret@127.0.0.1:{}/shop", self.postgres.server().port());
        std::fs::write(databases.join("order/DATABASE_URL"), url).unwrap();
        Command::new(env!("CARGO_BIN_EXE_orders"))
            .arg("prepare-database")
            .env_clear()
            .env("ADMIN_DATABASE_URL", admin_url)
            .env("DATABASE_CA_FILE", ca_file)
            .env("DATABASES_DIR", databases)
            .output()
            .unwrap()
    }

    async fn connect(&self, url: String, ca_file: &Path) -> Result<PgConnection, sqlx::Error> {
        database::options(&url.into(), Some(ca_file)).unwrap().connect().await
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_is_known_by_its_authority_and_its_name() {
    let server = Server::start();
    let url = server.postgres.server().admin_url();
    let elsewhere = url.replace("127.0.0.1", "localhost");

    server.connect(url.clone(), &server.authority).await.unwrap();
    let stranger = server.connect(url.clone(), &server.stranger).await.unwrap_err();
    let misnamed = server.connect(elsewhere.clone(), &server.authority).await.unwrap_err();
    server.connect(format!("{elsewhere}?sslmode=verify-ca"), &server.authority).await.unwrap();

    assert!(matches!(stranger, sqlx::Error::Io(_) | sqlx::Error::Tls(_)), "{stranger:?}");
    assert!(stranger.to_string().contains("UnknownIssuer"), "{stranger}");
    assert!(misnamed.to_string().contains("not valid for name"), "{misnamed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_prepared_on_the_right_server_only() {
    let server = Server::start();
    let url = server.postgres.server().admin_url();

    let refused = server.prepare_database(&url, &server.stranger);
    let prepared = server.prepare_database(&url, &server.authority);

    assert!(!refused.status.success());
    assert!(said(&refused).contains("UnknownIssuer"), "{}", said(&refused));
    assert!(!said(&refused).contains(server.postgres.server().password()), "{}", said(&refused));
    assert!(prepared.status.success(), "{}", said(&prepared));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_a_service_is_encrypted() {
    let server = Server::start();
    let database = server.postgres.server().create_database("shop").unwrap();
    let realm = Realm::over(testing::kafka().bootstrap(), format!("{database}?sslmode=disable")).await;
    let mut config = realm.config("order");
    config.database_ca_file = Some(server.authority.clone());

    let system = System::start(config, &[Service::Order]).await;

    let of_the_service =
        "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = 'shop'";
    let encrypted = server.postgres.server().execute(of_the_service).unwrap();
    assert!(encrypted.lines().count() >= 2, "a pool and a relay: {encrypted}");
    assert!(encrypted.lines().all(|ssl| ssl == "t"), "{encrypted}");
    system.stop().await;
}
