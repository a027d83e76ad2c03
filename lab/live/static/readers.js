// What a reader gets, in words: shared by the blog of the page and by phones.

export const STATUS_TEXTS = {
  0: "No response",
  500: "Internal error",
  502: "Bad gateway",
  503: "Service unavailable",
  504: "No response in time",
};

export const ERROR_TEXTS = {
  timeout: "No response within a second.",
  refused: "The connection was refused: no process listens there.",
};

// The load marks its posts and comments to find them again; the page shows only their number.
const BY_THE_LOAD = /^(post|comment) w-\d+-0*(\d+);( orange)?$/;

export function readable(text) {
  const [, what, number, orange = ""] = BY_THE_LOAD.exec(text) ?? [];
  return what ? `${what === "post" ? "Post" : "Comment"} no. ${number}${orange}` : text;
}
