"""The tables of an evaluation, shared by all commands that print one."""

from collections.abc import Sequence
from typing import Final

from ssm_hpn.cli.console import table, titled
from ssm_hpn.counts import counted
from ssm_hpn.evaluation import Facts, number_header, number_rows
from ssm_hpn.metrics import F1, METRICS, Totals
from ssm_hpn.printable import on_one_line

MOST_CLASSES: Final = 50
"""Most classes that are shown; of more, the most frequent ones."""
UNFIT: Final = (
    "the fitted scale of the probabilities suits these documents less than that of training: evaluate --calibrate fits "
    "one to documents that were not trained on"
)
"""What is said where the calibration error is larger than before the fit."""
BY_CHANCE: Final = 0.05
"""Difference of two calibration errors that nothing is said of, as with few documents chance makes it."""
CLASS_HEADER: Final = ("class", "targets", "predicted", "right", "precision", "recall", F1.name)


def metric_table(facts: Facts, heading: str, *, targets: bool = False) -> str:
    """Every metric, beside that of the mean of the training data as prediction, and those of each number to predict."""
    if targets and not facts["targets"]:
        return "no document has a known target: there are no metrics"
    values, mean = facts["metrics"], facts.get("mean_predictor") or {}
    rows = []
    for metric in (METRICS[name] for name in values):
        means = [metric.show(mean[metric.name]) if metric.name in mean else ""] if mean else []
        rows.append([titled(metric), metric.show(values[metric.name]), *means])
    if targets:
        without = facts.get("documents_without_target")
        more = f", {counted(without, 'document')} without a target" if without else ""
        rows.append(["targets", f"{facts['targets']}{more}", *([""] if mean else [])])
    whole = table([heading, "value", *(["mean predictor"] if mean else [])], rows)
    numbers = number_rows(facts)
    return f"{whole}\n\n{table(number_header(facts), numbers)}" if numbers else whole


def class_rows(totals: Totals, names: Sequence[str] | None) -> list[list[str]]:
    """Per class: its name, targets, predictions, how many are right, precision, recall and F1; a dash for no number."""
    count = totals.n_classes
    there = [index for index in range(count) if totals.expected[index] or totals.predicted[index]]
    if not there:
        return []
    shown = sorted(sorted(there, key=lambda index: -int(totals.expected[index]))[:MOST_CLASSES])
    rows = []
    for index in shown:
        targets, predicted, right = (int(sums[index]) for sums in (totals.expected, totals.predicted, totals.hits))
        name = str(index) if names is None else names[index] if index < len(names) else f"output {index}"
        shares = [_share(right, predicted), _share(right, targets), _share(2 * right, targets + predicted)]
        rows.append([on_one_line(name), str(targets), str(predicted), str(right), *shares])
    if len(there) > len(shown):
        rows.append([f"and {counted(len(there) - len(shown), 'rarer one')}", *[""] * 6])
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "–"


def judgement_lines(facts: Facts) -> list[str]:
    """How far probabilities can be believed, what the threshold rejects, and how strange documents are told apart."""
    lines, calibration, reject, strange = [], *(facts.get(name) for name in ("calibration", "reject", "strange"))
    if calibration is not None:
        before = calibration["before"]
        was = "" if before is None else f", {before:.3f} before the temperature was fitted"
        lines.append(f"expected calibration error {calibration['expected_error']:.3f}{was}")
        if before is not None and calibration["expected_error"] > before + BY_CHANCE:
            lines.append(UNFIT)
    if (fitted := facts.get("fitted")) is not None:
        documents = counted(fitted["series"], "document")
        lines.append(
            f"the scale of the probabilities is {fitted['scale']:.4g} from now on, fitted to {documents}, whose "
            f"expected calibration error is {fitted['expected_error']:.3f} with it"
        )
    if reject is not None:
        lines.append(_reject_line(reject))
    if strange is not None:
        who = counted(strange["series"], "document")
        told = f"{who} of classes that the training data does not have"
        if strange["auroc"] is not None:
            told += f": AUROC {strange['auroc']:.3f} by the confidence"
        if strange["rejected"] is not None:
            told += f", {100 * strange['rejected']:.1f} % rejected"
        lines.append(told)
    return lines


def _reject_line(reject: Facts) -> str:
    accuracy = f" with an accuracy of {reject['accuracy']:.3f}" if "accuracy" in reject else ""
    line = (
        f"reject_below {reject['reject_below']:.6g} answers {100 * reject['answered']:.1f} % of the documents{accuracy}"
    )
    return line if reject["keep"] is None else f"{line}; predict uses it from now on"
