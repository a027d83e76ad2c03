"""JUnit XML, as CI systems read it, from a list of checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree


@dataclass(frozen=True)
class JUnitCase:
    """One check. `failure`: what was seen, in a sentence; "" if the check passed.

    `skip_reason`: why the check was not made. `classname`: its group, if not that of the suite.
    """

    name: str
    failure: str = ""
    details: str = ""
    skip_reason: str = ""
    classname: str = ""


class JUnitSuite(NamedTuple):
    """Checks that belong together and took `seconds`.

    `errors`: what could not be checked or stopped it early; None is passed over.
    """

    name: str
    classname: str
    cases: Sequence[JUnitCase]
    seconds: float
    errors: Sequence[JUnitCase | None] = ()


def render_junit(
    suite: str,
    classname: str,
    cases: Sequence[JUnitCase],
    seconds: float,
    *errors: JUnitCase | None,
) -> str:
    """An XML document with one suite."""
    return render_suites(JUnitSuite(suite, classname, cases, seconds, errors))


def render_suites(*suites: JUnitSuite) -> str:
    """An XML document with these suites."""
    root = ElementTree.Element("testsuites")
    root.extend(map(_suite_element, suites))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite_element(suite: JUnitSuite) -> ElementTree.Element:
    problems = [error for error in suite.errors if error is not None]
    suite_element = ElementTree.Element(
        "testsuite",
        name=_printable(suite.name),
        tests=str(len(suite.cases) + len(problems)),
        failures=str(sum(bool(case.failure) for case in suite.cases)),
        errors=str(len(problems)),
        skipped=str(sum(bool(case.skip_reason) for case in suite.cases)),
        time=f"{suite.seconds:.3f}",
    )
    for case in suite.cases:
        element = _add_case(suite_element, suite.classname, case)
        if case.failure:
            ElementTree.SubElement(
                element, "failure", message=_printable(case.failure)
            ).text = _printable(case.details)
        elif case.skip_reason:
            ElementTree.SubElement(element, "skipped", message=_printable(case.skip_reason))
    for error in problems:
        element = _add_case(suite_element, suite.classname, error)
        ElementTree.SubElement(
            element, "error", message=_printable(error.failure)
        ).text = _printable(error.details)
    return suite_element


def _add_case(suite: ElementTree.Element, classname: str, case: JUnitCase) -> ElementTree.Element:
    group = case.classname or classname
    return ElementTree.SubElement(suite, "testcase", classname=group, name=_printable(case.name))


def _printable(text: str) -> str:
    """The text with a blank for each unprintable character; XML can't contain most of them."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)
