//! Owned native objects, borrowed lists and texts, and errors.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use rdkafka_sys as sys;

use crate::classify::{SUCCESS, classify};
use crate::error::Error;

// Declared anew, with plain numbers where the bindings have Rust enums: the values come from a broker, and one that
// the bindings do not know must not become an enum. The C types are enums, which have the size of `int`.
unsafe extern "C" {
    fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
    fn rd_kafka_topic_result_error(result: *const sys::rd_kafka_topic_result_t) -> c_int;
    fn rd_kafka_ConfigResource_error(resource: *const sys::rd_kafka_ConfigResource_t) -> c_int;
    fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
    fn rd_kafka_err2name(code: c_int) -> *const c_char;
    fn rd_kafka_err2str(code: c_int) -> *const c_char;
    pub(super) fn rd_kafka_ConfigEntry_source(entry: *const sys::rd_kafka_ConfigEntry_t) -> c_int;
    pub(super) fn rd_kafka_AclBinding_restype(acl: *const sys::rd_kafka_AclBinding_t) -> c_int;
    pub(super) fn rd_kafka_AclBinding_operation(acl: *const sys::rd_kafka_AclBinding_t) -> c_int;
    pub(super) fn rd_kafka_AclBinding_permission_type(acl: *const sys::rd_kafka_AclBinding_t) -> c_int;
    pub(super) fn rd_kafka_AclBinding_resource_pattern_type(acl: *const sys::rd_kafka_AclBinding_t) -> c_int;
    pub(super) fn rd_kafka_ScramCredentialInfo_mechanism(
        info: *const sys::rd_kafka_ScramCredentialInfo_t,
    ) -> c_int;
    pub(super) fn rd_kafka_ConsumerGroupListing_state(
        listing: *const sys::rd_kafka_ConsumerGroupListing_t,
    ) -> c_int;
    pub(super) fn rd_kafka_ConsumerGroupDescription_state(
        group: *const sys::rd_kafka_ConsumerGroupDescription_t,
    ) -> c_int;
}

/// A native object that is ours to free.
pub(super) struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes over `pointer`; `what` names the object in the error for null.
    ///
    /// # Safety
    /// `pointer` is null, or valid and owned by nobody else, and `destroy` is the function that frees it.
    pub(super) unsafe fn new(
        pointer: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
        what: &str,
    ) -> Result<Self, Error> {
        match NonNull::new(pointer) {
            Some(pointer) => Ok(Self { pointer, destroy }),
            None => Err(Error::invalid_request(format!("{what} is refused by the client library"))),
        }
    }

    /// The object, which stays ours.
    pub(super) fn ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new` the object is valid, ours, and freed by this function; drop runs once.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// Pointers to objects that stay with their owners, for calls that take an array.
pub(super) fn pointers<T>(owned: &[Owned<T>]) -> Vec<*mut T> {
    owned.iter().map(Owned::ptr).collect()
}

/// The text for C.
pub(super) fn c_text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::invalid_request("a text holds a NUL character"))
}

/// The texts for C.
pub(super) fn c_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<CString>, Error> {
    texts.into_iter().map(c_text).collect()
}

/// Copies a text of C; none for null.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives during this call.
pub(super) unsafe fn optional_text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, so a NUL-terminated string by this function's contract; it is copied at once.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Copies a text of C; empty for null.
///
/// # Safety
/// As for [`optional_text`].
pub(super) unsafe fn text(text: *const c_char) -> String {
    // SAFETY: this function's contract is the same.
    unsafe { optional_text(text) }.unwrap_or_default()
}

/// The elements of a result that librdkafka gives as an array with a count.
///
/// # Safety
/// `of` is valid for `get`, and its array and elements live for `'a`: as long as the event that `of` belongs to.
pub(super) unsafe fn list<'a, R, T>(
    of: *const R,
    get: unsafe extern "C" fn(*const R, *mut usize) -> *mut *const T,
) -> &'a [*const T] {
    let mut count = 0;
    // SAFETY: `of` is valid by this function's contract, and `count` is a place to write to.
    let first = unsafe { get(of, &raw mut count) };
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: librdkafka gave an array of `count` pointers, which lives for 'a by this function's contract.
    unsafe { std::slice::from_raw_parts(first.cast_const(), count) }
}

/// The error that a code stands for; none for success. Without a message of the broker, librdkafka's own stands in.
///
/// # Safety
/// As for [`optional_text`], for `message`.
unsafe fn outcome(code: c_int, message: *const c_char) -> Result<(), Error> {
    if code == SUCCESS {
        return Ok(());
    }
    // SAFETY: both functions take any number and give a string that lives for ever, or one in thread-local storage
    // that is copied before the next call; `message` is covered by this function's contract.
    unsafe {
        let message = optional_text(message).filter(|message| !message.is_empty());
        let message = message.unwrap_or_else(|| text(rd_kafka_err2str(code)));
        Err(classify(code, &text(rd_kafka_err2name(code)), message))
    }
}

