"""Target files: what the shortest means, what each key accepts, and the messages for mistakes."""

import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from lab.conformance.contract import CRITERIA
from lab.conformance.outages import OUTAGES
from lab.external.target import (
    Target,
    TargetError,
    read_target,
    service_path,
    start_problems,
    target_schema,
)
from tests.support.command_line import invoke_lab
from tests.support.foreign_blog import ACTIONS
from tests.support.worked_targets import TARGETS

GUIDE = (Path(__file__).parents[2] / "docs" / "bring-your-own.md").read_text("utf-8")
PUBLISHED = Path(__file__).parents[2] / "docs" / "target.schema.json"

COURSE = """
[services.posts]
command = "node index.js"
cwd = "posts"
port_env = "PORT"

[services.event-bus]
command = ["node", "a b.js"]
"""


def load(folder: Path, text: str = COURSE, name: str = "my blog.toml") -> Target:
    (folder / "posts").mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return read_target(folder / name)


def test_what_a_short_file_leaves_out_is_the_courses(tmp_path: Path) -> None:
    target = load(tmp_path)
    assert (target.name, target.bus_name, target.events) == ("my-blog", "event-bus", "/events")
    assert (target.public_port("posts"), target.public_port("event-bus")) == (4000, 4005)
    assert target.services["posts"].command == ("node", "index.js")
    assert target.services["event-bus"].command == ("node", "a b.js")
    assert target.working_folder("posts") == tmp_path / "posts"
    assert target.working_folder("event-bus") == tmp_path
    assert [one.movable for one in target.services.values()] == [True, False]
    assert target.actions.create_comment.path == "/posts/{post_id}/comments"


def test_it_is_told_its_port_and_where_the_others_are(tmp_path: Path) -> None:
    text = """
    [services.comments]
    command = "serve --port {port} --style '{color:red}'"
    env = { DB = "{data}/db", BUS_URL = "{url:event-bus}/events", POSTS_PORT = "{port:posts}" }
    port_env = "HTTP_PORT"
    """
    service = load(tmp_path, text).services["comments"]
    command, env = service.command_and_env(7001, {"event-bus": 7005, "posts": 7000}, tmp_path)
    assert command == ("serve", "--port", "7001", "--style", "{color:red}")
    assert env == {
        "HTTP_PORT": "7001",
        "DB": f"{tmp_path}/db",
        "BUS_URL": "http://127.0.0.1:7005/events",
        "POSTS_PORT": "7000",
    }
    assert service.referenced_services() == ("event-bus", "posts")


def test_names_of_a_cluster_are_asked_of_the_sidecar(tmp_path: Path) -> None:
    target = load(tmp_path, '[hosts]\n"posts-srv:4000" = "posts"\n' + COURSE)
    assert target.host_ports({"posts": 7000}) == {"posts": 7000, "posts-srv:4000": 7000}
    result = target.proxy_environment(7000)
    assert (result["HTTP_PROXY"], result["http_proxy"]) == ("http://127.0.0.1:7000",) * 2
    assert "localhost" in result["no_proxy"]
    assert load(tmp_path).proxy_environment(7000) == {}
    # A service that always listens on its own port can have a sidecar in front of it only if it is
    # called by name.
    assert not target.can_have_sidecar("event-bus")
    target = load(tmp_path, '[hosts]\nevent-bus-srv = "event-bus"\n' + COURSE)
    assert target.can_have_sidecar("event-bus")


def test_a_part_says_what_it_lacks_to_stand_alone(tmp_path: Path) -> None:
    assert load(tmp_path).missing_services() == (
        "services.comments: there is none, and create_comment asks it.",
        "services.query: there is none, and read_feed asks it.",
    )
    everything = "".join(f'[actions.{name}]\nservice = "posts"\n' for name in ACTIONS)
    assert load(tmp_path, COURSE + everything).missing_services() == ()


def test_a_bus_may_have_another_name_or_not_be_there(tmp_path: Path) -> None:
    assert load(tmp_path, 'bus = "none"\n' + COURSE).bus_name is None
    assert load(tmp_path, 'bus = "posts"\n' + COURSE).bus_name == "posts"
    assert load(tmp_path, COURSE.replace("event-bus", "moderation")).bus_name is None


