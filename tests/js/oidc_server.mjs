// An OpenID provider that others wrote and had certified (oidc-provider), for tests: in memory, on a free port.
// In:  one line of JSON on standard input: { client, secret, redirects, leaving }, the last two being where browsers
//      may be sent back to.
// Out: one line { issuer }; then it serves until standard input ends. Tests have no fingers: whoever was put to
//      /people/NAME (with his claims as JSON) last signs in without a page. /rotate/KID makes other keys,
//      /back takes one more address to be sent back to.
import { createInterface } from "node:readline";
import { createServer } from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const asked = JSON.parse((await lines.next()).value);
const people = new Map();

async function signingKey(kid) {
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, alg: "RS256", use: "sig" };
}

function configuration(keys) {
  return {
    clients: [
      {
        client_id: asked.client,
        client_secret: asked.secret,
        redirect_uris: asked.redirects,
        post_logout_redirect_uris: asked.leaving,
        response_types: ["code"],
        grant_types: ["authorization_code"],
      },
    ],
    jwks: { keys },
    cookies: { keys: ["of a test"] },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
    conformIdTokenClaims: true, // e-mail and groups come from userinfo alone, as is the rule
    features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true } },
    pkce: { required: () => true },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...people.get(id) }) }),
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope("openid email profile");
      await grant.save();
      return grant;
    },
    ttl: { Session: 600, Grant: 600, Interaction: 600, AccessToken: 600, AuthorizationCode: 60, IdToken: 600 },
  };
}

async function told(request) {
  let body = "";
  for await (const chunk of request) body += chunk;
  return JSON.parse(body);
}

let provider;
let now = "nobody";
let keys = [await signingKey("first")];
const server = createServer(async (request, response) => {
  const [, what, name] = request.url.split("?")[0].split("/");
  if (what === "people") {
    people.set(name, await told(request));
    now = name;
    response.end();
  } else if (what === "back") {
    asked.redirects.push(await told(request));
    build();
    response.end();
  } else if (what === "rotate") {
    keys = [await signingKey(name)];
    build();
    response.end();
  } else if (what === "interaction") {
    const result = now === "nobody" ? { error: "access_denied" } : { login: { accountId: now } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  } else {
    provider.callback()(request, response);
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
function build() {
  provider = new Provider(issuer, configuration(keys));
}
build();
console.log(JSON.stringify({ issuer }));
for await (const _ of lines);
process.exit(0);
