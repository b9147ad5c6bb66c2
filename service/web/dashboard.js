// The dashboard: asks for the service's status again and again, and changes what the page says where it differs.

import { call } from "/web/api.js";
import { fill, plot, say } from "/web/plots.js";
import { $, element, showNotice } from "/web/view.js";

const EVERY_MS = 5000;
const COLOURS = ["first", "second", "third", "fourth"];
const number = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0 });
const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)} %`;
const milliseconds = (value) => `${number(value)} ms`;
const state = { before: null, version: null, timer: null, plots: {}, arms: null };
const MEASURES = [
  ["hr@20", "HR@20", percent, "Of the tracks kept next, how many were among the first 20 proposals? Higher is better."],
  ["hr@20_new", "HR@20 new", percent, "The same for tracks that were new to the listener."],
  ["hr@20_repeat", "HR@20 rep.", percent, "The same for tracks that the listener had heard before."],
  ["ndcg@10", "NDCG@10", number, "The same for the first 10; a hit counts less the further down it stands. Higher is better."],
  ["skipped_hits@20", "Skipped hits", percent, "Of the proposals that were then played, how many were skipped? Lower is better."],
  ["auc", "AUC", number, "How often does a kept track score above a refused one? .5 is chance."],
  ["coverage@20", "Catalogue", percent, "How much of the catalogue is proposed at least once?"],
];

drawPlots();
$("refresh").addEventListener("click", refresh);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(state.timer) : refresh()));
await refresh();

function drawPlots() {
  const make = (id, title, names, format) => plot($(id), { title, format, series: names.map((name, at) => ({ name, className: COLOURS[at] })) });
  state.plots.traffic = make("traffic", "Requests a second in the last hour", ["requests a second", "errors a second"], number);
  state.plots.latency = make("latency", "Time to answer what comes next, last hour", ["half are faster than", "99 in 100 are faster than"], milliseconds);
  state.plots.degraded = make("degraded", "Share of degraded replies in the last hour", ["degraded replies"], percent);
}

/** Ask once, show it, and ask again in a while. Without a key the page waits until the person presses the button. */
async function refresh() {
  clearTimeout(state.timer);
  try {
    await ask();
  } finally { // also where the page fails: the next reply may be one that it can show
    if ($("refresh").hidden && !document.hidden) state.timer = setTimeout(refresh, EVERY_MS);
  }
}

async function ask() {
  const status = await call("GET", "/v1/status?hours=24", undefined, { admin: true });
  $("refresh").hidden = status.status !== 401 && status.status !== 403;
  if (status.ok) {
    await showModel(status.body.models);
    show(status.body);
  } else {
    $("state").dataset.stale = "true";
    showNotice(status.status ? `No status: ${status.body?.detail ?? status.status}` : "The service does not answer. The page shows what it last said.");
  }
}

function show(status) {
  $("state").dataset.stale = "false";
  showNotice(trouble(status));
  const hour = status.last_hour;
  const times = hour.map((point) => new Date(point.at));
  state.plots.traffic(times, [hour.map((point) => point.requests / point.seconds), hour.map((point) => point.errors / point.seconds)]);
  state.plots.latency(times, [hour.map((point) => point.p50_ms), hour.map((point) => point.p99_ms)]);
  state.plots.degraded(times, [hour.map((point) => (point.proposals ? point.degraded / point.proposals : null))]);
  showTiles(status, hour);
  showOutcomes(status);
  fill($("routes"), status.latency.map((one) => [one.route, number(one.count), number(one.p50_ms), number(one.p99_ms)])
    .sort((one, other) => one[0].localeCompare(other[0])));
  fill($("trouble"), status.trouble.map((line) => [new Date(line.at).toLocaleString(), line.level, line.what, number(line.times)]));
  $("no-trouble").hidden = status.trouble.length > 0;
  say($("updated"), `As of ${new Date(status.at).toLocaleTimeString()}. The page asks again every ${EVERY_MS / 1000} seconds.`);
}

function trouble({ redis, last_hour }) {
  if (!redis.ready) return `Redis cannot be used: ${redis.reason}. Replies are popular tracks, and events are refused until it is back.`;
  const last = last_hour.at(-1);
  return last?.degraded ? `${percent(last.degraded / last.proposals)} of the latest replies are degraded: popular tracks in place of the model's.` : null;
}

