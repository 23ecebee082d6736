// A client that none of us wrote, for test_bound_tokens_of_others.py: keys and proofs by npm jose, whole requests by npm
// oauth4webapi. One JSON object in each line of stdin, one answer in each line of stdout.
import { createHash, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';

let pair;

// {"do": "key", "alg"}: a new key. Answers with its thumbprint.
async function key({ alg }) {
  pair = { alg, ...await jose.generateKeyPair(alg, { extractable: true }) };
  pair.jwk = await jose.exportJWK(pair.publicKey);
  return { jkt: await jose.calculateJwkThumbprint(pair.jwk) };
}

// {"do": "proof", "method", "url", "token", "nonce"}: a proof by that key.
async function proof({ method, url, token, nonce }) {
  const ath = createHash('sha256').update(token).digest('base64url');
  const signed = new jose.SignJWT({ jti: randomUUID(), htm: method, htu: url, ath, ...(nonce ? { nonce } : {}) })
    .setIssuedAt().setProtectedHeader({ typ: 'dpop+jwt', alg: pair.alg, jwk: pair.jwk });
  return { proof: await signed.sign(pair.privateKey) };
}

// Asks, and once more where the server wants a nonce, which oauth4webapi has noted then.
async function withNonce(ask) {
  try {
    return [await ask(), 1];
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return [await ask(), 2];
  }
}

// {"do": "call", "issuer", "client_id", "secret", "scope", "resource", "alg", "base", "upstream", "path"}: gets a token
// with DPoP and calls an API with it. The API is reached at "upstream", as behind a proxy, and called "base".
async function call({ issuer, client_id, secret, scope, resource, alg, base, upstream, path }) {
  const loopback = { [oauth.allowInsecureRequests]: true };
  const url = new URL(issuer);
  const found = await oauth.discoveryRequest(url, { ...loopback, algorithm: 'oidc' });
  const server = await oauth.processDiscoveryResponse(url, found);
  const client = { client_id };
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(alg));
  const [tokens, asked] = await withNonce(async () => {
    const answer = await oauth.clientCredentialsGrantRequest(
      server, client, oauth.ClientSecretBasic(secret), { scope, resource }, { ...loopback, DPoP },
    );
    return oauth.processClientCredentialsResponse(server, client, answer);
  });
  const proxied = { DPoP, [oauth.customFetch]: (target, options) => fetch(target.replace(base, upstream), options) };
  const get = () => oauth.protectedResourceRequest(tokens.access_token, 'GET', new URL(path, base), undefined, null, proxied);
  const [first, sent] = await withNonce(get);
  const second = await get();
  return {
    token_type: tokens.token_type, asked, sent, statuses: [first.status, second.status], body: await second.json(),
  };
}

const does = { key, proof, call };
for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  try {
    console.log(JSON.stringify(await does[job.do](job)));
  } catch (error) {
    console.log(JSON.stringify({ failed: `${error.name} ${error.code ?? ''} ${error.message}`, cause: String(error.cause) }));
  }
}
