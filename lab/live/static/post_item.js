// One post of a feed, with its newest comments.
//
// Titles and comments are untrusted text: inserted as text nodes, with isolated writing direction,
// broken where necessary, and cut after some lines.

import { el, setText, updateAttribute } from "./dom.js";
import { readable } from "./readers.js";

const COMMENTS = 2;

/** The elements of one post of the feed: created once, and filled again for each feed. */
export class PostItem {
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

  fill(post, ownIds) {
    this.root.hidden = !post;
    if (!post) return;
    setText(this.title, readable(post.title));
    updateAttribute(this.root, "data-mine", ownIds.has(post.id));
    const newest = post.comments.slice(-COMMENTS);
    this.comments.forEach(({ text, status, root }, i) => {
      const one = newest[i];
      root.hidden = !one;
      if (!one) return;
      setText(text, readable(one.content));
      setText(status, one.status === "approved" ? "" : one.status);
      updateAttribute(root, "data-status", one.status);
      updateAttribute(root, "data-mine", ownIds.has(one.id));
    });
  }
}
