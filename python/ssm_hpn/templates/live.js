// The page of runs: asks the server every two seconds, and draws the curves of the chosen runs with uPlot.
"use strict";

const EVERY = 2000;
const chosen = new Set();
const plots = new Map(); // caption -> {plot, box, key}
let first = true;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(tag, text, inside = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, inside);
}

async function ask(path, runs = []) {
  const query = runs.map((name) => "run=" + encodeURIComponent(name)).join("&");
  const answer = await fetch(path + (query ? "?" + query : ""));
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error || answer.statusText);
  return found;
}

function listRuns(runs) {
  const head = document.querySelector("#runs thead"), body = document.querySelector("#runs tbody");
  const names = runs.length ? Object.keys(runs[0].facts) : ["run"];
  head.replaceChildren(element("tr"));
  for (const name of [...names, "report"]) head.firstChild.append(element("th", name));
  const there = new Set(runs.map((run) => run.name));
  for (const name of chosen) if (!there.has(name)) chosen.delete(name);
  if (first && runs.length) chosen.add(runs[0].name);
  first = first && !runs.length;
  const order = [...chosen];
  body.replaceChildren(...runs.map((run) => {
    const row = element("tr");
    row.classList.toggle("chosen", chosen.has(run.name));
    row.onclick = (event) => { if (event.target.tagName !== "A") choose(run.name); };
    names.forEach((name, place) => {
      const cell = element("td");
      if (place === 0) {
        const box = element("input", undefined, { type: "checkbox", checked: chosen.has(run.name) });
        box.setAttribute("aria-label", "show " + run.name);
        cell.append(box);
        if (chosen.size > 1 && chosen.has(run.name)) {
          const dot = element("i");
          dot.style.background = `var(--s${order.indexOf(run.name) % 6 + 1})`;
          cell.append(dot);
        }
      }
      cell.append(run.facts[name]);
      if (name === "state") cell.className = run.facts[name] === "running" ? "running" : "";
      row.append(cell);
    });
    const link = element("td");
    if (run.report) link.append(element("a", "report", { href: "/report/" + encodeURIComponent(run.name), target: "_blank", rel: "noopener" }));
    row.append(link);
    return row;
  }));
  if (!runs.length) {
    const row = element("tr");
    row.append(element("td", "no runs yet"));
    body.append(row);
  }
}

function choose(name) {
  chosen.has(name) ? chosen.delete(name) : chosen.add(name);
  look();
}

function shown(value, percent) {
  if (value === null || value === undefined) return "–";
  if (percent) return (100 * value).toFixed(1) + " %";
  const size = Math.abs(value);
  if (size >= 1e6) return +(value / 1e6).toPrecision(4) + " M";
  if (size >= 1e4) return +(value / 1e3).toPrecision(4) + " k";
  return String(+value.toPrecision(4));
}

function draw(charts) {
  const place = document.querySelector("#curves .charts");
  const there = new Set(charts.map((chart) => chart.caption));
  for (const [caption, one] of plots) {
    if (!there.has(caption)) { one.plot.destroy(); one.figure.remove(); plots.delete(caption); }
  }
  for (const chart of charts) {
    const data = uPlot.join(chart.curves.map((curve) => [curve.points.map((p) => p[0]), curve.points.map((p) => p[1])]));
    const key = JSON.stringify(chart.curves.map((curve) => [curve.name, curve.colour]));
    const old = plots.get(chart.caption);
    if (old && old.key === key) { old.plot.setData(data); continue; }
    const figure = old ? old.figure : element("figure");
    if (old) { old.plot.destroy(); figure.replaceChildren(); } else place.append(figure);
    const title = element("figcaption", chart.caption + " ");
    title.append(element("span", chart.unit));
    const box = element("div", undefined, { className: "plot" });
    figure.append(title, box);
    plots.set(chart.caption, { plot: plotted(chart, data, box), figure, box, key });
  }
  for (const chart of charts) place.append(plots.get(chart.caption).figure);
}

function plotted(chart, data, box) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const label = (plot, values) => values.map((value) => (value === null ? "" : shown(value, chart.percent)));
  const scale = chart.log ? { distr: 3 } : chart.zero ? { range: (plot, low, high) => [Math.min(0, low), high > 0 ? high * 1.05 : 1] } : {};
  const series = chart.curves.map((curve) => ({
    label: curve.name,
    stroke: colour("--s" + curve.colour),
    width: curve.style === "faint" ? 1 : 2,
    alpha: curve.style === "faint" ? 0.35 : 1,
    points: { show: curve.style === "points" && curve.points.length <= 60, size: 6 },
    spanGaps: true,
    value: (plot, value) => shown(value, chart.percent),
  }));
  return new uPlot({
    width: box.clientWidth || 340, height: 190,
    scales: { x: { time: false }, y: scale },
    axes: [{ ...axis, values: (plot, values) => values.map((value) => shown(value)) }, { ...axis, size: 58, values: label }],
    series: [{ label: chart.x }, ...series],
    cursor: { sync: { key: "runs" }, drag: { x: true, y: false } },
  }, data, box);
}

function list(tables) {
  document.querySelector("#tables").replaceChildren(...tables.flatMap((one) => {
    const table = element("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    for (const name of one.header) head.append(element("th", name));
    for (const line of one.rows) {
      const row = body.insertRow();
      for (const cell of line) row.append(element("td", cell));
    }
    const box = element("div", undefined, { className: "table" });
    box.append(table);
    return [element("h3", one.title), box];
  }));
}

let asked = 0;
async function look() {
  const mine = ++asked, state = document.querySelector("#state");
  try {
    const runs = await ask("/api/runs");
    if (mine !== asked) return;
    listRuns(runs);
    const names = [...chosen];
    const charts = names.length ? await ask("/api/curves", names) : [];
    const tables = names.length > 1 ? await ask("/api/compare", names) : [];
    if (mine !== asked) return;
    draw(charts);
    list(tables);
    state.textContent = "live";
    state.className = "badge";
  } catch (error) {
    if (mine !== asked) return;
    state.textContent = error instanceof TypeError ? "the server does not answer" : error.message;
    state.className = "badge lost";
  }
}

addEventListener("resize", () => {
  for (const { plot, box } of plots.values()) plot.setSize({ width: box.clientWidth, height: 190 });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const one of plots.values()) one.key = "";
  look();
});
look();
setInterval(() => { if (!document.hidden) look(); }, EVERY);
