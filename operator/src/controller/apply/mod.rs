//! Brings Kubernetes objects of an owner to what a plan says: in the plan's order, by server-side apply,
//! with nothing written where nothing differs, and what left the plan removed.
//!
//! [`Planned`] objects become [`Applied`] ones only here, so that a status computed from `Applied` cannot
//! speak of what never reached the apiserver.

mod difference;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject};
use kube::core::{NamespaceResourceScope, TypeMeta};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::reading::owned;
use super::context::Context;
use super::error::Error;

/// Label that holds the owner's uid: how what belongs to an owner is found again.
pub const OWNER_LABEL: &str = "orderpipeline.dev/owner";

/// Annotation that holds the hash of what was applied: tells that a field left the plan, which comparing
/// with the live object cannot.
pub const HASH_ANNOTATION: &str = "orderpipeline.dev/applied-hash";

/// Marks objects that a plan wants.
#[derive(Debug)]
pub struct Planned;

/// Marks objects that the apiserver holds as planned, with what it added (status, defaults, versions).
#[derive(Debug)]
pub struct Applied;

/// The object that all others belong to.
#[derive(Clone, Debug)]
pub struct Owner {
    namespace: String,
    uid: String,
    /// None where its objects are elsewhere: owner references do not reach beyond a namespace.
    reference: Option<OwnerReference>,
}

impl Owner {
    /// `object` as an owner; none where the apiserver has not given it a uid.
    pub fn of<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(object: &K) -> Option<Self> {
        let reference = object.controller_owner_ref(&())?;
        Some(Self { namespace: object.namespace()?, uid: reference.uid.clone(), reference: Some(reference) })
    }

    /// The same owner of objects in `namespace`. They are told to be its own by the label alone, and nobody collects
    /// them when it is deleted.
    #[must_use]
    pub fn elsewhere(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), uid: self.uid.clone(), reference: None }
    }

    /// Namespace of all that belongs to it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

/// Kubernetes objects of one owner, in the order of application.
#[derive(Debug)]
pub struct Resources<State> {
    owner: Owner,
    objects: Vec<(ApiResource, DynamicObject)>,
    kinds: BTreeMap<String, ApiResource>,
    /// Objects that take the place of another one of their name, and the kind of that one. Once applied: those that
    /// still wait for it to go.
    instead_of: BTreeMap<Key, ApiResource>,
    /// Once applied: how many objects there were besides, which are gone or on their way out.
    removed: usize,
    state: PhantomData<State>,
}

/// Plural of a kind, and name of an object.
type Key = (String, String);

impl Resources<Planned> {
    /// Nothing yet for `owner`.
    pub fn of(owner: Owner) -> Self {
        let (objects, kinds, instead_of) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { owner, objects, kinds, instead_of, removed: 0, state: PhantomData }
    }

