// Shows times in the browser's zone and keeps the page current: hears from the book when something changed (or asks every
// few seconds where it cannot listen), asks the API whether that concerns this page, and if so takes the changed parts
// from a fresh copy of it. What the reader opened, focused or scrolled to stays as it is.
"use strict";

(() => {
  const POLL_MS = 4000;
  const SLOWEST_MS = 32000; // the book may be away for hours: no hammering
  const page = document.documentElement.lang;
  const language = navigator.languages.find((tag) => tag.startsWith(page)) ?? page;
  const styles = {
    date: new Intl.DateTimeFormat(language, { dateStyle: "medium" }),
    moment: new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }),
  };

  function localise(root) {
    for (const element of root.querySelectorAll("time[data-style]")) {
      const at = new Date(element.dateTime);
      element.textContent = styles[element.dataset.style].format(at);
      element.title = element.dateTime;
    }
  }

  localise(document);
  const addresses = (document.body.dataset.poll ?? "").split(" ").filter(Boolean);
  const panel = document.getElementById("live");
  if (!addresses.length || !panel) return;

  const tags = new Map(); // address -> ETag last seen
  const text = panel.querySelector(".live-text");
  const button = panel.querySelector(".live-button");
  const one = addresses.length === 1 && addresses[0].match(/^\/api\/v1\/batteries\/([^/?]+)$/);
  const events = `/api/v1/live${one ? `?battery=${one[1]}` : ""}`;
  let paused = false;
  let timer = 0;
  let wait = POLL_MS;
  let asked = 0; // when last
  let stream = null;

  function say(state) {
    panel.classList.toggle("paused", state === "paused");
    panel.classList.toggle("offline", state === "offline");
    const words = text.dataset[`${state}Text`];
    if (text.textContent !== words) text.textContent = words;
  }

  async function changed(address) {
    const before = tags.get(address);
    const answer = await fetch(address, { cache: "no-store", headers: before ? { "If-None-Match": before } : {} });
    if (answer.status === 304) return false;
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    tags.set(address, answer.headers.get("ETag"));
    return true; // also the first time: who knows what changed since the page was made
  }

  const nameOf = (details) =>
    [details.closest("[id]").id, details.closest(".figure")?.querySelector("dt").textContent, details.querySelector("summary").textContent].join();
  const parts = (root) => new Map([...root.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));

  async function refresh() {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(`page: ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    localise(fresh);
    const [now, then] = [parts(fresh), parts(document)];
    if (now.size !== then.size || [...now.keys()].some((name) => !then.has(name))) {
      // Something appeared for the first time (the first chart, the first battery): take the whole content.
      const [content, coming] = [document, fresh].map((root) => root.getElementById("content"));
      const open = new Set([...content.querySelectorAll("details[open]")].map(nameOf));
      for (const details of coming.querySelectorAll("details")) details.open = open.has(nameOf(details));
      fresh.getElementById("live").replaceWith(panel);
      content.replaceChildren(...coming.childNodes);
    } else {
      for (const [name, part] of now) {
        const old = then.get(name);
        if (old.outerHTML === part.outerHTML || old.contains(document.activeElement)) continue;
        for (const attribute of part.attributes) old.setAttribute(attribute.name, attribute.value);
        old.replaceChildren(...part.childNodes);
      }
    }
    document.dispatchEvent(new Event("packbook:changed"));
  }

  const hearing = () => stream?.readyState === EventSource.OPEN; // then nobody needs to ask

  async function poll() {
    clearTimeout(timer);
    timer = 0;
    if (paused || document.hidden) return;
    asked = Date.now();
    try {
      const answers = await Promise.all(addresses.map(changed));
      if (answers.includes(true)) await refresh();
      wait = POLL_MS;
      say("live");
    } catch {
      wait = Math.min(wait * 2, SLOWEST_MS);
      tags.clear(); // what was missed meanwhile is not known
      say("offline");
    }
    if (!paused && !timer && (wait > POLL_MS || !hearing())) timer = setTimeout(poll, wait);
  }

  // A fleet may have news every second; nobody reads that fast.
  function pollSoon() {
    clearTimeout(timer);
    timer = setTimeout(poll, Math.max(0, asked + POLL_MS - Date.now()));
  }

  // A browser opens few connections to one host: a page that nobody looks at holds none.
  function listen() {
    stream?.close();
    stream = null;
    if (paused || document.hidden) return;
    stream = new EventSource(events);
    stream.addEventListener("ready", pollSoon); // who knows what changed before
    stream.addEventListener("changed", pollSoon);
    stream.addEventListener("error", () => {
      if (!timer) timer = setTimeout(poll, wait); // it comes back by itself, unless it was refused
    });
  }

  function keepCurrent() {
    listen();
    poll();
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? button.dataset.resumeText : button.dataset.pauseText;
    say(paused ? "paused" : "live");
    keepCurrent();
  });
  document.addEventListener("visibilitychange", keepCurrent);
  panel.hidden = false;
  timer = setTimeout(keepCurrent, POLL_MS); // the page itself comes first
})();
