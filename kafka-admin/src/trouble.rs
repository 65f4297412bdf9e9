//! What is known about a connection that does not work. The client library tells the reason once, apart from the
//! requests, which only time out: here the two are put together.

use crate::error::{Error, UnavailableCause};

/// What has gone wrong since the cluster last answered.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// The cluster refused us, or we it: the reason that explains best.
    refusal: Option<Error>,
    /// The last connection that failed or broke.
    unreachable: Option<String>,
    /// The cluster has answered at least once.
    has_answered: bool,
}

impl Trouble {
    /// The cluster answered a request: all is well.
    pub(crate) fn answered(&mut self) {
        *self = Self { has_answered: true, ..Self::default() };
    }

    /// The cluster could not be reached.
    pub(crate) fn unreachable(&mut self, message: String) {
        self.unreachable = Some(message);
    }

    /// No broker at all can be reached, which says less than the failure of each that came before.
    pub(crate) fn all_unreachable(&mut self, message: String) {
        self.unreachable.get_or_insert(message);
    }

    /// Credentials or certificates were refused. True when requests need not wait for better: a cluster that has
    /// answered before may have one broker that is behind, while another one answers.
    pub(crate) fn refused(&mut self, error: Error) -> bool {
        self.refusal = Some(error);
        !self.has_answered
    }

    /// Puts the reason in place of an error that only says that no answer came.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let Error::Unavailable { cause, message } = error else {
            return error;
        };
        if let Some(refusal) = &self.refusal {
            return refusal.clone();
        }
        match (cause, &self.unreachable) {
            (UnavailableCause::Timeout, Some(reason)) => Error::Unavailable {
                cause: UnavailableCause::Transport,
                message: format!("{message}; last failure: {reason}"),
            },
            (_, _) => Error::Unavailable { cause, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout() -> Error {
        Error::Unavailable { cause: UnavailableCause::Timeout, message: "timed out".to_owned() }
    }

    fn wrong_password() -> Error {
        Error::NotAuthenticated { message: "wrong password".to_owned() }
    }

    #[test]
    fn a_timeout_after_a_refusal_is_the_refusal() {
        let mut trouble = Trouble::default();

        assert!(trouble.refused(wrong_password()), "nothing has been answered yet");
        trouble.unreachable("all brokers are down".to_owned());

        assert_eq!(trouble.explain(timeout()), wrong_password());
        assert_eq!(trouble.explain(Error::not_found("t")), Error::not_found("t"));
    }

    #[test]
    fn an_answer_clears_all_trouble() {
        let mut trouble = Trouble::default();
        trouble.refused(wrong_password());

        trouble.answered();

        assert_eq!(trouble.explain(timeout()), timeout());
        assert!(!trouble.refused(wrong_password()), "another broker may still answer");
    }

    #[test]
    fn a_timeout_without_connection_tells_why() {
        let mut trouble = Trouble::default();
        trouble.unreachable("connection refused".to_owned());
        trouble.all_unreachable("1/1 brokers are down".to_owned());

        let Error::Unavailable { cause, message } = trouble.explain(timeout()) else { panic!() };

        assert_eq!(cause, UnavailableCause::Transport);
        assert!(message.contains("connection refused"), "{message}");
    }
}
