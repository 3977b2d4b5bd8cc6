"""`kubeprobe source ...`: catalogs from Git."""

from pathlib import Path

import pytest
from sqlalchemy import update

from kubeprobe.store import Source, Store
from tests.harness.repository import Repository
from tests.services.cli.conftest import CATALOG, CommandLine
from tests.services.sources.servers import http_server


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "git")
    made.push(catalog__all_yaml=CATALOG)
    return made


@pytest.fixture
def added(kubeprobe: CommandLine, repository: Repository) -> CommandLine:
    """An installation with a cluster and the source `team`."""
    kubeprobe.add_cluster("prod-1", "region=eu")
    output = kubeprobe("source", "add", str(repository.bare), "--path", "catalog/").stdout
    assert "+ ProbeCase/dns" in output
    assert f"Added source team, applied at {repository.head()[:12]}; synced every 1m00s." in output
    return kubeprobe


def test_a_source_can_be_added_listed_shown_and_removed(added: CommandLine, repository: Repository) -> None:
    output = added("source", "list").stdout
    assert "team" in output and repository.head()[:12] in output and f"{repository.bare} main/catalog" in output
    (found,) = added.json("source", "list")
    assert (found["state"], found["entries"], found["appliedCommit"]) == ("ok", 3, repository.head())
    assert repository.head() in added("source", "show", "team").stdout
    assert "Did you mean 'team'?" in added("source", "show", "taem", code=2).stderr
    added("source", "remove", "team", "--yes", "--prune")
    assert added.json("source", "list") == []
    assert "There is no case 'dns'" in added("run", "dns", "-c", "prod-1", code=2).stderr


def test_entries_of_a_removed_source_stay_and_can_be_applied_by_hand(added: CommandLine) -> None:
    added("source", "remove", "team", typed="n", code=1)
    added("source", "remove", "team", typed="y")
    added.apply(CATALOG.replace("5m", "10m"))


def test_show_names_the_commit_of_the_runs_case(added: CommandLine, repository: Repository) -> None:
    added("run", "dns", "-c", "prod-1")
    (run,) = added.json("runs")
    assert run["caseCommit"] == f"team@{repository.head()}"
    assert f"team@{repository.head()}" in added("show", run["id"]).stdout
    assert added.json("show", run["id"])["caseCommit"] == f"team@{repository.head()}"


def test_a_sync_overtaken_by_another_process_changes_nothing(
    kubeprobe: CommandLine, repository: Repository, store: Store
) -> None:
    token = kubeprobe.write("token", "kp-t0ken")

    def overtake() -> None:
        with store.writing() as session:
            session.execute(update(Source).values(claim=Source.claim + 1))

    with http_server(repository.bare.parent, "kp-t0ken") as server:
        kubeprobe("source", "add", f"{server.url}/team.git", "--token-file", token)
        server.meanwhile = overtake
        output = kubeprobe("source", "sync", "team", code=3).stderr
        assert "Another process is syncing team, or has removed it; nothing was changed here." in output
        server.meanwhile = overtake
        found = kubeprobe.json("source", "sync", "team", code=3)
        assert (found["lost"], found["applied"], found["error"]) == (True, None, "")
        assert "nothing to change" in kubeprobe("source", "sync", "team").stdout


@pytest.mark.parametrize("option", ["--deploy-key", "--token-file", "--known-hosts", "--webhook-secret-file"])
def test_a_secret_file_of_an_unknown_user_is_an_error(kubeprobe: CommandLine, option: str) -> None:
    output = kubeprobe("source", "add", "https://host/x.git", option, "~no-such-user/file", code=2).stderr
    assert "~no-such-user/file: there is no such user on this machine" in output


def test_a_dry_run_stores_nothing(kubeprobe: CommandLine, repository: Repository) -> None:
    output = kubeprobe("source", "add", str(repository.bare), "--dry-run").stdout
    assert "+ Binding/core" in output and "nothing was changed" in output
    assert kubeprobe.json("source", "list") == []


def test_an_invalid_commit_is_reported_with_file_and_line(added: CommandLine, repository: Repository) -> None:
    commit = repository.push(catalog__all_yaml=CATALOG.replace("blackbox", "blackbx"))
    output = added("source", "sync", "team", code=1).stderr
    place = f"team@{commit[:12]}:catalog/all.yaml:10: ProbeCase/dns: spec.kind: 'blackbx' is not allowed"
    assert place in output
    assert place in added("source", "show", "team", code=1).stdout
    assert place in added("doctor", code=1).stdout
    assert added.json("source", "sync", "team", code=1)["error"].startswith(place)
    added("source", "add", str(repository.bare), "--name", "again", "--path", "catalog", code=2)


def test_apply_changes_entries_of_a_source_only_with_override(added: CommandLine) -> None:
    file = added.write("by-hand/all.yaml", CATALOG.replace("owner: network", "owner: me"))
    output = added("apply", "-f", file, code=2).stderr
    assert "by-hand/all.yaml:7: ProbeCase/dns: this entry belongs to source team (team@" in output
    assert "nothing was changed" in output
    added("apply", "-f", file, "--override")
    assert "changed by hand" in added("source", "show", "team", code=1).stdout
    planned = added("source", "plan", "team").stdout
    assert "spec.owner: me -> network" in planned
    added("run", "dns", "-c", "prod-1")
    assert added.json("runs")[0]["caseCommit"] is None, "the case does not come from a commit"
    added("source", "sync", "team")
    assert added.json("source", "show", "team")["drift"] == []