/// The outcome that a code without a message stands for.
pub(super) fn outcome_of_code(code: c_int) -> Result<(), Error> {
    // SAFETY: null is allowed for the message.
    unsafe { outcome(code, std::ptr::null()) }
}

/// The outcome of one topic.
///
/// # Safety
/// `result` is valid.
pub(super) unsafe fn topic_outcome(result: *const sys::rd_kafka_topic_result_t) -> Result<(), Error> {
    // SAFETY: `result` is valid, and so is the message that it holds.
    unsafe { outcome(rd_kafka_topic_result_error(result), sys::rd_kafka_topic_result_error_string(result)) }
}

/// The outcome of one resource with settings.
///
/// # Safety
/// `resource` is valid.
pub(super) unsafe fn resource_outcome(resource: *const sys::rd_kafka_ConfigResource_t) -> Result<(), Error> {
    // SAFETY: `resource` is valid, and so is the message that it holds.
    unsafe {
        outcome(rd_kafka_ConfigResource_error(resource), sys::rd_kafka_ConfigResource_error_string(resource))
    }
}

/// The outcome that an error object tells; null is success.
///
/// # Safety
/// `error` is null or valid.
pub(super) unsafe fn error_outcome(error: *const sys::rd_kafka_error_t) -> Result<(), Error> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: `error` is valid, and so is the message that it holds.
    unsafe { outcome(rd_kafka_error_code(error), sys::rd_kafka_error_string(error)) }
}

/// An event that librdkafka gave us; freed with all that it lends.
pub(super) struct Event(ManuallyDrop<Owned<sys::rd_kafka_event_t>>);

impl Drop for Event {
    fn drop(&mut self) {
        if self.holds_stray_message() {
            return;
        }
        // SAFETY: this is the only place that drops the event, and it is not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}

impl Event {
    /// Waits for the next event of `queue`; none when `timeout_ms` have passed without.
    ///
    /// # Safety
    /// `queue` is valid, and its client outlives the event.
    pub(super) unsafe fn poll(queue: *mut sys::rd_kafka_queue_t, timeout_ms: c_int) -> Option<Self> {
        // SAFETY: `queue` is valid; an event that is not null is ours, to be freed so.
        unsafe {
            let event = sys::rd_kafka_queue_poll(queue, timeout_ms);
            let event = Owned::new(event, sys::rd_kafka_event_destroy, "an event").ok()?;
            Some(Self(ManuallyDrop::new(event)))
        }
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0.ptr()
    }

    /// Which kind of event it is: one of the `RD_KAFKA_EVENT_` numbers.
    pub(super) fn kind(&self) -> i32 {
        // SAFETY: the event is valid while `self` lives.
        unsafe { sys::rd_kafka_event_type(self.ptr()) }
    }

    /// The number that was given to the request as its opaque.
    pub(super) fn request_id(&self) -> usize {
        // SAFETY: the event is valid; the opaque is a number in the clothes of a pointer and never followed.
        unsafe { sys::rd_kafka_event_opaque(self.ptr()) }.addr()
    }

    /// Kafka's code of the error that it tells; 0 for none.
    pub(super) fn code(&self) -> i32 {
        // SAFETY: the event is valid while `self` lives.
        unsafe { rd_kafka_event_error(self.ptr()) }
    }

    /// The message of the error that it tells.
    pub(super) fn message(&self) -> String {
        // SAFETY: the event is valid while `self` lives, and the text is copied.
        unsafe { text(sys::rd_kafka_event_error_string(self.ptr())) }
    }

    /// Whether the message may be neither read nor freed. When a broker refuses a request for SCRAM credentials as a
    /// whole, librdkafka 2.12 keeps a message that lies on a stack frame that is gone (`errstr` in
    /// `rd_kafka_DescribeUserScramCredentialsResponse_parse`), and frees it with the event. Leaking the event costs
    /// some hundred bytes per refusal. Codes below 0 are librdkafka's own, whose messages are sound.
    fn holds_stray_message(&self) -> bool {
        self.kind() == sys::RD_KAFKA_EVENT_DESCRIBEUSERSCRAMCREDENTIALS_RESULT && self.code() > SUCCESS
    }

    /// Whether the request as a whole has been answered.
    pub(super) fn outcome(&self) -> Result<(), Error> {
        if self.holds_stray_message() {
            return outcome_of_code(self.code());
        }
        // SAFETY: the event is valid while `self` lives, and so is the message that it holds.
        unsafe { outcome(self.code(), sys::rd_kafka_event_error_string(self.ptr())) }
    }

    /// Level (as of syslog), facility and text of a log line.
    pub(super) fn log_line(&self) -> Option<(i32, String, String)> {
        let (mut facility, mut line, mut level) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the event is valid, and the three are places to write to; the texts live as long as the event and
        // are copied.
        unsafe {
            let failed =
                sys::rd_kafka_event_log(self.ptr(), &raw mut facility, &raw mut line, &raw mut level) != 0;
            (!failed).then(|| (level, text(facility), text(line)))
        }
    }
}
