// The colour and dash of each arm: the report's, in light and dark.

const COLOURS = 9;
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The number of the colour of the arm at this place; 0 is the baseline's. */
export function colourOf(place) {
  return place === 0 ? 0 : ((place - 1) % (COLOURS - 1)) + 1;
}

/** The dash pattern of the arm at this place; empty for a full line. */
export function dashOf(place) {
  return place === 0 ? [] : DASHES[Math.floor((place - 1) / (COLOURS - 1)) % DASHES.length];
}

let known = null;
/** Return the colours as they are now. */
export function theme() {
  if (known) return known;
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  known = {
    colours: Array.from({ length: COLOURS }, (_, place) => of(`c${place}`)),
    ink: of("ink"), soft: of("soft"), grid: of("grid"), line: of("line"), bg: of("bg"),
  };
  return known;
}

const listeners = new Set();
dark.addEventListener("change", () => {
  known = null;
  for (const listener of listeners) listener();
});

/** Call the function whenever light turns to dark or back; returns what ends that. */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
