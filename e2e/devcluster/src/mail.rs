//! A mail server that keeps what it is given: for tests in this process, or as a process of its own with a folder.
//!
//! It speaks as much SMTP (RFC 5321) as a client needs to deliver, without TLS and authentication, and relays
//! nothing. Whatever a client does, memory stays bounded: see the limits below.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

mod message;
mod session;

pub use message::Mail;

/// A mail of an order has a few kilobytes.
pub(crate) const MAX_MAIL_BYTES: usize = 1 << 20;
/// RFC 5321 demands at least 100.
pub(crate) const MAX_RECIPIENTS: usize = 100;
/// Of all mails in memory. The oldest are forgotten first; a load test sends more than anybody will look at.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// Sessions at the same time; more are turned away with 421.
const MAX_SESSIONS: usize = 200;
/// A client that says nothing for so long is disconnected.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A mail server in this process. It stops taking connections when it is dropped.
#[derive(Debug)]
pub struct MailSink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    mails: Mutex<Mailbox>,
    arrived: Condvar,
    stopped: AtomicBool,
    sessions: AtomicUsize,
    received: AtomicUsize,
    folder: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Mailbox {
    mails: VecDeque<Mail>,
    bytes: usize,
}

impl Mailbox {
    fn push(&mut self, mail: Mail) {
        self.bytes += mail.content.len();
        self.mails.push_back(mail);
        while self.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = self.mails.pop_front() else { return };
            self.bytes -= oldest.content.len();
        }
    }
}

impl MailSink {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(address: impl ToSocketAddrs) -> Result<Self> {
        Self::listen(address, None)
    }

    /// On a free loopback port.
    ///
    /// # Errors
    /// When there is none.
    pub fn for_tests() -> Result<Self> {
        Self::start(("127.0.0.1", 0))
    }

    /// As [`MailSink::start`], and writes each mail to `folder` as `NUMBER.eml`.
    ///
    /// # Errors
    /// When the address is taken or the folder cannot be created.
    pub fn with_folder(address: impl ToSocketAddrs, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
        Self::listen(address, Some(folder.to_owned()))
    }

    fn listen(address: impl ToSocketAddrs, folder: Option<PathBuf>) -> Result<Self> {
        let listener = TcpListener::bind(address).context("could not listen for mail")?;
        let address = listener.local_addr()?;
        // Goes on where an earlier process with this folder stopped.
        let received = folder.as_deref().map_or(0, stored_mails);
        let shared = Arc::new(Shared { folder, received: received.into(), ..Shared::default() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_thread));
        Ok(Self { address, shared })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All mails, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.lock().mails.iter().cloned().collect()
    }

