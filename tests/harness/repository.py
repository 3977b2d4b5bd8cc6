"""A real Git repository, as a team has it: a bare one to push to, and a work tree to push from."""

import os
import shutil
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "team",
    "GIT_AUTHOR_EMAIL": "team@example.com",
    "GIT_COMMITTER_NAME": "team",
    "GIT_COMMITTER_EMAIL": "team@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Repository:
    """`bare` is the repository that sources fetch from."""

    def __init__(self, folder: Path, branch: str = "main") -> None:
        self.bare = folder / "team.git"
        self.tree = folder / "work"
        self.branch = branch
        git("init", "--quiet", "--bare", f"--initial-branch={branch}", str(self.bare))
        git("init", "--quiet", f"--initial-branch={branch}", str(self.tree))
        self.git("remote", "add", "origin", str(self.bare))

    def git(self, *arguments: str) -> str:
        """Run git in the work tree."""
        return git("-C", str(self.tree), *arguments)

    def write(self, **files: str | None) -> None:
        """Write files by path, with `__` for `/` and a trailing `_yaml` for the suffix; None removes a file."""
        for key, text in files.items():
            path = self.tree / (
                key.removesuffix("_yaml").replace("__", "/") + (".yaml" if key.endswith("_yaml") else "")
            )
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def push(self, message: str = "change", *, force: bool = False, **files: str | None) -> str:
        """Write files, commit all and push; returns the commit."""
        self.write(**files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        self.git("push", "--quiet", *(("--force",) if force else ()), "origin", f"HEAD:{self.branch}")
        return self.head()

    def head(self) -> str:
        """The commit of the work tree."""
        return self.git("rev-parse", "HEAD").strip()

    def rewrite(self, **files: str | None) -> str:
        """Replace the last commit by a force-push."""
        self.write(**files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--amend", "--message", "rewritten")
        self.git("push", "--quiet", "--force", "origin", f"HEAD:{self.branch}")
        return self.head()

    def drop_branch(self) -> None:
        """Delete the branch in the bare repository."""
        git(f"--git-dir={self.bare}", "update-ref", "-d", f"refs/heads/{self.branch}")

    def remove(self) -> None:
        """Delete the bare repository."""
        shutil.rmtree(self.bare)


def git(*arguments: str) -> str:
    """Run git with a test identity; returns its output."""
    done = subprocess.run(["git", *arguments], env=os.environ | IDENTITY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout
