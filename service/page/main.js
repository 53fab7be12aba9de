// The page: connects map, panel, search and address.

import { get } from "./api.js";
import { el, fill } from "./dom.js";
import { PlaceMap, title } from "./map.js";
import { problem } from "./parts.js";
import { startSearch } from "./search.js";
import { MODES, NEEDED, change, choose, listen, restore, state } from "./state.js";
import { teaching } from "./teach.js";
import { views } from "./views.js";

const TITLES = { place: "Place", compare: "Compare", sum: "Arithmetic", walk: "Walk", teach: "Teach" };
const VIEWS = { ...views, teach: teaching };
const node = (id) => document.getElementById(id);

async function start() {
  try {
    run(await get("info"));
  } catch (error) {
    fill(node("notice"), problem(error, { retry: () => { fill(node("notice")); start(); } }));
  }
}

function run(info) {
  const map = new PlaceMap(node("map"), info, {
    pick: choose,
    move: (view) => change({ view }, { quiet: true }),
    open: (number) => context.open?.(number),
    problem: (error) => tellOnce(error),
  });
  const context = {
    info, map, title, notice: node("notice"),
    showBox: (box) => map.showBox(box),
    regionsAt: (place) => Object.entries(info.region_bounds).filter(([, box]) => holds(box, place)).map(([name]) => name),
    regionOf: (place) => (info.regions.length > 1 ? title(context.regionsAt(place)[0] ?? "") : ""),
  };
  let leaving = new AbortController();
  let told = false;

  /** A map that fails reports hundreds of errors; show one until something changes. */
  function tellOnce(error) {
    if (told) return;
    told = true;
    fill(context.notice, problem(error, { retry: error.status === 401 ? () => location.reload() : undefined }));
  }

  function draw(changed) {
    if (changed.some((name) => ["mode", "slot"].includes(name))) drawModes();
    if (["colours", "mode"].some((name) => changed.includes(name))) drawColours();
    if (changed.every((name) => ["view", "colours"].includes(name))) return;
    const slots = ["a", "b", "c"].slice(0, NEEDED[state.mode]);
    map.pins(Object.fromEntries(slots.filter((slot) => state[slot]).map((slot) => [slot, state[slot]])));
    leaving.abort();
    leaving = new AbortController();
    context.signal = leaving.signal;
    map.found([]);
    if (state.mode !== "teach") {
      map.lesson(null);
      map.examples([]);
    }
    told = false;
    fill(context.notice, info.index_refused && el("p.note", {}, info.index_refused));
    fill(node("view"), VIEWS[state.mode](context).flat());
  }

  function drawModes() {
    fill(node("modes"), MODES.map((mode) => el("button", {
      type: "button", "aria-current": state.mode === mode ? "page" : undefined, "data-key": mode,
      onclick: () => change({ mode, slot: ["a", "b", "c"].slice(0, NEEDED[mode]).find((slot) => !state[slot]) ?? "a" }),
    }, TITLES[mode])));
  }

  function drawColours() {
    node("overlay").checked = state.colours > 0;
    node("opacity").disabled = state.colours === 0;
    node("opacity").value = state.colours || 60;
    map.colours(state.mode === "teach" ? 0 : state.colours);
    node("colours").hidden = state.mode === "teach";
  }

  node("overlay").addEventListener("change", ({ target }) => change({ colours: target.checked ? Number(node("opacity").value) : 0 }));
  node("opacity").addEventListener("input", ({ target }) => change({ colours: Number(target.value) }, { quiet: true }));
  node("overlay").disabled = info.index_count === null;
  startSearch(node("search"), (place) => {
    choose(place);
    map.reveal(place, 16);
  });
  offerRegions(info, map);
  window.addEventListener("popstate", () => {
    restore();
    if (state.view) map.show(state.view);
  });
  restore();
  listen(draw);
  draw(["mode", "colours"]);
  const chosen = ["a", "b", "c"].slice(0, NEEDED[state.mode]).map((slot) => state[slot]).filter(Boolean);
  const given = state.view; // which showing it sets
  const region = map.show(given);
  if (region) node("regions").querySelector("select").value = region;
  if (!given && chosen.length > 1) map.showAll(chosen);
  else if (!given && chosen.length) map.reveal(chosen[0], 16);
}

function offerRegions(info, map) {
  if (info.regions.length < 2) return;
  const list = node("regions").querySelector("select");
  list.append(el("option", { value: "" }, "all regions"), ...info.regions.map((name) => el("option", { value: name }, title(name))));
  list.addEventListener("change", () => map.showBox(info.region_bounds[list.value] ?? info.bounds));
  node("regions").hidden = false;
}

function holds([west, south, east, north], { lat, lon }) {
  return south <= lat && lat <= north && west <= lon && lon <= east;
}

start();
