"""Whatever it is told, it tells everybody: once. Who does not listen has missed it."""

from threading import Thread
from typing import Any
from urllib.error import URLError

from tiny import post, route, serve

EVERYBODY = (
    "http://posts-clusterip-srv:4000/events",
    "http://comments-srv:4001/events",
    "http://query-srv:4002/events",
    "http://moderation-srv:4003/events",
)
events: list[Any] = []


def bring(url: str, event: Any) -> None:
    try:
        post(url, event)
    except (URLError, OSError) as error:
        print(f"{url}: {error}", flush=True)


@route("GET", "/events")
def replay() -> tuple[int, Any]:
    return 200, events


@route("POST", "/events")
def hear(body: Any) -> tuple[int, Any]:
    events.append(body)
    for url in EVERYBODY:
        Thread(target=bring, args=(url, body), daemon=True).start()
    return 200, {"status": "OK"}


serve()
