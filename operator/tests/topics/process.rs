//! The operator as a process: ready once it has listed, metrics, and a graceful end on SIGTERM.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use devcluster::testing::apiserver;
use kube::config::Kubeconfig;

use super::world::{client, eventually, namespace};

/// A process; killed should the test fail.
pub(crate) struct Operator {
    process: Child,
    log: tempfile::NamedTempFile,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let answer = ask(address, "GET", path, "")?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer) }
}

/// The whole answer, whatever it says.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String, String> {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer)
}

/// A kubeconfig of the shared apiserver with which one is `user`.
pub(crate) fn kubeconfig_of(user: &str) -> tempfile::NamedTempFile {
    let mut kubeconfig = Kubeconfig::read_from(apiserver().kubeconfig()).unwrap();
    for info in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        info.impersonate = Some(user.to_owned());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, &kubeconfig).unwrap();
    file
}

impl Operator {
    pub(crate) fn start(kubeconfig: &Path, namespace: &str, address: SocketAddr) -> Self {
        Self::start_with(kubeconfig, namespace, address, &[])
    }

    pub(crate) fn start_with(
        kubeconfig: &Path,
        namespace: &str,
        address: SocketAddr,
        environment: &[(&str, String)],
    ) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_operator"))
            .env("KUBECONFIG", kubeconfig)
            .env("WATCH_NAMESPACE", namespace)
            .env("ADMIN_ADDR", address.to_string())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::from(log.reopen().unwrap()))
            .spawn();
        Self { process: process.unwrap(), log }
    }

    /// All that it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status().unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = eventually("the end", || {
            let ended = self.process.try_wait().unwrap();
            std::future::ready(ended.ok_or_else(|| "still running".to_owned()))
        });
        ended.await
    }

    pub(crate) async fn end(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_without_rights_is_not_ready_and_still_ends() {
    let namespace = namespace(&client().await).await;
    let (kubeconfig, address) = (kubeconfig_of("nobody"), free_address());

    let mut operator = Operator::start(kubeconfig.path(), &namespace, address);
    eventually("alive", || std::future::ready(get(address, "/livez"))).await;

    assert!(get(address, "/readyz").is_err());
    assert!(operator.end().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_becomes_ready_and_ends_gracefully() {
    let namespace = namespace(&client().await).await;
    let address = free_address();
    let mut operator = Operator::start(apiserver().kubeconfig(), &namespace, address);

    eventually("ready", || std::future::ready(get(address, "/readyz"))).await;
    let metrics = get(address, "/metrics").unwrap();
    get(address, "/livez").unwrap();
    let status = operator.end().await;

    assert!(status.success(), "{status}");
    assert!(metrics.contains(r#"controller_runtime_max_concurrent_reconciles{controller="kafkatopic"}"#));
    let log = operator.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(log.contains("operator ends"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_is_changed_by_request() {
    let namespace = namespace(&client().await).await;
    let (address, quiet) = (free_address(), [("LOG_LEVEL", "error".to_owned())]);
    let operator = Operator::start_with(apiserver().kubeconfig(), &namespace, address, &quiet);
    eventually("alive", || std::future::ready(get(address, "/livez"))).await;

    let refused = ask(address, "PUT", "/loglevel", "operator=loud").unwrap();
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("operator=loud"), "{refused}");
    assert_eq!(operator.log(), "");

    let taken = ask(address, "PUT", "/loglevel", "info").unwrap();
    assert!(taken.starts_with("HTTP/1.1 204"), "{taken}");
    // Said at `info`, so that it is seen only if it is true.
    assert!(operator.log().contains("the log level was changed"), "{}", operator.log());
}