    /// The first mail that `wanted` accepts, as soon as there is one; `None` when `within` passes.
    pub fn wait_for(&self, within: Duration, wanted: impl Fn(&Mail) -> bool) -> Option<Mail> {
        let deadline = Instant::now() + within;
        let mut mailbox = self.shared.lock();
        loop {
            if let Some(mail) = mailbox.mails.iter().find(|mail| wanted(mail)) {
                return Some(mail.clone());
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            let waited = self.shared.arrived.wait_timeout(mailbox, left);
            mailbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // The thread waits for a connection; this is the one that lets it see the flag.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        // A thread that panicked has pushed its mail or not; both leave the list whole.
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `mail`; the client hears of success only after this.
    pub(crate) fn keep(&self, mail: Mail) -> io::Result<()> {
        let number = self.received.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(folder) = &self.folder {
            // Whoever reads the folder sees whole mails only.
            let unfinished = folder.join(format!("{number:06}.unfinished"));
            fs::write(&unfinished, mail.to_file())?;
            fs::rename(&unfinished, folder.join(format!("{number:06}.eml")))?;
        }
        self.lock().push(mail);
        self.arrived.notify_all();
        Ok(())
    }
}

/// The mails that a server, here or in another process, has written to `folder`, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn read_folder(folder: &Path) -> Result<Vec<Mail>> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
        Ok(Mail::from_file(&String::from_utf8_lossy(&text)))
    };
    files.iter().map(read).collect()
}

/// The highest number of a mail in `folder`.
fn stored_mails(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.path().file_stem()?.to_str()?.parse().ok()).max().unwrap_or(0)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if shared.sessions.fetch_add(1, Ordering::AcqRel) >= MAX_SESSIONS {
            shared.sessions.fetch_sub(1, Ordering::AcqRel);
            session::turn_away(&stream);
            continue;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A client that breaks off has delivered what was acknowledged.
            serve(&stream, &shared).ok();
            shared.sessions.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    // Replies are short and each is waited for.
    stream.set_nodelay(true)?;
    session::run(BufReader::new(stream), stream, shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, Write};

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Says `lines` one after the other and returns the codes of the answers, the greeting's first.
    fn talk(sink: &MailSink, lines: &[&str]) -> Vec<String> {
        let mut stream = TcpStream::connect(sink.address()).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut answer = || loop {
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            if line.get(3..4) != Some("-") {
                return line.get(..3).unwrap_or_default().to_owned();
            }
        };
        let mut codes = vec![answer()];
        for line in lines {
            write!(stream, "{line}\r\n").unwrap();
            codes.push(answer());
        }
        codes
    }

    #[test]
    fn a_delivered_mail_can_be_waited_for() {
        let sink = MailSink::for_tests().unwrap();
        let text = "Subject: Your order\r\n\r\nThank you.\r\n..\r\n.";

        let codes = talk(
            &sink,
            &["EHLO test", "MAIL FROM:<shop@x.test>", "RCPT TO:<ann@x.test>", "DATA", text, "QUIT"],
        );

        assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "221"]);
        let mail = sink.wait_for(DEADLINE, |mail| mail.to == ["ann@x.test"]).unwrap();
        assert_eq!(mail.from, "shop@x.test");
        assert_eq!(mail.header("subject"), Some("Your order".to_owned()));
        assert_eq!(mail.body(), "Thank you.\n.\n");
    }

    #[test]
    fn commands_out_of_order_are_refused_and_nothing_is_kept() {
        let sink = MailSink::for_tests().unwrap();

        let codes =
            talk(&sink, &["RCPT TO:<ann@x.test>", "DATA", "BANANA", "MAIL FROM:<a@x.test>", "DATA", "RSET"]);

        assert_eq!(codes, ["220", "503", "503", "500", "250", "503", "250"]);
        assert!(sink.mails().is_empty());
    }

    #[test]
    fn a_mail_that_is_too_large_is_refused_and_the_session_goes_on() {
        let sink = MailSink::for_tests().unwrap();
        let line = "x".repeat(900);
        let large = vec![line; 2 * MAX_MAIL_BYTES / 900].join("\r\n") + "\r\n.";

        let codes = talk(
            &sink,
            &["MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", &large, "MAIL FROM:<a@x.test>"],
        );

        assert_eq!(codes, ["220", "250", "250", "354", "552", "250"]);
        assert!(sink.mails().is_empty());
    }

    #[test]
    fn the_oldest_mails_are_forgotten_when_memory_is_full() {
        let mut mailbox = Mailbox::default();
        let mail = |from: usize| Mail {
            from: from.to_string(),
            to: Vec::new(),
            content: "x".repeat(MAX_MAIL_BYTES),
        };

        (0..=MAX_KEPT_BYTES / MAX_MAIL_BYTES).for_each(|from| mailbox.push(mail(from)));

        assert_eq!(mailbox.bytes, MAX_KEPT_BYTES);
        assert_eq!(mailbox.mails.front().unwrap().from, "1");
    }

    #[test]
    fn waiting_ends_when_no_such_mail_comes() {
        let sink = MailSink::for_tests().unwrap();

        assert_eq!(sink.wait_for(Duration::from_millis(30), |_| true), None);
    }

    #[test]
    fn a_folder_keeps_the_mails_of_one_process_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        for subject in ["one", "two"] {
            let sink = MailSink::with_folder(("127.0.0.1", 0), folder.path()).unwrap();
            let text = format!("Subject: {subject}\r\n\r\nhello\r\n.");
            talk(&sink, &["MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "RCPT TO:<c@x.test>", "DATA", &text]);
        }

        let mails = read_folder(folder.path()).unwrap();

        let subjects: Vec<_> = mails.iter().filter_map(|mail| mail.header("Subject")).collect();
        assert_eq!(subjects, ["one", "two"]);
        assert!(mails.iter().all(|mail| mail.to == ["b@x.test", "c@x.test"] && mail.from == "a@x.test"));
    }
}
