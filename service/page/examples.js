// Examples as files: GeoJSON, or lines of lat, lon and perhaps a label.

import { place } from "./format.js";
import { MOST_EXAMPLES, rounded } from "./state.js";

const NAME = "examples.geojson";

/** Offer the examples as a GeoJSON file. */
export function save(taught) {
  const features = taught.map(({ lat, lon, label }) => ({
    type: "Feature", geometry: { type: "Point", coordinates: [lon, lat] }, properties: { label },
  }));
  const blob = new Blob([JSON.stringify({ type: "FeatureCollection", features }, null, 1)], { type: "application/geo+json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = NAME;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Return the examples of a file; those without a label are of `kind`. Throws an Error that says what is wrong. */
export function load(text, kind) {
  const found = text.trimStart().startsWith("{") ? ofGeoJson(text, kind) : ofLines(text, kind);
  if (!found.length) throw new Error("It holds no place: give points as GeoJSON, or lines of lat,lon");
  if (found.length > MOST_EXAMPLES) throw new Error(`It holds ${found.length} places: at most ${MOST_EXAMPLES} are read`);
  return found.map((one) => ({ ...rounded(one), label: one.label }));
}

function ofGeoJson(text, kind) {
  let read;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new Error(`It is no JSON: ${error.message}`);
  }
  const points = (read.features ?? [read]).filter(({ geometry }) => geometry?.type === "Point");
  return points.map(({ geometry: { coordinates: [lon, lat] }, properties }) => {
    if (!(Math.abs(lat) <= 90 && Math.abs(lon) <= 180)) throw new Error(`lat ${lat}, lon ${lon} is no place in degrees`);
    const { label = kind } = properties ?? {};
    return { lat, lon, label: label === null ? null : String(label).slice(0, 100) };
  });
}

function ofLines(text, kind) {
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
  const header = lines.length > 0 && /^\D*lat/i.test(lines[0]) ? 1 : 0;
  return lines.slice(header).map((line, number) => {
    const [lat, lon, label = ""] = line.split(/[,;\t]/);
    const at = place(`${lat}, ${lon}`);
    if (!at || Math.abs(at.lat) > 90 || Math.abs(at.lon) > 180) throw new Error(`Line ${header + number + 1} is no place: write lat,lon or lat,lon,label`);
    return { ...at, label: label.trim().slice(0, 100) || kind };
  });
}
