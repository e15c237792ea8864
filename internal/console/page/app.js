import { Chart } from "/chart.js";
import { Map as PlaceMap } from "/map.js";
import { age, compact, el, number, plain, put, rate, stamp } from "/text.js";

const $ = (id) => document.getElementById(id);
const every = 2000;

const charts = [
  new Chart("Added", "/s", ""), new Chart("Stored", "/s", ""), new Chart("Lag", "", "amber"),
  new Chart("Pending", "", "amber"), new Chart("Dead letters", "", "red"),
];
charts.forEach((c) => $("charts").append(c.node));

let state = null; // the newest answer of /api/state
let points = []; // the looks of the last ten minutes
let chosen = ""; // the stream of the pipeline; empty: all
const names = () => state.status.streams.map((s) => s.name);

// ask returns the JSON of an answer; its error is what the console says.
async function ask(path, options = {}) {
  const response = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  if (response.status === 401) { location.assign("/login"); throw new Error("signed out"); }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Error(body?.error ?? "the console answers with status " + response.status);
  return body;
}

// --- the shared look

async function look() {
  try {
    const answer = await ask("/api/state?since=" + (points.at(-1)?.seq ?? 0));
    points = points.concat(answer.points);
    const newest = points.at(-1)?.t ?? 0;
    points = points.filter((p) => p.t > newest - 600000);
    state = answer;
    online(true);
    if (state.status) show();
  } catch (e) {
    online(false, e.message);
  }
  setTimeout(look, document.hidden ? 5 * every : every);
}

function online(is, why) {
  $("live").className = is ? "live on" : "live off";
  put($("live-text"), is ? "live" : "offline");
  $("offline").hidden = is;
  if (!is) put($("offline"), `The console does not answer (${why}). ` + (state?.status ? `Figures are of ${stamp(state.status.time)} UTC.` : ""));
}

function show() {
  const s = state.status;
  put($("mode-changes"), state.allow_changes ? "changes allowed" : "read-only");
  $("mode-changes").classList.toggle("on", state.allow_changes);
  put($("mode-positions"), state.show_positions ? "positions shown" : "positions hidden");
  $("mode-positions").classList.toggle("on", state.show_positions);
  put($("clock"), `As of ${stamp(s.time)} UTC.`);
  showVerdicts(s);
  showPick();
  showFlow(s);
  showCharts();
  showStreams(s);
  showChecks(s);
  showReasons();
}

const levels = { ok: "OK", catching_up: "CATCHING UP", warning: "WARNING", critical: "CRITICAL" };
const said = new globalThis.Map();

function showVerdicts(s) {
  const list = $("verdicts");
  while (list.children.length > s.streams.length) list.lastChild.remove();
  const news = [];
  s.streams.forEach((stream, i) => {
    let li = list.children[i];
    if (!li) {
      li = el("li", {}, el("b"), el("span", { class: "name value" }), el("span", { class: "said value" }));
      list.append(li);
    }
    const { level, text } = stream.verdict;
    if (li.className !== level) li.className = level;
    put(li.children[0], levels[level] ?? level);
    put(li.children[1], stream.name);
    put(li.children[2], text);
    if (said.get(stream.name) !== level) news.push(`${stream.name}: ${levels[level]}, ${text}`);
    said.set(stream.name, level);
  });
  if (news.length) put($("announce"), news.join(". "));
  const worst = levels[s.verdict] ?? s.verdict;
  document.title = (s.verdict === "ok" ? "" : worst + " · ") + "Processor console";
}

function options(select, values, first) {
  const wanted = (first ? [["", first]] : []).concat(values.map((v) => [v, v]));
  if (JSON.stringify(wanted) === select.dataset.is) return;
  select.dataset.is = JSON.stringify(wanted);
  const before = select.value;
  select.replaceChildren(...wanted.map(([value, text]) => el("option", { value }, text)));
  select.value = wanted.some((w) => w[0] === before) ? before : wanted[0][0];
}

function showPick() {
  const sorted = names().sort();
  options($("pick-stream"), sorted, "all");
  options($("letters-stream"), sorted);
  for (const id of ["pick-stream-label", "letters-stream-label"]) $(id).hidden = sorted.length < 2;
}
$("pick-stream").addEventListener("change", () => { chosen = $("pick-stream").value; show(); });

