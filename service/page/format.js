// Numbers and coordinates, formatted and parsed.

export function degrees({ lat, lon }) {
  return `${lat.toFixed(5)}, ${lon.toFixed(5)}`;
}

export function metres(value) {
  if (value < 995) return `${Math.round(value)} m`;
  return `${value < 99500 ? (value / 1000).toFixed(1) : Math.round(value / 1000).toLocaleString("en")} km`;
}

/** Metres on the ground between two places (haversine on the mean sphere). */
export function distance(one, other) {
  const [lat, lon, toLat, toLon] = [one.lat, one.lon, other.lat, other.lon].map((value) => (value * Math.PI) / 180);
  const a = Math.sin((toLat - lat) / 2) ** 2 + Math.cos(lat) * Math.cos(toLat) * Math.sin((toLon - lon) / 2) ** 2;
  return 2 * 6371008.8 * Math.asin(Math.sqrt(a));
}

export function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

/** A share of pairs as a percentage, rounded down so that 100 % means all of them. */
export function percent(share) {
  const value = Math.floor(share * 1000 + 1e-9) / 10;
  return `${value < 90 ? Math.floor(value) : value.toFixed(1)} %`;
}

/** A value of a column of the index. */
export function told(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 2 }) : String(value);
}

/** Parse "43.7384, 7.4246", also with N/S/E/W; null for anything else. */
export function place(text) {
  const number = String.raw`([-+−]?\d{1,3}(?:\.\d+)?)\s*°?\s*`;
  const found = new RegExp(String.raw`^\s*${number}([NS]?)\s*[,;\s]\s*${number}([EW]?)\s*$`, "i").exec(text);
  if (!found) return null;
  const value = (digits, side) => Number(digits.replace("−", "-")) * (/[SW]/i.test(side) ? -1 : 1);
  return { lat: value(found[1], found[2]), lon: value(found[3], found[4]) };
}

/** "green, water and paths" */
export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
