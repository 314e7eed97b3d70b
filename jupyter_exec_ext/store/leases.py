"""Which server process runs what: leases, and how the death of their holders shows.

A lease is dead when its process is gone. On the same host the process itself is asked, so that
neither a suspended laptop nor a changed clock makes a living server look dead. Elsewhere the
heartbeat tells, by the clock of the database where it has one.
"""

import contextlib
import os
import platform
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import BigInteger, Connection, Row, cast, delete, func, select

from jupyter_exec_ext.store.records import clean_text
from jupyter_exec_ext.store.tables import insert_into, leases

HEARTBEAT_LIMIT_SECONDS = 60
"""A lease of another host without a heartbeat for so long is dead."""

_START_TIME_TOLERANCE_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One server process; its lease says that what it runs is in good hands.

    Attributes:
        id: Differs for each start of a server.
        server_id: The same for each start: all that a server may see is scoped by it.
        host: Where the process can be asked for; see `host_name`.
        process_start_time: Seconds since 1970, as psutil tells it.
    """

    id: str
    server_id: str
    host: str
    pid: int
    process_start_time: float

    @classmethod
    def of_this_process(cls, server_id: str) -> "Instance":
        """Return a new instance for this process."""
        return cls(
            id=str(uuid.uuid4()),
            server_id=server_id,
            host=host_name(),
            pid=os.getpid(),
            process_start_time=psutil.Process().create_time(),
        )


def host_name() -> str:
    """Return a name shared by the processes that see each other's process ids, and by no others.

    Containers and cloned machines often share a host name; Linux tells them apart by machine and
    by process namespace.
    """
    machine, namespace = "", ""
    with contextlib.suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
    with contextlib.suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{platform.node()}/{machine}/{namespace}"


def is_running(pid: int, process_start_time: float) -> bool:
    """Return whether the process of this host with *pid* is the one that started then."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        difference: float = abs(process.create_time() - process_start_time)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return difference <= _START_TIME_TOLERANCE_SECONDS


class Leases:
    """The leases of one server's processes, seen by one of them."""

    def __init__(
        self, instance: Instance, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._instance = instance
        self._monotonic = monotonic
        self._id = clean_text(instance.id)
        self._server_id = clean_text(instance.server_id)
        self._seen: dict[str, tuple[int, float]] = {}

    def renew(self, connection: Connection) -> None:
        """Write this instance's lease, or its next heartbeat."""
        values = {
            "server_id": self._server_id,
            "host": clean_text(self._instance.host),
            "pid": self._instance.pid,
            "process_start_time": self._instance.process_start_time,
            "heartbeat_time": _now(connection),
        }
        connection.execute(
            insert_into(connection, leases)
            .values(instance_id=self._id, **values)
            .on_conflict_do_update(index_elements=["instance_id"], set_=values)
        )

    def remove(self, connection: Connection) -> None:
        """Give up this instance's lease."""
        connection.execute(delete(leases).where(leases.c.instance_id == self._id))

    def living(self, connection: Connection) -> set[str]:
        """Return the ids of this server's instances that are alive, this one always included."""
        now = _now(connection)
        rows = connection.execute(select(leases).where(leases.c.server_id == self._server_id))
        return {self._id} | {row.instance_id for row in rows if self._is_alive(row, now)}

    def drop_dead(self, connection: Connection) -> None:
        """Remove the leases of dead instances and forget when they were seen."""
        living = self.living(connection)
        connection.execute(
            delete(leases).where(
                leases.c.server_id == self._server_id, leases.c.instance_id.not_in(living)
            )
        )
        self._seen = {key: seen for key, seen in self._seen.items() if key in living}

    def owns(self, connection: Connection, holder: str) -> bool:
        """Return whether this instance may change what *holder* runs: its own, or a dead one's."""
        return holder == self._id or holder not in self.living(connection)

    def _is_alive(self, lease: Row[tuple[object, ...]], now: int) -> bool:
        try:
            return self._shows_life(lease, now)
        except (TypeError, ValueError, OverflowError):
            return False  # A damaged row, which no living instance has written.

    def _shows_life(self, lease: Row[tuple[object, ...]], now: int) -> bool:
        if lease.host == clean_text(self._instance.host):
            return is_running(lease.pid, lease.process_start_time)
        if now - lease.heartbeat_time > HEARTBEAT_LIMIT_SECONDS * 1_000_000:
            return False
        # A heartbeat from the future, of a clock that was wrong, must not live on until then.
        moment = self._monotonic()
        heartbeat, since = self._seen.get(lease.instance_id, (None, moment))
        if heartbeat != lease.heartbeat_time:
            since = moment
        self._seen[lease.instance_id] = (lease.heartbeat_time, since)
        return moment - since <= HEARTBEAT_LIMIT_SECONDS


def _now(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        microseconds = func.extract("epoch", func.clock_timestamp()) * 1_000_000
        return connection.scalar(select(cast(microseconds, BigInteger))) or 0
    return time.time_ns() // 1_000
