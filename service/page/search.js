// Search by name or coordinates.

import { get } from "./api.js";
import { el, fill, say } from "./dom.js";
import { place } from "./format.js";

const PAUSE_MS = 200; // of typing, before names are asked for

/** `go(place, name)` is called with the choice. */
export function startSearch(form, go) {
  const field = form.querySelector("input");
  const found = form.querySelector("ul");
  let asking = new AbortController();
  let pause;

  const close = () => {
    found.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  };
  const open = (...lines) => {
    fill(found, lines.flat());
    found.hidden = false;
    field.setAttribute("aria-expanded", "true");
  };
  const take = (one) => {
    field.value = one.name;
    close();
    go(one, one.name);
  };
  const options = () => [...found.querySelectorAll("[role=option]:not([aria-disabled])")];

  const ask = async () => {
    asking.abort();
    asking = new AbortController();
    const text = field.value.trim();
    if (!text) return close();
    if (place(text)) return open(option({ name: text, kind: "coordinates", ...place(text) }, 0, take));
    try {
      const { places } = await get("places", { q: text, limit: 8 }, asking.signal);
      say(`${places.length} places found`);
      return open(places.length ? places.map((one, number) => option(one, number, take)) : note(`Nothing here is called “${text}”`));
    } catch (error) {
      return error.name === "AbortError" ? undefined : open(note(error.detail ?? String(error)));
    }
  };

  const mark = (step) => {
    const all = options();
    if (!all.length) return;
    const now = all.findIndex((one) => one.getAttribute("aria-selected") === "true");
    const next = (now + step + all.length + (now < 0 && step < 0 ? 1 : 0)) % all.length;
    all.forEach((one, number) => one.setAttribute("aria-selected", String(number === next)));
    field.setAttribute("aria-activedescendant", all[next].id);
    all[next].scrollIntoView({ block: "nearest" });
  };

  field.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(ask, PAUSE_MS);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      mark(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Escape") close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(pause);
    const marked = options().find((one) => one.getAttribute("aria-selected") === "true");
    if (marked && !found.hidden) return marked.click();
    await ask();
    return options()[0]?.click();
  });
  form.addEventListener("focusout", ({ relatedTarget }) => form.contains(relatedTarget) || close());
}

function option(one, number, take) {
  const chosen = { role: "option", id: `found-${number}`, "aria-selected": "false", onpointerdown: (event) => event.preventDefault(), onclick: () => take(one) };
  return el("li", chosen, el("span", {}, one.name), el("span.quiet", {}, one.kind ?? ""));
}

function note(text) {
  return el("li.quiet", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, text);
}
