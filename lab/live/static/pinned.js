// The pinned post: the one that was commented on last. New posts push the commented ones out of view
// within seconds, and comments are what a reader of a copy may have to wait for.

import { el, setText, updateAttribute } from "./dom.js";
import { clock } from "./format.js";
import { PostItem } from "./post_item.js";

const KEPT_S = 3; // a post that changed with each comment could not be read
const NOT_OWN = new Set();

export class PinnedPost {
  constructor() {
    this.note = el("p", { class: "pinned-note" });
    this.item = new PostItem();
    this.root = el("div", { class: "pinned", hidden: true }, this.note, el("ol", {}, this.item.root));
    this.id = null;
    this.chosenT = this.seenT = -Infinity;
  }

  /** Shows the pinned post of a feed that was read at `t`; hides itself for an empty one. */
  show(feed, t) {
    this.root.hidden = !feed.length;
    if (!feed.length) return;
    const commented = feed.filter((post) => post.comments.length);
    const same = commented.find((post) => post.id === this.id);
    const isKept = same && t >= this.chosenT && t - this.chosenT < KEPT_S;
    const post = isKept ? same : newestCommented(commented);
    if (post && !isKept) this.chosenT = t;
    if (post) this.seenT = t;
    this.id = post?.id ?? null;
    this.item.fill(post, NOT_OWN);
    updateAttribute(this.root, "data-none", !post);
    const since = t >= this.seenT && Number.isFinite(this.seenT) ? ` for ${clock(t - this.seenT)}` : "";
    setText(this.note, post ? "Commented on last" : `▲ No comment in view${since}`);
  }
}

/** Ids sort by time. */
function newestCommented(posts) {
  const newest = (post) => post.comments.reduce((id, one) => (one.id > id ? one.id : id), "");
  return posts.reduce((best, post) => (!best || newest(post) > newest(best) ? post : best), undefined);
}
