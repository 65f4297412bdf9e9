//! How the cluster is reached from this machine: ports of the loopback, and a kubeconfig.

use std::collections::BTreeMap;
use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::beside::{self, MAIL_PORT, POSTGRES_PORT, broker_name, broker_ports};
use super::components::Components;
use super::control_plane::APISERVER_PORT;
use crate::forward::{Config, Route, Target};
use crate::ports;
use crate::process::Spec;
use crate::state::State;

/// The component that holds the ports.
pub const FORWARDER: &str = "forwarder";
/// What the order services' APIs listen on in the cluster.
const HTTP_PORT: u16 = 8080;
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Ports that people expect, where they are free.
fn preferred(brokers: u16) -> Vec<(String, u16)> {
    let fixed =
        [("apiserver", 16443), ("orders", 8081), ("inventory", 8082), ("postgres", 15432), ("mail", 11025)];
    let mut ports: Vec<(String, u16)> = fixed.map(|(name, port)| (name.to_owned(), port)).to_vec();
    ports.extend((0..brokers).map(|index| (broker_name(index), 19092 + index)));
    ports
}

/// Picks the ports of a new cluster; an old one keeps its own, which stand in configurations already.
///
/// # Errors
/// When no port is free, or a port of an old cluster was taken meanwhile.
pub fn choose_ports(components: &mut Components) -> Result<()> {
    if components.state().running(FORWARDER).is_some() {
        return Ok(());
    }
    let mut chosen = BTreeMap::new();
    for (name, wanted) in preferred(components.state().brokers) {
        let port = match components.state().ports.get(&name) {
            Some(port) if is_free(*port) => *port,
            Some(port) => bail!("port {port}, on which {name} was reached, is taken by another process now"),
            None if is_free(wanted) => wanted,
            None => ports::free(Ipv4Addr::LOCALHOST.into())?,
        };
        chosen.insert(name, port);
    }
    components.update(|state| state.ports = chosen)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Starts the forwarder unless it runs.
///
/// # Errors
/// When it does not open its ports.
pub fn start_forwarder(components: &mut Components, kubernetes: &Path, kubeconfig: &Path) -> Result<()> {
    if components.state().running(FORWARDER).is_some() {
        return Ok(());
    }
    let home = components.home().clone();
    let ready = home.join("forwarder.ready");
    drop(std::fs::remove_file(&ready));
    let config = Config {
        namespace: components.network_namespace(),
        kubectl: [
            kubernetes.to_string_lossy().as_ref(),
            "kubectl",
            "--kubeconfig",
            &kubeconfig.to_string_lossy(),
        ]
        .map(str::to_owned)
        .to_vec(),
        ready: ready.clone(),
        routes: routes(components.state()),
    };
    let config = home.write("forwarder.json", &serde_json::to_vec_pretty(&config)?)?;
    let program = env::current_exe().context("cannot find this program")?;
    let spec = Spec::new(FORWARDER, program, home.log(FORWARDER)).args(["forward", "--config"]).arg(config);
    let launcher = components.host_launcher();
    if let Some(mut process) = components.ensure(FORWARDER, &launcher, spec)? {
        process.wait_until(START_TIMEOUT, || ready.exists())?;
    }
    Ok(())
}

fn routes(state: &State) -> Vec<Route> {
    let address = |port| Target::Address(SocketAddr::new(beside::node_ip(), port));
    let service =
        |name: &str| Target::Service { namespace: "shop".into(), name: name.into(), port: HTTP_PORT };
    let mut targets = BTreeMap::from([
        ("apiserver".to_owned(), address(APISERVER_PORT)),
        ("orders".to_owned(), service("shop-order")),
        ("inventory".to_owned(), service("shop-inventory")),
        ("postgres".to_owned(), address(POSTGRES_PORT)),
        ("mail".to_owned(), address(MAIL_PORT)),
    ]);
    for index in 0..state.brokers {
        if let Some(external) = broker_ports(index, 0).external {
            targets.insert(broker_name(index), address(external.listen));
        }
    }
    let route = |(name, target)| Some(Route { listen: *state.ports.get(&name)?, target });
    targets.into_iter().filter_map(route).collect()
}

/// The addresses on this machine that `status` names.
pub fn addresses(state: &State) -> BTreeMap<String, String> {
    let at = |name: &str| state.ports.get(name).map(|port| format!("127.0.0.1:{port}"));
    let brokers: Vec<String> = (0..state.brokers).filter_map(|index| at(&broker_name(index))).collect();
    let mut addresses = BTreeMap::from([("kafka".to_owned(), brokers.join(","))]);
    let schemes = [
        ("apiserver", "https://"),
        ("orders", "http://"),
        ("inventory", "http://"),
        ("postgres", ""),
        ("mail", "smtp://"),
    ];
    for (name, scheme) in schemes {
        addresses.extend(at(name).map(|address| (name.to_owned(), format!("{scheme}{address}"))));
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ProviderKind;

    fn state(brokers: u16) -> State {
        let mut state = State::new(ProviderKind::Bare, brokers);
        state.ports = preferred(brokers).into_iter().collect();
        state
    }

    #[test]
    fn every_port_leads_somewhere() {
        let state = state(3);

        assert_eq!(routes(&state).len(), state.ports.len());
    }

    #[test]
    fn all_brokers_are_named_in_one_address() {
        let addresses = addresses(&state(3));

        assert_eq!(addresses["kafka"], "127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094");
        assert_eq!(addresses["orders"], "http://127.0.0.1:8081");
    }
}
