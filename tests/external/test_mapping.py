"""External answers, mapped to the lab's shape or to a sentence: pure functions, many cases."""

import gzip
import json
import zlib
from typing import Any

import pytest
from pydantic import ValidationError

from lab.external.mapping import Actions, CreateComment, CreatePost, ReadFeed
from lab.external.responses import (
    MAX_BYTES,
    ExternalResponse,
    UnexpectedResponse,
    decode_comment,
    decode_feed,
    decode_post,
    value_at,
)

COURSE = Actions()


def make_response(
    body: Any, status: int = 200, service: str = "query", **headers: str
) -> ExternalResponse:
    """An answer to a request; a body that is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = COURSE.read_feed.build_request(limit="20")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ExternalResponse(service, asked, status, names, content)


def decoded_post_id(body: Any, title: str = "A title", **changed: Any) -> str:
    return decode_post(CreatePost(**changed), make_response(body, 201, "posts"), title).id


def decoded_comment(body: Any, content: str = "hello", **changed: Any) -> tuple[str, str]:
    action = CreateComment(**changed)
    made = decode_comment(action, ReadFeed(), make_response(body, 201, "comments"), "p1", content)
    assert (made.post_id, made.content) == ("p1", content)
    return made.id, made.status


def decoded_feed(
    body: Any, limit: int = 20, before: str | None = None, **changed: Any
) -> list[Any]:
    return decode_feed(ReadFeed(**changed), make_response(body), limit, before)[0]


def caught_error(function: Any, *arguments: Any, **options: Any) -> UnexpectedResponse:
    with pytest.raises(UnexpectedResponse) as caught:
        function(*arguments, **options)
    return caught.value


# ── Requests


def test_without_a_word_the_requests_are_the_courses() -> None:
    post = COURSE.create_post.build_request(title="A title")
    comment = COURSE.create_comment.build_request(post_id="a1b2", content="hello")
    assert (post.summary, post.body) == ("POST /posts", b'{"title": "A title"}')
    assert comment.summary == "POST /posts/a1b2/comments"
    assert json.loads(comment.body) == {"content": "hello"}
    read = COURSE.read_feed.build_request(limit="20")
    assert (read.summary, read.body) == ("GET /posts", b"")


def test_each_service_is_asked_for_its_own_actions() -> None:
    whole = {name: {"service": "app"} for name in ("create_post", "create_comment", "read_feed")}
    assert Actions.model_validate(whole).actions_of("app") == tuple(whole)
    assert COURSE.actions_of("posts") == ("create_post",)
    assert COURSE.actions_of("comments") == ("create_comment",)
    assert COURSE.actions_of("query") == ("read_feed",)
    assert COURSE.actions_of("moderation") == ()


def test_a_value_in_a_path_stays_one_part() -> None:
    asked = COURSE.create_comment.build_request(post_id="../a/b?c#d é", content="x")
    assert asked.path == "/posts/..%2Fa%2Fb%3Fc%23d%20%C3%A9/comments"


@pytest.mark.parametrize("text", ['"quoted"', "{content}", "{post_id}", "é☃", "a\r\nb", "\\"])
def test_a_value_in_a_body_is_that_text_only(text: str) -> None:
    body = COURSE.create_comment.build_request(post_id="p1", content=text).body
    assert json.loads(body) == {"content": text}


def test_a_body_may_be_of_any_shape() -> None:
    shape = {"data": [{"text": "about {post_id}: {content}"}, 7, None, True], "id": "{post_id}"}
    action = CreateComment(path="/comments/create", body=shape)
    body = action.build_request(post_id="9", content="hello").body
    expected = {"data": [{"text": "about 9: hello"}, 7, None, True], "id": "9"}
    assert json.loads(body) == expected


def test_an_id_may_go_as_a_number() -> None:
    body = {"postId": "{post_id:number}", "comment": "{content}"}
    action = CreateComment(path="/comments", body=body)
    sent = json.loads(action.build_request(post_id="12", content="hello").body)
    assert sent == {"postId": 12, "comment": "hello"}
    with pytest.raises(ValueError, match="'a1' is no number"):
        action.build_request(post_id="a1", content="hello")
    assert ReadFeed(path="/posts?limit={limit}").build_request(limit="5").path == "/posts?limit=5"


@pytest.mark.parametrize(
    ("action", "changed", "says"),
    [
        (CreatePost, {"body": {"title": "{titel}"}}, "Did you mean {title}?"),
        (CreatePost, {"body": {"title": "A title"}}, "Nothing says where {title} goes"),
        (CreateComment, {"path": "/comments"}, "Nothing says where {post_id} goes"),
        (CreateComment, {"path": "/{post_id:number}/x"}, "mixes a number with other text"),
        (CreateComment, {"body": "no {post_id:number} {content}"}, "mixes a number"),
        (ReadFeed, {"path": "/posts/{post_id}"}, "There is no {post_id} to fill in here"),
        (CreatePost, {"path": "posts"}, "pattern"),
        (CreatePost, {"path": "/posts HTTP/1.1\r\nX: y"}, "pattern"),
        (CreatePost, {"method": "post"}, "'GET', 'POST'"),
        (CreatePost, {"headers": {"Host": "x"}}, "is written by the lab"),
        (CreatePost, {"headers": {"X-Y": "a\r\nZ: b"}}, "pattern"),
        (CreatePost, {"idd": "x"}, "Extra inputs"),
        (ReadFeed, {"newest": "lst"}, "'last' or 'first'"),
        (ReadFeed, {"statuses": {"ok": "fine"}}, "'pending', 'approved'"),
        (CreatePost, {"service": ""}, "at least 1"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_reason(
    action: Any, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        action(**changed)
    assert says in str(caught.value)


def test_a_mapping_survives_its_way_through_json() -> None:
    mapping = Actions(create_post=CreatePost(path="/posts/create", id="post._id"))
    assert Actions.model_validate_json(mapping.model_dump_json()) == mapping


# ── Created resources


@pytest.mark.parametrize(
    ("body", "changed", "expected"),
    [
        ({"id": "a1", "title": "A title"}, {}, "a1"),
        ({"id": 7, "title": "A title"}, {}, "7"),
        ({"_id": "a1"}, {"id": "_id"}, "a1"),
        ({"post": {"_id": {"$oid": "a1"}}}, {"id": "post._id.$oid"}, "a1"),
        ([{"id": "a0", "title": "Another"}, {"id": "a1", "title": "A title"}], {}, "a1"),
        ({"a0": {"title": "Another"}, "a1": {"title": "A title"}}, {}, "a1"),
        ({"a1": {"id": "a1", "title": "A title"}}, {}, "a1"),
        ("a1", {"id": ""}, "a1"),
        ([{"id": "a1"}], {"id": "0.id"}, "a1"),
    ],
)
def test_the_id_of_a_new_post_is_found(body: Any, changed: dict[str, Any], expected: str) -> None:
    assert decoded_post_id(body, **changed) == expected


HELLO, OTHER = {"id": "c1", "content": "hello"}, {"id": "c2", "content": "x"}
APPROVED, PENDING = ("c1", "approved"), ("c1", "pending")


@pytest.mark.parametrize(
    ("body", "changed", "expected"),
    [
        (HELLO | {"status": "pending"}, {}, PENDING),
        (HELLO, {}, APPROVED),
        ({"id": "c1"}, {}, APPROVED),
        ([HELLO | {"id": "c0"}, HELLO], {}, APPROVED),  # the newer of two equal ones
        ([HELLO | {"status": "rejected"}, OTHER], {}, ("c1", "rejected")),
        ({"c2": {"content": "x"}, "c1": {"content": "hello"}}, {}, APPROVED),
        ({"id": "p1", "comments": [HELLO]}, {}, APPROVED),
        ({"comment": {"id": "c1", "status": "pending"}}, {"id": "comment.id"}, PENDING),
        ([{"commentId": 3, "comment": "hello"}], {"id": "commentId"}, ("3", "approved")),
    ],
)
def test_a_new_comment_is_found_alone_or_among_all(
    body: Any, changed: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert decoded_comment(body, **changed) == expected


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"title": "A title", "_id": "a1"}, 'Did you mean `id = "_id"` in [actions.create_post]?'),
        ({"title": "A title", "postId": "a1"}, "it has 'title', 'postId'"),
        ({}, "it is empty"),
        ([], "a list in which nothing with 'A title' has an id"),
        ([{"id": "a1", "title": "Another"}], "a list in which nothing with 'A title' has an id"),
        ("OK", "it is 'OK'"),
        (None, "it is nothing"),
        (17, "it is '17'"),
        ({"id": None}, "no id is at 'id'"),
        ({"id": True}, "no id is at 'id'"),
        ({"id": {"$oid": "a1"}}, "no id is at 'id'"),
        ({"id": ""}, "no id is at 'id'"),
        ({"id": "x" * 600}, "no id is at 'id'"),
    ],
)
def test_an_answer_without_an_id_is_named(body: Any, says: str) -> None:
    error = caught_error(decoded_post_id, body)
    assert says in str(error)
    assert "posts answered 201 to" in str(error)
    assert (error.response_status, error.definite) == (502, False)


# ── Bad answers


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            make_response(b"<!DOCTYPE html><p>Cannot GET"),
            "HTML, which begins with '<!DOCTYPE html>",
        ),
        (make_response(b"  \n <html>"), "HTML"),
        (make_response(b""), "nothing else, where JSON was expected"),
        (make_response(b"OK"), "'OK', which is no JSON"),
        (make_response(b'{"id": "a'), "which is no JSON"),
        (make_response(b"\xff\xfe\x00"), "which is no JSON"),
        (make_response(b"[" * 100_000), "which is no JSON"),
        (make_response(b"1" * 5_000), "which is no JSON"),
        (make_response(b"x", content_encoding="br"), "encoded as 'br'"),
        (make_response(b"[]", content_encoding="gzip"), "encoded as 'gzip', which the request"),
        (make_response(gzip.compress(b"[]")[:12], content_encoding="gzip"), "breaks off"),
        (make_response(b"\x1f\x8bnothing", content_encoding="gzip"), "says that it is gzip"),
        (make_response(b"", 302, location="/posts/1"), "a redirect to '/posts/1'"),
        (make_response(b"", 301), "a redirect to ''"),
        (make_response([1]), "one of them has no id at 'id'; it is '1'"),
        (make_response("hello"), "no list of posts and no object by id is at its top, but 'hello'"),
        (make_response(None), "but nothing"),
        (make_response([{"title": "A title"}]), "has no id at 'id'; it has 'title'"),
        (
            make_response([{"id": 1, "name": "A title"}]),
            "no post has a text at 'title'; the newest has",
        ),
        (make_response([{"id": 1, "title": "x", "comments": 7}]), "comments of post '1' are '7'"),
    ],
)
def test_a_bad_answer_is_named_in_a_sentence(answer: ExternalResponse, says: str) -> None:
    error = caught_error(decode_feed, ReadFeed(), answer, 20)
    assert says in str(error)
    assert len(str(error)) < 600
    assert str(error).isprintable()
    assert (error.response_status, error.definite) == (502, False)


@pytest.mark.parametrize(
    ("status", "definite"), [(400, True), (404, True), (408, False), (500, False), (503, False)]
)
def test_a_failure_of_theirs_is_shown_as_theirs(status: int, definite: bool) -> None:
    error = caught_error(
        decode_feed, ReadFeed(), make_response(b"<pre>Cannot GET /posts</pre>", status), 20
    )
    assert (error.response_status, error.definite) == (status, definite)
    assert "Cannot GET /posts" in str(error)
    assert ("Is `path` right?" in str(error)) is (status == 404)


@pytest.mark.parametrize(
    ("packed", "coding"),
    [(gzip.compress(b"[]"), "gzip"), (zlib.compress(b"[]"), "deflate"), (b"[]", "identity")],
    ids=["gzip", "deflate", "identity"],
)
def test_what_came_compressed_is_read_all_the_same(packed: bytes, coding: str) -> None:
    assert decode_feed(ReadFeed(), make_response(packed, content_encoding=coding), 20) == ([], 0)


def test_a_large_answer_is_read_and_a_huge_one_not() -> None:
    bomb = gzip.compress(b" " * (MAX_BYTES + 1))
    error = caught_error(decode_feed, ReadFeed(), make_response(bomb, content_encoding="gzip"), 20)
    assert "more than 8 MiB" in str(error)
    posts = [{"id": n, "title": "x" * 3_000, "comments": []} for n in range(1_000)]
    page, count = decode_feed(ReadFeed(), make_response(posts), 20)
    assert (len(page), count, page[0]["id"]) == (20, 1_000, "999")


# ── The feed

BY_ID = {
    "f3": {"id": "f3", "title": "First", "comments": []},
    "0a": {
        "id": "0a",
        "title": "Second",
        "comments": [{"id": "c1", "content": "hello", "status": "rejected"}],
    },
}
"""As in the course: an object by random ids, in the order of creation."""


def test_the_courses_feed_comes_out_as_the_labs() -> None:
    comment = {"id": "c1", "post_id": "0a", "content": "hello", "status": "rejected"}
    expected = [
        {"id": "0a", "title": "Second", "comments": [comment]},
        {"id": "f3", "title": "First", "comments": []},
    ]
    assert decoded_feed(BY_ID) == decoded_feed(list(BY_ID.values())) == expected
    assert decoded_feed({}) == decoded_feed([]) == []


def test_the_newest_is_the_last_one_whatever_its_id() -> None:
    posts = [{"id": one, "title": one} for one in ("z", "a", "m")]
    assert [post["id"] for post in decoded_feed(posts)] == ["m", "a", "z"]
    assert [post["id"] for post in decoded_feed(posts, newest="first")] == ["z", "a", "m"]


def test_a_page_has_the_length_and_start_asked_for() -> None:
    posts = [{"id": str(number), "title": "x"} for number in range(10)]
    assert [post["id"] for post in decoded_feed(posts, 3)] == ["9", "8", "7"]
    assert [post["id"] for post in decoded_feed(posts, 3, "7")] == ["6", "5", "4"]
    assert [post["id"] for post in decoded_feed(posts, 3, "1")] == ["0"]
    assert decoded_feed(posts, 3, "0") == []
    assert decoded_feed(posts, 3, "unheard of") == []


def test_keys_are_ids_where_the_posts_have_none() -> None:
    by_id = {"p1": {"title": "A title", "comments": {"c1": {"content": "hello"}}}}
    comment = {"id": "c1", "post_id": "p1", "content": "hello", "status": "approved"}
    assert decoded_feed(by_id) == [{"id": "p1", "title": "A title", "comments": [comment]}]


def test_other_names_and_other_places_are_found_by_the_mapping() -> None:
    body = {"data": {"items": [{"_id": 1, "head": {"line": "T"}, "replies": [{"n": 2, "t": "x"}]}]}}
    found = decoded_feed(
        body,
        posts="data.items",
        post={"id": "_id", "title": "head.line", "comments": "replies"},
        comment={"id": "n", "content": "t"},
    )
    comment = {"id": "2", "post_id": "1", "content": "x", "status": "approved"}
    assert found == [{"id": "1", "title": "T", "comments": [comment]}]


@pytest.mark.parametrize(
    ("status", "statuses", "expected"),
    [
        ("pending", {}, "pending"),
        ("Approved", {}, "approved"),
        (None, {}, "approved"),
        ("ok", {"ok": "approved"}, "approved"),
        (False, {"False": "rejected"}, "rejected"),
        (2, {"2": "rejected"}, "rejected"),
    ],
)
def test_a_status_is_one_of_three_by_any_name(
    status: Any, statuses: dict[str, str], expected: str
) -> None:
    body = [{"id": 1, "title": "x", "comments": [{"id": 2, "content": "x", "status": status}]}]
    assert decoded_feed(body, statuses=statuses)[0]["comments"][0]["status"] == expected


def test_half_a_post_does_not_hide_the_others() -> None:
    """In many of these systems a comment whose post was lost creates a post without a title."""
    body = [{"id": 1, "title": "x"}, {"id": 2, "comments": [{"id": 3}, {"id": 4, "content": "y"}]}]
    newest, oldest = decoded_feed(body)
    assert (newest["title"], oldest["title"]) == ("", "x")
    assert [comment["content"] for comment in newest["comments"]] == ["", "y"]


def test_a_comment_that_is_not_understood_is_named() -> None:
    body = [{"id": 1, "title": "x", "comments": [{"id": 2, "comment": "hello"}]}]
    assert "no comment has a text at 'content'" in str(caught_error(decoded_feed, body))
    body = [{"id": 1, "title": "x", "comments": [{"id": 2, "content": "x", "status": "fine"}]}]
    assert "a comment's status is 'fine'" in str(caught_error(decoded_feed, body))


@pytest.mark.parametrize(
    ("place", "expected"),
    [("", {"a": [{"b": 1}]}), ("a.0.b", 1), ("a.1.b", None), ("a.x", None), ("a.0.b.c", None)],
)
def test_a_place_is_keys_with_dots_between_them(place: str, expected: Any) -> None:
    assert value_at({"a": [{"b": 1}]}, place) == expected


# ── Error pages and answers without an id

EXPRESS_PAGE = (
    b'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n'
    b"</head>\n<body>\n<pre>TypeError: Cannot read &#39;push&#39;<br> &nbsp; at /app.js:3</pre>\n"
)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (EXPRESS_PAGE, "TypeError: Cannot read 'push'"),
        (b"<html><title>502</title><h1>502 Bad Gateway</h1>", "502 Bad Gateway"),
        (b'{"message": "no bus"}', "no bus"),
        (b'{"error": {"message": "no bus"}}', "no bus"),
    ],
)
def test_an_error_page_is_quoted_by_its_message(body: bytes, says: str) -> None:
    error = caught_error(decode_feed, ReadFeed(), make_response(body, 500), 20)
    assert says in str(error)
    assert "<" not in str(error)
    assert "at /app.js" not in str(error)


@pytest.mark.parametrize("body", [b"post created!", b"fc5d", b"", b'{"msg": "created"}', b'"ok"'])
def test_a_success_without_an_id_is_known_as_one(body: bytes) -> None:
    error = caught_error(decode_post, CreatePost(), make_response(body, 201), "A title")
    assert error.problem()["created"] is True
    assert (error.response_status, error.definite) == (502, False)


@pytest.mark.parametrize("body", [b"<html>", b'{"id": "a'])
def test_a_page_is_no_success_without_an_id(body: bytes) -> None:
    error = caught_error(decode_post, CreatePost(), make_response(body, 201), "A title")
    assert "created" not in error.problem()
