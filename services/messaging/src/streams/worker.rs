//! The thread of a stream: the only one that touches its consumer and its producer.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::watch;

use super::metrics::ServiceMetrics;
use super::rebalance::{Listener, Rebalance};
use super::restore::Restorer;
use super::schemas::Schemas;
use super::task::{Halt, Tasks};
use super::transaction::{Failure, Transactions};
use super::watchdog::Watchdog;
use super::{Application, Stop, StopHow, StreamsError, StreamsOptions};
use crate::codec::Codec;
use crate::producer::SetupError;
use crate::record::Source;
use crate::{ConsumerState, KafkaConfig, config};

/// How long to wait for a record before looking after the group and shutdown.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// The same while states are restored, which has its own wait.
const RESTORING_WAIT: Duration = Duration::ZERO;
/// How long the question for committed offsets may take before it is asked again.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What a worker is made of.
pub(super) struct Wiring {
    pub(super) kafka: KafkaConfig,
    pub(super) group: String,
    pub(super) transactional_id: String,
    /// The input; the partition means nothing.
    pub(super) input: Source,
    /// Full name of the changelog.
    pub(super) changelog: String,
    /// Full name of the dead-letter topic.
    pub(super) dead_letters: String,
    pub(super) codec: Arc<dyn Codec>,
    pub(super) schemas: Schemas,
    pub(super) metrics: ServiceMetrics,
    pub(super) options: StreamsOptions,
    pub(super) state: watch::Sender<ConsumerState>,
    pub(super) stop: Stop,
    pub(super) watchdog: Watchdog,
}

pub(super) struct Worker<A: Application> {
    wiring: Arc<Wiring>,
    consumer: BaseConsumer<Listener>,
    transactions: Transactions,
    tasks: Tasks<A>,
    restorers: Vec<Restorer>,
}

impl<A: Application> Worker<A> {
    /// Opens the transactional id, joins the group, and works until it is told to stop or cannot go on.
    pub(super) fn run(wiring: Wiring, application: A) -> Result<(), StreamsError> {
        let Some(mut worker) = Self::start(wiring, application)? else { return Ok(()) };
        let result = worker.work();
        worker.leave();
        result
    }

    /// None when it is time to stop already.
    fn start(wiring: Wiring, application: A) -> Result<Option<Self>, StreamsError> {
        let wiring = Arc::new(wiring);
        let producer = config::transactional_producer(&wiring.kafka, &wiring.transactional_id);
        let opened = Transactions::open(
            &producer,
            wiring.transactional_id.clone(),
            wiring.watchdog.clone(),
            wiring.stop.clone(),
        )?;
        let Some(transactions) = opened else { return Ok(None) };
        let input = &wiring.input;
        let listener = Listener::new(input.topic, input.name.to_string(), wiring.metrics.clone());
        let config = config::consumer(&wiring.kafka, &wiring.group);
        let consumer = BaseConsumer::from_config_and_context(&config, listener).map_err(configuration)?;
        consumer.subscribe(&[&input.name]).map_err(configuration)?;
        let tasks = Tasks::new(application, wiring.clone());
        Ok(Some(Self { wiring, consumer, transactions, tasks, restorers: Vec::new() }))
    }

    /// Answers the group for the last time: the client waits for that before it leaves. What comes while it leaves
    /// is answered by the listener itself.
    fn leave(&self) {
        self.consumer.context().close();
        while let Some(rebalance) = self.consumer.context().next() {
            let answered = match rebalance {
                Rebalance::Assign(partitions) => {
                    self.list(&partitions).and_then(|list| self.consumer.incremental_assign(&list))
                }
                Rebalance::Revoke(partitions) => {
                    self.list(&partitions).and_then(|list| self.consumer.incremental_unassign(&list))
                }
            };
            if let Err(error) = answered {
                tracing::warn!(%error, "could not answer the group on leaving it");
            }
        }
    }

