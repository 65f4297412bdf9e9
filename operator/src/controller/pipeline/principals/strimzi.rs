//! The services' users where Strimzi runs the cluster: a `KafkaUser` for each, in the namespace of its `Kafka`, from
//! which Strimzi's User Operator makes the user, its ACLs and a Secret. The operator waits for them, and gives each
//! service what stands in that Secret in one of its own, in the pipeline's namespace.
//!
//! - **Whose a user is**: its label says so. A `KafkaUser` of another maker is never touched (`UserTaken`).
//! - **Rotation**: the User Operator makes new credentials when the Secret is gone. It is deleted once per rotation:
//!   while what it holds is what the service has had since before.

use std::sync::Arc;

use contract::Service;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, DynamicObject, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::wanted::ROTATE_ANNOTATION;
use super::{Identities, Principals};
use crate::build::kafka_user;
use crate::build::workload::{Certificate, Credentials, KafkaIdentity};
use crate::controller::apply::{self, OWNER_LABEL, Owner, Resources};
use crate::controller::context::Context;
use crate::controller::endpoint::{StrimziCluster, USER_CERTIFICATE, USER_KEY, USER_PASSWORD};
use crate::controller::error::Error;
use crate::controller::pipeline::progress::{Progress, Tally};
use crate::controller::pipeline::validate::ValidPipeline;
use crate::controller::secrets::Contents;
use crate::controller::strimzi;
use crate::controller::strimzi::objects::Authentication;
use crate::crd::OrderPipeline;
use crate::crd::conditions::Explanation;
use crate::crd::order_pipeline::AccessStatus;

/// Where the users of a pipeline are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The cluster.
    pub cluster: &'a StrimziCluster,
    /// Its namespace, which its User Operator watches.
    pub namespace: &'a str,
    /// Whose they are.
    pub owner: &'a Owner,
}

/// Sees to it that there are `KafkaUser`s for the services of `valid` and no others, and takes over what Strimzi makes
/// of them.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver does not do what is asked.
pub(super) async fn ensure(
    ctx: &Context,
    pipeline: &OrderPipeline,
    valid: &ValidPipeline,
    place: Place<'_>,
    held: &Identities,
) -> Result<Principals, Error> {
    let (resources, services) = wanted(ctx, valid, place);
    let applied = match resources.apply(ctx).await {
        Ok(applied) => applied,
        Err(Error::Foreign { name, .. }) => return Ok(waiting(taken(place.namespace, &name), held)),
        Err(error) => return Err(error),
    };
    let rotation = pipeline.annotations().get(ROTATE_ANNOTATION);
    let mut identities = Identities::new();
    let mut all = Vec::new();
    for (service, user) in services.into_iter().zip(applied.objects()) {
        let held = held.get(&service);
        let (progress, identity) = match issued(ctx, place, user).await? {
            Err(progress) => (progress, None),
            Ok(issued) => match turn(rotation, held, issued.identity.clone()) {
                Turn::Take(identity) => (Progress::Done, Some(identity)),
                Turn::Renew => (renew(ctx, place.namespace, &issued).await?, None),
            },
        };
        all.push(progress);
        if let Some(identity) = identity.or_else(|| held.cloned()) {
            identities.insert(service, identity);
        }
    }
    // Whose they are, and where, the objects tell themselves.
    let users =
        AccessStatus { users: applied.objects().map(ResourceExt::name_any).collect(), cluster_id: None };
    Ok(Principals { progress: Tally::of(all).progress, identities, users })
}

/// Deletes every user of `owner` in `namespace`. That there are none is believed only where the apiserver says so now.
///
/// # Errors
/// [`Error::Kubernetes`] when the apiserver does not do what is asked.
pub(in crate::controller::pipeline) async fn remove(
    ctx: &Context,
    owner: &Owner,
    namespace: &str,
) -> Result<(), Error> {
    let looked_for = || format!("look for KafkaUsers in {namespace}");
    let served = strimzi::served(&ctx.client).await.map_err(Error::kubernetes(looked_for()))?;
    // Where Strimzi is gone its objects are.
    let Some(kind) = served.map(strimzi::user_kind) else { return Ok(()) };
    let users: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &kind);
    let ours = ListParams::default().labels(&format!("{OWNER_LABEL}={}", owner.uid()));
    users.list_metadata(&ours).await.map_err(Error::kubernetes(looked_for()))?;
    let mut none = Resources::of(owner.elsewhere(namespace));
    none.prune(kind);
    none.apply(ctx).await.map(drop)
}

/// The users that there should be, and of which services they are, in the same order.
pub(super) fn wanted(
    ctx: &Context,
    valid: &ValidPipeline,
    place: Place<'_>,
) -> (Resources<apply::Planned>, Vec<Service>) {
    let mut resources = Resources::of(place.owner.elsewhere(place.namespace));
    let mut services = Vec::new();
    // There is no cluster without the kind: its own is of the same group.
    if let Some(kind) = ctx.strimzi.user_kind() {
        resources.prune(kind.clone());
        let prefix = &valid.topic_defaults.prefix;
        for service in valid.services.iter().map(|valid| valid.service) {
            if let Some(user) = kafka_user::maybe_build(&valid.id, service, prefix, place.cluster, &kind) {
                resources.add_dynamic(kind.clone(), user);
                services.push(service);
            }
        }
    }
    (resources, services)
}

/// What Strimzi made of a user.
struct Issued {
    identity: KafkaIdentity,
    /// Name of the Secret that it stands in.
    secret: String,
    contents: Arc<Contents>,
}

