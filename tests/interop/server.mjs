// A real authorization server (npm oidc-provider) on a free loopback port, for tests/support/oidc_provider.py.
// Configuration: one line of JSON on stdin, {"clients": [...], "tls": {"cert", "key", "ca"}}. Prints its issuer when it
// listens. With "tls" its metadata names endpoints for mutual TLS on another port (RFC 8705 section 5).
// POST /test/rotate replaces its signing keys while it serves; "keep=1" goes on publishing the old ones.
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline/promises';
import Provider from 'oidc-provider';

const [line] = await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next().then((read) => [read.value]);
const { clients, tls } = JSON.parse(line);

function keys() {
  const made = [
    [generateKeyPairSync('rsa', { modulusLength: 2048 }), {}], // no alg: RS256 and PS256 are signed with the same key
    [generateKeyPairSync('ec', { namedCurve: 'P-256' }), { alg: 'ES256' }],
    [generateKeyPairSync('ed25519'), { alg: 'EdDSA' }],
  ];
  return made.map(([pair, members]) => ({
    ...pair.privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', ...members,
  }));
}

function resourceServer(_ctx, resource) {
  const wanted = new URL(resource).searchParams;
  const format = wanted.get('format') ?? 'jwt';
  return {
    scope: 'orders:read orders:write',
    audience: wanted.get('aud') ?? 'https://api.example.com',
    accessTokenTTL: Number(wanted.get('ttl') ?? 300),
    accessTokenFormat: format,
    ...(format === 'jwt' ? { jwt: { sign: { alg: wanted.get('alg') ?? 'RS256' } } } : {}),
  };
}

const nonceSecret = randomBytes(32);
let current = keys();
let handle;

// RFC 8705: the certificate of the connection, which TLS has checked against the test's own authority.
const mutualTls = {
  enabled: tls !== undefined,
  certificateBoundAccessTokens: true,
  tlsClientAuth: true,
  getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
  certificateAuthorized: (ctx) => ctx.socket.authorized,
  certificateSubjectMatches: (ctx, property, expected) =>
    property === 'tls_client_auth_subject_dn' && ctx.socket.getPeerX509Certificate().subject === expected,
};
let aliases = {};

function build(issuer, published) {
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys: published },
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_post', 'private_key_jwt', ...(tls ? ['tls_client_auth'] : []),
    ],
    discovery: aliases,
    scopes: ['orders:read', 'orders:write'],
    enabledJWA: {
      idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
      dPoPSigningAlgValues: ['ES256', 'PS256', 'Ed25519'],
      clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'],
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true, nonceSecret, requireNonce: () => true },
      ...(tls ? { mTLS: mutualTls } : {}),
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: { enabled: true, defaultResource: () => undefined, getResourceServerInfo: resourceServer },
    },
  });
  handle = provider.callback();
}

const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url.startsWith('/test/rotate')) {
    const old = request.url.endsWith('keep=1') ? current : [];
    current = keys();
    build(issuer, [...current, ...old]);
    response.end();
  } else {
    handle(request, response);
  }
});
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const issuer = `http://127.0.0.1:${server.address().port}`;
if (tls) {
  const options = { ...tls, requestCert: true, rejectUnauthorized: false };
  const encrypted = createTlsServer(options, (request, response) => handle(request, response));
  await new Promise((resolve) => { encrypted.listen(0, '127.0.0.1', resolve); });
  aliases = { mtls_endpoint_aliases: { token_endpoint: `https://127.0.0.1:${encrypted.address().port}/token` } };
}
build(issuer, current);
console.log(issuer);
