"""Collector → Kafka, Kafka → files and Kafka → S3, on real servers, each beside bare clients at the same work."""

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import cycle, islice

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from rich.table import Table

from benchmarks.collector import collect
from benchmarks.workload import bodies, cpu_seconds, records
from ingestion.broker import Record
from ingestion.broker.kafka.broker import KafkaBroker
from ingestion.broker.kafka.connection import Connection, KafkaOptions
from ingestion.broker.kafka.producer import CONFIGURATION
from ingestion.lake import Lake
from ingestion.lander import Lander, Rotation
from ingestion.steps import run
from ingestion.tables import all_tables
from tests.services.kafka import Kafka, kafka_cluster
from tests.services.s3 import S3, s3_proxy

EVENTS = 200_000
GROUPS = {"1 (groups of 32)": (1, 32), "20 (groups of 640)": (20, 640), "100 (groups of 3,200)": (100, 3_200)}
"""Batch of a request, and records of the groups in which 64 connections reach the log."""
ROTATION = Rotation(rows=100_000, bytes=64 * 1024 * 1024, seconds=0)
BUCKET = "bench"
TOPICS = [table.topic for table in all_tables()]


def measure() -> Table:
    """Thousand events per CPU-second of our process; the broker's own is left out on both sides."""
    table = Table(
        "hop", "k events/CPU-s", "adapter alone", "bare clients", "bare / adapter", "bare / hop", title="Kafka"
    )
    with kafka_cluster() as kafka, s3_proxy() as s3, tempfile.TemporaryDirectory() as folder:
        os.environ.update(s3.endpoint.environment)
        s3.create_bucket(BUCKET)
        with closing(_open(kafka)) as broker:
            broker.ensure_topics(TOPICS)
        for name, (batch, group) in GROUPS.items():
            requests = islice(cycle(bodies(20_000, batch)), min(EVENTS, 20_000 * batch) // batch)
            hop = collect(list(requests), batch, HEADRACE_BROKER=f"kafka://{kafka.bootstrap_servers}")
            _add(table, f"collector, batches of {name}", hop, *_writing(kafka, group))
        _add(table, "lander to files", *_landing(kafka, f"file://{folder}/lake", _count))
        _add(table, "lander to S3", *_landing(kafka, f"s3://{BUCKET}/lake", partial(_archive, s3)))
    table.caption = "to S3, bare: what confluent-kafka reads in a Parquet file of values per topic, put by boto3"
    return table


def _add(table: Table, hop: str, ours: float, adapter: float, bare: float) -> None:
    table.add_row(
        hop, *(f"{rate / 1000:.0f}" for rate in (ours, adapter, bare)), f"{bare / adapter:.1f}", f"{bare / ours:.1f}"
    )


def _open(kafka: Kafka) -> KafkaBroker:
    return KafkaBroker(Connection(kafka.bootstrap_servers, KafkaOptions(create_topics=True)))


def _writing(kafka: Kafka, group: int) -> tuple[float, float]:
    """Events per CPU-second: the adapter's publish, and produce and flush of the same groups."""
    appended = records(20_000)
    groups = [appended[start : start + group] for start in range(0, len(appended), group)]
    with closing(_open(kafka)) as broker:
        broker.publish(groups[0])
        adapter, _ = cpu_seconds(lambda: _each(broker.publish, groups))
    producer = Producer({**kafka.librdkafka(), **CONFIGURATION})
    _produce(producer, groups[0])
    bare, _ = cpu_seconds(lambda: _each(partial(_produce, producer), groups))
    return len(appended) / adapter, len(appended) / bare


def _each(publish: Callable[[Sequence[Record]], None], groups: Sequence[Sequence[Record]]) -> None:
    for group in groups:
        publish(group)


def _produce(producer: Producer, group: Sequence[Record]) -> None:
    for topic, key, value in group:
        producer.produce(topic, value, key)
    if producer.flush(30):
        raise RuntimeError("Kafka did not take the records")


def _landing(kafka: Kafka, lake: str, bare_work: Callable[[Iterator[Message]], int]) -> tuple[float, float, float]:
    """Events per CPU-second: to committed rows, to chunks of the adapter, and with bare clients."""
    with closing(_open(kafka)) as broker:
        held = {(topic, p): bounds.end for topic in TOPICS for p, bounds in broker.bounds(topic).items()}
        total = sum(held.values())
        lander = Lander(broker, Lake(lake), all_tables(), ROTATION, time.monotonic, whole=True)
        landing, landed = cpu_seconds(lambda: sum(_landed(lander)))
    with closing(_open(kafka)) as broker:
        reading, read = cpu_seconds(lambda: sum(_read(broker, *place, end) for place, end in held.items()))
    bare, consumed = cpu_seconds(lambda: bare_work(_messages(kafka, held, total)))
    if {landed, read, consumed} != {total}:
        raise RuntimeError(f"of {total} events {landed} landed, {read} were read, {consumed} consumed")
    return total / landing, total / reading, total / bare


def _landed(lander: Lander) -> Iterator[int]:
    while rows := run(lander.round(flush=True), lambda point: None).rows:
        yield rows


def _read(broker: KafkaBroker, topic: str, partition: int, end: int) -> int:
    offset = count = 0
    while offset < end:
        chunk = broker.read(topic, partition, offset, 50_000, 1 << 25)
        offset, count = chunk.next_offset, count + len(chunk.offsets)
    return count


def _messages(kafka: Kafka, held: dict[tuple[str, int], int], total: int) -> Iterator[Message]:
    """Every record, read by a bare consumer."""
    consumer = Consumer({**kafka.librdkafka(), "group.id": "bare", "fetch.queue.backoff.ms": 10})
    consumer.assign([TopicPartition(*place, 0) for place in held])
    count = 0
    while count < total:
        messages = consumer.consume(5_000, 1.0)
        count += len(messages)
        yield from messages
    consumer.close()


def _count(messages: Iterator[Message]) -> int:
    """The offset, time and value that a lander needs of each."""
    return sum((message.offset(), message.timestamp(), message.value()) is not None for message in messages)


def _archive(s3: S3, messages: Iterator[Message]) -> int:
    """A file of values per topic."""
    values: dict[str, list[bytes]] = {topic: [] for topic in TOPICS}
    for message in messages:
        values[message.topic() or ""].append(message.value() or b"")
    for topic, held in values.items():
        file = io.BytesIO()
        pq.write_table(pa.table({"value": pa.array(held, pa.binary())}), file, compression="zstd", use_dictionary=False)
        s3.endpoint.client().put_object(Bucket=BUCKET, Key=f"bare/{topic}.parquet", Body=file.getvalue())
    return sum(map(len, values.values()))
