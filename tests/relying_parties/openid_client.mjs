// A portal on Node by openid-client. It says where its person has to go, one JSON line at a time, and reads
// the address at which they came back.
import { createInterface } from 'node:readline'
import * as client from 'openid-client'

const told = JSON.parse(process.env.PARTY)
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

async function through(address) {
  console.log(JSON.stringify({ go: address.href }))
  return new URL((await lines.next()).value)
}

async function proof() {
  if (told.secret) return client.ClientSecretBasic(told.secret)
  const curve = { name: 'ECDSA', namedCurve: 'P-256' }
  const key = await crypto.subtle.importKey('jwk', told.key, curve, false, ['sign'])
  return client.PrivateKeyJwt({ key, kid: told.key.kid })
}

const config = await client.discovery(new URL(told.issuer), told.client, undefined, await proof())
// The signature of the ID token is checked too, although it came by TLS.
client.enableNonRepudiationChecks(config)

async function signIn(build) {
  const verifier = client.randomPKCECodeVerifier()
  const [state, nonce] = [client.randomState(), client.randomNonce()]
  const address = await build(config, {
    redirect_uri: told.callback,
    scope: 'openid profile email offline_access',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
  })
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true }
  return [address, await client.authorizationCodeGrant(config, await through(address), checks)]
}

const [, first] = await signIn(client.buildAuthorizationUrl)
const { sub } = first.claims()
const person = await client.fetchUserInfo(config, first.access_token, sub)
const second = await client.refreshTokenGrant(config, first.refresh_token)
const living = await client.tokenIntrospection(config, second.access_token)
await client.tokenRevocation(config, second.refresh_token)
const dead = await client.tokenIntrospection(config, second.access_token)
const after = await client.refreshTokenGrant(config, second.refresh_token).catch((fault) => fault.error)

const [pushed, third] = await signIn(client.buildAuthorizationUrlWithPAR)
const out = client.buildEndSessionUrl(config, {
  id_token_hint: third.id_token,
  post_logout_redirect_uri: told.home,
  state: 'bye',
})
const home = await through(out)

const done = {
  claims: first.claims(),
  refreshed: second.claims(),
  person,
  living,
  dead,
  after,
  pushed: Object.fromEntries(pushed.searchParams),
  again: third.claims(),
  home: home.href,
  pkce: config.serverMetadata().supportsPKCE(),
}
console.log(JSON.stringify({ done }))
process.exit(0)
