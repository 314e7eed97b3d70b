"""A program that speaks to DataSphere as the public REST clients do, with all of their habits.

It repeats whatever is not answered with 2xx, relies on fields without asking whether they are
there, sends the parameters of a list in the body of a GET and the address of operations has no
service in it.
"""

import time
from collections.abc import Callable
from typing import Any

import httpx

TRIES = 10


class RestClient:
    """Calls version 1, as the client that runs notebooks does.

    Attributes:
        requests: How many were sent.
    """

    def __init__(self, endpoint: str, token: str) -> None:
        self._projects = f"{endpoint}/datasphere/v1/projects"
        self._operations = f"{endpoint}/operations"
        self._headers = {"Authorization": f"Bearer {token}"}
        self.requests = 0

    def projects(self) -> dict[str, str]:
        """Return the ids of all projects by name."""
        body: dict[str, Any] = {"folderId": "b1g0000000000", "pageSize": 1}
        found: dict[str, str] = {}
        while True:
            code, data = self._tried(
                lambda: httpx.request("GET", self._projects, json=body, headers=self._headers)
            )
            assert code == 200
            found |= {project["name"]: project["id"] for project in data["projects"]}
            token = data.get("nextPageToken")
            if token is None:
                return found
            body["pageToken"] = token

    def notebook(self, project_id: str, path: str) -> dict[str, Any]:
        """Return the metadata of a notebook; the path is put into the address as it is."""
        where = f"{self._projects}/{project_id}:notebookMetadata?notebookPath={path}"
        return self._tried(lambda: httpx.get(where, headers=self._headers))[1]

    def execute(
        self, project_id: str, inputs: dict[str, Any], outputs: list[str], **target: str
    ) -> dict[str, Any]:
        """Run and wait; return the operation that is done."""
        body = {"inputVariables": inputs, "outputVariableNames": outputs, **target}
        code, data = self.start(project_id, body)
        assert code == 200
        status = self.status(data["id"])
        while not status["done"]:
            time.sleep(0.1)
            status = self.status(data["id"])
        error = status.get("error")
        if error is not None:
            raise ValueError(error["message"])
        return status

    def start(self, project_id: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Run, and return at once."""
        where = f"{self._projects}/{project_id}:execute"
        return self._tried(lambda: httpx.post(where, json=body, headers=self._headers))

    def status(self, operation_id: str) -> dict[str, Any]:
        """Return an operation as it is."""
        answer = httpx.get(f"{self._operations}/{operation_id}", headers=self._headers)
        answer.raise_for_status()
        return dict(answer.json())

    def cancel(self, operation_id: str) -> dict[str, Any]:
        """Cancel with a GET, as the API reference has it."""
        where = f"{self._operations}/{operation_id}:cancel"
        return self._tried(lambda: httpx.get(where, headers=self._headers))[1]

    def state(self, project_id: str, notebook_id: str, names: list[str]) -> dict[str, Any]:
        """Return the values of variables."""
        where = f"{self._projects}/{project_id}:stateVariables"
        body = {"notebookId": notebook_id, "variableNames": names}
        call = self._tried(lambda: httpx.request("GET", where, json=body, headers=self._headers))
        return dict(call[1]["variables"])

    def _tried(self, call: Callable[[], httpx.Response]) -> tuple[int, dict[str, Any]]:
        for _ in range(TRIES):
            self.requests += 1
            answer = call()
            if 200 <= answer.status_code < 300:
                return answer.status_code, answer.json()
        return 500, {}
