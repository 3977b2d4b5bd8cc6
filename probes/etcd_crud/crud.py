"""The operations of an etcd client: lease, watch, put, get, compare-and-swap, delete; all with one key prefix."""

import sys
from contextlib import ExitStack
from typing import Any

from kubeprobe_client import CheckFailed, step

from probes._etcd import Endpoint, EtcdError, decoded, encoded, prefix_end, revision

Json = dict[str, Any]


class Crud:
    """One run's key, its lease and its watch. Raises CheckFailed with the observed state.

    The key has a lease, so that etcd deletes it if the probe is killed.
    """

    def __init__(self, endpoint: Endpoint, prefix: str, lease_seconds: int) -> None:
        self._endpoint = endpoint
        self._prefix = prefix
        self._key = f"{prefix}key"
        self._lease_seconds = lease_seconds
        self._lease = ""
        self.written = 0
        """The revision of the last write."""

    def run(self) -> None:
        """All steps, each timed."""
        with step("lease"):
            self.grant()
        with ExitStack() as stack, step("watch"):
            events = stack.enter_context(self._endpoint.stream("watch", self._watch_request()))
            if not next(events, {}).get("created"):
                raise CheckFailed(f"{self._endpoint.url}: etcd did not confirm the creation of the watch")
            with step("put"):
                self.written = revision(self._request("kv/put", key=self._key, value="first", lease=self._lease))
            self._wait_for_event(events, "first")
        with step("get"):
            self._expect("first")
        with step("compare-and-swap"):
            self._compare_and_swap()
        with step("delete"):
            self.delete()
        with step("revoke"):
            self.revoke()

    def grant(self) -> None:
        """Get a lease, and check its TTL."""
        granted = self._endpoint.post("lease/grant", {"TTL": str(self._lease_seconds)})
        self._lease = str(granted["ID"])
        left = int(self._endpoint.post("lease/timetolive", {"ID": self._lease}).get("TTL", -1))
        if not 0 < left <= self._lease_seconds:
            raise CheckFailed(f"a new lease of {self._lease_seconds} s has a TTL of {left} s")

    def delete(self) -> None:
        """Delete the key and check that it is deleted."""
        response = self._request("kv/deleterange", key=self._key)
        self.written = revision(response)
        if int(response.get("deleted", 0)) != 1:
            raise CheckFailed(f"{self._key}: expected one key to be deleted, etcd deleted {response.get('deleted', 0)}")
        if self._request("kv/range", key=self._key).get("kvs"):
            raise CheckFailed(f"{self._key} still exists after its deletion")

    def revoke(self) -> None:
        """Revoke the lease."""
        lease, self._lease = self._lease, ""
        self._endpoint.post("lease/revoke", {"ID": lease})

    def clean_up(self) -> None:
        """Delete what may remain; errors are only logged, as the lease expires anyway."""
        if not self._lease:
            return
        try:
            self.revoke()  # etcd deletes the keys of the lease
        except EtcdError as error:
            sys.stderr.write(f"{self._prefix} is not deleted; its lease ends within {self._lease_seconds} s: {error}\n")

    def _watch_request(self) -> Json:
        end = prefix_end(self._prefix)
        return {"create_request": {"key": encoded(self._prefix), "range_end": encoded(end)}}

    def _wait_for_event(self, events: Any, value: str) -> None:
        for answer in events:
            for event in answer.get("events", []):
                if decoded(event["kv"].get("value", "")) == value:
                    return
        raise CheckFailed(f"the watch of {self._prefix} ended without an event of the write")

    def _expect(self, value: str) -> Json:
        found = self._request("kv/range", key=self._key).get("kvs") or []
        if len(found) != 1 or decoded(found[0].get("value", "")) != value:
            actual = decoded(found[0].get("value", "")) if found else "nothing"
            raise CheckFailed(f"{self._key}: read {actual!r} after {value!r} was written")
        entry: Json = found[0]
        return entry

    def _compare_and_swap(self) -> None:
        """Swap with the right revision, and check that the outdated one is refused."""
        mod_revision = self._expect("first")["mod_revision"]
        if not self._swap(mod_revision, "second"):
            raise CheckFailed(
                f"compare-and-swap of {self._key} with the current revision failed, though no other client writes it"
            )
        if self._swap(mod_revision, "third"):
            raise CheckFailed(f"compare-and-swap of {self._key} with an outdated revision succeeded")
        self._expect("second")

    def _swap(self, mod_revision: str, value: str) -> bool:
        key = encoded(self._key)
        request = {
            "compare": [{"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": mod_revision}],
            "success": [{"request_put": {"key": key, "value": encoded(value), "lease": self._lease}}],
        }
        return bool(self._endpoint.post("kv/txn", request).get("succeeded"))

    def _request(self, path: str, *, key: str, value: str | None = None, lease: str | None = None) -> Json:
        body = {"key": encoded(key)}
        if value is not None:
            body |= {"value": encoded(value), "lease": lease or "0"}
        return self._endpoint.post(path, body)
