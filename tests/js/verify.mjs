// Let the browser's own checker (cloud/packbook/web/static/verify.js) check files; nothing is fetched.
// In:  JSON on standard input: the script's path, and cases of { data (base64), did, code }.
// Out: JSON on standard output: of each case what it found, or null; and canonical forms that were asked for.
import { pathToFileURL } from "node:url";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const asked = JSON.parse(Buffer.concat(chunks).toString());
await import(pathToFileURL(asked.script));
const { available, verify, canonical } = globalThis.packbookVerify;
const results = [];
for (const { data, did, code } of asked.cases ?? []) {
  results.push(await verify(new Uint8Array(Buffer.from(data, "base64")), { did: did ?? null, code: code ?? null }));
}
const forms = (asked.documents ?? []).map(canonical);
console.log(JSON.stringify({ available: await available(), results, forms }));
