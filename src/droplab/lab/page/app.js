// Which view an address means, and the way from one to the next.

import { announce, failure, fill, h, loading } from "./dom.js";

const VIEWS = [
  { path: /^\/(experiment)?$/, nav: "/experiment", title: "Experiment", load: () => import("./experiment.js") },
  { path: /^\/sweep$/, nav: "/sweep", title: "Sweep", load: () => import("./sweep.js") },
  { path: /^\/see$/, nav: "/see", title: "See it", load: () => import("./see_view.js") },
  { path: /^\/doctor$/, nav: "/doctor", title: "Doctor", load: () => import("./doctor.js") },
  { path: /^\/practice$/, nav: "/practice", title: "Practice", load: () => import("./practice.js") },
  { path: /^\/runs$/, nav: "/runs", title: "Runs", load: () => import("./runs.js") },
  { path: /^\/runs\/([A-Za-z0-9._-]+)$/, nav: "/runs", title: "Run", load: () => import("./run.js") },
];

const main = document.getElementById("main");
let leave = null;
let turn = 0;
let shown = null;

/** Go to an address of the lab. */
export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  return show({ moved: true });
}

/** Name the page; every view may say more than its own title. */
export function setTitle(text) {
  document.title = `${text} · droplab`;
}

async function show({ moved = false } = {}) {
  const mine = ++turn;
  const path = decodeURI(location.pathname);
  const view = VIEWS.find((item) => item.path.test(path));
  leave?.();
  leave = null;
  shown = location.pathname + location.search;
  for (const link of document.querySelectorAll("nav a")) {
    if (view && link.getAttribute("href") === view.nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!view) return lost();
  setTitle(view.title);
  const place = h("div", { class: "view" });
  fill(main, place);
  place.append(loading());
  try {
    const module = await view.load();
    if (mine !== turn) return undefined;
    fill(place);
    leave = module.mount(place, { match: path.match(view.path), query: new URLSearchParams(location.search) }) ?? null;
  } catch (error) {
    console.error(error);
    fill(place, failure(new Error("This view could not be loaded. Is the lab still running?"), () => show()));
  }
  if (moved) {
    scrollTo(0, 0);
    const title = place.querySelector("h1");
    (title ?? main).focus({ preventScroll: true });
    if (!title) announce(view.title);
  }
  return undefined;
}

function lost() {
  const { problem } = main.dataset;
  const title = problem ? "This cannot be shown" : "Nothing here";
  setTitle(problem ? title : "Not found");
  fill(main, h("div", { class: "view" }, h("header", { class: "head" }, h("h1", { tabindex: "-1" }, title),
    h("p", { class: "lead" }, problem ?? "The lab has no page at this address."), h("p", null, h("a", { href: problem ? "/runs" : "/experiment" }, problem ? "All runs" : "To the experiments")))));
  delete main.dataset.problem;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.hash && link.pathname === location.pathname) return;
  if (!VIEWS.some((view) => view.path.test(link.pathname))) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
addEventListener("popstate", () => {
  if (location.pathname + location.search !== shown) show({ moved: true });
});
addEventListener("pageshow", (event) => { if (event.persisted) show(); });
addEventListener("pagehide", () => { leave?.(); leave = null; });
show();
