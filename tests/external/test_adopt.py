"""`lab adopt`: a first target from the files of a folder, which are read and never run."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lab.external.adopt.sources import MAX_BYTES
from lab.external.adopt.write import NoServiceFound, adopt
from lab.external.target import Target, TargetError, read_target
from tests.support import corpora
from tests.support.command_line import invoke_lab
from tests.support.corpora import course, write_files
from tests.support.worked_targets import TARGETS


def adopt_files(files: dict[str, str], folder: Path) -> tuple[str, dict[str, Any], list[str]]:
    """The text of the target file, its data, and the uncertain guesses in it."""
    write_files(files, folder / "theirs")
    uncertain = adopt(folder / "theirs", folder / "mine.toml")
    text = (folder / "mine.toml").read_text("utf-8")
    return text, tomllib.loads(text), uncertain


def line_of(text: str, begin: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(begin))


def test_the_courses_repository_is_found_as_it_is(tmp_path: Path) -> None:
    text, data, uncertain = adopt_files(course(), tmp_path)
    assert list(data["services"]) == ["posts", "comments", "query", "moderation", "event-bus"]
    posts = data["services"]["posts"]
    assert posts == {"command": "node index.js", "cwd": "theirs/posts", "port": 4000}
    assert 'posts/package.json: "start": "nodemon index.js"' in line_of(text, "command")
    assert "posts/index.js:10: app.listen(4000, () => console.log('up'));" in line_of(text, "port")
    assert "only its process can" in text
    assert "It needs express, axios: run `npm install` there once." in text
    assert "# Left out: client: it uses react-scripts" in text
    assert uncertain == []
    target = read_target(tmp_path / "mine.toml")
    assert (target.bus_name, target.missing_services()) == ("event-bus", ())
    assert target.actions == Target.model_fields["actions"].get_default(call_default_factory=True)


def test_names_of_a_cluster_become_hosts(tmp_path: Path) -> None:
    files = course("/posts/create", "event-bus-srv", kubernetes=True) | corpora.CLUSTER
    files["query/index.js"] += "\naxios.get('http://verdicts-srv:4003/x');"
    text, data, _ = adopt_files(files, tmp_path)
    assert data["hosts"] == {
        "event-bus-srv": "event-bus",
        "posts-clusterip-srv": "posts",
        "comments-srv": "comments",
        "query-srv": "query",
        "moderation-srv": "moderation",
        "verdicts-srv": "moderation",
    }
    assert data["actions"] == {"create_post": {"path": "/posts/create"}}
    assert line_of(text, "path").endswith("# posts/index.js:5: POST /posts/create")


def test_names_in_docker_compose_become_hosts(tmp_path: Path) -> None:
    files = course(bus="broker")
    files["deploy/docker-compose.yml"] = (
        "services:\n  broker:\n    build: ../event-bus\n  reader:\n    build: {context: ../query}\n"
        "  cache:\n    image: redis\n"
    )
    files["posts/index.js"] += "\naxios.get('http://reader/posts');"
    _, target, uncertain = adopt_files(files, tmp_path)
    assert target["hosts"] == {"broker": "event-bus", "reader": "query"}
    assert uncertain == []


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    files = course() | {"infra/posts.yaml": "kind: Service\nmetadata: [\n"}
    _, _, uncertain = adopt_files(files, tmp_path)
    assert uncertain == [
        "# (?) infra/posts.yaml:3: it is no valid YAML, so the names in it are not known."
    ]


def test_comments_name_no_port_and_no_route(tmp_path: Path) -> None:
    files = {
        "posts/app.py": (
            '"""Once: app.run(port=4999)"""\nfrom flask import Flask\napp = Flask("x")\n'
            "PATH = 'x#y'  # @app.get('/old')\n@app.get('/posts')\ndef posts(): ...\n"
            "app.run(port=4000)  # not: port=4998\n"
        ),
        "query/index.js": corpora.express("4002", "/* app.get('/feed', (q, r) => {});", "*/"),
    }
    text, target, _ = adopt_files(files, tmp_path)
    assert target["services"]["posts"]["port"] == 4000
    assert "/old" not in text
    assert "/feed" not in text


def test_a_name_that_only_its_port_explains_is_unsure(tmp_path: Path) -> None:
    files = course()
    files["query/index.js"] += "\naxios.get('http://who-knows:4001/x').get('http://lost-one/x');"
    _, data, uncertain = adopt_files(files, tmp_path)
    assert data["hosts"] == {"who-knows": "comments"}
    assert "by its port" in uncertain[1]
    assert "http://lost-one/x: no service was found for this name" in uncertain[0]


def test_a_port_that_comes_from_outside_can_be_moved(tmp_path: Path) -> None:
    text, data, _ = adopt_files(corpora.PORT_FROM_OUTSIDE, tmp_path)
    assert data["services"]["posts"] == {
        "command": "node src/server.js",
        "cwd": "theirs/blog/posts",
        "port_env": "PORT",
        "port": 4010,
    }
    assert '"main", and no start script' in line_of(text, "command")
    assert 'bus = "none"  # (?)' in text


def test_flask_and_fastapi_are_started_in_their_way(tmp_path: Path) -> None:
    _, data, uncertain = adopt_files(corpora.FLASK_AND_FASTAPI, tmp_path)
    services = data["services"]
    assert services["posts"]["command"] == "python3 app.py"
    assert services["posts"]["port_env"] == "PORT"
    assert services["comments"]["command"] == "uvicorn main:app --port {port}"
    assert services["query"]["command"] == "flask --app main:api run --port {port}"
    assert data["actions"]["create_comment"] == {"body": {"text": "{content}"}}
    assert data["actions"]["read_feed"]["path"] == "/feed"
    assert data["actions"]["read_feed"]["comment"] == {"content": "text"}
    assert any("as in create_comment" in line for line in uncertain)


def test_go_is_compiled_when_it_is_started(tmp_path: Path) -> None:
    text, data, _ = adopt_files(corpora.GO, tmp_path)
    assert data["services"]["posts"]["command"] == "go run ."
    assert data["services"]["posts"]["port"] == 4000
    assert data["services"]["comments"]["port_env"] == "HTTP_PORT"
    assert data["actions"]["create_post"] == {"body": {"name": "{title}"}}
    assert "go build -o service ." in text


def test_a_node_file_that_listens_needs_no_package(tmp_path: Path) -> None:
    files = {
        "posts/server.js": corpora.express("4000"),
        "posts/index.js": "module.exports = 1",
        "client/app.js": "document.title = 'x'",
        "comments/index.js": corpora.express("4001"),
    }
    text, data, _ = adopt_files(files, tmp_path)
    assert {name: entry["command"] for name, entry in data["services"].items()} == {
        "posts": "node server.js",
        "comments": "node index.js",
    }
    assert data["services"]["comments"]["port"] == 4001
    assert "no package.json is beside it" in text


def test_one_program_may_do_everything(tmp_path: Path) -> None:
    _, data, uncertain = adopt_files(corpora.SINGLE_SERVICE, tmp_path)
    (name,) = data["services"]
    assert name == "theirs"
    assert data["services"][name]["port"] == 3000
    assert data["actions"]["create_post"] | {"id": "_id"} == {
        "service": "theirs",
        "path": "/api/posts",
        "id": "_id",
    }
    comment = data["actions"]["create_comment"]
    assert comment["path"] == "/api/comments"
    assert comment["body"] == {"text": "{content}", "postId": "{post_id}"}
    assert data["actions"]["read_feed"]["service"] == "theirs"
    assert any(line.startswith('id = "_id"') for line in uncertain)


def test_an_unknown_language_is_taken_from_its_container(tmp_path: Path) -> None:
    text, data, uncertain = adopt_files(corpora.DOCKERFILE_ONLY, tmp_path)
    posts = data["services"]["posts"]
    assert posts == {"command": "ruby posts.rb", "cwd": "theirs/posts", "port": 4567}
    assert "Nothing but its Dockerfile was understood." in text
    assert any(line.startswith("command") for line in uncertain)


def test_an_unknown_port_is_not_made_up(tmp_path: Path) -> None:
    files = {"shop/package.json": corpora.package("node a.js"), "shop/a.js": "http.createServer(f)"}
    _, _, uncertain = adopt_files(files, tmp_path)
    message = "no port was found in its code; one that you know is assumed"
    assert any(message in entry for entry in uncertain)
    with pytest.raises(TargetError, match="nothing says where it listens"):
        read_target(tmp_path / "mine.toml")


@pytest.mark.parametrize("name", ["node-blog", "python-blog", "shell-blog"])
def test_the_worked_targets_are_found_by_looking(name: str, tmp_path: Path) -> None:
    adopt(TARGETS / name, tmp_path / "mine.toml")
    mine, worked = read_target(tmp_path / "mine.toml"), read_target(TARGETS / name / f"{name}.toml")
    assert mine.bus_name == worked.bus_name
    assert mine.hosts == worked.hosts
    assert mine.actions.create_post.path == worked.actions.create_post.path
    assert mine.actions.create_comment.body == worked.actions.create_comment.body
    if name != "shell-blog":
        assert set(mine.services) == set(worked.services)
    for entry, other in zip(mine.services.values(), worked.services.values(), strict=True):
        assert (entry.command, entry.movable) == (other.command, other.movable)


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    write_files(course(), tmp_path / "theirs")
    (tmp_path / "mine.toml").write_text("mine")
    with pytest.raises(FileExistsError, match="stays as it is"):
        adopt(tmp_path / "theirs", tmp_path / "mine.toml")
    assert (tmp_path / "mine.toml").read_text() == "mine"


def test_a_folder_without_a_service_gets_no_file(tmp_path: Path) -> None:
    write_files({"notes/a.py": "x = 1", "client/index.html": "<p>"}, tmp_path / "theirs")
    with pytest.raises(NoServiceFound, match="Looked for: package"):
        adopt(tmp_path / "theirs", tmp_path / "mine.toml")
    with pytest.raises(NotADirectoryError, match="There is no folder"):
        adopt(tmp_path / "nowhere", tmp_path / "mine.toml")
    assert not (tmp_path / "mine.toml").exists()


def test_whatever_is_in_the_files_the_target_stays_toml(tmp_path: Path) -> None:
    files = {
        'a "b" \\ c/package.json': corpora.package('node \\"x\\u0007'),
        'a "b" \\ c/index.js': "app.listen(4000, '\x1b[31m\x00\u2028 # \"');",
        "broken/package.json": "{",
        "list/package.json": "[]",
        "big/package.json": corpora.package(),
        "big/index.js": "x" * MAX_BYTES + "app.listen(1234)",
        "7/package.json": corpora.package(),
        "7/index.js": corpora.express("4001"),
    }
    write_files(files, tmp_path / "theirs")
    (tmp_path / "theirs" / "round").symlink_to(tmp_path / "theirs")
    (tmp_path / "theirs" / "bytes.js").write_bytes(bytes(range(256)))
    adopt(tmp_path / "theirs", tmp_path / "mine.toml")
    text = (tmp_path / "mine.toml").read_text("utf-8")
    data = tomllib.loads(text)
    assert list(data["services"]) == ["service-7", "a-b-c"]
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert "broken/package.json: it is no JSON that npm could read." in text


def test_nothing_of_what_is_there_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    files = {
        "one/start.sh": f"touch {mark}\nexec serve ${{PORT:-4000}}",
        "two/main.py": f"open({str(mark)!r}, 'w')\nfrom flask import Flask\napp = Flask('x')",
    }
    write_files(files, tmp_path / "theirs")
    data = invoke_lab("adopt", "theirs", "--to", "mine.toml", cwd=tmp_path)
    assert data.returncode == 0, data.stderr
    assert "mine.toml is written. Nothing was started." in data.stdout
    assert "Next: lab validate mine.toml" in data.stdout
    assert not mark.exists()