    /// States that the owner may have objects of kind `K`: those that are not in the plan are removed.
    pub fn prune_kind<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&mut self) -> &mut Self {
        self.prune(ApiResource::erase::<K>(&()))
    }

    /// The same of a kind that is known at run time only.
    pub fn prune(&mut self, kind: ApiResource) -> &mut Self {
        self.kinds.insert(kind.plural.clone(), kind);
        self
    }

    /// Adds `object` after those added before. Namespace, owner reference, owner label and hash are set here;
    /// everything else is the caller's. Secrets must use `data`: `stringData` cannot be read back and compared.
    ///
    /// # Errors
    /// [`Error::Encoding`] when the object has no JSON form.
    pub fn add<K>(&mut self, object: K) -> Result<&mut Self, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize,
    {
        let kind = ApiResource::erase::<K>(&());
        let what = format!("{} {}", kind.kind, object.name_any());
        let encoding = |source| Error::Encoding { what, source };
        let mut json = serde_json::to_value(object).map_err(encoding.clone())?;
        // Status belongs to the apiserver's controllers, never to a plan.
        if let Some(fields) = json.as_object_mut() {
            fields.remove("status");
        }
        let object: DynamicObject = serde_json::from_value(json).map_err(encoding)?;
        Ok(self.add_dynamic(kind, object))
    }

    /// The same for an object of a kind that is known at run time only; it has no status.
    pub fn add_dynamic(&mut self, kind: ApiResource, mut object: DynamicObject) -> &mut Self {
        self.prune(kind.clone());
        object.types = Some(type_of(&kind));
        object.metadata.namespace = Some(self.owner.namespace.clone());
        object.metadata.owner_references = self.owner.reference.clone().map(|reference| vec![reference]);
        object.labels_mut().insert(OWNER_LABEL.to_owned(), self.owner.uid.clone());
        let hash = difference::hash(&object);
        object.annotations_mut().insert(HASH_ANNOTATION.to_owned(), hash);
        self.objects.push((kind, object));
        self
    }

    /// Adds `object`, which takes the place of the owner's object of kind `Before` and of the same name. The two are
    /// never there together: a pass that finds the other one removes it, and leaves `object` to a pass that does not.
    ///
    /// # Errors
    /// As [`Resources::add`].
    pub fn add_instead_of<Before, K>(&mut self, object: K) -> Result<&mut Self, Error>
    where
        Before: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize,
    {
        let key = (K::plural(&()).into_owned(), object.name_any());
        self.instead_of.insert(key, ApiResource::erase::<Before>(&()));
        self.add(object)
    }

    /// Makes it so: creates and changes in order, then removes what is not planned. Makes no write for an
    /// object that is as planned already.
    ///
    /// # Errors
    /// [`Error::Foreign`] when a planned object exists and does not belong to the owner; nothing after it in
    /// the order is touched. [`Error::Kubernetes`] when the apiserver refuses.
    pub async fn apply(self, ctx: &Context) -> Result<Resources<Applied>, Error> {
        let mut existing = self.existing(ctx).await?;
        let mut instead_of = self.instead_of;
        instead_of.retain(|(_, name), before| existing.contains_key(&(before.plural.clone(), name.clone())));
        let mut applied = Vec::with_capacity(self.objects.len());
        for (kind, planned) in self.objects {
            let key = key(&kind, &planned);
            let live = existing.remove(&key);
            if instead_of.contains_key(&key) {
                continue;
            }
            let live = live.map(|(_, live)| live);
            let object = writing::apply_one(ctx, &self.owner, &kind, &planned, live).await?;
            applied.push((kind, object));
        }
        let removed = existing.len();
        for (kind, leftover) in existing.into_values() {
            writing::delete(ctx, &self.owner, &kind, &leftover).await?;
        }
        Ok(Resources {
            owner: self.owner,
            objects: applied,
            kinds: self.kinds,
            instead_of,
            removed,
            state: PhantomData,
        })
    }

    /// What [`Resources::apply`] would do, a sentence each; does nothing of it.
    ///
    /// # Errors
    /// As [`Resources::apply`] has them.
    pub async fn pending(&self, ctx: &Context) -> Result<Vec<String>, Error> {
        let mut existing = self.existing(ctx).await?;
        let mut told = Vec::new();
        for (kind, planned) in &self.objects {
            let (name, what) = (planned.name_any(), &kind.kind);
            match existing.remove(&key(kind, planned)) {
                Some((_, live)) if !difference::differs(planned, &live) => {}
                Some((_, live)) => {
                    let fields = difference::fields(planned, &live);
                    let fields =
                        if fields.is_empty() { "what left the spec".into() } else { fields.join(", ") };
                    told.push(format!("change {what} {name}: {fields}"));
                }
                None => {
                    reading::ours_named(&api(ctx, &self.owner, kind), &self.owner, kind, &name).await?;
                    told.push(format!("create {what} {name}"));
                }
            }
        }
        told.extend(
            existing.into_values().map(|(kind, left)| format!("remove {} {}", kind.kind, left.name_any())),
        );
        Ok(told)
    }

    /// What the owner has of the kinds it may have.
    async fn existing(&self, ctx: &Context) -> Result<BTreeMap<Key, (ApiResource, DynamicObject)>, Error> {
        let lists = self.kinds.values().map(|kind| async move {
            let all = reading::existing(ctx, &self.owner, kind).await?;
            Ok::<_, Error>(all.into_iter().map(|object| (kind.clone(), object)).collect::<Vec<_>>())
        });
        let found = futures::future::try_join_all(lists).await?;
        Ok(found.into_iter().flatten().map(|(kind, object)| (key(&kind, &object), (kind, object))).collect())
    }
}

impl Resources<Applied> {
    /// The applied object of kind `K` with this name, as the apiserver holds it.
    pub fn get<K>(&self, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
    {
        self.all::<K>().find(|object| object.name_any() == name)
    }

    /// Every applied object of kind `K`, in order.
    pub fn all<K>(&self) -> impl Iterator<Item = K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
    {
        let wanted = ApiResource::erase::<K>(&());
        self.objects
            .iter()
            .filter(move |(kind, _)| *kind == wanted)
            .filter_map(|(_, object)| object.clone().try_parse().ok())
    }

    /// Every applied object, whatever its kind, in order.
    pub fn objects(&self) -> impl Iterator<Item = &DynamicObject> {
        self.objects.iter().map(|(_, object)| object)
    }

    /// The objects that wait for another one to go, each as a sentence.
    pub fn waiting(&self) -> impl Iterator<Item = String> {
        self.instead_of.iter().map(|((plural, name), before)| {
            let kind = self.kinds.get(plural).map_or(plural, |kind| &kind.kind);
            format!("{kind} {name} is made when {} {name} is gone", before.kind)
        })
    }

    /// How many objects there were that are not in the plan.
    pub fn removed(&self) -> usize {
        self.removed
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

fn type_of(kind: &ApiResource) -> TypeMeta {
    TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() }
}

fn key(kind: &ApiResource, object: &DynamicObject) -> Key {
    (kind.plural.clone(), object.name_any())
}

fn api(ctx: &Context, owner: &Owner, kind: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(ctx.client.clone(), &owner.namespace, kind)
}

/// JSON of an object; objects that came from JSON have one.
fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}
