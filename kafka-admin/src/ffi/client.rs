//! One connection to one cluster: sends requests, and a thread of its own takes the answers.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, NativeClientConfig};
use rdkafka_sys as sys;
use tokio::sync::oneshot;

use super::native::{Event, Owned, error_outcome, outcome_of_code, text};
use crate::admin::{Mode, RequestKind};
use crate::classify::{ALL_BROKERS_DOWN, AUTHENTICATION_FAILED, is_tls_failure};
use crate::error::{Error, UnavailableCause};
use crate::trouble::Trouble;

/// How long the thread sleeps when nothing comes, and so the longest that a dropped client that waits for no answer
/// lives on.
const POLL_MS: i32 = 100;
/// How much longer than librdkafka's own limit we wait before we answer ourselves; it has known hangs.
const GRACE: Duration = Duration::from_secs(5);

type Finish = Box<dyn FnOnce(Result<&Event, Error>) + Send>;

struct Pending {
    /// Takes the answer; none when the request was answered before its answer came.
    finish: Option<Finish>,
    overdue_at: Instant,
}

/// Which of librdkafka's two types of client is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientType {
    /// The lighter one, for everything but offsets of groups.
    Producer,
    /// For offsets of groups: when a coordinator moves, librdkafka 2.12 reaches for the client's own group without
    /// looking whether it has one, and a producer, which has none, takes the process down
    /// (confluentinc/librdkafka#5040). The configuration must name a group; it is never joined.
    Consumer,
}

/// A client of one cluster. Calls never block; the client ends, on its own thread, after the last `Arc` is dropped.
pub(crate) struct Client {
    // The order matters: fields are dropped from the top, and the queue must go before its client.
    queue: Owned<sys::rd_kafka_queue_t>,
    native: Owned<sys::rd_kafka_t>,
    pending: Mutex<HashMap<usize, Pending>>,
    next_id: AtomicUsize,
    trouble: Mutex<Trouble>,
    counts: Mutex<BTreeMap<RequestKind, u64>>,
    request_timeout: Duration,
}

// SAFETY: librdkafka allows every call on a client and on a queue from any thread at any time; the rest of the
// struct is `Send` and `Sync` by itself.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

/// What a call of librdkafka is sent with.
pub(super) struct Target {
    pub(super) client: *mut sys::rd_kafka_t,
    pub(super) options: *const sys::rd_kafka_AdminOptions_t,
    pub(super) queue: *mut sys::rd_kafka_queue_t,
}

/// The answer to a request that is on its way. Dropping it drops the answer; the request is not taken back.
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T, Error>>);

impl<T> Answer<T> {
    pub(crate) async fn wait(self) -> Result<T, Error> {
        self.0.await.unwrap_or_else(|_| {
            let message = "the client was closed before the answer came".to_owned();
            Err(Error::Unavailable { cause: UnavailableCause::Transport, message })
        })
    }

