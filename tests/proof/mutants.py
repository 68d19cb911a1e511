"""Plants known bugs, one at a time, in a copy of the tree, and shows that the suite turns red for each: `make mutants`.

Each mutant is one plausible edit. One that survives means that the proof cannot see that bug.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.proof.dynamodb_mutants import DYNAMODB_MUTANTS
from tests.proof.kafka_mutants import KAFKA_MUTANTS
from tests.proof.model_mutants import MODEL_MUTANTS
from tests.proof.mutant import Mutant
from tests.proof.redshift_mutants import REDSHIFT_MUTANTS
from tests.proof.shared_mutants import SHARED_MUTANTS
from tests.proof.view_check_mutants import VIEW_CHECK_MUTANTS
from tests.proof.view_mutants import VIEW_MUTANTS

ROOT = Path(__file__).parents[2]
COPIED = ("ingestion", "sensors", "orchestration", "dbt_project", "tests", "pyproject.toml", "README.md", "Makefile")
GENERATED = shutil.ignore_patterns("__pycache__", "target", "logs")
PROOF = "tests/proof/test_small_scope.py tests/proof/test_interleavings.py"

MUTANTS = (
    Mutant(
        "the group's position is committed before the lake",
        "ingestion/lander.py",
        "        rows = encode(lake_table.table, buffer.blocks)\n",
        "        rows = encode(lake_table.table, buffer.blocks)\n"
        "        ends = {covered.partition: covered.end for covered in buffer.ranges}\n"
        "        self._broker.commit(GROUP, buffer.topic, ends)\n",
        PROOF,
    ),
    Mutant(
        "reading goes on at the group's position",
        "ingestion/lander.py",
        "{each: snapshot.position(topic.id, each) for each in topic.partitions}\n",
        "{each: self._broker.positions(GROUP, topic).get(each, 0) for each in topic.partitions}\n",
        PROOF,
    ),
    Mutant(
        "a partition without a position begins at the log's start",
        "ingestion/lander.py",
        "            unread = error.start - position\n",
        "            unread, position = 0, error.start\n",
        PROOF,
    ),
    Mutant(
        "what retention took is not named",
        "ingestion/lander.py",
        "            unread = error.start - position\n",
        "            unread = 0\n",
        PROOF,
    ),
    Mutant(
        "the topic's identity is not asked again",
        "ingestion/lander.py",
        "        if self._broker.topic(buffer.topic.name).id != buffer.topic.id:\n",
        "        if False:\n",
        PROOF,
    ),
    Mutant(
        "a buffer that another lander has overtaken is kept",
        "ingestion/lander.py",
        "== covered.start:",
        "is not None:",
        PROOF,
    ),
    Mutant(
        "the commit is made from a fresher snapshot than was checked",
        "ingestion/lander.py",
        "            snapshot.append(rows, buffer.ranges)\n",
        "            lake_table.snapshot().append(rows, buffer.ranges)\n",
        PROOF,
    ),
    Mutant(
        "a record that does not fit is dropped",
        "ingestion/lander.py",
        "        rows = encode(lake_table.table, buffer.blocks)\n",
        "        rows = encode(lake_table.table, buffer.blocks)\n"
        "        rows = rows.filter(rows.column('landing_error').is_null())\n",
        PROOF,
    ),
    Mutant(
        "a block of values is not checked for documents that span them",
        "ingestion/encoding.py",
        '    if not (\n        text.startswith(b"{")',
        '    if False and not (\n        text.startswith(b"{")',
        "tests/ingestion/test_encoding.py",
    ),
    Mutant(
        "the loader lists the lake before it locks",
        "ingestion/loader.py",
        "    lake_table = lake.table(table)\n    with warehouse.load(table) as transaction:\n"
        '        yield "loader.locked"\n'
        "        after = transaction.loaded_version()\n        commits = list(lake_table.commits(after))\n",
        "    lake_table = lake.table(table)\n    with warehouse.load(table) as transaction:\n"
        "        after = transaction.loaded_version()\n    commits = list(lake_table.commits(after))\n"
        '    yield "loader.locked"\n    with warehouse.load(table) as transaction:\n',
        PROOF,
    ),
    Mutant(
        "the loader does not read the ledger",
        "ingestion/loader.py",
        "        after = transaction.loaded_version()\n",
        "        after = -1\n",
        PROOF,
    ),
    Mutant(
        "the ledger is not written",
        "ingestion/loader.py",
        "        transaction.record(commits, transaction.count(files) if files else {})\n",
        "",
        PROOF,
    ),
    Mutant(
        "the rows are committed before the ledger",
        "ingestion/warehouse/duckdb_load.py",
        "        return int(str(inserted))\n",
        "        self._db.execute('commit')\n        self._db.execute('begin')\n        return int(str(inserted))\n",
        PROOF,
    ),
    Mutant(
        "the loader loads an event id once",
        "ingestion/warehouse/duckdb_load.py",
        "by name select *, strftime",
        "by name select distinct on (event_id) *, strftime",
        PROOF,
    ),
    Mutant(
        "a reload takes what is not loaded yet",
        "ingestion/loader.py",
        "        files = lake_table.snapshot(version).files(hour) if expected.rows else []\n",
        "        files = lake_table.snapshot().files(hour) if expected.rows else []\n"
        "        expected = sum(transaction.count(files).values(), Count()) if files else expected\n",
        PROOF,
    ),
    Mutant(
        "a reload does not delete",
        "ingestion/loader.py",
        "        transaction.delete_hour(hour)\n",
        "",
        PROOF,
    ),
    Mutant(
        "the log forgets what has not landed",
        "ingestion/broker/embedded.py",
        "select topic, partition, next_offset",
        "select topic, partition, 9999 + next_offset",
        PROOF,
    ),
    Mutant(
        "a member that died keeps its partitions",
        "ingestion/broker/members.py",
        "consumer_group = ? and abs(heard_at - ?) < ? order by member",
        "consumer_group = ? and ? is not ? order by member",
        "tests/ingestion/broker/test_embedded.py::test_a_member_keeps_its_part_until_its_lease_ends",
    ),
    Mutant(
        "a member that closes keeps its partitions",
        "ingestion/broker/embedded.py",
        "        if self._is_member:\n",
        "        if False:\n",
        "tests/ingestion/test_lander.py",
    ),
    Mutant(
        "a lander reads again what another has landed",
        "ingestion/lander.py",
        "            self._share, self._reached = share, {}\n",
        "            self._share = share\n",
        "tests/ingestion/test_lander.py",
    ),
    Mutant(
        "whoever lands once leaves the parts of others",
        "ingestion/lander.py",
        "        if self._whole:\n            return topic.partitions\n",
        "",
        "tests/ingestion/test_lander.py",
    ),
    Mutant(
        "a failed publish keeps what it had written",
        "ingestion/broker/embedded.py",
        'self._db.execute("rollback")',
        'self._db.execute("commit")',
        "tests/ingestion/broker",
    ),
    Mutant(
        "the collector answers before the log is durable",
        "ingestion/collector.py",
        "                await asyncio.wait_for(asyncio.shield(stored), self._timing.answer)\n",
        "                await asyncio.sleep(0)\n",
        "tests/ingestion/test_collector.py",
    ),
    Mutant(
        "a failed group is answered as stored",
        "ingestion/group_commit.py",
        "                future.set_exception(error)\n",
        "                future.set_result(None)\n",
        "tests/ingestion/test_collector.py tests/ingestion/test_group_commit.py",
    ),
    Mutant(
        "a rejected event is not kept",
        "ingestion/collector.py",
        "            await self._publish([_record(result) for result in results], share)\n",
        "            await self._publish([result for result in results if isinstance(result, Record)], share)\n",
        "tests/ingestion/test_collector.py",
    ),
    Mutant(
        "rejections are sent again without a claim",
        "ingestion/rejected.py",
        "    claims.append(\n",
        "    (lambda *_: None)(\n",
        "tests/ingestion/test_rejected.py",
    ),
    Mutant(
        "the log is not synced to the disk",
        "ingestion/broker/embedded.py",
        "pragma synchronous=full",
        "pragma synchronous=off",
        "tests/ingestion/broker",
    ),
    Mutant(
        "the audit trusts the checksum that landed",
        "ingestion/counting.py",
        "VALUE_CHECKSUM = \"('0x' || substr(coalesce(md5(kafka_value), md5(kafka_value_bytes)), 1, 15))::bigint\"",
        "VALUE_CHECKSUM = 'checksum'",
        "tests/ingestion/test_audit.py",
    ),
    Mutant(
        "the audit does not look for gaps",
        "ingestion/audit.py",
        "                if loaded.range.start != end:\n",
        "                if False:\n",
        "tests/ingestion/test_audit.py",
    ),
    *SHARED_MUTANTS,
    *MODEL_MUTANTS,
    *VIEW_MUTANTS,
    *VIEW_CHECK_MUTANTS,
    *DYNAMODB_MUTANTS,
    *KAFKA_MUTANTS,
    *REDSHIFT_MUTANTS,
)


def main(names: list[str]) -> int:
    """Plant the mutants whose names contain one of `names` (all by default); 1 where one survives."""
    chosen = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    survivors = []
    for mutant in chosen:
        caught = is_caught(mutant)
        print(f"{'caught  ' if caught else 'SURVIVED'}  {mutant.name}", flush=True)
        survivors += [] if caught else [mutant]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were caught")
    return 1 if survivors else 0


def is_caught(mutant: Mutant) -> bool:
    """Whether the mutant's tests fail in a copy of the tree that has the bug."""
    with tempfile.TemporaryDirectory(prefix="headrace-mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=GENERATED)
            else:
                shutil.copy(source, tree / name)
        if (ROOT / ".services").exists():
            (tree / ".services").symlink_to(ROOT / ".services")
        mutant.plant(tree)
        return _run(tree, mutant.tests) == 1


def _run(tree: Path, tests: str) -> int:
    """pytest's exit code: 0 all passed, 1 some failed, others are no verdict."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "HEADRACE_NO_SHRINK": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
