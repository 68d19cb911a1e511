"""Known bugs of the views in DynamoDB; `tests/proof/mutants.py` plants them with the others."""

from tests.proof.mutant import Mutant

FACTS = "ingestion/views/dynamodb_facts.py"
SUMMARIES = "ingestion/views/dynamodb_summaries.py"
CONTRACT = "tests/ingestion/views/test_dynamodb.py"
FAULTS = "tests/ingestion/views/test_dynamodb_faults.py"

DYNAMODB_MUTANTS = (
    Mutant(
        "in DynamoDB the last write wins",
        FACTS,
        'WHERE "key" = ? AND "sort" = ? AND ({lower})\'',
        'WHERE "key" = ? AND "sort" = ? AND ({lower} OR "version" >= 0)\'',
        CONTRACT,
    ),
    Mutant(
        "in DynamoDB a tombstone does not stay over its own version",
        FACTS,
        """tie, tie_values = f'"item" IS NOT MISSING OR {sooner}', sooner_values""",
        "tie, tie_values = sooner, sooner_values",
        CONTRACT,
    ),
    Mutant(
        "a row that was written before is no reason to update it",
        FACTS,
        "        return Outcome.THERE\n",
        "        return Outcome.OUTRANKED\n",
        CONTRACT,
    ),
    Mutant(
        "a throttled statement counts as done",
        FACTS,
        "    return Outcome.UNTRIED\n",
        "    return Outcome.WRITTEN\n",
        FAULTS,
    ),
    Mutant(
        "what expired is shown until DynamoDB deletes it",
        "ingestion/views/dynamodb.py",
        "return row.expires_at is None or row.expires_at > int(self._clock())",
        "return True",
        CONTRACT,
    ),
    Mutant(
        "in DynamoDB a late summary replaces a newer one",
        SUMMARIES,
        "            ConditionExpression=NEWER,\n"
        '            ExpressionAttributeValues={":version": item["version"], ":digest": item["digest"]},\n',
        "",
        CONTRACT,
    ),
    Mutant(
        "a summary's head points to parts that come after it",
        SUMMARIES,
        "    for _ in pool.map(lambda name, text: _put_part(db, table, key, name, text), names, texts):\n        pass\n"
        "    current, has_garbage = _publish(db, table, key, head, packed)\n",
        "    current, has_garbage = _publish(db, table, key, head, packed)\n"
        "    for _ in pool.map(lambda name, text: _put_part(db, table, key, name, text), names, texts):\n"
        "        pass\n",
        CONTRACT,
    ),
    Mutant(
        "the sweep takes the parts that the head points to",
        SUMMARIES,
        '{"S": head.generation}},\n        ProjectionExpression',
        '{"S": head.generation + "~"}},\n        ProjectionExpression',
        CONTRACT,
    ),
    Mutant(
        "items that a sweep left unprocessed stay",
        SUMMARIES,
        '        while left := db.call("batch_write_item", RequestItems=left).get("UnprocessedItems", {}):\n',
        '        while db.call("batch_write_item", RequestItems=left).get("Unprocessed", {}):\n',
        FAULTS,
    ),
)
