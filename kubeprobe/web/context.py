"""What the web's requests share: opened once, when its process starts."""

from dataclasses import dataclass

from kubeprobe.clock import Clock, utc_now
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.queue import Queue
from kubeprobe.store import Store


@dataclass(frozen=True)
class WebContext:
    """The open context of a web process."""

    store: Store
    queue: Queue
    cipher: Cipher
    clock: Clock = utc_now
