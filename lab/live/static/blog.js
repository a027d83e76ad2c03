// The blog as a reader sees it now: a feed, or the error page that a reader gets instead.
//
// Titles and comments are untrusted text: inserted as text nodes, with isolated writing direction,
// broken where necessary, and cut after some lines.

import { el, updateAttribute, setText } from "./dom.js";
import { get } from "./api.js";
import { PinnedPost } from "./pinned.js";
import { PostItem } from "./post_item.js";
import { ERROR_TEXTS, STATUS_TEXTS } from "./readers.js";

const POSTS = 10;
const PATIENCE_MS = 1_500;
const OWN_SHOWN_MS = 20_000;

export class BlogView {
  constructor(half) {
    this.half = half.name;
    this.ownIds = new Set();
    this.ownItem = null; // the newest post or comment from this page: {id, says, seen}
    this.history = []; // [{t, answer}]: pause and replay show what readers saw then
    this.ownPostId = null; // the id of the newest post from this page
    this.pinnedUntil = 0;
    this.isLoading = false;
    this.shown = null;
    this.entries = Array.from({ length: POSTS }, () => new PostItem());
    this.list = el("ol", { class: "feed" }, ...this.entries.map((one) => one.root));
    this.code = el("p", { class: "error-code" });
    this.why = el("p", { class: "error-why" });
    this.error = el("div", { class: "error-page", hidden: true }, this.code, this.why);
    this.answer = el("p", { class: "own-answer", dir: "auto" });
    this.empty = el("p", { class: "nothing-yet" }, "No posts yet.");
    this.heading = el("h3", {}, "What readers see");
    this.pinned = new PinnedPost();
    this.root = el(
      "section",
      { class: "blog", "aria-label": `${half.name}: the blog as its readers see it` },
      this.heading,
      this.answer,
      this.pinned.root,
      el(
        "div",
        {
          class: "blog-page",
          tabindex: "0",
          role: "region",
          "aria-label": `Feed of ${half.name}`,
        },
        this.error,
        this.empty,
        this.list,
      ),
    );
  }

  /** Requests the feed like any reader; does nothing while a request is pending. */
  async refresh(model) {
    if (this.isLoading) return;
    this.isLoading = true;
    const { epoch } = model;
    // In an outage a reader who still waits has no feed, however long the answer takes.
    const patience = setTimeout(() => {
      if (epoch === model.epoch && model.faultsAt(this.half, model.newest).length)
        this.history.push({ t: model.newest, answer: { status: 0, error: "timeout" } });
    }, PATIENCE_MS);
    // Under load a new post soon leaves the feed. So for a while the feed starts at one's own post.
    const from =
      performance.now() < this.pinnedUntil ? `&newest=${encodeURIComponent(this.ownPostId)}` : "";
    const answer = await get(`/api/blog?half=${encodeURIComponent(this.half)}${from}`);
    clearTimeout(patience);
    this.isLoading = false;
    if (from && answer.status >= 400) this.pinnedUntil = 0;
    if (epoch !== model.epoch || answer.status !== 200) return;
    setText(this.heading, from ? "Readers see, at your post" : "What readers see");
    const { newest } = model;
    this.history.push({ t: newest, answer: answer.body, atOwnPost: Boolean(from) });
    while (this.history[0].t < newest - model.window - 1) this.history.shift();
  }

  /** Shows what readers saw at a moment of a recording; nothing if no screen looked then. */
  showRecorded(entry) {
    this.history = entry ? [entry] : [];
    this.root.hidden = !entry;
    this.show(Infinity);
  }

  /** Shows what readers saw at `t`. */
  show(t) {
    // A screen that is paused for longer than answers are kept continues to show the same one.
    const entry = this.history.findLast((one) => one.t <= t) ?? this.shown ?? this.history[0];
    if (!entry || entry === this.shown) return;
    this.shown = entry;
    const { status, feed, problem, error } = entry.answer;
    const fine = status === 200;
    this.error.hidden = fine;
    this.list.hidden = !fine;
    this.empty.hidden = !fine || feed.length > 0;
    updateAttribute(this.root, "data-fine", fine ? "yes" : "no");
    this.pinned.show(fine && !entry.atOwnPost ? feed : [], entry.t);
    if (fine) {
      this.entries.forEach((entry, i) => entry.fill(feed[i], this.ownIds));
      this._checkVisible(feed);
    } else {
      setText(this.code, `${status || "✕"} ${STATUS_TEXTS[status] ?? problem?.title ?? "Error"}`);
      setText(this.why, problem?.detail ?? ERROR_TEXTS[error] ?? error ?? "");
    }
  }

  _checkVisible(feed) {
    const own = this.ownItem;
    if (!own || own.seen) return;
    own.seen = feed.some(
      (post) => post.id === own.id || post.comments.some((one) => one.id === own.id),
    );
    if (own.seen) setText(this.answer, `${own.says} · readers see it ✓`);
  }

  /** Shows the response of the service to a post or comment from this page. */
  showResponse(what, { status, body, says }) {
    const inner = body?.body ?? null;
    const code = body?.status ?? status;
    const made = code === 201 && inner?.id;
    const error = body?.error && (ERROR_TEXTS[body.error] ?? body.error);
    const why = body?.problem?.detail ?? body?.problem?.title ?? error ?? says;
    const short = made
      ? `Your ${what}: accepted (201)`
      : `Your ${what} is refused: ${code || "no response"} (${why ?? "no reason given"})`;
    clearTimeout(this.answerTimer);
    this.answerTimer = setTimeout(() => setText(this.answer, ""), OWN_SHOWN_MS);
    this.ownItem = made ? { id: inner.id, says: short, seen: false } : null;
    if (made) this.ownIds.add(inner.id);
    if (made && what === "post") this.ownPostId = inner.id;
    if (made && this.ownPostId) this.pinnedUntil = performance.now() + OWN_SHOWN_MS;
    updateAttribute(this.answer, "data-well", made ? "yes" : "no");
    setText(this.answer, made ? `${short} · not in the feed yet` : short);
  }

  /** The post (id) for a new comment: the newest from this page, or else the newest in the feed. */
  get target() {
    const last = this.history.findLast((one) => one.answer.status === 200);
    return this.ownPostId ?? last?.answer.feed[0]?.id ?? null;
  }
}
