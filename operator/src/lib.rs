//! The order pipeline operator: turns OrderPipeline and KafkaTopic resources into topics and running services.
