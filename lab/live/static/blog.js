// The blog as a reader sees it now: a feed, or the error page that a reader gets instead.
//
// Titles and comments are untrusted text: inserted as text nodes, with isolated writing direction,
// broken where necessary, and cut after some lines.

import { el, mark, say } from "./dom.js";
import { get } from "./api.js";

const POSTS = 10;
const COMMENTS = 2;
const OWN_SHOWN_MS = 20_000;
const WORDS = {
  0: "No answer",
  500: "Internal error",
  502: "Bad gateway",
  503: "Service unavailable",
  504: "No answer in time",
};

// The load marks its posts and comments to find them again; the page shows only their number.
const BY_THE_LOAD = /^(post|comment) w-\d+-0*(\d+);( orange)?$/;

function readable(text) {
  const [, what, number, orange = ""] = BY_THE_LOAD.exec(text) ?? [];
  return what ? `${what === "post" ? "Post" : "Comment"} no. ${number}${orange}` : text;
}

/** The elements of one post of the feed: created once, and filled again for each feed. */
class Entry {
  constructor() {
    this.title = el("p", { class: "post-title", dir: "auto" });
    this.comments = Array.from({ length: COMMENTS }, () => {
      const text = el("span", { class: "comment-text", dir: "auto" });
      const status = el("span", { class: "comment-status" });
      return { text, status, root: el("li", { hidden: true }, text, " ", status) };
    });
    this.root = el(
      "li",
      { class: "post", hidden: true },
      this.title,
      el("ul", { class: "comments" }, ...this.comments.map((one) => one.root)),
    );
  }

  fill(post, mine) {
    this.root.hidden = !post;
    if (!post) return;
    say(this.title, readable(post.title));
    mark(this.root, "data-mine", mine.has(post.id));
    const newest = post.comments.slice(-COMMENTS);
    this.comments.forEach(({ text, status, root }, i) => {
      const one = newest[i];
      root.hidden = !one;
      if (!one) return;
      say(text, readable(one.content));
      say(status, one.status === "approved" ? "" : one.status);
      mark(root, "data-status", one.status);
      mark(root, "data-mine", mine.has(one.id));
    });
  }
}

export class Blog {
  constructor(half) {
    this.half = half.name;
    this.mine = new Set();
    this.written = null; // the newest post or comment from this page: {id, says, seen}
    this.kept = []; // [{t, answer}]: pause and replay show what readers saw then
    this.own = null; // the id of the newest post from this page
    this.ownUntil = 0;
    this.asking = false;
    this.shown = null;
    this.entries = Array.from({ length: POSTS }, () => new Entry());
    this.list = el("ol", { class: "feed" }, ...this.entries.map((one) => one.root));
    this.code = el("p", { class: "error-code" });
    this.why = el("p", { class: "error-why" });
    this.error = el("div", { class: "error-page", hidden: true }, this.code, this.why);
    this.answer = el("p", { class: "own-answer", dir: "auto" });
    this.empty = el("p", { class: "nothing-yet" }, "No posts yet.");
    this.heading = el("h3", {}, "What readers see");
    this.root = el(
      "section",
      { class: "blog", "aria-label": `${half.name}: the blog as its readers see it` },
      this.heading,
      this.answer,
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
  async ask(model) {
    if (this.asking) return;
    this.asking = true;
    const { epoch } = model;
    // Under load a new post soon leaves the feed. So for a while the feed starts at one's own post.
    const from =
      performance.now() < this.ownUntil ? `&newest=${encodeURIComponent(this.own)}` : "";
    const answer = await get(`/api/blog?half=${encodeURIComponent(this.half)}${from}`);
    this.asking = false;
    if (from && answer.status >= 400) this.ownUntil = 0;
    if (epoch !== model.epoch || answer.status !== 200) return;
    say(this.heading, from ? "Readers see, at your post" : "What readers see");
    const { newest } = model;
    this.kept.push({ t: newest, answer: answer.body });
    while (this.kept[0].t < newest - model.window - 1) this.kept.shift();
  }

  /** Shows what readers saw at `t`. */
  show(t) {
    // A screen that is paused for longer than answers are kept continues to show the same one.
    const kept = this.kept.findLast((one) => one.t <= t) ?? this.shown ?? this.kept[0];
    if (!kept || kept === this.shown) return;
    this.shown = kept;
    const { status, feed, problem, error } = kept.answer;
    const fine = status === 200;
    this.error.hidden = fine;
    this.list.hidden = !fine;
    this.empty.hidden = !fine || feed.length > 0;
    mark(this.root, "data-fine", fine ? "yes" : "no");
    if (fine) {
      this.entries.forEach((entry, i) => entry.fill(feed[i], this.mine));
      this._find(feed);
    } else {
      say(this.code, `${status || "✕"} ${WORDS[status] ?? problem?.title ?? "Error"}`);
      say(this.why, problem?.detail ?? REASONS[error] ?? error ?? "");
    }
  }

  _find(feed) {
    const own = this.written;
    if (!own || own.seen) return;
    own.seen = feed.some(
      (post) => post.id === own.id || post.comments.some((one) => one.id === own.id),
    );
    if (own.seen) say(this.answer, `${own.says} · readers see it ✓`);
  }

  /** Shows the response of the service to a post or comment from this page. */
  wrote(what, { status, body, says }) {
    const inner = body?.body ?? null;
    const code = body?.status ?? status;
    const made = code === 201 && inner?.id;
    const why = body?.problem?.detail ?? body?.problem?.title ?? body?.error ?? says;
    const short = made
      ? `Your ${what}: accepted (201)`
      : `Your ${what}: ${code || "no answer"} ${why ?? ""}`;
    this.written = made ? { id: inner.id, says: short, seen: false } : null;
    if (made) this.mine.add(inner.id);
    if (made && what === "post") this.own = inner.id;
    if (made && this.own) this.ownUntil = performance.now() + OWN_SHOWN_MS;
    mark(this.answer, "data-well", made ? "yes" : "no");
    say(this.answer, made ? `${short} · not in the feed yet` : short);
  }

  /** The post (id) for a new comment: the newest from this page, or else the newest in the feed. */
  get target() {
    const last = this.kept.findLast((one) => one.answer.status === 200);
    return this.own ?? last?.answer.feed[0]?.id ?? null;
  }
}

const REASONS = {
  timeout: "The page did not come within a second.",
  refused: "Nobody listens there: the connection was refused.",
};
