"""`lab adopt` on the kinds of repositories that people made of the course."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lab.external.adopt.write import NoBlog, adopt
from lab.external.target import read_target
from tests.support.corpora import course, express, package, write_files

NODE = package("nodemon index.js", "index.js", "express", "axios")
FEED = "app.get('/posts', (req, res) => {});"
CREATE = "app.post('/posts', (req, res) => {});"


def adopt_files(files: dict[str, str], folder: Path) -> tuple[dict[str, Any], str]:
    """The data of the target file, which is valid, and its text."""
    write_files(files, folder / "theirs")
    adopt(folder / "theirs", folder / "mine.toml")
    read_target(folder / "mine.toml")
    text = (folder / "mine.toml").read_text("utf-8")
    return tomllib.loads(text), text


def uncertain(text: str) -> list[str]:
    return [line for line in text.splitlines()[2:] if "(?)" in line]


# ── What is no service


@pytest.mark.parametrize("needs", ["react-scripts", "vite", "react-dom", "next"])
def test_a_client_stays_out_despite_its_dockerfile(needs: str, tmp_path: Path) -> None:
    files = course() | {
        "client/package.json": package("npx serve", "index.js", needs),
        "client/Dockerfile": 'FROM node\nCMD ["npm", "start"]\n',
    }
    data, text = adopt_files(files, tmp_path)
    assert "client" not in data["services"]
    assert f"# Left out: client: it uses {needs}, so it runs in a browser." in text


@pytest.mark.parametrize(
    "image", ["redis", "nginx:alpine", "bitnami/mongo", "node AS x\nFROM nginx"]
)
def test_a_stock_image_is_no_service(image: str, tmp_path: Path) -> None:
    files = course() | {"cache/Dockerfile": f'FROM {image}\nCMD ["serve"]\n'}
    data, text = adopt_files(files, tmp_path)
    assert "cache" not in data["services"]
    assert "which is no service of the blog" in text


def test_a_package_that_never_listens_is_no_service(tmp_path: Path) -> None:
    files = course() | {
        "mailer/package.json": package("node mail.js"),
        "mailer/mail.js": "send()",
        "mailer/Dockerfile": 'FROM node\nCMD ["npm", "start"]\n',
    }
    assert "mailer" not in adopt_files(files, tmp_path)[0]["services"]


def test_another_system_in_the_repository_is_left_out(tmp_path: Path) -> None:
    files = {f"blog/{name}": text for name, text in course().items()} | {
        f"ticketing/{name}/{file}": text
        for name in ("auth", "orders")
        for file, text in {
            "package.json": NODE,
            "index.js": express("3000", "app.post('/api/orders', (req, res) => {});"),
        }.items()
    }
    data, text = adopt_files(files, tmp_path)
    assert list(data["services"]) == ["posts", "comments", "query", "moderation", "event-bus"]
    assert "# Left out: ticketing/auth: it is no part of the blog in blog." in text


def test_a_folder_without_a_blog_is_called_none(tmp_path: Path) -> None:
    files = {
        "order/package.json": NODE,
        "order/index.js": express("4000", "app.post('/order', (req, res) => {});"),
        "inventory/package.json": NODE,
        "inventory/index.js": express("4001", "app.get('/stock', (req, res) => {});"),
    }
    write_files(files, tmp_path / "theirs")
    with pytest.raises(
        NoBlog, match=r"is no blog.*inventory \(GET /stock\), order \(POST /order\)"
    ):
        adopt(tmp_path / "theirs", tmp_path / "mine.toml")
    assert not (tmp_path / "mine.toml").exists()


# ── Ports and settings


def test_a_port_in_a_dotenv_file_beats_the_default_in_code(tmp_path: Path) -> None:
    files = {
        "posts/package.json": package("nodemon index.js", "index.js", "dotenv"),
        "posts/.env": "# the port\nexport PORT=4010\nBUS='http://127.0.0.1:4005'\n",
        "posts/index.js": express("port", "const port = process.env.PORT || 5000;", CREATE),
        "comments/package.json": NODE,
        "comments/.env": "PORT=4011\n",  # which its code does not load
        "comments/index.js": express("process.env.PORT || 5001", FEED),
    }
    services = adopt_files(files, tmp_path)[0]["services"]
    assert (services["posts"]["port_env"], services["posts"]["port"]) == ("PORT", 4010)
    assert services["comments"]["port"] == 5001


def test_a_dotenv_file_may_be_elsewhere_and_hold_every_port(tmp_path: Path) -> None:
    code = "require('dotenv').config({ path: '../.env' });\nconst P = process.env.{}_PORT;"
    files = {".env": "POSTS_PORT=7000\nQUERY_PORT=7002\n"} | {
        f"{name}/{file}": text
        for name, route in (("posts", CREATE), ("query", FEED))
        for file, text in {
            "package.json": package("node index.js", "index.js", "dotenv"),
            "index.js": express("P", code.replace("{}", name.upper()), route),
        }.items()
    }
    services = adopt_files(files, tmp_path)[0]["services"]
    assert services["posts"]["port"] == 7000
    assert services["query"] | {"cwd": ""} == {
        "command": "node index.js",
        "cwd": "",
        "port_env": "QUERY_PORT",
        "port": 7002,
    }


@pytest.mark.parametrize(
    ("listen", "definition", "expected"),
    [
        ("PORT", "const PORT = 4010;", {"port": 4010}),
        ("PORT", "const PORT: number = 4010;", {"port": 4010}),
        ("PORT", "const PORT = 4010 || process.env.PORT;", {"port": 4010}),
        ("PORT", "const PORT = process.env.PORT ?? '4010';", {"port": 4010, "port_env": "PORT"}),
        ("PORT", "const { PORT = 4010 } = process.env;", {"port": 4010, "port_env": "PORT"}),
        ("config.port", "const config = { name: 'x', port: 4010 };", {"port": 4010}),
        ("Number(P)", "let P = process.env['PORT'] || 4010;", {"port": 4010}),
    ],
)
def test_the_name_that_listen_gets_is_looked_up(
    listen: str, definition: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    other = "const OTHER_PORT = process.env.OTHER_PORT || 9999;"
    files = {
        "posts/package.json": NODE,
        "posts/index.js": express(listen, other, definition, CREATE),
    }
    posts = adopt_files(files, tmp_path)[0]["services"]["posts"]
    assert expected.items() <= posts.items()


def test_variables_of_a_deployment_become_env(tmp_path: Path) -> None:
    files = course()
    files["posts/index.js"] += (
        "\naxios.post(process.env.BUS_URL + '/events');\nconnect(process.env.SECRET);"
        "\nlog(process.env.LEVEL || 'info');"
    )
    files["docker-compose.yml"] = (
        "services:\n  bus:\n    build: ./event-bus\n  posts:\n    build: posts\n"
        "    environment:\n      - BUS_URL=http://bus:4005\n      - LEVEL=debug\n"
        "  cache:\n    image: redis\n"
    )
    data, text = adopt_files(files, tmp_path)
    assert data["services"]["posts"]["env"] == {"BUS_URL": "{url:event-bus}"}
    assert "posts/index.js:12: it reads SECRET, and no file says its value" in text
    assert len(uncertain(text)) == 1


def test_kubernetes_says_ports_and_variables(tmp_path: Path) -> None:
    files = {
        "posts/main.go": (
            'package main\nfunc main() { app.Post("/posts", f); app.Listen(os.Getenv("ADDR")) }\n'
        ),
        "infra/posts.yaml": (
            "kind: Deployment\nmetadata: {name: posts-depl}\nspec:\n  template:\n"
            "    metadata: {labels: {app: posts}}\n    spec:\n      containers:\n"
            "        - name: posts\n          image: someone/posts\n"
            "          env: [{name: ADDR, value: ':4000'}]\n"
            "          ports: [{containerPort: 4000}]\n"
        ),
    }
    data, text = adopt_files(files, tmp_path)
    assert data["services"]["posts"]["env"] == {"ADDR": ":4000"}
    assert "port = 4000  # (?) infra/posts.yaml: containerPort" in text


def test_containers_with_one_port_get_others_here(tmp_path: Path) -> None:
    app = "from fastapi import FastAPI\napp = FastAPI()\n@app.{}('/posts')\ndef f(): ...\n"
    files = {
        f"{name}/{file}": text
        for name, verb in (("posts-svc", "post"), ("query-svc", "get"))
        for file, text in {
            "main.py": app.format(verb),
            "Dockerfile": 'FROM python\nCMD ["uvicorn", "main:app", "--port=80"]\n',
        }.items()
    }
    services = adopt_files(files, tmp_path)[0]["services"]
    assert [service["port"] for service in services.values()] == [0, 0]


def test_the_only_unknown_port_is_the_only_unknown_service(tmp_path: Path) -> None:
    files = course()
    files["query/index.js"] = f"const app = new Hono();\n{FEED}\nexport default app;"
    text = adopt_files(files, tmp_path)[1]
    (guess,) = uncertain(text)
    assert "4002/events, and it is the only service without a known port" in guess


# ── Addresses


def test_a_numeric_address_is_this_machine(tmp_path: Path) -> None:
    files = {
        "posts/package.json": NODE,
        "posts/index.js": express("4000", CREATE),
        "query/package.json": NODE,
        "query/index.js": express("4002", FEED),
        "dispatcher/package.json": NODE,
        "dispatcher/index.js": express(
            "4200",
            "app.post('/events', (req, res) => {",
            *(f"  axios.post('http://127.0.0.1:{port}/events', e);" for port in (4000, 4002)),
            "});",
        ),
    }
    data, text = adopt_files(files, tmp_path)
    assert data["bus"] == "dispatcher"
    assert "leads to a port" not in text


def test_two_names_of_one_bus_make_no_second_bus(tmp_path: Path) -> None:
    files = course()
    for name in ("event-bus", "event-bus-srv"):
        files["comments/index.js"] += f"\naxios.post('http://{name}:4005/events', e);"
    assert "bus" not in adopt_files(files, tmp_path)[0]


def test_names_made_by_a_template_are_guesses(tmp_path: Path) -> None:
    files = course()
    files["event-bus/index.js"] = express(
        "4005",
        "app.post('/events', (req, res) => {",
        "  for (const name of ['posts', 'query'])",
        "    axios.post(`http://${name}-cluster-ip-service:4000/events`, req.body);",
        "});",
    )
    data, text = adopt_files(files, tmp_path)
    assert data["hosts"]["query-cluster-ip-service"] == "query"
    assert data["hosts"]["posts-cluster-ip-service"] == "posts"
    assert all("made by a template" in line for line in uncertain(text))


def test_allowed_origins_are_no_calls(tmp_path: Path) -> None:
    files = course()
    files["posts/index.js"] += "\napp.use(cors({ origin: ['http://localhost:3000'] }));"
    assert uncertain(adopt_files(files, tmp_path)[1]) == []


# ── Names and actions


@pytest.mark.parametrize("folder", ["query-service", "QueryService", "query_srv"])
def test_the_service_that_collects_is_the_feed(folder: str, tmp_path: Path) -> None:
    files = {
        "post-service/package.json": NODE,
        "post-service/index.js": express("4000", FEED, CREATE),
        f"{folder}/package.json": NODE,
        f"{folder}/index.js": express("4002", "const comments = {};", FEED),
    }
    data, text = adopt_files(files, tmp_path)
    assert data["actions"]["read_feed"]["service"].startswith("query-s")
    assert data["actions"]["create_post"]["service"] == "post-service"
    assert "no service was found that lists" not in text


def test_a_path_in_parentheses_is_a_path(tmp_path: Path) -> None:
    files = course()
    files["query/index.js"] = express("4002", "app.get(('/everything'), (req, res) => {});")
    assert adopt_files(files, tmp_path)[0]["actions"]["read_feed"]["path"] == "/everything"


def test_mounted_routers_add_the_beginning_of_a_path(tmp_path: Path) -> None:
    files = course() | {
        "posts/package.json": package("node ./bin/www", "app.js", "express"),
        "posts/bin/www": (
            "var port = normalizePort(process.env.PORT || '4000');\nserver.listen(port);"
        ),
        "posts/app.js": (
            "const postsRouter = require('./routes/posts');\n"
            "app.use('/api', cors(), require('./routes'));\napp.use('/posts', postsRouter);"
        ),
        "posts/routes/index.js": "import old from './old.js'\nrouter.use('/v1', old);",
        "posts/routes/old.ts": "router.get('/posts', (req, res) => {});",
        "posts/routes/posts.js": "router.post('/create', async (req, res) => {});",
        "posts/index.js": "",
    }
    data, text = adopt_files(files, tmp_path)
    assert data["services"]["posts"]["port_env"] == "PORT"
    assert data["actions"]["create_post"]["path"] == "/posts/create"
    assert uncertain(text) == []


@pytest.mark.parametrize(
    "code",
    [
        "app.route('/v1/posts').get((q, r) => {}).post((q, r) => {});",
        "app.post('/v1/posts', controller.create);",
        "app.post('/v1/posts', wrap(async (q, r) => {}));",
        "const r = express.Router();\nr.post('/', f);\napp.use('/v1/posts', r);",
        "if (req.method === 'POST' && req.url === '/v1/posts') create();",
        "@Controller('v1/posts')\nclass Posts { @Post() create() {} }",
        "new Elysia().use(cors())\n  .post('/v1/posts', ({ body }) => body);",
    ],
)
def test_routes_are_written_in_many_ways(code: str, tmp_path: Path) -> None:
    files = {"posts/package.json": NODE, "posts/index.js": express("4000", code)}
    assert adopt_files(files, tmp_path)[0]["actions"]["create_post"]["path"] == "/v1/posts"


def test_calls_of_a_client_are_no_routes(tmp_path: Path) -> None:
    files = course()
    files["comments/index.js"] += "\naxios.post('/posts/articles/new', body, done);"
    assert "actions" not in adopt_files(files, tmp_path)[0]


def test_flask_routes_have_the_methods_they_say(tmp_path: Path) -> None:
    files = {
        "posts/main.py": (
            'from flask import Flask\nPORT = 4005\napp = Flask("x")\n@app.route("/health")\n'
            'def h(): ...\n@app.route(\n    "/articles",\n    methods=["GET", "POST"],\n)\n'
            "def p(): ...\napp.run(port=PORT)\n"
        )
    }
    data, text = adopt_files(files, tmp_path)
    assert data["services"]["posts"]["port"] == 4005
    assert data["actions"]["create_post"]["path"] == "/articles"
    assert data["actions"]["read_feed"]["path"] == "/articles"
    assert "It needs flask: install them once" in text


def test_prefixes_of_fastapi_and_flask_are_joined(tmp_path: Path) -> None:
    files = {
        "posts/app/__init__.py": "",
        "posts/app/main.py": (
            "from fastapi import FastAPI\nfrom app.routers import posts\napp = FastAPI()\n"
            'app.include_router(posts.router, prefix="/api")\n'
        ),
        "posts/app/routers/posts.py": (
            "from fastapi import APIRouter\n"
            'router = APIRouter(tags=["x"], prefix="/posts")\n@router.post("")\ndef f(): ...\n'
        ),
    }
    data, _ = adopt_files(files, tmp_path)
    posts = data["services"]["posts"]
    assert posts["command"] == "uvicorn app.main:app --port {port}"
    assert posts["cwd"] == "theirs/posts"
    assert data["actions"]["create_post"]["path"] == "/api/posts"


def test_a_handler_gets_every_field_that_it_reads(tmp_path: Path) -> None:
    files = course()
    files["posts/index.js"] = express(
        "4000",
        "app.post('/posts', (req, res) => {",
        "  const { title, content, id } = req.body;",
        "});",
        "app.post('/events', (req, res) => { const { type, data } = req.body; });",
    )
    body = adopt_files(files, tmp_path)[0]["actions"]["create_post"]["body"]
    assert body == {"title": "{title}", "content": "{title}"}


def test_a_handler_of_fastapi_gets_every_field_of_its_model(tmp_path: Path) -> None:
    files = {
        "posts/main.py": (
            "from fastapi import FastAPI\nfrom pydantic import BaseModel\napp = FastAPI()\n"
            "class Post(BaseModel):\n    id: str | None\n    title: str\n    content: str\n"
            "    tag: str = 'x'\n\n@app.post('/posts')\nasync def create(post: Post): ...\n"
        )
    }
    body = adopt_files(files, tmp_path)[0]["actions"]["create_post"]["body"]
    assert body == {"title": "{title}", "content": "{title}"}


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("res.status(200).json({ posts });", "posts"),
        ("res.send({ success: true, data: all });", "data"),
        ("res.send(posts);", None),
    ],
)
def test_posts_may_be_under_a_key(answer: str, key: str | None, tmp_path: Path) -> None:
    files = course()
    files["query/index.js"] = express(
        "4002",
        "app.post('/events', (req, res) => { res.send({ data: 1 }); });",
        f"app.get('/posts', (req, res) => {{ {answer} }});",
    )
    actions = adopt_files(files, tmp_path)[0].get("actions", {})
    assert actions.get("read_feed", {}).get("posts") == key


def test_an_id_of_another_name_is_read(tmp_path: Path) -> None:
    files = course()
    files["comments/index.js"] = express(
        "4001",
        "app.post('/posts/:id/comments', (req, res) => {",
        "  const { content } = req.body;",
        "  const commentId = randomBytes(4).toString('hex');",
        "  comments.push({ commentId, content });",
        "});",
    )
    files["posts/index.js"] = express(
        "4000",
        "app.post('/posts', (req, res) => {",
        "  const postId = randomBytes(4).toString('hex');",
        "  posts[postId] = { id: postId, title: req.body.title };",
        "});",
    )
    actions = adopt_files(files, tmp_path)[0]["actions"]
    assert actions["create_comment"] == {"id": "commentId"}
    assert actions["read_feed"] == {"comment": {"id": "commentId"}}
    assert "create_post" not in actions


# ── Commands


def test_typescript_is_run_by_what_the_package_has(tmp_path: Path) -> None:
    files = {
        "posts/package.json": package("nodemon index.ts", "index.ts", "tsx"),
        "posts/index.ts": express("4000", CREATE),
        "query/package.json": package("nodemon --exec ts-node src/index.ts"),
        "query/src/index.ts": express("4002", FEED),
        "comments/package.json": json.dumps(
            {"scripts": {"start": "node dist/index.js", "build": "tsc"}, "dependencies": {"a": "1"}}
        ),
        "comments/src/index.ts": express("4001"),
    }
    data, text = adopt_files(files, tmp_path)
    commands = {name: service["command"] for name, service in data["services"].items()}
    assert commands == {
        "posts": "npx tsx index.ts",
        "comments": "node dist/index.js",
        "query": "npx ts-node src/index.ts",
    }
    assert "# It has to be built first, and after each change: `npm run build`." in text
    assert data["ready_within_s"] == 60
    assert "# ts-node is not in its package.json: run `npm install ts-node typescript`" in text
    assert "# tsx is not" not in text


@pytest.mark.parametrize(
    ("scripts", "command"),
    [
        ({"dev": "nodemon"}, "node index.js"),
        ({"start": "nodemon -L ./index.js"}, "node index.js"),
        ({"start": "node --watch index.js"}, "node index.js"),
        ({"start": "NODE_ENV=x node index.js"}, "npm start"),
        ({"dev": "concurrently a b"}, "npm run dev"),
        ({"test": "exit 1"}, "node index.js"),
    ],
)
def test_start_scripts_lose_only_what_hides_an_end(
    scripts: dict[str, str], command: str, tmp_path: Path
) -> None:
    files = {
        "posts/package.json": json.dumps({"main": "index.js", "scripts": scripts}),
        "posts/index.js": express("4000", CREATE),
    }
    assert adopt_files(files, tmp_path)[0]["services"]["posts"]["command"] == command


# ── Moderation


@pytest.mark.parametrize(
    ("judge", "word"),
    [
        ("const status = data.content.includes('duck') ? 'rejected' : 'approved';", "duck"),
        ("const status = /fword/i.test(data.content) ? 'rejected' : 'approved';", "fword"),
        ("const badWords = ['nya', 'x'];\nconst status = f(badWords) ? 'rejected' : 'ok';", "nya"),
    ],
)
def test_the_forbidden_word_is_read(judge: str, word: str, tmp_path: Path) -> None:
    files = course()
    del files["moderation/package.json"], files["moderation/index.js"]
    files["newFeature/package.json"] = NODE
    files["newFeature/index.js"] = express(
        "4003",
        "app.post('/events', (req, res) => {",
        "  if (req.body.type === 'CommentCreated') {",
        f"  {judge}",
        "  axios.post('http://localhost:4005/events', { type: 'CommentModerated', data: {} });",
        "} });",
    )
    data, _ = adopt_files(files, tmp_path)
    assert (data["forbidden"], data["moderation"]) == (word, "new-feature")


def test_pythons_forbidden_word_is_read(tmp_path: Path) -> None:
    files = course()
    del files["moderation/package.json"], files["moderation/index.js"]
    files["moderation/main.py"] = (
        "from fastapi import FastAPI\napp = FastAPI()\n@app.post('/events')\ndef f(e):\n"
        '    status = "approved" if "caca" not in e["content"] else "rejected"\n'
    )
    data, _ = adopt_files(files, tmp_path)
    assert data["forbidden"] == "caca"
    assert "moderation" not in data


def test_other_words_for_statuses_are_read(tmp_path: Path) -> None:
    files = course()
    files["comments/index.js"] += "\nconst comment = { id, content, status: 'pendng' };"
    files["moderation/index.js"] += (
        "\nconst status = data.content.includes('orange') ? 'Rejected' : 'accepted';"
    )
    feed = adopt_files(files, tmp_path)[0]["actions"]["read_feed"]
    assert feed == {"statuses": {"pendng": "pending", "accepted": "approved"}}
