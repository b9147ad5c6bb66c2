// What changed between two queues, and why as far as this page can know. Pure functions: nothing here touches the page.

/**
 * Compare two lists of tracks.
 * Returns {rows, gone}: for each track of `after` {track, kind: "same" | "up" | "down" | "new", by}, and for each track that left
 * {track, why}. `action` is {type, track} of what the listener just did, or null.
 */
export function compare(before, after, action) {
  const places = new Map(before.map((track, place) => [track.track_id, place]));
  const kept = new Set(after.map((track) => track.track_id));
  const rows = after.map((track, place) => {
    if (!before.length) return { track, kind: "same", by: 0 };
    const was = places.get(track.track_id);
    if (was === undefined) return { track, kind: "new", by: 0 };
    const by = was - place;
    return { track, kind: by > 0 ? "up" : by < 0 ? "down" : "same", by: Math.abs(by) };
  });
  const gone = before.filter((track) => !kept.has(track.track_id)).map((track) => ({ track, why: reason(track, after.length, action) }));
  return { rows, gone };
}

/** How many of the places of `before` hold another track in `after`, as a share from 0 to 1. */
export function shareChanged(before, after) {
  if (!before.length) return 0;
  const moved = before.filter((track, place) => after[place]?.track_id !== track.track_id);
  return moved.length / before.length;
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
