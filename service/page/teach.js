// The view that learns from examples: which places are like them, while they are clicked.

import { post } from "./api.js";
import { el, fill, say } from "./dom.js";
import { percent } from "./format.js";
import { load, save } from "./examples.js";
import { cards, swatch } from "./parts.js";
import { change, state, teach } from "./state.js";
import { later, openPlace } from "./views.js";

const BEST = 8;
const ASKED = 4;
const APART_M = 150; // results from each other and from the examples
const AT_ONCE = 100; // new places that one question may ask for
const NONE = "#6b747b"; // the colour of examples of none
const LIKE = "#0d6a73";

export function teaching(context) {
  const { map, info } = context;
  const { taught } = state;
  const colours = {};
  const colourOf = (label) => (label === null ? NONE : (colours[label] ?? LIKE));
  const mark = () => map.examples(taught, colourOf, (number) => change({ taught: taught.filter((_, other) => other !== number) }));
  mark();
  const body = el("div");
  const head = [el("h2", {}, "Teach it by examples"), kinds(colourOf), files(body)];
  if (info.index_count === null || !taught.some(({ label }) => label !== null)) {
    map.lesson(null);
    const hint = info.index_count === null ? "There is no index to look for them in." : "Click a few places that are alike. The map shows where there are more of them, and asks about those that it doubts.";
    return [el("h2", {}, "Teach it by examples"), el("p", {}, hint), kinds(colourOf), files(body), body];
  }
  const asked = { examples: taught, k: BEST, ask: ASKED, spread_m: APART_M, min_distance_m: APART_M, names: true };
  later(body, context, () => ask(asked, context.signal), (answer) => {
    answer.kinds.forEach((kind, number) => { colours[kind] = answer.kinds.length > 1 ? answer.colours[number] : LIKE; });
    mark();
    map.lesson({ examples: taught });
    return told(context, answer);
  });
  return [head, body];
}

/** Ask; examples that are new are made known before, no more at once than one question may. */
async function ask(asked, signal) {
  for (let start = 0; asked.examples.length > AT_ONCE && start < asked.examples.length; start += AT_ONCE) {
    const locations = asked.examples.slice(start, start + AT_ONCE).map(({ lat, lon }) => ({ lat, lon }));
    await post("embed", { locations }, signal);
  }
  return post("predict", asked, signal);
}

/** The kinds; the active one takes the next click. */
function kinds(colourOf) {
  const named = [...new Set([...state.taught.map(({ label }) => label), state.kind].filter((label) => label !== null))];
  const count = (kind) => state.taught.filter(({ label }) => label === kind).length;
  const button = (kind, text) => el("button", {
    type: "button", "aria-pressed": String(state.kind === kind), "data-key": `kind ${kind}`, onclick: () => change({ kind }, { quiet: true }),
  }, swatch(colourOf(kind)), `${text} (${count(kind)})`);
  const field = el("input", { type: "text", maxlength: 100, placeholder: "another kind", "aria-label": "Name of another kind", "data-key": "new kind" });
  const add = (event) => {
    event.preventDefault();
    if (field.value.trim()) change({ kind: field.value.trim() }, { quiet: true });
  };
  return el("div.kinds", { role: "group", "aria-label": "What the next click is an example of" },
    (named.length ? named : ["like this"]).map((kind) => button(kind, kind)), button(null, "not these"),
    el("form", { onsubmit: add }, field, el("button", { type: "submit" }, "Add")));
}

function files(body) {
  const { taught } = state;
  const upload = el("input", { type: "file", accept: ".geojson,.json,.csv,.txt", "data-key": "load" });
  upload.addEventListener("change", async () => {
    try {
      change({ taught: load(await upload.files[0].text(), state.kind ?? "like this") });
    } catch (error) {
      fill(body, el("div.problem", { role: "alert" }, el("h2", {}, "The file cannot be read"), el("p", {}, error.message)));
    }
  });
  return el("div.actions", {},
    taught.length > 0 && el("button", { type: "button", "data-key": "undo", onclick: () => change({ taught: taught.slice(0, -1) }) }, "Undo"),
    taught.length > 0 && el("button", { type: "button", "data-key": "clear", onclick: () => change({ taught: [] }) }, "Clear"),
    taught.length > 0 && el("button", { type: "button", "data-key": "save", onclick: () => save(taught) }, "Save"),
    el("label.upload", {}, "Load", upload));
}

function told(context, { kinds: names, colours, best, ask: doubtful }) {
  const { map } = context;
  const every = [...best, ...doubtful];
  map.found(every);
  context.open = (number) => teach(every[number], state.kind); // a click on the map is an example, on a dot too
  const share = ({ label, probability }) => el("span", {}, names.length > 1 ? `${label}, ${percent(probability)}` : `${percent(probability)} like them`);
  const shown = { ...context, open: (near) => openPlace(context, near), lines: share };
  say(`${best.length} places found, ${doubtful.length} to ask about`);
  return [
    names.length > 1 ? null : [scale(colours), el("p.ends.quiet", {}, el("span", {}, "unlike"), el("span", {}, "like them"))],
    el("h3", {}, "Is this one, too?"),
    cards(doubtful, { ...shown, first: best.length, below: (near) => answers(near, names) }),
    el("h3", {}, "Most like them"),
    best.length ? cards(best, shown) : el("p.quiet", {}, "No other place is."),
  ];
}

/** Yes and no to a place that is doubtful; of several kinds, yes means the one that takes clicks. */
function answers(near, names) {
  const yes = state.kind ?? names[0];
  const button = (text, label) => el("button", { type: "button", "aria-label": `${text}: ${label ?? "not these"}`, onclick: () => teach(near, label) }, text);
  return el("span.answers", {}, button("Yes", yes), button("No", null));
}

function scale(colours) {
  const bar = el("div.scale", { role: "img", "aria-label": "Colours from unlike to like" });
  bar.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
  return bar;
}