    fn work(&mut self) -> Result<(), StreamsError> {
        loop {
            match self.wiring.stop.asked() {
                Some(StopHow::Committing) => return self.commit(),
                Some(StopHow::Aborting) => return Ok(()),
                None => {}
            }
            while let Some(rebalance) = self.consumer.context().next() {
                self.rebalance(rebalance)?;
            }
            self.restore()?;
            self.poll()?;
            self.tasks.rest();
            if self.is_due() {
                self.commit()?;
            }
        }
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), StreamsError> {
        match rebalance {
            Rebalance::Assign(partitions) => {
                tracing::info!(?partitions, "partitions were assigned");
                self.take(&partitions)
            }
            Rebalance::Revoke(partitions) => {
                if self.consumer.assignment_lost() {
                    // Somebody else has them, and has read from the last commit on: so nothing is committed.
                    tracing::warn!(?partitions, "partitions were lost");
                } else {
                    self.commit()?;
                    tracing::info!(?partitions, "partitions were taken away");
                }
                self.give_up(&partitions);
                Ok(())
            }
        }
    }

    /// Takes `partitions` over: at their committed offsets, and paused until their state is restored.
    fn take(&mut self, partitions: &[i32]) -> Result<(), StreamsError> {
        let Some(positions) = self.positions(partitions) else {
            // It stops; the group waits for an answer all the same.
            let list = self.list(partitions).map_err(fatal)?;
            return self.consumer.incremental_assign(&list).map_err(fatal);
        };
        let assigned = self.list_at(&positions).and_then(|list| {
            self.consumer.incremental_assign(&list)?;
            self.consumer.pause(&list)
        });
        assigned.map_err(fatal)?;
        let epochs = self.tasks.assign(&positions);
        if !epochs.is_empty() {
            let Wiring { kafka, group, changelog, .. } = &*self.wiring;
            self.restorers.push(Restorer::new(kafka, group, changelog, epochs)?);
        }
        self.tell_state();
        Ok(())
    }

    /// Where to go on with `partitions`. None when it is time to stop.
    fn positions(&self, partitions: &[i32]) -> Option<Vec<(i32, i64)>> {
        loop {
            let answer = {
                let _watched = self.wiring.watchdog.watch("committed");
                self.ask_positions(partitions)
            };
            match answer {
                Ok(positions) => return Some(positions),
                Err(error) => tracing::warn!(%error, "could not learn the committed offsets; asking again"),
            }
            if self.wiring.stop.asked().is_some() {
                return None;
            }
        }
    }

    /// The committed offsets; the first ones where nothing was ever committed. Waits for transactions that are being
    /// committed, as readers of committed records do: the answer is final.
    ///
    /// An offset is always a number here, never "the beginning": the client looks that up later, and if the partition
    /// is paused meanwhile it takes the answer for outdated, and never fetches from it, not even when it is resumed.
    fn ask_positions(&self, partitions: &[i32]) -> KafkaResult<Vec<(i32, i64)>> {
        let committed = self.consumer.committed_offsets(self.list(partitions)?, ASK_TIMEOUT)?;
        let mut positions = Vec::with_capacity(partitions.len());
        for element in committed.elements() {
            // An error is no offset: to begin anew because of it would be to count twice.
            element.error()?;
            let partition = element.partition();
            let next = match element.offset() {
                Offset::Offset(next) => next,
                _none => self.consumer.fetch_watermarks(&self.wiring.input.name, partition, ASK_TIMEOUT)?.0,
            };
            positions.push((partition, next));
        }
        Ok(positions)
    }

    fn give_up(&mut self, partitions: &[i32]) {
        let result = self.list(partitions).and_then(|list| self.consumer.incremental_unassign(&list));
        if let Err(error) = result {
            tracing::warn!(%error, "could not give up partitions");
        }
        partitions.iter().for_each(|partition| self.tasks.forget(*partition));
    }

    /// Drops all states, and begins again with what was committed.
    fn begin_again(&mut self) -> Result<(), StreamsError> {
        let partitions = self.tasks.partitions();
        self.restorers.clear();
        self.give_up(&partitions);
        self.take(&partitions)
    }

