"""Bugs of the loader that only a warehouse in Redshift can have: `make mutants` plants them with the others."""

from tests.proof.mutant import Mutant

INTERLEAVINGS = "tests/proof/test_interleavings_on_redshift.py"
ADAPTER = "tests/ingestion/warehouse/test_redshift.py"

REDSHIFT_MUTANTS = (
    Mutant(
        "on Redshift something is read before the lock is taken",
        "ingestion/warehouse/redshift.py",
        '            session.rows("lock headrace.load_lock")\n',
        '            session.rows("select max(version) from headrace.load_ledger")\n'
        '            session.rows("lock headrace.load_lock")\n',
        f"{ADAPTER}::test_a_load_that_waited_for_another_sees_what_that_one_loaded",
    ),
    Mutant(
        "on Redshift a load takes no lock",
        "ingestion/warehouse/redshift.py",
        '            session.rows("lock headrace.load_lock")\n'
        '            session.rows("set statement_timeout to 0")\n'
        '            session.rows("update headrace.load_lock set loads = loads + 1")\n',
        "",
        ADAPTER,
    ),
    Mutant(
        "on Redshift the rows are committed before the ledger",
        "ingestion/warehouse/redshift_load.py",
        '        self._session.rows("drop table staged")\n',
        '        self._session.rows("drop table staged")\n        self._session.rows("commit")\n',
        ADAPTER,
    ),
    Mutant(
        "on Redshift what failed is committed",
        "ingestion/warehouse/redshift_session.py",
        "            connection.close()  # and with it goes what was not committed\n",
        "            connection.commit()\n            connection.close()\n",
        ADAPTER,
    ),
    Mutant(
        "on Redshift the ranges of a commit are not written",
        "ingestion/warehouse/redshift_load.py",
        '        self._session.insert("headrace.load_ranges", range_rows(name, commits))\n',
        "",
        INTERLEAVINGS,
    ),
    Mutant(
        "on Redshift a reload deletes nothing",
        "ingestion/warehouse/redshift_load.py",
        '        self._session.rows(f"delete from {RAW}.{self._table.name} where {PARTITION_COLUMN} = ?", [hour])\n',
        "",
        INTERLEAVINGS,
    ),
    Mutant(
        "on Redshift the landing hour is one of local time",
        "ingestion/warehouse/redshift_load.py",
        "\"to_char(kafka_timestamp, 'YYYY-MM-DD-HH24')\"",
        "\"to_char(dateadd(hour, 2, kafka_timestamp), 'YYYY-MM-DD-HH24')\"",
        ADAPTER,
    ),
    Mutant(
        "on Redshift the rows of COPY are not compared with those of the commits",
        "ingestion/loader.py",
        "    if inserted != _rows(files):\n",
        "    if False:\n",
        f"{ADAPTER}::test_a_file_with_fewer_rows_than_its_commit_promised_loads_nothing",
    ),
    Mutant(
        "on Redshift files of several schemas are one COPY",
        "ingestion/warehouse/redshift_load.py",
        "        found[pa.schema([field.remove_metadata() for field in schema])]",
        "        found[next(iter(found), pa.schema([field.remove_metadata() for field in schema]))]",
        f"{ADAPTER}::test_files_of_an_older_contract_load_beside_new_ones",
    ),
    Mutant(
        "on Redshift a conflict of two transactions is no reason to try again",
        "ingestion/warehouse/redshift_session.py",
        "        if code == SERIALIZATION or SERIALIZABLE.match(text):\n",
        "        if code == SERIALIZATION:\n",
        f"{ADAPTER}::test_a_serialization_conflict_is_a_warehouse_that_is_busy",
    ),
)
"""A lock that comes late is no row twice here, for the counter of loads conflicts, but a load that fails in vain."""
