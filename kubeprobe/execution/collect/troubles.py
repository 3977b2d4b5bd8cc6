"""What is wrong with a watch and with single objects of a cluster, for `doctor`: bounded, whatever a cluster sends."""

from collections.abc import Collection
from datetime import datetime, timedelta

from kubeprobe.clock import Clock
from kubeprobe.fleet.errors import Cause, ClusterError, TemporaryError

FAILURE_SHOWN_FOR = timedelta(minutes=5)
SHOWN_AFTER = 4
"""Failures in a row that may end by themselves."""
MOST = 100
SHOWN = 3
LENGTH = 200


class Troubles:
    """One message for each object, by its UID or name."""

    def __init__(self) -> None:
        self._messages: dict[str, str] = {}
        self._more = False

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._messages) or self._more

    def add(self, key: str, message: str) -> bool:
        """Note what is wrong with an object; whether that is new."""
        shortened = message[:LENGTH]
        if self._messages.get(key) == shortened:
            return False
        if key not in self._messages and len(self._messages) >= MOST:
            self._more = True
            return False
        self._messages[key] = shortened
        return True

    def remove(self, key: str) -> None:
        """The object is well, or deleted."""
        self._messages.pop(key, None)

    def keep(self, keys: Collection[str]) -> None:
        """After a list: objects that no longer exist have no troubles."""
        self._messages = {key: message for key, message in self._messages.items() if key in keys}
        self._more = False

    def clear(self) -> None:
        """Nothing is known to be wrong."""
        self.keep(())

    def describe(self, what: str) -> str:
        """How many there are, and some of them; empty if there are none."""
        if not self._messages:
            return ""
        count = f"{len(self._messages)}{' or more' if self._more else ''}"
        return f"{count} {what}: {'; '.join(list(self._messages.values())[:SHOWN])}"


class WatchTrouble:
    """Why the objects of a cluster are not followed. `what` they are: `pods`."""

    def __init__(self, what: str, clock: Clock, *, has_breaker: bool = True) -> None:
        """`has_breaker`: the cluster's breaker shows that it is unreachable."""
        self._what = what
        self._clock = clock
        self._has_breaker = has_breaker
        self._failures = 0
        """Lists and watches that failed since the last list."""
        self._last: tuple[datetime, str] | None = None

    def note_crash(self, error: BaseException | None) -> None:
        """A fault of KubeProbe."""
        self._last = (self._clock(), f"following its {self._what} failed: {error!r}")

    def note_failure(self, error: ClusterError) -> None:
        """A list or a watch failed. It is shown at once if only a person can change that."""
        if error.cause is Cause.GONE:
            return
        self._failures += 1
        is_shown = not isinstance(error, TemporaryError) or self._failures >= SHOWN_AFTER
        is_shown_by_breaker = self._has_breaker and error.cause is Cause.CLUSTER_UNREACHABLE
        if is_shown and not is_shown_by_breaker:
            self._last = (self._clock(), f"{self._what} not followed: {error.message}")

    def note_list(self) -> None:
        """A list succeeded. What was noted is shown for a while: what fails again and again is listed in between."""
        self._failures = 0

    def describe(self) -> str:
        """The last one, if it is not long ago; else empty."""
        if self._last is None or self._clock() - self._last[0] >= FAILURE_SHOWN_FOR:
            return ""
        return self._last[1]
