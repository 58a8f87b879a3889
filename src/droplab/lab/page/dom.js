// Elements, announcements, and the states that every view shares.

/** Return an element. Props: on* listeners, class, aria-*, data-*, or any attribute; null leaves one out. */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what is in the element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Change a text only where it differs, so that nothing is laid out again for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tell a screen reader, once. */
export function announce(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = text; });
}

let count = 0;
/** Return an id that no other element has. */
export function newId(prefix = "f") {
  count += 1;
  return `${prefix}${count}`;
}

/** What stands where something is still to come; it shows only if that takes a moment. */
export function loading(text = "Loading") {
  return h("p", { class: "loading", role: "status" }, text, h("span", { class: "dots", "aria-hidden": "true" }, "…"));
}

/** What stands where something could not be had, with a way to try again. */
export function failure(error, retry) {
  return h("div", { class: "say no", role: "alert" },
    h("p", null, prose(error.message)),
    retry && h("p", null, h("button", { class: "button", type: "button", onclick: retry }, "Try again")));
}

/** Nothing there yet: why, and what to do. */
export function empty(title, text, ...actions) {
  return h("div", { class: "empty" },
    h("div", { class: "grid-of-dots", "aria-hidden": "true" }, Array.from({ length: 9 }, () => h("i"))),
    h("h2", null, title), h("p", null, text),
    actions.length > 0 && h("p", { class: "row" }, actions));
}

/** Load something into an element: a moment of "Loading", then what `draw` makes of it, or why not. */
export async function load(element, fetching, draw) {
  const again = () => load(element, fetching, draw);
  fill(element, loading());
  try {
    const data = await fetching();
    if (element.isConnected) fill(element, draw(data));
  } catch (error) {
    if (element.isConnected) fill(element, failure(error, again));
  }
}

/** A title of a view, which takes the focus when the view is opened. */
export function heading(text, lead, eyebrow) {
  return h("header", { class: "head" },
    eyebrow && h("p", { class: "eyebrow" }, eyebrow),
    h("h1", { tabindex: "-1" }, text),
    lead && h("p", { class: "lead" }, lead));
}

/** A label with a control and, if there is one, a remark. */
export function field(label, control, remark) {
  const id = control.id || newId();
  control.id = id;
  if (remark) {
    remark.id = remark.id || newId();
    control.setAttribute("aria-describedby", remark.id);
  }
  return h("div", { class: "field" }, h("label", { for: id }, label), control, remark);
}

/** Radio buttons drawn as one bar. */
export function segment(legend, options, value, onchange, hidden = false) {
  const name = newId("s");
  return h("fieldset", { class: "segment" }, h("legend", { class: hidden ? "sr" : null }, legend),
    h("div", { class: "segments" }, options.map(([key, text]) => h("label", null,
      h("input", { type: "radio", name, value: key, checked: key === value, onchange: () => onchange(key) }),
      h("span", null, text)))));
}

/** A slider with its value as text. */
export function slider(label, { min, max, step, value, text, onchange, said }) {
  const id = newId();
  const show = text ?? ((number) => String(number));
  const output = h("output", { for: id }, show(value));
  const input = h("input", { id, type: "range", min, max, step });
  input.value = value;
  const tell = () => {
    output.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", said ? said(Number(input.value)) : output.textContent);
  };
  input.addEventListener("input", () => { tell(); onchange(Number(input.value)); });
  tell();
  const element = h("div", { class: "slider" }, h("label", { for: id }, label), input, output);
  return { element, input, output, set(number) { input.value = number; tell(); } };
}

/** A text that is copied at a click. */
export function copyButton(text) {
  const button = h("button", { type: "button", class: "button small-button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      announce("Copied.");
    } catch {
      button.textContent = "Could not copy";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  return button;
}

/** A text with `code` in backticks, as children of an element. */
export function prose(text) {
  return (text ?? "").split("`").map((part, index) => (index % 2 ? h("code", null, part) : part));
}

/** "3 seeds", "1 seed". */
export function many(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString("en").replaceAll(",", "\u202f")} ${count === 1 ? noun : plural}`;
}
