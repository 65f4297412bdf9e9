//! The `kind` provider: for machines with Docker, kind and kubectl. Kafka is run by Strimzi.
//!
//! The machine on which this was written has no Docker: the manifests were checked against a real apiserver and the
//! programs' arguments against their documentation, but a whole `up` has not been run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use rand::distr::Alphanumeric;
use serde_json::{Value, json};

use crate::home::{self, Home};
use crate::process::run;
use crate::provider::{self, Credentials, Provider, Status};
use crate::state::{ProviderKind, State};
use crate::tools::which;
use crate::{images, ports, progress};

/// Understands `kafka.strimzi.io/v1`.
const STRIMZI: &str = "https://github.com/strimzi/strimzi-kafka-operator/releases/download/1.2.0/strimzi-cluster-operator-1.2.0.yaml";
const KAFKA: &str = include_str!("../manifests/kind/kafka.yaml");
const OTHERS: [(&str, &str); 3] = [
    ("postgres", include_str!("../manifests/kind/postgres.yaml")),
    ("mail", include_str!("../manifests/kind/mail.yaml")),
    ("shop", include_str!("../manifests/kind/shop.yaml")),
];
/// Host ports as kind-config.yaml names them.
const PORTS: [(&str, u16); 8] = [
    ("orders", 8081),
    ("inventory", 8082),
    ("postgres", 15432),
    ("mail", 11025),
    ("mailbox", 18025),
    ("kafka-1", 19092),
    ("kafka-2", 19093),
    ("kafka-3", 19094),
];
/// First of the brokers' ports on the node, as kind-config.yaml names them.
const BROKER_NODE_PORT: u16 = 30092;
const PASSWORD_LENGTH: usize = 24;
const KAFKA_ADMIN: &str = "admin";

/// A cluster of this provider, running or not.
#[derive(Clone, Debug)]
pub struct Kind {
    home: Home,
}

impl Kind {
    /// The cluster in `home`.
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.join("kubeconfig")
    }

    fn create_cluster(&self, state: &State) -> Result<()> {
        let name = self.home.cluster_name();
        let listed = run("list kind's clusters", command("kind", &["get", "clusters"]))?;
        if listed.lines().any(|line| line == name) {
            return self.export_kubeconfig();
        }
        let template = home::checkout()?.join("kind-config.yaml");
        let template =
            fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
        let config = self.home.write("kind-config.yaml", with_ports(&template, state).as_bytes())?;
        let mut create = command("kind", &["create", "cluster", "--wait", "180s", "--name", &name]);
        create.arg("--kubeconfig").arg(self.kubeconfig()).arg("--config").arg(config);
        run("create the kind cluster", create).map(drop)
    }

    fn export_kubeconfig(&self) -> Result<()> {
        let mut export = command("kind", &["export", "kubeconfig", "--name", &self.home.cluster_name()]);
        export.arg("--kubeconfig").arg(self.kubeconfig());
        run("write the kubeconfig", export).map(drop)
    }

    fn run_kubectl(&self, what: &str, arguments: &[&str]) -> Result<String> {
        let mut kubectl = self.kubectl()?;
        kubectl.args(arguments);
        run(what, kubectl)
    }

    fn apply(&self, what: &str, manifest: &str) -> Result<()> {
        self.kubectl_with_input(&format!("apply {what}"), &["apply", "--server-side", "-f", "-"], manifest)
    }

    /// Runs kubectl with `input`, which may hold secrets: arguments are for everybody to read.
    fn kubectl_with_input(&self, what: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut kubectl = self.kubectl()?;
        let mut child = kubectl.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut stdin = child.stdin.take().context("kubectl has no input")?;
        stdin.write_all(input.as_bytes())?;
        drop(stdin);
        let status = child.wait()?;
        ensure!(status.success(), "could not {what}: {status}");
        Ok(())
    }

    fn install_kafka(&self, state: &State, credentials: &Credentials) -> Result<()> {
        let manifest = run("fetch Strimzi", command("curl", &["-fsSL", STRIMZI]))?;
        // The release is written for the namespace `myproject`.
        self.apply("Strimzi", &manifest.replace("namespace: myproject", "namespace: kafka"))?;
        let established = ["wait", "--for=condition=Established", "--timeout=60s"];
        let crds = ["crd/kafkas.kafka.strimzi.io", "crd/kafkanodepools.kafka.strimzi.io"];
        self.run_kubectl("wait for Strimzi's kinds", &[&established[..], &crds[..]].concat())?;
        self.apply("Kafka", &kafka_manifest(state))?;
        let ready = ["wait", "kafka/dev", "-n", "kafka", "--for=condition=Ready", "--timeout=600s"];
        self.run_kubectl("wait for Kafka", &ready)?;
        // Without a User Operator, a SCRAM user is the broker's own. The password goes by standard input.
        let script = "cat > /tmp/scram && bin/kafka-configs.sh --bootstrap-server localhost:9092 --alter \
             --entity-type users --entity-name admin --add-config-file /tmp/scram; code=$?; rm /tmp/scram; exit $code";
        let exec = ["exec", "-i", "-n", "kafka", "dev-pool-0", "--", "sh", "-c", script];
        let config = format!("SCRAM-SHA-512=[password={}]\n", credentials.kafka.password);
        self.kubectl_with_input("create Kafka's administrator", &exec, &config)
    }

    fn wait_deployments(&self) -> Result<()> {
        for (name, _) in OTHERS.iter().filter(|(name, _)| *name != "shop") {
            let deployment = format!("deployment/{name}");
            let wait = ["rollout", "status", &deployment, "-n", name, "--timeout=300s"];
            self.run_kubectl(&format!("wait for {name}"), &wait)?;
        }
        Ok(())
    }
}

