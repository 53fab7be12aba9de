// The four views of the panel. Each returns its elements at once and fills in answers later.

import { get, post } from "./api.js";
import { el, fill, say } from "./dom.js";
import { degrees, list, metres, percent, signed } from "./format.js";
import { bars, cards, channels, choice, problem, swatch, tile, waiting } from "./parts.js";
import { change, choose, open, state } from "./state.js";

const FAR_M = 500;
const SPREAD_M = 300; // between results, so that eight results are eight places
const SHOWN_COLUMNS = 3; // of the user's, on a card
const NEAREST = 8;
const SAME = 0.005; // a distance that is shown as 0.00
const SEEN = 0.005; // the share of a tile from which on a channel is seen in it
const WHERE = { far: `Over ${FAR_M} m`, any: "Anywhere", other: "In other towns" };

/** Request, and render the answer into `node`; a problem goes there, or to `instead`. */
export function later(node, context, asking, made, instead = node) {
  const { signal } = context; // of this view: the next one has its own
  const begin = async () => {
    fill(node, waiting());
    try {
      const answer = await asking();
      if (!signal.aborted) fill(node, made(answer));
    } catch (error) {
      if (error.name !== "AbortError" && !signal.aborted) fill(instead, problem(error, { retry: begin, showBox: context.showBox }));
    }
  };
  begin();
  return node;
}

export const views = { place, compare, sum, walk };

function place(context) {
  const { a } = state;
  if (!a) return welcome(context);
  const body = el("div");
  const name = el("h2", {}, context.regionOf(a) || "This place");
  const kind = el("p.kind");
  fill(body, withTile(context, a, body, { name, kind }), nearest(context, a));
  return [heading(name, a, kind), body];
}

function welcome(context) {
  const { info } = context;
  const start = async () => {
    try {
      const zero = { embedding: Array(info.dim).fill(0), k: 100 };
      const { neighbors } = await post("neighbors", zero, context.signal);
      const one = neighbors[Math.floor(Math.random() * neighbors.length)];
      choose(one);
      context.map.reveal(one, 15);
    } catch (error) {
      if (error.name !== "AbortError") fill(context.notice, problem(error));
    }
  };
  return [
    el("h2", {}, "What is this place like?"),
    el("p", {}, "Click anywhere on the map. The ground around the place becomes ", el("strong", {}, `${info.dim} numbers`),
      " that say what kind of place it is; places that work alike have numbers that are alike, wherever they are."),
    info.index_count !== null && el("p", {}, el("button.primary", { type: "button", "data-key": "some", onclick: start }, "Show me some place")),
    el("dl.facts", {},
      fact("Places to compare with", info.index_count === null ? "none" : info.index_count.toLocaleString("en")),
      fact("Model", info.model.split("@")[0]),
      fact("Map", info.regions.length === 1 ? context.title(info.regions[0]) : `${info.regions.length} regions`)),
  ];
}

