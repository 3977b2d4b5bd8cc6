"""The output of the processes, one file each; the terminal shows verdicts."""

from pathlib import Path
from typing import IO

from honcho.printer import Message, Printer

KEEP_BYTES = 5_000_000


class LogFiles(Printer):  # type: ignore[misc]
    """Writes each process's lines to `<folder>/<name>.log`, renamed to `.log.1` when it exceeds `KEEP_BYTES`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self.first_stopped: str | None = None

    def write(self, message: Message) -> None:
        """Called by honcho for each line."""
        name, data = message.name, message.data
        if name == "system":
            self._note_end(data)
        line = data if isinstance(data, bytes) else str(data).encode()
        file = self._open(name or "system")
        file.write(line if line.endswith(b"\n") else line + b"\n")
        file.flush()

    def tail(self, lines: int = 5) -> str:
        """The last lines of the process that stopped first, with the path of its log."""
        path = self._folder / f"{self.first_stopped or 'system'}.log"
        last = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []
        return "\n".join([f"Last lines of {path}:", *last])

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _open(self, name: str) -> IO[bytes]:
        path = self._folder / f"{name}.log"
        if name in self._files and self._files[name].tell() > KEEP_BYTES:
            self._files.pop(name).close()
            path.rename(path.with_suffix(".log.1"))
        if name not in self._files:
            self._files[name] = path.open("ab")
        return self._files[name]

    def _note_end(self, text: str) -> None:
        if self.first_stopped is None and " stopped (rc=" in text:
            self.first_stopped = text.split(" ", 1)[0]