// sum adds what is known; null where nothing is.
const sum = (values) => values.reduce((a, v) => (v == null ? a : (a ?? 0) + v), null);

function showFlow(s) {
  const of = s.streams.filter((x) => !chosen || x.name === chosen);
  const known = s.redis.ok;
  const figure = (f) => (known ? sum(of.map(f)) : null);
  const added = figure((x) => x.added_per_second), read = figure((x) => x.read_per_second), done = figure((x) => x.acknowledged_per_second);
  const lag = figure((x) => x.group?.lag), pending = figure((x) => x.group?.pending), dead = figure((x) => x.dead_letters.total);
  const consumers = figure((x) => x.group?.consumers.length ?? 0);
  const newest = s.newest_row ? (new Date(s.time) - new Date(s.newest_row.ingested_at)) / 1000 : null;
  const set = (name, text) => document.querySelectorAll(`[data-f="${name}"]`).forEach((n) => put(n, text));
  set("added", rate(added));
  set("lag", compact(lag));
  set("lag-word", lag === 1 ? "entry unread" : "entries unread");
  set("length", compact(figure((x) => x.length)));
  set("pending", compact(pending));
  set("consumers", consumers == null ? "–" : consumers === 1 ? "1 consumer" : compact(consumers) + " consumers");
  set("rows", state.rows == null ? "–" : number(state.rows));
  set("newest", s.postgres.ok ? (newest == null ? "newest unknown" : `newest ${age(Math.max(newest, 0))} ago`) : "PostgreSQL does not answer");
  set("dead", compact(dead));
  $("node-rows").classList.toggle("bad", !s.postgres.ok);
  $("node-worker").classList.toggle("bad", known && consumers === 0);
  $("node-dead").classList.toggle("some", dead > 0);
  const arrow = (name, value, text) => document.querySelectorAll(`[data-a="${name}"]`).forEach((n) => { put(n, text); n.classList.toggle("moving", value > 0); });
  arrow("added", added, rate(added));
  arrow("read", read, rate(read));
  arrow("done", done, rate(done));
  const shown = points.slice(-2).map((p) => total(p, 4));
  const grew = shown.length === 2 && shown[0] != null ? Math.max(shown[1] - shown[0], 0) : 0;
  arrow("dead", grew, grew ? "+" + number(grew) : "");
}

// total is one figure of a look, of the chosen stream or all.
const total = (p, i) => sum(Object.entries(p.streams).filter(([name]) => !chosen || name === chosen).map(([, f]) => f[i]));

function showCharts() {
  const end = points.at(-1)?.t ?? 0;
  charts.forEach((c, i) => c.set(points.map((p) => [p.t, total(p, i)]), end));
}

function showStreams(s) {
  $("stream-list").replaceChildren(...s.streams.map((x) => {
    const g = x.group;
    const entry = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
    const facts = x.exists ? [
      entry("on the stream", number(x.length)), entry("lag", g ? number(g.lag) : "–"), entry("oldest unread", x.oldest_unread_seconds == null ? "none" : age(x.oldest_unread_seconds)),
      entry("pending", g ? number(g.pending) : "–"), entry("read", rate(x.read_per_second)),
      entry("caught up in", x.catch_up_seconds == null || !g?.lag ? "–" : age(x.catch_up_seconds)),
    ] : [];
    if (x.trim_reaches_unread_seconds != null) facts.push(entry("trimmed unread in", age(x.trim_reaches_unread_seconds)));
    if (x.trimmed_unread + x.trimmed_pending > 0) facts.push(entry("lost", number(x.trimmed_unread + x.trimmed_pending)));
    const consumers = (g?.consumers ?? []).toSorted((a, b) => b.pending - a.pending);
    const rows = consumers.slice(0, 20).map((c) => el("tr", {}, el("td", { class: "value" }, c.name), el("td", { class: "num" }, number(c.pending)), el("td", { class: "num" }, age(c.idle_seconds))));
    return el("div", { class: "stream" }, el("h3", { class: "value" }, x.name),
      x.exists ? el("dl", {}, ...facts) : el("p", { class: "muted" }, "does not exist"),
      g ? el("table", {}, el("caption", { class: "hidden" }, "Consumers of group " + s.group),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Consumer"), el("th", { scope: "col", class: "num" }, "Pending"), el("th", { scope: "col", class: "num" }, "Last read"))),
        el("tbody", {}, ...(rows.length ? rows : [el("tr", {}, el("td", { colspan: 3, class: "muted" }, "no consumer"))])))
        : x.exists ? el("p", { class: "muted" }, `group ${s.group} does not exist`) : null,
      consumers.length > 20 ? el("p", { class: "muted" }, `${number(consumers.length - 20)} more`) : null);
  }));
}