function fact(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

function heading(name, at, kind) {
  return el("div.heading", {},
    name, kind, el("p.quiet", {}, degrees(at)),
    el("div.actions", {},
      el("button", { type: "button", "data-key": "to compare", onclick: () => change({ mode: "compare", slot: "b" }) }, "Compare"),
      el("button", { type: "button", "data-key": "to walk", onclick: () => change({ mode: "walk", slot: "a" }) }, "Walk from here")));
}

function withTile(context, at, whole, { name, kind }) {
  const picture = tile(at, context.info, context.signal);
  const vector = el("div.vector");
  later(vector, context, () => get("embed", { ...at, names: true, describe: true }, context.signal), (answer) => {
    if (answer.called.name) name.textContent = context.regionOf(at) ? `${answer.called.name}, ${context.regionOf(at)}` : answer.called.name;
    kind.textContent = `${answer.description[0].toUpperCase()}${answer.description.slice(1)}.`;
    say(`Place ${degrees(at)} chosen`);
    return [bars(answer.embedding), el("p.quiet", {}, `Its ${answer.dim} numbers`)];
  }, whole); // without a vector there is nothing else to say
  return el("div.look", {}, el("div", {}, picture, vector), channels(context.info.channels.map((name, number) => ({ name, colour: colourOf(context, number) })), [picture]));
}

function nearest(context, at) {
  const { map, info, regionsAt } = context;
  const body = el("div");
  const asked = { ...at, k: NEAREST, ...wanted(), columns: shownColumns(info).join(",") };
  if (state.where === "far") asked.min_distance_m = FAR_M;
  if (state.where === "other") asked.not_within = regionsAt(at);
  const filter = choice("Where to look", WHERE, state.where, (where) => change({ where }));
  const section = el("section", {}, el("h3", {}, "Places most like it"), filter, only(info), body);
  if (info.index_count === null) {
    later(body, context, () => get("neighbors", asked, context.signal), () => null); // says why there are none
    return section;
  }
  if (state.where === "other" && info.regions.length === 1) {
    fill(body, el("p.quiet", {}, "This store holds one region only. Import the extracts of several into one store to look for places alike in other towns."));
    return section;
  }
  return later(body, context, () => get("neighbors", asked, context.signal), ({ neighbors }) => found(context, neighbors)) && section;
}

/** What is asked of every search: results that lie apart, with their names and the user's columns. */
function wanted() {
  return { spread_m: SPREAD_M, names: true, ...(state.only && { where: state.only }) };
}

function shownColumns({ columns }) {
  return Object.keys(columns).slice(0, SHOWN_COLUMNS);
}

/** A filter by the user's columns, where the index has any. */
function only({ columns }) {
  const names = Object.keys(columns);
  if (!names.length) return null;
  const field = el("input", { type: "text", value: state.only, spellcheck: false, "data-key": "only", "aria-label": "Only places where", placeholder: example(columns) });
  const use = (event) => {
    event.preventDefault();
    change({ only: field.value.trim() });
  };
  return el("form.only", { onsubmit: use }, el("label", {}, "Only where ", field), el("button", { type: "submit" }, "Filter"),
    el("p.quiet", {}, `Columns: ${list(names)}`));
}

/** A filter to begin with, as `price < 100`. */
function example(columns) {
  const [[name, kind]] = Object.entries(columns).sort(([, one], [, other]) => (other === "numbers") - (one === "numbers"));
  return `${/^[^\W\d]\w*$/.test(name) ? name : `"${name}"`} ${kind === "numbers" ? "< 100" : kind === "text" ? "= 'word'" : "is not null"}`;
}

/** Cards of the results, and their dots on the map. */
function found(context, neighbors, { way, away } = {}) {
  const { map } = context;
  if (!neighbors.length) return el("p.quiet", {}, "No indexed place is left by this choice.");
  map.found(neighbors, way);
  context.open = (number) => openPlace(context, neighbors[number]);
  const all = el("button", { type: "button", "data-key": "all", onclick: () => map.showAll(neighbors) }, "Show all on the map");
  if (neighbors[Math.floor(neighbors.length / 2)].distance < SAME) { // of most of them: the nearest come first
    say("Most places found are the same");
    return [el("p.same", {}, "The model cannot tell this place from others: the map is empty here, or one thing such as water fills it."), el("p.actions", {}, all)];
  }
  say(`${neighbors.length} places found`);
  return [
    cards(neighbors, { ...context, from: state.a, away, open: (near) => openPlace(context, near) }),
    el("p.actions", {}, all, el("span.quiet", { title: "The share of random pairs of indexed places that are farther apart" }, "%: of random pairs")),
  ];
}

export function openPlace({ map }, near) {
  open(near);
  map.reveal(near);
}

/** The slots of a view; the active one takes the next click. */
function slots(names, hints) {
  return el("div.slots", { role: "group", "aria-label": "Places" }, names.map((name, number) => [
    hints[number] && el("span.sign", { "aria-hidden": "true" }, hints[number]),
    el("button.slot", {
      type: "button", "aria-pressed": String(state.slot === name), "data-key": `slot ${name}`, onclick: () => change({ slot: name }, { quiet: true }),
    }, el("b", {}, name.toUpperCase()), el("span", {}, state[name] ? `${state[name].lat.toFixed(4)} ${state[name].lon.toFixed(4)}` : state.slot === name ? "click the map" : "not chosen")),
  ]));
}

function lacking(names, what) {
  const missing = names.filter((name) => !state[name]).map((name) => name.toUpperCase());
  return missing.length ? el("p.quiet", {}, `${what} Choose ${list(missing)} on the map: a click fills the place that is marked.`) : null;
}

function compare(context) {
  const [names, { a, b }] = [["a", "b"], state];
  const head = [el("h2", {}, "Two places compared"), slots(names, [null, "and"])];
  const missing = lacking(names, "Two places, and what each channel of the map has to do with their distance.");
  if (missing) return [head, missing];
  const tiles = [tile(a, context.info, context.signal), tile(b, context.info, context.signal)];
  const body = el("div");
  const asked = { ...a, to_lat: b.lat, to_lon: b.lon };
  later(body, context, () => get("compare", asked, context.signal), (answer) => effects(context, answer, tiles));
  return [head, el("div.pair", {}, tiles.map((one, number) => el("figure", {}, one, el("figcaption", {}, names[number].toUpperCase())))), body];
}

/** The colour of a channel; those of a further scale of the tile have the same ones. */
function colourOf({ info: { colours } }, number) {
  return colours[number % colours.length];
}

/** In which picture of a tile a channel is seen, and as which. */
function pictured({ info: { colours } }, number) {
  return { channel: number % colours.length, scale: Math.floor(number / colours.length) };
}

/** "Alike: closer than 99.2 % of random pairs", or nothing without an index to say it. */
function likeness({ alike, closer_than: share }) {
  if (alike === null) return [];
  return [el("strong", {}, alike ? "Alike" : "Not alike"), `: closer than ${percent(share)} of random pairs, `];
}

function effects(context, answer, tiles) {
  const { channels: all, distance, ground_distance_m: ground } = answer;
  const most = Math.max(...all.map(({ effect }) => Math.abs(effect)), 1e-9);
  const telling = 0.05 * distance;
  const order = all.map((channel, number) => ({ ...channel, number, shown: pictured(context, number), colour: colourOf(context, number) })).sort((one, other) => other.effect - one.effect);
  const apart = order.filter(({ effect }) => effect > telling).map(({ name }) => name);
  // what only one of them shows cannot be what they share
  const shared = ({ share, to_share: other }) => Math.min(share, other) > SEEN;
  const together = order.filter((channel) => channel.effect < -telling && shared(channel)).map(({ name }) => name).reverse();
  const parts = [apart.length && `set apart by ${list(apart.slice(0, 3))}`, together.length && `brought together by ${list(together.slice(0, 3))}`];
  const sentence = distance < SAME ? "They are the same to the model." : `They are ${parts.filter(Boolean).join("; ") || "told apart by no single channel"}.`;
  const buttons = channels(order, []);
  buttons.replaceChildren(...order.map((channel) => el("li", {}, effectRow(channel, most, tiles))));
  buttons.classList.add("effects");
  say(sentence);
  return [
    el("p.verdict", {}, likeness(answer), distance.toFixed(2), " apart in the embedding, ", metres(ground), " on the ground. ", sentence),
    el("p.legend.quiet", {}, el("span", {}, "← nearer with it"), el("span", {}, "farther →")),
    buttons,
  ];
}

function effectRow({ name, colour, effect, share, to_share: other, number, shown }, most, tiles) {
  const show = (changed, ink) => tiles.forEach((one) => one.show(changed, ink));
  const bar = el(effect < 0 ? "i.together" : "i.apart");
  bar.style.width = `${(50 * Math.abs(effect)) / most}%`;
  const percent = (value) => `${Math.round(100 * value)} %`;
  return el("button.channel", {
    type: "button", "data-key": `channel ${number}`, title: `covers ${percent(share)} of A and ${percent(other)} of B`,
    onpointerenter: () => show(shown, colour), onfocus: () => show(shown, colour),
    onpointerleave: () => show({}), onblur: () => show({}),
  }, swatch(colour), el("span", {}, name), el("span.track", { "aria-hidden": "true" }, bar), el("span.value", {}, signed(effect)));
}

function sum(context) {
  const { a, b, c } = state;
  const names = ["a", "b", "c"];
  const head = [el("h2", {}, "Arithmetic with places"), slots(names, [null, "−", "+"])];
  const missing = lacking(names, "A − B + C: take what A has and B has not, and put it to C.");
  if (missing) return [head, missing];
  const pictures = el("div.pair", {}, [a, b, c].map((at, number) =>
    el("figure", {}, tile(at, context.info, context.signal), el("figcaption", {}, ["A", "− B", "+ C"][number]))));
  const body = el("div");
  const asked = { plus: [a, c], minus: [b], k: NEAREST, min_distance_m: 100, ...wanted(), columns: shownColumns(context.info) };
  later(body, context, () => post("arithmetic", asked, context.signal), ({ neighbors, embedding }) => [
    bars(embedding), el("h3", {}, "Places nearest to the sum"), found(context, neighbors, { away: "from A" }),
  ]);
  return [head, pictures, body];
}

function walk(context) {
  const { a, steps, seed } = state;
  const head = [el("h2", {}, "A random walk"), slots(["a"], [null])];
  const missing = lacking(["a"], "Step by step to one of the ten places most alike.");
  if (missing) return [head, missing];
  const range = el("input", { type: "range", min: 2, max: 30, value: steps, "aria-label": "Steps", "data-key": "steps", onchange: () => change({ steps: Number(range.value) }) });
  const body = el("div");
  later(body, context, () => get("walk", { ...a, steps, seed, names: true }, context.signal), (answer) => [
    answer.steps.length < steps && el("p.quiet", {}, `It ends after ${answer.steps.length} steps: it has been to every indexed place.`),
    found(context, answer.steps, { way: [a, ...answer.steps], away: "from A" }),
  ]);
  return [
    head,
    el("div.actions", {}, el("label.steps", {}, `${steps} steps`, range),
      el("button", { type: "button", "data-key": "again", onclick: () => change({ seed: seed + 1 }) }, "Another walk")),
    body,
  ];
}
