"""Bugs that only a real Kafka shows: `make mutants` plants them with the others."""

from tests.proof.mutant import Mutant

LOSSES = "tests/proof/test_kafka_losses.py"
OF_THREE = (
    "tests/proof/test_kafka_faults.py"
    "::test_of_three_brokers_one_may_die_under_load_and_with_two_dead_nothing_is_accepted_and_nothing_is_lost"
)

KAFKA_MUTANTS = (
    Mutant(
        "a log that ends before the lake's position is no problem",
        "ingestion/lander.py",
        "            if position > error.end:\n",
        "            if False:\n",
        LOSSES,
    ),
    Mutant(
        "the audit does not see an end that went back",
        "ingestion/audit.py",
        "            if position > held.end:\n",
        "            if False:\n",
        LOSSES,
    ),
    Mutant(
        "a record is durable when one broker has it",
        "ingestion/broker/kafka/producer.py",
        '    "enable.idempotence": True,\n    "acks": "all",\n',
        '    "enable.idempotence": False,\n    "acks": "1",\n',
        OF_THREE,
    ),
    Mutant(
        "a buffer lands that another lander was ahead of",
        "ingestion/lander.py",
        "        buffer = _still_ahead(buffer, snapshot)\n",
        "",
        "tests/proof/test_interleavings_on_kafka_and_s3.py",
    ),
)
