"""Small repositories of the usual shapes, as files: what a student who took the course has."""

import json
from pathlib import Path


def write_files(files: dict[str, str], folder: Path) -> Path:
    """Write the files into the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def package(start: str = "", main: str = "index.js", *needs: str, **more: object) -> str:
    scripts = {"start": start} if start else {"test": "exit 1"}
    manifest = {
        "main": main,
        "scripts": scripts,
        "dependencies": dict.fromkeys(needs, "^1.0.0"),
        **more,
    }
    return json.dumps(manifest)


def express(port: str, *lines: str) -> str:
    return "\n".join(
        (
            "const express = require('express');",
            "const app = express();",
            *lines,
            f"app.listen({port}, () => console.log('up'));",
        )
    )


PUBLISH_CALL = "await axios.post('http://{host}:4005/events', {{ type: 'X', data: {{}} }});"
EVENTS_ROUTE = "app.post('/events', (req, res) => { res.send({}); });"
SUBSCRIBERS = [
    ("posts-clusterip-srv", 4000),
    ("comments-srv", 4001),
    ("query-srv", 4002),
    ("moderation-srv", 4003),
]


def course(
    create: str = "/posts", bus: str = "localhost", kubernetes: bool = False
) -> dict[str, str]:
    """The course's repository, with a client, in its first or in its second half."""
    subscribers = [(host if kubernetes else "localhost", port) for host, port in SUBSCRIBERS]
    publish_call = PUBLISH_CALL.format(host=bus)
    node = package("nodemon index.js", "index.js", "express", "axios")
    return {
        "client/package.json": package("react-scripts start", "index.js", "react", "react-scripts"),
        "client/src/App.js": "axios.get('http://posts.com/posts');",
        "posts/package.json": node,
        "posts/node_modules/express/index.js": "app.listen(9999)",
        "posts/index.js": express(
            "4000",
            "// app.post('/old', (req, res) => {});",
            "app.get('/posts', (req, res) => res.send(posts));",
            f"app.post('{create}', async (req, res) => {{",
            "  const { title } = req.body;",
            f"  {publish_call}",
            "});",
            EVENTS_ROUTE,
        ),
        "comments/package.json": node,
        "comments/index.js": express(
            "4001",
            "app.get('/posts/:id/comments', (req, res) => { res.send([]); });",
            "app.post('/posts/:id/comments', async (req, res) => {",
            "  const { content } = req.body;",
            "});",
            EVENTS_ROUTE,
        ),
        "query/package.json": node,
        "query/index.js": express("4002", "app.get('/posts', (req, res) => {});", EVENTS_ROUTE),
        "moderation/package.json": node,
        "moderation/index.js": express("4003", EVENTS_ROUTE),
        "event-bus/package.json": node,
        "event-bus/index.js": express(
            "4005",
            "app.post('/events', (req, res) => {",
            *(f"  axios.post('http://{host}:{port}/events', event);" for host, port in subscribers),
            "});",
            "app.get('/events', (req, res) => { res.send(events); });",
        ),
    }


CLUSTER = {
    "infra/k8s/moderation.yaml": "\n".join(
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: moderation-depl\n---",
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: verdicts-srv\nspec:",
            "  selector:\n    app: moderation\n  ports:\n    - port: 4003\n",
        )
    )
}

PORT_FROM_OUTSIDE = {
    "blog/posts/package.json": package("", "src/server.js"),
    "blog/posts/src/server.js": express("PORT").replace(
        "const app", "const PORT = process.env.PORT || 4010;\nconst app"
    ),
}

FLASK_AND_FASTAPI = {
    "posts/app.py": (
        "import os\nfrom flask import Flask, request\napp = Flask(__name__)\n"
        "@app.route('/posts', methods=['POST'])\ndef create():\n    body = request.get_json()\n"
        "    return {'id': 1, 'title': body['title']}, 201\n"
        "app.run(port=int(os.environ.get('PORT', 4000)))\n"
    ),
    "comments/main.py": (
        "from fastapi import FastAPI\nfrom pydantic import BaseModel\napp = FastAPI()\n"
        "class New(BaseModel):\n    text: str\n"
        "@app.post('/posts/{post_id}/comments')\ndef create(post_id: str, new: New): ...\n"
    ),
    "query/main.py": (
        "from flask import Flask\napi = Flask(__name__)\n@api.get('/feed')\ndef feed(): ...\n"
    ),
}

GO = {
    "posts/go.mod": "module posts\n",
    "posts/main.go": (
        'package main\nimport "net/http"\ntype draft struct { Name string `json:"name"` }\n'
        'func main() {\n\thttp.HandleFunc("POST /posts", create)\n'
        '\thttp.ListenAndServe(":4000", nil)\n}\n'
    ),
    "comments/main.go": (
        "package main\nfunc main() {\n\tr := gin.Default()\n"
        '\tr.POST("/posts/:id/comments", create)\n\tr.Run(":" + os.Getenv("HTTP_PORT"))\n}\n'
    ),
}

SINGLE_SERVICE = {
    "package.json": package("node server.js", "server.js", "express"),
    "server.js": express(
        "3000",
        "app.get('/api/posts', (req, res) => {});",
        "app.post('/api/posts', (req, res) => { db.insert({ _id: 1, title: req.body.title }) });",
        "app.post('/api/comments', (req, res) => {",
        "  const { postId, text } = req.body;",
        "});",
    ),
}

DOCKERFILE_ONLY = {
    "posts/Dockerfile": 'FROM ruby\nEXPOSE 4567\nCMD ["ruby", "posts.rb"]\n',
    "posts/posts.rb": "post '/posts' do\nend\n",
}
