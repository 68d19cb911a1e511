"""The declaration of topics, and the difference between it and a cluster."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingestion.errors import ConfigurationError
from ingestion.tables import all_tables
from ingestion.topics import (
    ClusterState,
    Declaration,
    Grant,
    TopicSpec,
    TopicState,
    declare,
    difference,
    read_declaration,
    risks,
)

VIEWS, ORDERS, CARTS = "events.product_viewed", "events.order_completed", "events.carts"


def spec(**changes: Any) -> TopicSpec:
    return TopicSpec(VIEWS, **changes)


def state(of: TopicSpec, **configs: str) -> TopicState:
    named = {name.replace("_", "."): value for name, value in configs.items()}
    return TopicState(of.partitions, of.replication, {**of.configs, **named})


def planned(wanted: TopicSpec, found: TopicState | None) -> Any:
    return difference(Declaration((wanted,)), ClusterState({wanted.name: found} if found else {}))


def test_without_a_file_every_event_type_has_a_topic_with_safe_defaults() -> None:
    topics = read_declaration(None).topics
    assert [topic.name for topic in topics] == [table.topic for table in all_tables()]
    assert {(topic.replication, topic.min_insync_replicas) for topic in topics} == {(3, 2)}
    assert all(topic.configs["message.timestamp.type"] == "LogAppendTime" for topic in topics)


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "topics.toml"
    file.write_text(
        'writers = ["User:collector"]\n[defaults]\npartitions = 3\nowner = "data"\n'
        f'[topics."{ORDERS}"]\npartitions = 12\nretention_hours = 720\nsubscribers = ["User:fraud"]\n'
    )
    topics = {topic.name: topic for topic in read_declaration(file).topics}
    assert (topics[VIEWS].partitions, topics[VIEWS].owner) == (3, "data")
    assert (topics[ORDERS].partitions, topics[ORDERS].configs["retention.ms"]) == (12, "2592000000")
    assert topics[ORDERS].subscribers == ("User:fraud",)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"topics": {"events.nothing": {}}}, r"no event type has the topic 'events\.nothing'"),
        ({"defaults": {"partition": 3}}, "'partition' is not known; use partitions"),
        ({"topic": {}}, "'topic' is not known"),
        ({"defaults": {"partitions": 0}}, "1 or more, not 0"),
        ({"defaults": {"partitions": "six"}}, "partitions is 'six', which is no int"),
        ({"defaults": {"replication": 2, "min_insync_replicas": 3}}, "nothing could be written"),
        ({"defaults": {"min_insync_replicas": 1}}, "set min_insync_replicas to 2"),
        ({"defaults": {"compression": "lzma"}}, "compression is 'lzma'"),
        ({"defaults": {"max_message_bytes": 1_000}}, "max_message_bytes is below"),
        ({"writers": ["collector"]}, "'collector'; a principal is like 'User:lander'"),
        ({"defaults": {"subscribers": ["User:*"]}}, r"a principal is like"),
        ({"defaults": {"event_types": ["product_added"]}}, "'event_types' is not known"),
        ({"topics": {"events.carts": {"event_types": ["cart_seen"]}}}, "'cart_seen' is no event type that can share"),
        ({"topics": {"events.carts": {"event_types": ["cart_viewed", "rejected"]}}}, "'rejected' is no event type"),
        ({"topics": {"events.carts": {"event_types": 5}}}, "5 is no event type"),
        ({"topics": {"events.carts": {"event_types": []}}}, r"no event type has the topic 'events\.carts'"),
        (
            {"topics": {name: {"event_types": ["cart_viewed"]} for name in ("events.a", "events.b")}},
            r"cart_viewed is in events\.a and in events\.b",
        ),
        (
            {"topics": {"events.a": {"event_types": ["cart_viewed"] * 2}}},
            r"cart_viewed is in events\.a and in events\.a",
        ),
        ({"topics": {"carts": {"event_types": ["cart_viewed"]}}}, "'carts' holds event types: let its name begin"),
        ({"topics": {"events.rejected": {"event_types": ["cart_viewed"]}}}, "and be no type's own"),
        (
            {"topics": {CARTS: {"event_types": ["cart_viewed"]}, "events.cart_viewed": {}}},
            "no event type has the topic",
        ),
    ],
)
def test_a_declaration_that_cannot_be_meant_names_the_place(document: Mapping[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        declare(document, "topics.toml")


def test_event_types_share_a_topic_where_the_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "topics.toml"
    file.write_text(f'[topics."{CARTS}"]\npartitions = 12\nevent_types = ["product_added", "cart_viewed"]\n')
    declared = read_declaration(file)
    topics = {topic.name: topic for topic in declared.topics}
    assert len(topics) == len(declared.topics) == len(all_tables()) - 1
    assert not topics.keys() & {"events.product_added", "events.cart_viewed"}
    assert (topics[CARTS].partitions, topics[VIEWS].event_types) == (12, ())
    assert declared.shared == {CARTS: ("product_added", "cart_viewed")}
    assert read_declaration(None).shared == {}


def test_a_file_that_is_no_toml_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "topics.toml").write_text("topics = [")
    with pytest.raises(ConfigurationError, match="HEADRACE_TOPICS"):
        read_declaration(tmp_path / "topics.toml")


def test_a_topic_that_is_missing_is_created() -> None:
    plan = planned(spec(), None)
    assert plan.create == (spec(),) and not plan.configs and not plan.refused


def test_a_cluster_that_is_as_declared_needs_nothing() -> None:
    assert planned(spec(), state(spec())).is_empty


def test_settings_that_differ_are_changed_and_others_left() -> None:
    found = state(spec(), retention_ms="1", segment_ms="5", cleanup_policy="compact")
    assert planned(spec(), found).configs == {
        VIEWS: {"retention.ms": ("1", "604800000"), "cleanup.policy": ("compact", "delete")}
    }


def test_partitions_are_added_and_never_taken_away() -> None:
    assert planned(spec(partitions=8), state(spec(partitions=6))).partitions == {VIEWS: (6, 8)}
    [refused] = planned(spec(partitions=4), state(spec(partitions=6))).refused
    assert "has 6 partitions, 4 are declared" in refused


def test_fewer_disks_than_promised_are_refused() -> None:
    kept = state(spec(min_insync_replicas=2))
    [refused] = planned(spec(replication=3, min_insync_replicas=1), kept).refused
    assert "min.insync.replicas=2, 1 is declared" in refused
    [refused] = planned(spec(replication=3), replace(kept, replication=1)).refused
    assert "has 1 replicas, 3 are declared" in refused


def test_a_topic_that_is_not_declared_stays() -> None:
    plan = difference(Declaration(()), ClusterState({"events.old": state(spec())}))
    assert plan.is_empty and "events.old is not declared, and stays" in plan.notes[0]


def test_who_writes_lands_and_subscribes_follows_from_the_declaration() -> None:
    declared = Declaration((spec(subscribers=("User:fraud",)),), ("User:collector",), ("User:lander",))
    assert declared.grants == {
        Grant("User:collector", "WRITE", "TOPIC", VIEWS),
        Grant("User:collector", "DESCRIBE_CONFIGS", "TOPIC", VIEWS),
        Grant("User:lander", "READ", "TOPIC", VIEWS),
        Grant("User:lander", "DESCRIBE_CONFIGS", "TOPIC", VIEWS),
        Grant("User:lander", "READ", "GROUP", "lander"),
        Grant("User:lander", "READ", "GROUP", "listener."),
        Grant("User:fraud", "READ", "TOPIC", VIEWS),
        Grant("User:fraud", "READ", "GROUP", "fraud"),
    }


def test_a_subscriber_that_is_no_longer_declared_loses_the_topic() -> None:
    before = Declaration((spec(subscribers=("User:fraud",)),))
    elsewhere = Grant("User:fraud", "READ", "TOPIC", "events.other")
    found = ClusterState({VIEWS: state(spec())}, before.grants | {elsewhere})
    plan = difference(Declaration((spec(),)), found)
    assert plan.revoke == (Grant("User:fraud", "READ", "TOPIC", VIEWS),)


def test_a_cluster_without_acls_is_told_of() -> None:
    plan = difference(Declaration((spec(),), ("User:collector",)), ClusterState({VIEWS: state(spec())}))
    assert plan.is_empty and "checks no ACLs" in plan.notes[0]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (state(spec(), min_insync_replicas="1"), "min.insync.replicas=1"),
        (state(spec(), unclean_leader_election_enable="true"), "unclean.leader.election.enable=true"),
        (state(spec(), message_timestamp_type="CreateTime"), "message.timestamp.type=CreateTime"),
        (state(spec(), cleanup_policy="compact"), "cleanup.policy=compact"),
    ],
)
def test_settings_that_break_a_promise_are_risks(found: TopicState, said: str) -> None:
    [risk] = risks({VIEWS: found})
    assert said in risk


def test_one_broker_alone_has_no_second_disk_to_ask_for() -> None:
    alone = spec(replication=1, min_insync_replicas=1)
    assert risks({VIEWS: state(alone), ORDERS: state(spec())}) == []
