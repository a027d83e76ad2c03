"""Patterns that find ports, routes and fields in the code of a service, per language."""

import re
from dataclasses import dataclass
from re import Pattern

# Parts of the patterns below.
_PORT = r"(?P<port>[1-9]\d{1,4})"
_QUOTE = r"[\"'`]"
_ENV_PORT = rf"{_QUOTE}(?P<env>\w*PORT\w*){_QUOTE}"
_PATH = rf"{_QUOTE}(?P<path>/[^\"'`\s]*){_QUOTE}"
_ANY_PATH = rf"{_QUOTE}(?P<path>(?:/[^\"'`\s]*)?){_QUOTE}"
_HTTP_CLIENTS = "axios|https?|api|client|fetch|got|superagent|instance|requests?|httpx"
_RECEIVER = rf"(?:\b(?P<on>(?!(?:{_HTTP_CLIENTS})\b)\w+)|\))"
_HANDLER = r"\s*,\s*(?:async\b|\(|\[|function\b|[\w.$]+\s*(?:=>|[,()]))"
_VERB = r"(?P<method>get|post|put|patch)"
_METHOD = rf"{_QUOTE}(?P<method>GET|POST|PUT){_QUOTE}"
_VERB_AND_PATH = rf"{_QUOTE}(?P<method>GET|POST) (?P<path>/[^\"'`\s]*){_QUOTE}"
_OR_ELSE = r"(?:\|\||\?\?)"


@dataclass(frozen=True)
class Language:
    """`lexer`: its name in Pygments. `server`: finds a program that listens. `ports`: find its
    port, the most certain first, with a group `port`, `env` or both. `port_name`: the name of the
    constant or variable with the port. `variables`: environment variables that the code reads
    without a default. `routes`: with the groups `path` and, mostly, `method` or `methods`, and
    `on`, the object that has the route. `prefixes`: `path` is the beginning of the paths on `name`.
    """

    name: str
    suffixes: tuple[str, ...]
    lexer: str
    server: Pattern[str]
    ports: tuple[Pattern[str], ...]
    routes: tuple[Pattern[str], ...]
    port_name: Pattern[str] | None = None
    variables: tuple[Pattern[str], ...] = ()
    prefixes: tuple[Pattern[str], ...] = ()


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
        re.compile(rf"{_RECEIVER}\s*\.{_VERB}\(\s*\(?\s*{_PATH}\s*\)?{_HANDLER}"),
        re.compile(
            rf"\b(?P<on>\w+)\.route\(\s*{_PATH}\s*\)(?P<chain>[^;]*?)(?=;|\n\s*\n|\.route\(|\Z)"
        ),
        re.compile(rf"method\s*===?\s*{_METHOD}\s*&&\s*[\w.]*(?:url|path\w*)\s*===?\s*{_PATH}"),
        re.compile(rf"\b(?:url|path\w*)\s*===?\s*{_PATH}\s*&&\s*[\w.]*method\s*===?\s*{_METHOD}"),
        re.compile(_VERB_AND_PATH),
    ),
    port_name=re.compile(
        r"\.listen\(\s*(?:\{\s*port:\s*)?(?:Number\(|parseInt\(|\+)?(?P<name>[A-Za-z_][\w.]*)"
    ),
    variables=(
        re.compile(
            r"(?<!\|\| )(?<!\?\? )process\.env(?:\.|\[[\"'])(?P<env>[A-Z]\w*)(?:[\"']\])?"
            r"(?!\w)(?!\s*(?:\|\||\?\?|\)\s*\|\|))"
        ),
    ),
    prefixes=(
        re.compile(rf"\b(?P<name>\w+)\s*=\s*new\s+(?:Koa)?Router\(\s*\{{[^}}]*prefix:\s*{_PATH}"),
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
        re.compile(rf"^\w*PORT\w*\s*(?::\s*\w+\s*)?=\s*(?:int\()?{_QUOTE}?{_PORT}", re.MULTILINE),
        re.compile(rf"Server\(\s*\(\s*[\"'][^\"']*[\"']\s*,\s*{_PORT}"),
    ),
    (
        re.compile(
            rf"@(?P<on>\w+)\.route\(\s*{_ANY_PATH}"
            r"(?:[^)]*?methods?\s*=\s*(?P<methods>[\[(][^\])]*[\])]|[\"']\w+[\"']))?"
        ),
        re.compile(rf"@(?P<on>\w+)\.{_VERB}\(\s*{_ANY_PATH}"),
        re.compile(rf"@\w+\(\s*{_QUOTE}(?P<method>GET|POST){_QUOTE}\s*,\s*{_PATH}"),
        re.compile(rf"(?:add_|\bweb\.){_VERB}\(\s*{_PATH}"),
    ),
    port_name=re.compile(r"\bport\s*=\s*(?:int\()?(?P<name>[A-Za-z_][\w.]*)\s*[,)]"),
    variables=(
        re.compile(r"environ\[\s*[\"'](?P<env>[A-Z]\w*)[\"']\s*\](?!\s*=)"),
        re.compile(r"(?:environ\.get|getenv)\(\s*[\"'](?P<env>[A-Z]\w*)[\"']\s*\)(?!\s*or\b)"),
    ),
    prefixes=(
        re.compile(
            rf"\b(?P<name>\w+)\s*=\s*(?:APIRouter|Blueprint)\([^)]*?\b(?:url_)?prefix\s*=\s*{_PATH}"
        ),
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
        re.compile(rf"\b\w*[Pp](?:ort|ORT)\w*\s*:?=\s*\"?:?{_PORT}\b"),
    ),
    (
        re.compile(rf"\b(?P<on>\w+)\.(?P<method>GET|POST|Get|Post)\(\s*{_PATH}"),
        re.compile(
            rf"\b(?:(?P<on>\w+)\.)?Handle(?:Func)?\(\s*{_PATH}"
            r"(?:[^\n]*\.Methods\((?P<methods>[^)]*)\))?"
        ),
        re.compile(rf"Handle(?:Func)?\(\s*{_VERB_AND_PATH}"),
    ),
    variables=(re.compile(r"os\.Getenv\(\s*\"(?P<env>[A-Z]\w*)\"\s*\)"),),
    prefixes=(re.compile(rf"\b(?P<name>\w+)\s*:?=\s*\w+\.Group\(\s*{_PATH}"),),
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

FRONT_ENDS = (
    *("react-scripts", "vite", "next", "@angular/core", "vue", "svelte", "parcel", "nuxt"),
    *("gatsby", "webpack-dev-server", "react-dom", "preact", "solid-js"),
)
"""A package that depends on one of these runs in a browser and is not a service."""

_TEMPLATE = r"\$?\{[^{}\s]{1,60}\}"
URL = re.compile(
    rf"https?://(?P<host>(?:[A-Za-z0-9]|{_TEMPLATE})(?:[A-Za-z0-9-]|{_TEMPLATE})*)(?P<domain>(?:\.[\w-]+)*)"
    rf"(?::(?P<port>\d{{2,5}}|{_TEMPLATE}))?(?P<path>/[\w/-]*)?"
)
"""A URL in the code. `host` ends before the first dot; a part of it may be made by a template."""

TEMPLATE = re.compile(_TEMPLATE)

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