    /// An answer that is there already.
    pub(super) fn ready(answer: Result<T, Error>) -> Self {
        let (sender, receiver) = oneshot::channel();
        // The receiver is right here, so that this cannot fail.
        drop(sender.send(answer));
        Self(receiver)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-changed under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Starts a client; it connects when it is first used.
    pub(crate) fn start(
        config: &ClientConfig,
        client_type: ClientType,
        request_timeout: Duration,
    ) -> Result<Arc<Self>, Error> {
        let native = create(config, client_type)?;
        // SAFETY: the client is valid; the queues are ours to free, which for the main queue gives back a reference.
        // Log lines and errors of the client come to the main queue, and from there to ours.
        let queue = unsafe {
            let queue =
                Owned::new(sys::rd_kafka_queue_new(native.ptr()), sys::rd_kafka_queue_destroy, "a queue")?;
            let main = sys::rd_kafka_queue_get_main(native.ptr());
            let main = Owned::new(main, sys::rd_kafka_queue_destroy, "the main queue")?;
            sys::rd_kafka_queue_forward(main.ptr(), queue.ptr());
            outcome_of_code(sys::rd_kafka_set_log_queue(native.ptr(), queue.ptr()) as i32)?;
            queue
        };
        let client = Arc::new(Self {
            queue,
            native,
            pending: Mutex::default(),
            next_id: AtomicUsize::new(1),
            trouble: Mutex::default(),
            counts: Mutex::default(),
            request_timeout,
        });
        let served = Arc::clone(&client);
        let thread = thread::Builder::new().name("kafka-admin".to_owned()).spawn(move || serve(&served));
        match thread {
            Ok(_detached) => Ok(client),
            Err(error) => Err(Error::Other { code: "THREAD".to_owned(), message: error.to_string() }),
        }
    }

    pub(super) fn native(&self) -> *mut sys::rd_kafka_t {
        self.native.ptr()
    }

    /// Requests sent so far, by kind.
    pub(crate) fn request_counts(&self) -> BTreeMap<RequestKind, u64> {
        lock(&self.counts).clone()
    }

    /// Sends one request. `send` makes the call, and `parse` reads its answer on the client's thread.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        (kind, api): (RequestKind, sys::rd_kafka_admin_op_t),
        mode: Mode,
        send: impl FnOnce(&Target),
        parse: impl FnOnce(&Event) -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let options = match self.options(api, mode, id) {
            Ok(options) => options,
            Err(error) => return Answer::ready(Err(error)),
        };
        let (sender, receiver) = oneshot::channel();
        let finish: Finish = Box::new(move |outcome| {
            // Nobody may be waiting any more.
            drop(sender.send(outcome.and_then(parse)));
        });
        let overdue_at = Instant::now() + self.request_timeout + GRACE;
        lock(&self.pending).insert(id, Pending { finish: Some(finish), overdue_at });
        *lock(&self.counts).entry(kind).or_default() += 1;
        send(&Target { client: self.native.ptr(), options: options.ptr(), queue: self.queue.ptr() });
        Answer(receiver)
    }

    fn options(
        &self,
        api: sys::rd_kafka_admin_op_t,
        mode: Mode,
        id: usize,
    ) -> Result<Owned<sys::rd_kafka_AdminOptions_t>, Error> {
        let timeout_ms = i32::try_from(self.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: client and options are valid, `reason` is as long as is said, and librdkafka copies the rest. The
        // opaque is a number that only ever comes back as a number.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.native.ptr(), api);
            let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy, "the request's options")?;
            let (ptr, reason, size) = (options.ptr(), reason.as_mut_ptr(), reason.len());
            outcome_of_code(
                sys::rd_kafka_AdminOptions_set_request_timeout(ptr, timeout_ms, reason, size) as i32
            )?;
            match mode {
                Mode::Apply => {}
                Mode::ValidateOnly => {
                    outcome_of_code(sys::rd_kafka_AdminOptions_set_validate_only(ptr, 1, reason, size) as i32)?
                }
            }
            sys::rd_kafka_AdminOptions_set_opaque(ptr, std::ptr::without_provenance_mut(id));
            Ok(options)
        }
    }

    fn poll(&self) {
        // SAFETY: the queue is valid while `self` lives, and the event is dropped in this function.
        let Some(event) = (unsafe { Event::poll(self.queue.ptr(), POLL_MS) }) else {
            return;
        };
        match event.kind() {
            sys::RD_KAFKA_EVENT_LOG => log(&event),
            sys::RD_KAFKA_EVENT_ERROR => self.on_client_error(&event),
            _ => self.on_result(&event),
        }
    }

    fn on_result(&self, event: &Event) {
        let Some(pending) = lock(&self.pending).remove(&event.request_id()) else {
            return;
        };
        let outcome = event.outcome().map(|()| event);
        let outcome = match outcome {
            Ok(event) => {
                lock(&self.trouble).answered();
                Ok(event)
            }
            Err(error) => Err(lock(&self.trouble).explain(error)),
        };
        if let Some(answer) = pending.finish {
            finish(answer, outcome);
        }
    }

    /// The library tells of failed connections here, not in the answers of requests, which just time out.
    fn on_client_error(&self, event: &Event) {
        let (code, message) = (event.code(), event.message());
        tracing::debug!(code, message, "the Kafka client reports trouble");
        let error = match outcome_of_code(code) {
            Ok(()) => return,
            Err(_) if code == AUTHENTICATION_FAILED => Error::NotAuthenticated { message },
            Err(_) if is_tls_failure(code, &message) => {
                Error::Unavailable { cause: UnavailableCause::Tls, message }
            }
            Err(_) if code == ALL_BROKERS_DOWN => return lock(&self.trouble).all_unreachable(message),
            Err(_) => return lock(&self.trouble).unreachable(message),
        };
        if !lock(&self.trouble).refused(error.clone()) {
            return;
        }
        // We have never come in: waiting for the timeout would tell nothing more.
        let waiting: Vec<_> =
            lock(&self.pending).values_mut().filter_map(|pending| pending.finish.take()).collect();
        waiting.into_iter().for_each(|answer| finish(answer, Err(error.clone())));
    }

    fn give_up_overdue(&self) {
        let now = Instant::now();
        let mut overdue = Vec::new();
        lock(&self.pending)
            .extract_if(|_, pending| pending.overdue_at < now)
            .for_each(|(_, one)| overdue.extend(one.finish));
        for answer in overdue {
            let message = "the client library did not answer in time".to_owned();
            finish(answer, Err(Error::Unavailable { cause: UnavailableCause::Timeout, message }));
        }
    }
}

