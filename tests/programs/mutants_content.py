"""Bugs of content: each one changes what a blog in memory stores, publishes or shows.

`BUGS`: by name, the figure of the checker that must find it, and the function that puts it into a
`ContentBlog`.
"""

from collections.abc import Callable
from typing import Any

from tests.programs.breaking import one_in
from tests.support.content_blog import ContentBlog, Row

Bug = Callable[[ContentBlog], None]
BUGS: dict[str, tuple[str, Bug]] = {}


def _bug(figure: str, name: str) -> Callable[[Bug], Bug]:
    def register(bug: Bug) -> Bug:
        assert name not in BUGS
        BUGS[name] = figure, bug
        return bug

    return register


def _opposite(status: str) -> str:
    return {"approved": "rejected", "rejected": "approved"}.get(status, status)


# ── Building blocks: the place where the content changes


def _stores(blog: ContentBlog, change: Callable[[Row], Row], share: int = 1) -> None:
    """`query` stores changed copies of posts and comments: one in `share`."""
    copy = blog.copy

    def wrong(kind: str, data: Row) -> None:
        copy(kind, change(dict(data)) if one_in(share, data["id"]) else data)

    blog.copy = wrong  # type: ignore[method-assign]


def _publishes(blog: ContentBlog, wanted: str, change: Callable[[Row], Row]) -> None:
    """The log gets changed events of one type; the consumers get the right ones."""
    publish = blog.publish

    def wrong(kind: str, data: Row) -> None:
        publish(kind, data)
        if kind == wanted:
            blog.log[-1] = blog.log[-1] | {"data": change(dict(data))}

    blog.publish = wrong  # type: ignore[method-assign]


def _keeps(blog: ContentBlog, change: Callable[[Row], Row]) -> None:
    """The owner's row of a comment changes after the event was published."""
    create = blog.create_comment

    def wrong(post_id: str, content: str) -> Row:
        comment = create(post_id, content)
        blog.comments[comment["id"]] = change(dict(comment))
        return comment

    blog.create_comment = wrong  # type: ignore[method-assign]


def _shows(blog: ContentBlog, change: Callable[[list[Row]], list[Row]]) -> None:
    """The pages that readers get are changed; the longer pages of the checker are right."""
    feed = blog.feed

    def wrong(limit: int, before: str) -> list[Row]:
        page = feed(limit, before)
        return page if limit == 100 else change(page)

    blog.feed = wrong  # type: ignore[method-assign]


def _every_other_time(change: Callable[[list[Row]], list[Row]]) -> Callable[[list[Row]], list[Row]]:
    turns = [0]

    def changed(page: list[Row]) -> list[Row]:
        turns[0] += 1
        return change(page) if turns[0] % 2 else page

    return changed


def _each_comment(change: Callable[[Row], Row | None]) -> Callable[[list[Row]], list[Row]]:
    """Changes each comment of a page; None leaves it out."""
    return lambda page: [
        entry | {"comments": [row for one in entry["comments"] if (row := change(one))]}
        for entry in page
    ]


def _text(row: Row, change: Callable[[str], str]) -> Row:
    key = "title" if "title" in row else "content"
    return row | {key: change(row[key])}


# ── Texts


@_bug("altered", "query stores texts in capitals")
def _capitals(blog: ContentBlog) -> None:
    _stores(blog, lambda row: _text(row, lambda text: text.replace("comment", "COMMENT")))


@_bug("altered", "query cuts a comment after its token")
def _cut(blog: ContentBlog) -> None:
    _stores(blog, lambda row: _text(row, lambda text: text.split(";")[0] + ";"))


@_bug("altered", "query changes the title of every tenth post")
def _titles(blog: ContentBlog) -> None:
    _stores(blog, lambda row: row | {"title": f"LIES {row['title']}"} if "title" in row else row, 3)


@_bug("altered", "query changes the text of a few comments")
def _few(blog: ContentBlog) -> None:
    _stores(blog, lambda row: row | {"content": f"SPAM {row['content']}"}
            if "content" in row else row, 10)  # fmt: skip


