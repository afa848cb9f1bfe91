"""What the gate says, in each form: terminal, Markdown for a step summary, JSON, JUnit XML, GitHub annotations."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict

from reports import inert
from reports.gate import Judged, Verdict

WORD = {"pass": "ok", "regression": "WORSE", "inconclusive": "open"}


def text(verdict: Verdict) -> str:
    """The verdict for a terminal, one line a statement."""
    lines = [f"{verdict.name.upper()} (exit code {verdict.code}): {verdict.summary}"]
    lines += [f"  {WORD[one.outcome]:5} {one.name}: {one.why}" for one in verdict.judged]
    lines += [f"  {reason}" for reason in verdict.reasons if not verdict.judged]
    lines += [f"  notice: {notice}" for notice in verdict.notices]
    return "\n".join(inert.visible(line) for line in lines) + "\n"


def summary(verdict: Verdict, baseline: str, candidate: str) -> str:
    """Markdown for GITHUB_STEP_SUMMARY."""
    title = f"### Gate: {verdict.name}\n\n{inert.markdown(verdict.summary)}\n\n"
    lines = [f"Candidate {inert.markdown(candidate)} against baseline {inert.markdown(baseline)}.", ""]
    if verdict.judged:
        lines += ["| | statement | finding |", "| --- | --- | --- |"]
        lines += [f"| {WORD[o.outcome]} | {inert.markdown(o.name)} | {inert.markdown(o.why)} |" for o in verdict.judged]
    else:
        lines += [f"- {inert.markdown(reason)}" for reason in verdict.reasons]
    lines += [f"\n**Notice:** {inert.markdown(notice)}" for notice in verdict.notices]
    return title + "\n".join(lines) + "\n"


def as_json(verdict: Verdict, baseline: str, candidate: str) -> str:
    """Strict JSON with every number the verdict rests on."""
    data = {"verdict": verdict.name, "baseline": baseline, "candidate": candidate, **asdict(verdict)}
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def junit(verdict: Verdict) -> str:
    """JUnit XML: a test case per statement; a regression fails, what is open or not comparable is an error."""
    statements = verdict.judged or tuple(
        Judged(f"comparable {i}", "inconclusive", why, None, None, 0.0) for i, why in _reasons(verdict)
    )
    suite = ET.Element("testsuite", name="gate", tests=str(len(statements)))
    failures, errors = 0, 0
    for one in statements:
        case = ET.SubElement(suite, "testcase", classname="gate", name=inert.visible(one.name))
        if one.outcome == "pass":
            ET.SubElement(case, "system-out").text = inert.visible(one.why)
            continue
        failed = one.outcome == "regression" or (not verdict.judged and verdict.code == 1)
        failures, errors = failures + failed, errors + (not failed)
        ET.SubElement(case, "failure" if failed else "error", message=inert.visible(one.why), type=verdict.name)
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    suites = ET.Element("testsuites")
    suites.append(suite)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _reasons(verdict: Verdict) -> list[tuple[int, str]]:
    return list(enumerate(verdict.reasons, 1))


def github(verdict: Verdict) -> str:
    """GitHub workflow commands; data is escaped as GitHub asks, so that text cannot start a command of its own."""
    level = {0: "notice", 1: "error", 2: "warning", 3: "error"}[verdict.code]
    lines = [f"::{level} title=Gate {verdict.name}::{_escaped(verdict.summary)}"]
    lines += [f"::{level} title=Gate::{_escaped(reason)}" for reason in verdict.reasons[:9]]  # GitHub shows ten of a kind
    lines += [f"::notice title=Gate::{_escaped(notice)}" for notice in verdict.notices]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return inert.visible(value).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
