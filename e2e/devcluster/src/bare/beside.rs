//! What runs beside the node in the cluster's network: Kafka, PostgreSQL and the mail server, as plain processes.
//! Pods reach them by the names of Services without selector.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use super::components::Components;
use super::sandbox::NODE_IP;
use crate::home::Home;
use crate::kafka::{External, ExternalSecurity, Kafka, KafkaOptions, NodePorts, Tuning};
use crate::mail::{self, Mail, MailSink};
use crate::postgres::{Durability, Postgres, PostgresOptions, reachable_dir};
use crate::process::Spec;
use crate::provider::Credentials;

/// Port of PostgreSQL.
pub const POSTGRES_PORT: u16 = 5432;
/// The mail server's name among the components.
pub const MAIL: &str = "mail";
const MAIL_TIMEOUT: Duration = Duration::from_secs(20);
/// Port of the mail server.
pub const MAIL_PORT: u16 = 1025;
/// Kafka's ports of the first broker; each further broker's are this much higher.
const BROKER_STEP: u16 = 10;
const PLAIN_PORT: u16 = 9092;
const SASL_PORT: u16 = 9094;

/// The node's address as a type.
pub fn node_ip() -> IpAddr {
    NODE_IP.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The ports of broker `index` (from 0), of which `forwarded` on the host leads to the last one.
pub fn broker_ports(index: u16, forwarded: u16) -> NodePorts {
    let step = BROKER_STEP * index;
    NodePorts {
        plaintext: PLAIN_PORT + step,
        controller: 9093 + step,
        sasl: SASL_PORT + step,
        tls: None,
        external: Some(External {
            listen: 9095 + step,
            advertised: SocketAddr::from((Ipv4Addr::LOCALHOST, forwarded)),
            security: ExternalSecurity::Plaintext,
        }),
    }
}

/// Name of the component, and of the forwarded port, of broker `index` (from 0).
pub fn broker_name(index: u16) -> String {
    format!("kafka-{}", index + 1)
}

/// How to start the brokers; `None` when all of them run.
pub fn kafka_to_start(components: &Components) -> Option<KafkaOptions> {
    let state = components.state();
    let names: Vec<String> = (0..state.brokers).map(broker_name).collect();
    if names.iter().all(|name| state.running(name).is_some()) {
        return None;
    }
    // Brokers are started together; one that still runs would keep its ports from its successor.
    names.iter().for_each(|name| components.kill(name));
    let port = |index| state.ports.get(&broker_name(index)).copied().unwrap_or_default();
    Some(KafkaOptions {
        dir: components.home().join("kafka"),
        launcher: components.launcher(),
        bind: node_ip(),
        nodes: (0..state.brokers).map(|index| broker_ports(index, port(index))).collect(),
        tuning: Tuning::QuickStart,
    })
}

/// How to start PostgreSQL; `None` when it runs.
pub fn postgres_to_start(components: &Components) -> Option<PostgresOptions> {
    if components.state().running("postgres").is_some() {
        return None;
    }
    components.kill("postgres");
    Some(PostgresOptions {
        dir: postgres_dir(components.home()),
        launcher: components.launcher(),
        bind: node_ip(),
        port: POSTGRES_PORT,
        durability: Durability::CrashOfServerOnly,
        tls: None,
    })
}

/// Where PostgreSQL keeps its data: outside of the home where its user cannot get there.
pub fn postgres_dir(home: &Home) -> PathBuf {
    reachable_dir(&home.join("postgres"))
}

/// Starts Kafka and PostgreSQL where there is something to start, both at once.
///
/// # Errors
/// When one does not come up.
pub fn start(
    kafka: Option<KafkaOptions>,
    postgres: Option<PostgresOptions>,
) -> Result<(Option<Kafka>, Option<Postgres>)> {
    thread::scope(|scope| {
        let kafka = scope.spawn(|| kafka.map(Kafka::start).transpose());
        let postgres = postgres.map(Postgres::start).transpose();
        let kafka = kafka.join().map_err(|_| anyhow!("the thread that starts Kafka panicked"))?;
        Ok((kafka?, postgres?))
    })
}

/// Notes what [`start`] has started. The credentials come first: a component that is noted counts as done.
///
/// # Errors
/// When the state cannot be written.
pub fn note(components: &mut Components, kafka: Option<&Kafka>, postgres: Option<&Postgres>) -> Result<()> {
    let mut credentials = Credentials::load(components.home())?;
    // Only at the first start: afterwards the password stands in the brokers' data, whatever new ones would get.
    if let Some(kafka) = kafka.filter(|_| credentials.kafka.password.is_empty()) {
        kafka.admin_user().clone_into(&mut credentials.kafka.username);
        kafka.admin_password().clone_into(&mut credentials.kafka.password);
    }
    if let Some(postgres) = postgres {
        let port = components.state().ports.get("postgres").copied().unwrap_or_default();
        let url = |address: &str| {
            postgres.server().admin_url().replace(&format!("{NODE_IP}:{POSTGRES_PORT}"), address)
        };
        credentials.postgres.url = url(&format!("127.0.0.1:{port}"));
        credentials.postgres.cluster_url = url(&format!("postgres.postgres.svc:{POSTGRES_PORT}"));
    }
    credentials.save(components.home())?;
    for (index, id) in (0..).zip(kafka.map(Kafka::process_ids).unwrap_or_default()) {
        components.note(&broker_name(index), id)?;
    }
    if let Some(id) = postgres.and_then(Postgres::process_id) {
        components.note("postgres", id)?;
    }
    Ok(())
}

/// Starts the mail server unless it runs.
///
/// # Errors
/// When it does not open its port.
pub fn start_mail(components: &mut Components) -> Result<()> {
    let home = components.home().clone();
    let ready = home.join("mail.ready");
    drop(fs::remove_file(&ready));
    let program = env::current_exe().context("cannot find this program")?;
    let spec = Spec::new("mail server", program, home.log(MAIL))
        .arg("--dir")
        .arg(home.path())
        .args(["mail-server", "--ready"])
        .arg(&ready);
    let launcher = components.launcher();
    if let Some(mut process) = components.ensure(MAIL, &launcher, spec)? {
        process.wait_until(MAIL_TIMEOUT, || ready.exists())?;
    }
    Ok(())
}

/// Takes mails on the node's address until killed, and keeps them in the home.
///
/// # Errors
/// When the port is taken or the folder cannot be written.
pub fn serve_mail(home: &Home, ready: &Path) -> Result<()> {
    let _sink = MailSink::with_folder((node_ip(), MAIL_PORT), &home.join(MAIL))?;
    fs::write(ready, "").with_context(|| format!("cannot write {}", ready.display()))?;
    loop {
        thread::park();
    }
}

/// The mails that were taken, oldest first, as text for a person.
///
/// # Errors
/// When the folder cannot be read.
pub fn read_mail(home: &Home) -> Result<String> {
    let show = |mail: &Mail| {
        let subject = mail.header("Subject").unwrap_or_default();
        format!(
            "From: {}\nTo: {}\nSubject: {subject}\n\n{}\n\n",
            mail.from,
            mail.to.join(", "),
            mail.body().trim_end()
        )
    };
    Ok(mail::read_folder(&home.join(MAIL))?.iter().map(show).collect())
}

/// The objects that give all three a name in the cluster: `kafka.kafka`, `postgres.postgres` and `mail.mail`.
pub fn manifests(brokers: u16) -> Value {
    let kafka: Vec<Vec<(&str, u16)>> = (0..brokers)
        .map(|index| {
            vec![("plain", PLAIN_PORT + BROKER_STEP * index), ("sasl", SASL_PORT + BROKER_STEP * index)]
        })
        .collect();
    let mut items = service("kafka", &[("plain", PLAIN_PORT), ("sasl", SASL_PORT)], &kafka);
    let postgres = [("postgres", POSTGRES_PORT)];
    items.extend(service("postgres", &postgres, &[postgres.to_vec()]));
    let mail = [("smtp", MAIL_PORT)];
    items.extend(service("mail", &mail, &[mail.to_vec()]));
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// The Service `name` in the namespace `name`, and where it leads: a slice for each set of ports, because one slice
/// has one port per name for all its addresses.
fn service(name: &str, ports: &[(&str, u16)], servers: &[Vec<(&str, u16)>]) -> Vec<Value> {
    let list = |ports: &[(&str, u16)]| -> Vec<Value> {
        ports.iter().map(|(name, port)| json!({ "name": name, "port": port, "protocol": "TCP" })).collect()
    };
    let mut items = vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": name },
            "spec": { "ports": list(ports) }
        }),
    ];
    items.extend(servers.iter().enumerate().map(|(index, ports)| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-{}", index + 1), "namespace": name,
                "labels": { "kubernetes.io/service-name": name }
            },
            "addressType": "IPv4",
            "ports": list(ports),
            "endpoints": [{ "addresses": [NODE_IP] }]
        })
    }));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_brokers_share_one_service_through_three_slices() {
        let manifests = manifests(3);

        let items = manifests["items"].as_array().unwrap();
        let ports: Vec<u64> = items
            .iter()
            .filter(|item| item["kind"] == "EndpointSlice" && item["metadata"]["namespace"] == "kafka")
            .map(|slice| slice["ports"][1]["port"].as_u64().unwrap())
            .collect();
        assert_eq!(ports, [9094, 9104, 9114]);
    }

    #[test]
    fn no_two_brokers_share_a_port() {
        let all: std::collections::BTreeSet<u16> = (0..3)
            .map(|index| broker_ports(index, 1))
            .flat_map(|node| [node.plaintext, node.sasl, node.controller, node.external.unwrap().listen])
            .collect();

        assert_eq!(all.len(), 12);
    }
}
