//! TCP ports: finding free ones, and seeing that a process listens, in any network namespace.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// Below the ports that the kernel gives to outgoing connections (32768 and up) and below Kubernetes' node ports
/// (30000 and up): nobody takes one by chance while the broker that owns it is down for a moment.
const FREE_PORTS: std::ops::Range<u16> = 15_000..30_000;
const ATTEMPTS: u32 = 200;

/// A port of `address` on which nobody listens, and never the same one twice in a process: a port is free until its
/// broker starts, and by then a cluster has picked fifteen.
///
/// Picked at random, because several test runs look for ports at the same time.
///
/// # Errors
/// When [`ATTEMPTS`] random ports were all taken.
pub fn free(address: IpAddr) -> Result<u16> {
    static PICKED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut picked = PICKED.lock().unwrap_or_else(PoisonError::into_inner);
    (0..ATTEMPTS)
        .map(|_| rand::random_range(FREE_PORTS))
        .find(|port| TcpListener::bind((address, *port)).is_ok() && picked.insert(*port))
        .with_context(|| format!("found no free port on {address}"))
}

/// Whether anybody listens on `port` in the network namespace of the process `pid`.
///
/// Read from `/proc`, because a connection from here would not reach another namespace.
pub fn is_listening(pid: i32, port: u16) -> bool {
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .any(|table| listens(&table, port))
}

/// See proc_pid_net(5): the second column is `ADDRESS:PORT` in hexadecimal, the fourth is 0A for LISTEN.
fn listens(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut columns = line.split_ascii_whitespace();
        columns.nth(1).is_some_and(|local| local.ends_with(&port)) && columns.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_listening_port_is_seen_and_a_free_one_is_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let pid = i32::try_from(std::process::id()).unwrap();

        assert!(is_listening(pid, port));
        drop(listener);
        assert!(!is_listening(pid, port));
    }

    #[test]
    fn a_connection_is_not_a_listener() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 0100007F:C350 01 00000000";

        assert!(!listens(table, 8080));
        assert!(listens(&table.replace(" 01 ", " 0A "), 8080));
    }

    #[test]
    fn a_port_is_picked_once() {
        let picked: BTreeSet<u16> = (0..500).map(|_| free(Ipv4Addr::LOCALHOST.into()).unwrap()).collect();

        assert_eq!(picked.len(), 500);
    }

    #[test]
    fn free_ports_stay_clear_of_the_kernels_range() {
        let port = free(Ipv4Addr::LOCALHOST.into()).unwrap();

        assert!(FREE_PORTS.contains(&port));
    }
}
