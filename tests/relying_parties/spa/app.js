// A public client in a browser, as the README of oidc-client-ts sets one up. What it holds is in the local
// storage, so that two tabs are one session. The test writes SETTINGS in front.
const manager = new oidc.UserManager({
  ...SETTINGS,
  redirect_uri: `${location.origin}/callback.html`,
  silent_redirect_uri: `${location.origin}/callback.html`,
  post_logout_redirect_uri: `${location.origin}/index.html`,
  loadUserInfo: true,
  automaticSilentRenew: false,
  monitorSession: false,
  silentRequestTimeoutInSeconds: 10,
  userStore: new oidc.WebStorageStateStore({ store: localStorage }),
  stateStore: new oidc.WebStorageStateStore({ store: localStorage }),
})
window.manager = manager
