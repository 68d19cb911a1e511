"""Durable writes: records go out with acks=all and idempotence, and `publish` waits for the reports of exactly them.

A report that says failed, or that does not come in time, leaves a record unknown: a broker may have stored it. After
a fatal error a producer only refuses; the next `publish` builds another one.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ingestion.broker import Record
from ingestion.broker.kafka.connection import complain
from ingestion.errors import BrokerUnavailable, PermanentError, UnknownTopic

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""librdkafka looks once a second for records whose time is over."""
POLL_SECONDS = 0.5
FULL_QUEUE_SECONDS = 0.005

UNKNOWN = KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION
CONFIGURATION: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 2,  # a group commit has gathered already: only as long as it takes to hand it over
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # as Java producers do, so that a key has one partition whoever writes it
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 128 * 1024,
    "topic.metadata.refresh.interval.ms": 30_000,  # partitions that were added get their share soon
}


class DurableProducer:
    """Writes records of several threads; `connection` is librdkafka's, `timeout` the seconds a record may take."""

    def __init__(self, connection: Mapping[str, Any], timeout: float) -> None:
        self._timeout = timeout
        milliseconds = int(timeout * 1000)
        self._configuration = {
            **connection,
            **CONFIGURATION,
            "message.timeout.ms": milliseconds,
            "request.timeout.ms": milliseconds,
            "socket.timeout.ms": milliseconds + 1_000,  # a paused broker's socket is silent, and left soon
        }
        self._lock = threading.Lock()
        self._link: _Link | None = None

    def publish(self, records: Sequence[Record]) -> None:
        """Return when every record is durable, or raise when that is not known of one of them."""
        delivery = _Delivery(len(records))
        deadline = time.monotonic() + self._timeout + GRACE_SECONDS
        link = self._open()
        for record in records:
            link.produce(record, delivery, deadline)
        delivery.wait(deadline)

    def close(self) -> None:
        """Let go of the connections; what nobody waits for any more is dropped."""
        with self._lock:
            if self._link:
                self._link.close()
            self._link = None

    def _open(self) -> "_Link":
        with self._lock:
            if self._link and self._link.fatal:
                log.warning("a new producer replaces one that failed for good: %s", self._link.fatal)
                self._link.close()
                self._link = None
            self._link = self._link or _Link(self._configuration)
            return self._link


class _Delivery:
    """The reports of one `publish`. They come from one thread, the link's."""

    def __init__(self, records: int) -> None:
        self._records, self._pending, self._failed = records, records, 0
        self._error: KafkaError | None = None
        self._done = threading.Event()
        if not records:
            self._done.set()

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Called once for each record; must call nothing that can fail."""
        if error is not None:
            self._failed += 1
            self._error = self._error or error
        self._pending -= 1
        if not self._pending:
            self._done.set()

    def wait(self, deadline: float) -> None:
        if not self._done.wait(max(0.0, deadline - time.monotonic())):
            raise BrokerUnavailable(f"Kafka has not confirmed {self._pending} of {self._records} records in time")
        if self._error is not None and self._error.code() in UNKNOWN:
            raise UnknownTopic(f"Kafka lacks a topic of {self._records} records: {self._error.str()}")
        if self._error is not None:
            raise BrokerUnavailable(
                f"Kafka has not confirmed {self._failed} of {self._records} records: {self._error.str()}"
            )


class _Link:
    """A producer and the thread that receives its reports."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        self.fatal: str | None = None
        self._closed = False
        self._complain = complain(log)
        self._producer = Producer({**configuration, "error_cb": self._hear})
        self._thread = threading.Thread(target=self._receive, name="kafka-reports", daemon=True)
        self._thread.start()

    def produce(self, record: Record, delivery: _Delivery, deadline: float) -> None:
        while True:
            try:
                return self._producer.produce(
                    record.topic, value=record.value, key=record.key, on_delivery=delivery.report
                )
            except BufferError:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(
                        "Kafka takes records more slowly than they come: the queue is full"
                    ) from None
                time.sleep(FULL_QUEUE_SECONDS)
            except KafkaException as error:
                raise self._refused(record, error) from error

    def close(self) -> None:
        self._closed = True
        self._thread.join()

    def _refused(self, record: Record, exception: KafkaException) -> Exception:
        error: KafkaError = exception.args[0]
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return PermanentError(f"a record of {len(record.value)} bytes is larger than Kafka takes: {error.str()}")
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.fatal = self.fatal or error.str()
        return BrokerUnavailable(f"Kafka does not take records for {record.topic}: {error.str()}")

    def _receive(self) -> None:
        while not self._closed:
            try:
                self._producer.poll(POLL_SECONDS)
            except Exception as error:  # a fatal error is raised here, and what is left is reported at the next call
                self.fatal = self.fatal or str(error)
                time.sleep(FULL_QUEUE_SECONDS)
        self._producer.purge()
        try:
            self._producer.flush(GRACE_SECONDS)
        except Exception as error:
            log.debug("while closing: %s", error)

    def _hear(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.fatal = self.fatal or error.str()
        self._complain(error)
