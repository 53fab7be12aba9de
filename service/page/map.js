// The map: our own tiles, the overlay, pins and numbered places.

import { picture, pictured } from "./api.js";
import { degrees } from "./format.js";

const L = window.L;
const SCALE = window.devicePixelRatio > 1 ? 2 : 1;
const DARK = window.matchMedia("(prefers-color-scheme: dark)");
const STILL = window.matchMedia("(prefers-reduced-motion: reduce)");
const SMALL_REGION_PX = 60;

/** Tiles that `load(number, signal)` fetches: requests carry the key, and failures their reason. */
const Tiles = L.GridLayer.extend({
  options: { noWrap: true, minZoom: 1, maxZoom: 19, bounds: [[-85.06, -180], [85.06, 180]], updateWhenZooming: false },

  initialize(load, onProblem, options) {
    L.setOptions(this, options);
    this._fetch = load;
    this.on("tileunload", ({ tile }) => tile.leave.abort());
    this._onProblem = onProblem;
  },

  createTile(number, done) {
    const tile = L.DomUtil.create("img");
    tile.alt = "";
    tile.leave = new AbortController();
    this._load(tile, number, done);
    return tile;
  },

  async _load(tile, number, done) {
    try {
      const address = await this._fetch(number, tile.leave.signal);
      tile.onload = () => {
        URL.revokeObjectURL(address);
        done(null, tile);
      };
      tile.src = address;
    } catch (error) {
      if (error.name === "AbortError") return;
      this._onProblem(error);
      done(error, tile);
    }
  },
});

