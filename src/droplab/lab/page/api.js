// Questions to the lab's server; whatever goes wrong is an Error with one sentence for the reader.

const GONE = "The lab does not answer. Is `droplab lab` still running in its terminal? Finished epochs are safe on disk.";

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Error(GONE);
  }
  let body = null;
  try {
    body = await response.json();
  } catch {
    if (response.ok) throw new Error(`The lab gave an answer to ${path} that is not JSON.`);
  }
  if (!response.ok) throw new Error(body?.error ?? `The lab answered ${path} with status ${response.status}.`);
  return body;
}

/** GET, as JSON. */
export const get = (path) => ask(path);

/** POST JSON, get JSON. */
export const post = (path, body = {}) => ask(path, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

let recipes = null;
/** The built-in recipes, asked for once. */
export function getRecipes() {
  recipes ??= get("/api/recipes").catch((error) => { recipes = null; throw error; });
  return recipes;
}