PORT, POSTS = 'port_env = "PORT"', "[services.posts]"
EVN = "services.posts has no such key. Did you mean 'port_env'?"
BUSS = "services.posts: there is no service 'event-buss' here. Did you mean 'event-bus'?"
NO_FEED = "actions.read_feed.service: there is no service 'feed' here. Known: posts, event-bus"
TITEL = "actions.create_post: There is no {titel} to fill in here. Did you mean {title}?"
NOT_A_PATH = ":5: services.posts.ready: saw 'health'; expected a path"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (PORT, 'port_evn = "PORT"', f"my blog.toml:5: services.posts.port_evn: {EVN}"),
        ("node index.js", "node 'index.js", ":3: services.posts.command: \"node 'index.js\" can't"),
        ('"node index.js"', '" "', "services.posts.command: it is empty. Say what starts"),
        ('["node", "a b.js"]', "[]", ":8: services.event-bus.command: "),
        ('cwd = "posts"', 'cwd = "psots"', ":4: services.posts.cwd: there is no folder 'psots'"),
        (PORT, "port = 4005", ":7: services.event-bus.port: 4005 is posts's already"),
        (PORT, "port = 0", ":5: services.posts.port: nothing says where it listens"),
        (PORT, 'port = "4000"', "port: saw '4000'; expected a whole number"),
        (PORT, "port = 70000", ":5: services.posts.port: saw 70000; expected"),
        (PORT, 'ready = "health"', NOT_A_PATH),
        (POSTS, f'bus = "bus"\n{POSTS}', ":2: bus: there is no service 'bus'"),
        (PORT, 'env = { BUS = "{url:event-buss}" }', BUSS),
        (POSTS, f'[hosts]\n"srv" = "post"\n{POSTS}', "hosts: 'srv' is said to be 'post'. there"),
        (POSTS, f'[actions.read_feed]\nservice = "feed"\n{POSTS}', NO_FEED),
        (POSTS, f'[actions.create_post]\nbody = {{ t = "{{titel}}" }}\n{POSTS}', TITEL),
        (POSTS, f'name = "x"\n{POSTS}', "name: a target is named by its file"),
        (POSTS, f'folder = "/"\n{POSTS}', "folder: a target has no such key"),
        (POSTS, "[services.Posts]", "services.Posts: saw 'Posts'; expected small"),
        (POSTS, "[services.posts", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in COURSE
    with pytest.raises(TargetError) as caught:
        load(tmp_path, COURSE.replace(old, new))
    assert says in str(caught.value).removeprefix(f"{tmp_path}/")


def test_the_schema_in_the_docs_is_the_codes() -> None:
    assert json.loads(PUBLISHED.read_text()) == target_schema(), (
        "Write it anew: lab validate --schema --target > docs/target.schema.json"
    )


def test_an_editor_sees_by_the_schema_what_is_wrong() -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(target_schema())
    assert list(validator.iter_errors(tomllib.loads(COURSE))) == []
    for old, new in (
        ("port_env", "port_evn"),
        ('"node index.js"', "3"),
        ('cwd = "posts"', 'ready = "posts"'),
        ("services.posts", "service.posts"),
    ):
        assert list(validator.iter_errors(tomllib.loads(COURSE.replace(old, new)))), new


def test_the_command_tells_a_part_from_a_whole(tmp_path: Path) -> None:
    load(tmp_path)
    part = invoke_lab("validate", "my blog.toml", cwd=tmp_path)
    assert part.returncode == 0
    assert "can be started. Services: posts, event-bus." in part.stdout
    assert "services.query: there is none, and read_feed asks it." in part.stdout
    assert "--replace" in part.stdout
    whole = invoke_lab("validate", str(TARGETS / "node-blog" / "node-blog.toml"), cwd=tmp_path)
    assert "Next: lab check" in whole.stdout
    printed = invoke_lab("validate", "--schema", "--target", cwd=tmp_path)
    assert json.loads(printed.stdout) == target_schema()


def test_what_would_not_start_here_is_said_beforehand(tmp_path: Path) -> None:
    text = """
    [services]
    posts = { command = "cd posts && node index.js" }
    comments = { command = "no-such-program index.js" }
    query = { command = "./no-such-file" }
    moderation = { command = ["sh", "-c", "cd posts && exec node index.js"] }
    event-bus = { command = "sh start.sh | tee log" }
    """
    no_shell = (
        "is for a shell, and no shell is in between. Use `cwd` for the folder and `env` for "
        'variables, or ["sh", "-c", "…"] with all of it in one text.'
    )
    missing = "started on this machine: %s. Is it installed, and spelled so?"
    assert [one.partition(".command: ")[::2] for one in start_problems(load(tmp_path, text))] == [
        ("services.posts", f"'cd' {no_shell}"),
        ("services.comments", f"'no-such-program' can't be {missing % 'it is not on the PATH'}"),
        ("services.query", f"'./no-such-file' can't be {missing % 'there is no such file'}"),
        ("services.event-bus", f"'|' {no_shell}"),
    ]
    result = invoke_lab("validate", "my blog.toml", cwd=tmp_path)
    assert result.returncode == 0
    assert "is valid, but can't be started here. Services: posts" in result.stdout
    assert "no shell is in between" in result.stdout


# ── The guide


def test_the_file_that_the_guide_explains_is_one(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    target = load(tmp_path, "\n".join(blocks[1:]) + '[services.event-bus]\ncommand = "x"\n')
    assert target.actions.read_feed.posts == "data.posts"
    assert target.services["posts"].movable
    read = {*target.model_fields_set, *target.services["posts"].model_fields_set}
    known = {*Target.model_fields, *target.services["posts"].__class__.model_fields}
    assert known - read == set()  # the guide has every key


def test_the_guide_names_each_criterion_and_each_outage() -> None:
    assert [one.key for one in CRITERIA if f"`{one.key}`" not in GUIDE] == []
    outages = GUIDE.partition("## The outages")[2].partition("\n## ")[0]
    assert outages.count("\n| ") - 1 == len(OUTAGES)


def test_a_service_runs_without_the_labs_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, theirs = tmp_path / "lab" / "bin", tmp_path / "theirs"
    for folder, name in ((own, "python3"), (own, "only-here"), (theirs, "python3")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "lab"))
    path = os.pathsep.join(map(str, (own, theirs)))
    monkeypatch.setenv("PATH", path)
    assert service_path("python3") == str(theirs)
    assert service_path("only-here") == path
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert service_path("python3") == path
