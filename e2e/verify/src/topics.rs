//! What Kafka says: every event once, the dead letters by origin, and how far each service has read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::{Envelope, Event, OrderDetails, Service, Step, Topic, headers};
use kafka_admin::{Admin, Record, TopicName, TopicPartition, read_topics};
use messaging::{Codec, RegistryError};
use tokio::runtime::Handle;

use crate::facts::{About, Facts, Said};
use crate::source::{GatherError, Source};

/// What the fold over all records gathers.
struct Read {
    facts: Facts,
    /// Dead letters that are counted already: service, and topic, partition and offset of the record given up.
    letters: BTreeSet<(Service, Vec<u8>)>,
    decoder: Decoder,
}

pub(crate) async fn read(source: &Source) -> Result<Facts, GatherError> {
    // Those of a service that does not run need not exist.
    let services = taking_part(&source.steps);
    let written = Topic::ALL.iter().filter(|topic| services.contains(&Service::producer_of(**topic)));
    let names = written.map(|topic| full_name(source, *topic)).collect::<Result<Vec<_>, _>>()?;
    let prefix = source.prefix.clone();
    let fold = move |read: &mut Read, record: Record| {
        let topic = record.topic.as_str().strip_prefix(&prefix).and_then(Topic::from_name);
        match topic {
            Some(topic) if topic.is_dead_letter() => read.take_letter(topic, &record),
            Some(topic) => read.take_event(topic, &record),
            None => {}
        }
    };
    let decoder = Decoder::new(source.codec.clone());
    let nothing = Read { facts: Facts::default(), letters: BTreeSet::new(), decoder };
    let Read { facts, decoder, .. } = read_topics(&source.kafka, &names, nothing, fold).await?;
    decoder.failure.map_or(Ok(facts), |failure| Err(failure.into()))
}

/// Reads values, and fetches the schemas that they name where they are first met.
struct Decoder {
    codec: Arc<dyn Codec>,
    runtime: Handle,
    /// The schemas that were asked for; one that the registry does not have is asked for once.
    asked: BTreeSet<u32>,
    /// Why a schema could not be fetched: there is nothing to be read any more.
    failure: Option<RegistryError>,
}

impl Decoder {
    fn new(codec: Arc<dyn Codec>) -> Self {
        Self { codec, runtime: Handle::current(), asked: BTreeSet::new(), failure: None }
    }

    /// The event in a value, as a service reads it; none, where it would give it up.
    fn decode(&mut self, value: &[u8]) -> Option<Envelope> {
        if self.failure.is_some() {
            return None;
        }
        if let Some(id) = self.codec.missing(value).filter(|id| self.asked.insert(*id)) {
            // Records are read on a thread that may wait.
            self.failure = self.runtime.block_on(self.codec.fetch(&BTreeSet::from([id]))).err();
        }
        self.codec.decode(value).ok()
    }
}

fn full_name(source: &Source, topic: Topic) -> Result<TopicName, GatherError> {
    Ok(TopicName::new(format!("{}{}", source.prefix, topic.name()))?)
}

impl Read {
    /// What is no event, or stands on another's topic, has no effect: its readers give it up, and the dead letters
    /// are counted.
    fn take_event(&mut self, topic: Topic, record: &Record) {
        let Some(value) = &record.value else { return };
        let Some(envelope) = self.decoder.decode(value) else { return };
        let Some(order) = envelope.event.order_id().filter(|_| envelope.event.topic() == topic) else {
            return;
        };
        let Envelope { event_id, event, .. } = envelope;
        // No answer yet: one follows.
        if matches!(&event, Event::InventoryFailed(failed) if failed.waits_until.is_some()) {
            return;
        }
        self.facts.add(order, Said { topic, event_id, about: about(event) });
    }