@_bug("altered", "query doubles spaces")
def _spaces(blog: ContentBlog) -> None:
    _stores(blog, lambda row: _text(row, lambda text: text.replace(" ", "  ")))


@_bug("altered", "query drops the first word")
def _first_word(blog: ContentBlog) -> None:
    _stores(blog, lambda row: _text(row, lambda text: text.partition(" ")[2]))


@_bug("altered", "posts appends a mark to titles")
def _mark(blog: ContentBlog) -> None:
    create = blog.create_post
    blog.create_post = lambda title: create(f"{title}!")  # type: ignore[method-assign]


@_bug("altered", "comments stores another text than it publishes")
def _owner_text(blog: ContentBlog) -> None:
    _keeps(blog, lambda row: _text(row, lambda text: f"{text} (edited)"))


@_bug("altered", "the log has another title")
def _log_title(blog: ContentBlog) -> None:
    _publishes(blog, "PostCreated", lambda row: _text(row, lambda text: f"re: {text}"))


@_bug("altered", "the log has another text in the update")
def _log_text(blog: ContentBlog) -> None:
    _publishes(blog, "CommentUpdated", lambda row: _text(row, lambda text: f"re: {text}"))


@_bug("altered", "moderation records a censored text")
def _censored(blog: ContentBlog) -> None:
    moderate = blog.moderate

    def wrong(comment: Row) -> None:
        moderate(comment)
        blog.verdicts[-1]["content"] = comment["content"].replace("comment", "*******")

    blog.moderate = wrong  # type: ignore[method-assign]


# ── Verdicts


@_bug("misjudged", "moderation approves everything")
def _approves(blog: ContentBlog) -> None:
    blog.judge = lambda comment: "approved"  # type: ignore[method-assign]


@_bug("misjudged", "moderation rejects everything")
def _rejects(blog: ContentBlog) -> None:
    blog.judge = lambda comment: "rejected"  # type: ignore[method-assign]


@_bug("misjudged", "moderation swaps its verdicts")
def _swaps(blog: ContentBlog) -> None:
    judge = blog.judge
    blog.judge = lambda comment: _opposite(judge(comment))  # type: ignore[method-assign]


@_bug("misjudged", "moderation reads the first word only")
def _first_word_rule(blog: ContentBlog) -> None:
    blog.judge = lambda comment: (  # type: ignore[method-assign]
        "rejected" if comment["content"].startswith("orange") else "approved"
    )


@_bug("misjudged", "moderation errs in one of twenty")
def _errs(blog: ContentBlog) -> None:
    judge = blog.judge
    blog.judge = lambda comment: (  # type: ignore[method-assign]
        _opposite(judge(comment)) if one_in(10, comment["id"]) else judge(comment)
    )


@_bug("misjudged", "comments approves what was rejected")
def _ignores(blog: ContentBlog) -> None:
    decide = blog.decide
    blog.decide = lambda verdict: decide(verdict | {"status": "approved"})  # type: ignore[method-assign]


@_bug("misjudged", "query stores the opposite status")
def _opposite_copy(blog: ContentBlog) -> None:
    _stores(blog, lambda row: row | {"status": _opposite(row.get("status", ""))})


@_bug("misjudged", "the log has the opposite verdict")
def _log_verdict(blog: ContentBlog) -> None:
    _publishes(blog, "CommentModerated", lambda row: row | {"status": _opposite(row["status"])})


@_bug("misjudged", "the log has the opposite update")
def _log_update(blog: ContentBlog) -> None:
    _publishes(blog, "CommentUpdated", lambda row: row | {"status": _opposite(row["status"])})


# ── Places


def _elsewhere(blog: ContentBlog, share: int = 1) -> Callable[[Row], Row]:
    return lambda row: (
        row | {"post_id": blog.seed + "x" if row["post_id"] == blog.seed else blog.seed}
        if "post_id" in row and one_in(share, row["id"])
        else row
    )