impl Provider for Kind {
    fn up(&self, brokers: Option<u16>) -> Result<()> {
        for program in ["docker", "kind", "kubectl", "curl"] {
            ensure!(which(program).is_some(), "this kind of cluster needs {program}");
        }
        let found = State::load(&self.home)?;
        if let (Some(state), Some(wanted)) = (&found, brokers) {
            ensure!(
                state.brokers == wanted,
                "the cluster has {} broker(s); run `devcluster down` first",
                state.brokers
            );
        }
        self.home.create()?;
        let mut state = found.unwrap_or_else(|| State::new(ProviderKind::Kind, brokers.unwrap_or(1)));
        if state.ports.is_empty() {
            state.ports = choose_ports()?;
        }
        state.save(&self.home)?;
        let credentials = credentials(&self.home, &state)?;
        progress::step("kind cluster", || self.create_cluster(&state))?;
        progress::step("PostgreSQL and mail", || {
            self.apply("namespaces and passwords", &first_objects(&credentials).to_string())?;
            OTHERS.iter().try_for_each(|(name, manifest)| self.apply(name, manifest))
        })?;
        progress::step("Kafka by Strimzi", || self.install_kafka(&state, &credentials))?;
        progress::step("waiting for PostgreSQL and mail", || self.wait_deployments())
    }

    fn down(&self) -> Result<()> {
        progress::step("removing the kind cluster", || {
            let mut delete = command("kind", &["delete", "cluster", "--name", &self.home.cluster_name()]);
            delete.arg("--kubeconfig").arg(self.kubeconfig());
            run("delete the kind cluster", delete)?;
            self.home.clear()
        })
    }

