//! The binary: how it starts, reports itself and stops.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use devcluster::testing;
use kafka_admin::{AclBinding, AclOperation, Admin, ConnectOptions, KafkaAdmin, Principal, ResourceKind};
use serde_json::Value;

use crate::support::{PATIENCE, Realm, eventually, full_order};

/// A process of the binary `orders`.
pub(crate) struct Binary {
    child: Child,
    log: Receiver<Value>,
}

impl Binary {
    fn start(realm: &Realm, drain_delay: &str) -> Self {
        Self::role(realm, "order", &[("DRAIN_DELAY", drain_delay), ("DATABASE_URL", &realm.database_url)])
    }

    /// Starts `role` in `realm`, with variables of its own.
    pub(crate) fn role(realm: &Realm, role: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_orders"))
            .arg(role)
            .env_clear()
            .env("KAFKA_BOOTSTRAP_SERVERS", testing::kafka().sasl_bootstrap())
            .env("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
            .env("KAFKA_USERNAME", testing::kafka().admin_user())
            .env("KAFKA_PASSWORD", testing::kafka().admin_password())
            .env("TOPIC_PREFIX", &realm.prefix)
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line))));
            }
        });
        Self { child, log }
    }

    /// Reads the log until a line whose message begins with `message`; all lines up to it.
    pub(crate) fn log_until(&self, message: &str) -> Vec<Value> {
        let (deadline, mut lines) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("no {message:?} in {lines:#?}"));
            let found = line["message"].as_str().is_some_and(|text| text.starts_with(message));
            lines.push(line);
            if found {
                return lines;
            }
        }
    }

    /// The address in the first line of the log whose message begins with `message`.
    pub(crate) fn address(&self, message: &str) -> String {
        let lines = self.log_until(message);
        format!("http://{}", lines.last().unwrap()["address"].as_str().unwrap())
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait(mut self) -> std::process::ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }

    /// Sends a signal, such as `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Binary {
    /// Ends the process; where the test has failed, with the rest of its log.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pid = self.child.id();
            self.log.try_iter().for_each(|line| println!("process {pid}: {line}"));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_lets_requests_finish_and_readiness_goes_first() {
    let realm = Realm::create().await;
    let mut binary = Binary::start(&realm, "1s");
    let admin = binary.address("probes and metrics");
    let http = binary.address("the order service is served");
    let client = reqwest::Client::new();
    let status =
        async |path: &str| Some(client.get(format!("{admin}{path}")).send().await.ok()?.status().as_u16());
    eventually("the binary is ready", async || (status("/readyz").await == Some(200)).then_some(())).await;
    let request =
        client.post(format!("{http}/api/v1/orders")).json(&full_order()).header("X-Correlation-Id", "c-7");
    let accepted: Value = request.send().await.unwrap().json().await.unwrap();

    // A long poll is under way when the signal comes; it is answered, not cut off.
    let poll = tokio::spawn(
        client.get(format!("{http}/api/v1/orders/{}?wait=30s", accepted["orderId"].as_str().unwrap())).send(),
    );
    binary.signal("-TERM");
    eventually("readiness goes first", async || (status("/readyz").await == Some(503)).then_some(())).await;
    let live = status("/livez").await;
    let polled = poll.await.unwrap().unwrap();
    let lines = binary.log_until("the process has stopped");
    let exit = tokio::task::spawn_blocking(move || binary.child.wait().unwrap()).await.unwrap();

    assert_eq!(live, Some(200), "a draining process must not be killed");
    assert_eq!(polled.status().as_u16(), 200);
    assert!(exit.success(), "{exit}");
    assert!(lines.iter().all(|line| line.is_object() && line["level"] != "ERROR"), "{lines:#?}");
}