/// Takes events until everyone else has let go of the client, and every request is answered; then this thread drops it,
/// so that the time that librdkafka needs to close connections is nobody else's. The answers are waited for because
/// librdkafka 2.12 takes the process down over one about topics that meets a client that is being closed (its parser
/// gives neither a result nor an error, and an assertion follows).
fn serve(client: &Arc<Client>) {
    while Arc::strong_count(client) > 1 || !lock(&client.pending).is_empty() {
        client.poll();
        client.give_up_overdue();
    }
}

fn finish(answer: Finish, outcome: Result<&Event, Error>) {
    // A panic while reading one answer must not take the thread, and so all other answers, with it; the panic hook
    // has reported it, and the caller gets an error because the sender is dropped.
    drop(catch_unwind(AssertUnwindSafe(|| answer(outcome))));
}

fn create(config: &ClientConfig, client_type: ClientType) -> Result<Owned<sys::rd_kafka_t>, Error> {
    let native = native_config(config)?;
    let client_type = match client_type {
        ClientType::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        ClientType::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
    };
    let mut reason: [c_char; 512] = [0; 512];
    // SAFETY: the configuration is valid and `reason` is as long as is said. When the client is made, it has taken
    // over the configuration, which is then forgotten here; otherwise the configuration is still ours, and dropped.
    unsafe {
        sys::rd_kafka_conf_set_events(native.ptr(), sys::RD_KAFKA_EVENT_ERROR);
        let client = sys::rd_kafka_new(client_type, native.ptr(), reason.as_mut_ptr(), reason.len());
        if client.is_null() {
            return Err(Error::invalid_request(text(reason.as_ptr())));
        }
        std::mem::forget(native);
        Owned::new(client, sys::rd_kafka_destroy, "a client")
    }
}

fn native_config(config: &ClientConfig) -> Result<NativeClientConfig, Error> {
    config.create_native_config().map_err(|error| match error {
        // Its own text holds the value, which may be the password.
        rdkafka::error::KafkaError::ClientConfig(_, reason, key, _) => {
            Error::invalid_request(format!("the client's setting {key} is refused: {reason}"))
        }
        _ => Error::invalid_request("the client's settings are refused"),
    })
}

fn log(event: &Event) {
    let Some((level, facility, line)) = event.log_line() else {
        return;
    };
    // Connections that fail are reported, with a reason, by the calls that needed them: the library's own lines are
    // for someone who looks closer. Levels are those of syslog; up to 2 the library cannot go on.
    match level {
        ..=2 => tracing::error!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", level, facility, "{line}"),
    }
}

/// Frees an error object that librdkafka gave away, and tells what it says.
///
/// # Safety
/// `error` is null, or valid and owned by nobody else.
pub(super) unsafe fn take_error(error: *mut sys::rd_kafka_error_t) -> Result<(), Error> {
    // SAFETY: by this function's contract, the error is ours to read and to free; null is read as success.
    unsafe {
        let outcome = error_outcome(error);
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        outcome
    }
}
