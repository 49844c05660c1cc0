"""Jobs for the command line: through the running gateway, else straight in the store. Both give the API's objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from hermes.cli.context import Call, open_store
from hermes.cli.gateway_client import GatewayClient, gateway_client
from hermes.core.errors import HermesError, InvalidInput, NotFound
from hermes.core.job import Job
from hermes.core.key import OWNER

if TYPE_CHECKING:
    from hermes.home.paths import Home
    from hermes.jobs.definition import Rules
    from hermes.store.database import Database

Fields = Mapping[str, Any]
Object = dict[str, Any]


class JobBackend(Protocol):
    def all(self) -> list[Object]: ...

    def create(self, fields: Fields) -> Object: ...

    def change(self, job_id: str, fields: Fields) -> Object: ...

    def pause(self, job_id: str) -> Object: ...

    def resume(self, job_id: str) -> Object: ...

    def remove(self, job_id: str) -> None: ...

    def runs(self, job_id: str, limit: int, *, is_whole: bool) -> list[Object]: ...

    def run(self, job_id: str) -> Object:
        """`run_id` and `session_id`."""
        ...


@contextmanager
def jobs_of(call: Call, home: Home) -> Iterator[JobBackend]:
    """Raises ConfigError where there is no home."""
    client = gateway_client(home, call.environ)
    if client is not None:
        yield ThroughGateway(client)
        return
    with open_store(call, home) as database:
        yield InStore(database, _rules(call, home), _how_to_run(home))


def find(jobs: JobBackend, wanted: str) -> Object:
    """By id, or by a name that only one has. Raises NotFound or InvalidInput."""
    everything = jobs.all()
    by_id = [job for job in everything if job["id"] == wanted]
    found = by_id or [job for job in everything if job["name"].casefold() == wanted.casefold()]
    if not found:
        raise NotFound(f"no job {wanted!r}; list them with: hermes cron list --all", code="job_not_found")
    if len(found) > 1:
        ids = ", ".join(job["id"] for job in found)
        raise InvalidInput(f"{len(found)} jobs are called {wanted!r}; name one by its id: {ids}")
    return found[0]


@dataclass(frozen=True, slots=True)
class ThroughGateway:
    client: GatewayClient

    def all(self) -> list[Object]:
        found: list[Object] = self.client.get("/api/jobs", {"include_disabled": "true"})["jobs"]
        return found

    def create(self, fields: Fields) -> Object:
        return self._job("POST", "/api/jobs", fields)

    def change(self, job_id: str, fields: Fields) -> Object:
        return self._job("PATCH", f"/api/jobs/{job_id}", fields)

    def pause(self, job_id: str) -> Object:
        return self._job("POST", f"/api/jobs/{job_id}/pause")

    def resume(self, job_id: str) -> Object:
        return self._job("POST", f"/api/jobs/{job_id}/resume")

    def remove(self, job_id: str) -> None:
        self.client.call("DELETE", f"/api/jobs/{job_id}")

    def runs(self, job_id: str, limit: int, *, is_whole: bool) -> list[Object]:
        query = {"limit": limit, "full_output": str(is_whole).lower()}
        found: list[Object] = self.client.get(f"/api/jobs/{job_id}/runs", query)["runs"]
        return found

    def run(self, job_id: str) -> Object:
        started: Object = self.client.post(f"/api/jobs/{job_id}/run")
        return started

    def _job(self, method: str, path: str, body: Fields | None = None) -> Object:
        job: Object = self.client.call(method, path, None if body is None else dict(body))["job"]
        return job


@dataclass(frozen=True, slots=True)
class InStore:
    """As the owner, who has the machine. A gateway without the API notices a change within some seconds."""

    database: Database
    rules: Rules
    how_to_run: str

    def all(self) -> list[Object]:
        from hermes.jobs.kept import with_last_runs
        from hermes.jobs.objects import job_object

        found = self.database.read_now(partial(with_last_runs, owner=OWNER, include_disabled=True))
        return [job_object(job, last) for job, last in found]

    def create(self, fields: Fields) -> Object:
        from hermes.jobs.definition import new_job
        from hermes.jobs.kept import keep_new

        job = new_job(fields, OWNER, time.time(), self.rules)
        self._check_url(job.deliver)
        self.database.write_now(keep_new, job)
        return self._shown(job.id)

    def change(self, job_id: str, fields: Fields) -> Object:
        from hermes.jobs.definition import changed

        if isinstance(fields.get("deliver"), str):
            self._check_url(fields["deliver"])
        return self._changed(job_id, lambda job: changed(job, fields, time.time(), self.rules))

    def pause(self, job_id: str) -> Object:
        from hermes.jobs.definition import paused

        return self._changed(job_id, lambda job: paused(job, time.time()))

    def resume(self, job_id: str) -> Object:
        from hermes.jobs.definition import resumed

        return self._changed(job_id, lambda job: resumed(job, time.time()))

    def remove(self, job_id: str) -> None:
        from hermes.store import jobs as job_store

        self.database.write_now(job_store.delete, job_id, OWNER)

    def runs(self, job_id: str, limit: int, *, is_whole: bool) -> list[Object]:
        from hermes.jobs.objects import job_run_object
        from hermes.store import jobs as job_store

        job = self.database.read_now(job_store.owned, job_id, OWNER)
        found = self.database.read_now(job_store.runs_of, job_id, limit)
        return [job_run_object(job, entry, is_whole=is_whole) for entry in found]

    def run(self, job_id: str) -> Object:
        raise HermesError(self.how_to_run, code="gateway_not_running")

    def _changed(self, job_id: str, function: Callable[[Job], Job]) -> Object:
        from hermes.jobs.kept import keep_change

        self.database.write_now(keep_change, job_id, OWNER, function)
        return self._shown(job_id)

    def _shown(self, job_id: str) -> Object:
        from hermes.jobs.kept import with_last_run
        from hermes.jobs.objects import job_object

        return job_object(*self.database.read_now(with_last_run, job_id, OWNER))

    def _check_url(self, deliver: str) -> None:
        """What can be said without the network; the gateway looks again before it sends."""
        from hermes.core.addresses import AddressRefused, split_url

        kind, _, url = deliver.strip().partition(":")
        if kind == "webhook":
            try:
                split_url(url, ("http", "https"))
            except AddressRefused as error:
                raise InvalidInput(f"deliver: {error.message}", code="invalid_delivery", param="deliver") from error


def _how_to_run(home: Home) -> str:
    from hermes.home.locks import running_gateway

    if running_gateway(home.pid_file) is None:
        return f"a job runs in the gateway, and it does not run; start it with: {home.command} gateway start"
    return (
        "the gateway takes no calls: its API is off. Let the job's schedule run it, or switch the API on with: "
        f"{home.command} config set API_SERVER_ENABLED true, and {home.command} gateway restart"
    )


def _rules(call: Call, home: Home) -> Rules:
    from hermes.home.settings import load_settings
    from hermes.jobs.definition import rules_of

    settings = load_settings(home, call.environ, is_lenient=True)
    own_name = settings.api_server.model_name or (home.name if home.is_profile else "hermes-agent")
    return rules_of(settings, ("hermes-agent", own_name), call.environ)
