//! ACLs and SCRAM credentials of the in-memory cluster.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret, SecretString};

use crate::acl::{AclBinding, AclFilter, CLUSTER_NAME, ResourceKind};
use crate::error::Error;
use crate::scram::{ScramDeletion, ScramInfo, ScramMechanism, ScramUpsertion};

/// The broker's limits, and why a credential beyond them is refused.
const ITERATIONS_MIN: u32 = 4096;
const ITERATIONS_MAX: u32 = 16384;

#[derive(Debug, Default)]
pub(super) struct Acls {
    bindings: BTreeSet<AclBinding>,
    disabled: bool,
}

impl Acls {
    pub(super) fn disable(&mut self) {
        self.disabled = true;
    }

    fn check_enabled(&self) -> Result<(), Error> {
        if self.disabled {
            let message = "No Authorizer is configured.".to_owned();
            return Err(Error::SecurityDisabled { message });
        }
        Ok(())
    }

    /// Without an authorizer there are none, and that is no error: the real client cannot tell the two apart.
    pub(super) fn matching(&self, filter: &AclFilter) -> Vec<AclBinding> {
        let stored = self.bindings.iter().filter(|_| !self.disabled);
        stored.filter(|binding| filter.matches(binding)).cloned().collect()
    }

    pub(super) fn create(&mut self, binding: &AclBinding) -> Result<(), Error> {
        self.check_enabled()?;
        if binding.resource == ResourceKind::Cluster && binding.name != CLUSTER_NAME {
            let message = format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}");
            return Err(Error::invalid_request(message));
        }
        self.bindings.insert(binding.clone());
        Ok(())
    }

    pub(super) fn delete(&mut self, filter: &AclFilter) -> Result<Vec<AclBinding>, Error> {
        self.check_enabled()?;
        let deleted = self.matching(filter);
        self.bindings.retain(|binding| !filter.matches(binding));
        Ok(deleted)
    }
}

#[derive(Debug, Default)]
pub(super) struct Credentials {
    users: BTreeMap<String, BTreeMap<ScramMechanism, (u32, SecretString)>>,
}

impl Credentials {
    pub(super) fn of(&self, user: &str) -> Result<Vec<ScramInfo>, Error> {
        let credentials = self.users.get(user).ok_or_else(|| unknown(user))?;
        let info = |(&mechanism, &(iterations, _)): (&ScramMechanism, &(u32, SecretString))| ScramInfo {
            mechanism,
            iterations,
        };
        Ok(credentials.iter().map(info).collect())
    }

    pub(super) fn upsert(&mut self, upsertion: &ScramUpsertion) -> Result<(), Error> {
        let ScramInfo { mechanism, iterations } = upsertion.credential;
        if iterations < ITERATIONS_MIN {
            return Err(Error::invalid_request("Too few iterations"));
        }
        if iterations > ITERATIONS_MAX {
            return Err(Error::invalid_request("Too many iterations"));
        }
        let credentials = self.users.entry(upsertion.user.clone()).or_default();
        credentials.insert(mechanism, (iterations, upsertion.password.clone()));
        Ok(())
    }

    pub(super) fn delete(&mut self, deletion: &ScramDeletion) -> Result<(), Error> {
        let unknown = || unknown(&deletion.user);
        let credentials = self.users.get_mut(&deletion.user).ok_or_else(unknown)?;
        credentials.remove(&deletion.mechanism).ok_or_else(unknown)?;
        if credentials.is_empty() {
            self.users.remove(&deletion.user);
        }
        Ok(())
    }

    pub(super) fn accept(&self, user: &str, mechanism: ScramMechanism, password: &str) -> bool {
        let credential = self.users.get(user).and_then(|credentials| credentials.get(&mechanism));
        credential.is_some_and(|(_, own)| own.expose_secret() == password)
    }
}

fn unknown(user: &str) -> Error {
    Error::not_found(format!("Attempt to describe or delete a credential that does not exist: {user}"))
}
