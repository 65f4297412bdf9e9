//! A thousand `KafkaTopic` objects created, changed and deleted.

use std::path::Path;

use anyhow::Result;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use operator::crd::KafkaTopic;
use serde_json::json;

use crate::cost::Per;
use crate::mirror::Mirror;
use crate::report::Figure;
use crate::world::{Settings, World};

/// Creates, changes and deletes `count` topics.
pub(crate) async fn measure(binary: &Path, count: usize) -> Result<Vec<Figure>> {
    eprintln!("topics:");
    let topics = Topics::start(binary, &[]).await?;
    let mut figures = Vec::new();
    for phase in [Phase::Created, Phase::Changed, Phase::Deleted] {
        figures.extend(topics.phase(phase, count).await?);
    }
    Ok(figures)
}

/// What happens to topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Changed,
    Deleted,
}

/// Topics, and an operator that looks after them.
pub(crate) struct Topics {
    pub(crate) world: World,
    api: Api<KafkaTopic>,
    mirror: Mirror<KafkaTopic>,
}

impl Topics {
    pub(crate) async fn start(binary: &Path, settings: &Settings) -> Result<Self> {
        let world = World::start(binary, settings).await?;
        let api: Api<KafkaTopic> = world.api();
        Ok(Self { mirror: Mirror::of(api.clone()), api, world })
    }

    pub(crate) async fn phase(&self, phase: Phase, count: usize) -> Result<Vec<Figure>> {
        let happened = match phase {
            Phase::Created => "created",
            Phase::Changed => "changed",
            Phase::Deleted => "deleted",
        };
        let is_done = || match phase {
            Phase::Created => self.mirror.ready(1) == count,
            Phase::Changed => self.mirror.ready(2) == count,
            Phase::Deleted => self.mirror.is_empty(),
        };
        let what = format!("{count} topics {happened}");
        let submissions = (0..count).map(|number| self.submit(phase, number));
        self.world.phase(&what, Per { unit: "per topic", count }, submissions, is_done).await
    }

    async fn submit(&self, phase: Phase, number: usize) -> Result<()> {
        let name = format!("topic-{number}");
        match phase {
            Phase::Created => drop(self.api.create(&PostParams::default(), &self.object(&name)?).await?),
            Phase::Changed => {
                let patch = Patch::Merge(json!({"spec": {"config": {"retention.ms": "7200000"}}}));
                self.api.patch(&name, &PatchParams::default(), &patch).await?;
            }
            Phase::Deleted => drop(self.api.delete(&name, &DeleteParams::default()).await?),
        }
        Ok(())
    }

    fn object(&self, name: &str) -> Result<KafkaTopic> {
        let spec = json!({
            "kafka": {"bootstrap": {"servers": self.world.kafka.bootstrap()}},
            "partitions": 1, "replicas": 1, "config": {"retention.ms": "3600000"},
            "deletionPolicy": "Delete",
        });
        let object = json!({
            "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": name}, "spec": spec,
        });
        Ok(serde_json::from_value(object)?)
    }
}
