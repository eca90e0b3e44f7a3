/* Who is at the page, and how it talks to the server: with tokens, as whoever a token was made for; without any, as
 * whoever one says to be. */

export const $ = (id) => document.getElementById(id);

export function element(name, classes, text) {
  const e = document.createElement(name);
  if (classes)
    e.className = classes;
  if (text !== undefined)
    e.textContent = text;
  return e;
}

/* ---- what survives a reload --------------------------------------------------------------------- */

export function load(key, fallback) {
  try {
    const value = JSON.parse(localStorage.getItem('rlhfd.' + key));
    return value === null ? fallback : value;
  } catch {
    return fallback;
  }
}
export function save(key, value) {
  try {
    localStorage.setItem('rlhfd.' + key, JSON.stringify(value));
  } catch { /* private mode: the page works, but a reload forgets */ }
}
export function forget(key) {
  try {
    localStorage.removeItem('rlhfd.' + key);
  } catch { /* as above */ }
}

/* ---- the server --------------------------------------------------------------------------------- */

/* known: the server has said who we are. */
export const session = { known: false, open: false, role: '', name: '' };
let onSignIn = () => {};

/* One request: {status, answer}. Whoever is not signed in any more is asked to. */
export async function call(path, body, method) {
  const said = await send(path, body, method);
  if (said.status === 401)
    askToken();
  return said;
}

/* The header is one that pages of other sites cannot send. */
async function send(path, body, method) {
  const options = { cache: 'no-store', headers: { 'X-Rlhfd-Page': '1' }, method: method || (body === undefined ? 'GET' : 'POST') };
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  let answer = {};
  try {
    answer = await response.json();
  } catch { /* cut short: the status says what it needs to */ }
  return { status: response.status, answer };
}

export const reason = ({ status, answer }) => answer.detail || 'the server answered ' + status;

function settle(answer) {
  Object.assign(session, answer, { known: true });
  onSignIn(session);
}

/* Asks the server until it says who we are; then, and after every signing in, calls back. */
export async function begin(callback, failed) {
  onSignIn = callback;
  for (let wait = 500; !session.known; wait = Math.min(wait * 2, 10000)) {
    try {
      const said = await call('/api/v1/session');
      if (said.status === 200)
        settle(said.answer);
      if (said.status === 200 || said.status === 401)
        return;
      throw new Error(reason(said));
    } catch (error) {
      failed(error.message);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

export function askToken() {
  session.known = false;
  if ($('sign-in').open)
    return;
  $('token').value = '';
  $('sign-in-trouble').textContent = '';
  for (const other of document.querySelectorAll('dialog[open]'))
    other.close();
  $('sign-in').showModal();
}

async function signIn(event) {
  event.preventDefault();
  const token = $('token').value.trim();
  const trouble = $('sign-in-trouble');
  if (!token)
    return;
  trouble.textContent = '';
  try {
    const said = await send('/api/v1/session', { token });
    if (said.status !== 200)
      throw new Error(reason(said));
    $('token').value = '';
    $('sign-in').close();
    settle(said.answer);
  } catch (error) {
    trouble.textContent = 'Not signed in: ' + error.message;
    $('token').select();
  }
}

export async function signOut() {
  await call('/api/v1/session', undefined, 'DELETE');
  location.reload();
}

$('sign-in-form').addEventListener('submit', signIn);
$('sign-in').addEventListener('cancel', (event) => event.preventDefault());
$('sign-in').addEventListener('close', () => session.known || askToken()); /* Escape twice closes it all the same */