let checksShown = "";

function showChecks(s) {
  const server = (name, v) => el("div", { class: "server " + (v.ok ? "ok" : "failed") }, name + (v.ok ? " answers" : " does not answer"), v.ok ? null : el("span", { class: "value" }, ": " + v.error));
  const now = JSON.stringify([s.redis, s.postgres, state.checks]);
  if (now === checksShown) return;
  checksShown = now;
  $("servers").replaceChildren(server("Redis", s.redis), server("PostgreSQL", s.postgres));
  if (!state.checks) { put($("checks-time"), "checking…"); return; }
  put($("checks-time"), `checked at ${stamp(state.checks.time).slice(11)} UTC`);
  const order = { failed: 0, warning: 1, ok: 2 };
  const found = state.checks.findings.toSorted((a, b) => order[a.state] - order[b.state]);
  const item = (f) => el("li", { class: f.state }, el("span", { class: "tag" }, f.state),
    el("div", {}, el("b", {}, `${f.server}: ${f.check} `), el("span", { class: "value" }, f.detail)),
    f.hint ? el("div", { class: "fix" }, el("b", {}, "Fix: "), el("span", { class: "value" }, f.hint)) : null);
  const good = found.filter((f) => f.state === "ok");
  $("check-list").replaceChildren(...found.filter((f) => f.state !== "ok").map(item));
  $("check-ok-list").replaceChildren(...good.map(item));
  $("check-ok").hidden = good.length === 0;
  put($("check-ok-title"), good.length === 1 ? "1 check passed" : good.length + " checks passed");
}

// --- dead letters

let reason = "", letters = [], next = "", openID = "", lastTotal = null;
const lettersStream = () => $("letters-stream").value || (state?.status ? names()[0] : "");

function showReasons() {
  const stream = state.status.streams.find((s) => s.name === lettersStream());
  if (!stream || !state.status.redis.ok) return;
  const { total: all, counted, by_reason } = stream.dead_letters;
  const entries = [["", "all", all], ...Object.entries(by_reason).sort((a, b) => b[1] - a[1]).map(([r, n]) => [r, r.replaceAll("_", " "), n])];
  const about = counted < all ? "≥ " : "";
  const box = $("reasons");
  const keys = JSON.stringify(entries.map((e) => e[0]));
  if (box.dataset.is !== keys) {
    box.dataset.is = keys;
    box.replaceChildren(...entries.map(([value]) => el("button", { type: "button", "data-reason": value, onclick: () => { reason = value; showReasons(); loadLetters(); } })));
  }
  [...box.children].forEach((b, i) => {
    put(b, `${entries[i][1]} ${entries[i][0] ? about : ""}${number(entries[i][2])}`);
    b.setAttribute("aria-pressed", String(entries[i][0] === reason));
  });
  const key = stream.name + " " + all;
  if (key !== lastTotal) { lastTotal = key; loadLetters(); }
}

let loading = 0;
async function loadLetters(older = false) {
  const mine = ++loading;
  const stream = lettersStream();
  try {
    const answer = await ask("/api/letters?" + new URLSearchParams({ stream, reason, before: older ? next : "" }));
    if (mine !== loading) return;
    letters = older ? letters.concat(answer.letters).slice(-500) : answer.letters;
    next = answer.next ?? "";
    put($("letters-note"), answer.next && answer.letters.length === 0 ? `none among the newest ${number(answer.scanned)}` : "");
  } catch (e) {
    if (mine !== loading) return;
    put($("letters-note"), e.message);
  }
  showLetters();
}

