"""What is kept of an event that was refused for its content."""

import base64
import hashlib
from datetime import datetime

from msgspec.json import encode

from ingestion.contracts.json_text import ContentError
from ingestion.events import Rejection

KEPT_BYTES = 16 * 1024
MAX_ESCAPED_BYTES = 40 * 1024
"""A text whose escapes grow beyond this is kept as base64, so that a rejection always fits its own limits."""


def reject(
    error: ContentError,
    payload: bytes,
    *,
    source: str,
    contract: str,
    received_at: datetime,
    sent_at: datetime | None = None,
    whole_request: bool = False,
) -> Rejection:
    """The rejection of `payload`, with its first 16 KiB, its hash and its length."""
    kept, encoding = _as_text(payload[:KEPT_BYTES])
    return Rejection(
        code=error.code,
        message=_fit(error.message, 1024),
        field=_fit(error.field, 256) if error.field else None,
        received_at=received_at,
        sent_at=sent_at,
        source=source,
        contract=contract,
        payload=kept,
        payload_encoding=encoding,
        payload_bytes=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        whole_request=whole_request,
    )


def payload_of(rejection: Rejection) -> bytes | None:
    """What was sent, or None where only its beginning was kept."""
    if rejection.payload_bytes > KEPT_BYTES:
        return None
    if rejection.payload_encoding == "base64":
        return base64.b64decode(rejection.payload)
    return rejection.payload.encode()


def _as_text(payload: bytes) -> tuple[str, str]:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(encode(text)) > MAX_ESCAPED_BYTES:
        return base64.b64encode(payload).decode(), "base64"
    return text, "utf-8"


def _fit(text: str, max_bytes: int) -> str:
    return text.replace("\0", "␀").encode()[:max_bytes].decode(errors="ignore")
