//! From Kafka's error codes to [`Error`]. Codes are plain numbers here: a broker may answer with one that is newer
//! than this code.

use rdkafka_sys::RDKafkaRespErr as Known;

use crate::error::{Error, UnavailableCause};

/// No error.
pub(crate) const SUCCESS: i32 = 0;
/// The client library could not log in.
pub(crate) const AUTHENTICATION_FAILED: i32 = Known::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32;
/// The client library could not agree on TLS with the broker.
const TLS_FAILED: i32 = Known::RD_KAFKA_RESP_ERR__SSL as i32;
/// The client library is connected to no broker.
pub(crate) const ALL_BROKERS_DOWN: i32 = Known::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as i32;

const NOT_FOUND: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    Known::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID,
    Known::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND,
    Known::RD_KAFKA_RESP_ERR_RESOURCE_NOT_FOUND,
    Known::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
    Known::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
];
const INVALID_REPLICATION: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR,
    Known::RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT,
];
const INVALID_REQUEST: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR_INVALID_REQUEST,
    Known::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
    Known::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID,
    Known::RD_KAFKA_RESP_ERR_UNACCEPTABLE_CREDENTIAL,
    Known::RD_KAFKA_RESP_ERR_DUPLICATE_RESOURCE,
    Known::RD_KAFKA_RESP_ERR_INVALID_PRINCIPAL_TYPE,
    Known::RD_KAFKA_RESP_ERR__INVALID_ARG,
];
const NOT_AUTHORIZED: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    Known::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
    Known::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
    Known::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    Known::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED,
];
const NOT_AUTHENTICATED: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR__AUTHENTICATION,
    Known::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
    Known::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM,
    Known::RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE,
];
const POLICY_VIOLATION: &[Known] =
    &[Known::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, Known::RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED];
const TIMEOUT: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR__TIMED_OUT,
    Known::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
    Known::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
];
const TRANSPORT: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR__TRANSPORT,
    Known::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
    Known::RD_KAFKA_RESP_ERR__RESOLVE,
    Known::RD_KAFKA_RESP_ERR__WAIT_COORD,
    Known::RD_KAFKA_RESP_ERR__DESTROY,
    Known::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
];
const BROKER_BUSY: &[Known] = &[
    Known::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    Known::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    Known::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
    Known::RD_KAFKA_RESP_ERR_NOT_CONTROLLER,
    Known::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    Known::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    Known::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    Known::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    Known::RD_KAFKA_RESP_ERR_REASSIGNMENT_IN_PROGRESS,
    Known::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
    Known::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT,
];

/// Whether a connection failed because one side refuses the other's TLS.
///
/// In TLS 1.3 a client is done with the handshake before the broker looks at its certificate, or misses it: the library
/// then tells a refusal as a broken connection, and only the words of OpenSSL give it away.
pub(crate) fn is_tls_failure(code: i32, message: &str) -> bool {
    code == TLS_FAILED || message.contains(":SSL routines:")
}

/// The error that `code` with `message` is; `name` is Kafka's name of the code.
pub(crate) fn classify(code: i32, name: &str, message: String) -> Error {
    let is = |known: Known| known as i32 == code;
    let is_any = |known: &[Known]| known.iter().any(|&known| is(known));
    let unavailable = |cause, message| Error::Unavailable { cause, message };
    if is_any(NOT_FOUND) {
        Error::NotFound { message }
    } else if is(Known::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        Error::AlreadyExists { message }
    } else if is(Known::RD_KAFKA_RESP_ERR_INVALID_CONFIG) {
        Error::InvalidConfig { key: None, message }
    } else if is(Known::RD_KAFKA_RESP_ERR_INVALID_PARTITIONS) {
        Error::InvalidPartitions { message }
    } else if is_any(INVALID_REPLICATION) {
        Error::InvalidReplication { message }
    } else if is_any(INVALID_REQUEST) {
        Error::InvalidRequest { message }
    } else if is_any(NOT_AUTHORIZED) {
        Error::NotAuthorized { message }
    } else if is_any(NOT_AUTHENTICATED) {
        Error::NotAuthenticated { message }
    } else if is_any(POLICY_VIOLATION) {
        Error::PolicyViolation { message }
    } else if is(Known::RD_KAFKA_RESP_ERR_SECURITY_DISABLED) {
        Error::SecurityDisabled { message }
    } else if is_any(TIMEOUT) {
        unavailable(UnavailableCause::Timeout, message)
    } else if is_any(TRANSPORT) {
        unavailable(UnavailableCause::Transport, message)
    } else if code == TLS_FAILED {
        unavailable(UnavailableCause::Tls, message)
    } else if is_any(BROKER_BUSY) {
        unavailable(UnavailableCause::Broker, message)
    } else {
        Error::Other { code: name.to_owned(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    #[test]
    fn a_code_newer_than_this_library_is_kept_and_retried() {
        let error = classify(4711, "ERR_4711?", "new".to_owned());

        assert_eq!(error, Error::Other { code: "ERR_4711?".to_owned(), message: "new".to_owned() });
        assert_eq!(error.retry(), Retry::Transient);
    }

    #[test]
    fn an_alert_after_the_handshake_is_a_failure_of_tls_and_a_broken_connection_is_not() {
        let transport = Known::RD_KAFKA_RESP_ERR__TRANSPORT as i32;

        assert!(is_tls_failure(TLS_FAILED, "SSL handshake failed"));
        assert!(is_tls_failure(
            transport,
            "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required"
        ));
        assert!(!is_tls_failure(transport, "Disconnected: connection reset by peer"));
    }

    #[test]
    fn codes_become_what_a_caller_acts_on() {
        let label = |code: Known| classify(code as i32, "", String::new()).label();

        assert_eq!(label(Known::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS), "already_exists");
        assert_eq!(label(Known::RD_KAFKA_RESP_ERR_SECURITY_DISABLED), "security_disabled");
        assert_eq!(label(Known::RD_KAFKA_RESP_ERR__SSL), "unavailable");
        assert_eq!(label(Known::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED), "not_authorized");
        assert_eq!(label(Known::RD_KAFKA_RESP_ERR_RESOURCE_NOT_FOUND), "not_found");
    }
}
