"""Webhooks: how their signature is made, and the check that a receiver makes of it (as Standard Webhooks 1.0)."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

TOLERANCE_SECONDS = 300.0  # between the sender's clock and ours


def sign(secret: str, identifier: str, timestamp: str, body: bytes) -> str:
    """The value of webhook-signature."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float | None = None) -> bool:
    """Whether the body came from whom the secret is shared with, just now. `headers` in any case of letters."""
    given = {name.lower(): value for name, value in headers.items()}
    timestamp = given.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    expected = sign(secret, given.get("webhook-id", ""), timestamp, body)
    signatures = given.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures)
