// What several views show: tiles with their channels, vectors, cards of places, problems.

import { keepKey, picture } from "./api.js";
import { el, fill, svg } from "./dom.js";
import { degrees, distance, metres, percent, told } from "./format.js";

/** A picture of the service; its space is reserved while it loads, and shows an error. */
export function image(path, parameters, alt, signal, attributes = {}) {
  const frame = el("span.image.waiting", attributes);
  const shown = el("img", { alt });
  let latest = 0;
  frame.show = async (changed, ink = "") => {
    const mine = ++latest;
    try {
      const address = await picture(path, { ...parameters, ...changed }, signal);
      if (mine !== latest) return URL.revokeObjectURL(address); // another one was asked for since
      shown.onload = () => URL.revokeObjectURL(address);
      shown.src = address;
      fill(frame, shown);
      frame.classList.toggle("alone", Boolean(ink));
      frame.style.background = ink && `color-mix(in srgb, ${ink} 70%, black)`;
    } catch (error) {
      if (error.name === "AbortError" || mine !== latest) return;
      fill(frame, el("span.failed", { title: error.detail ?? String(error) }, error.title ?? "No picture"));
    }
    frame.classList.remove("waiting");
  };
  frame.show();
  return frame;
}

/** The pictures of a place, one for each scale of the model; `show` takes a channel, of one scale or of all. */
export function tile({ lat, lon }, { radii_m: radii }, signal) {
  const each = radii.map((radius, scale) => {
    const about = `The ${2 * radius} m around ${degrees({ lat, lon })}, all channels`;
    return image("tile.png", scale ? { lat, lon, scale } : { lat, lon }, about, signal, { class: "image tile waiting", title: `${2 * radius} m` });
  });
  const whole = el("div.scales", {}, each);
  whole.show = ({ channel, scale }, ink = "") => each.forEach((one, number) => {
    const own = channel !== undefined && (scale ?? number) === number;
    one.show(own ? { channel } : {}, own ? ink : "");
  });
  return whole;
}

/** Channels with name and colour; `tiles` show only the hovered or focused one. */
export function channels(each, tiles, details = () => null) {
  let pinned = null;
  const show = (number) => tiles.forEach((one) => (number === null ? one.show({}) : one.show({ channel: number }, each[number].colour)));
  const buttons = each.map(({ name, colour }, number) =>
    el(
      "button.channel",
      {
        type: "button",
        "aria-pressed": "false",
        "data-key": `channel ${number}`,
        onpointerenter: () => show(number),
        onpointerleave: () => show(pinned),
        onfocus: () => show(number),
        onblur: () => show(pinned),
        onclick: () => {
          pinned = pinned === number ? null : number;
          buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === pinned)));
          show(pinned ?? number);
        },
      },
      swatch(colour),
      el("span", {}, name),
      details(number),
    ),
  );
  return el("ul.channels", { "aria-label": "Channels: point at one to see it alone" }, buttons.map((button) => el("li", {}, button)));
}

export function swatch(colour) {
  const square = el("i.swatch", { "aria-hidden": "true" });
  square.style.background = colour;
  return square;
}

/** A vector as bars about a zero line. */
export function bars(vector) {
  const [width, height, most] = [320, 64, Math.max(...vector.map(Math.abs), 1e-9)];
  const step = width / vector.length;
  const middle = height / 2;
  const drawn = vector.map((value, number) => {
    const size = Math.max((Math.abs(value) / most) * (middle - 1), 0.75);
    const bar = svg(value < 0 ? "rect.below" : "rect.above", {
      x: number * step + step * 0.14, y: value < 0 ? middle : middle - size, width: step * 0.72, height: size, rx: 1.5,
    });
    bar.append(svg("title", {}, `${number + 1}: ${value.toFixed(3)}`));
    return bar;
  });
  const label = `The vector: ${vector.length} numbers from ${Math.min(...vector).toFixed(2)} to ${Math.max(...vector).toFixed(2)}`;
  return svg("svg.bars", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("line", { x1: 0, x2: width, y1: middle, y2: middle }), drawn);
}

function likeness({ distance: apart, closer_than: share }) {
  return el("span", { title: `${apart.toFixed(2)} apart in the embedding` }, `closer than ${percent(share)}`);
}

/** Numbered cards of indexed places, linked to the dots on the map. */
export function cards(places, { map, regionOf, open, signal, from, away = "away", lines = likeness, below = () => null, first = 0 }) {
  return el("ol.cards", {}, places.map((near, index) => {
    const number = first + index;
    const ground = from && `${metres(near.ground_distance_m ?? distance(from, near))} ${away}`;
    const facts = [ground, regionOf(near)].filter(Boolean);
    const own = Object.entries(near.columns ?? {}).map(([name, value]) => el("span", {}, `${name} ${told(value)}`));
    const button = el(
      "button.card",
      {
        type: "button",
        "data-key": `card ${number}`,
        onclick: () => open(near),
        onpointerenter: () => map.mark(number, true),
        onpointerleave: () => map.mark(number, false),
        onfocus: () => map.mark(number, true),
        onblur: () => map.mark(number, false),
      },
      image("tile.png", { lat: near.lat, lon: near.lon }, "", signal, { class: "image thumb waiting" }),
      el("span.number", {}, String(number + 1)),
      el("span.facts", {},
        el("strong", { title: near.called?.name }, near.called?.name ?? degrees(near)), own,
        el("span", {}, facts.join(" · ")),
        lines(near)),
    );
    return el("li", {}, button, below(near));
  }));
}

/** The service's error message, and what the user can do. */
export function problem(error, { retry, showBox } = {}) {
  const actions = [
    error.status === 401 && keyForm(retry),
    error.bounds && showBox && el("button", { type: "button", "data-key": "bounds", onclick: () => showBox(error.bounds) }, "Show what is covered"),
    retry && error.status !== 401 && !error.bounds && el("button", { type: "button", "data-key": "retry", onclick: retry }, "Try again"),
  ];
  const detail = (error.detail ?? String(error)).replace(/^\w/, (letter) => letter.toUpperCase());
  return el("div.problem", { role: "alert" }, el("h2", {}, error.title ?? "Something went wrong"), el("p", {}, detail), actions);
}

function keyForm(retry) {
  const field = el("input", { type: "password", autocomplete: "off", required: true, "aria-label": "API key", placeholder: "API key", "data-key": "key" });
  const use = (event) => {
    event.preventDefault();
    keepKey(field.value);
    retry();
  };
  return el("form.key", { onsubmit: use }, field, el("button.primary", { type: "submit" }, "Use this key"),
    el("p.quiet", {}, "It stays in this tab and is forgotten when the tab is closed."));
}

/** A row of buttons, one of which is selected. */
export function choice(label, options, chosen, pick) {
  return el("div.choice", { role: "group", "aria-label": label }, Object.entries(options).map(([value, text]) =>
    el("button", { type: "button", "aria-pressed": String(value === chosen), "data-key": `${label} ${value}`, onclick: () => pick(value) }, text)));
}

export function waiting() {
  return el("p.quiet.busy", {}, "One moment …");
}
