"""What a target is handed beside the message."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. `id` is the notification's and the same at every attempt: by it receivers drop repeats."""

    id: str
    attempt: int
    now: datetime
