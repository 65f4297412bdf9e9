//! Access control lists: bindings, filters, and which binding a filter matches.

use std::fmt;
use std::str::FromStr;

/// Who an ACL is about: a type and a name, `User:shop-order`. `User:*` is everyone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(String);

/// A string that is no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no principal: Type:name is expected, User:shop-order for one")]
pub struct InvalidPrincipal(String);

impl Principal {
    /// The user `name`.
    pub fn user(name: impl fmt::Display) -> Self {
        Self(format!("User:{name}"))
    }

    /// The principal as Kafka writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Principal {
    type Err = InvalidPrincipal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(Self(text.to_owned())),
            Some(_) | None => Err(InvalidPrincipal(text.to_owned())),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What kind of resource an ACL guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// The cluster itself; its name is always `kafka-cluster`.
    Cluster,
    /// A transactional id.
    TransactionalId,
    /// A kind that this version cannot name (delegation tokens, users); read only.
    Unknown,
}

/// The only name that a resource of kind [`ResourceKind::Cluster`] has.
pub(crate) const CLUSTER_NAME: &str = "kafka-cluster";

/// How the name of a resource in an ACL is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternType {
    /// Exactly this name; `*` is every name.
    Literal,
    /// Every name that begins so.
    Prefixed,
}

/// Which names a filter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternFilter {
    /// Patterns of any type with exactly the filter's name.
    Any,
    /// Patterns that apply to the resource of the filter's name: literal, prefixed and `*`.
    Match,
    /// Literal patterns with exactly the filter's name.
    Literal,
    /// Prefixed patterns with exactly the filter's name.
    Prefixed,
}

/// What an ACL lets its principal do, or forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "Kafka's own words")]
pub enum AclOperation {
    All,
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
    /// An operation that this version cannot name; read only.
    Unknown,
}

/// Whether an ACL allows or denies; a denial wins over every allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "Kafka's own words")]
pub enum Permission {
    Allow,
    Deny,
}

/// One access control list entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclBinding {
    /// The kind of resource.
    pub resource: ResourceKind,
    /// The resource's name or prefix.
    pub name: String,
    /// How `name` is meant.
    pub pattern: PatternType,
    /// Who.
    pub principal: Principal,
    /// From which address; `*` is any.
    pub host: String,
    /// What.
    pub operation: AclOperation,
    /// Allowed or denied.
    pub permission: Permission,
}

impl AclBinding {
    /// Allows `principal` to do `operation`, from any host, on the resource of exactly this name.
    pub fn allow(
        principal: Principal,
        operation: AclOperation,
        resource: ResourceKind,
        name: impl Into<String>,
    ) -> Self {
        let (pattern, host, permission) = (PatternType::Literal, "*".to_owned(), Permission::Allow);
        Self { resource, name: name.into(), pattern, principal, host, operation, permission }
    }

    /// The same for every resource whose name begins so.
    #[must_use]
    pub fn prefixed(self) -> Self {
        Self { pattern: PatternType::Prefixed, ..self }
    }
}

/// Which ACLs are meant; what is none matches everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclFilter {
    /// The kind of resource.
    pub resource: Option<ResourceKind>,
    /// The resource's name or prefix.
    pub name: Option<String>,
    /// How `name` is meant.
    pub pattern: PatternFilter,
    /// Who.
    pub principal: Option<Principal>,
    /// From which address.
    pub host: Option<String>,
    /// What.
    pub operation: Option<AclOperation>,
    /// Allowed or denied.
    pub permission: Option<Permission>,
}

impl AclFilter {
    /// Every ACL of the cluster.
    pub fn any() -> Self {
        Self {
            resource: None,
            name: None,
            pattern: PatternFilter::Any,
            principal: None,
            host: None,
            operation: None,
            permission: None,
        }
    }

    /// Every ACL of `principal`.
    pub fn of(principal: Principal) -> Self {
        Self { principal: Some(principal), ..Self::any() }
    }

    /// `binding` and no other.
    pub fn exactly(binding: &AclBinding) -> Self {
        Self {
            resource: Some(binding.resource),
            name: Some(binding.name.clone()),
            pattern: match binding.pattern {
                PatternType::Literal => PatternFilter::Literal,
                PatternType::Prefixed => PatternFilter::Prefixed,
            },
            principal: Some(binding.principal.clone()),
            host: Some(binding.host.clone()),
            operation: Some(binding.operation),
            permission: Some(binding.permission),
        }
    }

    /// Whether `binding` is meant, by the broker's rules.
    pub fn matches(&self, binding: &AclBinding) -> bool {
        accepts(&self.resource, &binding.resource)
            && accepts(&self.principal, &binding.principal)
            && accepts(&self.host, &binding.host)
            && accepts(&self.operation, &binding.operation)
            && accepts(&self.permission, &binding.permission)
            && self.matches_name(binding)
    }

