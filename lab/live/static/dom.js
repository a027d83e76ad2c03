// Creates DOM elements. Text is inserted only as text nodes, so a title that looks like markup
// stays plain text.

const SVG = "http://www.w3.org/2000/svg";

/** Sets attributes; `true` gives a bare attribute, `false` and `null` give none. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

/** An HTML element with attributes and children (elements or texts). */
export function el(tag, attributes = {}, ...children) {
  const element = set(document.createElement(tag), attributes);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = set(document.createElementNS(SVG, tag), attributes);
  element.append(...children);
  return element;
}

/** Sets the text only if it differs, because setting it causes a new layout. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute only if it differs. */
export function mark(element, name, value) {
  const wanted = value === false || value === null ? null : String(value === true ? "" : value);
  if (element.getAttribute(name) === wanted) return;
  if (wanted === null) element.removeAttribute(name);
  else element.setAttribute(name, wanted);
}

/** A button with a label and the key that does the same. */
export function button(label, key, attributes, act) {
  const one = el("button", { type: "button", ...attributes }, el("span", {}, label));
  if (key) {
    one.append(" ", el("kbd", {}, key));
    one.setAttribute("aria-keyshortcuts", key === "+" ? "Plus" : key);
  }
  one.addEventListener("click", (event) => {
    // A clicked button loses the focus, so that the space bar works on the page again.
    if (event.detail > 0) one.blur();
    act();
  });
  return one;
}

export const byId = (id) => document.getElementById(id);
