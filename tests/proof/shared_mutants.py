"""Known bugs of topics that event types share."""

from tests.proof.mutant import Mutant

PROOF = "tests/proof/test_shared_interleavings.py"
HOPS = "tests/ingestion/test_shared_topics.py"
NOTED = f"{HOPS}::test_the_group_is_where_the_last_of_its_tables_is {PROOF}"

SHARED_MUTANTS = (
    Mutant(
        "a record lands in every table that shares its topic",
        "ingestion/lander.py",
        "            own = only(table.name, topic, chunk)\n",
        "            own = chunk\n",
        PROOF,
    ),
    Mutant(
        "the group's position is that of the furthest table",
        "ingestion/lander.py",
        "passed[partition] = min(end, ",
        "passed[partition] = max(end, ",
        NOTED,
    ),
    Mutant(
        "the group's position is that of the table that landed last",
        "ingestion/lander.py",
        "self._broker.commit(GROUP, buffer.topic, self._passed(buffer.topic, positions))",
        "self._broker.commit(GROUP, buffer.topic, positions)",
        NOTED,
    ),
    Mutant(
        "what is nobody's is dropped",
        "ingestion/broker/shared.py",
        "    return name if name in event_types else event_types[0]\n",
        "    return name\n",
        PROOF,
    ),
    Mutant(
        "a table begins where another of its topic is",
        "ingestion/lander.py",
        "        key = lake_table.table.name, topic.id\n",
        "        key = self._tables[0][0].name, topic.id\n",
        PROOF,
    ),
    Mutant(
        "the audit does not compare a shared topic with its tables",
        "ingestion/audit.py",
        "in find_unequal(broker, parts)\n",
        "in find_unequal(broker, [])\n",
        HOPS,
    ),
    Mutant(
        "what retention took of a shared topic is counted for each table",
        "ingestion/shared_audit.py",
        "for ranges in taken.values() for span in _joined(ranges)]",
        "for ranges in taken.values() for span in ranges]",
        HOPS,
    ),
    Mutant(
        "what another table had landed in time is counted as lost",
        "ingestion/shared_audit.py",
        " - sum(count.rows for count in landed.values())\n",
        "\n",
        HOPS,
    ),
    Mutant(
        "a view hears the first of its types in a shared topic only",
        "ingestion/listened.py",
        "    return together if together[0] == event_type else ()\n",
        "    return (event_type,)\n",
        HOPS,
    ),
    Mutant(
        "what is left in the topics of single types is forgotten",
        "ingestion/cli.py",
        "        _land_left(settings, lake)\n",
        "",
        "tests/ingestion/test_cli.py::test_what_is_left_in_the_topics_of_types_that_share_one_now_lands_too",
    ),
)
