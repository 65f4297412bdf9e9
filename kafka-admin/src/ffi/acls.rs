//! ACLs.

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as api;
use sys::{
    rd_kafka_AclOperation_t as op, rd_kafka_AclPermissionType_t as permission,
    rd_kafka_ResourcePatternType_t as pattern, rd_kafka_ResourceType_t as resource,
};

use super::client::{Answer, Client, Target};
use super::native::{
    Owned, c_text, error_outcome, list, pointers, rd_kafka_AclBinding_operation,
    rd_kafka_AclBinding_permission_type, rd_kafka_AclBinding_resource_pattern_type,
    rd_kafka_AclBinding_restype, text,
};
use crate::acl::{AclBinding, AclFilter, AclOperation, PatternFilter, PatternType, Permission, ResourceKind};
use crate::admin::{Batch, Mode, RequestKind};
use crate::error::Error;

/// A user to ask about where the answer about the user does not matter.
const ANYBODY: &str = "anybody";
/// What is said of a request that the broker does not know, by librdkafka or by the broker.
const NO_SUCH_REQUEST: [&str; 2] = ["_UNSUPPORTED_FEATURE", "UNSUPPORTED_VERSION"];

impl Client {
    pub(crate) fn describe_acls(&self, filter: &AclFilter) -> Answer<Vec<AclBinding>> {
        let filter = match native_filter(filter) {
            Ok(filter) => filter,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::DescribeAcls, api::RD_KAFKA_ADMIN_OP_DESCRIBEACLS);
        // SAFETY: the target and the filter, which is copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_DescribeAcls(to.client, filter.ptr(), to.options, to.queue)
        };
        self.submit(kind, Mode::Apply, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_DescribeAcls_result(event.ptr());
                Ok(read_bindings(list(result, sys::rd_kafka_DescribeAcls_result_acls)))
            }
        })
    }

    /// Whether we may describe the cluster, which covers its ACLs and its users alike: asked about a user, brokers
    /// refuse those who may not. True also where they do not tell. (Not by the operations that we are told we may do
    /// on the cluster: see [`Self::cluster_id`] about the request that tells them.)
    pub(crate) async fn may_describe_acls(&self) -> Result<bool, Error> {
        match self.describe_scram(&[&ANYBODY.to_owned()]).wait().await {
            Ok(_) => Ok(true),
            Err(Error::Other { code, .. }) if NO_SUCH_REQUEST.contains(&code.as_str()) => Ok(true),
            Err(Error::NotAuthorized { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Answers in the order of `bindings`.
    pub(crate) fn create_acls(&self, bindings: &[&AclBinding]) -> Answer<Batch<()>> {
        let bindings: Vec<_> = match bindings.iter().map(|binding| native_binding(binding)).collect() {
            Ok(bindings) => bindings,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::CreateAcls, api::RD_KAFKA_ADMIN_OP_CREATEACLS);
        let mut all = pointers(&bindings);
        // SAFETY: the target and the bindings, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_CreateAcls(to.client, all.as_mut_ptr(), all.len(), to.options, to.queue);
        };
        self.submit(kind, Mode::Apply, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_CreateAcls_result(event.ptr());
                let acls = list(result, sys::rd_kafka_CreateAcls_result_acls);
                Ok(acls.iter().map(|&acl| error_outcome(sys::rd_kafka_acl_result_error(acl))).collect())
            }
        })
    }

    /// Answers in the order of `filters`.
    pub(crate) fn delete_acls(&self, filters: &[&AclFilter]) -> Answer<Batch<Vec<AclBinding>>> {
        let filters: Vec<_> = match filters.iter().map(|filter| native_filter(filter)).collect() {
            Ok(filters) => filters,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::DeleteAcls, api::RD_KAFKA_ADMIN_OP_DELETEACLS);
        let mut all = pointers(&filters);
        // SAFETY: the target and the filters, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_DeleteAcls(to.client, all.as_mut_ptr(), all.len(), to.options, to.queue);
        };
        self.submit(kind, Mode::Apply, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_DeleteAcls_result(event.ptr());
                let responses = list(result, sys::rd_kafka_DeleteAcls_result_responses);
                let read = |&response: &*const _| {
                    error_outcome(sys::rd_kafka_DeleteAcls_result_response_error(response))?;
                    let deleted = list(response, sys::rd_kafka_DeleteAcls_result_response_matching_acls);
                    Ok(read_bindings(deleted))
                };
                Ok(responses.iter().map(read).collect())
            }
        })
    }
}

fn native_binding(binding: &AclBinding) -> Result<Owned<sys::rd_kafka_AclBinding_t>, Error> {
    let name = c_text(&binding.name)?;
    let principal = c_text(binding.principal.as_str())?;
    let host = c_text(&binding.host)?;
    let pattern = match binding.pattern {
        PatternType::Literal => pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
        PatternType::Prefixed => pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
    };
    // SAFETY: the texts live during the call, which copies them; no text of a reason is asked for.
    unsafe {
        let native = sys::rd_kafka_AclBinding_new(
            native_resource(binding.resource),
            name.as_ptr(),
            pattern,
            principal.as_ptr(),
            host.as_ptr(),
            native_operation(binding.operation),
            native_permission(binding.permission),
            std::ptr::null_mut(),
            0,
        );
        Owned::new(native, sys::rd_kafka_AclBinding_destroy, "an ACL")
    }
}

