// "See it": the units that dropout leaves, and what a layer puts out over many masks.

import { get, getRecipes } from "./api.js";
import { failure, field, fill, h, loading, segment, setText, slider } from "./dom.js";
import { histogram, network } from "./see_draw.js";

const CHUNK = 16;

const option = (text, value = text) => h("option", { value }, text);
const short = (value) => value.toPrecision(3).replace("-", "−");

function soon(work, wait) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(work, wait); };
}

export function mount(root) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const rates = new Map();
  const chunks = new Map();
  let recipes = [], known = null, data = null, found = null, snapshot = null, sliders = [];
  let step = 0, asked = 0, timer = 0, training = true;

  const number = (min, value, onchange) => h("input", { type: "number", min, value, onchange });
  const recipe = h("select", { onchange: () => guard(choose) });
  const seed = number(0, 0, () => fresh());
  const example = number(1, 1, () => fresh());
  const layer = h("select", { onchange: () => { unit.value = ""; guard(look); } });
  const unit = number(0, "", () => guard(look));
  const run = h("select", { onchange: () => guard(chooseRun) });
  const arm = h("select", { onchange: () => chooseArm() });
  const armField = field("Arm", arm);
  const rateSliders = h("div", { class: "see-sliders" });
  const button = (text, onclick) => h("button", { type: "button", class: "button", onclick }, text);
  const by = (count) => () => { setPlaying(false); go(count); };
  const play = button("Play", () => setPlaying(!timer));
  const calm = h("p", { class: "soft small" }, "Your system asks for less motion: use Step.");
  const status = h("p", { class: "see-status", role: "status" });
  const picture = h("div", { class: "see-picture" }, loading("Drawing the first masks"));
  const said = h("figcaption", { class: "soft small" });
  const table = h("tbody");
  const spread = h("div", { class: "see-picture" }, loading("Passing examples through many masks"));
  const numbers = h("dl", { class: "see-numbers row" });
  const about = h("p", { class: "soft small" });
  const problem = h("div");
  // Nothing in it can be used before the recipes are known: `inert` until then.
  const controls = h("div", { inert: true });

  async function guard(work) {
    try {
      await work();
      fill(problem);
    } catch (error) {
      setPlaying(false);
      fill(problem, failure(error, () => guard(work)));
    }
  }

  async function start() {
    recipes = (await getRecipes()).recipes.filter((each) => each.widths.length);
    fill(recipe, recipes.map((each) => option(each.name)));
    return choose();
  }

  async function choose() {
    known = recipes.find((each) => each.name === recipe.value);
    controls.inert = false;
    example.max = known.batch_size;
    const arms = known.arms.filter((each) => Object.values(each.rates).some(Boolean));
    setRates((arms[0] ?? known.arms[0]).rates);
    const paths = known.sites.map((site) => site.path);
    fill(layer, paths.map((path) => option(path)));
    layer.value = paths.find((path) => rates.get(path)) ?? paths[0];
    step = 0;
    unit.value = "";
    fill(run, option("initial weights", ""));
    armField.hidden = true;
    const { runs } = await get("/api/runs").catch(() => ({ runs: [] }));
    run.append(...runs.filter((each) => each.recipe === known.name && each.state === "done")
      .map((each) => option(each.id)));
    await fresh();
  }

  async function chooseRun() {
    unit.value = "";
    if ((armField.hidden = !run.value)) return look();
    snapshot = await get(`/api/runs/${run.value}`);
    fill(arm, snapshot.arms.map((name) => option(name)));
    arm.value = snapshot.arms.at(-1);
    if (!snapshot.seeds.includes(Number(seed.value))) seed.value = snapshot.seeds[0];
    return chooseArm();
  }

  function chooseArm() {
    setRates(snapshot.rates[arm.value] ?? {});
    return fresh();
  }

  function setRates(given) {
    rates.clear();
    for (const site of known.sites) rates.set(site.path, given[site.path] ?? 0);
    const hidden = known.sites.filter((site) => !site.input).map((site) => site.path);
    const groups = known.sites.map(({ path, input }) => [path + (input ? ", the input" : ""), [path]]);
    if (hidden.length > 1) groups.unshift(["hidden sites together", hidden]);
    sliders = groups.map(([label, paths]) => ({ paths, made: slider(label, {
      min: 0, max: 1, step: 0.05, value: rates.get(paths[0]), text: (p) => p.toFixed(2),
      said: (p) => `${p.toFixed(2)}, drops ${Math.round(100 * p)} percent`,
      onchange: (p) => {
        for (const path of paths) rates.set(path, p);
        for (const other of sliders) if (other.paths !== paths) other.made.set(rates.get(other.paths[0]));
        changed();
      } }) }));
    fill(rateSliders, sliders.map((each) => each.made.element));
  }

  function query() {
    const dropped = [...rates].filter(([, p]) => p).map(([path, p]) => `${path}:${p}`);
    return `recipe=${known.name}&seed=${Number(seed.value)}&rates=${dropped.join(",")}`;
  }

  const lookSoon = soon(() => root.isConnected && guard(look), 250);
  const changed = soon(fresh, 100);

  async function fresh() {
    chunks.clear();
    await guard(show);
    lookSoon();
  }

  async function show() {
    const first = step - (step % CHUNK), turn = ++asked;
    if (!chunks.has(first)) {
      const answer = await get(`/api/see?${query()}&step=${first}&steps=${CHUNK}&example=${example.value - 1}`);
      if (turn !== asked) return;
      chunks.set(first, answer);
    }
    data = chunks.get(first);
    draw();
  }

  const last = () => (data?.steps_an_epoch * known.epochs || 1e7) - 1;

  function go(by) {
    step = Math.max(0, Math.min(last(), step + by));
    return guard(show);
  }

  function setPlaying(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => (step < last() ? go(1) : setPlaying(false)), 700) : 0;
    play.textContent = on ? "Pause" : "Play";
    status.setAttribute("aria-live", on ? "off" : "polite");
  }

  function draw() {
    const at = step - data?.step, each = data?.steps_an_epoch;
    if (!(at >= 0 && at < CHUNK)) return;
    const now = data.layers.map((one) => {
      const masked = training && one.masks;
      return { ...one, mask: masked?.[at], gone: masked ? one.dropped[at] : 0, times: training ? one.scale : 1 };
    });
    const where = `Mini-batch ${step + 1}${each ? `, epoch ${Math.floor(step / each) + 1}` : ""}: `;
    const gone = now.filter((one) => one.mask).map((one) => `${one.gone} of ${one.width} dropped at ${one.site}`).join(", ");
    setText(status, training ? where + (gone || "nothing is dropped") : "Eval mode: every unit works, nothing is scaled");
    setText(said, training
      ? `Example ${example.value} of ${data.batch_size}; each has its own mask. Units that stay are scaled by 1 / (1 − p): thicker lines.`
      : "While training, the units that stayed were scaled up to stand in for the others. Eval mode takes every unit as it is, and the next layer sees the same sums on average.");
    fill(table, now.map((one) => h("tr", null, h("th", { scope: "row" }, one.site ?? "output"),
      [one.width, one.site ? one.p : "–", one.gone, one.times.toFixed(2)].map((cell) => h("td", null, cell)))));
    fill(picture, network(now, picture.clientWidth, `${status.textContent}.`));
  }

  async function look() {
    let address = `/api/see/outputs?${query()}&layer=${layer.value}`;
    if (unit.value) address += `&unit=${unit.value}`;
    if (run.value) address += `&run=${run.value}&arm=${encodeURIComponent(arm.value)}`;
    found = await get(address);
    unit.value = found.unit;
    unit.max = found.units - 1;
    drawSpread();
  }

  function drawSpread() {
    if (!found) return;
    const lines = [["eval", "in eval mode"], ["mean", `mean over ${found.masks} masks`], ["unscaled", "mean without the scale"]]
      .map(([name, label]) => [name, label, found[name]]).filter(([, , value]) => value !== null);
    fill(numbers, lines.map(([name, label, value]) => h("div", null,
      h("dt", null, h("span", { class: `see-key see-${name}`, "aria-hidden": "true" }), label), h("dd", null, short(value)))));
    setText(about, `${found.said} Output ${found.unit} of ${found.layer}, before any ReLU, for ${found.input}; ${found.weights}.`);
    const words = lines.map(([, label, value]) => `${label} ${short(value)}`).join(", ");
    fill(spread, histogram(found, spread.clientWidth, `${words}, standard deviation ${short(found.sd)}.`));
  }

  const fields = (...inside) => h("div", { class: "see-fields row" }, inside);
  controls.append(
    fields(field("Recipe", recipe), field("Seed", seed), field("Example of the mini-batch", example)),
    h("fieldset", { class: "see-rates" }, h("legend", null, "Rate p at each site"), rateSliders),
    h("div", { class: "row" }, button("Back", by(-1)), button("Step", by(1)), play,
      segment("Mode", [["training", "Training"], ["eval", "Eval"]], "training",
        (mode) => { training = mode === "training"; draw(); }, true)),
    calm, status,
    h("figure", { class: "see-figure" }, picture, said),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Layers" },
      h("table", null, h("caption", null, h("span", null, "Layers at this mini-batch")),
        h("thead", null, h("tr", null, ["site", "units", "p", "dropped", "scaled by"].map((head) => h("th", { scope: "col" }, head)))),
        table)),
    h("h2", null, "What a layer puts out, over many masks"),
    fields(field("Layer", layer), field("Output", unit), field("Weights", run), armField),
    h("figure", { class: "see-figure" }, spread, h("figcaption", null, numbers, about)));

  root.append(problem, controls);

  const obey = () => {
    calm.hidden = !(play.hidden = still.matches);
    setPlaying(false);
  };
  obey();
  still.addEventListener("change", obey);
  const resized = new ResizeObserver(() => { draw(); drawSpread(); });
  resized.observe(root);
  guard(start);
  return () => {
    setPlaying(false);
    resized.disconnect();
    still.removeEventListener("change", obey);
  };
}
