import { compact, el, number, put } from "/text.js";

const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

const width = 300, height = 84, minute = 60 * 1000;

// Chart draws one figure of the last one to ten minutes: of as many as the points fill.
export class Chart {
  constructor(title, unit, tone) {
    this.title = title;
    this.unit = unit;
    this.points = [];
    this.minutes = 1;
    this.since = el("span", {}, "");
    this.now = el("output", {}, "–");
    this.top = el("span", {}, "");
    this.area = svg("path", { class: "fill" });
    this.line = svg("path", { class: "stroke" });
    this.cross = svg("line", { class: "cross", y1: 0, y2: height });
    this.drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
    this.drawing.append(svg("line", { class: "base", x1: 0, x2: width, y1: height, y2: height }), this.area, this.line, this.cross);
    this.node = el("figure", { class: "chart " + tone }, el("figcaption", {}, title, this.now), this.drawing,
      el("div", { class: "axis" }, this.since, this.top, el("span", {}, "now")));
    this.drawing.addEventListener("pointermove", (e) => this.point(e));
    this.drawing.addEventListener("pointerleave", () => this.leave());
  }

  // set shows points [milliseconds, value or null], the oldest first.
  set(points, end) {
    this.points = points;
    this.end = end;
    const filled = points.length ? Math.ceil((end - points[0][0]) / minute) : 1;
    this.minutes = Math.min(Math.max(filled, 1), 10);
    put(this.since, `${this.minutes} min ago`);
    const known = points.filter((p) => p[1] != null);
    const most = known.reduce((m, p) => Math.max(m, p[1]), 0);
    this.most = Math.max(most, 1) * 1.08;
    const lines = [];
    let open = null;
    for (const [t, v] of points) {
      if (v == null) { open = null; continue; }
      if (!open) lines.push((open = []));
      open.push(this.x(t).toFixed(1) + " " + this.y(v).toFixed(1));
    }
    this.line.setAttribute("d", lines.map((l) => "M" + l.join("L")).join(""));
    this.area.setAttribute("d", lines.map((l) => `M${l[0].split(" ")[0]} ${height}L${l.join("L")}L${l.at(-1).split(" ")[0]} ${height}Z`).join(""));
    const last = points.at(-1)?.[1] ?? null;
    this.latest = compact(last) + (last == null ? "" : this.unit);
    if (!this.pointed) put(this.now, this.latest);
    put(this.top, known.length ? "max " + compact(most) : "");
    this.drawing.setAttribute("aria-label", `${this.title}: now ${number(last)}, at most ${number(most)} in the last ${this.minutes} min`);
  }

  x(t) { return width - ((this.end - t) / (this.minutes * minute)) * width; }
  y(v) { return height - (v / this.most) * height; }

  point(e) {
    const box = this.drawing.getBoundingClientRect();
    const t = this.end - (1 - (e.clientX - box.left) / box.width) * this.minutes * minute;
    let near = null;
    for (const p of this.points) if (p[1] != null && (!near || Math.abs(p[0] - t) < Math.abs(near[0] - t))) near = p;
    if (!near) return;
    this.pointed = true;
    this.cross.setAttribute("x1", this.x(near[0]));
    this.cross.setAttribute("x2", this.x(near[0]));
    this.cross.style.visibility = "visible";
    put(this.now, `${compact(near[1])}${this.unit} at ${new Date(near[0]).toISOString().slice(11, 19)}`);
  }

  leave() {
    this.pointed = false;
    this.cross.style.visibility = "hidden";
    put(this.now, this.latest ?? "–");
  }
}
