//! Each component is started for real; what a client would see is checked through its own command-line tools.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use devcluster::apiserver::{Apiserver, ApiserverOptions};
use devcluster::kafka::{self, Kafka, KafkaOptions};
use devcluster::postgres::{Postgres, PostgresOptions};
use devcluster::process::run;
use devcluster::tempdir::TempDir;
use devcluster::testing;

/// Runs a Kafka tool; `login` is its client configuration, in a file because it may hold a password.
fn kafka_tool(class: &str, bootstrap: &str, login: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut config = tempfile::NamedTempFile::new()?;
    config.write_all(login.as_bytes())?;
    let mut command: Command = kafka::tool(class)?;
    command.args(["--bootstrap-server", bootstrap, "--command-config"]).arg(config.path()).args(arguments);
    run("use Kafka", command)
}

fn topics(bootstrap: &str) -> String {
    kafka_tool("org.apache.kafka.tools.TopicCommand", bootstrap, "", &["--list"])
        .expect("the broker lists its topics")
}

fn create_topic(bootstrap: &str, name: &str, more: &[&str]) {
    let arguments = [&["--create", "--topic", name], more].concat();
    kafka_tool("org.apache.kafka.tools.TopicCommand", bootstrap, "", &arguments)
        .expect("the broker creates a topic");
}

fn scram(protocol: &str, user: &str, password: &str) -> String {
    format!(
        "security.protocol={protocol}\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config=org.apache.kafka.common.\
         security.scram.ScramLoginModule required username=\"{user}\" password=\"{password}\";\n"
    )
}

#[test]
fn the_shared_broker_serves_anonymous_and_the_administrator() {
    let started = Instant::now();
    let kafka = testing::kafka();
    eprintln!("kafka: {:?}", started.elapsed());
    let topic = testing::unique("shared");

    create_topic(kafka.bootstrap(), &topic, &[]);

    let login = scram("SASL_PLAINTEXT", kafka.admin_user(), kafka.admin_password());
    let listed =
        kafka_tool("org.apache.kafka.tools.TopicCommand", kafka.sasl_bootstrap(), &login, &["--list"])
            .unwrap();
    assert!(listed.contains(&topic), "{listed}");
}

#[test]
fn the_listeners_with_tls_know_the_administrator_and_whoever_has_a_certificate() {
    let kafka = testing::kafka();
    let topic = testing::unique("secured");
    create_topic(kafka.bootstrap(), &topic, &[]);
    // One line each, with the line breaks as a properties file writes them.
    let pem = |text: &str| text.replace('\n', "\\n");
    let trust = format!("ssl.truststore.type=PEM\nssl.truststore.certificates={}\n", pem(&kafka.ca_pem()));
    let password = scram("SASL_SSL", kafka.admin_user(), kafka.admin_password()) + &trust;
    let nobody = format!("security.protocol=SSL\n{trust}");
    let alice = kafka.issue_client("alice");
    let (chain, key) = (pem(&alice.certificate_pem), pem(&alice.key_pem));
    let certificate = format!(
        "{nobody}ssl.keystore.type=PEM\nssl.keystore.certificate.chain={chain}\nssl.keystore.key={key}\n"
    );
    let list = |bootstrap: &str, login: &str| {
        kafka_tool("org.apache.kafka.tools.TopicCommand", bootstrap, login, &["--list"])
    };

    let administrator = list(kafka.sasl_tls_bootstrap(), &password).unwrap();
    let certified = list(kafka.mtls_bootstrap(), &certificate).unwrap();
    let refused = list(kafka.mtls_bootstrap(), &nobody).unwrap_err();

    assert!(administrator.contains(&topic), "{administrator}");
    assert!(!certified.contains(&topic), "nobody has allowed it: {certified}");
    assert!(format!("{refused:#}").contains("SslAuthenticationException"), "{refused:#}");
}

#[test]
fn the_shared_registry_takes_requests() {
    let started = Instant::now();
    let url = testing::registry().url();
    eprintln!("registry: {:?}", started.elapsed());

    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let request = format!("GET /{path}/subjects HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn two_clusters_stand_side_by_side_and_outlive_a_crash() {
    let dir = TempDir::new().unwrap();
    let mut one = Kafka::start(KafkaOptions::for_tests(dir.path().join("one"), 1).unwrap()).unwrap();
    let started = Instant::now();
    let mut three = Kafka::start(KafkaOptions::for_tests(dir.path().join("three"), 3).unwrap()).unwrap();
    eprintln!("kafka with three brokers: {:?}", started.elapsed());
    create_topic(&one.bootstrap(), "in-one", &[]);
    create_topic(&three.bootstrap(), "in-three", &["--replication-factor", "3"]);

    one.kill();
    three.broker(2).unwrap().kill();
    create_topic(&three.bootstrap(), "with-two", &["--replication-factor", "2"]);
    let started = Instant::now();
    one.restart().unwrap();
    eprintln!("kafka after SIGKILL: {:?}", started.elapsed());
    three.broker(2).unwrap().restart().unwrap();

    assert_eq!(topics(&one.bootstrap()).trim(), "in-one");
    assert_eq!(topics(&three.bootstrap()).lines().collect::<Vec<_>>(), ["in-three", "with-two"]);
}

#[test]
fn a_paused_broker_keeps_the_port_open_and_a_stopped_one_does_not() {
    let dir = TempDir::new().unwrap();
    let mut kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap()).unwrap();
    let address = kafka.bootstrap();

    kafka.pause();
    assert!(TcpStream::connect(&address).is_ok());
    kafka.resume();
    assert_eq!(topics(&address).trim(), "");
    kafka.stop();

    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn databases_are_apart_and_outlive_a_crash_of_the_server() {
    let started = Instant::now();
    let shared = testing::postgres();
    eprintln!("postgres: {:?}", started.elapsed());
    assert_ne!(shared.create_database("orders"), shared.create_database("orders"));

    let dir = TempDir::new().unwrap();
    let mut own = Postgres::start(PostgresOptions::for_tests(dir.path().join("own")).unwrap()).unwrap();
    own.server().create_database("kept").unwrap();
    own.kill();
    assert!(own.server().execute("SELECT 1").is_err());
    let started = Instant::now();
    own.restart().unwrap();
    eprintln!("postgres after SIGKILL: {:?}", started.elapsed());

    let databases = own.server().execute("SELECT datname FROM pg_database ORDER BY 1").unwrap();
    assert_eq!(databases.lines().next(), Some("kept"));
    assert!(own.server().create_database("x\"; DROP").is_err());
    own.stop();
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_api_answers_and_keeps_its_objects_through_a_crash() {
    let started = Instant::now();
    let shared = testing::apiserver();
    eprintln!("apiserver: {:?}", started.elapsed());
    assert!(shared.kubeconfig().is_file());

    let dir = TempDir::new().unwrap();
    let options = ApiserverOptions::for_tests(dir.path().join("own")).unwrap();
    let mut own = Apiserver::start(options).unwrap();
    let kubectl = |own: &Apiserver, arguments: &[&str]| {
        let mut command = own.kubectl();
        command.args(arguments);
        run("use kubectl", command)
    };
    kubectl(&own, &["create", "namespace", "kept"]).unwrap();
    own.kill();
    assert!(kubectl(&own, &["get", "namespaces"]).is_err());
    let started = Instant::now();
    own.restart().unwrap();
    eprintln!("apiserver after SIGKILL: {:?}", started.elapsed());

    assert_eq!(kubectl(&own, &["get", "namespace", "kept", "-o", "name"]).unwrap(), "namespace/kept\n");
    own.stop();
}
