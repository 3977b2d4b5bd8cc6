"""What `kubeprobe cluster setup` prints: objects for `kubectl apply`, or what was done about each."""

import sys

import yaml

from kubeprobe.app.setup import SetupPlan, SetupResult
from kubeprobe.catalog.scalars import is_text_for_kubectl
from kubeprobe.catalog.setup import ObjectAction
from kubeprobe.catalog.setup.own_account import OWN_ACCOUNT
from kubeprobe.cli.output import Columns, console, print_json, remark, styled

NAMED = 8


class _Dumper(yaml.SafeDumper):
    """Quotes text that kubectl would read as something else, such as `on` and `0400`; writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - an override
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if is_text_for_kubectl(text) else '"')


_Dumper.add_representer(str, _represent_text)


def print_objects(plan: SetupPlan, *, as_json: bool) -> None:
    """Print the objects; what they are for, on standard error."""
    if as_json:
        print_json({"apiVersion": "v1", "kind": "List", "items": plan.objects})
    else:
        # What is not ASCII is escaped, so that it cannot control the terminal.
        yaml.dump_all(plan.objects, sys.stdout, _Dumper, explicit_start=True, sort_keys=False)
    remark(f"{_about(plan)}. Nothing was changed: pipe this to `kubectl apply -f -`, or use --apply.")


def print_result(plan: SetupPlan, result: SetupResult) -> None:
    """What was done about each object."""
    applied = result.applied
    Columns("DONE", "KIND", "NAME", "").print(
        (styled(str(one.action)), one.kind, f"{one.namespace}/{one.name}" if one.namespace else one.name, one.detail)
        for one in applied
    )
    counts = {done: sum(one.action is done for one in applied) for done in ObjectAction}
    console().print(f"{_about(plan)}: " + ", ".join(f"{count} {done}" for done, count in counts.items() if count) + ".")
    if any((one.kind, one.name) == ("ServiceAccount", OWN_ACCOUNT) for one in applied):
        cluster = plan.cluster
        remark(
            f"For a connection of few rights, make a kubeconfig with a token of ServiceAccount {OWN_ACCOUNT} (`kubectl "
            f"-n {cluster.namespace} create token {OWN_ACCOUNT} --duration 8760h`), then `kubeprobe cluster add "
            f"{cluster.name} --replace --kubeconfig FILE`."
        )
    if refused := counts[ObjectAction.REFUSED]:
        console().print(
            f"{refused} of {len(applied)} refused. An administrator can do it: `kubeprobe cluster setup "
            f"{plan.cluster.name} --apply --kubeconfig FILE`, or without --apply, `| kubectl apply -f -`.",
            style="red",
        )


def _about(plan: SetupPlan) -> str:
    more = f" and {len(plan.cases) - NAMED} more" if len(plan.cases) > NAMED else ""
    others = len(set(plan.catalog.cases) - set(plan.cases))
    hint = f" ({others} other cases: --cases, --all)" if others else ""
    return f"What {plan.cluster.name} needs for {', '.join(plan.cases[:NAMED])}{more}{hint}"
