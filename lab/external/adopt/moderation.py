"""Finds who judges comments, by which word, and what the statuses of a comment are called."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lab.external.adopt.services import DetectedService
from lab.external.adopt.sources import GuessedValue, SourceFile

_TOLD_VERDICT = re.compile(r"(?i)[\"'`]comment[-_.]?(?:moderated|approved|rejected|reviewed)[\"'`]")
_JUDGES = re.compile(r"(?i)reject|approv|flagg|banned|blocked")
_FORBIDDEN = (
    re.compile(
        r"(?:includes|indexOf|search|Contains|contains|count)\((?:[^()\"'`\n]*,)?\s*[\"'`](?P<word>[^\"'`\n]{2,40})[\"'`]"
    ),
    re.compile(r"[\"'](?P<word>[^\"'\n]{2,40})[\"']\s+(?:not\s+)?in\s+\w"),
    re.compile(r"/(?P<word>\w{2,40})/[gimu]*\.test\(|\.match\(\s*/(?P<other>\w{2,40})/"),
    re.compile(
        r"(?i)(?:bad|banned|forbidden|blocked|black|flagged|swear|curse)\w*\s*(?::[^=\n]*)?=\s*[\[({]\s*[\"'`](?P<word>[^\"'`\n]{2,40})[\"'`]"
    ),
)
_STATUS = re.compile(
    r"\bstatus[\"']?\s*[:=]\s*(?:[^;\n]*?\?\s*)?[\"'`](?P<word>\w{2,30})[\"'`]"
    r"(?:\s*:\s*[\"'`](?P<other>\w{2,30})[\"'`]|\s+if\b[^\n]*\belse\s+[\"'](?P<last>\w{2,30})[\"'])?"
)
_KNOWN_STATUSES = ("pending", "approved", "rejected")
_MEANINGS = (
    ("rejected", re.compile(r"(?i)reject|block|ban|den|flag|refus|inappropriate|spam|hid")),
    ("approved", re.compile(r"(?i)approv|accept|publish|allow|clean|^ok|^valid")),
    ("pending", re.compile(r"(?i)pend|wait|review|unmoderated|new")),
)


@dataclass
class DetectedModeration:
    """`service`: who judges, if its name does not say so. `statuses`: a TOML table of the words
    for statuses, if they are not the course's."""

    service: GuessedValue | None = None
    forbidden: GuessedValue | None = None
    statuses: GuessedValue | None = None


def find_moderation(
    services: list[DetectedService],
    actions: Mapping[str, Mapping[str, GuessedValue]],
    bus: GuessedValue | None,
) -> DetectedModeration:
    """The service that judges comments, the word that it rejects, and the words for statuses."""
    writers = {keys["service"].value for keys in actions.values() if "service" in keys}
    others = {"posts", "comments", "query"} | writers | ({bus.value} if bus else set())
    found = DetectedModeration()
    for service in services:
        if service.name in others:
            continue
        code = [source for source in service.sources if _JUDGES.search(source.without_comments)]
        told = next(
            (
                f"{source.location(match.start())}: {source.line_at(match.start())}"
                for source in service.sources
                if (match := _TOLD_VERDICT.search(source.without_comments))
            ),
            None,
        )
        if code and (told or "moderat" in service.name):
            if service.name != "moderation":
                found.service = GuessedValue(service.name, told or "its name", certain=bool(told))
            found.forbidden = _find_forbidden(code)
            found.statuses = _find_statuses([*_commenting(services), service])
            return found
    if not any("moderat" in service.name for service in services):
        commenting = list(_commenting(services))
        found.forbidden = _find_forbidden(
            source
            for service in commenting
            for source in service.sources
            if _JUDGES.search(source.without_comments)
        )
        found.statuses = _find_statuses(commenting)
    return found


def _commenting(services: list[DetectedService]) -> Iterator[DetectedService]:
    return (service for service in services if "comment" in service.role)


def _find_forbidden(code: Iterable[SourceFile]) -> GuessedValue | None:
    sources = list(code)
    for pattern in _FORBIDDEN:
        for source in sources:
            for match in pattern.finditer(source.without_comments):
                word = next(filter(None, match.groups()))
                if not _JUDGES.search(word) and not re.search(r"(?i)comment|event|post|/", word):
                    place = f"{source.location(match.start())}: {source.line_at(match.start())}"
                    return GuessedValue(word, place)
    return None


def _find_statuses(services: list[DetectedService]) -> GuessedValue | None:
    meanings: dict[str, str] = {}
    place = ""
    for service in services:
        for source in service.sources:
            for match in _STATUS.finditer(source.without_comments):
                line = source.without_comments[: match.start()].rpartition("\n")[2]
                if re.search(r"send\(|json\(|return", line):
                    continue  # how a request went
                for word in filter(None, match.groups()):
                    meaning = next((name for name, like in _MEANINGS if like.search(word)), None)
                    if word.lower() not in _KNOWN_STATUSES and meaning:
                        meanings[word] = meaning
                        place = place or f"{source.location(match.start())}: {match[0]}"
    inside = ", ".join(f'{word} = "{meaning}"' for word, meaning in meanings.items())
    return GuessedValue(f"{{ {inside} }}", place) if meanings else None
