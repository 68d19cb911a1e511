"""How long a table may go without a run that made it.

`nightly_replay` loads every raw table again, rows or none, and with them the event dates of the last two days: so a
table that no run made for 30 hours says that Headrace stands still. A quiet night of the shop leaves it fresh; the
marts turn red only where nothing at all landed for three days.
"""

from datetime import timedelta

import dagster as dg

LATE, STALE = timedelta(hours=25), timedelta(hours=30)
POLICY = dg.FreshnessPolicy.time_window(fail_window=STALE, warn_window=LATE)


def keep_fresh(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Raw tables and marts have the policy; views and what lies between are as fresh as the marts."""
    is_kept = spec.key.path[0] == "raw" or spec.group_name == "marts"
    return spec.replace_attributes(freshness_policy=POLICY) if is_kept else spec
