//! The processes of a service, each in a container of its own: one, or one for its API and one for all else. Whoever
//! names a container or a port asks here.

use super::workload::{ADMIN_PORT, EVENTS_ADMIN_PORT, HTTP_PORT, Workload};
use crate::crd::order_pipeline::Containers;

/// A process of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Name of its container.
    pub container: &'static str,
    /// What the image is called with.
    pub arguments: Vec<String>,
    /// Its API, where it has one.
    pub http: Option<Port>,
    /// Its probes and metrics.
    pub admin: Port,
}

/// A port by its name, which Services and policies know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; at most 15 characters.
    pub name: &'static str,
    /// Its number, the same for the container and the Service.
    pub number: i32,
}

/// Where the API of a service that has one answers.
pub(super) const HTTP: Port = Port { name: "http", number: HTTP_PORT };
const ADMIN: Port = Port { name: "admin", number: ADMIN_PORT };
const EVENTS_ADMIN: Port = Port { name: "admin-events", number: EVENTS_ADMIN_PORT };

impl Process {
    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = Port> + use<> {
        self.http.into_iter().chain([self.admin])
    }
}

/// The processes of each pod of `workload`.
#[must_use]
pub fn processes(workload: &Workload) -> Vec<Process> {
    let role = workload.service.name();
    let arguments = |more: &[&str]| std::iter::once(&role).chain(more).map(ToString::to_string).collect();
    match workload.containers {
        Containers::Together => vec![Process {
            container: role,
            arguments: arguments(&[]),
            http: workload.service.spec().has_api().then_some(HTTP),
            admin: ADMIN,
        }],
        Containers::Apart => vec![
            Process {
                container: "api",
                arguments: arguments(&["--parts", "api"]),
                http: Some(HTTP),
                admin: ADMIN,
            },
            Process {
                container: "events",
                // The containers of a pod share its address, so that its ports have to differ.
                arguments: arguments(&[
                    "--parts",
                    "events",
                    "--admin-addr",
                    &format!("0.0.0.0:{EVENTS_ADMIN_PORT}"),
                ]),
                http: None,
                admin: EVENTS_ADMIN,
            },
        ],
    }
}
