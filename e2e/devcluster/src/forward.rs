//! Ports of this machine's loopback that lead into the cluster's network namespace.
//!
//! A process of its own: it opens its sockets on the host, then moves into the namespace, where a socket keeps
//! the network it was made in. From there it connects to fixed addresses, and to Services by their name.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

/// Local addresses answer in microseconds; a Service may be in the middle of a change.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A Service that is not there is looked for at most this often: each look costs a run of kubectl.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(500);

/// Everything the process needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// File of the network namespace to connect from.
    pub namespace: PathBuf,
    /// Command that looks up Services; `get service …` is added.
    pub kubectl: Vec<String>,
    /// Written when all ports are open.
    pub ready: PathBuf,
    /// The ports.
    pub routes: Vec<Route>,
}

/// One port and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Port of 127.0.0.1 on the host.
    pub listen: u16,
    /// Where its connections go.
    pub target: Target,
}

/// An address inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// One that never changes.
    Address(SocketAddr),
    /// A Service's cluster address, which may not exist yet, or change when the Service is made anew.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
}

/// Serves the routes of the file `config` until killed.
///
/// # Errors
/// When a port is taken or the namespace is gone.
pub fn run(config: &Path) -> Result<()> {
    let text = fs::read(config).with_context(|| format!("cannot read {}", config.display()))?;
    let config: Config = serde_json::from_slice(&text).context("cannot read the routes")?;
    let mut listeners = Vec::new();
    for route in config.routes {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, route.listen))
            .with_context(|| format!("port {} is taken", route.listen))?;
        listeners.push((listener, Resolver::new(route.target, config.kubectl.clone())));
    }
    // Before the first thread: only the caller's own thread moves, and threads made later are where it is.
    let namespace = File::open(&config.namespace).context("the cluster's network namespace is gone")?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the cluster's network namespace")?;
    fs::write(&config.ready, std::process::id().to_string()).context("cannot report readiness")?;
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|(listener, resolver)| thread::spawn(move || accept(&listener, &Arc::new(resolver))))
        .collect();
    for thread in threads {
        if thread.join().is_err() {
            bail!("a forwarder ended");
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener, resolver: &Arc<Resolver>) {
    for connection in listener.incoming() {
        let Ok(client) = connection else { continue };
        let resolver = Arc::clone(resolver);
        // A connection that cannot be forwarded is closed, as a refusing server would; the client retries.
        thread::spawn(move || resolver.connect().and_then(|server| Ok(relay(client, server)?)));
    }
}

/// Copies both ways until both sides have said all.
fn relay(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        let copied = io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Write).and(copied)
    });
    let (mut from_client, mut to_server) = (client, server);
    let copied = io::copy(&mut from_client, &mut to_server);
    // One side may be done and the other still talking: only this direction ends. Errors end both by themselves.
    drop(to_server.shutdown(Shutdown::Write));
    drop(back.join());
    copied.map(drop)
}

struct Resolver {
    target: Target,
    kubectl: Vec<String>,
    found: Mutex<Lookup>,
}

#[derive(Default)]
struct Lookup {
    address: Option<IpAddr>,
    last: Option<Instant>,
}

impl Resolver {
    fn new(target: Target, kubectl: Vec<String>) -> Self {
        Self { target, kubectl, found: Mutex::default() }
    }

    fn connect(&self) -> Result<TcpStream> {
        let (namespace, name, port) = match &self.target {
            Target::Address(address) => return Ok(TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?),
            Target::Service { namespace, name, port } => (namespace, name, *port),
        };
        let address = self.address(namespace, name)?;
        let stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_TIMEOUT);
        if stream.is_err() {
            // It may have been made anew under another address; the next connection looks again.
            self.found.lock().unwrap_or_else(PoisonError::into_inner).address = None;
        }
        Ok(stream?)
    }

    fn address(&self, namespace: &str, name: &str) -> Result<IpAddr> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = found.address {
            return Ok(address);
        }
        if found.last.is_some_and(|last| last.elapsed() < LOOKUP_INTERVAL) {
            bail!("service {namespace}/{name} was not there a moment ago");
        }
        found.last = Some(Instant::now());
        let address = self.look_up(namespace, name)?;
        found.address = Some(address);
        Ok(address)
    }

    fn look_up(&self, namespace: &str, name: &str) -> Result<IpAddr> {
        let (program, arguments) = self.kubectl.split_first().context("no kubectl")?;
        let output = Command::new(program)
            .args(arguments)
            .args(["get", "service", name, "--namespace", namespace, "--output=jsonpath={.spec.clusterIP}"])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| format!("service {namespace}/{name} has no address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_one_side_says_reaches_the_other_until_both_are_done() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let entrance = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = entrance.local_addr().unwrap();
        let resolver = Resolver::new(Target::Address(echo.local_addr().unwrap()), Vec::new());
        thread::spawn(move || accept(&entrance, &Arc::new(resolver)));
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });

        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();

        assert_eq!(answer, "hello");
    }

    #[test]
    fn a_missing_service_is_not_looked_for_again_at_once() {
        let target = Target::Service { namespace: "shop".into(), name: "none".into(), port: 80 };
        let resolver = Resolver::new(target, vec!["false".into()]);

        assert!(resolver.connect().unwrap_err().to_string().contains("has no address"));
        assert!(resolver.connect().unwrap_err().to_string().contains("a moment ago"));
    }
}