@_bug("misplaced", "query puts every comment under one post")
def _one_post(blog: ContentBlog) -> None:
    _stores(blog, _elsewhere(blog))


@_bug("misplaced", "query puts some comments under another post")
def _some_post(blog: ContentBlog) -> None:
    _stores(blog, _elsewhere(blog, 5))


@_bug("misplaced", "comments stores under another post")
def _owner_post(blog: ContentBlog) -> None:
    create = blog.create_comment
    blog.create_comment = lambda post_id, content: create(blog.seed, content)  # type: ignore[method-assign]


@_bug("misplaced", "comments stores under another post than it publishes")
def _owner_only_post(blog: ContentBlog) -> None:
    _keeps(blog, _elsewhere(blog))


@_bug("misplaced", "the log has another post")
def _log_post(blog: ContentBlog) -> None:
    _publishes(blog, "CommentCreated", _elsewhere(blog))


# ── Phantoms


@_bug("phantoms", "comments stores a second comment")
def _advertises(blog: ContentBlog) -> None:
    create = blog.create_comment

    def wrong(post_id: str, content: str) -> Row:
        create(post_id, "A great offer!")
        return create(post_id, content)

    blog.create_comment = wrong  # type: ignore[method-assign]


@_bug("phantoms", "posts stores a second post")
def _welcomes(blog: ContentBlog) -> None:
    create = blog.create_post

    def wrong(title: str) -> Row:
        create("Welcome!")
        return create(title)

    blog.create_post = wrong  # type: ignore[method-assign]


def _inserts_at_the_end(blog: ContentBlog, insert: Callable[[], None]) -> None:
    settle = blog.settle

    def wrong() -> None:
        settle()
        insert()

    blog.settle = wrong  # type: ignore[method-assign]


@_bug("phantoms", "query shows a post that its owner does not have")
def _feed_post(blog: ContentBlog) -> None:
    row: Row = {"id": blog.new_id(), "title": "Buy!"}
    _inserts_at_the_end(blog, lambda: blog.copy("PostCreated", row))


@_bug("phantoms", "query shows a comment that its owner does not have")
def _feed_comment(blog: ContentBlog) -> None:
    row = {"id": blog.new_id(), "post_id": blog.seed, "content": "Buy!", "status": "approved"}
    _inserts_at_the_end(blog, lambda: blog.copy("CommentCreated", row))


@_bug("phantoms", "comments has a write that was never sent")
def _never_sent(blog: ContentBlog) -> None:
    row = {"post_id": blog.seed, "content": "comment w-7-000001;", "status": "approved"}
    _inserts_at_the_end(blog, lambda: blog.comments.update({"1x": row | {"id": "1x"}}))


@_bug("phantoms", "the log has a post that no one wrote")
def _logged(blog: ContentBlog) -> None:
    data: Row = {"id": "1y", "title": "Buy!"}
    event = {"type": "PostCreated", "source": "/content", "data": data}
    _inserts_at_the_end(blog, lambda: blog.log.append(event))


@_bug("phantoms", "the log has verdicts on other texts")
def _other_texts(blog: ContentBlog) -> None:
    _publishes(blog, "CommentModerated", lambda row: _text(row, str.title))


@_bug("phantoms", "moderation records a verdict on nothing")
def _recorded(blog: ContentBlog) -> None:
    row = {"content": "What no one wrote", "status": "approved"}
    _inserts_at_the_end(blog, lambda: blog.verdicts.append(row))


# ── What readers see while it runs


@_bug("misshown", "readers get other texts")
def _lies(blog: ContentBlog) -> None:
    _shows(blog, _each_comment(lambda row: _text(row, lambda text: f"SPAM {text}")))


@_bug("misshown", "readers get other titles")
def _lying_titles(blog: ContentBlog) -> None:
    _shows(blog, lambda page: [entry | {"title": f"LIES {entry['title']}"} for entry in page])


@_bug("misshown", "readers get some opposite verdicts")
def _some_opposite(blog: ContentBlog) -> None:
    _shows(
        blog,
        _each_comment(
            lambda row: row | {"status": _opposite(row["status"])} if one_in(3, row["id"]) else row
        ),
    )


