// The state of the page, kept in the address: a link restores all of it.

const WHERE = ["far", "any", "other"];
const SLOTS = ["a", "b", "c"];

export const MODES = ["place", "compare", "sum", "walk", "teach"];
export const NEEDED = { place: 1, compare: 2, sum: 3, walk: 1, teach: 0 }; // how many of the places a, b, c

const START = { mode: "place", slot: "a", a: null, b: null, c: null, where: "far", only: "", colours: 0, steps: 10, seed: 1, taught: [], kind: "like this", view: null };
export const MOST_EXAMPLES = 500;

export const state = { ...START };
const listeners = [];

export function listen(listener) {
  listeners.push(listener);
}

/** Update the state. `quiet` replaces the history entry, as moving the map does. */
export function change(changes, { quiet = false } = {}) {
  const before = { ...state };
  Object.assign(state, changes);
  if (hash() !== location.hash) history[quiet ? "replaceState" : "pushState"](null, "", hash() || location.pathname);
  tell(before);
}

/** Show a single place. */
export function open(place) {
  change({ mode: "place", slot: "a", a: rounded(place) });
}

/** Teach that a place is of a kind; null: of none. The same place is taught once. */
export function teach(place, kind) {
  const { lat, lon } = rounded(place);
  const others = state.taught.filter((one) => one.lat !== lat || one.lon !== lon);
  change({ taught: [...others, { lat, lon, label: kind }].slice(-MOST_EXAMPLES) });
}

/** Put a place into the active slot, and activate the next empty one. */
export function choose(place) {
  if (state.mode === "teach") return teach(place, state.kind);
  const slots = SLOTS.slice(0, NEEDED[state.mode]);
  const slot = slots.includes(state.slot) ? state.slot : "a";
  const next = slots.find((other) => other !== slot && !state[other]);
  change({ [slot]: rounded(place), slot: next ?? slot });
}

export function restore() {
  const before = { ...state };
  Object.assign(state, START, read(location.hash));
  tell(before);
}

function tell(before) {
  const changed = Object.keys(START).filter((name) => JSON.stringify(state[name]) !== JSON.stringify(before[name]));
  for (const listener of listeners) listener(changed);
}

export function hash() {
  const parts = [];
  const { view } = state;
  if (state.mode !== START.mode) parts.push(["mode", state.mode]);
  for (const slot of SLOTS) if (state[slot]) parts.push([slot, `${state[slot].lat},${state[slot].lon}`]);
  for (const name of ["where", "only", "colours", "steps", "seed"]) if (state[name] !== START[name]) parts.push([name, encodeURIComponent(state[name])]);
  if (state.taught.length) parts.push(["taught", written(state.taught)]);
  if (view) parts.push(["map", `${view.zoom}/${view.lat.toFixed(5)}/${view.lon.toFixed(5)}`]);
  return parts.length ? `#${parts.map(([name, value]) => `${name}=${value}`).join("&")}` : "";
}

/** Parse an address that may be old or edited by hand; invalid parts are left out. */
function read(text) {
  const given = Object.fromEntries(new URLSearchParams(text.slice(1)));
  const found = {};
  if (MODES.includes(given.mode)) found.mode = given.mode;
  if (WHERE.includes(given.where)) found.where = given.where;
  if (given.taught) found.taught = readTaught(given.taught);
  if (found.taught?.length) found.kind = found.taught.find(({ label }) => label !== null)?.label ?? START.kind;
  if (given.only) found.only = given.only;
  for (const slot of SLOTS) {
    const [lat, lon] = (given[slot] ?? "").split(",").map(Number);
    if (Number.isFinite(lat) && Number.isFinite(lon) && given[slot]) found[slot] = { lat, lon };
  }
  for (const [name, least, most] of [["colours", 0, 100], ["steps", 1, 50], ["seed", 0, 1e9]]) {
    const number = Number(given[name] ?? NaN);
    if (Number.isInteger(number) && number >= least && number <= most) found[name] = number;
  }
  const [zoom, lat, lon] = (given.map ?? "").split("/").map(Number);
  if (zoom >= 0 && zoom <= 20 && Math.abs(lat) <= 90 && Math.abs(lon) <= 180) found.view = { zoom, lat, lon };
  found.slot = SLOTS.slice(0, NEEDED[found.mode ?? START.mode]).find((slot) => !found[slot]) ?? "a";
  return found;
}

/** Examples as text: "bars:43.73,7.42;43.74,7.43|:43.75,7.4", kind by kind; none has no name. */
function written(taught) {
  const kinds = [...new Set(taught.map(({ label }) => label))];
  const places = (kind) => taught.filter(({ label }) => label === kind).map(({ lat, lon }) => `${lat},${lon}`).join(";");
  return kinds.map((kind) => `${encodeURIComponent(encodeURIComponent(kind ?? ""))}:${places(kind)}`).join("|");
}

function readTaught(text) {
  const found = [];
  for (const part of text.split("|")) {
    const end = part.indexOf(":");
    const label = decoded(part.slice(0, end)) || null;
    for (const place of part.slice(end + 1).split(";")) {
      const [lat, lon] = place.split(",").map(Number);
      if (place && Math.abs(lat) <= 90 && Math.abs(lon) <= 180) found.push({ lat, lon, label });
    }
  }
  return found.slice(0, MOST_EXAMPLES);
}

function decoded(text) {
  try {
    return decodeURIComponent(text).slice(0, 100);
  } catch {
    return ""; // edited by hand
  }
}

export function rounded({ lat, lon }) {
  const round = (value) => Math.round(value * 1e5) / 1e5; // a metre
  return { lat: round(lat), lon: round(lon) };
}
