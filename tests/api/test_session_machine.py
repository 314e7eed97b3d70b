"""Any order of requests on one session: nothing is lost, doubled, overtaken or taken back."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jupyter_exec_ext.services.announcer import EXECUTION_SCHEMA_ID
from tests.conftest import FINAL, Answer, ExecApi

Record = dict[str, Any]

CODES = ("quick", "!sleep 60", "!sleep 0.02", "!ask for a name", "!fail here", "!die", "!ignore 60")
WHICH = st.integers(min_value=0, max_value=1_000)
OK = (200, 202, 204)


class Requests:
    """The requests of one client on the session with one name, and what it knows of them."""

    def __init__(self, exec_api: ExecApi, kernel_name: str, name: str) -> None:
        self._api = exec_api
        self._kernel_name = kernel_name
        self._name = name
        self.accepted: list[Record] = []
        self.deleted: set[str] = set()
        self.finals: dict[str, Record] = {}

    async def submit(self, code: str, **fields: Any) -> None:
        """Submit code; whether it is refused is for the session to say."""
        body = {
            "code": f"{code} #{len(self.accepted)}" if code[0] != "!" else code,
            "session_name": self._name,
            "kernel_name": self._kernel_name,
            **fields,
        }
        answer = await self._api.request("POST", "executions", json=body)
        assert answer.status == 202 or answer.json["code"] == "SessionBusy", answer.body
        if answer.status == 202:
            self.accepted.append(answer.json)

    async def on_execution(self, which: int, method: str, *what: str, **kwargs: Any) -> Answer:
        """Send a request on one of the executions, which a deleted one does not know."""
        record = self.accepted[which % len(self.accepted)]
        answer = await self._api.request(method, "executions", record["id"], *what, **kwargs)
        if record["id"] in self.deleted:
            assert answer.status == 404, answer.body
        elif method == "DELETE" and answer.status == 204:
            self.deleted.add(record["id"])
        else:
            assert answer.status in OK or answer.json["code"] in ("NotFinal", "NoInputRequest")
        return answer

    async def on_session(self, method: str, *what: str) -> None:
        """Send a request on the session, if there is one."""
        found = await self._api.request("GET", "sessions", params={"name": self._name})
        for session in found.json["sessions"]:
            answer = await self._api.request(method, "sessions", session["id"], *what)
            assert answer.status in OK, answer.body

    async def look(self) -> None:
        """Look at all executions: what was final is as it was."""
        for record in self.accepted:
            if record["id"] not in self.deleted:
                shown = await self._api.get(record)
                assert self.finals.get(record["id"], shown) == shown
                if shown["state"] in FINAL:
                    self.finals[record["id"]] = shown

    async def end(self, told: list[Record]) -> None:
        """End the session: then all that was accepted is final, once, and in order."""
        await self.on_session("DELETE")
        await self.look()
        listed = await self._api.request("GET", "executions", params={"page_size": 1000})
        kept = [record["id"] for record in self.accepted if record["id"] not in self.deleted]
        mine = {record["id"] for record in self.accepted}
        assert {r["id"] for r in listed.json["executions"] if r["id"] in mine} == set(kept)
        assert set(self.finals) >= set(kept)
        for record in self.accepted:
            states = [t["state"] for t in told if t["execution_id"] == record["id"]]
            assert [state for state in states if state in FINAL] == states[-1:], states
        finals = [self.finals[execution_id] for execution_id in kept]
        starts = [record["start_time"] for record in finals if record["started"]]
        assert starts == sorted(starts)
        for record in finals:
            code = record["source"]["code"]
            if record["state"] == "succeeded":
                assert record["result"]["stdout"].split("\n")[0] == code
            else:
                assert record["result"]["stdout"] in ("", f"{code}\n")


class SessionMachine(RuleBasedStateMachine):
    """What clients do to one session, in any order."""

    requests: Requests
    loop: asyncio.AbstractEventLoop

    def has_executions(self) -> bool:
        return bool(self.requests.accepted)

    def do(self, coroutine: Any) -> None:
        self.loop.run_until_complete(coroutine)

    @rule(
        code=st.sampled_from(CODES),
        on_busy=st.sampled_from(["queue", "queue", "queue", "reject"]),
        on_kernel_death=st.sampled_from(["fail", "continue"]),
    )
    def submit(self, code: str, **fields: str) -> None:
        self.do(self.requests.submit(code, **fields))

    @precondition(has_executions)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        self.do(self.requests.on_execution(which, "POST", "cancel", body=""))

    @precondition(has_executions)
    @rule(which=WHICH, force=st.booleans())
    def delete(self, which: int, force: bool) -> None:
        params = {"force": str(force).lower()}
        self.do(self.requests.on_execution(which, "DELETE", params=params))

    @precondition(has_executions)
    @rule(which=WHICH)
    def answer(self, which: int) -> None:
        self.do(self.requests.on_execution(which, "POST", "input", json={"value": "Ada"}))

    @precondition(has_executions)
    @rule(which=WHICH)
    def wait(self, which: int) -> None:
        self.do(self.requests.on_execution(which, "GET", params={"wait": "0.1"}))

    @rule(what=st.sampled_from(["interrupt", "restart"]))
    def disturb(self, what: str) -> None:
        self.do(self.requests.on_session("POST", what))

    @rule()
    def end_session(self) -> None:
        self.do(self.requests.on_session("DELETE"))

    @invariant()
    def final_states_stay(self) -> None:
        self.do(self.requests.look())


@pytest.mark.parametrize("exec_config", [{"interrupt_grace_seconds": 0.2}], ids=["impatient"])
def test_requests_in_any_order_lose_nothing(
    exec_api: ExecApi,
    exec_app: Any,
    echo_kernel_name: str,
    jp_asyncio_loop: asyncio.AbstractEventLoop,
) -> None:
    """What was accepted has one final state for ever, none is answered 5xx, the order is kept."""
    told: list[Record] = []

    async def listen(logger: Any, schema_id: str, data: Record) -> None:
        told.append(data)

    exec_app.serverapp.event_logger.add_listener(schema_id=EXECUTION_SCHEMA_ID, listener=listen)
    names = iter(range(1_000))

    class Machine(SessionMachine):
        loop = jp_asyncio_loop

        def __init__(self) -> None:
            super().__init__()
            self.requests = Requests(exec_api, echo_kernel_name, f"s{next(names)}")

        def teardown(self) -> None:
            self.do(self.requests.end(told))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