@_bug("misshown", "readers get comments under another post")
def _moved(blog: ContentBlog) -> None:
    def moved(page: list[Row]) -> list[Row]:
        comments = [entry["comments"] for entry in page]
        turned = [*comments[1:], *comments[:1]]
        return [entry | {"comments": of} for entry, of in zip(page, turned, strict=True)]

    _shows(blog, moved)


@_bug("misshown", "query approves comments until the verdict comes")
def _optimistic(blog: ContentBlog) -> None:
    _shows(
        blog,
        _each_comment(
            lambda row: row | {"status": "approved"} if row["status"] == "pending" else row
        ),
    )


@_bug("flickered", "verdicts change from read to read")
def _flips(blog: ContentBlog) -> None:
    change = _each_comment(lambda row: row | {"status": _opposite(row["status"])})
    _shows(blog, _every_other_time(change))


@_bug("flickered", "pending comments come and go")
def _comes_and_goes(blog: ContentBlog) -> None:
    blog.reads_until_applied = 6
    change = _each_comment(lambda row: None if row["status"] == "pending" else row)
    _shows(blog, _every_other_time(change))


@_bug("resurrected", "decided comments come and go")
def _decided_come_and_go(blog: ContentBlog) -> None:
    change = _each_comment(lambda row: None if row["status"] != "pending" else row)
    _shows(blog, _every_other_time(change))


@_bug("resurrected", "decided comments are pending again")
def _pending_again(blog: ContentBlog) -> None:
    _shows(blog, _every_other_time(_each_comment(lambda row: row | {"status": "pending"})))


@_bug("resurrected", "a second replica lacks some posts")
def _replica(blog: ContentBlog) -> None:
    _shows(
        blog,
        _every_other_time(lambda page: [entry for entry in page if not one_in(4, entry["id"])]),
    )


@_bug("unmonotonic", "a feed of some seconds ago is shown from time to time")
def _old_feed(blog: ContentBlog) -> None:
    feed, kept = blog.feed, list[Row]()

    def wrong(limit: int, before: str) -> list[Row]:
        page = feed(limit, before)
        if limit == 100 or blog.reads % 5:
            return page
        if not kept:
            kept.extend(page)
        return list(kept)

    blog.feed = wrong  # type: ignore[method-assign]


@_bug("unmonotonic", "some posts are shown every other time")
def _every_other_post(blog: ContentBlog) -> None:
    _shows(
        blog,
        _every_other_time(lambda page: [entry for entry in page if not one_in(3, entry["id"])]),
    )


# ── What is there, and how often


@_bug("diverged", "query stores a text without its end")
def _no_token(blog: ContentBlog) -> None:
    _stores(blog, lambda row: _text(row, lambda text: text[:8]))


@_bug("lost", "comments stores an empty text")
def _empty(blog: ContentBlog) -> None:
    _keeps(blog, lambda row: row | {"content": ""})


@_bug("missing", "query ignores some comments")
def _ignored(blog: ContentBlog) -> None:
    copy = blog.copy

    def wrong(kind: str, data: Row) -> None:
        if "post_id" not in data or not one_in(5, data["id"]):
            copy(kind, data)

    blog.copy = wrong  # type: ignore[method-assign]


@_bug("duplicated", "query stores some comments twice")
def _twice(blog: ContentBlog) -> None:
    copy = blog.copy

    def wrong(kind: str, data: Row) -> None:
        copy(kind, data)
        if "post_id" in data and one_in(5, data["id"]):
            copy(kind, data | {"id": f"{data['id']}b"})

    blog.copy = wrong  # type: ignore[method-assign]


@_bug("out_of_order", "query lists comments newest first")
def _newest_first(blog: ContentBlog) -> None:
    comments_of: Any = blog.comments_of
    blog.comments_of = lambda post_id: comments_of(post_id)[::-1]  # type: ignore[method-assign]
