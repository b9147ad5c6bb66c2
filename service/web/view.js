// Draws what the player knows. Every function replaces one part of the page; text is set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

/** Number of plays before the session that are shown. */
export const EARLIER = 24;

/** An element with attributes and children; strings become text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The track's title, or its id where the model's catalogue has no title. */
export const titleOf = (track) => track.title ?? track.track_id;

/** A colour for the artist, the same each time. */
export function hue(track) {
  let number = 0;
  for (const letter of track.artist ?? track.track_id) number = (number * 31 + letter.codePointAt(0)) % 360;
  return `linear-gradient(135deg, hsl(${number} 60% 50%), hsl(${(number + 50) % 360} 60% 32%))`;
}

export function showNow(track) {
  $("now-title").textContent = track ? titleOf(track) : "Nothing yet";
  $("now-artist").textContent = track ? (track.artist ?? "") : "Press play: the first track of the queue starts.";
  $("cover").style.background = track ? hue(track) : "";
  for (const id of ["skip", "like", "dislike", "position"]) $(id).disabled = !track;
}

export function showQueue(rows, gone, note, titles = new Map()) {
  $("queue").replaceChildren(...rows.map((row, place) => queueRow(row, place, titles)));
  $("queue-note").textContent = note;
  $("gone").hidden = !gone.length;
  $("gone-list").replaceChildren(
    ...gone.map(({ track, why }) => element("li", {}, titleOf(track), element("small", {}, [track.artist, why].filter(Boolean).join(" · ")))),
  );
}

/** The newest plays before the session; `history` is all that the model reads, of which the end is the session. */
export function earlierPlays(entries, history) {
  const began = entries[0]?.at ?? "9999";
  return history.filter((entry) => entry.at < began);
}

/** The session as a ribbon, and the newest plays before it as buttons that call `playAgain(track)`. */
export function showSession(entries, earlier, titles, playAgain) {
  $("ribbon").replaceChildren(...entries.map((entry) => ribbonEntry(entry, titles.get(entry.track_id) ?? entry)));
  const skipped = earlier.filter((entry) => entry.outcome === "skipped").length;
  $("earlier").textContent = earlier.length
    ? `Before this session the model reads ${earlier.length} plays, ${skipped} of them skipped.`
    : "The model reads nothing from before this session.";
  const again = earlier.slice(-EARLIER).map((entry) => ribbonEntry(entry, titles.get(entry.track_id) ?? entry, playAgain));
  $("earlier-ribbon").replaceChildren(...again);
}

export function showLastSkip(skipped, before, after, effect) {
  const kept = (tracks) => new Set(tracks.map((track) => track.track_id));
  const was = kept(before), is = kept(after);
  const line = (track, lost) => element("li", lost, `${titleOf(track)}${track.artist ? ` · ${track.artist}` : ""}`);
  $("last-skip").hidden = false;
  $("skip-summary").textContent = `You skipped “${titleOf(skipped)}”${skipped.artist ? ` by ${skipped.artist}` : ""}. `
    + effect;
  $("before").replaceChildren(...before.map((track) => line(track, is.has(track.track_id) ? {} : { class: "gone-row" })));
  $("after").replaceChildren(...after.map((track) => line(track, was.has(track.track_id) ? {} : { class: "new-row" })));
}

export function showNotice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text ?? "";
}

export function addCall(made, curl) {
  const copy = element("button", { type: "button", "aria-label": `Copy ${made.method} ${made.path} as curl` }, "Copy");
  copy.addEventListener("click", async () => {
    await copyText(curl);
    copy.textContent = "Copied";
  });
  $("calls").prepend(
    element(
      "tr", {},
      element("td", {}, `${made.method} ${made.path}`),
      element("td", { class: made.status >= 200 && made.status < 400 ? "" : "failed" }, made.status ? String(made.status) : "none"),
      element("td", { class: "number" }, made.ms.toFixed(1)),
      element("td", {}, copy),
    ),
  );
  while ($("calls").children.length > 30) $("calls").lastChild.remove();
}

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = element("textarea"); // browsers offer the clipboard on https and on this machine only
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function queueRow({ track, kind, by, why }, place, titles) {
  const words = { up: `▲ ${by}`, down: `▼ ${by}`, new: "new", same: "" }[kind];
  const spoken = { up: `moved up ${by}`, down: `moved down ${by}`, new: "new in the queue", same: "" }[kind];
  const cover = element("div", { class: "cover", "aria-hidden": "true" });
  cover.style.background = hue(track);
  const change = element("span", { class: `change ${kind}` }, element("span", { "aria-hidden": "true" }, words), element("span", { class: "visually-hidden" }, spoken));
  const marks = [track.artist, track.explored ? "explored" : null, because(track, titles), why].filter(Boolean).join(" · ");
  return element("li", { "data-track": track.track_id }, element("span", { class: "place" }, String(place + 1)), cover,
    element("span", { class: "name" }, titleOf(track), element("small", {}, marks)), change);
}

const WHY = { session: "fits what you played", habit: "you played it before", artist: "an artist you play", popular: "popular" };

/** Why a track is in the queue, with the tracks that raised it most. */
function because(track, titles) {
  if (!track.reason) return null;
  const named = (track.because ?? []).slice(0, 2).map(({ track_id, share }) => `${titleOf(titles.get(track_id) ?? { track_id })} ${Math.round(share * 100)} %`);
  return [WHY[track.reason], ...(named.length ? [named.join(", ")] : [])].join(": ");
}

/** A play as a bar. With `playAgain(track)` it is a button. */
function ribbonEntry(entry, track, playAgain = null) {
  const sign = { played: "", skipped: "", liked: "♥", disliked: "✕" }[entry.outcome];
  const said = `${titleOf(track)}: ${entry.outcome}${playAgain ? ". Play again" : ""}`;
  const parts = [element("span", { "aria-hidden": "true" }, sign), element("b", { class: "visually-hidden" }, said)];
  const made = element("li", { class: entry.outcome, title: said });
  made.style.setProperty("--hue", hue(track));
  if (!playAgain) made.append(...parts);
  else {
    const again = element("button", { type: "button" }, ...parts);
    again.addEventListener("click", () => playAgain(track));
    made.append(again);
  }
  return made;
}
