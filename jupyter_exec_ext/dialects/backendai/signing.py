"""Signed requests: a client proves that it has a secret key, and does not send it."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SCHEMES = ("backendai", "sorna")
"""What ``Authorization`` begins with, the second by clients of old."""

UNSENT_TYPE = "application/octet-stream"
"""What a client signs as the media type of a request that has none."""

_HASHES = ("SHA256", "SHA384", "SHA512")
_PARTS = re.compile(
    r"\w+\s+signMethod=HMAC-(?P<hash>\w+)\s*,\s*"
    r"credential=(?P<key>[^\s,]+):(?P<signature>[0-9a-fA-F]+)\s*",
    re.ASCII,
)
_VERSION = re.compile(r"v(?P<major>\d{1,3})\.\d{8}", re.ASCII)
_MIN_VERSION = 4


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What the header ``Authorization`` says.

    Attributes:
        hash_name: As `hashlib` calls it.
        access_key: Who signs; a name, and no secret unless the client made it one.
        signature: In hexadecimal digits.
    """

    hash_name: str
    access_key: str
    signature: str


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """What is signed of a request; its body is not.

    Attributes:
        uri: Path and query, as they were sent.
        host: Name and port, as they were sent.
        date_text: As it was sent.
        content_type: The media type alone.
    """

    method: str
    uri: str
    host: str
    date_text: str
    version: str
    content_type: str = UNSENT_TYPE

    def signature(self, secret: str, date: datetime, hash_name: str) -> str:
        """Return the signature that somebody who has *secret* makes."""
        lines = (
            self.method.upper(),
            self.uri,
            self.date_text,
            f"host:{self.host}",
            f"content-type:{self.content_type}",
            f"x-backendai-version:{self.version}",
            hashlib.new(hash_name, b"").hexdigest(),
        )
        key = secret.encode()
        for text in (date.strftime("%Y%m%d"), self.host):
            key = hmac.digest(key, text.encode(), hash_name)
        return hmac.digest(key, "\n".join(lines).encode(), hash_name).hex()

    def spellings(self, prefix: str, forwarded_host: str | None) -> Iterable["SignedRequest"]:
        """Yield the request as each kind of client signs it.

        Args:
            prefix: Where the service begins in the path. Some leave it out, and some take it for a
                part of the host.
            forwarded_host: The host that the client knows, behind a proxy that is trusted.
        """
        for host in (self.host, forwarded_host):
            if not host:
                continue
            yield replace(self, host=host)
            if prefix and self.uri.startswith(prefix):
                uri = self.uri.removeprefix(prefix)
                yield replace(self, host=host, uri=uri)
                yield replace(self, host=host + prefix, uri=uri)


def read_credential(header: str) -> Credential | None:
    """Return what *header* says; ``None`` when it is malformed, or names a hash that is refused."""
    found = _PARTS.fullmatch(header.strip())
    if found is None or found["hash"].upper() not in _HASHES:
        return None
    return Credential(
        hash_name=found["hash"].lower(),
        access_key=found["key"],
        signature=found["signature"].lower(),
    )


def read_date(text: str) -> datetime | None:
    """Return the moment of a request in its own offset; ``None`` when it is no date.

    It is in ISO 8601, as ``20160930T01:23:45Z`` too, or as in mail.
    """
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = read(text.strip())
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None


def is_recent(date: datetime, *, seconds: float) -> bool:
    """Whether *date* is no more than so many seconds ago, or ahead."""
    try:
        return abs(datetime.now(UTC) - date) <= timedelta(seconds=seconds)
    except OverflowError:
        return False


def is_version(text: str) -> bool:
    """Whether *text* is a version of the wire format that is understood."""
    found = _VERSION.fullmatch(text)
    return found is not None and int(found["major"]) >= _MIN_VERSION


def is_signed(
    requests: Iterable[SignedRequest], credential: Credential, date: datetime, secret: str
) -> bool:
    """Whether somebody who has *secret* signed one of *requests*.

    It takes as long whatever the signature is. An empty secret signs nothing.
    """
    if not secret:
        return False
    found = False
    for request in requests:
        right = request.signature(secret, date, credential.hash_name)
        found |= hmac.compare_digest(right, credential.signature)
    return found
