"""How requests of the HTTP bridge are signed, for both ends.

`Makegood-Timestamp` is the time in s since 1970; `Makegood-Signature` is `v1=` and the HMAC-SHA256,
in hex, of `TIMESTAMP.METHOD.TARGET.` and the body, where TARGET is the path with its query as sent.
"""

import hashlib
import hmac
from typing import Final

TIMESTAMP: Final = "Makegood-Timestamp"
SIGNATURE: Final = "Makegood-Signature"

MAX_AGE_S: Final = 300


def sign(secret: bytes, timestamp_s: int, method: str, target: str, body: bytes) -> str:
    """The value of `Makegood-Signature`."""
    signed = f"{timestamp_s}.{method}.{target}.".encode() + body
    return "v1=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()


def is_signed(
    secret: bytes,
    timestamp: str,
    signature: str,
    method: str,
    target: str,
    body: bytes,
    now_s: float,
) -> bool:
    """Whether a request with these headers is the bridge's own, and at most 5 minutes old."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        return False
    if abs(now_s - int(timestamp)) > MAX_AGE_S:
        return False
    expected = sign(secret, int(timestamp), method, target, body)
    return hmac.compare_digest(expected.encode(), signature.encode())
