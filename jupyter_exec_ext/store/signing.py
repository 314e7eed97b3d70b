"""Signatures on rows: they show that this server wrote a row, not another user of its database.

What this server runs or removes because a row requires it must carry such a signature. The keys
are never in the database.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

MIN_KEY_LENGTH = 32
"""Shortest key, in characters. A generated one has 64: 32 random bytes in hexadecimal digits."""

_MAX_FILE_BYTES = 64 * 1024


class Signer:
    """Signs rows with the first of its keys and accepts signatures of all of them.

    Args:
        keys: At least one. A key that is replaced stays behind the new one until nothing waits
            that was signed with it.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode("utf-8", "surrogateescape") for key in keys]

    def sign(self, kind: str, *parts: str | bytes) -> bytes:
        """Return the signature of a row: of its kind, and of its columns in a fixed order."""
        return _digest(self._keys[0], kind, parts)

    def has_signed(self, signature: bytes | None, kind: str, *parts: str | bytes) -> bool:
        """Return whether *signature* is that of a row with these parts."""
        return signature is not None and any(
            hmac.compare_digest(signature, _digest(key, kind, parts)) for key in self._keys
        )


def _digest(key: bytes, kind: str, parts: Sequence[str | bytes]) -> bytes:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in (kind, *parts):
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        mac.update(len(data).to_bytes(8))
        mac.update(data)
    return mac.digest()


def new_key() -> str:
    """Return a random key."""
    return secrets.token_hex(32)


def split_keys(text: str) -> list[str]:
    """Return the keys in *text*, which whitespace separates.

    Raises:
        ValueError: There is none, or one is too short. The message does not repeat it.
    """
    keys = text.split()
    if not keys:
        raise ValueError("the signing key is empty")
    if min(map(len, keys)) < MIN_KEY_LENGTH:
        raise ValueError(f"a key must have at least {MIN_KEY_LENGTH} characters")
    return keys


def keys_in_file(path: Path) -> list[str]:
    """Return the keys in the file at *path*, which is made with a new one if it is missing.

    Of several processes that make it at once all get the same key. Only its owner may read it.

    Raises:
        OSError: It can be neither read nor made.
        ValueError: The file does not have a key of enough characters.
    """
    try:
        return _read_keys(path)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{new_key()}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a renaming, never replaces the file that another process has just made.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    return _read_keys(path)


def _read_keys(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        text = file.read(_MAX_FILE_BYTES)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):
            path.chmod(0o600)
    return split_keys(text)
