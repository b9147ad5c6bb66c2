// What changed between two queues, and why as far as this page can know. Pure functions: nothing here touches the page.

/**
 * Compare two lists of tracks.
 * Returns {rows, gone}: for each track of `after` {track, kind: "same" | "up" | "down" | "new", by, why}, and for each track that
 * left {track, why}. `action` is {type, track} of what the listener just did, or null.
 */
export function compare(before, after, action) {
  const places = new Map(before.map((track, place) => [track.track_id, place]));
  const kept = new Set(after.map((track) => track.track_id));
  const rows = after.map((track, place) => {
    if (!before.length) return { track, kind: "same", by: 0, why: "" };
    const was = places.get(track.track_id);
    const by = was === undefined ? 0 : was - place;
    const kind = was === undefined ? "new" : by > 0 ? "up" : by < 0 ? "down" : "same";
    return { track, kind, by: Math.abs(by), why: whyMoved(track, kind, action) };
  });
  const gone = before.filter((track) => !kept.has(track.track_id)).map((track) => ({ track, why: reason(track, after.length, action) }));
  return { rows, gone };
}

/** What a skip of `track` did to the list, in words: how many tracks are new, and how many of its artist's are left. */
export function effectOfSkip(track, before, after) {
  const were = new Set(before.map((other) => other.track_id));
  const fresh = after.filter((other) => !were.has(other.track_id)).length;
  const byArtist = (list) => list.filter((other) => track.artist && other.artist === track.artist).length;
  const artist = track.artist ? ` Tracks of ${track.artist}: ${byArtist(before)} before, ${byArtist(after)} now.` : "";
  return `${fresh} of the ${after.length} tracks ${fresh === 1 ? "is" : "are"} new.${artist}`;
}

const DONE = { play: "is playing", like: "you liked", complete: "you heard to its end", skip: "you skipped", dislike: "you disliked" };

/** Why a track moved or is new, as far as its artist says it. */
function whyMoved(track, kind, action) {
  if (kind === "same" || !action || !track.artist || track.artist !== action.track.artist) return "";
  const refused = action.type === "skip" || action.type === "dislike";
  if (refused !== (kind === "down")) return "";
  return `same artist as the track that ${DONE[action.type]}`;
}

function reason(track, length, action) {
  if (action && action.track.track_id === track.track_id) {
    return { play: "is playing now", skip: "you skipped it", dislike: "you disliked it", complete: "you heard it to its end" }[action.type] ?? "";
  }
  const sameArtist = action && track.artist && track.artist === action.track.artist;
  if (sameArtist && action.type === "skip") return "same artist as the track you skipped";
  if (sameArtist && action.type === "dislike") return "same artist as the track you disliked";
  return `now below place ${length}`;
}
