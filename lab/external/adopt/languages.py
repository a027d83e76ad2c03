"""Patterns that find ports, routes and fields in the code of a service, per language."""

import re
from dataclasses import dataclass
from re import Pattern

# Parts of the patterns below.
_PORT = r"(?P<port>[1-9]\d{1,4})"
_QUOTE = r"[\"'`]"
_ENV_PORT = rf"{_QUOTE}(?P<env>\w*PORT\w*){_QUOTE}"
_PATH = rf"{_QUOTE}(?P<path>/[^\"'`\s]*){_QUOTE}"
_VERB = r"(?P<method>get|post|put|patch)"
_VERB_AND_PATH = rf"{_QUOTE}(?P<method>GET|POST) (?P<path>/[^\"'`\s]*){_QUOTE}"
_OR_ELSE = r"(?:\|\||\?\?)"


@dataclass(frozen=True)
class Language:
    """`lexer`: its name in Pygments. `server`: finds a program that listens. `ports`: find its
    port, the most certain first, with a group `port`, `env` or both. `routes`: with the groups
    `path` and, mostly, `method`.
    """

    name: str
    suffixes: tuple[str, ...]
    lexer: str
    server: Pattern[str]
    ports: tuple[Pattern[str], ...]
    routes: tuple[Pattern[str], ...]


NODE = Language(
    "Node",
    (".js", ".mjs", ".cjs", ".ts"),
    "typescript",
    re.compile(r"\.listen\(|createServer\("),
    (
        re.compile(
            r"(?:listen|serve)\(\s*(?:Number\(|parseInt\(|\+)?process\.env\.(?P<env>\w+)\)?"
            rf"(?:\s*{_OR_ELSE}\s*{_PORT})?"
        ),
        re.compile(rf"(?:listen|serve)\(\s*(?:\{{\s*port:\s*)?{_PORT}\b"),
        re.compile(rf"process\.env\.(?P<env>\w*PORT\w*)\)?\s*{_OR_ELSE}\s*{_QUOTE}?{_PORT}"),
        re.compile(rf"\b(?:const|let|var)\s+\w*port\w*\s*=\s*{_QUOTE}?{_PORT}", re.IGNORECASE),
        re.compile(r"process\.env\.(?P<env>\w*PORT)\b"),
    ),
    (
        re.compile(rf"\b\w+\.{_VERB}\(\s*{_PATH}\s*,\s*(?:async|\(|\w+\s*=>|function|\w+[,)])"),
        re.compile(_VERB_AND_PATH),
    ),
)

PYTHON = Language(
    "Python",
    (".py",),
    "python",
    re.compile(r"\b(?:Flask|FastAPI|Starlette|Bottle|Quart)\(|HTTPServer\(|web\.run_app\("),
    (
        re.compile(
            rf"(?:environ\.get\(|getenv\(|environ\[)\s*{_ENV_PORT}(?:\s*,\s*{_QUOTE}?{_PORT})?"
        ),
        re.compile(rf"\bport\s*=\s*(?:int\()?{_QUOTE}?{_PORT}"),
        re.compile(rf"Server\(\s*\(\s*[\"'][^\"']*[\"']\s*,\s*{_PORT}"),
    ),
    (
        re.compile(
            rf"@\w+\.route\(\s*{_PATH}(?:[^)\n]*methods\s*=\s*[\[(]\s*{_QUOTE}(?P<method>\w+))?"
        ),
        re.compile(rf"@\w+\.{_VERB}\(\s*{_PATH}"),
        re.compile(rf"@\w+\(\s*{_QUOTE}(?P<method>GET|POST){_QUOTE}\s*,\s*{_PATH}"),
        re.compile(rf"add_{_VERB}\(\s*{_PATH}"),
    ),
)

GO = Language(
    "Go",
    (".go",),
    "go",
    re.compile(r"ListenAndServe\(|\.Run\(|\.Listen\(|\.Start\("),
    (
        re.compile(rf"os\.(?:Getenv|LookupEnv)\(\s*{_ENV_PORT}"),
        re.compile(rf"(?:(?:ListenAndServe|Run|Listen|Start)\(|Addr:)\s*\"[^\":]*:{_PORT}\""),
    ),
    (
        re.compile(rf"\b\w+\.(?P<method>GET|POST|Get|Post)\(\s*{_PATH}"),
        re.compile(rf"Handle(?:Func)?\(\s*{_PATH}"),
        re.compile(rf"Handle(?:Func)?\(\s*{_VERB_AND_PATH}"),
    ),
)

SHELL = Language(
    "shell",
    (".sh",),
    "bash",
    re.compile(r"."),
    (
        re.compile(rf"\$\{{(?P<env>\w*PORT\w*):?-{_PORT}\}}"),
        re.compile(r"\$\{?(?P<env>\w*PORT\w*)\b"),
    ),
    (re.compile(_VERB_AND_PATH),),
)

LANGUAGES = (NODE, PYTHON, GO, SHELL)

FRONT_ENDS = ("react-scripts", "vite", "next", "@angular/core", "vue", "svelte", "parcel")
"""A package that depends on one of these runs in a browser and is not a service."""

URL = re.compile(
    r"https?://(?P<host>[A-Za-z][A-Za-z0-9-]*)(?::(?P<port>\d{2,5}|\$\{\w+\}))?(?P<path>/[\w/-]*)?"
)
"""A URL in the code. `host` ends before the first dot."""

BODY_FIELD = re.compile(
    r"\{(?P<many>[^{}\n]{1,200})\}\s*=\s*(?:await\s+)?(?:req|request|ctx\.request)\.body"
    r"|\b(?:req\.body|request\.body|body|request\.json|get_json\(\)|payload)"
    r"(?:\.(?P<key>[a-z]\w*)|\[[\"'](?P<item>\w+)[\"']\]|\.get\(\s*[\"'](?P<got>\w+)[\"'])"
    r"|json:\"(?P<tag>\w+)"
    r"|^\s+(?P<typed>\w+)\s*:\s*str\b"
    r"|field (?P<asked>\w+)\)",
    re.MULTILINE,
)
"""Fields that a handler reads from the body of a request."""
