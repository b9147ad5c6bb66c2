// Calls to the service: adds the key, measures the time, and tells the page about each call.

import { askForKey, key } from "/web/key.js";

const watchers = [];

/** Register `watcher({method, path, body, status, ms})`. It runs after every call. */
export function onCall(watcher) {
  watchers.push(watcher);
}

/**
 * Call the service. Returns {status, ok, body, ms}; status is 0 where the service did not answer.
 * If the service wants a key, the page asks for one until it is right or the person gives up. `admin`: another key opens the path.
 */
export async function call(method, path, body, { admin = false } = {}) {
  let result = await once(method, path, body);
  const refused = () => result.status === 401 || (admin && result.status === 403);
  while (refused() && (await askForKey(result.body?.detail ?? ""))) result = await once(method, path, body);
  return result;
}

/** The call as a curl command. The key stays out of it: the command reads $NEXTTRACK_KEY. */
export function asCurl({ method, path, body }) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const parts = ["curl"];
  if (method !== "GET") parts.push("-X", method);
  if (key()) parts.push("-H", '"Authorization: Bearer $NEXTTRACK_KEY"');
  if (body !== undefined) parts.push("-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(body)));
  parts.push(quoted(location.origin + path));
  return parts.join(" ");
}

async function once(method, path, body) {
  const headers = {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const started = performance.now();
  const result = { status: 0, ok: false, body: null, ms: 0 };
  try {
    const reply = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    result.status = reply.status;
    result.ok = reply.ok;
    if (reply.headers.get("content-type")?.includes("json")) result.body = await reply.json();
  } catch (error) {
    result.body = { detail: `The service did not answer: ${error.message}` };
  }
  result.ms = performance.now() - started;
  for (const watcher of watchers) watcher({ method, path, body, status: result.status, ms: result.ms });
  return result;
}
