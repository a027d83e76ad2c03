"""Patterns that find ports, routes and fields in the code of a service, per language."""

import re
from dataclasses import dataclass
from re import Pattern

NUMBER = r"(?P<port>[1-9]\d{1,4})"


@dataclass(frozen=True)
class Language:
    """`serves`: finds a program that listens. `ports`: find its port, the most certain first, with
    a group `port`, `env` or both. `routes`: with the groups `path` and, mostly, `method`.
    """

    name: str
    suffixes: tuple[str, ...]
    server: Pattern[str]
    ports: tuple[Pattern[str], ...]
    routes: tuple[Pattern[str], ...]


_ROUTE_STRING = re.compile(r"""["'`](?P<method>GET|POST) (?P<path>/[^"'`\s]*)["'`]""")

NODE = Language(
    "Node",
    (".js", ".mjs", ".cjs", ".ts"),
    re.compile(r"\.listen\(|createServer\("),
    (
        re.compile(
            r"(?:listen|serve)\(\s*(?:Number\(|parseInt\(|\+)?process\.env\.(?P<env>\w+)\)?"
            rf"(?:\s*(?:\|\||\?\?)\s*{NUMBER})?"
        ),
        re.compile(rf"(?:listen|serve)\(\s*(?:\{{\s*port:\s*)?{NUMBER}\b"),
        re.compile(rf"process\.env\.(?P<env>\w*PORT\w*)\)?\s*(?:\|\||\?\?)\s*['\"]?{NUMBER}"),
        re.compile(rf"\b(?:const|let|var)\s+\w*port\w*\s*=\s*['\"]?{NUMBER}", re.IGNORECASE),
        re.compile(r"process\.env\.(?P<env>\w*PORT)\b"),
    ),
    (
        re.compile(
            r"\b\w+\.(?P<method>get|post|put|patch)\(\s*[\"'`](?P<path>/[^\"'`\s]*)[\"'`]"
            r"\s*,\s*(?:async|\(|\w+\s*=>|function|\w+[,)])"
        ),
        _ROUTE_STRING,
    ),
)

PYTHON = Language(
    "Python",
    (".py",),
    re.compile(r"\b(?:Flask|FastAPI|Starlette|Bottle|Quart)\(|HTTPServer\(|web\.run_app\("),
    (
        re.compile(
            r"(?:environ\.get\(|getenv\(|environ\[)\s*[\"'](?P<env>\w*PORT\w*)[\"']"
            rf"(?:\s*,\s*[\"']?{NUMBER})?"
        ),
        re.compile(rf"\bport\s*=\s*(?:int\()?[\"']?{NUMBER}"),
        re.compile(rf"Server\(\s*\(\s*[\"'][^\"']*[\"']\s*,\s*{NUMBER}"),
    ),
    (
        re.compile(
            r"@\w+\.route\(\s*[\"'](?P<path>/[^\"']*)[\"'](?:[^)\n]*methods\s*=\s*[\[(]\s*"
            r"[\"'](?P<method>\w+)[\"'])?"
        ),
        re.compile(r"@\w+\.(?P<method>get|post|put|patch)\(\s*[\"'](?P<path>/[^\"']*)[\"']"),
        re.compile(r"@\w+\(\s*[\"'](?P<method>GET|POST)[\"']\s*,\s*[\"'](?P<path>/[^\"']*)[\"']"),
        re.compile(r"add_(?P<method>get|post)\(\s*[\"'](?P<path>/[^\"']*)[\"']"),
    ),
)

GO = Language(
    "Go",
    (".go",),
    re.compile(r"ListenAndServe\(|\.Run\(|\.Listen\(|\.Start\("),
    (
        re.compile(r"os\.(?:Getenv|LookupEnv)\(\s*\"(?P<env>\w*PORT\w*)\""),
        re.compile(rf"(?:ListenAndServe|Run|Listen|Start)\(\s*\"[^\":]*:{NUMBER}\""),
        re.compile(rf"Addr:\s*\"[^\":]*:{NUMBER}\""),
    ),
    (
        re.compile(
            r"\b\w+\.(?P<method>GET|POST|Get|Post)\(\s*\"(?P<path>/[^\"]*)\"",
        ),
        re.compile(r"Handle(?:Func)?\(\s*\"(?:(?P<method>GET|POST) )?(?P<path>/[^\"]*)\""),
    ),
)

SHELL = Language(
    "shell",
    (".sh",),
    re.compile(r"."),
    (
        re.compile(rf"\$\{{(?P<env>\w*PORT\w*):?-{NUMBER}\}}"),
        re.compile(r"\$\{?(?P<env>\w*PORT\w*)\b"),
    ),
    (_ROUTE_STRING,),
)

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
