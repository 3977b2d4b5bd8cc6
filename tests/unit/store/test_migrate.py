"""The store's revision is checked without Alembic."""

import subprocess
import sys

from alembic.config import Config
from alembic.script import ScriptDirectory

from kubeprobe.store.migrate import HEAD, MIGRATIONS


def test_head_is_the_newest_alembic_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_checking_the_revision_does_not_import_alembic() -> None:
    script = "import sys, kubeprobe.store.migrate; print('alembic' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )
