// Let programs that others wrote check what Packbook made; nothing is fetched.
// In:  JSON on standard input: documents by URL, credentials, links.
// Out: JSON on standard output: of each credential null or what is wrong; of each link its keys or null.
import { createRequire } from "node:module";
import { DataIntegrityProof } from "@digitalbazaar/data-integrity";
import { createVerifyCryptosuite } from "@digitalbazaar/eddsa-jcs-2022-cryptosuite";
import jsigs from "jsonld-signatures";

const { DigitalLink } = createRequire(import.meta.url)("digital-link.js");

function loader(documents) {
  return async (url) => {
    if (url in documents) return { contextUrl: null, documentUrl: url, document: documents[url] };
    throw new Error(`not at hand: ${url}`);
  };
}

async function wrong(credential, documentLoader) {
  const result = await jsigs.verify(credential, {
    suite: new DataIntegrityProof({ cryptosuite: createVerifyCryptosuite() }),
    purpose: new jsigs.purposes.AssertionProofPurpose(),
    documentLoader,
  });
  if (result.verified) return null;
  return (result.error?.errors ?? [result.error]).map(String).join("; ");
}

function keys(link) {
  const read = DigitalLink(link);
  // Its isValid() wants a check digit of asset numbers too, which have none: only trade items are asked for it.
  const sound = read.getValidationTrace().success && (!("01" in read.getIdentifier()) || read.isCheckDigitValid());
  return sound ? { ...read.getIdentifier(), ...read.getKeyQualifiers() } : null;
}

function tried(what, link) {
  try {
    return what(link);
  } catch {
    return null;
  }
}

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const asked = JSON.parse(Buffer.concat(chunks).toString());
const documentLoader = loader(asked.documents ?? {});
const credentials = [];
for (const credential of asked.credentials ?? []) credentials.push(await wrong(credential, documentLoader));
const links = (asked.links ?? []).map((link) => tried(keys, link));
console.log(JSON.stringify({ credentials, links }));
