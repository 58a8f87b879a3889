"""DRP004: two passes in eval mode differ, because a dropout is on."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import Exam, difference, label

CODE = "DRP004"


def check(exam: Exam) -> Iterator[Finding]:
    """Compare two passes in eval mode; blame the dropouts that were on in them."""
    first, second = exam.evals
    gap = difference(first, second)
    if gap == 0.0:
        return
    evidence = {"largest difference between two passes": gap}
    blamed: set[object] = set()
    for drop in first.drops:
        if not drop.on or drop.p == 0.0 or drop.silent or drop.key in blamed:
            continue
        blamed.add(drop.key)
        name = exam.name(drop.module)
        if drop.module is None:
            reason, advice = "its flag does not follow eval()", "pass training=self.training"
            if drop.name == "scaled_dot_product_attention":
                advice = "pass dropout_p=p if self.training else 0.0"
        elif drop.module not in exam.names:
            if _fresh(exam, drop.module):
                continue
            reason = "it is not registered, so eval() does not reach it"
            advice = "keep it on self as an attribute, or in an nn.ModuleList"
        else:
            reason = "it is in training mode although the model was put into eval mode"
            advice = "look for a train() or eval() that is overridden, or a stray train()"
        yield exam.finding(
            CODE,
            f"{label(drop, name)} drops in eval mode: {reason}",
            advice,
            drop=drop,
            evidence=evidence,
        )
    if blamed or any(d.on and not d.silent for d in first.drops):
        return
    if first.recorder.random and difference(first, exam.control) == 0.0:
        name, place = first.recorder.random[0]
        yield exam.finding(
            CODE,
            f"the output in eval mode is random: {name.lstrip('.')} is drawn in the forward pass",
            "draw only if self.training",
            evidence={**evidence, "drawn at": f"{place[0]}:{place[1]}"},
        )


def _fresh(exam: Exam, module: object) -> bool:
    """Whether the module was built for this pass: the other pass did not call it."""
    return all(drop.module is not module for drop in exam.evals[1].drops)
