//! `orders prepare-database` against a real server.

use std::fs;
use std::path::Path;
use std::process::Command;

use devcluster::testing;
use sqlx::{Connection, PgConnection};

fn prepare(dir: &Path) {
    prepare_at(&testing::postgres().admin_url(), dir);
}

fn prepare_at(admin_url: &str, dir: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_orders"))
        .arg("prepare-database")
        .env_clear()
        .env("ADMIN_DATABASE_URL", admin_url)
        .env("DATABASES_DIR", dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The folder that a Job mounts: one Secret per service. Returns the services' URLs.
fn mounted(dir: &Path, names: [&str; 2], password: &str) -> [String; 2] {
    let server = testing::postgres().server();
    names.map(|name| {
        let url = format!("postgres://{name}:{password}@{}:{}/{name}", server.address(), server.port());
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("DATABASE_URL"), &url).unwrap();
        url
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_gets_its_own_database_again_and_again() {
    let dir = std::env::temp_dir().join(testing::unique("databases"));
    let names = [testing::unique("a").replace('-', "_"), testing::unique("b").replace('-', "_")];
    let [order, inventory] = mounted(&dir, [&names[0], &names[1]], "first%2Fsecret");

    prepare(&dir);
    let mut conn = PgConnection::connect(&order).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
        .execute(&mut conn)
        .await
        .unwrap();
    prepare(&dir);

    let kept: i32 = sqlx::query_scalar("SELECT id FROM kept").fetch_one(&mut conn).await.unwrap();
    assert_eq!(kept, 7);
    PgConnection::connect(&inventory).await.unwrap();
    let foreign = inventory.replace(&format!("/{}", names[1]), &format!("/{}", names[0]));
    let foreign = foreign.replacen(&format!("//{}", names[0]), &format!("//{}", names[1]), 1);
    let refused = PgConnection::connect(&foreign).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");

    // A new password in the Secret is a new password of the role. The URL as CloudNativePG writes it.
    let [rotated, _] = mounted(&dir, [&names[0], &names[1]], "second");
    let admin_url = testing::postgres().admin_url();
    prepare_at(&format!("{}/*", admin_url.rsplit_once('/').unwrap().0), &dir);
    PgConnection::connect(&rotated).await.unwrap();
    assert!(PgConnection::connect(&order).await.is_err());
    fs::remove_dir_all(&dir).unwrap();
}
