//! `spec.reconcilePolicy`, which every kind has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// Whether what the spec says is carried out, or only compared with what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
pub enum ReconcilePolicy {
    /// It is carried out.
    #[default]
    Apply,
    /// Nothing is changed; what would be stands in `status.plan`.
    Plan,
}

impl ReconcilePolicy {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
