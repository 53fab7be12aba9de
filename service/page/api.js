// Requests to the service; a refusal becomes a Problem with the service's message.

const KEY = "loc2vec-key";

export class Problem extends Error {
  constructor({ title, detail, status, bounds }) {
    super(detail);
    Object.assign(this, { title, detail, status, bounds });
  }
}

/** Keep the API key for as long as the tab is open. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function get(path, parameters = {}, signal) {
  return ask(url(path, parameters), { signal }).then((response) => response.json());
}

export function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(url(path), { method: "POST", body: JSON.stringify(body), headers, signal }).then((response) => response.json());
}

/** Return an object URL of a picture, for the caller to revoke. An <img> would send no key. */
export async function picture(path, parameters, signal) {
  const response = await ask(url(path, parameters), { signal });
  return URL.createObjectURL(await response.blob());
}

/** Return an object URL of a picture that a question of its own is needed for. */
export async function pictured(path, body, signal) {
  const headers = { "Content-Type": "application/json", Accept: "image/png" };
  const response = await ask(url(path), { method: "POST", body: JSON.stringify(body), headers, signal });
  return URL.createObjectURL(await response.blob());
}

function url(path, parameters = {}) {
  const made = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) made.searchParams.append(name, one);
  }
  return made;
}

async function ask(address, { headers = {}, ...options }) {
  const key = sessionStorage.getItem(KEY);
  const response = await reach(address, { ...options, headers: key ? { ...headers, "X-API-Key": key } : headers });
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function reach(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The service does not answer", detail: "Is it still running? Try again when it is.", status: 0 });
  }
}

async function problemOf(response) {
  const told = response.headers.get("Content-Type")?.includes("json") ? await response.json() : {};
  return new Problem({ title: `Error ${response.status}`, detail: response.statusText, status: response.status, ...told });
}
