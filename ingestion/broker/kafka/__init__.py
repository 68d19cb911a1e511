"""The adapter of Apache Kafka: confluent-kafka for records, positions and groups, kafka-python for topics and ACLs."""
