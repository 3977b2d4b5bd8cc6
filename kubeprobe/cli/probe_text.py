"""Trials of probes as text: shown as a run is, with the log of one that did not pass, which is kept nowhere."""

from kubeprobe.app.probes import Observer, trial_as_run
from kubeprobe.authoring.folder import ProbeFolder
from kubeprobe.authoring.trial import Trial
from kubeprobe.cli.arguments import Output
from kubeprobe.cli.output import console, print_json, remark
from kubeprobe.cli.waiting import EXIT_CODES, print_results
from kubeprobe.jsonmodel import to_json
from kubeprobe.vocabulary import Verdict


def progress_of(folder: ProbeFolder, cluster: str) -> Observer:
    """Progress and warnings of a trial, on standard error."""
    about = f"{folder.case} on {cluster}"
    return Observer(lambda state: remark(f"{about}: {state}"), lambda text: remark(f"{about}: {text}", "yellow"))


def print_trial(folder: ProbeFolder, cluster: str, trial: Trial, output: Output) -> int:
    """Print a trial; gives the exit code."""
    view, verdict = trial_as_run(folder, cluster, trial), trial.judgement.verdict
    if output is Output.JSON:
        print_json([to_json(view) | {"log": trial.log}])
    else:
        print_results([view])
        if verdict is not Verdict.PASS and trial.log.strip():
            console().print("\nLog", style="bold")
            console().print(trial.log.rstrip())
    return EXIT_CODES[verdict]
