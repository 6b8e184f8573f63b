"""Container logs, as the kubelet serves them through the API server."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiohttp import web

from tests.component.support import errors
from tests.component.support.audit import Request
from tests.component.support.clock import ServerClock, Signal, from_stamp
from tests.component.support.errors import Obj
from tests.component.support.rest import is_true


@dataclass(slots=True)
class PodLog:
    """The output of one container: (time, line with its line end). ``closed`` when it has ended."""

    lines: list[tuple[datetime, bytes]] = field(default_factory=list)
    closed: bool = False
    changed: Signal = field(default_factory=Signal)

    def write(self, moment: datetime, data: bytes) -> None:
        """Appends output, split into lines as the runtime does."""
        self.lines += [(moment, line) for line in data.splitlines(keepends=True)]
        self.changed.fire()

    def close(self) -> None:
        self.closed = True
        self.changed.fire()


def check_readable(pod: Obj) -> None:
    """Raises 400, with the kubelet's message, if the container has not run yet."""
    meta, status = pod["metadata"], pod.get("status", {})
    container = pod["spec"]["containers"][0]["name"]
    states = status.get("containerStatuses") or []
    state = states[0]["state"] if states else {"waiting": {"reason": "ContainerCreating"}}
    if not pod["spec"].get("nodeName"):
        raise errors.bad_request(f"pod {meta['name']} does not have a host assigned")
    if "waiting" in state:
        raise errors.bad_request(
            f'container "{container}" in pod "{meta["name"]}" is waiting to start: '
            f"{state['waiting'].get('reason', 'ContainerCreating')}"
        )


def _line(moment: datetime, line: bytes, *, timestamps: bool) -> bytes:
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode()
    return stamp + line if timestamps else line


def select(log: PodLog, query: dict[str, str], now: datetime) -> tuple[bytes, int]:
    """The requested bytes, and the number of log lines up to their end."""
    since = datetime.min.replace(tzinfo=now.tzinfo)
    if "sinceTime" in query:
        since = from_stamp(query["sinceTime"])
    elif "sinceSeconds" in query:
        since = now - timedelta(seconds=int(query["sinceSeconds"]))
    end = len(log.lines)
    chosen = [entry for entry in log.lines if entry[0] >= since]
    if "tailLines" in query:
        count = int(query["tailLines"])
        chosen = chosen[-count:] if count else []
    timestamps = is_true(query, "timestamps")
    data = b"".join(_line(moment, line, timestamps=timestamps) for moment, line in chosen)
    if "limitBytes" in query:
        data = data[: int(query["limitBytes"])]
    return data, end


async def stream(
    log: PodLog, request: Request, response: web.StreamResponse, clock: ServerClock
) -> None:
    """Writes the log. With ``follow``, also writes new lines until the container ends."""
    data, sent = select(log, request.query, clock.now())
    await response.write(data)
    timestamps = is_true(request.query, "timestamps")
    while is_true(request.query, "follow"):
        if sent < len(log.lines):
            new, sent = log.lines[sent:], len(log.lines)
            parts = [_line(moment, line, timestamps=timestamps) for moment, line in new]
            await response.write(b"".join(parts))
        elif log.closed:
            return
        else:
            await log.changed.wait()