    fn matches_name(&self, binding: &AclBinding) -> bool {
        let name_accepted = accepts(&self.name, &binding.name);
        match self.pattern {
            PatternFilter::Any => name_accepted,
            PatternFilter::Literal => binding.pattern == PatternType::Literal && name_accepted,
            PatternFilter::Prefixed => binding.pattern == PatternType::Prefixed && name_accepted,
            PatternFilter::Match => {
                name_accepted || self.name.as_deref().is_some_and(|name| applies_to(binding, name))
            }
        }
    }

    /// A filter that matches whatever any of `filters` matches, so that one request can serve all of them. What the
    /// filters agree on is kept, so that the answer is no larger than it must be.
    pub(crate) fn covering(filters: &[Self]) -> Self {
        let Some((first, rest)) = filters.split_first() else {
            return Self::any();
        };
        // The name and how it is meant belong together: of two different ones, neither says anything alone.
        let same_name = rest.iter().all(|other| other.name == first.name && other.pattern == first.pattern);
        Self {
            resource: agreed(filters, |filter| filter.resource),
            name: first.name.clone().filter(|_| same_name),
            pattern: if same_name { first.pattern } else { PatternFilter::Any },
            principal: agreed(filters, |filter| filter.principal.clone()),
            host: agreed(filters, |filter| filter.host.clone()),
            operation: agreed(filters, |filter| filter.operation),
            permission: agreed(filters, |filter| filter.permission),
        }
    }
}

fn accepts<T: PartialEq>(wanted: &Option<T>, found: &T) -> bool {
    wanted.as_ref().is_none_or(|wanted| wanted == found)
}

fn applies_to(binding: &AclBinding, name: &str) -> bool {
    match binding.pattern {
        PatternType::Literal => binding.name == name || binding.name == "*",
        PatternType::Prefixed => name.starts_with(&binding.name),
    }
}

fn agreed<T: PartialEq>(filters: &[AclFilter], field: impl Fn(&AclFilter) -> Option<T>) -> Option<T> {
    let (first, rest) = filters.split_first()?;
    let first = field(first)?;
    rest.iter().all(|other| field(other).as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(name: &str, pattern: PatternType) -> AclBinding {
        let binding = AclBinding::allow(Principal::user("a"), AclOperation::Read, ResourceKind::Topic, name);
        AclBinding { pattern, ..binding }
    }

    fn named(name: &str, pattern: PatternFilter) -> AclFilter {
        AclFilter { name: Some(name.to_owned()), pattern, ..AclFilter::any() }
    }

    #[test]
    fn match_finds_every_pattern_that_applies_to_a_name() {
        let filter = named("orders.created", PatternFilter::Match);

        assert!(filter.matches(&binding("orders.created", PatternType::Literal)));
        assert!(filter.matches(&binding("orders.", PatternType::Prefixed)));
        assert!(filter.matches(&binding("*", PatternType::Literal)));
        assert!(!filter.matches(&binding("orders.", PatternType::Literal)));
        assert!(!filter.matches(&binding("payments.", PatternType::Prefixed)));
    }

    #[test]
    fn literal_and_prefixed_find_only_their_own_type() {
        assert!(named("o", PatternFilter::Literal).matches(&binding("o", PatternType::Literal)));
        assert!(!named("o", PatternFilter::Literal).matches(&binding("o", PatternType::Prefixed)));
        assert!(!named("o", PatternFilter::Prefixed).matches(&binding("o", PatternType::Literal)));
        assert!(named("o", PatternFilter::Any).matches(&binding("o", PatternType::Prefixed)));
        assert!(!named("o", PatternFilter::Any).matches(&binding("orders", PatternType::Prefixed)));
    }

    #[test]
    fn exactly_matches_its_binding_and_no_other() {
        let own = binding("o", PatternType::Prefixed);
        let filter = AclFilter::exactly(&own);

        assert!(filter.matches(&own));
        assert!(!filter.matches(&AclBinding { operation: AclOperation::Write, ..own.clone() }));
        assert!(!filter.matches(&AclBinding { principal: Principal::user("b"), ..own }));
    }

    #[test]
    fn covering_keeps_only_what_all_filters_agree_on() {
        let topic =
            |name| AclFilter { resource: Some(ResourceKind::Topic), ..AclFilter::of(Principal::user(name)) };

        let cover = AclFilter::covering(&[topic("a"), topic("b")]);

        assert_eq!(cover, AclFilter { resource: Some(ResourceKind::Topic), ..AclFilter::any() });
        assert_eq!(AclFilter::covering(&[topic("a"), topic("a")]), topic("a"));
    }

    #[test]
    fn principals_have_a_type_and_a_name() {
        assert_eq!("User:a:b".parse::<Principal>().unwrap().as_str(), "User:a:b");
        assert!("alice".parse::<Principal>().is_err());
        assert!("User:".parse::<Principal>().is_err());
    }
}
