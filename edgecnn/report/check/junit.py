"""JUnit XML of a check: one test case for each gate, as CI systems read it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from edgecnn.report.check.model import RegressionCheck

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(check: RegressionCheck) -> str:
    """A FAIL is a failure; an INCONCLUSIVE gate is an error, for nothing was shown. It ends in a newline."""
    counts = {word: sum(gate.outcome == word for gate in check.gates) for word in ("FAIL", "INCONCLUSIVE")}
    suite = ElementTree.Element(
        "testsuite",
        name="edgecnn check",
        tests=str(len(check.gates)),
        failures=str(counts["FAIL"]),
        errors=str(counts["INCONCLUSIVE"]),
        time=f"{check.seconds:.3f}",
        timestamp=check.created,
    )
    for gate in check.gates:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_text(check.candidate.name), name=gate.name, time=f"{check.seconds:.3f}"
        )
        if gate.outcome == "PASS":
            ElementTree.SubElement(case, "system-out").text = _text(gate.why)
        else:
            kind = "failure" if gate.outcome == "FAIL" else "error"
            ElementTree.SubElement(case, kind, type=gate.outcome, message=_text(gate.why))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _text(text: str) -> str:
    """A text without the characters that XML cannot hold; ElementTree escapes the others."""
    return _NOT_XML.sub("", text)
