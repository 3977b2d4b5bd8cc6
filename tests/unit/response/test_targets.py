"""What targets send, and that they don't reveal secrets."""

import hashlib
import hmac
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kubeprobe.catalog.model.route import AppriseTarget, RouteTarget, SecretSource
from kubeprobe.fleet import resolver
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.resolver import BoundedResolver
from kubeprobe.response.housekeeping import REPEAT_EVERY
from kubeprobe.response.message import MessageKind
from kubeprobe.response.targets import (
    KINDS,
    Delivery,
    PermanentTargetError,
    TemporaryTargetError,
    apprise,
    needs_repeats,
    posting,
)
from kubeprobe.response.targets.alertmanager import HOLD, alert
from kubeprobe.response.targets.secret import read_secret, redact
from kubeprobe.response.targets.webhook import sign
from tests.unit.response.given import NOON, message

DELIVERY = Delivery("01delivery", 1, NOON)


def test_every_kind_of_the_catalog_is_registered_with_its_spec() -> None:
    declared = {name: field.annotation for name, field in RouteTarget.model_fields.items() if name != "name"}
    assert {name: kind.spec | None for name, kind in KINDS.items()} == declared


def test_only_alertmanager_needs_repeats() -> None:
    url = {"url": "http://receiver"}
    given = {"alertmanager": url, "apprise": {"url": "json://receiver"}, "log": {}, "webhook": url}
    targets = {kind: RouteTarget.model_validate({"name": "t", kind: spec}) for kind, spec in given.items()}
    assert [kind for kind, target in targets.items() if needs_repeats(target)] == ["alertmanager"]


def test_a_signature_covers_the_time_and_the_body() -> None:
    expected = hmac.new(b"secret", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert sign("secret", 1_700_000_000, b'{"a":1}') == f"t=1700000000,v1={expected}"


def test_the_documented_check_accepts_valid_signatures_only() -> None:
    text = (Path(__file__).parents[3] / "docs" / "alerting.md").read_text()
    snippet = text.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(snippet, names)
    genuine, now = names["genuine"], int(time.time())
    assert genuine("secret", sign("secret", now, b"body"), b"body")
    assert not genuine("secret", sign("secret", now, b"body"), b"other")
    assert not genuine("secret", sign("guess", now, b"body"), b"body")
    assert not genuine("secret", sign("secret", now - 3600, b"body"), b"body")


def test_a_silent_name_server_keeps_no_thread_that_the_process_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that the end of the process joins, nor more than the limit for all targets."""
    began, released, asking = threading.Event(), threading.Event(), []

    def look_up(*_: Any, **__: Any) -> list[Any]:
        asking.append(threading.current_thread())
        began.set()
        released.wait()
        return []

    calls: BlockingCalls[list[Any]] = BlockingCalls("test", limit=1, slow_limit=1)
    monkeypatch.setattr(posting, "BoundedResolver", lambda *_, **__: BoundedResolver(look_up, calls))
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(resolver, "RESOLVE_TIMEOUT_S", 0.1)
    try:
        busy = "all threads for test were busy"
        for name, reason in {"one": "no name server responded", "two": busy, "three": busy}.items():
            with pytest.raises(TemporaryTargetError, match=f"{name}.example.*{reason}") as caught:
                posting.post_json(f"http://{name}.example/", b"{}", NOON)
            assert not caught.value.may_have_arrived
        assert began.wait(60)
        assert [thread.daemon for thread in asking] == [True]
    finally:
        released.set()


def test_a_firing_alert_ends_unless_it_is_repeated() -> None:
    fired = alert(message(), DELIVERY)
    assert fired["labels"] == {
        "alertname": "KubeProbeFailing",
        "case": "pod-lifecycle",
        "cluster": "prod-1",
        "severity": "critical",
        "owner": "platform",
    }
    assert fired["startsAt"] == NOON.isoformat()
    assert fired["endsAt"] == (NOON + HOLD).isoformat()


def test_a_resolved_alert_has_the_labels_of_the_firing_one() -> None:
    until = NOON + timedelta(minutes=7)
    resolved = alert(message(MessageKind.RECOVERED, verdict="pass", until=until), DELIVERY)
    assert resolved["labels"] == alert(message(), DELIVERY)["labels"]
    assert resolved["endsAt"] == until.isoformat()


def test_alertmanager_gets_no_empty_label() -> None:
    assert "owner" not in alert(message(owner=""), DELIVERY)["labels"]


def test_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_SECRET", " hush\n")
    assert read_secret(SecretSource(env="ALERT_SECRET")) == "hush"


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    assert read_secret(SecretSource(file=str(tmp_path / "secret"))) == "hush"


def test_a_missing_secret_is_named_and_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALERT_SECRET", raising=False)
    with pytest.raises(TemporaryTargetError, match="ALERT_SECRET is empty or not set"):
        read_secret(SecretSource(env="ALERT_SECRET"))
    with pytest.raises(TemporaryTargetError, match="cannot be read: FileNotFoundError"):
        read_secret(SecretSource(file=str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    ("text", "secret", "shown"),
    [
        ("host hooks.example says no", "https://hooks.example/T0/B0AAAA", "host hooks.example says no"),
        ("GET /T0/B0AAAA failed", "https://hooks.example/T0/B0AAAA", "GET /T0/*** failed"),
        ("bot 12345:token", "tgram://12345:token/999888", "bot ***:***"),
        ("user pass%21word, pass!word", "json://user:pass%21word@host", "*** ***, ***"),
        ("key=abcdef", "https://h/?key=abcdef", "key=***"),
        ("hush now", "hush", "*** now"),
        ("nothing", "", "nothing"),
    ],
)
def test_secrets_are_redacted(text: str, secret: str, shown: str) -> None:
    assert redact(text, secret) == shown


def test_an_address_that_apprise_cannot_parse_is_permanent_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PermanentTargetError) as refused:
        apprise.send(AppriseTarget(url="nosuchservice://hush-hush-hush"), message(), DELIVERY)
    assert "hush" not in str(refused.value)
    assert "hush" not in caplog.text


def test_alerts_outlast_a_few_missed_repeats() -> None:
    assert REPEAT_EVERY * 3 <= HOLD