def test_applying_an_identical_entry_causes_no_drift(added: CommandLine) -> None:
    added.apply(CATALOG)
    assert added.json("source", "show", "team")["drift"] == []


def test_a_manual_pause_is_shown_as_drift_and_survives_a_sync(added: CommandLine) -> None:
    added("pause", "core")
    added("source", "sync", "team")
    (drift,) = added.json("source", "show", "team", code=1)["drift"]
    assert drift == {"kind": "Binding", "name": "core", "what": "paused by hand", "isFixedBySync": False}
    added("resume", "core")
    added("pause", "core", "--cluster", "prod-1")
    (drift,) = added.json("source", "show", "team", code=1)["drift"]
    assert drift["what"] == "paused by hand on prod-1"


def test_a_source_can_be_paused_and_resumed(added: CommandLine) -> None:
    added("source", "pause", "team")
    assert added.json("source", "list")[0]["state"] == "paused"
    added("source", "resume", "team")
    assert added.json("source", "list")[0]["state"] == "ok"


def test_replacing_a_source_keeps_unnamed_settings_and_prints_changes(
    added: CommandLine, repository: Repository
) -> None:
    secret = added.write("secret", "correct-horse-battery-staple")
    bare = str(repository.bare)
    output = added("source", "add", bare, "--replace", "--webhook-secret-file", secret, "--no-prune").stdout
    assert "  prune: yes -> no\n  webhook secret: added\n" in output and "correct-horse" not in output
    added("source", "pause", "team")

    output = added("source", "add", bare, "--replace", "--every", "5m").stdout
    assert "  interval: 60 s -> 300 s\nChanged source team" in output
    assert "still paused: `kubeprobe source resume team` continues" in output
    found = added.json("source", "show", "team")
    assert (found["state"], found["path"], found["everyS"], found["prune"]) == ("paused", "catalog", 300, False)

    assert "Source team itself is unchanged." in added("source", "add", bare, "--replace").stdout
    found = added.json("source", "add", bare, "--replace", "--path", ".", "--dry-run")
    assert (found["changes"], found["paused"]) == (["path: catalog -> repository root"], True)
    assert added.json("source", "show", "team")["path"] == "catalog"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("ext::sh -c id",), "is not a repository address"),
        (("gopher://host/x",), "'gopher' is not a supported scheme"),
        (("file:///srv/x",), "use the path of the repository"),
        (("https://u:hunter2@host/x",), "the address contains a password"),
        (("http://hunter2@host/x.git",), "pass the token with --token-file"),
        (("https://hunter2@host/x.git", "--dry-run"), "pass the token with --token-file"),
        (("https://hunter2@host/x.git", "--deploy-key", __file__), "a deploy key needs an ssh address"),
        (("https://hunter2@/x.git",), "has no host"),
        (("https://hunter2@host:port/x.git",), "the address is malformed"),
        (("https://hunter2@host/x.git?a=b",), "must not be followed by"),
        (("https://host/x.git?hunter2",), "must not be followed by"),
        (("hunter2@host/x.git",), "'host/x.git' is not a repository address"),
        (("--", "-oProxyCommand=id"), "is not a repository address"),
        (("https://host/x", "--path", "/etc"), "is absolute"),
        (("https://host/x", "--path", "a/../.."), "contains '..'"),
        (("https://host/x", "--branch", "-x"), "is not a branch name"),
        (("https://host/x", "--branch", "a..b"), "is not a branch name"),
        (("https://host/x", "--every", "1s"), "at least 10s"),
        (("git@host:x",), "needs a key"),
        (("https://host/x", "--name", "No Name"), "is not a valid name"),
    ],
)
def test_invalid_source_options_are_refused(kubeprobe: CommandLine, arguments: tuple[str, ...], expected: str) -> None:
    result = kubeprobe("source", "add", *arguments, code=2)
    assert expected.lower() in result.stderr.lower()
    assert "hunter2" not in result.stderr + result.stdout


def test_an_invalid_deploy_key_is_refused_and_not_printed(kubeprobe: CommandLine, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("hunter2hunter2")
    stderr = kubeprobe("source", "add", "git@host:x", "--deploy-key", str(key), code=2).stderr
    assert "is not a private key" in stderr and "hunter2" not in stderr


def test_secrets_are_stored_encrypted(
    kubeprobe: CommandLine, repository: Repository, store: Store, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct-horse-battery-staple")
    kubeprobe("source", "add", str(repository.bare), "--path", "catalog", "--webhook-secret-file", str(secret))
    if store.engine.dialect.name == "sqlite":
        store.close()
        written = b"".join(path.read_bytes() for path in tmp_path.glob("kubeprobe.db*"))
    else:
        with store.engine.connect() as connection:
            written = bytes(connection.exec_driver_sql("SELECT secret FROM source").scalar_one())
            written += str(connection.exec_driver_sql("SELECT source::text FROM source").scalar_one()).encode()
    assert b"team" in written or written
    assert b"correct-horse" not in written
