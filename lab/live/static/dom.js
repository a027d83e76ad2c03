// Creates DOM elements. Text is inserted only as text nodes, so a title that looks like markup
// stays plain text.

const SVG = "http://www.w3.org/2000/svg";

/** Sets attributes; `true` gives a bare attribute, `false` and `null` give none. */
export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

/** An HTML element with attributes and children (elements or texts). */
export function el(tag, attributes = {}, ...children) {
  const element = setAttributes(document.createElement(tag), attributes);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = setAttributes(document.createElementNS(SVG, tag), attributes);
  element.append(...children);
  return element;
}

/** Sets the text only if it differs, because setting it causes a new layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute only if it differs. */
export function updateAttribute(element, name, value) {
  const wanted = value === false || value === null ? null : String(value === true ? "" : value);
  if (element.getAttribute(name) === wanted) return;
  if (wanted === null) element.removeAttribute(name);
  else element.setAttribute(name, wanted);
}

/** A button with a label and the key that does the same. */
export function button(label, key, attributes, onClick) {
  const element = el("button", { type: "button", ...attributes }, el("span", {}, label));
  if (key) {
    element.append(" ", el("kbd", {}, key));
    element.setAttribute("aria-keyshortcuts", key === "+" ? "Plus" : key);
  }
  element.addEventListener("click", (event) => {
    // A clicked button loses the focus, so that the space bar works on the page again.
    if (event.detail > 0) element.blur();
    onClick();
  });
  return element;
}

/** The parts of a text; names of services, between backticks in it, are set in bold. */
export const withBoldNames = (text) =>
  text.split("`").map((part, i) => (i % 2 ? el("b", {}, part) : part));

export const byId = (id) => document.getElementById(id);
