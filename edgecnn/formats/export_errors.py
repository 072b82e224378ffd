"""Errors of exporters: the operator that a format lacks, the layer that computes it, and the line of the network."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgecnn.core.third_party import first_line, quiet, sanitize

_MISSING = re.compile(r"(?:No ONNX function found for <OpOverload\(op='|Lowering not found: )([\w:.]+)")
_UNTRANSLATED = re.compile(r"translating node .*?target=torch\.ops\.([\w.]+)\]")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in \S+\n\s+(?P<code>.+)')
_OVERLOADS = (".default", ".Tensor", ".Scalar")
_DATA_DEPENDENT = ("data-dependent", "Data-dependent", "GuardOnDataDependentSymNode", "dynamic control flow")
LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
OTHER_FORMAT = "or ship another format: `edgecnn devices show` lists them"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What of the network an exporter cannot take, and what may mend it."""

    why: str
    hint: str


def explain(error: BaseException, title: str, module: nn.Module, shape: tuple[int, ...]) -> Explanation:
    """Explain what an exporter raised. `title` names the format, `shape` is the image's (C, H, W)."""
    untranslated = None
    while error.__cause__ is not None:
        untranslated = _UNTRANSLATED.search(str(error)) or untranslated
        error = error.__cause__
    text = str(error)
    missing = _MISSING.search(text)
    if missing is not None:
        return explain_operator(missing[1], title, module, shape)
    if untranslated is not None:
        explanation = explain_operator(untranslated[1], title, module, shape)
        return replace(explanation, why=f"{explanation.why} ({sanitize(first_line(error))})")
    line = _line(text) or _line("".join(traceback.format_tb(error.__traceback__)))
    said = sanitize(first_line(error))
    why = f"{said}, at {line}" if line else said
    if any(word in f"{type(error).__name__} {text}" for word in _DATA_DEPENDENT):
        hint = (
            "what an image holds must not choose the code: compute both branches and take torch.where, " + OTHER_FORMAT
        )
        return Explanation(why, hint)
    return Explanation(why, "the network has to pass torch.export: its manual says what it takes")


def explain_text(text: str, title: str, module: nn.Module, shape: tuple[int, ...]) -> Explanation:
    """The same for what a converter said in another process."""
    missing = _MISSING.search(text)
    if missing is not None:
        return explain_operator(missing[1], title, module, shape)
    return Explanation(sanitize(text), f"replace the operator it names, {OTHER_FORMAT}")


def explain_operator(operator: str, title: str, module: nn.Module, shape: tuple[int, ...]) -> Explanation:
    """Say which layer and line compute an operator, `aten.adaptive_max_pool2d`, that a format does not have."""
    for overload in _OVERLOADS:
        operator = operator.removesuffix(overload)
    place = ""
    with contextlib.suppress(Exception), quiet():  # an explanation must not fail where the export has
        exported = torch.export.export(module, (torch.zeros(1, *shape),), strict=False)
        place = _place(exported.graph.nodes, operator) or _place(exported.run_decompositions().graph.nodes, operator)
    why = f"{title} has no operator for this {operator}" + (f", which is computed {place}" if place else "")
    return Explanation(why, f"compute the same with other operators there, {OTHER_FORMAT}")


def _place(nodes: Iterable[Any], operator: str) -> str:
    """Where the first node of an operator comes from: `by layer q (AdaptiveMaxPool2d), net.py:20: return self.q(x)`."""
    node = next((node for node in nodes if str(node.target).startswith(operator + ".")), None)
    if node is None:
        return ""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = (str(stack[-1][0]), str(stack[-1][1])) if stack else ("", "")
    layer = f"by layer {path} ({kind.rpartition('.')[2]})" if path else ""
    line = _line(node.meta.get("stack_trace") or "")
    return ", ".join(filter(None, (layer, f"at {line}" if line else "")))


def _line(stack: str) -> str:
    """The innermost line of a stack that is not PyTorch's or ours, as `net.py:9: if x.sum() > 0:`."""
    frames = [frame for frame in _FRAME.finditer(stack) if not frame["file"].startswith((*LIBRARIES, "<"))]
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last['file']).name}:{last['line']}: {sanitize(last['code'])}"
