//! The operator as a process: ready once it has listed, metrics, and a graceful end on SIGTERM.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use devcluster::testing::apiserver;

use super::world::{client, eventually, namespace};

/// Killed should the test fail.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_becomes_ready_and_ends_gracefully() {
    let namespace = namespace(&client().await).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_operator"))
        .env("KUBECONFIG", apiserver().kubeconfig())
        .env("WATCH_NAMESPACE", namespace)
        .env("ADMIN_ADDR", address.to_string())
        .stdout(Stdio::piped())
        .spawn();
    let mut operator = Operator(process.unwrap());

    eventually("ready", || std::future::ready(get(address, "/readyz"))).await;
    let metrics = get(address, "/metrics").unwrap();
    get(address, "/livez").unwrap();
    Command::new("kill").arg("-TERM").arg(operator.0.id().to_string()).status().unwrap();
    let status = eventually("the end", || {
        let ended = operator.0.try_wait().unwrap();
        std::future::ready(ended.ok_or_else(|| "still running".to_owned()))
    });
    let status = status.await;

    assert!(status.success(), "{status}");
    assert!(metrics.contains(r#"controller_runtime_max_concurrent_reconciles{controller="kafkatopic"}"#));
    let mut log = String::new();
    operator.0.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(log.contains("operator ends"), "{log}");
}