/// Every service in one process, which has taken the order of the documentation.
async fn all_with_an_order(realm: &Realm, correlation_id: &str) -> (Binary, String, String) {
    let variables = [("DATABASE_URL", realm.database_url.as_str()), ("LOG_LEVEL", "info,orders=debug")];
    let binary = Binary::role(realm, "all", &variables);
    let orders = format!("{}/api/v1/orders", binary.address("the order service is served"));
    let client = reqwest::Client::new();
    let request = client.post(&orders).json(&full_order()).header("X-Correlation-Id", correlation_id);
    let accepted: Value = request.send().await.unwrap().json().await.unwrap();
    (binary, orders, accepted["orderId"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_services_in_one_process_bring_an_order_to_its_end() {
    let realm = Realm::create().await;
    let (_binary, orders, order_id) = all_with_an_order(&realm, "c-8").await;

    let order = eventually("the order has ended", async || {
        let answer = reqwest::get(format!("{orders}/{order_id}?wait=10s")).await.unwrap();
        let order: Value = answer.json().await.unwrap();
        matches!(order["status"].as_str(), Some("COMPLETED" | "CANCELLED")).then_some(order)
    })
    .await;

    assert_eq!(order["status"], "COMPLETED", "{order}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transition_of_an_order_is_logged_with_its_correlation_id() {
    let realm = Realm::create().await;
    let (binary, _, order_id) = all_with_an_order(&realm, "c-9").await;

    let lines = binary.log_until(&format!("order {order_id} went from CONFIRMED to COMPLETED"));

    let transition = format!("order {order_id} went from ");
    let is_transition =
        |line: &&Value| line["message"].as_str().is_some_and(|it| it.starts_with(&transition));
    let transitions: Vec<&Value> = lines.iter().filter(is_transition).collect();
    assert!(transitions.len() >= 2, "{lines:#?}");
    assert!(transitions.iter().all(|line| line["span"]["correlation_id"] == "c-9"), "{transitions:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let realm = Realm::create().await;
    let mut binary = Binary::start(&realm, "60s");
    binary.log_until("the process is ready");

    binary.signal("-TERM");
    binary.log_until("the process stops taking work");
    binary.signal("-TERM");
    let started = Instant::now();
    let exit = tokio::task::spawn_blocking(move || binary.child.wait().unwrap()).await.unwrap();

    assert_eq!(exit.code(), Some(143));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_a_client_certificate_is_let_in_as_its_user() {
    let realm = Realm::create().await;
    let (kafka, name, dir) = (testing::kafka(), testing::unique("order"), tempfile::tempdir().unwrap());
    let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(kafka.bootstrap())).unwrap();
    let all = [ResourceKind::Topic, ResourceKind::Group].map(|kind| {
        let principal = Principal::user(format!("CN={name}"));
        AclBinding::allow(principal, AclOperation::All, kind, realm.prefix.clone()).prefixed()
    });
    assert!(admin.create_acls(&all).await.iter().all(Result::is_ok));
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };

    let identity = kafka.issue_client(&name);
    let variables = [
        ("DATABASE_URL", realm.database_url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.mtls_bootstrap()),
        ("KAFKA_SECURITY_PROTOCOL", "SSL"),
        ("KAFKA_CA_FILE", &file("ca.crt", &kafka.ca_pem())),
        ("KAFKA_CLIENT_CERTIFICATE_FILE", &file("user.crt", &identity.certificate_pem)),
        ("KAFKA_CLIENT_KEY_FILE", &file("user.key", &identity.key_pem)),
    ];
    let binary = Binary::role(&realm, "order", &variables);

    // Ready is who has joined its group.
    let ready = format!("{}/readyz", binary.address("probes and metrics"));
    let is_ready = async || reqwest::get(&ready).await.ok()?.status().is_success().then_some(());
    eventually("the process is ready", is_ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_logged_without_its_secrets() {
    let realm = Realm::create().await;
    let binary = Binary::start(&realm, "0s");

    let lines = binary.log_until("the process is ready");

    let text = format!("{lines:?}");
    assert!(text.contains("bootstrap_servers"), "{text}");
    assert!(!text.contains(testing::kafka().admin_password()), "the Kafka password is in the log");
    assert!(!text.contains(&realm.database_url), "the database URL is in the log");
}

#[test]
fn an_invalid_configuration_names_the_variable() {
    for (name, value) in [
        ("SAGA_STEPS", "payment,inventory"),
        ("SAGA_STEP_TIMEOUT", "soon"),
        ("ORDER_CATALOGUE", "burger"),
        ("DATABASE_URL", ""),
        ("KAFKA_CLIENT_CERTIFICATE_FILE", "/tls/user.crt"),
        ("KAFKA_CLIENT_KEY_FILE", "/tls/user.key"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_orders"))
            .arg("order")
            .env_clear()
            .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
            .env("DATABASE_URL", "postgres://u:p@127.0.0.1:1/d")
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env(name, value)
            .output()
            .unwrap();

        let said = String::from_utf8_lossy(&output.stderr).replace('-', "_").to_uppercase();
        assert!(!output.status.success(), "{name}");
        assert!(said.contains(name), "{name}: {said}");
    }
}
