// A clock that stands in for sound: it runs, can be moved, and says when the track has ended.

export const TRACK_S = 200;

/** A track of TRACK_S seconds. `onTick(seconds)` runs as time passes, `onEnd()` once at the end. */
export class Playback {
  #timer = null;
  #last = 0;

  constructor({ onTick, onEnd }) {
    this.onTick = onTick;
    this.onEnd = onEnd;
    this.seconds = 0;
    this.speed = 1;
    this.heardS = 0; // time that was really played; a seek adds nothing
  }

  get running() {
    return this.#timer !== null;
  }

  start() {
    if (this.running) return;
    this.#last = performance.now();
    this.#timer = setInterval(() => this.#tick(), 100);
  }

  pause() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  reset() {
    this.pause();
    this.seconds = 0;
    this.heardS = 0;
    this.onTick(0);
  }

  seek(seconds) {
    this.seconds = Math.min(Math.max(seconds, 0), TRACK_S);
    this.onTick(this.seconds);
  }

  #tick() {
    const now = performance.now();
    const passed = Math.min(((now - this.#last) / 1000) * this.speed, TRACK_S - this.seconds);
    this.#last = now;
    this.seconds += passed;
    this.heardS += passed;
    this.onTick(this.seconds);
    if (this.seconds >= TRACK_S) {
      this.pause();
      this.onEnd();
    }
  }
}
