//! Names and labels: how an object says what it is for. Whose it is, `controller/apply` says on every object.

use std::collections::BTreeMap;

use contract::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Value of `app.kubernetes.io/managed-by` on everything of ours.
pub const MANAGED_BY: &str = "orderpipeline";
/// Label with the pipeline's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label with the part of the pipeline that an object belongs to.
pub const COMPONENT: &str = "app.kubernetes.io/component";

/// The pipeline that the objects are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineId {
    /// Namespace of the pipeline and all its objects.
    pub namespace: String,
    /// Name of the pipeline.
    pub name: String,
}

/// The part of a pipeline that an object belongs to; the label `component`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// A service and what it needs to run.
    Service(Service),
    /// A topic.
    Topic,
    /// The preparation of the databases.
    Database,
}

impl Component {
    /// The value of the label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service(service) => service.name(),
            Self::Topic => "topic",
            Self::Database => "database",
        }
    }
}

impl PipelineId {
    /// Name of every object of a service: `shop-order`.
    #[must_use]
    pub fn object_name(&self, service: Service) -> String {
        format!("{}-{}", self.name, service.name())
    }

    /// Metadata of an object of this pipeline: its place and its labels.
    #[must_use]
    pub fn metadata(&self, name: String, component: Component) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels(component)),
            ..ObjectMeta::default()
        }
    }

    /// The recommended labels (kubernetes.io, "Recommended Labels").
    #[must_use]
    pub fn labels(&self, component: Component) -> BTreeMap<String, String> {
        let mut labels = self.selector(component);
        labels.insert("app.kubernetes.io/part-of".to_owned(), "order-pipeline".to_owned());
        labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned());
        labels
    }

    /// The labels that select the pods of `component`. A Deployment's selector can never change, so these
    /// three are never extended.
    #[must_use]
    pub fn selector(&self, component: Component) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "orders".to_owned()),
            (INSTANCE.to_owned(), self.name.clone()),
            (COMPONENT.to_owned(), component.name().to_owned()),
        ])
    }
}
