//! Whose fault a database error is. A wrong answer is costly either way: an outage counted against events
//! moves a whole topic to the dead letters; a poison pill taken for an outage stops the consumer for ever.

/// Whose fault a database error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The event's: it will fail again.
    Event,
    /// Nobody's: it may succeed when tried again, but must not be tried for ever.
    Moment,
    /// The database's, or its set-up's: no event can be handled until that is mended.
    Database,
}

/// Whose fault `error` is, by its SQLSTATE where it has one.
pub(crate) fn classify(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => by_sqlstate(error.code().as_deref().unwrap_or_default()),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        // A broken-off answer; seen when the server is killed in the middle of one.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed
        | sqlx::Error::Configuration(_) => Fault::Database,
        // Foreign, and open to additions: rows that are missing or of another shape.
        _ => Fault::Moment,
    }
}

/// See PostgreSQL's manual, appendix A. The first two characters are the class.
fn by_sqlstate(code: &str) -> Fault {
    match code {
        // Serialization failure, deadlock: two transactions met. Neither is at fault, and trying again works
        // in the end, so no attempt may be spent on it.
        "40001" | "40P01" => Fault::Database,
        // A connection that turned out to be a read-only standby, as happens during a failover.
        "25006" => Fault::Database,
        // Unique, foreign-key, exclusion violations can be a race that is over when tried again.
        "23505" | "23503" | "23P01" => Fault::Moment,
        // The statement was cancelled, or a lock was not to be had in time: perhaps by this event's doing.
        "57014" | "55P03" => Fault::Moment,
        _ => match code.get(..2).unwrap_or_default() {
            // Data that cannot be stored: out of range, malformed, against a constraint.
            "22" | "23" => Fault::Event,
            // No connection; out of memory, disk or connections; shutting down; I/O or internal errors.
            "08" | "53" | "57" | "58" | "XX" | "F0" => Fault::Database,
            // Wrong password, no such database, no such table or column, no permission: a set-up that is
            // being changed or is broken. Events must wait for it to be mended.
            "28" | "3D" | "42" | "0A" => Fault::Database,
            _ => Fault::Moment,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_the_databases_fault() {
        for code in ["08006", "53300", "57P01", "57P03", "58030", "28P01", "3D000", "42P01", "25006"] {
            assert_eq!(by_sqlstate(code), Fault::Database, "{code}");
        }
        assert_eq!(classify(&sqlx::Error::PoolTimedOut), Fault::Database);
        assert_eq!(classify(&sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())), Fault::Database);
    }

    #[test]
    fn transactions_that_met_spend_no_attempt() {
        assert_eq!(by_sqlstate("40P01"), Fault::Database);
        assert_eq!(by_sqlstate("40001"), Fault::Database);
    }

    #[test]
    fn data_that_cannot_be_stored_is_the_events_fault() {
        for code in ["22003", "22P02", "23502", "23514"] {
            assert_eq!(by_sqlstate(code), Fault::Event, "{code}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_but_not_for_ever() {
        for code in ["23505", "23503", "57014", "55P03", "P0001", ""] {
            assert_eq!(by_sqlstate(code), Fault::Moment, "{code}");
        }
    }
}
