// Every value from outside reaches the page through these functions, as text: nothing here makes HTML of it.

// plain writes control, format and unassigned characters as \uXXXX, as the commands do: they could reorder or hide text.
export function plain(value, keepLines = false) {
  return String(value ?? "").replace(/[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, (c) => {
    if (keepLines && c === "\n") return c;
    return [...Array(c.length).keys()].map((i) => "\\u" + c.charCodeAt(i).toString(16).padStart(4, "0")).join("");
  });
}

// el makes an element. Children are elements or text; attributes are those of this program, never from outside but for
// data-… and value.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  for (const child of children) {
    if (child instanceof Node) node.append(child);
    else if (child != null) node.append(document.createTextNode(plain(child)));
  }
  return node;
}

// put replaces a node's text, where it differs: a screen reader and a selection notice each change.
export function put(node, value) {
  const text = plain(value);
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const number = (n) => (n == null ? "–" : whole.format(n));
export const compact = (n) => (n == null ? "–" : Math.abs(n) < 100000 ? whole.format(n) : short.format(n));
export const rate = (n) => (n == null ? "–" : compact(n) + "/s");

// age writes seconds as people do: 250 ms, 4.2 s, 3 min 5 s, 2 h 4 min, 5 d.
export function age(s) {
  if (s == null) return "–";
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 60) return (s < 10 ? s.toFixed(1) : Math.round(s)) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s";
  if (s < 172800) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d";
}

// stamp is a time in UTC: 2026-11-27 10:03:05.
export const stamp = (t) => (t ? new Date(t).toISOString().slice(0, 19).replace("T", " ") : "–");
