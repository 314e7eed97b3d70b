"""A JupyterHub with its proxy, whose users' servers have the extension."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

PROXY = "configurable-http-proxy@5"
INSTALL_SECONDS = 240
START_SECONDS = 60

CONFIG = """
c.JupyterHub.bind_url = "http://127.0.0.1:{ports[0]}/base/"
c.JupyterHub.hub_port = {ports[1]}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{ports[2]}"
c.ConfigurableHTTPProxy.command = ["node", {proxy!r}]
c.JupyterHub.db_url = "sqlite:///{home}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{home}/cookie_secret"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{home}/{{username}}"
c.Spawner.cmd = [{python!r}, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root", "--debug"]
c.Spawner.env_keep = ["PATH", "PYTHONPATH", "LANG"]
c.JupyterHub.services = [{{"name": "tests", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [{{
    "name": "tests", "services": ["tests"], "scopes": ["admin:users", "admin:servers", "tokens"],
}}]
"""


def installed_proxy(config: pytest.Config) -> Path:
    """Return the script of the hub's proxy, of which pytest's cache keeps a copy; or skip."""
    assert config.cache is not None
    folder = Path(config.cache.mkdir("proxy"))
    script = folder / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    if script.exists():
        return script
    unique = folder / secrets.token_hex(4)
    options = ["--silent", "--no-audit", "--no-fund", "--prefix", str(unique)]
    command = ["npm", "install", *options, PROXY]
    try:
        unique.mkdir()
        subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True)
        with contextlib.suppress(OSError):
            (unique / "node_modules").rename(folder / "node_modules")
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{PROXY} cannot be installed: {error}")
    finally:
        shutil.rmtree(unique, ignore_errors=True)
    return script


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Hub:
    """A hub in processes of its own; `close` ends them all."""

    def __init__(self, home: Path, proxy: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        ports, token = free_ports(3), secrets.token_hex()
        config_path = home / "jupyterhub_config.py"
        config_path.write_text(
            CONFIG.format(
                ports=ports, home=home, proxy=str(proxy), python=sys.executable, token=token
            )
        )
        self.log_path = home / "hub.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", config_path],
                env={**os.environ, "HOME": str(home), "PYTHONWARNINGS": "default"},
                cwd=home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = f"http://127.0.0.1:{ports[0]}/base/"
        self._api = httpx.Client(
            base_url=f"{self.url}hub/api/", headers={"Authorization": f"token {token}"}, timeout=60
        )
        self._wait_for(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self._api.get("users").is_success
        return False

    def _wait_for(self, is_true: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_true():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the hub did not start:\n{self.log}")
            time.sleep(0.1)

    @property
    def log(self) -> str:
        """What hub, proxy and servers logged."""
        return self.log_path.read_text(errors="replace")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the hub as its administrator; return the JSON of the answer, ``None`` without."""
        answer = self._api.request(method, path, json=body)
        assert answer.is_success, answer.text
        return json.loads(answer.text) if answer.text else None

    def start_server(self, user: str) -> str:
        """Make *user*, start the server; return the URL of the service, as users know it."""
        self.call("POST", f"users/{user}")
        self.call("POST", f"users/{user}/server")
        self._wait_for(lambda: self.call("GET", f"users/{user}")["servers"].get("", {})["ready"])
        return f"{self.url}user/{user}/exec/"

    def servers(self) -> list[psutil.Process]:
        """Return the processes below the hub: the servers of users, and the proxy."""
        return psutil.Process(self.process.pid).children()

    def token_of(self, user: str, *scopes: str) -> str:
        """Return a new token of *user*, for everything unless it is for some *scopes* only."""
        body = {"scopes": scopes} if scopes else {}
        token: str = self.call("POST", f"users/{user}/tokens", body)["token"]
        return token

    def close(self) -> None:
        """End the hub, its proxy and all servers."""
        self._api.close()
        hub = psutil.Process(self.process.pid)
        processes = [hub, *hub.children(recursive=True)]
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