    /// Goes on with restoring states; partitions whose state is there are read from now on.
    fn restore(&mut self) -> Result<(), StreamsError> {
        let mut restored = Vec::new();
        self.restorers.retain_mut(|restorer| {
            let state = restorer.step(&self.wiring.watchdog);
            let done = state.is_some();
            restored.extend(state);
            !done
        });
        for state in restored {
            let mut ready = Vec::new();
            for (partition, epoch, entries) in &state.partitions {
                if self.tasks.restore(*partition, *epoch, entries)? {
                    ready.push(*partition);
                }
            }
            self.list(&ready).and_then(|list| self.consumer.resume(&list)).map_err(fatal)?;
            self.wiring.metrics.restored(state.took);
            tracing::info!(partitions = ready.len(), took = ?state.took, "state was restored");
            self.tell_state();
        }
        Ok(())
    }

    /// Takes in what is there, or the first that comes.
    fn poll(&mut self) -> Result<(), StreamsError> {
        loop {
            let (room, left) = self.tasks.room();
            // Only the first record is waited for, and not at all while there is a state to restore.
            let wait = if self.restorers.is_empty() {
                left.unwrap_or(POLL_WAIT).min(POLL_WAIT)
            } else {
                RESTORING_WAIT
            };
            if room == 0 || left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            match self.consumer.poll(wait) {
                Some(Ok(message)) => match self.tasks.accept(&message) {
                    Ok(()) => {}
                    Err(Halt::Stopping) => return Ok(()),
                    Err(error @ Halt::Unready(_)) => {
                        tracing::error!(%error, "the stream begins again with what was committed");
                        drop(message);
                        return self.begin_again();
                    }
                },
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(fatal(error)),
                Some(Err(error)) => {
                    tracing::warn!(%error, "could not fetch; the client tries again");
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    fn is_due(&self) -> bool {
        let (room, left) = self.tasks.room();
        room == 0 || left.is_some_and(|left| left.is_zero())
    }

    /// Commits what waits. If that fails for this time, all states are restored: they are ahead of what counts.
    fn commit(&mut self) -> Result<(), StreamsError> {
        let Some(transaction) = self.tasks.take_transaction()? else { return Ok(()) };
        // Asked for each time: it changes with every rebalance, and fences whoever has missed one.
        let group = self.consumer.group_metadata().expect("a consumer with a group.id has a group");
        match self.transactions.commit(&transaction.records, &transaction.offsets, &group) {
            Ok(()) => {
                self.tasks.committed();
                self.wiring.metrics.committed(transaction.since.elapsed());
                Ok(())
            }
            Err(Failure::Abortable(error)) => {
                tracing::warn!(%error, "a transaction was aborted; its records are read again");
                self.wiring.metrics.aborted();
                self.transactions.abort()?;
                self.begin_again()
            }
            Err(Failure::Fatal(error)) => Err(error),
            Err(Failure::Stopped) => Ok(()),
        }
    }

    /// Partitions of the input.
    fn list(&self, partitions: &[i32]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(&self.wiring.input.name, *partition, Offset::Invalid)?;
        }
        Ok(list)
    }

    /// Partitions of the input, each at an offset.
    fn list_at(&self, positions: &[(i32, i64)]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, next) in positions {
            list.add_partition_offset(&self.wiring.input.name, *partition, Offset::Offset(*next))?;
        }
        Ok(list)
    }

    fn tell_state(&self) {
        self.wiring.state.send_replace(if self.restorers.is_empty() {
            ConsumerState::Running
        } else {
            ConsumerState::Waiting { reason: "its state is being restored".to_owned() }
        });
    }
}

fn configuration(error: KafkaError) -> StreamsError {
    SetupError::Configuration(error.into()).into()
}

fn fatal(error: KafkaError) -> StreamsError {
    StreamsError::Fatal(error.into())
}
