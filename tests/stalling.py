"""A client that asks for much, and takes nothing of it."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping

import psutil

from tests.conftest import WAIT_SECONDS


async def taken_when_cut(port: int, path: str, headers: Mapping[str, str]) -> bytes:
    """Return what had come of the answer when this server closed the connection.

    Raises:
        TimeoutError: It did not.
    """
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        own_port = client.getsockname()[1]
        lines = [f"GET {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        client.sendall("\r\n".join([*lines, "", ""]).encode())

        def is_served() -> bool:
            connections = psutil.Process().net_connections("tcp")
            return any(one.raddr and one.raddr.port == own_port for one in connections)

        async with asyncio.timeout(WAIT_SECONDS):
            while not is_served():
                await asyncio.sleep(0.05)
            while is_served():
                await asyncio.sleep(0.05)
        client.settimeout(WAIT_SECONDS)
        taken = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(1_000_000):
                taken += data
    return taken