    fn status(&self) -> Result<Status> {
        let state = State::require(&self.home)?;
        let ready = |what: &str, arguments: &[&str]| {
            let printed = self.run_kubectl(what, arguments);
            (what.to_owned(), printed.is_ok_and(|text| text.trim() == "True"))
        };
        let condition =
            |kind: &str| format!("-o=jsonpath={{.status.conditions[?(@.type==\"{kind}\")].status}}");
        let (is_ready, is_available) = (condition("Ready"), condition("Available"));
        let components = BTreeMap::from([
            ready("kafka", &["get", "kafka/dev", "-n", "kafka", &is_ready]),
            ready("postgres", &["get", "deployment/postgres", "-n", "postgres", &is_available]),
            ready("mail", &["get", "deployment/mail", "-n", "mail", &is_available]),
        ]);
        Ok(Status {
            provider: ProviderKind::Kind,
            ready: components.values().all(|running| *running),
            kubeconfig: self.kubeconfig(),
            endpoints: addresses(&state),
            credentials: Credentials::load(&self.home)?,
            components,
        })
    }

    fn command(&self, words: &[OsString]) -> Result<Command> {
        State::require(&self.home)?;
        let (program, arguments) = words.split_first().context("no command is given")?;
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", self.kubeconfig());
        Ok(command)
    }

    fn kubectl(&self) -> Result<Command> {
        State::require(&self.home)?;
        let mut kubectl = Command::new("kubectl");
        kubectl.env("KUBECONFIG", self.kubeconfig());
        Ok(kubectl)
    }

    fn load_applications(&self, binaries: &BTreeMap<String, PathBuf>) -> Result<()> {
        let checkout = home::checkout()?;
        for application in images::APPLICATIONS {
            if !binaries.contains_key(application.program) {
                continue;
            }
            progress::step(&format!("image {} (compiles it)", application.image), || {
                let build = images::docker_build(application, &checkout);
                run(&format!("build the image {}", application.image), build)?;
                self.load(application.image)?;
                provider::restart_users(self, application.image)
            })?;
        }
        Ok(())
    }

    fn load(&self, image: &str) -> Result<()> {
        State::require(&self.home)?;
        let kind = if Path::new(image).is_file() { "image-archive" } else { "docker-image" };
        let load = command("kind", &["load", kind, image, "--name", &self.home.cluster_name()]);
        run(&format!("load the image {image}"), load).map(drop)
    }

