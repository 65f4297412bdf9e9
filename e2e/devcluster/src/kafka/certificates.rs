//! The certificates of the TLS listeners: one authority for the brokers and another one for clients, so that whoever
//! takes one for the other is found out.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::pki::{Authority, Identity, Subject};

/// The folder of it all, in that of the cluster. `kafka/server.properties` names the files in it.
pub(super) const FOLDER: &str = "pki";
const BROKERS: &str = "brokers";
const CLIENTS: &str = "clients";

/// The certificates of one cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Those of the cluster in `dir`.
    pub(super) fn of(dir: &Path) -> Self {
        Self { folder: dir.join(FOLDER) }
    }

    /// Makes what is missing: both authorities, and the certificate of all brokers, which listen on `address`.
    pub(super) fn make(&self, address: IpAddr) -> Result<()> {
        self.clients()?;
        let brokers = Authority::named(&self.folder.join(BROKERS), "devcluster brokers")?;
        let subject = Subject { common_name: "broker", organization: "" };
        brokers.issue("broker", subject, &[&address.to_string(), "localhost"])?;
        // Kafka reads a key and its certificate from one file only.
        brokers.bundle("broker").map(drop)
    }

    /// The authority of the brokers as PEM: what their clients trust.
    ///
    /// # Errors
    /// When the cluster has no TLS listeners.
    pub fn ca_pem(&self) -> Result<String> {
        let file = self.folder.join(BROKERS).join("ca.crt");
        fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))
    }

    /// A new certificate for the user `CN=<common_name>`.
    ///
    /// # Errors
    /// When the folder of the cluster is gone.
    pub fn issue_client(&self, common_name: &str) -> Result<Identity> {
        self.clients()?.issue_client(Subject { common_name, organization: "" })
    }

    fn clients(&self) -> Result<Authority> {
        Authority::named(&self.folder.join(CLIENTS), "devcluster clients")
    }
}
