// Checks what Packbook signed, in the browser or in Node, with nothing but WebCrypto: evidence bundles (docs/trust.md),
// signed records (docs/passport.md) and credentials (docs/credentials.md).
// In:  bytes. Out: { kind, faults, proven, claimed, missing }; each item is a code with values, in words by the page.
// Nothing is fetched and nothing believed: numbers are not worked out again here, and that is said under `missing`.
"use strict";

(() => {
  const PROTECTED = Uint8Array.of(0xa1, 0x01, 0x27); // EdDSA
  const MAX_WHOLE = Number.MAX_SAFE_INTEGER;
  const MAX_MESSAGE_BYTES = 131072;
  const MAX_BUNDLE_BYTES = 100_000_000;
  const MAX_SMALL_BYTES = 16384;
  const MAX_RECORDS = 500_000;
  const MAX_DEPTH = 8;
  const HELLO = 1; // kind of the record that names the box's key
  const HELLO_KEY = 0;
  const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  const text = new TextEncoder();

  class Refused extends Error {
    constructor(at, reason) {
      super(reason);
      this.at = at;
    }
  }

  // ---- bytes ----

  const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

  function joined(...parts) {
    const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  // ---- strict CBOR: one meaning has one encoding (docs/wire.md, "Encoding") ----

  class Reader {
    constructor(data, at = 0, end = data.length) {
      this.data = data;
      this.at = at;
      this.end = end;
    }

    need(bytes) {
      if (bytes > this.end - this.at) throw new Refused(this.at, "ends early");
    }

    // The head of a value: its major type and its number.
    head() {
      this.need(1);
      const begin = this.at;
      const first = this.data[this.at++];
      const info = first & 31;
      if (info < 24) return [first >> 5, info, begin];
      const size = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
      if (size === undefined || first >> 5 === 7) throw new Refused(begin, "only whole numbers, strings, lists and maps");
      this.need(size);
      let number = 0;
      for (let i = 0; i < size; i++) number = number * 256 + this.data[this.at++];
      const smallest = { 1: 24, 2: 256, 4: 65536, 8: 4294967296 }[size];
      if (number < smallest) throw new Refused(begin, "a number longer than needed");
      if (number > MAX_WHOLE) throw new Refused(begin, "a number beyond 2^53 - 1");
      return [first >> 5, number, begin];
    }

    expect(major, what) {
      const [found, number, begin] = this.head();
      if (found !== major) throw new Refused(begin, `expected ${what}`);
      return number;
    }

    whole() {
      return this.expect(0, "a whole number");
    }

    bytes(most, exactly) {
      const begin = this.at;
      const length = this.expect(2, "a byte string");
      if (length > most || (exactly !== undefined && length !== exactly)) throw new Refused(begin, `a string of ${length} bytes`);
      this.need(length);
      this.at += length;
      return this.data.subarray(this.at - length, this.at);
    }

    string(most) {
      const begin = this.at;
      const length = this.expect(3, "text");
      if (length > most) throw new Refused(begin, `text of ${length} bytes`);
      this.need(length);
      this.at += length;
      return utf8(this.data.subarray(this.at - length, this.at), begin);
    }

    items(most) {
      const begin = this.at;
      const count = this.expect(4, "a list");
      if (count > most) throw new Refused(begin, `a list of ${count}`);
      return count;
    }

    entries(count) {
      const begin = this.at;
      if (this.expect(5, "a map") !== count) throw new Refused(begin, `expected a map of ${count}`);
    }

    key(number) {
      const begin = this.at;
      if (this.whole() !== number) throw new Refused(begin, `expected key ${number}`);
    }

    // Any value; maps become Map.
    value(depth = 0) {
      if (depth > MAX_DEPTH) throw new Refused(this.at, "nested too deep");
      const [major, number, begin] = this.head();
      if (major === 0) return number;
      if (major === 1) return -1 - number;
      if (major === 7) {
        if (number < 20 || number > 22) throw new Refused(begin, "no floats and no other simple values");
        return [false, true, null][number - 20];
      }
      if (major === 6) throw new Refused(begin, "a tag inside a message");
      if (major === 2 || major === 3) {
        this.need(number);
        this.at += number;
        const part = this.data.subarray(this.at - number, this.at);
        return major === 2 ? part : utf8(part, begin);
      }
      if (number > this.end - this.at) throw new Refused(begin, "ends early");
      return major === 4 ? Array.from({ length: number }, () => this.value(depth + 1)) : this.map(number, depth);
    }

    map(length, depth) {
      const out = new Map();
      let last = -1;
      for (let i = 0; i < length; i++) {
        const begin = this.at;
        const key = this.value(depth + 1);
        if (!Number.isInteger(key) || key <= last) throw new Refused(begin, "keys must be whole numbers and rise");
        last = key;
        out.set(key, this.value(depth + 1));
      }
      return out;
    }

    done() {
      if (this.at !== this.end) throw new Refused(this.at, `${this.end - this.at} bytes behind the end`);
    }
  }

  function utf8(bytes, at) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new Refused(at, "text is not UTF-8");
    }
  }

  function head(major, length) {
    if (length < 24) return Uint8Array.of((major << 5) | length);
    const size = length < 256 ? 1 : length < 65536 ? 2 : length < 4294967296 ? 4 : 8;
    const out = new Uint8Array(1 + size);
    out[0] = (major << 5) | { 1: 24, 2: 25, 4: 26, 8: 27 }[size];
    for (let i = size, rest = length; i > 0; i--, rest = Math.floor(rest / 256)) out[i] = rest % 256;
    return out;
  }

  const packed = (major, bytes) => joined(head(major, bytes.length), bytes);
  // What COSE_Sign1 signs (RFC 9052 §4.4); `purpose` is its external data.
  const toSign = (purpose, payload) =>
    joined(head(4, 4), packed(3, text.encode("Signature1")), packed(2, PROTECTED), packed(2, text.encode(purpose)), packed(2, payload));

  // ---- signatures ----

  const keys = new Map(); // raw key in hex -> CryptoKey, or null where it is none

  async function signedBy(rawKey, signature, data) {
    const name = hex(rawKey);
    if (!keys.has(name)) {
      keys.set(name, await crypto.subtle.importKey("raw", rawKey, { name: "Ed25519" }, false, ["verify"]).catch(() => null));
    }
    const key = keys.get(name);
    return key !== null && (await crypto.subtle.verify({ name: "Ed25519" }, key, signature, data));
  }

  async function available() {
    if (!globalThis.crypto?.subtle) return false; // on a plain http address of another machine, too
    // RFC 8032 §7.1, test 1: a browser that cannot do this cannot check anything.
    const bytes = (digits) => Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
    const key = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    const signature = bytes(
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
    return signedBy(key, signature, new Uint8Array());
  }

  // One COSE_Sign1, taken apart; not yet believed. `payload` null where it is detached.
  function cose(data, at = 0, end = data.length, most = MAX_MESSAGE_BYTES) {
    const reader = new Reader(data, at, end);
    if (reader.expect(6, "a COSE_Sign1") !== 18 || reader.items(4) !== 4) throw new Refused(at, "not a COSE_Sign1 (tag 18)");
    if (!same(reader.bytes(3), PROTECTED)) throw new Refused(at, "algorithm is not EdDSA (-8)");
    reader.entries(1);
    reader.key(4);
    const keyId = reader.bytes(4, 4);
    const detached = data[reader.at] === 0xf6;
    const payload = detached ? null : reader.bytes(most);
    if (detached) reader.at += 1;
    const payloadAt = detached ? reader.at : reader.at - payload.length;
    const signature = reader.bytes(64, 64);
    reader.done();
    return { keyId, payload, payloadAt, signature };
  }

  async function holds(whole, payload, purpose, key) {
    const keyId = (await sha256(key)).subarray(0, 4);
    return same(whole.keyId, keyId) && (await signedBy(key, whole.signature, toSign(purpose, payload)));
  }

  // ---- records and their chain (as packproof.chain has it) ----

  function whole(map, key, low) {
    const value = map.get(key);
    if (!Number.isInteger(value) || value < low) throw new Refused(0, `field ${key}: expected a whole number from ${low}`);
    return value;
  }

  function sized(map, key, length) {
    const value = map.get(key);
    if (!(value instanceof Uint8Array) || value.length !== length) throw new Refused(0, `field ${key}: expected ${length} bytes`);
    return value;
  }

  function opened(sealed) {
    const record = cose(sealed);
    if (record.payload === null) throw new Refused(0, "no payload");
    const reader = new Reader(record.payload);
    const said = reader.value();
    reader.done();
    if (!(said instanceof Map)) throw new Refused(0, "expected a map");
    if (whole(said, 0, 0) !== 1) throw new Refused(0, "an unknown schema");
    sized(said, 5, 8);
    whole(said, 6, 0);
    if (said.has(7)) whole(said, 7, 0);
    return {
      ...record,
      box: hex(sized(said, 1, 8)),
      store: hex(sized(said, 2, 8)),
      seq: whole(said, 3, 1),
      previous: sized(said, 4, 16),
      kind: whole(said, 8, 0),
      body: said.get(9),
    };
  }

  async function believed(part, faults) {
    const found = [];
    let expected = 1;
    for (const { at, data } of part.records) {
      const fault = (what, seq) => faults.push({ what, store: part.store, seq, at });
      let record;
      try {
        record = opened(data);
      } catch (problem) {
        if (!(problem instanceof Refused)) throw problem;
        fault("damaged", expected++);
        continue;
      }
      if (record.box !== part.box || record.store !== part.store) {
        fault("foreign", record.seq);
        expected++;
      } else if (!(await holds(record, record.payload, `pb/v1/${record.box}/r`, part.key))) {
        fault("signature", record.seq);
        expected++;
      } else {
        found.push({ at, seq: record.seq, record, digest: (await sha256(data)).subarray(0, 16) });
        expected = record.seq + 1;
      }
    }
    return found;
  }

  async function checkStore(part) {
    const faults = [];
    const fault = (what, link, seq = link.seq) => faults.push({ what, store: part.store, seq, at: link.at });
    if (hex((await sha256(part.key)).subarray(0, 8)) !== part.box) faults.push({ what: "wrong_key", store: part.store });
    const found = await believed(part, faults);
    const told = new Set(faults.filter((one) => one.seq !== undefined).map((one) => one.seq));
    for (let i = 1; i < found.length; i++) if (found[i].seq < found[i - 1].seq) fault("order", found[i]);
    const byDigest = new Map();
    for (const link of found) {
      if (byDigest.has(hex(link.digest))) fault("twice", link);
      else byDigest.set(hex(link.digest), link);
    }
    const links = [];
    for (const link of [...byDigest.values()].sort((a, b) => a.seq - b.seq)) {
      if (links.at(-1)?.seq === link.seq) fault("fork", link);
      else links.push(link);
    }
    const missing = (begin, then) => {
      for (let seq = begin; seq < then.seq; seq++) {
        if (!told.has(seq)) {
          fault("gap", then, begin);
          return;
        }
      }
    };
    const first = links[0];
    if (!first) {
      if (!told.size) faults.push({ what: "beginning", store: part.store });
    } else if (first.seq > 1) missing(1, first);
    else if (first.record.previous.some((byte) => byte !== 0)) fault("beginning", first);
    else if (first.record.kind !== HELLO || !(first.record.body instanceof Map) || !same(first.record.body.get(HELLO_KEY) ?? [], part.key)) {
      fault("beginning", first);
    }
    for (let i = 1; i < links.length; i++) {
      if (links[i].seq > links[i - 1].seq + 1) missing(links[i - 1].seq + 1, links[i]);
      else if (!same(links[i].record.previous, links[i - 1].digest)) fault("link", links[i]);
    }
    return { box: part.box, store: part.store, links, last: links.at(-1)?.seq ?? 0, faults };
  }

  // ---- the bundle ----

  function readStores(reader, stores) {
    let left = MAX_RECORDS;
    for (let count = reader.items(1000); count > 0; count--) {
      reader.entries(4);
      reader.key(0);
      const box = hex(reader.bytes(8, 8));
      reader.key(1);
      const store = hex(reader.bytes(8, 8));
      reader.key(2);
      const part = { box, store, key: reader.bytes(32, 32), records: [] };
      stores.push(part); // what was read before a fault is checked all the same
      reader.key(3);
      const records = reader.items(left);
      left -= records;
      for (let i = 0; i < records; i++) {
        const data = reader.bytes(MAX_MESSAGE_BYTES);
        part.records.push({ at: reader.at - data.length, data });
      }
    }
  }

  function strings(reader, most, mostBytes = MAX_SMALL_BYTES, exactly) {
    return Array.from({ length: reader.items(most) }, () => reader.bytes(mostBytes, exactly));
  }

  // As much of the file as can be read, in order; `values`: from and to which byte each part stands.
  function survey(data) {
    const found = { stores: [], values: [], faults: [], bundle: null };
    let reader = new Reader(data);
    try {
      if (data.length > MAX_BUNDLE_BYTES) throw new Refused(MAX_BUNDLE_BYTES, `${data.length} bytes are too many`);
      if (reader.expect(6, "a COSE_Sign1") !== 18 || reader.items(4) !== 4) throw new Refused(0, "not a COSE_Sign1 (tag 18)");
      if (!same(reader.bytes(3), PROTECTED)) throw new Refused(reader.at, "algorithm is not EdDSA (-8)");
      reader.entries(1);
      reader.key(4);
      const keyId = reader.bytes(4, 4);
      const length = reader.expect(2, "a byte string");
      const begin = reader.at;
      const said = {};
      const part = (key, read) => {
        reader.key(key);
        const from = reader.at;
        const value = read();
        found.values.push([from, reader.at]);
        return value;
      };
      reader.entries(9);
      if (part(0, () => reader.whole()) !== 1) throw new Refused(reader.at, "a format that this page does not know");
      said.madeMs = part(1, () => reader.whole());
      said.exporter = part(2, () => reader.bytes(32, 32));
      said.battery = part(3, () => reader.string(64));
      part(4, () => readStores(reader, found.stores));
      part(5, () => strings(reader, 200));
      said.checkpoints = part(6, () => strings(reader, 2000));
      part(7, () => reader.bytes(MAX_SMALL_BYTES));
      said.manifest = part(8, () => strings(reader, 9, 32, 32));
      if (reader.at - begin !== length) throw new Refused(begin, "the payload is not as long as it says");
      said.payload = data.subarray(begin, reader.at);
      said.signature = reader.bytes(64, 64);
      reader.done();
      found.bundle = { ...said, keyId };
    } catch (problem) {
      if (!(problem instanceof Refused)) throw problem;
      found.faults.push({ what: "file", at: problem.at, reason: problem.message });
    }
    return found;
  }

  const PARTS = ["format", "made_ms", "exporter", "battery", "stores", "certificates", "checkpoints", "claims", "manifest"];

  async function checkContainer(data, found) {
    const { bundle, values, faults } = found;
    for (let key = 1; key < 8; key++) {
      const [from, to] = values[key];
      if (!same(await sha256(data.subarray(from, to)), bundle.manifest[key - 1] ?? [])) {
        faults.push({ what: "file", at: from, reason: PARTS[key] });
      }
    }
    if (bundle.manifest.length > 7) faults.push({ what: "file", at: values[8][0], reason: PARTS[8] });
    if (!(await holds(bundle, bundle.payload, "packbook/bundle/1", bundle.exporter))) {
      faults.push({ what: "file", at: data.length - 64, reason: "signature" });
    }
  }

  async function checkpoint(data) {
    const point = cose(data);
    if (point.payload === null) throw new Refused(0, "no payload");
    const reader = new Reader(point.payload);
    const said = reader.value();
    reader.done();
    if (!(said instanceof Map) || said.size !== 8 || whole(said, 0, 1) !== 1) throw new Refused(0, "not a checkpoint");
    const key = sized(said, 1, 32);
    if (!(await holds(point, point.payload, "packbook/checkpoint/1", key))) throw new Refused(0, "not signed by its key");
    return {
      key,
      box: hex(sized(said, 2, 8)),
      store: hex(sized(said, 3, 8)),
      upto: whole(said, 4, 1),
      digest: sized(said, 5, 16),
      battery: said.get(6),
      atMs: whole(said, 7, 0),
    };
  }

  async function compareCheckpoints(bundle, stores, out) {
    const points = [];
    for (const data of bundle.checkpoints) {
      try {
        points.push(await checkpoint(data));
      } catch (problem) {
        if (!(problem instanceof Refused)) throw problem;
        out.faults.push({ what: "checkpoint" });
      }
    }
    for (const point of points) {
      const store = stores.find((one) => one.box === point.box && one.store === point.store);
      if (!store) {
        if (point.battery === bundle.battery) out.faults.push({ what: "store", store: point.store, seq: point.upto });
      } else if (point.upto > store.last) out.faults.push({ what: "tail", store: store.store, seq: store.last });
      else {
        const link = store.links.find((one) => one.seq === point.upto);
        if (link && !same(link.digest, point.digest)) out.faults.push({ what: "fork", store: store.store, seq: point.upto, at: link.at });
      }
    }
    for (const store of stores) await tellEnd(store, points, out);
  }

  async function tellEnd(store, points, out) {
    const held = points.filter(
      (point) => point.box === store.box && point.store === store.store && store.links.some((link) => link.seq === point.upto && same(link.digest, point.digest)),
    );
    const newest = held.sort((a, b) => b.upto - a.upto)[0];
    if (!newest) {
      out.missing.push({ code: "m_end", store: store.store });
      return;
    }
    out.proven.push({ code: "p_checkpoint", key: await fingerprint(newest.key), store: store.store, upto: newest.upto, at_ms: newest.atMs });
    if (newest.upto < store.last) out.missing.push({ code: "m_newer", store: store.store, first: newest.upto + 1, last: store.last });
  }

  // A key as people compare it: as `packbook verify` writes it.
  const fingerprint = async (key) => hex((await sha256(key)).subarray(0, 8));

  const result = (kind) => ({ kind, faults: [], proven: [], claimed: [], missing: [] });

  async function verifyBundle(data) {
    const out = result("bundle");
    const found = survey(data);
    if (found.bundle) await checkContainer(data, found);
    const stores = [];
    for (const part of found.stores) stores.push(await checkStore(part));
    for (const store of stores) out.faults.push(...store.faults);
    const names = stores.map((store) => `${store.box}/${store.store}`);
    names.forEach((name, i) => names.indexOf(name) < i && out.faults.push({ what: "twice", store: stores[i].store }));
    if (!stores.length) out.faults.push({ what: "beginning", store: "–" });
    out.faults.push(...found.faults);
    for (const store of stores) {
      if (!store.faults.length) out.proven.push({ code: "p_store", box: store.box, store: store.store, last: store.last });
    }
    if (found.bundle) {
      const key = await fingerprint(found.bundle.exporter);
      if (!found.faults.length) out.proven.push({ code: "p_file", key });
      await compareCheckpoints(found.bundle, stores, out);
      out.claimed.push({ code: "c_battery", battery: found.bundle.battery }, { code: "c_dates" }, { code: "c_exporter", key });
    }
    for (const box of new Set(stores.map((store) => store.box))) out.claimed.push({ code: "c_box", box });
    out.claimed.push({ code: "c_figures" });
    out.missing.push({ code: "m_numbers" });
    return out;
  }

  // ---- JSON: canonical form (RFC 8785), which is what JavaScript writes but for the order of keys ----

  function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
    if (value !== null && typeof value === "object") {
      const names = Object.keys(value).sort(); // by UTF-16 units, as the RFC asks
      return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
    }
    return JSON.stringify(value);
  }

  const base64 = (letters) => Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));

  function base58(letters) {
    if (!letters.startsWith("z")) throw new Refused(0, "not base58btc");
    let number = 0n;
    let zeros = 0;
    for (const letter of letters.slice(1)) {
      const digit = BASE58.indexOf(letter);
      if (digit < 0) throw new Refused(0, "not base58btc");
      number = number * 58n + BigInt(digit);
      if (number === 0n) zeros++;
    }
    const digits = number === 0n ? "" : number.toString(16);
    const bytes = (digits.length % 2 ? `0${digits}` : digits).match(/../g) ?? [];
    return Uint8Array.from([...Array(zeros).fill(0), ...bytes.map((pair) => parseInt(pair, 16))]);
  }

  function multikey(letters) {
    const raw = base58(String(letters));
    if (raw.length !== 34 || raw[0] !== 0xed || raw[1] !== 0x01) throw new Refused(0, "not an Ed25519 key");
    return raw.subarray(2);
  }

  const publishedKeys = (did) => (did?.verificationMethod ?? []).map((method) => method.publicKeyMultibase);
  const isPublished = (did, key) => publishedKeys(did).some((letters) => same(multikey(letters), key));

  // ---- the signed record ----

  // The code that page and sheet bear (core/formats/sheet/code.py).
  async function codeOf(parts) {
    const told = { facts: {} };
    for (const record of parts) {
      for (const [name, facts] of Object.entries(record.facts)) if (name !== "age_years") told.facts[name] = facts;
      for (const [name, said] of Object.entries(record)) if (!["form", "part", "as_of", "facts"].includes(name)) told[name] = said;
    }
    const digits = hex(await sha256(text.encode(canonical(told)))).slice(0, 16).toUpperCase();
    return digits.match(/..../g).join(" ");
  }

  // `did`: the document that the book publishes; `code`: that of the page. Either may be missing.
  async function verifyRecord(document, { did = null, code = null } = {}) {
    const out = result("record");
    const key = /^[0-9a-f]{64}$/.test(document.book_key) ? Uint8Array.from(document.book_key.match(/../g), (pair) => parseInt(pair, 16)) : null;
    for (const name of ["identity", "value"]) {
      const part = document[name];
      let good = false;
      try {
        const signature = cose(base64(part.signature));
        good = key !== null && part.record.part === name && (await holds(signature, text.encode(canonical(part.record)), `packbook/passport/1/${name}`, key));
      } catch {
        good = false; // whatever is wrong with its form: it is not signed
      }
      if (good) out.proven.push({ code: `p_${name}`, key: document.book_key });
      else out.faults.push({ what: "part", part: name });
    }
    if (!out.faults.length) {
      await tellBook(out, did, key);
      if (code !== null) {
        const found = await codeOf([document.identity.record, document.value.record]);
        if (found === code) out.proven.push({ code: "p_code", value: found });
        else out.faults.push({ what: "code", value: found });
      }
    }
    out.claimed.push({ code: "c_figures" });
    out.missing.push({ code: "m_history" });
    return out;
  }

  async function tellBook(out, did, key) {
    if (did === null) out.claimed.push({ code: "c_exporter", key: hex(key) });
    else if (isPublished(did, key)) out.proven.push({ code: "p_published" });
    else out.faults.push({ what: "published" });
  }

  // ---- credentials: W3C Data Integrity, eddsa-jcs-2022 ----

  function keyOf(method, did) {
    const [name, fragment] = String(method).split("#");
    if (name.startsWith("did:key:")) {
      if (fragment !== name.slice("did:key:".length)) throw new Refused(0, "a did:key has one key, its own");
      return multikey(fragment);
    }
    if (did?.id !== name) throw new Refused(0, `the document of ${name} is not at hand`);
    const absolute = (id) => (String(id).startsWith("#") ? name + id : id);
    const listed = did.verificationMethod.find((one) => absolute(one.id) === method);
    if (!listed || listed.controller !== name || !did.assertionMethod.some((id) => absolute(id) === method)) throw new Refused(0, `${method} may not sign`);
    return multikey(listed.publicKeyMultibase);
  }

  async function whyNot(credential, did) {
    const { proof, ...document } = credential;
    const issuer = typeof credential.issuer === "string" ? credential.issuer : credential.issuer?.id;
    if (proof?.type !== "DataIntegrityProof" || proof.cryptosuite !== "eddsa-jcs-2022" || proof.proofPurpose !== "assertionMethod") {
      return "no proof of a kind that this page knows";
    }
    const { proofValue, ...options } = proof;
    if (canonical(options["@context"]) !== canonical(document["@context"])) return "its @context is not the one that was signed";
    if (String(proof.verificationMethod).split("#")[0] !== issuer) return "signed by another than its issuer";
    try {
      const key = keyOf(proof.verificationMethod, did);
      const hashes = joined(await sha256(text.encode(canonical(options))), await sha256(text.encode(canonical(document))));
      if (!(await signedBy(key, base58(String(proofValue)), hashes))) return "it was changed after it was signed, or another key signed it";
    } catch (problem) {
      if (!(problem instanceof Refused)) throw problem;
      return problem.message;
    }
    return null;
  }

  async function verifyCredentials(document, { did = null } = {}) {
    const out = result("credential");
    const inside = document.verifiableCredential ?? [document];
    for (const credential of Array.isArray(inside) ? inside : [inside]) {
      const kind = [].concat(credential.type ?? []).find((name) => name !== "VerifiableCredential") ?? "VerifiableCredential";
      const issuer = typeof credential.issuer === "string" ? credential.issuer : credential.issuer?.id;
      const reason = await whyNot(credential, did);
      if (reason === null) out.proven.push({ code: "p_credential", kind, issuer });
      else out.faults.push({ what: "credential", kind, reason });
    }
    if (!out.proven.length && !out.faults.length) out.faults.push({ what: "credential", kind: "–", reason: "there is none" });
    out.claimed.push({ code: "c_figures" });
    out.missing.push({ code: "m_revoked" }, { code: "m_history" });
    return out;
  }

  // Whatever it is. Null: nothing that we sign.
  async function verify(data, known = {}) {
    if (data[0] === 0xd2) return verifyBundle(data);
    let document;
    try {
      document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
    } catch {
      return null;
    }
    if (document?.book_key && document.identity && document.value) return verifyRecord(document, known);
    if (document?.verifiableCredential || document?.proof) return verifyCredentials(document, known);
    return null;
  }

  globalThis.packbookVerify = { available, verify, verifyBundle, verifyRecord, verifyCredentials, canonical, codeOf };
})();