    /// A crash between the dead letter's acknowledgement and the commit of the offset leaves a second copy.
    fn take_letter(&mut self, topic: Topic, record: &Record) {
        let Some(service) = Service::ALL.iter().find(|service| service.dead_letter_topic() == topic) else {
            return;
        };
        let place =
            [headers::DLT_ORIGINAL_TOPIC, headers::DLT_ORIGINAL_PARTITION, headers::DLT_ORIGINAL_OFFSET];
        let origin: Vec<u8> = place.iter().flat_map(|name| header(record, name)).copied().collect();
        if self.letters.insert((*service, origin)) {
            *self.facts.dead_letters.entry(*service).or_default() += 1;
        }
    }
}

fn header<'r>(record: &'r Record, name: &str) -> &'r [u8] {
    let found = record.headers.iter().find(|(this, _)| this == name);
    found.and_then(|(_, value)| value.as_deref()).unwrap_or_default()
}

fn about(event: Event) -> About {
    match event {
        Event::OrderConfirmed(event) => of_order(&event.details),
        Event::PaymentCaptured(event) => About::Amount(event.amount),
        Event::PaymentRefunded(event) => About::Amount(event.amount),
        Event::NotificationSent(event) => About::Message(event.kind),
        _ => About::Nothing,
    }
}

fn of_order(details: &OrderDetails) -> About {
    let mut items = BTreeMap::new();
    for item in &details.items {
        *items.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
    }
    About::Order(details.total, items)
}

/// Records that each service has still to read, of the topics that it reads where orders go through these steps.
pub(crate) async fn lag(source: &Source) -> Result<BTreeMap<Service, u64>, GatherError> {
    let services = taking_part(&source.steps);
    let mut read_by: BTreeMap<Service, Vec<TopicName>> = BTreeMap::new();
    for service in &services {
        let topics = service.subscriptions(&source.steps).into_iter();
        let names = topics.map(|topic| full_name(source, topic)).collect::<Result<_, _>>()?;
        read_by.insert(*service, names);
    }
    let ends = end_offsets(source, read_by.values().flatten().cloned().collect()).await?;
    let groups: Vec<String> = services.iter().map(|service| service.consumer_group(&source.prefix)).collect();
    let committed = source.admin.group_offsets(&groups).await;
    let mut lag = BTreeMap::new();
    for (service, committed) in services.into_iter().zip(committed) {
        let committed = committed?;
        let topics = read_by.get(&service).map_or(&[][..], Vec::as_slice);
        let ends = ends.iter().filter(|(partition, _)| topics.contains(&partition.topic));
        // A partition without a commit was never read, however old its records are.
        let behind = ends.map(|(partition, end)| end - committed.get(partition).copied().unwrap_or(0));
        lag.insert(service, behind.map(|records| u64::try_from(records).unwrap_or(0)).sum());
    }
    Ok(lag)
}

async fn end_offsets(
    source: &Source,
    topics: BTreeSet<TopicName>,
) -> Result<BTreeMap<TopicPartition, i64>, GatherError> {
    let topics: Vec<TopicName> = topics.into_iter().collect();
    let mut partitions = Vec::new();
    for described in source.admin.describe_topics(&topics).await {
        let described = described?;
        let of_topic = described.partitions.iter();
        partitions.extend(
            of_topic
                .map(|partition| TopicPartition { topic: described.name.clone(), partition: partition.id }),
        );
    }
    let ends = source.admin.end_offsets(&partitions).await;
    partitions.into_iter().zip(ends).map(|(partition, end)| Ok((partition, end?))).collect()
}

/// The services that run where orders go through `steps`. One without a database only watches orders: what it says
/// is no part of the invariants, and it need not run.
pub(crate) fn taking_part(steps: &[Step]) -> Vec<Service> {
    let takes_part = |service: &Service| {
        let spec = service.spec();
        spec.has_database && spec.saga_step.is_none_or(|step| steps.contains(&step))
    };
    Service::ALL.iter().copied().filter(takes_part).collect()
}
