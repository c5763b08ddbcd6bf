// The Verify panel (templates/verify.html): fetches or takes a file, has verify.js check it, and says what came of it in
// the page's own words. Results are text nodes; nothing from a file ever becomes markup.
"use strict";

(() => {
  const FAULTS_SHOWN = 20;
  const language = document.documentElement.lang;
  const day = new Intl.DateTimeFormat(language, { dateStyle: "medium" });

  function filled(message, values) {
    return message.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
  }

  function element(tag, words, className) {
    const made = document.createElement(tag);
    if (words !== undefined) made.textContent = words;
    if (className) made.className = className;
    return made;
  }

  function list(title, items) {
    const many = element("ul");
    for (const item of items) many.append(element("li", item));
    return [element("h3", title), many];
  }

  for (const panel of document.querySelectorAll("[data-verify]")) {
    const words = JSON.parse(panel.querySelector("script[type='application/json']").textContent);
    const said = panel.querySelector("[data-verify-said]");
    const button = panel.querySelector("[data-verify-fetch]");
    const file = panel.querySelector("[data-verify-file]");
    const tell = (message, tone) => said.replaceChildren(element("p", message, `notice ${tone}`));

    function values(item) {
      const shown = { ...item };
      if (item.at_ms !== undefined) shown.day = day.format(new Date(item.at_ms));
      if (item.value !== undefined) shown.code = item.value;
      return shown;
    }

    function fault(item) {
      const sentence = filled(words[`f_${item.what}`], values(item));
      return item.at === undefined ? sentence : `${sentence} (${filled(words.at, item)})`;
    }

    function show(result) {
      const { faults } = result;
      const parts = [element("p", faults.length ? `${words.bad} ${fault(faults[0])}` : words.good, `notice ${faults.length ? "bad" : "good"}`)];
      if (faults.length > 1) {
        const shown = faults.slice(0, FAULTS_SHOWN).map(fault);
        if (faults.length > FAULTS_SHOWN) shown.push(filled(words.more, { n: faults.length - FAULTS_SHOWN }));
        parts.push(...list(words.wrong, shown));
      }
      for (const name of ["proven", "claimed", "missing"]) {
        const items = result[name].map((item) => filled(words[item.code], values(item)));
        if (items.length) parts.push(...list(words[name], items));
      }
      said.replaceChildren(...parts);
      said.dataset.outcome = faults.length ? "bad" : "good";
    }

    // The book's own keys, as it publishes them; a book without a public address publishes none.
    async function published() {
      if (!panel.dataset.verifyDid) return null;
      const answer = await fetch(panel.dataset.verifyDid).catch(() => null);
      return answer?.ok ? answer.json() : null;
    }

    async function check(read, code) {
      delete said.dataset.outcome;
      tell(words.working, "quiet");
      if (!(await packbookVerify.available())) {
        tell(words.no_crypto, "warn");
        return;
      }
      let data;
      try {
        data = new Uint8Array(await read());
      } catch (problem) {
        tell(filled(words.no_fetch, { why: problem.message }), "warn");
        return;
      }
      const result = await packbookVerify.verify(data, { did: await published(), code });
      if (result === null) tell(words.unknown, "warn");
      else show(result);
    }

    async function fetched(address) {
      const answer = await fetch(address, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      return answer.arrayBuffer();
    }

    if (button) {
      button.hidden = false;
      button.addEventListener("click", () => check(() => fetched(button.dataset.verifyFetch), button.dataset.verifyCode ?? null));
    }
    file.closest(".field").hidden = false;
    file.addEventListener("change", () => file.files[0] && check(() => file.files[0].arrayBuffer(), null));
  }
})();
