use kafka_admin::{
    Admin, ConfigAlteration, ConfigSource, Error, MemoryAdmin, Mode, NewTopic, TopicConfig, TopicName,
};

use super::{create, eventually, only, topic};

async fn config(admin: &dyn Admin, name: &TopicName) -> TopicConfig {
    only(admin.describe_configs(std::slice::from_ref(name)).await).unwrap()
}

/// Waits until the setting has this value and source: changes reach the broker that answers a little later.
async fn until(admin: &dyn Admin, name: &TopicName, key: &str, value: &str, source: ConfigSource) {
    let ask = || async { config(admin, name).await.get(key).cloned() };
    eventually(key, ask, |entry| {
        entry.as_ref().is_some_and(|entry| entry.value.as_deref() == Some(value) && entry.source == source)
    })
    .await;
}

async fn alter(admin: &dyn Admin, alteration: ConfigAlteration) -> Result<(), Error> {
    only(admin.alter_configs(&[alteration], Mode::Apply).await)
}

pub(super) async fn every_setting_has_a_value_and_a_source(admin: &dyn Admin) {
    let name = topic("settings");
    create(admin, NewTopic::named(name.clone()).partitions(1).config("retention.ms", "1234")).await;

    let config = config(admin, &name).await;

    let overrides: Vec<_> = config.overrides().map(|entry| entry.name.as_str()).collect();
    assert_eq!(overrides, ["retention.ms"]);
    assert_eq!(config.value("retention.ms"), Some("1234"));
    for entry in config.iter() {
        assert!(entry.value.is_some(), "{entry:?}");
        assert_ne!(entry.source, ConfigSource::Unknown, "{entry:?}");
        assert!(!entry.is_sensitive && !entry.read_only, "{entry:?}");
    }
}

/// The twin's table of settings against the broker's: names both ways, and values where the broker has Kafka's own.
pub(super) async fn kafkas_defaults_are_the_same_everywhere(admin: &dyn Admin) {
    let twin = MemoryAdmin::new();
    let new = NewTopic::named(topic("defaults")).partitions(1);
    create(&twin, new.clone()).await;
    create(admin, new.clone()).await;

    let (expected, found) = (config(&twin, &new.name).await, config(admin, &new.name).await);

    let names = |config: &TopicConfig| config.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for entry in found.iter().filter(|entry| entry.source == ConfigSource::Default) {
        assert_eq!(Some(entry), expected.get(&entry.name));
    }
}

pub(super) async fn altering_one_setting_leaves_the_others(admin: &dyn Admin) {
    let name = topic("altered");
    let new = NewTopic::named(name.clone()).partitions(1);
    create(admin, new.config("retention.ms", "1000").config("cleanup.policy", "compact")).await;

    alter(admin, ConfigAlteration::of(name.clone()).set("retention.ms", "2000")).await.unwrap();

    until(admin, &name, "retention.ms", "2000", ConfigSource::DynamicTopic).await;
    assert_eq!(config(admin, &name).await.value("cleanup.policy"), Some("compact"));
}

pub(super) async fn deleting_a_setting_gives_the_default_back(admin: &dyn Admin) {
    let name = topic("reset");
    create(admin, NewTopic::named(name.clone()).partitions(1).config("max.message.bytes", "2000")).await;
    let change = || ConfigAlteration::of(name.clone()).delete("max.message.bytes");

    alter(admin, change()).await.unwrap();
    until(admin, &name, "max.message.bytes", "1048588", ConfigSource::Default).await;
    let again = alter(admin, change()).await;

    assert_eq!(again, Ok(()), "deleting what is not set changes nothing");
}

pub(super) async fn wrong_settings_are_refused_by_name(admin: &dyn Admin) {
    let name = topic("wrong");
    create(admin, NewTopic::named(name.clone()).partitions(1)).await;
    let change = ConfigAlteration::of(name.clone()).set("segment.bytes", "2000000");

    let unknown = alter(admin, change.clone().set("no.such.key", "1")).await;
    let invalid = alter(admin, change.clone().set("cleanup.policy", "burn")).await;

    for (answer, expected) in [(unknown, "no.such.key"), (invalid, "cleanup.policy")] {
        let Err(Error::InvalidConfig { key, message }) = answer else { panic!("{answer:?}") };
        assert_eq!(key.as_deref(), Some(expected), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    // The good half was not stored either.
    alter(admin, ConfigAlteration::of(name.clone()).set("retention.ms", "1")).await.unwrap();
    until(admin, &name, "retention.ms", "1", ConfigSource::DynamicTopic).await;
    let source = config(admin, &name).await.get("segment.bytes").unwrap().source;
    assert_ne!(source, ConfigSource::DynamicTopic);
}

pub(super) async fn validated_settings_are_not_stored(admin: &dyn Admin) {
    let name = topic("validated");
    create(admin, NewTopic::named(name.clone()).partitions(1)).await;
    let change = |key: &str| ConfigAlteration::of(name.clone()).set(key, "7");

    let good = only(admin.alter_configs(&[change("retention.ms")], Mode::ValidateOnly).await);
    let bad = only(admin.alter_configs(&[change("no.such.key")], Mode::ValidateOnly).await);

    assert_eq!(good, Ok(()));
    assert!(matches!(bad, Err(Error::InvalidConfig { .. })), "{bad:?}");
    alter(admin, change("flush.ms")).await.unwrap();
    until(admin, &name, "flush.ms", "7", ConfigSource::DynamicTopic).await;
    assert_ne!(config(admin, &name).await.value("retention.ms"), Some("7"));
}
