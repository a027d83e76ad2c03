"""The blog's behaviour, tested with one suite in every arrangement."""

from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.support.laboratory import Laboratory, RunningBlog, eventually

AWKWARD_TEXTS = {
    "html": "<script>alert('é')</script> & <b>so on</b>",
    "bidi": "abc \u202egnp.exe\u202c \u2066שלום\u2069",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 🇪🇺",
    "combining": "e\u0301 is not é here",
    "control": "nul \x00 escape \x1b[31m bell \x07 tab\tline\nfeed",
    "separators": "line\u2028paragraph\u2029nel\u0085end",
    "quotes": """'; DROP TABLE posts; -- " \\ %s {0} %(x)s""",
    "beyond the plane": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff",
    "looks like JSON": '{"id": null}',
}


def read_feed_comments(blog: RunningBlog, post_id: str) -> list[dict[str, Any]]:
    """The post's comments in the feed, once all of them are decided."""
    blog.settle()
    comments: list[dict[str, Any]] = (blog.feed_entry(post_id) or {"comments": []})["comments"]
    return comments


def test_a_post_is_read_by_id_and_in_the_list(blog: RunningBlog) -> None:
    response = blog.ask("POST", "posts", "/posts", json={"title": "Hello"})
    assert response.status_code == 201
    post = response.json()
    assert post == {"id": post["id"], "title": "Hello"}
    assert isinstance(post["id"], str)
    assert blog.get("posts", f"/posts/{post['id']}") == post
    assert blog.get("posts", "/posts", limit=1) == [post]


def test_ids_are_ordered_by_time(blog: RunningBlog) -> None:
    post = blog.write_post()
    ids = [blog.write_post()["id"] for _ in range(5)]
    assert ids == sorted(set(ids))
    ids = [blog.write_comment(post["id"])["id"] for _ in range(5)]
    assert ids == sorted(set(ids))


def test_lists_and_feed_begin_with_the_newest(blog: RunningBlog) -> None:
    newest_first = [blog.write_post(f"Number {number}") for number in range(4)][::-1]
    assert blog.get("posts", "/posts", limit=4) == newest_first
    feed = blog.get("query", "/feed", limit=4)
    assert feed == [post | {"comments": []} for post in newest_first]


@pytest.mark.parametrize(("target", "path"), [("posts", "/posts"), ("query", "/feed")])
def test_before_pages_through_everything_without_gap_or_overlap(
    blog: RunningBlog, target: str, path: str
) -> None:
    written = [blog.write_post(f"Page {number}")["id"] for number in range(7)][::-1]
    everything = [row["id"] for row in blog.all_of(target, path)]
    assert everything[:7] == written
    paged: list[str] = []
    while page := blog.get(target, path, limit=2, before=paged[-1] if paged else "~"):
        assert len(page) == min(2, len(everything) - len(paged))
        paged += [row["id"] for row in page]
    assert paged == everything


def test_without_a_limit_twenty_are_shown(blog: RunningBlog) -> None:
    for number in range(21):
        assert blog.ask("POST", "posts", "/posts", json={"title": f"{number}"}).ok
    blog.settle()
    assert len(blog.get("posts", "/posts")) == 20
    assert len(blog.get("query", "/feed")) == 20
    assert len(blog.get("posts", "/posts", limit=21)) == 21


def test_comments_with_the_forbidden_word_are_rejected_others_approved(blog: RunningBlog) -> None:
    post = blog.write_post()
    comment = blog.write_comment(post["id"], "an apple")
    assert list(comment) == ["id", "post_id", "content", "status"]
    assert (comment["post_id"], comment["content"]) == (post["id"], "an apple")
    assert comment["status"] in ("pending", "approved")
    blog.write_comment(post["id"], "an orange")
    decided = {one["content"]: one["status"] for one in read_feed_comments(blog, post["id"])}
    assert decided == {"an apple": "approved", "an orange": "rejected"}


def test_the_feed_shows_each_post_with_its_comments_oldest_first(blog: RunningBlog) -> None:
    one, other = blog.write_post("One"), blog.write_post("Other")
    written = [blog.write_comment(one["id"], f"comment {number}")["id"] for number in range(4)]
    apart = blog.write_comment(other["id"], "apart")["id"]
    assert [comment["id"] for comment in read_feed_comments(blog, other["id"])] == [apart]
    comments = blog.get("comments", f"/posts/{one['id']}/comments")
    assert [comment["id"] for comment in comments] == written
    assert blog.feed_entry(one["id"]) == {**one, "comments": comments}


def test_comments_of_many_posts_are_read_at_once(blog: RunningBlog) -> None:
    posts = [blog.write_post() for _ in range(3)]
    for post in posts:
        blog.write_comment(post["id"], f"on {post['id']}")
    asked = f"{posts[0]['id']},{posts[2]['id']},nobody"
    found = blog.get("comments", "/comments", post_ids=asked)
    assert [comment["post_id"] for comment in found] == [posts[0]["id"], posts[2]["id"]]
    assert list(found[0]) == ["id", "post_id", "content", "status"]
    assert blog.get("comments", "/comments", post_ids="") == []


