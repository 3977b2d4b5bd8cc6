"""What a target gets with the message."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. `id` is the notification's, the same at every attempt: receivers drop duplicates by it."""

    id: str
    attempt: int
    now: datetime