    fn mail(&self) -> Result<String> {
        let state = State::require(&self.home)?;
        let port = state.ports.get("mailbox").context("the mail server has no port")?;
        let api = format!("http://127.0.0.1:{port}/api/v1");
        let list = run("list the mails", command("curl", &["-fsS", &format!("{api}/messages?limit=1000")]))?;
        let list: Value = serde_json::from_str(&list).context("cannot read the list of mails")?;
        let ids =
            list.pointer("/messages").and_then(Value::as_array).context("the mail server has no list")?;
        let ids: Vec<&str> = ids.iter().rev().filter_map(|mail| mail.get("ID")?.as_str()).collect();
        let fetch =
            |id: &&str| run("fetch a mail", command("curl", &["-fsS", &format!("{api}/message/{id}/raw")]));
        Ok(ids.iter().map(fetch).collect::<Result<Vec<String>>>()?.join("\n"))
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The ports of kind-config.yaml, or free ones where those are taken.
fn choose_ports() -> Result<BTreeMap<String, u16>> {
    let choose = |(name, wanted): (&str, u16)| {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).is_ok();
        let port = if free { wanted } else { ports::free(Ipv4Addr::LOCALHOST.into())? };
        Ok((name.to_owned(), port))
    };
    PORTS.into_iter().map(choose).collect()
}

/// kind-config.yaml with the ports that were chosen.
fn with_ports(config: &str, state: &State) -> String {
    let line = |line: &str| {
        let chosen = PORTS.iter().find(|(_, wanted)| line.trim() == format!("hostPort: {wanted}")).and_then(
            |(name, wanted)| Some(line.replace(&wanted.to_string(), &state.ports.get(*name)?.to_string())),
        );
        chosen.unwrap_or_else(|| line.to_owned()) + "\n"
    };
    config.lines().map(line).collect()
}

/// The addresses on this machine that `status` names.
fn addresses(state: &State) -> BTreeMap<String, String> {
    let at = |name: &str| state.ports.get(name).map(|port| format!("127.0.0.1:{port}"));
    let brokers: Vec<String> = (1..=state.brokers).filter_map(|id| at(&format!("kafka-{id}"))).collect();
    let mut addresses = BTreeMap::from([("kafka".to_owned(), brokers.join(","))]);
    for (name, scheme) in
        [("orders", "http://"), ("inventory", "http://"), ("postgres", ""), ("mail", "smtp://")]
    {
        addresses.extend(at(name).map(|address| (name.to_owned(), format!("{scheme}{address}"))));
    }
    addresses
}

fn kafka_manifest(state: &State) -> String {
    let broker = |index: u16| {
        json!({
            "broker": index, "nodePort": BROKER_NODE_PORT + index,
            "advertisedHost": "127.0.0.1",
            "advertisedPort": state.ports.get(&format!("kafka-{}", index + 1))
        })
    };
    let brokers: Vec<Value> = (0..state.brokers).map(broker).collect();
    KAFKA
        .replace("{replicas}", &state.brokers.to_string())
        .replace("{min_insync}", &state.brokers.div_ceil(2).to_string())
        .replace("brokers: {brokers}", &format!("brokers: {}", json!(brokers)))
}

/// Namespaces, and the password that PostgreSQL starts with.
fn first_objects(credentials: &Credentials) -> Value {
    let namespace = |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let password = password_of(&credentials.postgres.cluster_url);
    let mut items: Vec<Value> = ["kafka", "postgres", "mail"].map(namespace).to_vec();
    items.push(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "postgres", "namespace": "postgres" },
        "stringData": { "password": password }
    }));
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn password_of(url: &str) -> &str {
    url.split([':', '@']).nth(2).unwrap_or_default()
}

/// The cluster's passwords, made once.
fn credentials(home: &Home, state: &State) -> Result<Credentials> {
    let mut credentials = Credentials::load(home)?;
    if credentials.kafka.password.is_empty() {
        let password = || {
            rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect::<String>()
        };
        KAFKA_ADMIN.clone_into(&mut credentials.kafka.username);
        credentials.kafka.password = password();
        let Some(port) = state.ports.get("postgres") else { bail!("PostgreSQL has no port") };
        let password = password();
        credentials.postgres.url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
        credentials.postgres.cluster_url =
            format!("postgres://postgres:{password}@postgres.postgres.svc:5432/postgres");
        credentials.save(home)?;
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::new(ProviderKind::Kind, 3);
        state.ports = PORTS.into_iter().map(|(name, port)| (name.to_owned(), port)).collect();
        state
    }

    #[test]
    fn every_port_of_the_configuration_can_be_moved() {
        let config = include_str!("../../../kind-config.yaml");
        let mut moved = state();
        moved.ports.values_mut().for_each(|port| *port += 1000);

        let ports = |text: &str| -> Vec<u16> {
            text.lines().filter_map(|line| line.trim().strip_prefix("hostPort: ")?.parse().ok()).collect()
        };

        let expected: Vec<u16> = ports(config).into_iter().map(|port| port + 1000).collect();
        assert_eq!(ports(&with_ports(config, &moved)), expected);
        assert_eq!(expected.len(), PORTS.len());
    }

    #[test]
    fn each_broker_tells_clients_its_own_port_on_the_host() {
        let manifest = kafka_manifest(&state());

        assert!(manifest.contains(r#""advertisedPort":19094"#));
        assert!(manifest.contains(r#""nodePort":30094"#));
        assert!(!manifest.lines().any(|line| !line.starts_with('#') && line.contains("{replicas}")));
    }

    #[test]
    fn the_password_is_found_in_the_address() {
        assert_eq!(password_of("postgres://postgres:secret@host:5432/postgres"), "secret");
    }
}
