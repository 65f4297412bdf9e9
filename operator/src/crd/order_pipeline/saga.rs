//! `spec.saga`: how an order is carried to its end.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use contract::Step;
use kube::KubeSchema;
use kube::core::{Message, Rule};
use serde::{Deserialize, Serialize};

use super::{DURATION, not_zero_rule};

/// How an order is carried to its end.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SagaSpec {
    /// What must succeed before an order is confirmed: any of inventory, payment and shipping, in this order.
    /// The service behind each step must be enabled.
    #[serde(default = "default_steps")]
    #[schemars(length(min = 1, max = 8), inner(length(max = 32)))]
    #[x_kube(validation = steps_rule())]
    #[x_kube(validation = Rule::new("self.all(step, self.exists_one(other, other == step))")
        .message("saga.steps names a step twice; name each once"))]
    #[x_kube(validation = steps_order_rule())]
    pub steps: Vec<String>,

    /// How long a step may take before the order is cancelled.
    #[serde(default = "default_step_timeout")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = not_zero_rule())]
    pub step_timeout: String,

    /// How long a confirmed order waits for its notification before it is completed without. Means nothing
    /// where orders are shipped.
    #[serde(default = "default_notification_timeout")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = not_zero_rule())]
    pub notification_timeout: String,

    /// How long a confirmed order waits for its delivery before it is completed without. Means nothing where
    /// nothing is shipped.
    #[serde(default = "default_delivery_timeout")]
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = not_zero_rule())]
    pub delivery_timeout: String,
}

impl Default for SagaSpec {
    fn default() -> Self {
        Self {
            steps: default_steps(),
            step_timeout: default_step_timeout(),
            notification_timeout: default_notification_timeout(),
            delivery_timeout: default_delivery_timeout(),
        }
    }
}

fn default_steps() -> Vec<String> {
    vec![Step::Inventory.to_string()]
}

/// Ten times what a step takes on a busy cluster, and short enough for a customer who waits.
fn default_step_timeout() -> String {
    "30s".to_owned()
}

/// A mail server that restarts is back by then.
fn default_notification_timeout() -> String {
    "1m".to_owned()
}

/// By then a parcel has arrived, or is lost and a matter for people.
fn default_delivery_timeout() -> String {
    "30d".to_owned()
}

fn steps_rule() -> Rule {
    let names: Vec<String> = Step::ALL.iter().map(ToString::to_string).collect();
    Rule::new(format!("self.all(step, step in ['{}'])", names.join("', '"))).message(Message::Message(
        format!("saga.steps names a step that does not exist; there are: {}", names.join(", ")),
    ))
}

fn steps_order_rule() -> Rule {
    let pairs = Step::ALL.iter().zip(Step::ALL.iter().skip(1)).chain([(&Step::Inventory, &Step::Shipping)]);
    let in_order = |(first, second): (&Step, &Step)| {
        format!("(self.indexOf('{second}') < 0 || self.indexOf('{first}') < self.indexOf('{second}'))")
    };
    let names: Vec<String> = Step::ALL.iter().map(ToString::to_string).collect();
    Rule::new(pairs.map(in_order).collect::<Vec<_>>().join(" && "))
        .message(Message::Message(format!("saga.steps must be in the order {}", names.join(", "))))
}
