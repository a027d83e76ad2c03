"""JUnit XML, as CI systems read it, from a list of checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Case:
    """`failed`: what was seen, in a sentence; "" if the check passed. `why`: more about it.
    `skipped`: why the check was not made."""

    name: str
    failed: str = ""
    why: str = ""
    skipped: str = ""


def junit(
    suite: str, classname: str, cases: Sequence[Case], seconds: float, error: Case | None = None
) -> str:
    """A document with one suite that took `seconds`. `error`: what stopped the checks early."""
    of_all = ElementTree.Element(
        "testsuite",
        name=suite,
        tests=str(len(cases) + (error is not None)),
        failures=str(sum(bool(case.failed) for case in cases)),
        errors=str(int(error is not None)),
        skipped=str(sum(bool(case.skipped) for case in cases)),
        time=f"{seconds:.3f}",
    )
    for case in cases:
        element = _case(of_all, classname, case)
        if case.failed:
            ElementTree.SubElement(element, "failure", message=_told(case.failed)).text = _told(
                case.why
            )
        elif case.skipped:
            ElementTree.SubElement(element, "skipped", message=_told(case.skipped))
    if error is not None:
        element = _case(of_all, classname, error)
        ElementTree.SubElement(element, "error", message=_told(error.failed)).text = _told(
            error.why
        )
    suites = ElementTree.Element("testsuites")
    suites.append(of_all)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, classname: str, case: Case) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=case.name)


def _told(text: str) -> str:
    """The text with a blank for each unprintable character; XML can't contain most of them."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
