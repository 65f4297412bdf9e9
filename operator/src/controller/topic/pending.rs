//! What a plan would change, for people to read before they allow it. Pure.

use kafka_admin::ConfigChange;

use super::apply::shape;
use super::observed::ObservedTopic;
use super::plan::{Change, Claim, Plan};

/// A sentence for each change that `plan` would make to the topic as it was `observed`.
pub fn pending(plan: &Plan, observed: Option<&ObservedTopic>) -> Vec<String> {
    let adoption =
        (plan.claim == Claim::Adopted).then(|| "take over the topic, which exists already".to_owned());
    let changes = plan.changes.iter().flat_map(|change| match change {
        Change::Create(new) => {
            let settings = new.config.iter().map(|(key, value)| format!("set {key}={value}"));
            std::iter::once(format!("create the topic with {}", shape(new))).chain(settings).collect()
        }
        Change::AddPartitions { from, to } => vec![format!("add partitions: {from} -> {to}")],
        Change::AlterConfig(changes) => {
            changes.iter().map(|(key, change)| setting(observed, key, change)).collect::<Vec<_>>()
        }
    });
    adoption.into_iter().chain(changes).collect()
}

fn setting(observed: Option<&ObservedTopic>, key: &str, change: &ConfigChange) -> String {
    let setting = observed.and_then(|topic| topic.settings.get(key));
    let is = setting.and_then(|setting| setting.value.as_deref()).unwrap_or("unset");
    match change {
        ConfigChange::Set(value) => format!("set {key}={value}, it is {is}"),
        ConfigChange::Delete => format!("give {key} back to the broker's default, it is {is}"),
    }
}