function showLetters() {
  const focused = document.activeElement?.dataset?.id;
  $("letter-rows").replaceChildren(...letters.map((l) => el("tr", { class: l.id === openID ? "open" : null },
    el("td", {}, el("button", { type: "button", class: "pick", "data-id": l.id, "aria-label": `Open dead letter of ${stamp(l.time)}, ${l.reason}`, onclick: () => openLetter(l) }, stamp(l.time))),
    el("td", {}, el("span", { class: "reason" }, l.reason.replaceAll("_", " "))),
    el("td", { class: "value" }, l.device || "–"),
    el("td", { class: "value" }, l.detail || "–"))));
  if (focused) document.querySelector(`.pick[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  $("letters-empty").hidden = letters.length > 0;
  document.querySelector(".letters").hidden = letters.length === 0;
  $("letters-more").hidden = !next;
  const whole = letters.filter((l) => !l.cut);
  $("replay-listed").hidden = !state?.allow_changes || whole.length === 0;
  put($("replay-listed"), `Replay the ${whole.length === 1 ? "one" : number(Math.min(whole.length, 100))} listed`);
}

async function openLetter(line) {
  openID = line.id;
  showLetters();
  const box = $("letter");
  let l;
  try {
    l = await ask("/api/letter?" + new URLSearchParams({ stream: line.stream, id: line.id }));
  } catch (e) {
    box.replaceChildren(el("p", { class: "fault" }, e.message));
    return;
  }
  if (openID !== line.id) return;
  const fact = (name, value) => [el("dt", {}, name), el("dd", { class: "value" }, value || "–")];
  box.replaceChildren(
    el("h3", {}, "Dead letter ", el("span", { class: "mono value" }, l.id)),
    el("div", { class: "fault" }, el("b", {}, l.reason.replaceAll("_", " ")), " ", el("span", { class: "value" }, l.detail)),
    el("dl", { class: "meta" }, ...fact("decoding now", l.now), ...fact("device", l.device), ...fact("entry", l.source_id), ...fact("given up", stamp(l.time) + " UTC"),
      ...(l.sqlstate ? fact("SQLSTATE", l.sqlstate) : []), ...l.fields.flatMap((f) => fact("field " + f.name, f.value ?? `${number(f.bytes)} bytes, hidden`))),
    el("p", { class: "sub" }, `payload, ${number(l.bytes)} bytes` + (l.shortened ? ", the beginning" : "")),
    l.payload == null ? el("p", { class: "locked" }, "Payloads are hidden, since they hold coordinates. The console shows them if it is started with --show-positions.") : payload(l),
    el("div", { class: "actions" },
      l.device ? el("button", { type: "button", onclick: () => traceDevice(l.device) }, "Trace this device") : null,
      l.source_id ? el("button", { type: "button", onclick: () => traceDevice(l.source_id) }, "Trace this entry") : null,
      state?.allow_changes && !l.cut ? el("button", { type: "button", class: "primary", onclick: () => replay([line]) }, "Replay this one") : null));
}

// payload is the text with the line of the key at fault marked.
function payload(l) {
  const pre = el("pre", { tabindex: 0, role: "region", "aria-label": "Payload" });
  const key = l.key ? JSON.stringify(l.key) + ":" : null;
  for (const line of l.payload.split("\n")) {
    const at = key && line.startsWith("  " + key);
    const span = el("span", { class: at ? "line at" : "line" });
    span.textContent = plain(line) || " ";
    pre.append(span);
  }
  return pre;
}

async function replay(lines) {
  const ids = lines.filter((l) => !l.cut).slice(0, 100).map((l) => l.id);
  if (!confirm(`Put ${ids.length === 1 ? "1 dead letter" : ids.length + " dead letters"} back on ${plain(lines[0].stream)}?`)) return;
  put($("letters-note"), "replaying…");
  try {
    const r = await ask("/api/replay", { method: "POST", headers: { "Content-Type": "application/json", "X-Console-Change": state.change }, body: JSON.stringify({ stream: lines[0].stream, ids }) });
    const parts = [[r.rows, r.rows === 1 ? "row" : "rows"], [r.dead_again, "dead again"], [r.pending, "pending"], [r.unread, r.read ? "unread" : "unread: no worker reads"], [r.left_out, "left: only their beginning is kept"]];
    const became = parts.filter(([n]) => n > 0).map(([n, what]) => `${number(n)} ${what}`).join(", ");
    await loadLetters();
    put($("letters-note"), `${number(r.replayed)} replayed` + (became ? ": " + became : ""));
    $("letter").replaceChildren(el("p", { class: "muted" }, "Choose a dead letter to see its decode error beside its payload."));
    openID = "";
  } catch (e) {
    put($("letters-note"), e.message);
  }
}

$("letters-more").addEventListener("click", () => loadLetters(true));
$("replay-listed").addEventListener("click", () => replay(letters));
$("letters-stream").addEventListener("change", () => { reason = ""; lastTotal = null; showReasons(); });

// --- trace

function traceDevice(what) {
  $("trace-what").value = what;
  $("trace-at").value = "";
  $("trace").scrollIntoView({ block: "start" });
  trace();
}

async function trace() {
  const box = $("trace-result");
  box.replaceChildren(el("p", { class: "muted" }, "searching…"));
  try {
    const r = await ask("/api/trace?" + new URLSearchParams({ what: $("trace-what").value, at: $("trace-at").value }));
    const device = r.answers.find((a) => a.device_id)?.device_id;
    box.replaceChildren(
      el("ul", { class: "answers" }, ...r.answers.map((a) => el("li", { class: a.kind }, el("span", { class: "tag" }, a.label), el("span", { class: "value" }, a.text)))),
      r.note ? el("p", { class: "muted" }, r.note) : "",
      device && state?.show_positions ? el("button", { type: "button", onclick: () => { $("map-device").value = device; showMap(); $("map").scrollIntoView({ block: "start" }); } }, "Show its track") : el("span"));
  } catch (e) {
    box.replaceChildren(el("p", { class: "fault" }, e.message));
  }
}
$("trace-form").addEventListener("submit", (e) => { e.preventDefault(); trace(); });

// --- map

const map = new PlaceMap($("map-canvas"));
let mapped = null; // what is drawn: a device, or "" for the fleet

async function showMap(again = false) {
  const device = $("map-device").value.trim();
  try {
    let places, note;
    if (device) {
      const r = await ask("/api/track?" + new URLSearchParams({ device, minutes: $("map-minutes").value }));
      places = r.fixes;
      const last = places.at(-1);
      note = last ? `${number(places.length)} fixes, the last ${age(Math.max((Date.now() - last[0]) / 1000, 0))} ago at ${last[1].toFixed(5)}, ${last[2].toFixed(5)}, ${Math.round(last[3])} km/h` : "no row in this time";
    } else {
      places = Object.values((await ask("/api/fleet")).devices);
      const moving = places.filter((p) => p[3] > 1).length;
      note = places.length ? `${number(places.length)} devices, ${number(moving)} moving` : "no position on the stream";
    }
    if (again && device !== mapped) return;
    map.show(places, device !== "", again && mapped === device);
    mapped = device;
    put($("map-note"), note);
    $("map-canvas").setAttribute("aria-label", "Map: " + plain(device ? "track of " + device + ", " : "") + note);
  } catch (e) {
    put($("map-note"), e.message);
    $("map-canvas").setAttribute("aria-label", "Map: " + e.message);
  }
}
$("map-form").addEventListener("submit", (e) => { e.preventDefault(); showMap(); });
$("map-in").addEventListener("click", () => map.zoom(0.7));
$("map-out").addEventListener("click", () => map.zoom(1.4));
$("map-fit").addEventListener("click", () => map.fit());

// The map asks again only where it is on the screen.
let mapVisible = false;
new IntersectionObserver((seen) => {
  mapVisible = seen.at(-1).isIntersecting;
  if (mapVisible && mapped === null && state) state.show_positions ? showMap() : put($("map-note"), "coordinates are hidden: --show-positions");
}).observe($("map-canvas"));
setInterval(() => { if (mapVisible && !document.hidden && mapped !== null) showMap(true); }, 3000);

look();
