//! The ways to reach a customer: e-mail by SMTP, text messages by a webhook. Each either does it, cannot do it,
//! or may be asked again; what is recorded about that never holds an address.

use std::time::Duration;

use contract::{ChannelOutcome, CorrelationId};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::PoolConfig;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::message::{Letter, Notice};

/// How long a mail server or a webhook has for each answer. Every attempt occupies a place among the few that
/// send at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to the mail server that are kept open; as many as letters are sent at once.
pub(super) const CONNECTIONS: u32 = 16;

/// What an attempt at a channel came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is over.
    Settled(ChannelOutcome, Option<String>),
    /// It may work later.
    Retry(String),
}

impl Attempt {
    fn sent() -> Self {
        Self::Settled(ChannelOutcome::Sent, None)
    }

    fn skipped(why: &str) -> Self {
        Self::Settled(ChannelOutcome::Skipped, Some(why.to_owned()))
    }

    fn failed(why: impl Into<String>) -> Self {
        Self::Settled(ChannelOutcome::Failed, Some(why.into()))
    }
}

/// Why a channel's settings do not work. Secrets are left out.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidChannel {
    /// The mail server's address.
    #[error("SMTP_URL is not an address such as smtp://host:port")]
    SmtpUrl,
    /// The sender's address.
    #[error("MAIL_FROM is not an address such as Orders <orders@example.com>")]
    MailFrom(#[source] lettre::address::AddressError),
    /// The webhook's address.
    #[error("SMS_WEBHOOK_URL is not an address such as http://host:port/path")]
    SmsUrl,
    /// The HTTP client.
    #[error("could not set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Sends mail.
pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Email {
    /// Mail by the server at `url`, in the name of `from`. Connects when there is something to send.
    ///
    /// # Errors
    /// When one of them is no address.
    pub(super) fn new(url: &SecretString, from: &str) -> Result<Self, InvalidChannel> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret())
            // The cause may quote the URL, and with it the password.
            .map_err(|_cause| InvalidChannel::SmtpUrl)?
            .timeout(Some(ANSWER_TIMEOUT))
            .pool_config(PoolConfig::new().max_size(CONNECTIONS))
            .build();
        Ok(Self { transport, from: from.parse().map_err(InvalidChannel::MailFrom)? })
    }

    /// Sends the letter about `notice`. The same notice has the same Message-ID whenever it is sent, so that
    /// mail programs show a repetition once.
    pub(super) async fn send(&self, notice: &Notice<'_>, reference: &CorrelationId) -> Attempt {
        let Some(to) = &notice.customer.email else { return Attempt::skipped("the customer gave no e-mail") };
        let Ok(to) = to.parse::<Address>() else { return Attempt::failed("the e-mail address is invalid") };
        let letter = Letter::about(notice, reference);
        let mail = Message::builder()
            .from(self.from.clone())
            // Without the name: what customers call themselves has no business in headers.
            .to(Mailbox::new(None, to))
            .message_id(Some(format!("<{}@{}>", notice.name(), self.from.email.domain())))
            .subject(letter.subject)
            .multipart(MultiPart::alternative_plain_html(letter.text, letter.html));
        let Ok(mail) = mail else { return Attempt::failed("the mail cannot be written") };
        match self.transport.send(mail).await {
            Ok(_accepted) => Attempt::sent(),
            Err(error) => Self::refused(&error),
        }
    }

    /// Servers like to repeat the address in their answers; the code says enough.
    fn refused(error: &lettre::transport::smtp::Error) -> Attempt {
        match error.status() {
            Some(code) if error.is_permanent() => {
                Attempt::failed(format!("the mail server refused it with {code}"))
            }
            Some(code) => Attempt::Retry(format!("the mail server put it off with {code}")),
            None if error.is_timeout() => Attempt::Retry("the mail server did not answer in time".to_owned()),
            None => Attempt::Retry("the mail server cannot be reached".to_owned()),
        }
    }
}

/// Sends text messages, by `POST {"to", "text", "reference"}` to a webhook.
pub(super) struct Sms {
    client: reqwest::Client,
    url: Url,
}

impl Sms {
    /// Text messages by the webhook at `url`.
    ///
    /// # Errors
    /// When it is no address.
    pub(super) fn new(url: &SecretString) -> Result<Self, InvalidChannel> {
        let url = Url::parse(url.expose_secret()).map_err(|_cause| InvalidChannel::SmsUrl)?;
        if url.scheme() != "http" {
            return Err(InvalidChannel::SmsUrl);
        }
        messaging::install_tls_provider();
        let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build();
        Ok(Self { client: client.map_err(InvalidChannel::Client)?, url })
    }

    /// Sends the short form of `notice`. The same notice has the same idempotency key whenever it is sent.
    pub(super) async fn send(&self, notice: &Notice<'_>) -> Attempt {
        let Some(to) = &notice.customer.phone else { return Attempt::skipped("the customer gave no phone") };
        let name = notice.name();
        let body = serde_json::json!({ "to": to, "text": notice.short(), "reference": name });
        let request = self.client.post(self.url.clone()).header("Idempotency-Key", name).json(&body);
        match request.send().await.map(|response| response.status()) {
            Ok(status) if status.is_success() => Attempt::sent(),
            // 408 and 429 are the client errors that time heals.
            Ok(status) if status.is_client_error() && !matches!(status.as_u16(), 408 | 429) => {
                Attempt::failed(format!("the SMS provider refused it with {}", status.as_u16()))
            }
            Ok(status) => Attempt::Retry(format!("the SMS provider put it off with {}", status.as_u16())),
            Err(error) if error.is_timeout() => {
                Attempt::Retry("the SMS provider did not answer in time".to_owned())
            }
            Err(_unreachable) => Attempt::Retry("the SMS provider cannot be reached".to_owned()),
        }
    }
}

/// Every channel, as far as it is configured.
#[derive(Default)]
pub(super) struct Channels {
    /// E-mail.
    pub email: Option<Email>,
    /// Text messages.
    pub sms: Option<Sms>,
}

impl Channels {
    /// Tells `notice` by e-mail.
    pub(super) async fn email(&self, notice: &Notice<'_>, reference: &CorrelationId) -> Attempt {
        match &self.email {
            Some(email) => email.send(notice, reference).await,
            None => Attempt::skipped("no mail server is configured"),
        }
    }

    /// Tells `notice` by text message.
    pub(super) async fn sms(&self, notice: &Notice<'_>) -> Attempt {
        match &self.sms {
            Some(sms) => sms.send(notice).await,
            None => Attempt::skipped("no SMS provider is configured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_that_do_not_work_are_refused_without_telling_secrets() {
        let error = Email::new(&"postgres://user:hunter2@host".into(), "a@example.com").err().unwrap();

        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        assert!(Email::new(&"smtp://localhost:25".into(), "nobody").is_err());
        assert!(Sms::new(&"ftp://token@host/x".into()).is_err());
    }
}
