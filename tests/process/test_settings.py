"""Servers whose settings are not as they can be."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.process.conftest import ServerProcess


@pytest.mark.parametrize(
    "setting",
    [
        'dialects = ["azure", "quinling"]',
        "max_sessions = 0",
        "retention_seconds = 'x'",
        "retention_seconds = float('inf')",
        "session_idle_timeout_seconds = float('nan')",
    ],
)
def test_a_wrong_setting_serves_nothing(
    start_server: Callable[..., ServerProcess], tmp_path: Path, setting: str
) -> None:
    """Neither the other settings nor the defaults are served; the server is, and it stops."""
    config = tmp_path / "home" / "config" / "jupyter_server_config.py"
    config.parent.mkdir(parents=True)
    config.write_text(f"c.ExecApp.{setting}\n")

    server = start_server()

    assert server.http.get("executions").status_code == 404
    assert server.http.get("qinling/v1/executions").status_code == 404
    api = httpx.get(f"{server.url}api/status", headers=dict(server.http.headers))
    assert api.status_code == 200
    assert setting.partition(" ")[0] in server.log
    assert "exec/ is not served" in server.log
    assert server.stop() < 10
