"""Tells whether two requests with one idempotency key are the same request."""

import hashlib
import hmac
import secrets
from dataclasses import asdict

import msgspec

from jupyter_exec_ext.core.models import NewExecution


class Fingerprints:
    """Makes and compares fingerprints of requests.

    The values of inputs and prepared answers are in a fingerprint only under a key that this
    process made and keeps to itself, so that nobody can find a stored value out by trying. After
    a restart they are therefore not compared, and all else is.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._key_name = secrets.token_hex(8)

    def of(self, new: NewExecution) -> str:
        """Return the fingerprint of a request."""
        fields = asdict(new)
        inputs, answers = fields.pop("inputs"), fields.pop("stdin")
        fields["input_names"] = sorted(inputs)
        fields["stdin_count"] = None if answers is None else len(answers)
        plain = hashlib.sha256(_canonical(fields)).hexdigest()
        mac = hmac.digest(self._key, _canonical([inputs, answers]), "sha256").hex()
        return f"{plain} {self._key_name} {mac}"

    def is_same(self, one: str, other: str) -> bool:
        """Whether two fingerprints are of the same request, as far as can be told."""
        plain, key_name, mac = one.split()
        other_plain, other_key_name, other_mac = other.split()
        return plain == other_plain and (key_name != other_key_name or mac == other_mac)


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")
