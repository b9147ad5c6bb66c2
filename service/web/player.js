// The demo player: posts what the listener does, asks what comes next, and shows what changed.

import { asCurl, call, onCall } from "/web/api.js";
import { compare, effectOfSkip } from "/web/changes.js";
import { Playback, TRACK_S } from "/web/playback.js";
import { rulesOf, showRules } from "/web/rules.js";
import { $, EARLIER, addCall, earlierPlays, element, showLastSkip, showNotice, showNow, showQueue, showSession } from "/web/view.js";

const LISTENERS = "nexttrack.listeners";
const LENGTH = 12;
const state = { listener: "", queue: [], requestId: null, now: null, titles: new Map(), working: Promise.resolve() };
const playback = new Playback({ onTick: showTime, onEnd: () => perform("complete") });

onCall((made) => addCall(made, asCurl(made)));
wire();
showNow(null);
await showRules(() => inTurn(() => refresh(null)));
await switchTo(known()[0] ?? madeUpName());

function wire() {
  $("listener-form").addEventListener("submit", (event) => {
    event.preventDefault();
    switchTo($("listener").value.trim() || madeUpName());
  });
  $("new-listener").addEventListener("click", () => switchTo(madeUpName()));
  $("play").addEventListener("click", playOrPause);
  for (const type of ["skip", "like", "dislike"]) $(type).addEventListener("click", () => perform(type));
  $("position").addEventListener("input", () => playback.seek(Number($("position").value)));
  $("speed").addEventListener("change", () => (playback.speed = Number($("speed").value)));
  playback.speed = Number($("speed").value);
  document.addEventListener("keydown", onKey);
}

function onKey(event) {
  const typing = event.target.closest("input:not([type=range]):not([type=checkbox]), select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !$("shortcuts").checked) return;
  const actions = {
    p: playOrPause, s: () => perform("skip"), l: () => perform("like"), d: () => perform("dislike"),
    j: () => playback.seek(playback.seconds - 10), k: () => playback.seek(playback.seconds + 10),
  };
  const action = actions[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
}

/** Run `work` after everything that was asked before it, so that replies arrive in the order of the clicks. */
function inTurn(work) {
  state.working = state.working.then(work).catch((error) => showNotice(`The page failed: ${error.message}`));
  return state.working;
}

function switchTo(listener) {
  return inTurn(async () => {
    playback.reset();
    Object.assign(state, { listener, queue: [], requestId: null, now: null });
    $("listener").value = listener;
    $("last-skip").hidden = true;
    showNow(null);
    showPlaying();
    showQueue([], [], "");
    showSession([], [], state.titles, playAgain);
    if (await refresh(null)) remember(listener);
  });
}

function playOrPause() {
  if (!state.now) return inTurn(startNext);
  if (playback.running) playback.pause();
  else playback.start();
  showPlaying();
}

/** Play the first track of the queue. */
async function startNext() {
  const track = state.queue[0];
  if (track) await start({ ...track, requestId: state.requestId });
}

/** Leave the track that plays, and play one that the listener has chosen. */
function playAgain(track) {
  return inTurn(async () => {
    playback.pause();
    if (!state.now || (await post("skip"))) await start(track);
  });
}

/** Play a track, post its play, and ask again. */
async function start(track) {
  state.now = track;
  playback.reset();
  showNow(state.now);
  if (await post("play")) await refresh({ type: "play", track });
  playback.start();
  showPlaying();
}

/** What the listener does to the track that plays: skip, like, dislike, complete. */
function perform(type) {
  return inTurn(async () => {
    const track = state.now;
    if (!track) return;
    const before = state.queue;
    const moveOn = type !== "like";
    if (moveOn) playback.pause();
    if (!(await post(type))) return;
    await refresh({ type, track });
    if (type === "skip") showLastSkip(track, before, state.queue, effectOfSkip(track, before, state.queue));
    if (moveOn) {
      state.now = null;
      await startNext();
    }
  });
}

async function post(type) {
  const { now, listener } = state;
  const event = { event_id: randomId(), user_id: listener, track_id: now.track_id, type };
  if (now.requestId) event.request_id = now.requestId;
  if (type === "skip" || type === "complete") {
    event.played_ms = Math.round(playback.heardS * 1000);
    event.track_ms = TRACK_S * 1000;
  }
  const result = await call("POST", "/v1/events", event);
  if (!result.ok) showNotice(`The ${type} was not stored: ${problem(result)} Do it again; nothing counts twice.`);
  return result.ok;
}

/**
 * Ask for the queue and the session; `action` is what the listener just did, to explain the changes. Returns whether the queue
 * arrived.
 */
async function refresh(action) {
  const user = encodeURIComponent(state.listener);
  const next = await call("GET", `/v1/users/${user}/next?${new URLSearchParams({ count: LENGTH, ...rulesOf() })}`);
  if (!next.ok) {
    showNotice(`No queue: ${problem(next)}`);
    return false;
  }
  const { tracks, request_id, degraded, model } = next.body;
  for (const track of [...tracks, ...(state.now ? [state.now] : [])]) state.titles.set(track.track_id, track);
  const { rows, gone } = compare(state.queue, tracks, action);
  showQueue(rows, gone, `${next.ms.toFixed(1)} ms · ${degraded ? "popular tracks" : model.version}`, state.titles);
  showNotice(degraded ? "Degraded: Redis or the model cannot be used now. These are popular tracks, not a personal queue." : null);
  Object.assign(state, { queue: tracks, requestId: request_id });
  const session = await call("GET", `/v1/users/${user}/session?history=true`);
  if (session.ok) {
    const earlier = earlierPlays(session.body.session, session.body.history ?? []);
    await learnTitles(earlier.slice(-EARLIER));
    showSession(session.body.session, earlier, state.titles, playAgain);
  }
  return true;
}

/** Learn the titles of plays that no queue has named. Tracks that the model does not know keep their ids. */
async function learnTitles(plays) {
  const unnamed = [...new Set(plays.map((play) => play.track_id))].filter((id) => !state.titles.has(id));
  if (!unnamed.length) return;
  const named = await call("POST", "/v1/next", { history: [], candidates: unnamed, count: unnamed.length });
  for (const track of [...unnamed.map((id) => ({ track_id: id })), ...(named.body?.tracks ?? [])]) state.titles.set(track.track_id, track);
}

function showTime(seconds) {
  const clock = (time) => `${Math.floor(time / 60)}:${String(Math.floor(time % 60)).padStart(2, "0")}`;
  $("position").value = seconds;
  $("position").setAttribute("aria-valuetext", clock(seconds));
  $("clock").textContent = `${clock(seconds)} / ${clock(TRACK_S)}`;
}

function showPlaying() {
  $("play").textContent = playback.running ? "Pause" : "Play";
}

/** Why a call failed, as a sentence: what is wrong with the request if the service says it, else its reason. */
function problem(result) {
  const faults = (result.body?.errors ?? []).map(({ loc, msg }) => `${loc.at(-1)}: ${msg}`).join("; ");
  const reason = faults || (result.body?.detail ?? `the service answered ${result.status}`);
  return reason.endsWith(".") ? reason : `${reason}.`;
}

function known() {
  return JSON.parse(localStorage.getItem(LISTENERS) ?? "[]");
}

function remember(listener) {
  const names = [listener, ...known().filter((name) => name !== listener)].slice(0, 20);
  localStorage.setItem(LISTENERS, JSON.stringify(names));
  $("known-listeners").replaceChildren(...names.map((name) => element("option", { value: name })));
}

function madeUpName() {
  return `listener-${randomId().slice(0, 6)}`;
}

function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
