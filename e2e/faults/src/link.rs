//! The network between services and their broker or database: a TCP forwarder that can be cut.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What a link does with what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Passes it on.
    Open,
    /// Swallows it: connections stay, and nothing arrives until the link is open again, as when a switch hangs.
    Stalled,
    /// Resets connections and takes no new ones, as when a host is gone.
    Cut,
}

/// A forwarder from an address of its own to another. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    flow: watch::Sender<Flow>,
}

impl Link {
    /// Forwards a free loopback port to `target`. It has a thread of its own: it outlives the test that made it.
    pub(crate) fn to(target: SocketAddr) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a link")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (flow, state) = watch::channel(Flow::Open);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || runtime.block_on(serve(listener, target, state));
        std::thread::Builder::new().name("link".to_owned()).spawn(serve)?;
        Ok(Self { address, flow })
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

async fn serve(listener: std::net::TcpListener, target: SocketAddr, mut state: watch::Receiver<Flow>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A connection that cannot be forwarded is dropped, as a refusing server would; the client retries.
                if let Ok((client, _)) = accepted && *state.borrow() != Flow::Cut {
                    tokio::spawn(forward(client, target, state.clone()));
                }
            }
            // The link was dropped.
            gone = state.changed() => if gone.is_err() { return },
        }
    }
}

async fn forward(client: TcpStream, target: SocketAddr, state: watch::Receiver<Flow>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    // Small requests and their answers alternate; waiting to fill packets would slow every one of them.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Both ways end with the first that does: half-open connections serve nobody here.
    tokio::select! {
        () = pump(from_client, to_server, state.clone()) => {}
        () = pump(from_server, to_client, state) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Flow>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(length) if length > 0 => length,
                Ok(_) | Err(_) => return,
            },
            cut = state.wait_for(|flow| *flow == Flow::Cut) => { drop(cut); return }
        };
        // What was read while the link is stalled arrives once it is open, as TCP would send it again.
        match state.wait_for(|flow| *flow != Flow::Stalled).await.map(|flow| *flow) {
            Ok(Flow::Open) => {}
            Ok(Flow::Stalled | Flow::Cut) | Err(_) => return,
        }
        if to.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
