"""What is wrong with single objects of a cluster, for `doctor`: bounded, whatever a cluster sends."""

from collections.abc import Collection

MOST = 100
SHOWN = 3
LENGTH = 200


class Troubles:
    """One message for each object, by its UID or name."""

    def __init__(self) -> None:
        self._messages: dict[str, str] = {}
        self._more = False

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
