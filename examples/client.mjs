// Follows a book from Node 22 or a browser, without a library: `node client.mjs http://127.0.0.1:8080 [pbk_...]`.
const [, , book, key] = process.argv;
const headers = key ? { Authorization: `Bearer ${key}` } : {};

async function* batteries() {
  for (let offset = 0; offset !== null; ) {
    const answer = await fetch(`${book}/api/v1/batteries?limit=100&offset=${offset}`, { headers });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const part = await answer.json();
    yield* part.batteries;
    offset = part.next_offset;
  }
}

// A browser's EventSource does this by itself; it sends no key, but the cookie of who signed in.
async function* changes() {
  let last;
  for (;;) {
    const answer = await fetch(`${book}/api/v1/live`, { headers: last ? { ...headers, "Last-Event-ID": last } : headers });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    let text = "";
    for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
      const events = (text + part).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const field = (name) => event.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1];
        last = field("id") ?? last;
        if (field("event")) yield JSON.parse(field("data"));
      }
    }
  }
}

for await (const { battery, soh } of batteries()) console.log(battery, soh?.soh_pct ?? "no value yet");
for await (const change of changes()) console.log("changed:", JSON.stringify(change));
