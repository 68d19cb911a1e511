"""How assets are cut: raw tables by landing hour, models by event date. Both include the hour and the day that run."""

import dagster as dg

from ingestion.contracts.clock import EARLIEST

HOUR_FORMAT = "%Y-%m-%d-%H"
"""As the lake writes a landing hour."""

HOURS = dg.HourlyPartitionsDefinition(start_date="2026-01-01-00", fmt=HOUR_FORMAT, end_offset=1)
"""Landing hours come from the log's clock; there is none before the first release."""

DATES = dg.DailyPartitionsDefinition(start_date=EARLIEST, end_offset=1)
"""Every event date that the contract admits."""
