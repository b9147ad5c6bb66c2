// Line plots as SVG, with a table of the same values. A plot is drawn once; later values change its lines in place.

import { element } from "/web/view.js";

const NS = "http://www.w3.org/2000/svg";
const LEFT = 62, RIGHT = 8, TOP = 8, BOTTOM = 24, HEIGHT = 190, ROWS = 24;

/**
 * A plot in `place`: {title, series: [{name, className}], format(value)}.
 * Returns `show(times, values)`: times as Dates, and for each series a list of as many numbers; null where there is none.
 */
export function plot(place, { title, series, format }) {
  const svg = node("svg", { role: "img", height: HEIGHT, class: "plot" });
  const grid = node("g", { class: "grid" });
  const lines = series.map(({ className }) => node("path", { class: `line ${className}` }));
  svg.append(grid, ...lines);
  const legend = element("p", { class: "legend hint" },
    ...series.flatMap(({ name, className }) => [element("span", { class: `key ${className}` }), ` ${name} `]));
  const body = element("tbody");
  const head = element("tr", {}, element("th", { scope: "col" }, "Up to"), ...series.map(({ name }) => element("th", { scope: "col" }, name)));
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Values of: ${title}` },
    element("table", {}, element("thead", {}, head), body));
  const waiting = element("p", { class: "hint" }, "Nothing to draw yet. A point is added every 15 seconds.");
  place.append(waiting, svg, legend, element("details", {}, element("summary", {}, "Values as a table"), scroll));

  let last = [[], series.map(() => [])];
  const show = (times, values) => {
    last = [times, values];
    waiting.hidden = times.length > 0;
    svg.style.display = times.length ? "" : "none";
    draw(svg, grid, lines, times, values, format);
    svg.setAttribute("aria-label", summary(title, series, values, format));
    fill(body, tableRows(times, values, format));
  };
  new ResizeObserver(() => show(...last)).observe(place);
  return show;
}

/** Make the rows of a table body say `rows`, lists of texts. Only cells that differ are touched, so nothing flickers. */
export function fill(body, rows) {
  while (body.rows.length > rows.length) body.rows[body.rows.length - 1].remove();
  rows.forEach((texts, place) => {
    const row = body.rows[place] ?? body.insertRow();
    texts.forEach((text, column) => {
      const cell = row.cells[column] ?? row.insertCell();
      if (cell.textContent !== text) cell.textContent = text;
    });
    while (row.cells.length > texts.length) row.lastChild.remove();
  });
}

/** Set an element's text if it differs. */
export function say(at, text) {
  if (at.textContent !== text) at.textContent = text;
}

/** The hour and minute of a time, as this person writes it. */
const clock = (time) => time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function draw(svg, grid, lines, times, values, format) {
  const width = Math.max(260, svg.parentElement.clientWidth);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.setAttribute("width", width);
  if (!times.length) return;
  const top = ceiling(Math.max(0, ...values.flat().filter((value) => value !== null)));
  const first = times[0].getTime(), span = Math.max(1, times.at(-1).getTime() - first);
  const x = (time) => LEFT + ((time.getTime() - first) / span) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const levels = [0, top / 2, top].map((level) => [
    node("line", { x1: LEFT, x2: width - RIGHT, y1: y(level), y2: y(level) }),
    label(format(level), LEFT - 6, y(level) + 4, "end"),
  ]);
  const moments = [times[0], times.at(-1)].map((time, place) => label(clock(time), x(time), HEIGHT - 6, place ? "end" : "start"));
  grid.replaceChildren(...levels.flat(), ...(times.length > 1 ? moments : moments.slice(0, 1)));
  lines.forEach((line, place) => line.setAttribute("d", path(times, values[place], x, y)));
}

/** Lines between neighbours that both have a value; a point alone is a short dash. */
function path(times, values, x, y) {
  let drawn = "", pen = false;
  values.forEach((value, place) => {
    if (value === null) return (pen = false);
    drawn += `${pen ? "L" : "M"}${x(times[place]).toFixed(1)} ${y(value).toFixed(1)}`;
    if (!pen && (values[place + 1] ?? null) === null) drawn += "h4";
    pen = true;
  });
  return drawn;
}

/** A round number of at least `most`: 1, 2 or 5 times a power of ten. */
function ceiling(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [1, 2, 5, 10].find((step) => step * power >= most * 0.9999);
}

function summary(title, series, values, format) {
  const parts = series.map(({ name }, place) => {
    const known = values[place].filter((value) => value !== null);
    return known.length ? `${name}: ${format(known.at(-1))} now, at most ${format(Math.max(...known))}` : `${name}: no value`;
  });
  return `${title}. ${parts.join("; ")}. The values are in the table below.`;
}

/** At most `ROWS` rows, evenly over time, the newest first. */
function tableRows(times, values, format) {
  const step = Math.max(1, Math.ceil(times.length / ROWS));
  const places = times.map((_, place) => place).filter((place) => (times.length - 1 - place) % step === 0);
  return places.reverse().map((place) => [clock(times[place]), ...values.map((one) => (one[place] === null ? "none" : format(one[place])))]);
}

function label(text, x, y, anchor) {
  const made = node("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function node(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