/// What Strimzi made of `user`; the inner error says how far it is.
async fn issued(
    ctx: &Context,
    place: Place<'_>,
    user: &DynamicObject,
) -> Result<Result<Issued, Progress>, Error> {
    let told = match Told::of(user) {
        Ok(told) => told,
        Err(why) => return Ok(Err(not_ready(place, user, &why))),
    };
    let issued = ctx.secrets.get(place.namespace, &told.secret).await?.and_then(|contents| {
        let identity = identity(&contents, place.cluster, &told.username)?;
        Some(Issued { identity, secret: told.secret, contents })
    });
    Ok(issued.ok_or_else(|| not_ready(place, user, "its Secret is not there yet")))
}

/// What the status of a user that is ready says.
struct Told {
    username: String,
    secret: String,
}

impl Told {
    /// # Errors
    /// Why it is not ready.
    fn of(user: &DynamicObject) -> Result<Self, String> {
        let status = user.data.get("status").ok_or("Strimzi has not looked at it yet")?;
        let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
        let observed = status.get("observedGeneration").and_then(Value::as_i64);
        if observed.is_some() && observed != user.metadata.generation {
            return Err("Strimzi has not looked at its latest version yet".to_owned());
        }
        let conditions = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
        let mut ready = false;
        for condition in conditions {
            // Failures are a condition of their own, `NotReady`, or `Ready` that is False.
            match (condition["type"].as_str(), condition["status"].as_str()) {
                (Some("Ready"), Some("True")) => ready = true,
                (Some("NotReady"), Some("True")) | (Some("Ready"), Some("False")) => {
                    let told = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
                    return Err(format!("{}: {}", told("reason"), told("message")));
                }
                _ => {}
            }
        }
        match (ready, text("username"), text("secret")) {
            (true, Some(username), Some(secret)) => Ok(Self { username, secret }),
            _ => Err("Strimzi is at it".to_owned()),
        }
    }
}

fn identity(secret: &Contents, cluster: &StrimziCluster, username: &str) -> Option<KafkaIdentity> {
    let text = |key| {
        let bytes = secret.keys.get(key)?.expose_secret();
        Some(SecretString::from(str::from_utf8(bytes).ok()?))
    };
    match cluster.authentication {
        Authentication::Scram => {
            let credentials = Credentials { username: username.into(), password: text(USER_PASSWORD)? };
            Some(KafkaIdentity { credentials: Some(credentials), ..KafkaIdentity::default() })
        }
        Authentication::Tls => {
            let certificate = Certificate { certificate: text(USER_CERTIFICATE)?, key: text(USER_KEY)? };
            Some(KafkaIdentity { certificate: Some(certificate), ..KafkaIdentity::default() })
        }
        Authentication::None | Authentication::Other(_) => None,
    }
}

/// What becomes of what Strimzi issued.
enum Turn {
    /// The service gets it.
    Take(KafkaIdentity),
    /// Another one is to be made first.
    Renew,
}

fn turn(rotation: Option<&String>, held: Option<&KafkaIdentity>, issued: KafkaIdentity) -> Turn {
    let had = held.filter(|held| held.credentials.is_some() || held.certificate.is_some());
    let before = had.and_then(|held| held.rotation.as_ref());
    match (rotation, had) {
        (Some(_), Some(held)) if rotation != before && same(held, &issued) => Turn::Renew,
        // To remove the annotation asks for nothing.
        _ => Turn::Take(KafkaIdentity { rotation: rotation.or(before).cloned(), ..issued }),
    }
}

fn same(one: &KafkaIdentity, other: &KafkaIdentity) -> bool {
    let password =
        |of: &KafkaIdentity| of.credentials.as_ref().map(|it| it.password.expose_secret().to_owned());
    let key = |of: &KafkaIdentity| of.certificate.as_ref().map(|it| it.key.expose_secret().to_owned());
    password(one) == password(other) && key(one) == key(other)
}

/// Has Strimzi make new credentials: it does when there are none.
async fn renew(ctx: &Context, namespace: &str, issued: &Issued) -> Result<Progress, Error> {
    let (api, name): (Api<Secret>, _) = (Api::namespaced(ctx.client.clone(), namespace), &issued.secret);
    let Contents { uid, resource_version, .. } = &*issued.contents;
    let preconditions = Preconditions { uid: uid.clone(), resource_version: resource_version.clone() };
    match api.delete(name, &DeleteParams::default().preconditions(preconditions)).await {
        Ok(_) => tracing::info!(secret = name, "deleted, so that Strimzi makes new credentials"),
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {}
        Err(error) => return Err(Error::kubernetes(format!("delete Secret {name}"))(error)),
    }
    // The next pass may come before the watch tells.
    ctx.secrets.forget(&(namespace.to_owned(), name.clone()));
    let message = format!("Strimzi is to make new credentials in Secret {name}");
    Ok(Progress::Pending(Explanation::new("AccessPending", message)))
}

fn not_ready(place: Place<'_>, user: &DynamicObject, why: &str) -> Progress {
    let mut message = format!("KafkaUser {}/{} is not ready: {why}", place.namespace, user.name_any());
    if !place.cluster.has_user_operator {
        message.push_str(
            "; its Kafka has no spec.entityOperator.userOperator, so there may be nobody who makes users",
        );
    }
    Progress::Pending(Explanation::new("KafkaUserPending", message))
}

fn taken(namespace: &str, user: &str) -> Progress {
    let message = format!(
        "there is a KafkaUser {namespace}/{user} that this pipeline did not create; delete it if nobody needs it"
    );
    Progress::Failed(Explanation::new("UserTaken", message))
}

fn waiting(progress: Progress, held: &Identities) -> Principals {
    Principals { progress, identities: held.clone(), users: AccessStatus::default() }
}