export class PlaceMap {
  /** `handlers`: pick(place), move(view), open(number), problem(error). */
  constructor(node, info, handlers) {
    this._handlers = handlers;
    this._map = L.map(node, { zoomControl: false, attributionControl: false, minZoom: 1, maxZoom: 19, zoomSnap: 0.25, worldCopyJump: false, zoomAnimation: !STILL.matches, fadeAnimation: !STILL.matches });
    // Leaflet has no option for the arrow keys' pans.
    if (STILL.matches) this._map.panBy = (offset) => L.Map.prototype.panBy.call(this._map, offset, { animate: false });
    this._bounds = boundsOf(info.bounds);
    L.control.zoom({ position: "topright" }).addTo(this._map);
    const credit = '<a href="https://www.openstreetmap.org/copyright">(c) OpenStreetMap contributors, ODbL</a>';
    L.control.attribution({ position: "bottomright", prefix: false }).addAttribution(credit).addTo(this._map);
    L.control.scale({ imperial: false, position: "bottomright" }).addTo(this._map);
    const layer = (name, parameters) => ({ x, y, z }, signal) => picture(`map/${name}/${z}/${x}/${y}.png`, { scale: SCALE, ...parameters() }, signal);
    this._base = new Tiles(layer("base", () => ({ theme: DARK.matches ? "dark" : "light" })), handlers.problem).addTo(this._map);
    this._overlay = new Tiles(layer("pca", () => ({})), handlers.problem, { className: "cells", zIndex: 2 });
    this._lesson = new Tiles(({ x, y, z: zoom }, signal) => pictured("predict", { ...this._taught, tile: { zoom, x, y, scale: SCALE } }, signal), handlers.problem, { className: "cells", zIndex: 3, opacity: 0.55 });
    this._examples = L.layerGroup().addTo(this._map);
    this._pins = L.layerGroup().addTo(this._map);
    this._found = L.layerGroup().addTo(this._map);
    this._regions = L.layerGroup().addTo(this._map);
    this._boxes = Object.entries(info.region_bounds);
    DARK.addEventListener("change", () => this._base.redraw());
    this._map.on("click", ({ latlng }) => handlers.pick(placeOf(latlng)));
    this._map.on("moveend", () => this._moved());
    this._map.on("zoomend", () => node.classList.toggle("between", !Number.isInteger(this._map.getZoom())));
    // Leaflet focuses the map on a click, too: the cross is for those who came with the keyboard.
    node.addEventListener("keyup", ({ target }) => node.classList.toggle("keys", target === node));
    for (const type of ["pointerdown", "blur"]) node.addEventListener(type, () => node.classList.remove("keys"));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target !== node) return;
      event.preventDefault();
      handlers.pick(placeOf(this._map.getCenter()));
    });
  }

  /** Show the view of a link, or all that the store covers; return the region that stands for it. */
  show(view) {
    if (view) return void this._map.setView([view.lat, view.lon], view.zoom, { animate: false });
    const [name, box] = this._scattered() ? this._boxes[0] : [];
    this._map.fitBounds(name ? boundsOf(box) : this._bounds, { animate: false, padding: [8, 8] });
    return name;
  }

  /** Tell whether regions lie so far apart that together they would be specks in a void. */
  _scattered() {
    const zoom = this._map.getBoundsZoom(this._bounds);
    return this._boxes.length > 1 && this._boxes.every(([, box]) => {
      const [one, other] = [boundsOf(box).getNorthWest(), boundsOf(box).getSouthEast()].map((corner) => this._map.project(corner, zoom));
      return Math.max(other.x - one.x, other.y - one.y) < SMALL_REGION_PX;
    });
  }

  showBox(box) {
    this._map.fitBounds(boundsOf(box), { maxZoom: 17, padding: [40, 40], animate: !STILL.matches });
  }

  showAll(places) {
    const bounds = L.latLngBounds(places.map(({ lat, lon }) => [lat, lon]));
    this._map.fitBounds(bounds, { maxZoom: 16, padding: [60, 60], animate: !STILL.matches });
  }

  /** Pan until a place is visible, no farther than needed. */
  reveal({ lat, lon }, zoom = 0) {
    const seen = this._map.getBounds().pad(-0.1).contains([lat, lon]);
    if (!seen || this._map.getZoom() < zoom) this._map.setView([lat, lon], Math.max(this._map.getZoom(), zoom), { animate: !STILL.matches });
  }

  colours(percent) {
    if (!percent) return void this._overlay.remove();
    this._overlay.setOpacity(percent / 100);
    this._overlay.addTo(this._map);
  }

  /** Colour the map by what a lesson, a body of `POST /predict`, says; null: not. */
  lesson(taught) {
    const same = JSON.stringify(taught) === JSON.stringify(this._taught ?? null);
    this._taught = taught;
    if (!taught) return void this._lesson.remove();
    if (!this._map.hasLayer(this._lesson)) this._lesson.addTo(this._map);
    else if (!same) this._lesson.redraw();
  }

  /** Examples as dots; `colourOf` one, and a click on it is told to `remove(number)`. */
  examples(places, colourOf, remove) {
    this._examples.clearLayers();
    places.forEach((place, number) => {
      const label = place.label ?? "not these";
      const dot = marker(place, "example", place.label === null ? "×" : "✓", `${label}: ${degrees(place)}: click to remove`, 1500);
      dot.on("add", () => { dot.getElement().firstChild.style.background = colourOf(place.label); });
      dot.on("click", () => remove(number)).addTo(this._examples);
    });
  }

  /** Pins: {letter: place}; the active slot's pin is highlighted. */
  pins(places) {
    this._pins.clearLayers();
    for (const [letter, place] of Object.entries(places)) {
      marker(place, "pin", letter.toUpperCase(), "", 1000, false).addTo(this._pins);
    }
  }

  /** Numbered places, and for a walk the line between them. */
  found(places, way) {
    this._found.clearLayers();
    if (way) L.polyline(way.map(({ lat, lon }) => [lat, lon]), { className: "way", interactive: false }).addTo(this._found);
    this._dots = places.map((place, number) => {
      const dot = marker(place, "dot", String(number + 1), `Nearest ${number + 1}: ${degrees(place)}`, -number);
      dot.on("click", () => this._handlers.open(number));
      return dot.addTo(this._found);
    });
  }

  /** Highlight one of the numbered places. */
  mark(number, on) {
    this._dots?.[number]?.getElement()?.classList.toggle("marked", on);
  }

  _moved() {
    this._drawRegions();
    const { lat, lng } = this._map.getCenter();
    this._handlers.move({ lat, lon: lng, zoom: this._map.getZoom() });
  }

  /** Zoomed out, a town is one pixel: show where the store has data. */
  _drawRegions() {
    this._regions.clearLayers();
    for (const [name, box] of this._boxes) {
      const bounds = boundsOf(box);
      const [one, other] = [bounds.getNorthWest(), bounds.getSouthEast()].map((corner) => this._map.latLngToContainerPoint(corner));
      if (Math.max(other.x - one.x, other.y - one.y) > SMALL_REGION_PX) continue;
      const center = bounds.getCenter();
      const flag = marker({ lat: center.lat, lon: center.lng }, "region", title(name), `Go to ${title(name)}`, 0);
      flag.on("click", () => this.showBox(box)).addTo(this._regions);
    }
  }
}

/** "monaco_north.osm.pbf" -> "Monaco north" */
export function title(region) {
  const words = region.replace(/\.osm\.pbf$|\.pbf$/, "").replaceAll(/[_-]+/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function marker({ lat, lon }, kind, text, label, zIndexOffset, interactive = true) {
  const icon = L.divIcon({ className: kind, html: L.Util.template("<span>{text}</span>", { text: escaped(text) }), iconSize: null });
  const made = L.marker([lat, lon], { icon, title: label, zIndexOffset, interactive, keyboard: interactive });
  if (!interactive) return made;
  made.on("add", () => made.getElement().setAttribute("aria-label", label));
  return made.on("keypress", ({ originalEvent }) => originalEvent.key === "Enter" && made.fire("click"));
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function boundsOf([west, south, east, north]) {
  return L.latLngBounds([south, west], [north, east < west ? east + 360 : east]);
}

function placeOf({ lat, lng }) {
  return { lat, lon: lng };
}
