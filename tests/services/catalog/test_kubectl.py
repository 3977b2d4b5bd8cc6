"""Kubernetes objects in the catalog are read as kubectl reads them: compared with kubectl itself."""

import json
import random
import shutil
import subprocess

import pytest

from kubeprobe.app.setup import SetupPlan
from kubeprobe.catalog import Catalog, scalars
from kubeprobe.cli.setup_text import print_objects
from kubeprobe.store import Cluster
from tests.harness.need import lacking
from tests.unit.catalog.given import document, problems

SCALARS = """\
0400|0o400|0x1F|0b11|-0400|+012|08|0777|1_000|1e3|1E3|1.0|1.5e3|1e400|.5|5.|1:30|190:20:30|1:30.5|-1:30|yes|Yes|YES|yEs
no|No|NO|on|On|ON|off|Off|OFF|y|Y|n|N|true|True|TRUE|tRue|false|~|null|Null|NULL|nUll|2020-01-01|2020-01-01T00:00:00Z
"yes"|'0400'|=|0_400|0x_1F|9223372036854775807|-9223372036854775808|1.|1e-3|1_0.5|0.1e1_0|_1|1__0|+1|-0|00|0|0o8|0xZZ|12e03
-2E+05|0.|685.230_15e+03|685_230.15|-.5|+.5|._5|.5_0|.5__0|.5_|.1e1_0|.1e1__0|0b1010_0111|0B1|0X1f|0O17
1e|e1|+|.|..|+-1|1-2|1.2.3|1 2|0x|0b|0o
+0x1F|-0b11|-0o17|+.5e1|100Mi|1h30m|inf|nan|.infinity|08.5|09e1|0_8|-_1|1_|_""".replace("\n", "|").split("|")
ALPHABET = "+-0123456789._eExXobBO:yYnNfFtruslaAi~"


def kubectl(pod: str) -> subprocess.CompletedProcess[str]:
    """kubectl's reading of a pod, without a cluster."""
    if shutil.which("kubectl") is None:
        lacking("kubectl is not installed")
    command = ["kubectl", "--kubeconfig", "/dev/null", "label", "--local", "--filename", "-", "a=b", "--output", "json"]
    return subprocess.run(command, input=pod, capture_output=True, text=True, check=False)


def read_by_kubectl(plain: list[str]) -> list:
    lines = "".join(f"  v{number}: {text}\n" for number, text in enumerate(plain))
    result = kubectl(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n{lines}")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["spec"]
    return [found[f"v{number}"] for number in range(len(plain))]


def random_scalars(count: int) -> list[str]:
    chosen = random.Random(10)  # the same ones each time
    texts = ("".join(chosen.choices(ALPHABET, k=chosen.randint(1, 6))) for _ in range(count * 2))
    return [text for text in texts if text[0] != "-" or text[1:2] not in {"", ":"}][:count]


@pytest.mark.parametrize("texts", [SCALARS, random_scalars(3000)], ids=["known", "random"])
def test_scalars_are_read_as_kubectl_reads_them(texts):
    texts = [text for text in texts if ": " not in f"{text} " and text not in {"-", "--"}]
    ours = [text.strip("\"'") if text[0] in "\"'" else scalars.read_plain_as_kubectl(text) for text in texts]
    finite = [number for number, value in enumerate(ours) if not isinstance(value, float) or abs(value) < float("inf")]
    theirs = read_by_kubectl([texts[number] for number in finite])
    differing = {
        texts[number]: (ours[number], found)
        for number, found in zip(finite, theirs, strict=True)
        if (type(found) is bool) != (type(ours[number]) is bool) or found != ours[number]
    }
    assert differing == {}


@pytest.mark.parametrize("text", [".inf", "-.inf", "+.inf", ".nan", ".NaN", "!!null x"])
def test_what_kubectl_refuses_is_refused(tmp_path, text):
    assert kubectl(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{priority: {text}}}\n").returncode != 0
    assert problems(tmp_path, document("ProbeTemplate", f"{{image: a, pod: {{priority: {text}}}}}"))


def test_printed_objects_are_read_by_kubectl_as_they_are(capsys):
    texts = [text.strip("\"'") for text in SCALARS] + random_scalars(500) + ["😀", "a: b", "# c", "x\ny", " ", "\t"]
    data = {f"v{number}": text for number, text in enumerate(texts)}
    printed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
    plan = SetupPlan(Cluster(name="prod-1"), Catalog(), (), (), [printed])
    print_objects(plan, as_json=False)
    result = kubectl(capsys.readouterr().out)
    assert json.loads(result.stdout)["data"] == data
