//! One replay: read, select, judge, send, in portions.

use std::collections::HashMap;

use contract::{Service, Topic};
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::audit::{self, Audit, Intent};
use super::pace::Pace;
use super::{DeadLetter, Mode, Refusal, ReplayError, Report, Request, Verdict, reader};
use crate::consumer::chain;
use crate::producer::SetupError;
use crate::record::{Incoming, Outgoing};
use crate::{KafkaConfig, Producer, config};

/// Everything a replay is connected to.
pub(crate) struct Wiring {
    pub(crate) kafka: KafkaConfig,
    pub(crate) service: Service,
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
}

/// A selected dead letter, and the record that it is.
struct Selected {
    letter: DeadLetter,
    record: Incoming,
}

/// A replay under way.
struct Replay<'a> {
    wiring: &'a Wiring,
    request: &'a Request,
    /// The dead-letter topic's full name.
    topic: String,
    /// None in a dry run.
    audit: Option<Audit>,
    pace: Pace,
    report: Report,
}

/// Replays as `request` says.
pub(crate) async fn run(wiring: &Wiring, request: &Request) -> Result<Report, ReplayError> {
    if request.operator.trim().is_empty() || request.reason.trim().is_empty() {
        return Err(ReplayError::Unsigned);
    }
    let dead_letters = wiring.service.dead_letter_topic();
    let topic = wiring.producer.full_name(dead_letters.name());
    let config = config::reader(&wiring.kafka, &format!("{topic}-replay"));
    config.create_native_config().map_err(|error| SetupError::Configuration(error.into()))?;
    let audit = match request.mode {
        Mode::DryRun => None,
        Mode::Replay => Some(Audit::begin(&wiring.pool, &topic, request).await?),
    };
    let report = Report {
        run_id: audit.as_ref().map(|audit| audit.run_id),
        read: 0,
        selected: Vec::new(),
        more: false,
    };
    let records = reader::start(config, dead_letters, topic.clone());
    let pace = Pace::new(request.records_per_second);
    let mut replay = Replay { wiring, request, topic, audit, pace, report };
    replay.work_through(records).await?;
    if let Some(audit) = replay.audit {
        audit.end().await?;
    }
    Ok(replay.report)
}

impl Replay<'_> {
    async fn work_through(
        &mut self,
        mut records: mpsc::Receiver<Result<Incoming, rdkafka::error::KafkaError>>,
    ) -> Result<(), ReplayError> {
        let mut portion = Vec::new();
        while let Some(record) = records.recv().await {
            let read = |error: rdkafka::error::KafkaError| ReplayError::Read {
                topic: self.topic.clone(),
                source: error.into(),
            };
            let record = record.map_err(read)?;
            self.report.read += 1;
            let letter = DeadLetter::of(&record);
            if !self.request.filter.selects(&letter, letter.origin(self.prefix())) {
                continue;
            }
            if self.report.selected.len() + portion.len() >= self.request.records_max {
                self.report.more = true;
                break;
            }
            portion.push(Selected { letter, record });
            if portion.len() >= self.pace.portion() {
                self.work_off(std::mem::take(&mut portion)).await?;
            }
        }
        self.work_off(portion).await
    }

    /// Sees some dead letters to their verdicts.
    async fn work_off(&mut self, portion: Vec<Selected>) -> Result<(), ReplayError> {
        let targets = self.judge(&portion).await?;
        let mut verdicts: Vec<Verdict> = targets
            .iter()
            .map(|target| match target {
                Ok(topic) => Verdict::WouldReplay(*topic),
                Err(refusal) => Verdict::Refused(refusal.clone()),
            })
            .collect();
        if let Some(audit) = &self.audit {
            let meant: Vec<(usize, Topic)> = targets
                .iter()
                .enumerate()
                .filter_map(|(index, target)| Some((index, *target.as_ref().ok()?)))
                .collect();
            self.pace.wait_for(meant.len()).await;
            let failures = self.send(audit, &portion, &meant).await?;
            for (place, (index, topic)) in meant.iter().enumerate() {
                let Some(verdict) = verdicts.get_mut(*index) else { continue };
                *verdict = match failures.get(&place) {
                    Some(error) => Verdict::Failed(error.clone()),
                    None => Verdict::Replayed(*topic),
                };
            }
        }
        let letters = portion.into_iter().map(|selected| selected.letter);
        self.report.selected.extend(letters.zip(verdicts));
        Ok(())
    }

    async fn judge(&self, portion: &[Selected]) -> Result<Vec<Result<Topic, Refusal>>, ReplayError> {
        let Request { again, replays_max, .. } = *self.request;
        let letters: Vec<DeadLetter> = portion.iter().map(|selected| selected.letter.clone()).collect();
        let sent = match again || letters.is_empty() {
            true => HashMap::new(),
            false => audit::sent(&self.wiring.pool, &self.topic, &letters).await?,
        };
        let target =
            |Selected { letter, record }: &Selected| match sent.get(&(letter.partition, letter.offset)) {
                Some(run) => Err(Refusal::AlreadyReplayed(*run)),
                None => letter.target(record, self.prefix(), replays_max),
            };
        Ok(portion.iter().map(target).collect())
    }

    /// Sends those of `portion` that are `meant`, on record. Returns the broker's refusals by place in `meant`.
    async fn send(
        &self,
        audit: &Audit,
        portion: &[Selected],
        meant: &[(usize, Topic)],
    ) -> Result<HashMap<usize, String>, ReplayError> {
        let selected: Vec<(&Selected, String)> = meant
            .iter()
            .filter_map(|(index, topic)| Some((portion.get(*index)?, *topic)))
            .map(|(selected, topic)| (selected, self.wiring.producer.full_name(topic.name())))
            .collect();
        if selected.is_empty() {
            return Ok(HashMap::new());
        }
        let records: Vec<Outgoing> = selected
            .iter()
            .map(|(Selected { letter, record }, target)| letter.again(record, target.clone()))
            .collect();
        let intents: Vec<Intent<'_>> =
            selected.iter().map(|(selected, target)| Intent { letter: &selected.letter, target }).collect();
        audit.intend(&intents).await?;
        let failures = self.wiring.producer.send(&records).await;
        let errors: HashMap<usize, String> =
            failures.iter().map(|failure| (failure.index, chain(failure))).collect();
        audit.settle(&intents, &errors).await?;
        tracing::info!(
            replay.run_id = %audit.run_id,
            operator = self.request.operator,
            sent = records.len() - errors.len(),
            failed = errors.len(),
            "replayed dead letters of {}",
            self.topic
        );
        Ok(errors)
    }

    fn prefix(&self) -> &str {
        &self.wiring.kafka.topic_prefix
    }
}
