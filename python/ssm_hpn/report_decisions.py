"""The part of a run's page about single decisions: mistakes, typical series, evidence, calibration, rejection."""

from collections.abc import Sequence
from typing import Final

from ssm_hpn import page
from ssm_hpn.counts import counted
from ssm_hpn.decisions import Decisions, Picture, Reject
from ssm_hpn.pictures import reliability, series_picture
from ssm_hpn.printable import on_one_line
from ssm_hpn.svg import Axis, Curve, line_chart, short, show

ANSWERED: Final = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of answered series in the table of thresholds."""
EVIDENCE: Final = (
    "The strip below a series says where its decision comes from: what each step contributes to the score of the class "
    "that was predicted, less what it contributes to the class that it is compared with, as a mean over a 24th of it."
)


def decision_sections(decisions: Decisions | None) -> list[str]:
    """Sections of the page; none without the file."""
    if decisions is None:
        return []
    names = [on_one_line(name) for name in decisions.classes]
    wrong = decisions.count - decisions.right
    shown = len(decisions.mistakes)
    series = counted(decisions.count, "held-out series", "held-out series")
    some = f" of {decisions.out_of}" if decisions.out_of > decisions.count else ""
    lead = f"{counted(wrong, 'mistake')} among {series}{some}"
    which = f"{lead}; the {shown} whose own class was least probable" if wrong > shown > 0 else lead
    about = [f"{which}. {EVIDENCE if _has_evidence(decisions) else decisions.note or ''}".rstrip()]
    mistakes = page.charts(_picture(one, names) for one in decisions.mistakes)
    typical = page.charts(_picture(one, names) for one in decisions.typical)
    sections = [page.section("The worst mistakes" if wrong else "Mistakes", *map(page.paragraph, about), mistakes)]
    if typical:
        text = "Of each class a series that was recognised with middling probability, beside the next best class."
        sections.append(page.section("Typical series", page.paragraph(text), typical))
    curves = page.charts([_calibration(decisions), _reject(decisions.reject)])
    table = page.heading("Thresholds") + _thresholds(decisions.reject)
    return [*sections, page.section("Calibration and rejection", curves, table)]


def _has_evidence(decisions: Decisions) -> bool:
    return any(one.evidence for one in decisions.pictures)


def _picture(picture: Picture, names: Sequence[str]) -> str:
    predicted, against = names[picture.predicted], names[picture.against]
    chance = f"{100 * picture.probability:.0f} %"
    if picture.label != picture.predicted:
        own = f"{100 * picture.probability_of_label:.0f} %"
        remark = f"{short(names[picture.label], 40)} ({own}) taken for {short(predicted, 40)} ({chance})"
    else:
        remark = f"{short(predicted, 40)} ({chance})"
    if picture.n_channels > len(picture.channels) > 0:
        remark += f"; the first {len(picture.channels)} of {counted(picture.n_channels, 'channel')}"
    drawing = series_picture(picture, predicted=predicted, against=against)
    return page.figure(short(on_one_line(picture.name), 48), drawing, remark)


def _calibration(decisions: Decisions) -> str:
    found = decisions.calibration
    before = ""
    if found.before is not None:
        here = " to these series" if found.fitted_here else ""
        before = f" ({100 * found.before:.1f} % before the temperature was fitted{here})"
    remark = (
        f"expected error {100 * found.expected_error:.1f} %{before}, Brier score {show(found.brier)}, "
        f"log loss {show(found.log_loss)}"
    )
    return page.figure("Calibration", reliability(found.bins), remark)


def _reject(reject: Reject) -> str:
    curve = Curve("held out", reject.answered, reject.accuracy, 1, "points" if len(reject.answered) < 30 else "line")
    chart = line_chart(
        [curve],
        x=Axis("share of the series that are answered", percent=True),
        y=Axis("accuracy of the answers", percent=True),
        title="reject curve",
    )
    return page.figure("Accuracy of the answers", chart, "the least sure series left unanswered")


def _thresholds(reject: Reject) -> str:
    """For some shares the highest threshold that answers as many."""
    rows, seen = [], set()
    for share in ANSWERED:
        place = max((k for k, answered in enumerate(reject.answered) if answered >= share * (1 - 1e-9)), default=0)
        if place not in seen:
            seen.add(place)
            texts = (reject.answered[place], reject.accuracy[place])
            rows.append([*(f"{100 * value:.1f} %" for value in texts), f"{reject.thresholds[place]:.4g}"])
    return page.table(["answered", "accuracy of the answers", "reject_below"], rows)
