"""Known bugs of the views; `tests/proof/mutants.py` plants them with the others."""

from tests.proof.mutant import Mutant

PROOF = "tests/proof/test_view_interleavings.py"
FACTS = "tests/ingestion/views/test_facts.py"
CONTRACT = "tests/ingestion/views/test_sqlite.py"

COUNTING = "tests/ingestion/views/test_product_counters.py"
COUNTER_PROOF = "tests/proof/test_counter_interleavings.py"
REPLACE = "            store.replace(NAME, key, recounted.version, rows)\n"

VIEW_MUTANTS = (
    Mutant(
        "counters are counted up",
        "ingestion/views/product_counters.py",
        REPLACE,
        "            before = {row.sort: row.item or {} for row in read_all(store, NAME, key)}\n"
        "            for row in rows:\n"
        "                for name in COUNTS:\n"
        "                    row.item[name] += before.get(row.sort, {}).get(name, 0)\n" + REPLACE,
        f"{COUNTING} {COUNTER_PROOF}",
    ),
    Mutant(
        "counters are upserted hour by hour",
        "ingestion/views/product_counters.py",
        REPLACE,
        "            store.upsert(NAME, rows)\n",
        f"{COUNTING} {COUNTER_PROOF}",
    ),
    Mutant(
        "the version of the counters is the wall clock",
        "ingestion/views/product_counters.py",
        REPLACE,
        "            import time\n\n            now = time.time_ns()\n"
        "            store.replace(NAME, key, now, [row._replace(version=now) for row in rows])\n",
        f"{COUNTING} {COUNTER_PROOF}",
    ),
    Mutant(
        "a product that lost its last counted event is not looked at",
        "ingestion/views/product_counters.py",
        "left join hours on",
        "inner join hours on",
        f"{COUNTING} {COUNTER_PROOF}",
    ),
    Mutant(
        "the dates beside a built one are not recounted",
        "ingestion/views/product_counters.py",
        "COPIES_REACH_DAYS = 1\n",
        "COPIES_REACH_DAYS = 0\n",
        f"{COUNTING} {COUNTER_PROOF}",
    ),
    Mutant(
        "a publication has no number of its own",
        "ingestion/warehouse/duckdb.py",
        '    db.execute("update headrace.load_lock set loads = loads + 1")\n    (number,)',
        "    (number,)",
        "tests/ingestion/warehouse/test_readers.py",
    ),
    Mutant(
        "a publication that failed is counted",
        "ingestion/warehouse/duckdb.py",
        '                db.execute("delete from headrace.published where load_seq = ?", [number])\n',
        "",
        "tests/ingestion/warehouse/test_readers.py",
    ),
    Mutant(
        "a publication does not say what it shows a build of",
        "orchestration/models.py",
        "publish(warehouse, dates)\n    if",
        "publish(warehouse, [])\n    if",
        "tests/orchestration/test_product_counters.py",
    ),
    Mutant(
        "a backfill of counters forgets what is pending",
        "orchestration/product_counters.py",
        "sorted({*dates_published(query, counted), *named})",
        "sorted(named)",
        "tests/orchestration/test_product_counters.py",
    ),
    Mutant(
        "a view of facts is filled where a listener keeps it up",
        "sensors/views_behind.py",
        "return found, broker.positions(group(view), found)\n",
        "return found, {}\n",
        "tests/sensors/test_views_behind.py",
    ),
    Mutant(
        "what a listener stopped in is not brought",
        "sensors/views_behind.py",
        "covered.end > behind.get(",
        "covered.start > behind.get(",
        "tests/sensors/test_views_behind.py",
    ),
    Mutant(
        "the listener's position is committed before the write",
        "ingestion/listener.py",
        "        heard.written.add((yield from write(self._store, view, events, self._lookups())))\n",
        "        self._broker.commit(group(view), topic, {partition: chunk.next_offset})\n"
        "        heard.written.add((yield from write(self._store, view, events, self._lookups())))\n",
        PROOF,
    ),
    Mutant(
        "the listener does not note its position",
        "ingestion/listener.py",
        "        self._broker.commit(group(view), topic, {chunk.partition: chunk.next_offset})\n",
        "",
        "tests/ingestion/test_listener.py",
    ),
    Mutant(
        "a recreated topic's position is taken from the one before",
        "ingestion/listener.py",
        "        if self._broker.topic(topic.name).id != topic.id:\n",
        "        if False:\n",
        "tests/ingestion/test_listener.py",
    ),
    Mutant(
        "a row's version is the wall clock",
        "ingestion/views/facts.py",
        "    return Row(key, sort, version, item, _expiry(event, days))\n",
        "    import time\n    return Row(key, sort, time.time_ns() // 1_000, item, _expiry(event, days))\n",
        f"tests/ingestion/views/test_products.py {PROOF}",
    ),
    Mutant(
        "the last write wins",
        "ingestion/views/sqlite.py",
        "where {RANK",
        "where true or {RANK",
        f"{CONTRACT} {PROOF}",
    ),
    Mutant(
        "tombstones are ignored",
        "ingestion/views/sqlite.py",
        "        if not entries:\n",
        "        entries = [entry for entry in entries if entry[4] is not None]\n        if not entries:\n",
        f"{CONTRACT} {PROOF}",
    ),
    Mutant(
        "a copy that does not count is left out and not buried",
        "ingestion/views/facts.py",
        "[*counting, *lost.values()]",
        "counting",
        f"{FACTS} {PROOF}",
    ),
    Mutant(
        "claims are read before they are written",
        "ingestion/views/facts.py",
        '    store.upsert(view.claims, claims)\n    yield "facts.claimed"\n    lost = _lost(store, view, claims)\n',
        '    lost = _lost(store, view, claims)\n    yield "facts.claimed"\n    store.upsert(view.claims, claims)\n',
        f"{FACTS} {PROOF}",
    ),
    Mutant(
        "the landing hour is part of a row's key",
        "ingestion/views/landed.py",
        "self.anonymous_id, self.device_us)",
        "self.anonymous_id, self.device_us, self.place[:8])",
        f"{FACTS} {PROOF}",
    ),
    Mutant(
        "copies are looked for on one date only",
        "ingestion/views/facts.py",
        "for near in (day - 1, day, day + 1))",
        "for near in (day,))",
        f"{FACTS} {PROOF}",
    ),
    Mutant(
        "a record that does not fit is in the view",
        "ingestion/views/landed.py",
        '    fitting = rows.filter(pc.is_null(rows.column("landing_error")))\n',
        "    fitting = rows\n",
        "tests/ingestion/views/test_landed.py",
    ),
    Mutant(
        "a summary is written row by row",
        "ingestion/views/sqlite.py",
        '                db.execute("delete from rows where view = ? and key = ?", [view, key])\n'
        '                db.executemany("insert into rows',
        '                db.executemany("insert or replace into rows',
        CONTRACT,
    ),
    Mutant(
        "a late summary replaces a newer one",
        "ingestion/views/sqlite.py",
        "            if head is None or (version, digest) > head:\n",
        "            if True:\n",
        CONTRACT,
    ),
    Mutant(
        "an expired row is read until it is deleted",
        "ingestion/views/sqlite.py",
        'READABLE = "item is not null and (expires_at is null or expires_at > ?)"',
        'READABLE = "item is not null and ? is not null"',
        CONTRACT,
    ),
    Mutant(
        "a claim expires with its row",
        "ingestion/views/facts.py",
        "CLAIM_OUTLIVES_DAYS = 2\n",
        "CLAIM_OUTLIVES_DAYS = 0\n",
        FACTS,
    ),
    Mutant(
        "a cart owes what was removed",
        "ingestion/views/open_cart.py",
        "max(0, quantities.get(product, 0) + change)",
        "quantities.get(product, 0) + change",
        "tests/ingestion/views/test_open_cart.py",
    ),
    Mutant(
        "a write key opens the views",
        "ingestion/keys.py",
        " if entry.scope == self._scope}",
        "}",
        "tests/ingestion/test_read_service.py",
    ),
    Mutant(
        "the log forgets what listeners have read and no lander",
        "ingestion/broker/embedded.py",
        "from positions where consumer_group = ?",
        "from positions where ? is not null",
        "tests/ingestion/broker/test_embedded.py",
    ),
    Mutant(
        "the audit does not see that a listener missed what retention took",
        "ingestion/listened.py",
        "            if reached < bounds.start:\n",
        "            if False:\n",
        "tests/ingestion/test_listened.py",
    ),
    Mutant(
        "the audit does not see that a listener is beyond the log's end",
        "ingestion/listened.py",
        "            elif reached > bounds.end:\n",
        "            elif False:\n",
        "tests/ingestion/test_listened.py",
    ),
    Mutant(
        "the views are not synced to the disk",
        "ingestion/views/sqlite.py",
        "pragma synchronous=full",
        "pragma synchronous=off",
        CONTRACT,
    ),
)
