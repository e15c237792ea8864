import { land } from "/land.js";

const radius = 6371; // km
const rad = Math.PI / 180;

// view is the middle and the height of a map, in degrees.
function fit(places) {
  if (!places.length) return { lat: 20, lon: 5, high: 150 };
  let [south, north, west, east] = [90, -90, 180, -180];
  for (const p of places) {
    south = Math.min(south, p[1]); north = Math.max(north, p[1]);
    west = Math.min(west, p[2]); east = Math.max(east, p[2]);
  }
  return { lat: (south + north) / 2, lon: (west + east) / 2, tall: north - south, wide: east - west };
}

// Map draws places [milliseconds, latitude, longitude, speed, angle]: a fleet of points, or the track of one device.
export class Map {
  constructor(canvas) {
    this.canvas = canvas;
    this.places = [];
    this.track = false;
    this.view = fit([]);
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    let from = null;
    canvas.addEventListener("pointerdown", (e) => { from = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener("pointermove", (e) => {
      if (!from) return;
      this.move(from[0] - e.clientX, e.clientY - from[1]);
      from = [e.clientX, e.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
    canvas.addEventListener("wheel", (e) => { if (e.ctrlKey || document.activeElement === canvas) { e.preventDefault(); this.zoom(e.deltaY < 0 ? 0.8 : 1.25); } }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const step = 40;
      const keys = { ArrowLeft: () => this.move(-step, 0), ArrowRight: () => this.move(step, 0), ArrowUp: () => this.move(0, step), ArrowDown: () => this.move(0, -step), "+": () => this.zoom(0.7), "=": () => this.zoom(0.7), "-": () => this.zoom(1.4), 0: () => this.fit() };
      if (keys[e.key]) { keys[e.key](); e.preventDefault(); }
    });
  }

  // show replaces what is drawn. The view stays where the same thing is drawn again.
  show(places, track, same) {
    this.places = places;
    this.track = track;
    if (!same) this.fit(); else this.draw();
  }

  fit() {
    const wanted = fit(this.places);
    const ratio = this.canvas.clientWidth / Math.max(this.canvas.clientHeight, 1);
    const squeeze = Math.max(Math.cos(wanted.lat * rad), 0.2);
    if (wanted.high == null) wanted.high = Math.max(wanted.tall * 1.25, (wanted.wide * squeeze * 1.15) / ratio, 0.01);
    wanted.high = Math.min(wanted.high, 170);
    this.view = wanted;
    this.draw();
  }

  zoom(by) { this.view.high = Math.min(Math.max(this.view.high * by, 0.001), 170); this.draw(); }

  move(right, up) {
    const perPixel = this.view.high / Math.max(this.canvas.clientHeight, 1);
    this.view.lat = Math.min(Math.max(this.view.lat + up * perPixel, -85), 85);
    this.view.lon = Math.min(Math.max(this.view.lon + (right * perPixel) / this.squeeze(), -180), 180);
    this.draw();
  }

  // squeeze is how much narrower a degree of longitude is than one of latitude.
  squeeze() { return this.view.high > 60 ? 1 : Math.max(Math.cos(this.view.lat * rad), 0.2); }

  draw() {
    const { canvas, view } = this;
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    if (!w || !h) return;
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(w * dense);
    canvas.height = Math.round(h * dense);
    const c = canvas.getContext("2d");
    c.scale(dense, dense);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const perDegree = h / view.high, squeeze = this.squeeze();
    const x = (lon) => w / 2 + (lon - view.lon) * perDegree * squeeze;
    const y = (lat) => h / 2 - (lat - view.lat) * perDegree;

    c.fillStyle = colour("sea");
    c.fillRect(0, 0, w, h);
    c.fillStyle = colour("land");
    c.beginPath();
    for (const ring of land) {
      for (let i = 0; i < ring.length; i += 2) c[i ? "lineTo" : "moveTo"](x(ring[i] / 10), y(ring[i + 1] / 10));
      c.closePath();
    }
    c.fill("evenodd");

    // A graticule at a round number of degrees.
    const round = (most, pixels) => [45, 30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001].find((s) => s * pixels < most) ?? 0.001;
    const decimals = (s) => (s < 0.01 ? 3 : s < 0.1 ? 2 : s < 1 ? 1 : 0);
    const step = round(130, perDegree), step2 = round(240, perDegree * squeeze);
    const digits = decimals(step), digits2 = decimals(step2);
    c.strokeStyle = colour("grid");
    c.fillStyle = colour("muted");
    c.font = "12px system-ui, sans-serif";
    c.lineWidth = 1;
    c.beginPath();
    const left = view.lon - w / 2 / perDegree / squeeze, right = view.lon + w / 2 / perDegree / squeeze;
    const bottom = view.lat - view.high / 2, top = view.lat + view.high / 2;
    for (let lon = Math.ceil(left / step2) * step2; lon <= right; lon += step2) {
      c.moveTo(x(lon), 0); c.lineTo(x(lon), h);
      if (x(lon) > 30 && x(lon) < w - 200) c.fillText(Math.abs(lon).toFixed(digits2) + "°" + (lon < 0 ? "W" : "E"), x(lon) + 4, h - 6);
    }
    for (let lat = Math.ceil(bottom / step) * step; lat <= top; lat += step) {
      c.moveTo(0, y(lat)); c.lineTo(w, y(lat));
      if (y(lat) > 24 && y(lat) < h - 24) c.fillText(Math.abs(lat).toFixed(digits) + "°" + (lat < 0 ? "S" : "N"), 6, y(lat) - 4);
    }
    c.stroke();

    if (this.track) this.drawTrack(c, x, y, colour); else this.drawFleet(c, x, y, colour);
    this.drawScale(c, w, h, perDegree, squeeze, colour);
  }

  drawTrack(c, x, y, colour) {
    if (!this.places.length) return;
    c.strokeStyle = colour("accent");
    c.lineWidth = 2.5;
    c.lineJoin = "round";
    c.beginPath();
    this.places.forEach((p, i) => c[i ? "lineTo" : "moveTo"](x(p[2]), y(p[1])));
    c.stroke();
    const dot = (p, fill, r) => { c.beginPath(); c.arc(x(p[2]), y(p[1]), r, 0, 7); c.fillStyle = fill; c.fill(); c.strokeStyle = colour("card"); c.lineWidth = 2; c.stroke(); };
    dot(this.places[0], colour("muted"), 5);
    const last = this.places.at(-1);
    dot(last, colour("accent"), 7);
    this.arrow(c, x(last[2]), y(last[1]), last[4], colour("accent"), 16);
  }

  drawFleet(c, x, y, colour) {
    const moving = colour("accent"), standing = colour("muted");
    for (const p of this.places) {
      c.beginPath();
      c.arc(x(p[2]), y(p[1]), 3.5, 0, 7);
      c.fillStyle = p[3] > 1 ? moving : standing;
      c.fill();
      if (p[3] > 1 && this.view.high < 2) this.arrow(c, x(p[2]), y(p[1]), p[4], moving, 10);
    }
  }

  // arrow points where a device is heading, degrees clockwise from north.
  arrow(c, px, py, angle, colour, size) {
    const a = angle * rad;
    c.beginPath();
    c.moveTo(px, py);
    c.lineTo(px + Math.sin(a) * size, py - Math.cos(a) * size);
    c.strokeStyle = colour;
    c.lineWidth = 2;
    c.stroke();
  }

  drawScale(c, w, h, perDegree, squeeze, colour) {
    const kmPerPixel = (rad * radius * Math.cos(this.view.lat * rad)) / (perDegree * squeeze);
    const km = [5000, 2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05].find((k) => k / kmPerPixel < 110) ?? 0.05;
    const long = km / kmPerPixel;
    c.strokeStyle = c.fillStyle = colour("text");
    c.lineWidth = 2;
    c.beginPath();
    c.moveTo(w - 16 - long, h - 14); c.lineTo(w - 16, h - 14);
    c.stroke();
    c.textAlign = "right";
    c.fillText(km >= 1 ? km + " km" : km * 1000 + " m", w - 16, h - 20);
    c.textAlign = "left";
  }
}
