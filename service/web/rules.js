// Sliders for the rules that this service offers: the OpenAPI document says which parameters `next` takes.

import { call } from "/web/api.js";
import { $, element } from "/web/view.js";

const SLIDERS = {
  novelty: { label: "Familiar ↔ new", min: -1, max: 1, step: 0.1, off: 0 },
  artist_gap: { label: "Artist gap", min: 0, max: 10, step: 1, off: 0 },
  album_gap: { label: "Album gap", min: 0, max: 10, step: 1, off: 0 },
  explore: { label: "Explore", min: 0, max: 0.5, step: 0.05, off: 0 },
};
const SWITCHES = { explain: "Say why" };
const chosen = {};

/** Draw a slider or a switch for each rule of the service; `changed()` runs when one is moved. */
export async function showRules(changed) {
  const document = await call("GET", "/openapi.json");
  const parameters = document.body?.paths?.["/v1/users/{user_id}/next"]?.get?.parameters ?? [];
  const offered = parameters.map((parameter) => parameter.name);
  const made = [
    ...offered.filter((name) => name in SLIDERS).map((name) => slider(name, SLIDERS[name], changed)),
    ...offered.filter((name) => name in SWITCHES).map((name) => toggle(name, SWITCHES[name], changed)),
  ];
  $("rules").hidden = !made.length;
  $("rules").append(...made);
}

/** The parameters of `next` that are asked for. A slider at 0 and a switch that is off ask for nothing. */
export function rulesOf() {
  return { ...chosen };
}

function toggle(name, label, changed) {
  const input = element("input", { type: "checkbox", name });
  input.addEventListener("change", () => {
    if (input.checked) chosen[name] = true;
    else delete chosen[name];
    changed();
  });
  return element("label", {}, label, input);
}

function slider(name, { label, min, max, step, off }, changed) {
  const input = element("input", { type: "range", min, max, step, value: off, name });
  const shown = element("output", {}, String(off));
  input.addEventListener("input", () => {
    shown.textContent = input.value;
    if (Number(input.value) === off) delete chosen[name];
    else chosen[name] = input.value;
  });
  input.addEventListener("change", changed);
  return element("label", {}, label, input, shown);
}
