//! The configuration of one node, from the template `kafka/server.properties`.

use std::net::SocketAddr;
use std::path::Path;

use super::certificates::FOLDER;
use super::{ExternalSecurity, KafkaOptions, NodePorts, Tuning};

const TEMPLATE: &str = include_str!("../../kafka/server.properties");
const SCRAM_LOGIN: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
/// Kafka's ids are 16 bytes in URL-safe base64 without padding: 21 free characters, then 2 bits.
const UUID_FREE_CHARACTERS: usize = 21;

/// The `server.properties` of the node `id` of a cluster, whose data lies in `data`.
pub(super) fn render(id: usize, data: &Path, options: &KafkaOptions) -> String {
    let node = id.checked_sub(1).and_then(|index| options.nodes.get(index));
    let listeners = node.map(|ports| Listeners::of(ports, options)).unwrap_or_default();
    let values: [(&str, String); 14] = [
        ("node_id", id.to_string()),
        ("voters", voters(options)),
        ("listeners", listeners.bound.join(",")),
        ("advertised_listeners", listeners.advertised.join(",")),
        ("protocol_map", listeners.protocols.join(",")),
        ("data_dir", data.display().to_string()),
        ("jaas", listeners.jaas.join("\n")),
        ("pki", options.dir.join(FOLDER).display().to_string()),
        ("replicas", options.nodes.len().to_string()),
        // Of three copies two must have a record: one broker may be down and nothing is lost.
        ("min_insync", options.nodes.len().div_ceil(2).to_string()),
        ("internal_partitions", internal_partitions(options.tuning).to_string()),
        ("session_timeout_ms", session_timeout_ms(options.tuning).to_string()),
        ("heartbeat_interval_ms", heartbeat_interval_ms(options.tuning).to_string()),
        ("append_linger_ms", append_linger_ms(options.tuning).to_string()),
    ];
    values.iter().fold(TEMPLATE.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn internal_partitions(tuning: Tuning) -> u32 {
    match tuning {
        Tuning::QuickStart => 1,
        // Enough for the coordinators of many groups to be spread over the brokers.
        Tuning::Throughput => 12,
    }
}

fn session_timeout_ms(tuning: Tuning) -> u32 {
    match tuning {
        // A killed broker is back in 3 s; less, and a starved machine loses living brokers.
        Tuning::QuickStart => 3_000,
        Tuning::Throughput => 9_000,
    }
}

fn heartbeat_interval_ms(tuning: Tuning) -> u32 {
    match tuning {
        // A waiting broker asks again at this interval.
        Tuning::QuickStart => 200,
        Tuning::Throughput => 2_000,
    }
}

fn append_linger_ms(tuning: Tuning) -> u32 {
    match tuning {
        Tuning::QuickStart => 0,
        Tuning::Throughput => 25,
    }
}

fn voters(options: &KafkaOptions) -> String {
    let voter = |(index, ports): (usize, &NodePorts)| {
        format!("{}@{}", index + 1, SocketAddr::new(options.bind, ports.controller))
    };
    let voters: Vec<String> = options.nodes.iter().enumerate().map(voter).collect();
    voters.join(",")
}

#[derive(Default)]
struct Listeners {
    bound: Vec<String>,
    advertised: Vec<String>,
    protocols: Vec<String>,
    jaas: Vec<String>,
}

impl Listeners {
    fn of(ports: &NodePorts, options: &KafkaOptions) -> Self {
        let address = |port| SocketAddr::new(options.bind, port);
        let mut listeners = Self::default();
        listeners.add("PLAINTEXT", address(ports.plaintext), Some(address(ports.plaintext)), "PLAINTEXT");
        listeners.add("SASL_PLAINTEXT", address(ports.sasl), Some(address(ports.sasl)), "SASL_PLAINTEXT");
        if let Some(tls) = ports.tls {
            listeners.add("SASL_SSL", address(tls.sasl), Some(address(tls.sasl)), "SASL_SSL");
            listeners.add("SSL", address(tls.mutual), Some(address(tls.mutual)), "SSL");
        }
        listeners.add("CONTROLLER", address(ports.controller), None, "PLAINTEXT");
        if let Some(external) = ports.external {
            let protocol = match external.security {
                ExternalSecurity::Plaintext => "PLAINTEXT",
                ExternalSecurity::Sasl => "SASL_PLAINTEXT",
            };
            listeners.add("EXTERNAL", address(external.listen), Some(external.advertised), protocol);
        }
        listeners
    }

    fn add(&mut self, name: &str, bound: SocketAddr, advertised: Option<SocketAddr>, protocol: &str) {
        self.bound.push(format!("{name}://{bound}"));
        self.protocols.push(format!("{name}:{protocol}"));
        self.advertised.extend(advertised.map(|address| format!("{name}://{address}")));
        if protocol.starts_with("SASL_") {
            let listener = name.to_lowercase();
            self.jaas.push(format!("listener.name.{listener}.scram-sha-512.sasl.jaas.config={SCRAM_LOGIN}"));
        }
    }
}

/// A random id as Kafka writes them. Never one that starts with `-`, which command lines would take for an option,
/// nor one of the first hundred, which Kafka reserves (they start with twenty times `A`).
pub(super) fn random_uuid() -> String {
    let random = rand::distr::Alphanumeric;
    let free: String =
        rand::Rng::sample_iter(rand::rng(), random).take(UUID_FREE_CHARACTERS).map(char::from).collect();
    // The last character carries 2 bits; `g` is one of the four that are valid.
    format!("{free}g")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{External, TlsPorts};
    use crate::process::Launcher;
    use std::net::{IpAddr, Ipv4Addr};

    fn options(brokers: u16) -> KafkaOptions {
        let node = |index: u16| NodePorts {
            plaintext: 9092 + 10 * index,
            sasl: 9093 + 10 * index,
            tls: None,
            controller: 9094 + 10 * index,
            external: None,
        };
        KafkaOptions {
            dir: "/run/kafka".into(),
            launcher: Launcher::host(),
            bind: IpAddr::V4(Ipv4Addr::new(10, 89, 0, 2)),
            nodes: (0..brokers).map(node).collect(),
            tuning: Tuning::QuickStart,
        }
    }

    fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    #[test]
    fn nothing_of_the_template_remains_open() {
        let text = render(1, Path::new("/data"), &options(1));

        assert!(
            !text.lines().filter(|line| !line.starts_with('#')).any(|line| line.contains(['{', '}'])),
            "{text}"
        );
        assert_eq!(value(&text, "log.dirs"), Some("/data"));
    }

    #[test]
    fn one_of_three_brokers_may_be_down() {
        let text = render(2, Path::new("/data"), &options(3));

        assert_eq!(value(&text, "node.id"), Some("2"));
        assert_eq!(value(&text, "default.replication.factor"), Some("3"));
        assert_eq!(value(&text, "min.insync.replicas"), Some("2"));
        assert_eq!(
            value(&text, "controller.quorum.voters"),
            Some("1@10.89.0.2:9094,2@10.89.0.2:9104,3@10.89.0.2:9114")
        );
    }

    #[test]
    fn the_external_listener_tells_the_forwarded_address() {
        let mut options = options(1);
        options.nodes[0].external = Some(External {
            listen: 9099,
            advertised: "127.0.0.1:15000".parse().unwrap(),
            security: ExternalSecurity::Sasl,
        });

        let text = render(1, Path::new("/data"), &options);

        assert!(value(&text, "listeners").unwrap().ends_with("EXTERNAL://10.89.0.2:9099"));
        assert!(value(&text, "advertised.listeners").unwrap().ends_with("EXTERNAL://127.0.0.1:15000"));
        assert!(value(&text, "listener.security.protocol.map").unwrap().ends_with("EXTERNAL:SASL_PLAINTEXT"));
        assert!(text.contains("listener.name.external.scram-sha-512.sasl.jaas.config="));
    }

    #[test]
    fn the_listeners_with_tls_ask_for_a_password_or_a_certificate() {
        let mut options = options(1);
        options.nodes[0].tls = Some(TlsPorts { sasl: 9097, mutual: 9098 });

        let text = render(1, Path::new("/data"), &options);

        let listeners = value(&text, "advertised.listeners").unwrap();
        assert!(listeners.ends_with("SASL_SSL://10.89.0.2:9097,SSL://10.89.0.2:9098"), "{listeners}");
        assert!(text.contains("listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config="));
        assert_eq!(value(&text, "listener.name.ssl.ssl.client.auth"), Some("required"));
        assert_eq!(value(&text, "ssl.keystore.location"), Some("/run/kafka/pki/brokers/broker.pem"));
    }

    #[test]
    fn random_ids_are_valid_for_kafka() {
        let id = random_uuid();

        assert_eq!(id.len(), 22);
        assert!(id.chars().all(|character| character.is_ascii_alphanumeric()));
    }
}
