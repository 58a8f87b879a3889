// One run as it is known now, kept up to date by the server's events.

const ENDED = new Set(["done", "stopped", "failed"]);

/** Whether nothing more will come of a run in this state. */
export const ended = (state) => ENDED.has(state);

/**
 * Follow a run. `on` is called with what changed: "snapshot", "points", "progress", "state",
 * "verdict", "lost" (the connection), "missing" (no such run), "refused" (with the sentence that
 * says why the run cannot be shown).
 */
export function follow(id, on) {
  const live = { data: null, progress: null, connected: false, close, restart };
  const address = `/api/runs/${encodeURIComponent(id)}`;
  let source = null;
  let closed = false;

  function open() {
    if (source || closed) return;
    source = new EventSource(`${address}/events`);
    source.addEventListener("open", () => { live.connected = true; });
    listen("snapshot", (data) => { live.data = data; live.progress = data.progress ?? null; });
    listen("points", (data) => { for (const point of data.points) takePoint(live.data, point); });
    listen("progress", (data) => {
      live.progress = data;
      Object.assign(live.data.run, { steps: data.steps, steps_done: data.steps_done });
    });
    listen("state", ({ state, message, plan, train_scored }) => {
      Object.assign(live.data.run, { state, message });
      Object.assign(live.data, { plan, train_scored });
    });
    listen("verdict", (data) => Object.assign(live.data, { verdict: data.verdict, patch: data.patch }));
    source.addEventListener("end", () => { drop(); refresh(); });
    source.addEventListener("error", () => {
      const given = source?.readyState === EventSource.CLOSED;
      live.connected = false;
      if (given) {
        drop();
        refresh();
      } else {
        on("lost");
      }
    });
  }
  function listen(name, take) {
    source.addEventListener(name, (event) => {
      if (name !== "snapshot" && !live.data) return;
      live.connected = true;
      take(JSON.parse(event.data));
      on(name);
    });
  }
  function drop() {
    source?.close();
    source = null;
  }
  /** Ask once: after the end for what only a snapshot says, or to learn why there is no stream. */
  async function refresh() {
    try {
      const response = await fetch(address);
      if (closed) return;
      if (response.status === 404) return void on("missing");
      const answer = await response.json();
      if (closed) return;
      if (!response.ok) return void on("refused", answer.error);
      live.data = answer;
      on("snapshot");
      if (!ended(live.data.run.state)) setTimeout(open, 1000);
    } catch {
      if (closed) return;
      on("lost");
      setTimeout(refresh, 2000);
    }
  }
  /** A browser opens six connections to a server: a page that nobody sees gives its own back. */
  function onVisibility() {
    if (document.hidden) drop();
    else if (!live.data || !ended(live.data.run.state)) open();
  }
  function close() {
    closed = true;
    drop();
    document.removeEventListener("visibilitychange", onVisibility);
  }
  function restart() {
    drop();
    open();
  }
  document.addEventListener("visibilitychange", onVisibility);
  open();
  return live;
}

function takePoint(data, [place, epoch, count, means, sds]) {
  const arm = data.arms[place];
  if (arm === undefined) return;
  data.metrics.forEach(({ name: metric }, index) => {
    put(data.curves[arm][metric], epoch, means[index]);
    put(data.bands[arm][metric], epoch, sds[index]);
  });
  put(data.counts[arm], epoch, count);
}

function put(curve, epoch, value) {
  while (curve.length < epoch) curve.push(null);
  curve[epoch - 1] = value;
}

/** The last epoch that any arm has reached. */
export function lastEpoch(data) {
  let last = 0;
  for (const arm of data.arms) {
    const counts = data.counts[arm];
    for (let i = counts.length; i > last; i -= 1) if (counts[i - 1]) { last = i; break; }
  }
  return last;
}