function showTiles(status, hour) {
  const requests = status.requests.reduce((sum, one) => sum + one.count, 0), at = new Date(status.at).getTime();
  const passed = state.before ? (at - state.before.at) / 1000 : 0, last = hour.at(-1);
  if (passed > 0) say($("rate"), number(Math.max(0, requests - state.before.requests) / passed));
  else if (last) say($("rate"), number(last.requests / last.seconds));
  state.before = { at, requests };
  const busy = hour.findLast((point) => point.p99_ms !== null);
  say($("fast"), busy ? `${number(busy.p50_ms)} / ${number(busy.p99_ms)} ms` : "none yet");
  const proposals = hour.reduce((sum, point) => sum + point.proposals, 0);
  const degraded = hour.reduce((sum, point) => sum + point.degraded, 0);
  say($("share"), proposals ? percent(degraded / proposals) : "none yet");
  say($("redis"), status.redis.ready ? `ready, ${number(status.redis.ping_ms)} ms` : "out of reach");
  $("redis").dataset.bad = String(!status.redis.ready);
  $("share").dataset.bad = String(degraded > 0);
}

/** The models in use, and what was measured of the current one; asked for only when the version changes. */
async function showModel(models) {
  const current = models.find((model) => model.arm === "current") ?? models[0];
  say($("version"), current.version);
  say($("age"), `made ${ago(current.age_s)}`);
  fill($("models"), models.map((model) => [model.arm, model.name, model.version, new Date(model.created_at).toLocaleString()]));
  if (current.version === state.version) return;
  const found = await call("GET", "/v1/model");
  if (!found.ok) return;
  state.version = found.body.version;
  const { quality, tracks, origin } = found.body;
  say($("tracks"), `${number(tracks)} tracks${origin?.log ? `, trained on ${origin.log}` : ""}`);
  fill($("quality"), measured(quality.values ?? quality));
}

function measured(values) {
  const known = MEASURES.filter(([name]) => typeof values[name] === "number");
  if (known.length) return known.map(([name, label, form, meaning]) => [label, form(values[name]), meaning]);
  return Object.entries(values).filter(([, value]) => typeof value === "number").map(([name, value]) => [name, number(value), ""]);
}

/** What became of proposals: a bar for each version, the table behind it, the share of skips by hour, and by place in the reply. */
function showOutcomes(status) {
  const all = (one) => one.completed + one.skipped;
  const named = (one) => (one.arm === "current" ? one.version : `${one.version} (${one.arm})`);
  $("no-outcomes").hidden = status.outcomes.length > 0;
  $("with-outcomes").hidden = !status.outcomes.length;
  fill($("outcomes"), status.outcomes.map((one) => [named(one), number(all(one)),
    ...["completed", "skipped", "liked", "disliked"].map((name) => number(one[name])), all(one) ? percent(one.skipped / all(one)) : "none"]));
  const bars = $("bars");
  while (bars.children.length > status.outcomes.length) bars.lastChild.remove();
  status.outcomes.forEach((one, place) => {
    const bar = bars.children[place] ?? bars.appendChild(element("div", { class: "outcome-bar" }, element("span"), element("i"), element("i")));
    say(bar.firstChild, named(one));
    bar.children[1].style.flexGrow = one.completed;
    bar.children[2].style.flexGrow = one.skipped;
  });
  const [shown] = status.outcomes;
  fill($("ranks"), (shown?.ranks ?? []).map((one) => [one.rank, number(all(one)), number(one.liked), all(one) ? percent(one.skipped / all(one)) : "none"]));
  say($("ranks-of"), shown ? named(shown) : "");
  showHours(status.outcomes_by_hour, status.outcomes.slice(0, COLOURS.length).map(named), named);
}

function showHours(hours, names, named) {
  if (state.arms !== names.join("\n")) { // other versions: other lines
    state.arms = names.join("\n");
    $("hours").replaceChildren();
    state.plots.hours = plot($("hours"), { title: "Share of skips among proposals that came true, by hour", format: percent,
      series: names.map((name, at) => ({ name, className: COLOURS[at] })) });
  }
  const moments = [...new Set(hours.map((one) => one.hour))].sort();
  const share = (name, moment) => {
    const one = hours.find((hour) => hour.hour === moment && named(hour) === name);
    return one && one.completed + one.skipped ? one.skipped / (one.completed + one.skipped) : null;
  };
  state.plots.hours(moments.map((moment) => new Date(moment)), names.map((name) => moments.map((moment) => share(name, moment))));
}

function ago(seconds) {
  const [size, name] = [[86400, "day"], [3600, "hour"], [60, "minute"]].find(([size]) => seconds >= size) ?? [1, "second"];
  const count = Math.floor(Math.max(0, seconds) / size);
  return `${count} ${name}${count === 1 ? "" : "s"} ago`;
}