def test_a_missing_post_can_be_neither_read_nor_commented_on(blog: RunningBlog) -> None:
    for response in (blog.ask("GET", "posts", "/posts/nobody"), blog.comment("nobody")):
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == 404
        assert problem["definite"] is True
        assert "nobody" in problem["detail"]
    assert blog.get("comments", "/posts/nobody/comments") == []


@pytest.mark.parametrize("addition", ["%23", "%3F", "%3Fx=1", "%20", "%0A", "%252e", "%00"])
def test_an_id_with_something_behind_it_is_not_that_id(blog: RunningBlog, addition: str) -> None:
    post = blog.write_post()
    refused = blog.comment(post["id"] + addition)
    assert refused.status_code in (404, 405), refused.text
    assert blog.get("comments", f"/posts/{post['id']}/comments") == []


@pytest.mark.parametrize("text", AWKWARD_TEXTS.values(), ids=AWKWARD_TEXTS)
def test_texts_come_back_as_they_were_written(blog: RunningBlog, text: str) -> None:
    post = blog.write_post(text)
    assert blog.write_comment(post["id"], text)["content"] == text
    assert [comment["content"] for comment in read_feed_comments(blog, post["id"])] == [text]
    entry = blog.feed_entry(post["id"]) or {}
    read = blog.get("posts", f"/posts/{post['id']}")
    assert (post["title"], entry["title"], read["title"]) == (text, text, text)


def test_texts_are_stripped_and_may_have_their_greatest_length(blog: RunningBlog) -> None:
    longest, long = "👍" * 196, "ü" * 1_997
    post = blog.write_post(f" \t{longest}\u3000\n")
    assert post["title"] == longest
    assert blog.write_comment(post["id"], f"\u00a0{long}\r\n")["content"] == long


def test_each_service_tells_its_name_and_that_it_is_ready(blog: RunningBlog) -> None:
    for target in ("posts", "comments", "moderation", "query"):
        process = blog.stack.arrangement.process_of(target)
        expected = {"service": process, "arrangement": blog.arrangement, "status": "ready"}
        assert blog.get(target, "/health") == expected


def test_a_service_without_its_bus_says_what_it_waits_for(laboratory: Laboratory) -> None:
    with laboratory.blog("async-bus", "behaviour-waiting") as blog:
        (query,) = (one for one in blog.stack.programs if one.name.endswith("query"))
        blog.kill("event-bus")
        blog.kill("query")
        laboratory.run(laboratory.supervisor.start(replace(query, health=None)))  # no waiting

        def waiting() -> Any:
            try:
                response = blog.ask("GET", "query", "/health")
            except OSError:
                return None
            return response.json() if response.status_code == 503 else None

        told = eventually(waiting, "a service that waits")
        assert (told["status"], told["waits_for"]) == ("waiting", "the event bus")
        blog.restart("event-bus")
        eventually(lambda: blog.ask("GET", "query", "/health").ok, "a service that is ready")


def test_the_chain_answers_503_while_an_asked_service_is_down(chain_blog: RunningBlog) -> None:
    post = chain_blog.write_post()
    with chain_blog.broken("down", "moderation"):
        refused = chain_blog.comment(post["id"])
    assert refused.status_code == 503
    assert refused.json()["definite"] is True
    assert chain_blog.get("comments", f"/posts/{post['id']}/comments") == []
    assert chain_blog.comment(post["id"]).status_code == 201


def test_questions_by_events_time_out_without_service_or_bus(laboratory: Laboratory) -> None:
    with laboratory.blog("request-reply", "behaviour-asked-by-events", timeout_ms=200) as blog:
        post = blog.write_post()

        def comment(status: int, says: str) -> bool:
            answer = blog.comment(post["id"])
            return answer.status_code == status and says in answer.text

        with blog.broken("down", "moderation"):
            eventually(lambda: comment(504, "moderation"), "an answer that moderation is missing")
        assert blog.get("comments", f"/posts/{post['id']}/comments") == []
        eventually(lambda: comment(201, ""), "a comment, once moderation is back")
        with blog.broken("down", "event-bus"):
            assert blog.ask("GET", "query", "/feed").status_code in (503, 504)
            assert blog.get("posts", "/posts") == [post]
        eventually(lambda: blog.ask("GET", "query", "/feed").ok, "a feed, once the bus is back")


def test_a_killed_monolith_answers_nothing_and_keeps_its_posts(laboratory: Laboratory) -> None:
    with laboratory.blog("monolith", "behaviour-in-one") as blog:
        post = blog.write_post()
        with blog.broken("down", "moderation"):
            for target, path in (("posts", "/posts"), ("query", "/feed")):
                with pytest.raises(requests.ConnectionError):
                    blog.ask("GET", target, path)
        assert blog.get("posts", "/posts") == [post]
        assert blog.comment(post["id"]).json()["status"] == "approved"
