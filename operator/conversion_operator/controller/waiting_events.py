"""Warning Events for what a conversion waits for, with what to do about it.

A reason that concerns one conversion, such as ImagePullFailed, has one Event on the ConversionJob.
Only conversions that have a Job have such a reason, so there are few. Any number of conversions can
share a reason such as ClaimMissing. It has one Event on the object that causes it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.reasons import REASONS, Reason
from conversion_operator.api.status import ConversionJobStatus, Phase
from conversion_operator.cluster.objects import Event
from conversion_operator.core.model import Conversion, Key, Policy
from conversion_operator.core.text import head

SHARED_SECONDS: Final = 300.0
"""For so long after an Event about a shared cause, there is no further one."""

CAUSES_OF_NAMESPACE: Final = 10
"""The most causes of one reason that get an Event in that time. Users choose the names of missing
objects, so there may be thousands of causes."""

NAMESPACES: Final = 1000
"""For how many namespaces and reasons the causes are remembered."""

_CLAIM: Final = "PersistentVolumeClaim"
_OWN: Final = frozenset(
    {
        Reason.IMAGE_PULL_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.VOLUME_NOT_READY,
        Reason.CONTAINER_CONFIG_ERROR,
        Reason.JOB_SUSPENDED,
        Reason.JOB_NAME_TAKEN,
        Reason.NODE_UNREACHABLE,
    }
)
_SHARED: Final = frozenset(
    {
        Reason.PAUSED,
        Reason.CLAIM_MISSING,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_REJECTED,
        Reason.QUEUE_MISSING,
        Reason.PROFILE_MISSING,
        Reason.PROFILE_UNREADABLE,
        Reason.UNSUPPORTED_FIELD,
    }
)
_MESSAGE_MAX_BYTES: Final = 1024
_PLACEHOLDER: Final = re.compile(r"\b(NAMESPACE|OPERATOR_NAMESPACE|NAME|POD|NODE|JOB)\b")


class WaitingEvents:
    """Finds the Events. It remembers which shared causes were told.

    ``namespace`` is the namespace of the operator, and ``settings`` returns the key of the
    ConfigMap with its settings. None: it was not read yet.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        namespace: str,
        settings: Callable[[], Key | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._clock = policy, clock
        self._namespace, self._settings = namespace, settings
        self._told: dict[tuple[str, str], dict[Key, float]] = {}

    def find(self, conversion: Conversion, stored: ConversionJobStatus) -> Event | None:
        """The Event to post if ``stored`` is the first status with a reason that needs one."""
        if conversion.status and conversion.status.reason == stored.reason:
            return None
        if stored.phase.terminal or stored.phase is Phase.PENDING:  # these have Events of their own
            return None
        if stored.reason in _OWN:
            # The name keeps the next leader from posting the same Event again.
            name = f"{conversion.key.uid}.{stored.reason.lower()}"
            text = self._text(conversion, stored)
            return Event(conversion.key, "Warning", stored.reason, text, name)
        if stored.reason not in _SHARED:
            return None
        kind, about = self._cause(conversion, stored.reason)
        if about is None or not self._is_new(stored.reason, about):
            return None
        text = self._text(conversion, stored)
        return Event(about, "Warning", stored.reason, text, kind=kind)

    def _is_new(self, reason: str, about: Key) -> bool:
        now = self._clock()
        told = self._told.pop((reason, about.namespace), {})
        recent = {key: at for key, at in told.items() if now - at < SHARED_SECONDS}
        is_new = about not in recent and len(recent) < CAUSES_OF_NAMESPACE
        if is_new:
            recent[about] = now
        self._told[reason, about.namespace] = recent
        while len(self._told) > NAMESPACES:
            del self._told[next(iter(self._told))]
        return is_new

    def _cause(self, conversion: Conversion, reason: str) -> tuple[str, Key | None]:
        """The kind and the key of the object that causes a shared reason. It may not exist."""
        namespace = conversion.key.namespace
        match reason:
            case Reason.PAUSED:
                # All namespaces share it.
                return names.CONFIG_MAP_KIND, self._settings()
            case Reason.UNSUPPORTED_FIELD:
                return names.KIND, conversion.key
            case Reason.QUEUE_MISSING:
                # Whoever mistyped the name cannot read Events in the operator's namespace. So the
                # first ConversionJobs have the Event.
                return names.KIND, conversion.key
            case Reason.PROFILE_MISSING | Reason.PROFILE_UNREADABLE:
                profile = conversion.spec.profile if conversion.spec else None
                return names.PROFILE_KIND, Key(namespace, profile, "") if profile else None
            case _:
                return _CLAIM, Key(namespace, self._policy().claim_name, "")

    def _text(self, conversion: Conversion, stored: ConversionJobStatus) -> str:
        """What the conversion waits for, and the cure of docs/reasons.md with its names."""
        known = {
            "NAMESPACE": conversion.key.namespace,
            "OPERATOR_NAMESPACE": self._namespace,
            "NAME": conversion.key.name,
            "POD": stored.pod_name,
            "NODE": stored.node_name,
            "JOB": stored.job_name,
        }
        cure = REASONS[stored.reason].cure.replace("`", "")
        cure = _PLACEHOLDER.sub(lambda found: known[found[0]] or found[0], cure)
        # The message may quote a long text of another program. The cure must not be cut for it.
        room = max(0, _MESSAGE_MAX_BYTES - len(cure.encode()) - 2)
        return head(f"{head(stored.message.rstrip('.'), room)}. {cure}", _MESSAGE_MAX_BYTES)
