//! SCRAM credentials.

use std::collections::BTreeMap;

use rdkafka_sys as sys;
use secrecy::ExposeSecret;
use sys::rd_kafka_ScramMechanism_t as native;
use sys::rd_kafka_admin_op_t as api;

use super::client::{Answer, Client, Target};
use super::native::{
    Event, Owned, c_text, c_texts, error_outcome, list, pointers, rd_kafka_ScramCredentialInfo_mechanism,
    text,
};
use crate::admin::{Mode, RequestKind};
use crate::error::Error;
use crate::scram::{ScramDeletion, ScramInfo, ScramMechanism, ScramUpsertion};

/// Answers by the user's name.
pub(crate) type ByUser<T> = BTreeMap<String, Result<T, Error>>;

type Alterations = Vec<Owned<sys::rd_kafka_UserScramCredentialAlteration_t>>;

impl Client {
    pub(crate) fn describe_scram(&self, users: &[&String]) -> Answer<ByUser<Vec<ScramInfo>>> {
        let users = match c_texts(users.iter().map(|user| user.as_str())) {
            Ok(users) => users,
            Err(error) => return Answer::ready(Err(error)),
        };
        let mut all: Vec<_> = users.iter().map(|user| user.as_ptr()).collect();
        let kind = (RequestKind::DescribeScram, api::RD_KAFKA_ADMIN_OP_DESCRIBEUSERSCRAMCREDENTIALS);
        // SAFETY: the target and the names, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_DescribeUserScramCredentials(
                to.client,
                all.as_mut_ptr(),
                all.len(),
                to.options,
                to.queue,
            );
        };
        self.submit(kind, Mode::Apply, send, |event| Ok(read_users(event)))
    }

    pub(crate) fn upsert_scram(&self, upsertions: &[&ScramUpsertion]) -> Answer<ByUser<()>> {
        self.alter_scram(upsertions.iter().map(|upsertion| native_upsertion(upsertion)).collect())
    }

    pub(crate) fn delete_scram(&self, deletions: &[&ScramDeletion]) -> Answer<ByUser<()>> {
        self.alter_scram(deletions.iter().map(|deletion| native_deletion(deletion)).collect())
    }

    fn alter_scram(&self, alterations: Result<Alterations, Error>) -> Answer<ByUser<()>> {
        let alterations = match alterations {
            Ok(alterations) => alterations,
            Err(error) => return Answer::ready(Err(error)),
        };
        let kind = (RequestKind::AlterScram, api::RD_KAFKA_ADMIN_OP_ALTERUSERSCRAMCREDENTIALS);
        let mut all = pointers(&alterations);
        // SAFETY: the target and the alterations, which are copied, are valid during the call.
        let send = |to: &Target| unsafe {
            sys::rd_kafka_AlterUserScramCredentials(
                to.client,
                all.as_mut_ptr(),
                all.len(),
                to.options,
                to.queue,
            );
        };
        self.submit(kind, Mode::Apply, send, |event| {
            // SAFETY: the event is the answer to this call, and lives, with what it lends, during this closure.
            unsafe {
                let result = sys::rd_kafka_event_AlterUserScramCredentials_result(event.ptr());
                let responses = list(result, sys::rd_kafka_AlterUserScramCredentials_result_responses);
                let read = |&response: &*const _| {
                    let user = text(sys::rd_kafka_AlterUserScramCredentials_result_response_user(response));
                    let error = sys::rd_kafka_AlterUserScramCredentials_result_response_error(response);
                    (user, error_outcome(error))
                };
                Ok(responses.iter().map(read).collect())
            }
        })
    }
}

fn native_mechanism(mechanism: ScramMechanism) -> native {
    match mechanism {
        ScramMechanism::Sha256 => native::RD_KAFKA_SCRAM_MECHANISM_SHA_256,
        ScramMechanism::Sha512 => native::RD_KAFKA_SCRAM_MECHANISM_SHA_512,
    }
}

fn native_upsertion(
    upsertion: &ScramUpsertion,
) -> Result<Owned<sys::rd_kafka_UserScramCredentialAlteration_t>, Error> {
    let user = c_text(&upsertion.user)?;
    let password = upsertion.password.expose_secret().as_bytes();
    // The checks before refuse what is beyond the broker's limits, which are far below this one.
    let iterations = i32::try_from(upsertion.credential.iterations).unwrap_or(i32::MAX);
    let mechanism = native_mechanism(upsertion.credential.mechanism);
    // SAFETY: name and password live during the call, which copies them; without a salt, a random one is made.
    unsafe {
        let native = sys::rd_kafka_UserScramCredentialUpsertion_new(
            user.as_ptr(),
            mechanism,
            iterations,
            password.as_ptr(),
            password.len(),
            std::ptr::null(),
            0,
        );
        Owned::new(native, sys::rd_kafka_UserScramCredentialAlteration_destroy, "a credential")
    }
}

fn native_deletion(
    deletion: &ScramDeletion,
) -> Result<Owned<sys::rd_kafka_UserScramCredentialAlteration_t>, Error> {
    let user = c_text(&deletion.user)?;
    // SAFETY: the name lives during the call, which copies it.
    unsafe {
        let native = sys::rd_kafka_UserScramCredentialDeletion_new(
            user.as_ptr(),
            native_mechanism(deletion.mechanism),
        );
        Owned::new(native, sys::rd_kafka_UserScramCredentialAlteration_destroy, "a credential to delete")
    }
}

fn read_users(event: &Event) -> ByUser<Vec<ScramInfo>> {
    // SAFETY: the event is the answer to this call, and lives, with what it lends, during this function.
    unsafe {
        let result = sys::rd_kafka_event_DescribeUserScramCredentials_result(event.ptr());
        let users = list(result, sys::rd_kafka_DescribeUserScramCredentials_result_descriptions);
        let named = |&user: &*const _| {
            (text(sys::rd_kafka_UserScramCredentialsDescription_user(user)), read_user(user))
        };
        users.iter().map(named).collect()
    }
}

/// # Safety
/// `user` is valid.
unsafe fn read_user(
    user: *const sys::rd_kafka_UserScramCredentialsDescription_t,
) -> Result<Vec<ScramInfo>, Error> {
    // SAFETY: `user` is valid, with all that it lends, and the indices are below its count.
    unsafe {
        error_outcome(sys::rd_kafka_UserScramCredentialsDescription_error(user))?;
        let count = sys::rd_kafka_UserScramCredentialsDescription_scramcredentialinfo_count(user);
        let read = |index| {
            let info = sys::rd_kafka_UserScramCredentialsDescription_scramcredentialinfo(user, index);
            let mechanism = match rd_kafka_ScramCredentialInfo_mechanism(info) {
                1 => ScramMechanism::Sha256,
                2 => ScramMechanism::Sha512,
                _ => return None,
            };
            let iterations = u32::try_from(sys::rd_kafka_ScramCredentialInfo_iterations(info)).unwrap_or(0);
            Some(ScramInfo { mechanism, iterations })
        };
        let mut credentials: Vec<ScramInfo> = (0..count).filter_map(read).collect();
        credentials.sort();
        Ok(credentials)
    }
}