/// Filters and bindings are one type in librdkafka, freed by one function.
fn native_filter(filter: &AclFilter) -> Result<Owned<sys::rd_kafka_AclBindingFilter_t>, Error> {
    let name = filter.name.as_deref().map(c_text).transpose()?;
    let principal = filter.principal.as_ref().map(|principal| c_text(principal.as_str())).transpose()?;
    let host = filter.host.as_deref().map(c_text).transpose()?;
    let ptr = |text: &Option<std::ffi::CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    let pattern = match filter.pattern {
        PatternFilter::Any => pattern::RD_KAFKA_RESOURCE_PATTERN_ANY,
        PatternFilter::Match => pattern::RD_KAFKA_RESOURCE_PATTERN_MATCH,
        PatternFilter::Literal => pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
        PatternFilter::Prefixed => pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
    };
    // SAFETY: the texts live during the call, which copies them, and null stands for any; no text of a reason is
    // asked for.
    unsafe {
        let native = sys::rd_kafka_AclBindingFilter_new(
            filter.resource.map_or(resource::RD_KAFKA_RESOURCE_ANY, native_resource),
            ptr(&name),
            pattern,
            ptr(&principal),
            ptr(&host),
            filter.operation.map_or(op::RD_KAFKA_ACL_OPERATION_ANY, native_operation),
            filter.permission.map_or(permission::RD_KAFKA_ACL_PERMISSION_TYPE_ANY, native_permission),
            std::ptr::null_mut(),
            0,
        );
        Owned::new(native, sys::rd_kafka_AclBinding_destroy, "an ACL filter")
    }
}

fn native_resource(kind: ResourceKind) -> resource {
    match kind {
        ResourceKind::Topic => resource::RD_KAFKA_RESOURCE_TOPIC,
        ResourceKind::Group => resource::RD_KAFKA_RESOURCE_GROUP,
        // One number of the protocol: a broker among settings is the cluster among ACLs.
        ResourceKind::Cluster => resource::RD_KAFKA_RESOURCE_BROKER,
        ResourceKind::TransactionalId => resource::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
        ResourceKind::Unknown => resource::RD_KAFKA_RESOURCE_UNKNOWN,
    }
}

fn native_operation(operation: AclOperation) -> op {
    match operation {
        AclOperation::All => op::RD_KAFKA_ACL_OPERATION_ALL,
        AclOperation::Read => op::RD_KAFKA_ACL_OPERATION_READ,
        AclOperation::Write => op::RD_KAFKA_ACL_OPERATION_WRITE,
        AclOperation::Create => op::RD_KAFKA_ACL_OPERATION_CREATE,
        AclOperation::Delete => op::RD_KAFKA_ACL_OPERATION_DELETE,
        AclOperation::Alter => op::RD_KAFKA_ACL_OPERATION_ALTER,
        AclOperation::Describe => op::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        AclOperation::ClusterAction => op::RD_KAFKA_ACL_OPERATION_CLUSTER_ACTION,
        AclOperation::DescribeConfigs => op::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        AclOperation::AlterConfigs => op::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS,
        AclOperation::IdempotentWrite => op::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE,
        AclOperation::Unknown => op::RD_KAFKA_ACL_OPERATION_UNKNOWN,
    }
}

fn native_permission(allowed: Permission) -> permission {
    match allowed {
        Permission::Allow => permission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
        Permission::Deny => permission::RD_KAFKA_ACL_PERMISSION_TYPE_DENY,
    }
}

/// # Safety
/// Each of `bindings` is valid.
unsafe fn read_bindings(bindings: &[*const sys::rd_kafka_AclBinding_t]) -> Vec<AclBinding> {
    // SAFETY: each binding is valid by this function's contract.
    bindings.iter().filter_map(|&binding| unsafe { read_binding(binding) }).collect()
}

/// None for a binding that cannot be named here even in part: with another pattern or permission, or a principal
/// without a type. This code can neither have made it nor need it.
///
/// # Safety
/// `binding` is valid.
unsafe fn read_binding(binding: *const sys::rd_kafka_AclBinding_t) -> Option<AclBinding> {
    // SAFETY: `binding` is valid, and its texts are copied.
    unsafe {
        Some(AclBinding {
            resource: read_resource(rd_kafka_AclBinding_restype(binding)),
            name: text(sys::rd_kafka_AclBinding_name(binding)),
            pattern: match rd_kafka_AclBinding_resource_pattern_type(binding) {
                3 => PatternType::Literal,
                4 => PatternType::Prefixed,
                _ => return None,
            },
            principal: text(sys::rd_kafka_AclBinding_principal(binding)).parse().ok()?,
            host: text(sys::rd_kafka_AclBinding_host(binding)),
            operation: read_operation(rd_kafka_AclBinding_operation(binding)),
            permission: match rd_kafka_AclBinding_permission_type(binding) {
                2 => Permission::Deny,
                3 => Permission::Allow,
                _ => return None,
            },
        })
    }
}

/// The numbers here and below are those of Kafka's protocol.
fn read_resource(number: i32) -> ResourceKind {
    let known =
        [ResourceKind::Topic, ResourceKind::Group, ResourceKind::Cluster, ResourceKind::TransactionalId];
    let is = |kind: &ResourceKind| native_resource(*kind) as i32 == number;
    known.into_iter().find(is).unwrap_or(ResourceKind::Unknown)
}

fn read_operation(number: i32) -> AclOperation {
    use AclOperation as own;

    let known = [
        own::All,
        own::Read,
        own::Write,
        own::Create,
        own::Delete,
        own::Alter,
        own::Describe,
        own::ClusterAction,
        own::DescribeConfigs,
        own::AlterConfigs,
        own::IdempotentWrite,
    ];
    let is = |operation: &own| native_operation(*operation) as i32 == number;
    known.into_iter().find(is).unwrap_or(own::Unknown)
}
