// The frame of "See it"; what is in it is drawn by see.js.

import { h, heading } from "./dom.js";
import { mount as draw } from "./see.js";

export function mount(root) {
  const stage = h("div");
  root.append(heading("See it",
    "Every mini-batch has its own mask. These are the real ones: what goes dark here is what a run with this recipe, this seed and these rates drops at that step."), stage);
  return draw(stage);
}
